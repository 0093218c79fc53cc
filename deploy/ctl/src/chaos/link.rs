//! A link that can be cut: a TCP proxy whose bytes are held, delayed or reset in either direction while a fault lasts.
//!
//! A cut holds bytes, as a network does that loses every packet: what was held arrives when the link is whole again.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// What is wrong with a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Weather {
    #[default]
    Clear,
    /// Every piece comes this much later, both ways.
    Slow(Duration),
    /// Nothing gets from the caller to the other side.
    CutOut,
    /// Nothing gets back.
    CutBack,
    Cut,
    /// Connections are reset, those that stand and those that come.
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    Back,
}

/// One link; it is open until dropped.
pub(super) struct Link {
    pub(super) port: u16,
    weather: watch::Sender<Weather>,
    task: AbortHandle,
}

impl Link {
    /// Opens a port from which everything goes to `to`.
    pub(super) async fn open(to: SocketAddr) -> io::Result<Self> {
        let listener = crate::members::ports::listen().await?;
        let port = listener.local_addr()?.port();
        let (weather, seen) = watch::channel(Weather::Clear);
        let task = tokio::spawn(accept(listener, to, seen)).abort_handle();
        Ok(Self { port, weather, task })
    }

    pub(super) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, weather: watch::Receiver<Weather>) {
    let mut carried = JoinSet::new();
    while let Ok((from, _)) = listener.accept().await {
        carried.spawn(carry(from, to, weather.clone()));
        while carried.try_join_next().is_some() {}
    }
}

/// One connection, until either side ends it or it is reset.
async fn carry(from: TcpStream, to: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let (out, back) = (weather.clone(), weather.clone());
    let carried = async {
        let there = TcpStream::connect(to).await?;
        from.set_nodelay(true)?;
        there.set_nodelay(true)?;
        let ((in_read, in_write), (out_read, out_write)) = (from.into_split(), there.into_split());
        tokio::try_join!(pump(in_read, out_write, out, Way::Out), pump(out_read, in_write, back, Way::Back))
    };
    tokio::select! {
        _ = carried => {}
        // Both halves are dropped with unread bytes in them, which the kernel tells as a reset.
        _ = weather.wait_for(|weather| *weather == Weather::Reset) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    way: Way,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        let closed = |_| io::Error::other("the link is gone");
        let now = *weather.wait_for(|weather| !holds(*weather, way)).await.map_err(closed)?;
        if let Weather::Slow(by) = now {
            tokio::time::sleep(by).await;
        }
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}

fn holds(weather: Weather, way: Way) -> bool {
    match weather {
        Weather::Cut => true,
        Weather::CutOut => way == Way::Out,
        Weather::CutBack => way == Way::Back,
        Weather::Clear | Weather::Slow(_) | Weather::Reset => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says back what it hears.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = socket.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    async fn hears(socket: &mut TcpStream, within_ms: u64) -> Option<u8> {
        let read = tokio::time::timeout(Duration::from_millis(within_ms), socket.read_u8()).await;
        read.ok().and_then(Result::ok)
    }

    #[tokio::test]
    async fn what_is_held_arrives_when_the_link_is_whole_again() {
        let link = Link::open(echo().await).await.unwrap();
        let mut socket = TcpStream::connect(("127.0.0.1", link.port)).await.unwrap();
        for weather in [Weather::CutOut, Weather::CutBack, Weather::Cut] {
            link.set(weather);
            socket.write_u8(7).await.unwrap();
            assert_eq!(hears(&mut socket, 50).await, None, "{weather:?}");
            link.set(Weather::Clear);
            assert_eq!(hears(&mut socket, 5_000).await, Some(7), "{weather:?}");
        }
    }

    #[tokio::test]
    async fn a_reset_ends_what_stands_and_what_comes() {
        let link = Link::open(echo().await).await.unwrap();
        let mut stands = TcpStream::connect(("127.0.0.1", link.port)).await.unwrap();
        stands.write_u8(1).await.unwrap();
        assert_eq!(hears(&mut stands, 5_000).await, Some(1));
        link.set(Weather::Reset);
        let gone = tokio::time::timeout(Duration::from_secs(5), stands.read(&mut [0; 1])).await.unwrap();
        assert!(gone.is_err() || gone.is_ok_and(|read| read == 0));
        let mut comes = TcpStream::connect(("127.0.0.1", link.port)).await.unwrap();
        let gone = tokio::time::timeout(Duration::from_secs(5), comes.read(&mut [0; 1])).await.unwrap();
        assert!(gone.is_err() || gone.is_ok_and(|read| read == 0));
    }
}
