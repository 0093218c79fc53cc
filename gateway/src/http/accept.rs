//! The accept path: bounded in connections, patient with nobody who is slow on purpose, and polite when it closes.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use talkfleet_shared::{
    lifecycle::Shutdown,
    metrics::{Face, Metrics},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::{address::Peer, tls::Tls, wire::Wire};
use crate::config::HttpConfig;

/// What a connection is told that is one too many; it never becomes a request.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 2\r\n\
connection: close\r\ncontent-length: 96\r\n\r\n\
{\"type\":\"urn:talkfleet:problem:too_many_connections\",\"status\":503,\"code\":\"too_many_connections\"}";

/// After a failed accept (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until shutdown is asked, under TLS if there is a certificate; connections that are open then finish what they do.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    config: HttpConfig,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) {
    let places = Arc::new(Semaphore::new(config.connections_max));
    let http = protocol(&config);
    let handshake = Duration::from_millis(config.head_read_timeout_ms);
    loop {
        let accepted = tokio::select! {
            () = shutdown.asked() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            // Under TLS it is closed without a word: to shake hands first is what there is no room for.
            if tls.is_none() {
                tokio::spawn(turn_away(stream));
            }
            continue;
        };
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            router.call(request)
        });
        let (http, metrics, closing, tls) = (http.clone(), metrics.clone(), shutdown.clone(), tls.clone());
        if let Err(error) = tune(&stream, &config) {
            tracing::debug!(%error, "a connection could not be tuned");
        }
        shutdown.spawn(async move {
            let open = metrics.connections.get_or_create(&Face { face: "http" }).clone();
            open.inc();
            match tls {
                None => {
                    let wire = Wire::new(stream);
                    if let Ended::TooSlow = converse(&http, wire.clone(), service, &closing).await {
                        wire.too_slow();
                    }
                }
                Some(tls) => match tls.accept(stream, handshake).await {
                    Ok(wire) => {
                        if let Ended::TooSlow = converse(&http, wire.clone(), service, &closing).await {
                            wire.too_slow().await;
                        }
                    }
                    Err(error) => tracing::debug!(%error, "a client and we could not agree on TLS"),
                },
            }
            open.dec();
            drop(place);
        });
    }
}

/// How a connection ended.
enum Ended {
    /// However it was, the client was answered as far as it can be.
    Done,
    /// The client began a request and did not get on with it.
    TooSlow,
}

async fn converse<I, S>(http: &http1::Builder, wire: I, service: S, closing: &Shutdown) -> Ended
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    let connection = http.serve_connection(TokioIo::new(wire), service).with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client that breaks off or sends nonsense was answered as far as it can be; a slow one was not.
    if ended.is_err_and(|error| error.is_timeout()) { Ended::TooSlow } else { Ended::Done }
}

fn protocol(config: &HttpConfig) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.head_read_timeout_ms))
        .max_buf_size(config.head_bytes_max);
    http
}

fn tune(stream: &TcpStream, config: &HttpConfig) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // The kernel cuts a peer that leaves our bytes unread or unacknowledged this long; no timer of ours is needed.
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(Duration::from_millis(config.unread_timeout_ms)))
}

async fn turn_away(mut stream: TcpStream) {
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        stream.write_all(TOO_MANY).await?;
        stream.shutdown().await
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farewell_has_the_length_that_it_says() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
