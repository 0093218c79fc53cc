//! The accept path: bounded in connections, patient with nobody who is slow on purpose, and polite when it closes.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    Request,
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
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::{address::Peer, wire::Wire};
use crate::config::HttpConfig;

/// What a connection is told that is one too many; it never becomes a request.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 2\r\n\
connection: close\r\ncontent-length: 96\r\n\r\n\
{\"type\":\"urn:talkfleet:problem:too_many_connections\",\"status\":503,\"code\":\"too_many_connections\"}";

/// After a failed accept (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until shutdown is asked; connections that are open then finish what they do.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    config: HttpConfig,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) {
    let places = Arc::new(Semaphore::new(config.connections_max));
    let http = protocol(&config);
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
            tokio::spawn(turn_away(stream));
            continue;
        };
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            router.call(request)
        });
        let (http, metrics, closing) = (http.clone(), metrics.clone(), shutdown.clone());
        if let Err(error) = tune(&stream, &config) {
            tracing::debug!(%error, "a connection could not be tuned");
        }
        shutdown.spawn(async move {
            let open = metrics.connections.get_or_create(&Face { face: "http" }).clone();
            open.inc();
            let wire = Wire::new(stream);
            let connection = http.serve_connection(TokioIo::new(wire.clone()), service).with_upgrades();
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = closing.asked() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            // A client that breaks off or sends nonsense was answered as far as it can be; a slow one was not.
            if ended.is_err_and(|error| error.is_timeout()) {
                wire.too_slow();
            }
            open.dec();
            drop(place);
        });
    }
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
