//! What people do to a fleet, meaning well or not: take conversations over, take messages that are not theirs, never read.

use std::{
    collections::HashSet,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::StreamExt;
use talkfleet_shared::{bus::Settle, lifecycle::Shutdown, owner::Owner, subject, topology};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Semaphore, task::JoinSet};

use super::{fleet::Fleet, ledger::Takeover};
use crate::conversation;

/// How long after a message was asked a person takes its conversation, and how long they have it.
const INTO_THE_ANSWER: Duration = Duration::from_millis(600);
const HELD_FOR: Duration = Duration::from_secs(3);

/// Takes conversations over, for so long.
pub(super) async fn take_over(fleet: &Arc<Fleet>, lasts: Duration) -> Result<Vec<Takeover>> {
    let mut asks = pin!(fleet.bus.overhear(subject::every_ask()).await?.enumerate());
    let over_at = Instant::now() + lasts;
    let (mut held, mut having) = (HashSet::new(), JoinSet::new());
    while let Ok(Some((number, ask))) = tokio::time::timeout_at(over_at.into(), asks.next()).await {
        let asked = subject::parse_ask(&ask).filter(|_| number % 3 == 0);
        let Some((tenant, conversation)) = asked.filter(|asked| held.insert(asked.clone())) else { continue };
        let bus = fleet.bus.clone();
        having.spawn(async move {
            tokio::time::sleep(INTO_THE_ANSWER).await;
            let person = Owner::Human { name: "Ann".into() };
            conversation::write(&bus, &tenant, &conversation, person).await?;
            let from = Instant::now();
            tokio::time::sleep(HELD_FOR).await;
            let until = Instant::now();
            conversation::write(&bus, &tenant, &conversation, Owner::Bot).await?;
            anyhow::Ok(Takeover { conversation: conversation.to_string(), from, until })
        });
    }
    having.join_all().await.into_iter().collect()
}

/// A second taker on the workers' own consumer: whatever it gets, it gives back at once.
pub(super) async fn deliver_twice(fleet: &Fleet, lasts: Duration) {
    let until = Shutdown::new();
    let permits = Arc::new(Semaphore::new(64));
    let taken = async {
        let Some(mut deliveries) = fleet.bus.deliveries(topology::ASK, topology::RESPONSE, permits, &until).await
        else {
            return;
        };
        while let Some(delivery) = deliveries.next(&until).await {
            // A second delivery is let through to the workers: giving that back too would be a poison of our own.
            if delivery.attempt() == 1 {
                let _ = delivery.settle(Settle::Again(Duration::ZERO)).await;
            }
        }
        deliveries.hand_back().await;
    };
    let stop = async {
        tokio::time::sleep(lasts).await;
        until.ask();
    };
    tokio::join!(taken, stop);
}

/// Sockets that ask over HTTP and read nothing at all.
pub(super) async fn deaf_customers(fleet: &Fleet, sockets: usize, lasts: Duration) -> Result<()> {
    let mut deaf = Vec::new();
    for number in 0..sockets {
        let gateway = fleet.gateways[number % fleet.gateways.len()].trim_start_matches("http://");
        let mut socket = TcpStream::connect(gateway).await?;
        let body = r#"{"text":"How long does delivery take?"}"#;
        let head = format!(
            "POST /v1/chat HTTP/1.1\r\nhost: {gateway}\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            fleet.key,
            body.len()
        );
        socket.write_all(head.as_bytes()).await?;
        deaf.push(socket);
    }
    tokio::time::sleep(lasts).await;
    drop(deaf);
    Ok(())
}
