//! The driver against a server that answers as awkwardly as HTTP/1.1 allows, and against one that does not keep up.

use std::{net::SocketAddr, time::Duration};

use talkfleet_shared::id::TenantId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use super::{Asker, Driver, Face, Load, Order};
use crate::bench::{
    schedule::{Schedule, Shape, Spacing},
    tally::Tally,
    traffic::{Languages, Manners},
};

/// How a server treats the requests of a connection, one after another.
const MANNERS: [&str; 6] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n|ok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r|\no\r\n1|\r\nk\r\n0\r\n|\r\n",
    "HTTP/1.1 100 Continue\r\n|\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n|until the end",
];

/// Serves every connection with these answers, then closes it; `|` is a pause.
async fn awkward(listener: TcpListener, answers: &'static [&'static str], pause: Duration) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(async move {
            let mut stream = stream;
            for answer in answers {
                if !request(&mut stream).await {
                    return;
                }
                for piece in answer.split('|') {
                    if stream.write_all(piece.as_bytes()).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        });
    }
}

/// Reads one request; false when there is none.
async fn request(stream: &mut TcpStream) -> bool {
    let (mut held, mut piece) = (Vec::new(), [0; 1_024]);
    loop {
        let text = String::from_utf8_lossy(&held).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            if body.len() >= length.parse::<usize>().unwrap() {
                return true;
            }
        }
        match stream.read(&mut piece).await {
            Ok(read) if read > 0 => held.extend_from_slice(&piece[..read]),
            _ => return false,
        }
    }
}

async fn driven(answers: &'static [&'static str], pause_ms: u64, load: Load, connections_max: usize) -> Tally {
    let local = LocalSet::new();
    let work = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        tokio::task::spawn_local(awkward(listener, answers, Duration::from_millis(pause_ms)));
        let order = Order {
            asker: Asker {
                face: Face::Http,
                key: "k".into(),
                tenant: TenantId::parse("demo").unwrap(),
                channel: None,
                deadline_ms: None,
                nats_user: None,
                run: "t".into(),
            },
            addresses: vec![address],
            manners: Manners { languages: Languages::Both, follow_share: 0.5, think_ms: 1 },
            warm_up: None,
            load,
            place: 0,
            of: 1,
            connections_max,
            holds_connections: false,
            deadline_ms: 1_000,
            grace_ms: 400,
            window_s: 1.0,
            seed: 1,
        };
        Driver::open(order).await.unwrap().drive(load, 1).await.unwrap()
    };
    local.run_until(work).await
}

fn open(rate: f64, seconds: f64) -> Load {
    Load::Open(Schedule { shape: Shape::Steady, spacing: Spacing::Even, rate, seconds })
}

#[tokio::test]
async fn awkward_answers_are_understood_and_closed_connections_are_opened_again() {
    let tally = driven(&MANNERS, 1, open(300.0, 1.0), 8).await;
    assert!(tally.is_whole() && tally.issued == 300, "{tally:?}");
    assert_eq!((tally.unanswered, tally.late), (0, 0), "{tally:?}");
    // Each connection answers four of six, refuses one and fails at one.
    assert!((tally.shed as i64 - 50).abs() <= 10 && tally.shed_without_retry_after == 0, "{tally:?}");
    assert!((tally.errors as i64 - 50).abs() <= 10 && tally.error_kinds.len() == 1, "{tally:?}");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_loses_no_message() {
    let tally = driven(&MANNERS[..2], 0, open(200.0, 0.5), 2).await;
    assert!(tally.answered == 100 && tally.reconnects > 10, "{tally:?}");
}

#[tokio::test]
async fn waiting_for_a_server_that_does_not_keep_up_is_counted_from_the_intended_moment() {
    // One connection, 20 ms an answer, 100 asked for in a second: half of them are never sent.
    let slow = ["|HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"; 64];
    let tally = driven(Box::leak(Box::new(slow)), 10, open(100.0, 1.0), 1).await;
    assert!(tally.is_whole() && tally.unanswered > 10, "{tally:?}");
    assert!(tally.latency.max_ms() > 300.0, "{}", tally.latency.max_ms());
    assert!(tally.send_lag.max_ms() > 300.0);
}

#[tokio::test]
async fn a_closed_load_keeps_so_many_under_way() {
    let busy = ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n|"; 256];
    let tally = driven(Box::leak(Box::new(busy)), 5, Load::Closed { at_once: 4, seconds: 0.5 }, 8).await;
    assert!(tally.is_whole() && tally.errors == 0, "{tally:?}");
    // Four lanes of 0.5 s at about 6 ms each.
    assert!((80..=420).contains(&tally.answered), "{}", tally.answered);
}

#[tokio::test]
async fn nobody_there_is_an_error_each() {
    let tally = driven(&[], 0, open(50.0, 0.2), 2).await;
    assert!(tally.is_whole() && tally.errors == 10, "{tally:?}");
}
