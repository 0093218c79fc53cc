//! Ports for what is started here: outside the range from which the kernel takes those of outgoing connections.

use std::{io, ops::Range};

use rand::Rng;
use tokio::net::TcpListener;

/// Below 32,768, where Linux begins to give ports to clients; a port that is freed by a kill must not go to one of them.
const PORTS: Range<u16> = 17_000..32_000;
const TRIES_MAX: usize = 200;

/// Listens on a free port.
pub(crate) async fn listen() -> io::Result<TcpListener> {
    let mut last = io::Error::other("no port was tried");
    for _ in 0..TRIES_MAX {
        let port = rand::rng().random_range(PORTS);
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A port that was free a moment ago, for a child to listen on.
pub(crate) async fn free() -> io::Result<u16> {
    Ok(listen().await?.local_addr()?.port())
}
