//! Asking recorded turns again: conversations side by side, the turns of each in order, every side alike.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::ProgressBar;
use talkfleet_shared::{
    bus::{AskHeaders, Bus, BusError, Start, SubmitError},
    chat::{Ask, ModelUse, TurnRecord},
    id::{ConversationId, RequestId, TenantId},
    retry::Delays,
    telemetry::Trace,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};

use super::{
    Side,
    conversations::{Conversation, Recorded, ask_again},
    pace::{Gate, Speed},
};

/// What redeliveries may add to a turn's budget before its outcome is given up.
const REDELIVERIES: Duration = Duration::from_secs(45);

/// Waits before a conversation's next turn is tried again: the one before is settled a moment after its record is there.
const BUSY_FIRST: Duration = Duration::from_millis(2);
const BUSY_LONGEST: Duration = Duration::from_millis(250);

/// What a turn waits while the live fleet has more to do than half of what it may.
const NARROW_WAIT: Duration = Duration::from_millis(100);

/// How turns are asked again.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) run: String,
    pub(super) speed: Speed,
    pub(super) in_flight: usize,
    pub(super) budget: Duration,
    /// None leaves messages as they were.
    pub(super) model: Option<ModelUse>,
    /// From where on outcomes are heard.
    pub(super) hear_from: Start,
}

/// One conversation on one side.
pub(super) struct Track {
    pub(super) side: Side,
    pub(super) bus: Bus,
    /// The turns that are still to be asked.
    pub(super) turns: Vec<usize>,
}

/// An outcome: whose it is, and what it is.
pub(super) type Outcome = (Side, RequestId, TurnRecord);

/// What became of each side.
pub(super) type Passes = HashMap<Side, Pass>;

/// What became of one side.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pass {
    /// Turns that were never answered.
    pub(super) missing: u64,
    pub(super) answers: u64,
    /// When its first turn was published, and when its last record came.
    pub(super) began_at: Option<Instant>,
    pub(super) ended_at: Option<Instant>,
}

impl Pass {
    /// From its first message to its last record.
    pub(super) fn took(&self) -> Duration {
        self.began_at.zip(self.ended_at).map_or(Duration::ZERO, |(began_at, ended_at)| ended_at - began_at)
    }
}

/// The requests whose outcome is still to come.
#[derive(Default)]
struct Board(Mutex<HashMap<RequestId, Slot>>);

struct Slot {
    side: Side,
    original: RequestId,
    landed: Option<oneshot::Sender<()>>,
}

/// Everything that the tracks share.
struct Driver {
    plan: Plan,
    turns: Vec<Recorded>,
    board: Board,
    passes: Mutex<Passes>,
    room: Arc<Semaphore>,
    gate: watch::Receiver<Gate>,
    started: Instant,
    first_ms: u64,
    bar: ProgressBar,
}

/// The request that asks a turn again; the same for the same run and side, so that a second try is the same request.
pub(super) fn request_again(run: &str, side: Side, original: &TurnRecord) -> RequestId {
    RequestId::from_idempotency_key(&original.tenant, &format!("{run} {} {}", side.name(), original.request))
}

/// Each side has conversations of its own, so that two may share a lane.
fn conversation_again(run: &str, side: Side, original: &TurnRecord) -> ConversationId {
    if side == Side::Live {
        return original.conversation.clone();
    }
    ConversationId::from_idempotency_key(&original.tenant, &format!("{run} {} {}", side.name(), original.conversation))
}

/// The tracks of some sides, those of one conversation beside one another, in the order in which they began.
pub(super) fn tracks<'a>(
    conversations: &'a [Conversation],
    sides: &'a [(Side, Bus)],
    is_answered: impl Fn(Side, usize) -> bool + 'a,
) -> impl Iterator<Item = Track> + 'a {
    conversations.iter().flat_map(move |conversation| {
        let track = |(side, bus): &(Side, Bus)| {
            let open = conversation.turns.iter().copied().filter(|turn| !is_answered(*side, *turn));
            Track { side: *side, bus: bus.clone(), turns: open.collect() }
        };
        sides.iter().map(track).filter(|track| !track.turns.is_empty()).collect::<Vec<_>>()
    })
}

/// Asks everything again; outcomes go to `outcomes` as they come.
pub(super) async fn drive(
    plan: Plan,
    turns: Vec<Recorded>,
    tracks: Vec<Track>,
    gate: watch::Receiver<Gate>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    bar: ProgressBar,
) -> Result<Passes, BusError> {
    let open = || tracks.iter().flat_map(|track| track.turns.iter().map(|turn| (track.side, &turns[*turn].original)));
    let slots = open().map(|(side, original)| {
        let slot = Slot { side, original: original.request.clone(), landed: None };
        (request_again(&plan.run, side, original), slot)
    });
    let board = Board(Mutex::new(slots.collect()));
    let first_ms = open().map(|(_, original)| original.asked_at_ms).min().unwrap_or_default();
    let room = Arc::new(Semaphore::new(plan.in_flight));
    let hear_from = plan.hear_from;
    let (passes, started) = (Mutex::default(), Instant::now());
    let driver = Arc::new(Driver { plan, turns, board, passes, room, gate, started, first_ms, bar });
    let mut listening = JoinSet::new();
    let mut heard: Vec<String> = Vec::new();
    for track in &tracks {
        let lane = track.bus.lane().name();
        if !heard.iter().any(|known| known == lane) {
            heard.push(lane.to_owned());
            let records = track.bus.follow_turns(hear_from).await?;
            listening.spawn(listen(driver.clone(), records, outcomes.clone()));
        }
    }
    drop(outcomes);
    let mut running = JoinSet::new();
    for track in tracks {
        let Some(permit) = driver.admit(track.turns[0]).await else { break };
        running.spawn(run(driver.clone(), track, permit));
        while let Some(ended) = running.try_join_next() {
            driver.count(ended);
        }
    }
    while let Some(ended) = running.join_next().await {
        driver.count(ended);
    }
    listening.shutdown().await;
    Ok(lock(&driver.passes).clone())
}

/// Takes outcomes as they come.
async fn listen(
    driver: Arc<Driver>,
    mut records: talkfleet_shared::bus::Records,
    outcomes: mpsc::UnboundedSender<Outcome>,
) {
    while let Some(stored) = records.next().await {
        let record = match stored.map(|stored| stored.read()) {
            Ok(Ok(record)) => record,
            Ok(Err(error)) => {
                tracing::warn!(%error, "an outcome cannot be read");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "outcomes cannot be read");
                continue;
            }
        };
        // What is not expected was answered before, or belongs to another run in this lane.
        let Some(slot) = driver.board.lock().remove(&record.request) else { continue };
        driver.bar.inc(1);
        driver.pass(slot.side, |pass| {
            pass.answers += 1;
            pass.ended_at = Some(Instant::now());
        });
        let _ = outcomes.send((slot.side, slot.original, record));
        if let Some(landed) = slot.landed {
            let _ = landed.send(());
        }
    }
}

/// One conversation on one side; how many of its turns were never answered comes back.
async fn run(driver: Arc<Driver>, track: Track, permit: OwnedSemaphorePermit) -> (Side, u64) {
    let mut permit = Some(permit);
    for (place, turn) in track.turns.iter().enumerate() {
        let held = match permit.take() {
            Some(permit) => permit,
            None => match driver.admit(*turn).await {
                Some(permit) => permit,
                None => return (track.side, (track.turns.len() - place) as u64),
            },
        };
        let answered = driver.ask(&track, &driver.turns[*turn]).await;
        drop(held);
        if !answered {
            // Its conversation is closed until that turn expires at the broker.
            let lost = (track.turns.len() - place) as u64;
            driver.bar.inc(lost);
            return (track.side, lost);
        }
    }
    (track.side, 0)
}

impl Driver {
    /// Waits until a turn is due, the live fleet has time, and there is room.
    async fn admit(&self, turn: usize) -> Option<OwnedSemaphorePermit> {
        let due = self.plan.speed.due(self.first_ms, self.turns[turn].original.asked_at_ms);
        tokio::time::sleep_until(self.started + due).await;
        let permit = self.room.clone().acquire_owned().await.ok()?;
        let mut gate = self.gate.clone();
        let now = *gate.wait_for(|gate| *gate != Gate::Shut).await.ok()?;
        if now == Gate::Narrow {
            tokio::time::sleep(NARROW_WAIT).await;
        }
        Some(permit)
    }

    /// Asks a turn again and waits for its outcome; false when there is none.
    async fn ask(&self, track: &Track, turn: &Recorded) -> bool {
        let original = &turn.original;
        let request = request_again(&self.plan.run, track.side, original);
        let Some(landed) = self.board.wait(&request) else { return true };
        let headers = AskHeaders {
            request,
            reply_to: String::new(),
            budget: self.plan.budget,
            trace: Trace::start(&mut rand::rng()),
            last_only: false,
            opening: false,
        };
        let conversation = conversation_again(&self.plan.run, track.side, original);
        let ask = self.plan.model.map_or_else(|| turn.ask.clone(), |model| ask_again(turn, model));
        let now = Instant::now();
        self.pass(track.side, |pass| pass.began_at = pass.began_at.or(Some(now)));
        let give_up = now + self.plan.budget + REDELIVERIES;
        if let Err(error) = submit(&track.bus, &original.tenant, &conversation, ask, &headers, give_up).await {
            tracing::warn!(%error, request.id = %original.request, "a turn could not be asked again");
            return false;
        }
        tokio::time::timeout_at(give_up, landed).await.is_ok()
    }

    fn count(&self, ended: Result<(Side, u64), tokio::task::JoinError>) {
        if let Ok((side, lost)) = ended {
            self.pass(side, |pass| pass.missing += lost);
        }
    }

    fn pass(&self, side: Side, change: impl FnOnce(&mut Pass)) {
        change(lock(&self.passes).entry(side).or_default());
    }
}

impl Board {
    /// Hears of an outcome; None when it is there already.
    fn wait(&self, request: &RequestId) -> Option<oneshot::Receiver<()>> {
        let (sender, receiver) = oneshot::channel();
        self.lock().get_mut(request)?.landed = Some(sender);
        Some(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Slot>> {
        lock(&self.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Publishes a message; while its conversation is busy or the queue is full, it waits.
pub(super) async fn submit(
    bus: &Bus,
    tenant: &TenantId,
    conversation: &ConversationId,
    mut ask: Ask,
    headers: &AskHeaders,
    give_up: Instant,
) -> Result<bool, SubmitError> {
    let mut delays = Delays::new(BUSY_FIRST, BUSY_LONGEST);
    loop {
        match bus.submit(tenant, conversation, &ask, headers).await {
            Ok(accepted) => return Ok(accepted.duplicate),
            // What the model said is the largest part; without it the prompt counts as a changed one.
            Err(SubmitError::TooLarge) if ask.replayed.as_ref().is_some_and(|replayed| replayed.call.is_some()) => {
                ask.replayed.iter_mut().for_each(|replayed| replayed.call = None);
            }
            Err(SubmitError::TooLarge) => return Err(SubmitError::TooLarge),
            Err(error) if Instant::now() >= give_up => return Err(error),
            Err(_) => tokio::time::sleep(delays.next_delay()).await,
        }
    }
}
