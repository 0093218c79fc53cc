//! The reaper: an ask that killed its worker on every delivery is failed, set aside, and taken off its conversation.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use talkfleet_shared::{
    bus::{BusError, DeadLetter, Delivery, Settle, StoredAsk},
    chat::Problem,
    dead::{Cause, History, Why},
    error::Code,
    lifecycle::Shutdown,
    subject,
    topology::{ADVISORIES, REAPER},
};
use tokio::sync::Semaphore;

use crate::turn::{Desk, Lost, millis};

/// Poison is rare; one at a time keeps the reaper's own steps in order.
const AT_ONCE: usize = 1;

/// When an advisory that could not be dealt with comes again.
const AGAIN: Duration = Duration::from_secs(2);

/// The reason on the dead letter.
const REASON: &str = "its worker died, or did not end it, on every delivery";

/// What the broker says of a message that was delivered too often.
#[derive(Debug, Deserialize)]
struct Advisory {
    stream_seq: u64,
    deliveries: u32,
}

/// Reaps until shutdown.
pub async fn run(desk: Arc<Desk>, shutdown: Shutdown) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let Some(mut deliveries) = desk.bus.deliveries(ADVISORIES, REAPER, permits, &shutdown).await else { return };
    while let Some(delivery) = deliveries.next(&shutdown).await {
        take(&desk, delivery).await;
    }
    deliveries.hand_back().await;
}

async fn take(desk: &Desk, delivery: Delivery) {
    let settle = match delivery.read::<Advisory>() {
        Ok(advisory) => match reap(desk, &advisory).await {
            Ok(()) => Settle::Done,
            Err(error) => {
                tracing::warn!(%error, "an ask could not be reaped; trying again");
                Settle::Again(AGAIN)
            }
        },
        Err(error) => {
            tracing::warn!(%error, "an advisory cannot be read");
            Settle::Aside
        }
    };
    if let Err(error) = delivery.settle(settle).await {
        tracing::warn!(%error, "an advisory could not be settled; it will come again");
    }
}

/// Every step may be repeated: the record is written once, and what is gone stays gone.
async fn reap(desk: &Desk, advisory: &Advisory) -> Result<(), BusError> {
    let Some(stored) = desk.bus.stored_ask(advisory.stream_seq).await? else { return Ok(()) };
    let ours = match Lost::of_stored(&stored, advisory.deliveries) {
        Some(lost) => lost.fail(desk, Problem::new(Code::Poison)).await?,
        None => true,
    };
    if ours {
        set_aside(desk, &stored, advisory.deliveries).await?;
    }
    desk.bus.delete_ask(advisory.stream_seq).await
}

async fn set_aside(desk: &Desk, stored: &StoredAsk, deliveries: u32) -> Result<(), BusError> {
    let key = subject::parse_ask(&stored.subject).zip(stored.request()).map(|((tenant, _), id)| (tenant, id));
    let attempts = key.map(|key| desk.setbacks.take(&key)).unwrap_or_default();
    let dead = DeadLetter {
        origin: &stored.subject,
        headers: Some(&stored.headers),
        body: &stored.body,
        why: &Why::new(Cause::Killed, REASON),
        history: History { stored_at_ms: millis(stored.stored_at), attempts },
        attempt: deliveries,
    };
    desk.bus.set_aside(&dead).await?;
    tracing::error!(deliveries, "an ask was set aside: {REASON}");
    Ok(())
}
