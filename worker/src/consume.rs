//! Taking asks from the queue: each runs under a permit, is kept alive while it runs, and is settled once.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use talkfleet_shared::{
    bus::{AskDelivery, BusError, Delivery, Settle},
    chance,
    chat::Problem,
    dead::{Attempt, Cause, Why},
    envelope::EnvelopeError,
    error::Code,
    id::{RequestId, TenantId},
    lifecycle::Shutdown,
    metrics::Role,
    panics,
    release::{Release, Rule},
    retry::Delays,
    topology::{ASK, DELIVERIES_MAX, RESPONSE, RESPONSE_NEXT},
};
use time::OffsetDateTime;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::{
    config::{self, WorkerConfig},
    turn::{self, Desk, Lost},
};

/// The longest pause before an ask that could not be answered just now comes again; jittered over its whole length.
const AGAIN_MAX: Duration = Duration::from_secs(2);

/// Of the asks that a candidate left behind, a stable worker takes this part of its concurrency at once, beside its own.
const ADOPTED_PART: usize = 8;

/// What handing back may take after the grace: one message to the broker for each turn.
const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(2);

/// The reason on the dead letter of a turn that panicked.
const PANICKED: &str = "its turn panicked on every delivery";

/// The reason on the dead letter of an ask that came again when its time was up.
const TOO_LATE: &str = "its worker died, or did not end it, and its time was up before it came again";

/// Waits between attempts to reach what is missing at the broker.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Answers asks until shutdown was asked and what had begun is finished or handed back.
pub async fn run(desk: Arc<Desk>, config: &WorkerConfig, shutdown: Shutdown) {
    let ears = [
        tokio::spawn(hear_the_rule(desk.clone(), shutdown.clone())),
        tokio::spawn(hear_cancels(desk.clone())),
        tokio::spawn(hear_resumes(desk.clone())),
        tokio::spawn(hear_owners(desk.clone())),
    ];
    desk.owners.known().await;
    if desk.bus.lane().is_live() {
        desk.bus.forgotten_known().await;
    }
    let keep_alive = Duration::from_millis(config.turn.keep_alive_ms);
    let turns = TaskTracker::new();
    let taker = Taker { desk: desk.clone(), keep_alive, turns: turns.clone() };
    match desk.release {
        Release::Stable => {
            let adopted = Arc::new(Semaphore::new((config.roles.response_concurrency / ADOPTED_PART).max(1)));
            // What a candidate leaves behind is ours; rarely is there any, and it must not keep permits from the rest.
            let leftovers = taker.take_while(|rule| !rule.is_on_trial(), adopted, &shutdown);
            tokio::join!(taker.take_from(RESPONSE, desk.intake.permits(), &shutdown), leftovers);
        }
        Release::Next => taker.take_while(Rule::is_on_trial, desk.intake.permits(), &shutdown).await,
    }
    turns.close();
    drain(&desk, &turns, config.turn.grace()).await;
    ears.iter().for_each(JoinHandle::abort);
}

/// Takes asks from queues, a task for each.
struct Taker {
    desk: Arc<Desk>,
    keep_alive: Duration,
    turns: TaskTracker,
}

impl Taker {
    async fn take_from(&self, consumer: &'static str, permits: Arc<Semaphore>, until: &Shutdown) {
        let Some(mut deliveries) = self.desk.bus.deliveries(ASK, consumer, permits, until).await else { return };
        while let Some(delivery) = deliveries.next(until).await {
            self.turns.spawn(take(self.desk.clone(), delivery, self.keep_alive));
        }
        deliveries.hand_back().await;
    }

    /// Takes the candidate's asks as long as the rule says that they are ours; what runs when it changes is finished.
    async fn take_while(&self, ours: impl Fn(&Rule) -> bool, permits: Arc<Semaphore>, until: &Shutdown) {
        let mut rule = self.desk.bus.rule();
        let is_ours = |rule: &Option<Rule>| rule.as_ref().is_some_and(&ours);
        loop {
            tokio::select! {
                biased;
                () = until.asked() => return,
                known = rule.wait_for(is_ours) => if known.is_err() { return },
            }
            let phase = until.part();
            let ends = async {
                tokio::select! {
                    biased;
                    () = phase.asked() => {}
                    _ = rule.wait_for(|rule| !is_ours(rule)) => phase.ask(),
                }
            };
            tokio::join!(self.take_from(RESPONSE_NEXT, permits.clone(), &phase), ends);
        }
    }
}

async fn drain(desk: &Desk, turns: &TaskTracker, grace: Duration) {
    if tokio::time::timeout(grace, turns.wait()).await.is_ok() {
        return;
    }
    tracing::info!(turns = turns.len(), "the grace is over; running turns are handed back");
    desk.hand_back.cancel();
    let _ = tokio::time::timeout(HAND_BACK_TIMEOUT, turns.wait()).await;
}

/// One delivery from its arrival to its settlement.
async fn take(desk: Arc<Desk>, delivery: Delivery, keep_alive: Duration) {
    let role = Role { role: config::Role::Response.name() };
    desk.bus.metrics().running.get_or_create(&role).inc();
    desk.intake.began();
    let settle = match delivery.ask() {
        Ok(ask) => {
            let (request, conversation, trace) = (&ask.request, &ask.conversation, ask.trace.id());
            let span =
                tracing::info_span!("turn", request.id = %request, conversation.id = %conversation, trace.id = trace);
            answer(&desk, &delivery, &ask, keep_alive).instrument(span).await
        }
        Err(error) => refuse(&desk, &delivery, &error).await,
    };
    desk.intake.ended(delivery.seat());
    if let Err(error) = delivery.settle(settle).await {
        tracing::warn!(%error, "a delivery could not be settled; it will come again and find its record");
    }
    desk.bus.metrics().running.get_or_create(&role).dec();
}

/// Runs the turn, keeps its delivery alive, and survives its panic.
async fn answer(desk: &Desk, delivery: &Delivery, ask: &AskDelivery, keep_alive: Duration) -> Settle {
    let delivered_at = desk.now();
    let forgotten =
        desk.bus.is_forgotten(&ask.tenant, ask.ask.user.as_ref(), &ask.conversation, turn::millis(ask.asked_at));
    if ask.attempt > 1
        && !forgotten
        && delivered_at >= ask.deadline
        && let Err(error) = keep_for_people(desk, delivery, ask).await
    {
        tracing::warn!(%error, "a message could not be set aside; it comes again");
        return again();
    }
    let turn = AssertUnwindSafe(Box::pin(turn::run(desk, ask, delivery.seat()))).catch_unwind();
    let ended = tokio::select! {
        biased;
        ended = turn => ended,
        never = keep_alive_for_ever(desk, delivery, ask, keep_alive) => match never {},
    };
    // Before anything is awaited: the place of a panic is known on its thread only.
    let why = match ended {
        Ok(Ok(settle @ Settle::Again(_))) => {
            remember(desk, ask, delivered_at, "handed back by a worker that stops");
            return settle;
        }
        Ok(Ok(settle)) => {
            desk.setbacks.take(&key(ask));
            return settle;
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "an outcome could not be stored; the ask comes again");
            remember(desk, ask, delivered_at, &format!("its outcome could not be stored: {error}"));
            return again();
        }
        Err(_) => panicked(panics::place()),
    };
    remember(desk, ask, delivered_at, why.chain.last().map_or(PANICKED, String::as_str));
    if i64::from(ask.attempt) < DELIVERIES_MAX {
        tracing::error!(attempt = ask.attempt, "a turn panicked; it is tried again");
        return again();
    }
    tracing::error!(attempt = ask.attempt, "a turn panicked for the last time and is set aside");
    let attempts = desk.setbacks.take(&key(ask));
    set_aside(desk, delivery, Some(Lost::of_ask(ask)), &why, attempts).await
}

/// Why a turn that panicked to the last is set aside: by the panic's place, since its words may quote the customer.
fn panicked(place: Option<String>) -> Why {
    Why::new(Cause::Panicked, PANICKED).because(place.map(|place| format!("panicked at {place}")))
}

fn remember(desk: &Desk, ask: &AskDelivery, delivered_at: OffsetDateTime, ended: &str) {
    let (attempt, delivered_at_ms) = (ask.attempt, turn::millis(delivered_at));
    let worker = desk.bus.who().to_owned();
    desk.setbacks.note(key(ask), Attempt { attempt, delivered_at_ms, ended: ended.to_owned(), worker });
}

fn key(ask: &AskDelivery) -> (TenantId, RequestId) {
    (ask.tenant.clone(), ask.request.clone())
}

/// Tells the broker that work goes on, and looks for wishes to stop that were not heard when they were made.
async fn keep_alive_for_ever(desk: &Desk, delivery: &Delivery, ask: &AskDelivery, every: Duration) -> Infallible {
    loop {
        tokio::time::sleep(every).await;
        if let Err(error) = delivery.keep_alive().await {
            tracing::debug!(%error, "the broker could not be told that work goes on");
        }
        if let Ok(Some(wish)) = desk.bus.is_cancelled(&ask.tenant, &ask.request).await {
            desk.running.cancel(ask.tenant.clone(), ask.request.clone(), wish);
        }
    }
}

/// A message that is no ask of this version: nobody can answer it, but whoever sent it hears of it if at all possible.
async fn refuse(desk: &Desk, delivery: &Delivery, error: &EnvelopeError) -> Settle {
    tracing::warn!(%error, "an ask cannot be read and is set aside");
    let lost = Lost::of_delivery(delivery, desk.now());
    set_aside(desk, delivery, lost, &Why::of(Cause::Unreadable, error), Vec::new()).await
}

/// Fails the turn, then keeps a copy for people. An outcome that exists already stays the outcome.
async fn set_aside(desk: &Desk, delivery: &Delivery, lost: Option<Lost>, why: &Why, attempts: Vec<Attempt>) -> Settle {
    let ours = match lost {
        Some(lost) => lost.fail(desk, Problem::new(Code::Poison)).await,
        None => Ok(true),
    };
    let kept = match ours {
        Ok(true) => delivery.set_aside(why, attempts).await,
        Ok(false) => return Settle::Done,
        Err(error) => Err(error),
    };
    match kept {
        Ok(()) => Settle::Aside,
        Err(error) => {
            tracing::warn!(%error, "a message could not be set aside; it comes again");
            again()
        }
    }
}

/// An ask that comes again when its time is up was ended by nobody, most likely since it killed who had it. It expires
/// before the reaper hears of it, so its copy is kept here, and first: a death in between leaves two rather than none.
async fn keep_for_people(desk: &Desk, delivery: &Delivery, ask: &AskDelivery) -> Result<(), BusError> {
    if desk.bus.read_record(&ask.tenant, Some(&ask.conversation), &ask.request).await?.is_some() {
        return Ok(());
    }
    let attempts = desk.setbacks.take(&key(ask));
    delivery.set_aside(&Why::new(Cause::Killed, TOO_LATE), attempts).await
}

fn again() -> Settle {
    Settle::Again(chance::between(Duration::ZERO, AGAIN_MAX))
}

/// Wishes to stop; they are heard until the last turn has ended.
async fn hear_cancels(desk: Arc<Desk>) {
    let mut delays = Delays::new(RETRY_FIRST, RETRY_LONGEST);
    loop {
        match desk.bus.cancels().await {
            Ok(mut cancels) => {
                delays.reset();
                while let Some((tenant, request, wish)) = cancels.next().await {
                    desk.running.cancel(tenant, request, wish);
                }
            }
            Err(error) => tracing::warn!(%error, "wishes to stop cannot be heard; trying again"),
        }
        tokio::time::sleep(delays.next_delay()).await;
    }
}

/// Who answers which conversation.
async fn hear_the_rule(desk: Arc<Desk>, until: Shutdown) {
    desk.bus.follow_rule(&until).await;
}

/// Conversations that change their owner; they are heard of until the last turn has ended.
async fn hear_owners(desk: Arc<Desk>) {
    turn::follow_owners(&desk).await;
}

/// Wishes to resume; they are heard until the last turn has ended.
async fn hear_resumes(desk: Arc<Desk>) {
    let mut delays = Delays::new(RETRY_FIRST, RETRY_LONGEST);
    loop {
        match desk.bus.resumes().await {
            Ok(mut resumes) => {
                delays.reset();
                while let Some(wish) = resumes.next().await {
                    desk.running.join(wish).await;
                }
            }
            Err(error) => tracing::warn!(%error, "wishes to resume cannot be heard; trying again"),
        }
        tokio::time::sleep(delays.next_delay()).await;
    }
}
