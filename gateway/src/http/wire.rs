//! A connection that can still be written to after the HTTP library has given it up: whoever was too slow is told so.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What a client is told whose request's head did not arrive in time.
pub(super) const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
connection: close\r\ncontent-length: 86\r\n\r\n\
{\"type\":\"urn:talkfleet:problem:request_timeout\",\"status\":408,\"code\":\"request_timeout\"}";

/// Both ends of one socket; clones share it.
#[derive(Clone)]
pub(super) struct Wire(Arc<Inner>);

struct Inner {
    stream: TcpStream,
    /// Whether something came in after the last thing that went out.
    unanswered: AtomicBool,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(Inner { stream, unanswered: AtomicBool::new(false) }))
    }

    /// Says 408 to a client that began a request; one that was merely idle is left in peace.
    pub(super) fn too_slow(&self) {
        if self.0.unanswered.load(Ordering::Relaxed) {
            // As much as fits into an empty send buffer, which is all of it.
            let _ = self.0.stream.try_write(TOO_SLOW);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.stream.poll_read_ready(context))?;
            match self.0.stream.try_read(buffer.initialize_unfilled()) {
                Ok(n) => {
                    buffer.advance(n);
                    self.0.unanswered.store(n > 0, Ordering::Relaxed);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = socket2::SockRef::from(&self.0.stream);
        match socket.shutdown(std::net::Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Wire {
    fn write(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.stream.poll_write_ready(context))?;
            match write(&self.0.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    self.0.unanswered.store(false, Ordering::Relaxed);
                    return Poll::Ready(done);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Wire::new(listener.accept().await.unwrap().0), client)
    }

    #[tokio::test]
    async fn what_is_sent_arrives_whole_both_ways() {
        let (mut wire, mut client) = pair().await;
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
        let (back, expected) = (sent.clone(), sent.clone());
        let echo = tokio::spawn(async move {
            let mut seen = vec![0; back.len()];
            wire.read_exact(&mut seen).await.unwrap();
            wire.write_all(&seen).await.unwrap();
            wire.shutdown().await.unwrap();
        });
        let (mut read, mut write) = client.split();
        let mut seen = Vec::new();
        let (wrote, _) = tokio::join!(write.write_all(&sent), read.read_to_end(&mut seen));
        wrote.unwrap();
        echo.await.unwrap();
        assert!(seen == expected);
    }

    #[tokio::test]
    async fn only_a_begun_request_is_told_that_it_was_slow() {
        let (mut wire, mut client) = pair().await;
        wire.too_slow();
        client.write_all(b"POST /v1").await.unwrap();
        let mut begun = [0; 8];
        wire.read_exact(&mut begun).await.unwrap();
        wire.too_slow();
        drop(wire);
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408 ") && head.contains(&format!("content-length: {}", body.len())));
        assert!(body.contains("request_timeout") && !body.contains("HTTP"));
    }
}
