//! Asks that come past the queue: each finds a place at once or is told that there is none; nothing brings it back.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use talkfleet_shared::{
    bus::{AskDelivery, DirectAsks, Seat},
    chance,
    chat::{Frame, FrameBody, Problem},
    error::Code,
    lifecycle::Shutdown,
    panics,
    retry::Delays,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::turn::{self, Desk};

/// What `/readyz` calls them.
pub const PART: &str = "direct";

/// Waits between attempts to listen.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// When one that found no place may come again, in milliseconds; jittered by half.
const FULL_RETRY_MS: u64 = 1_000;

/// Answers them until shutdown was asked and what had begun is finished, or `grace` is over.
pub async fn run(desk: Arc<Desk>, places_max: usize, grace: Duration, shutdown: Shutdown) {
    let (turns, places) = (TaskTracker::new(), Arc::new(Semaphore::new(places_max)));
    let mut delays = Delays::new(RETRY.0, RETRY.1);
    while !shutdown.is_asked() {
        match desk.bus.direct_asks().await {
            Ok(asks) => {
                delays.reset();
                desk.bus.health().up(PART);
                take_all(&desk, asks, &places, &turns, &shutdown).await;
                desk.bus.health().down(PART, "the subscription ended");
            }
            Err(error) => tracing::warn!(%error, "messages past the queue cannot be heard; trying again"),
        }
        tokio::select! {
            () = shutdown.asked() => {}
            () = tokio::time::sleep(delays.next_delay()) => {}
        }
    }
    turns.close();
    // Those that still run then end by `hand_back`, as the queue's do.
    let _ = tokio::time::timeout(grace, turns.wait()).await;
}

async fn take_all(
    desk: &Arc<Desk>,
    mut asks: DirectAsks,
    places: &Arc<Semaphore>,
    turns: &TaskTracker,
    shutdown: &Shutdown,
) {
    let mut closing = false;
    loop {
        let ask = tokio::select! {
            biased;
            () = shutdown.asked(), if !closing => {
                closing = true;
                asks.close().await;
                continue;
            }
            ask = asks.next() => ask,
        };
        let Some(ask) = ask else { return };
        match ask.read(desk.now()) {
            Ok(ask) => match places.clone().try_acquire_owned() {
                Ok(place) => drop(turns.spawn(answer(desk.clone(), ask, place))),
                Err(_) => {
                    desk.bus.metrics().direct_refused.inc();
                    let retry_ms = chance::between(FULL_RETRY_MS / 2, FULL_RETRY_MS * 3 / 2);
                    fail(desk, &ask, Problem::new(Code::Overloaded).retry_after_ms(retry_ms)).await;
                }
            },
            Err(error) => {
                tracing::warn!(%error, replies = ask.reply_to().is_some(), "a message past the queue is no ask")
            }
        }
    }
}

/// Runs one turn and survives its panic: whoever waits hears of it.
async fn answer(desk: Arc<Desk>, ask: AskDelivery, place: OwnedSemaphorePermit) {
    let (request, conversation, trace) = (&ask.request, &ask.conversation, ask.trace.id());
    let span = tracing::info_span!("turn", request.id = %request, conversation.id = %conversation, trace.id = trace);
    let seat = Seat::new(place);
    let turn = AssertUnwindSafe(Box::pin(turn::run(&desk, &ask, &seat))).catch_unwind().instrument(span);
    if turn.await.is_err() {
        tracing::error!(request.id = %request, place = panics::place(), "a turn past the queue panicked");
        fail(&desk, &ask, Problem::new(Code::TurnFailed)).await;
    }
}

/// The only frame of a turn that did not happen; what a panicking one had said before is void.
async fn fail(desk: &Desk, ask: &AskDelivery, problem: Problem) {
    let Some(reply_to) = &ask.reply_to else { return };
    let attempt = ask.attempt + 1;
    for (seq, body) in [(1, FrameBody::Restart), (2, FrameBody::Failed { problem })] {
        let frame = Frame { request: ask.request.clone(), attempt, seq, body };
        if let Err(error) = desk.bus.emit(reply_to, &frame).await {
            tracing::debug!(%error, request.id = %ask.request, "a failure could not be told");
        }
    }
}
