//! The turns that run in this process, so that wishes to stop and to resume find them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use talkfleet_shared::{
    bus::{AskDelivery, Bus, ResumeRequest},
    chat::{Frame, FrameBody, Position},
    clock,
    id::{RequestId, TenantId, UserId},
    owner::Conversation,
};
use tokio_util::sync::CancellationToken;

use super::{
    Desk, millis,
    owners::{Held, Owners},
    wishes::{Key, Wish, Wishes, applies},
};

/// Places that hear one answer: the asker and a customer's other tabs; the oldest makes room for the newest.
const LISTENERS_MAX: usize = 8;

/// Every running turn, and the wishes for turns that have not begun.
#[derive(Default)]
pub struct Running(Mutex<State>);

#[derive(Default)]
struct State {
    turns: HashMap<Key, Arc<Line>>,
    wishes: Wishes,
}

/// Where one turn's frames go: to the asker and to whoever joined later.
pub struct Line {
    bus: Bus,
    user: Option<UserId>,
    accepted: Frame,
    deadline: Instant,
    cancelled: CancellationToken,
    /// The owner of the conversation as it was when the turn began.
    held: Held,
    conversation: Conversation,
    asked_at_ms: u64,
    taken_over: CancellationToken,
    log: tokio::sync::Mutex<Log>,
}

/// Frames leave under this lock, so that nobody who joins sees one twice, out of order, or not at all.
struct Log {
    frames: Vec<Frame>,
    listeners: Vec<String>,
    /// Whoever listens wants the last frame alone, and it will come at once.
    last_only: bool,
}

/// A turn's place among the running; left when dropped.
pub struct Place {
    key: Key,
    line: Arc<Line>,
    running: Arc<Running>,
}

impl Running {
    /// Registers a turn; it is cancelled from the start when that was wished before.
    pub fn enter(self: &Arc<Self>, desk: &Desk, ask: &AskDelivery) -> Place {
        let key = (ask.tenant.clone(), ask.request.clone());
        let mut state = self.lock();
        // Under the lock, so that a change of owners either is seen here or finds this line.
        let line = Arc::new(Line::new(desk, ask));
        if state.wishes.holds(&key, line.user.as_ref()) {
            line.cancelled.cancel();
        }
        state.turns.insert(key.clone(), line.clone());
        Place { key, line, running: self.clone() }
    }

    /// Honours a wish to stop, now or when its turn begins.
    pub fn cancel(&self, tenant: TenantId, request: RequestId, wish: Wish) {
        let key = (tenant, request);
        let mut state = self.lock();
        if let Some(line) = state.turns.get(&key)
            && applies(&wish, line.user.as_ref())
        {
            line.cancelled.cancel();
        }
        state.wishes.add(key, wish, clock::now());
    }

    /// Stops every turn whose conversation has another owner than when it began.
    pub fn mind_owners(&self, owners: &Owners, now_ms: u64) {
        for line in self.lock().turns.values() {
            if owners.of(&line.conversation, now_ms).revision > line.held.revision {
                line.taken_over.cancel();
            }
        }
    }

    /// Stops every turn whose customer or conversation was forgotten.
    pub fn mind_forgotten(&self, bus: &Bus) {
        for line in self.lock().turns.values() {
            let (tenant, conversation) = &line.conversation;
            if bus.is_forgotten(tenant, line.user.as_ref(), conversation, line.asked_at_ms) {
                line.cancelled.cancel();
            }
        }
    }

    /// Lets somebody hear a running turn: its frames so far, then those to come.
    pub async fn join(&self, wish: ResumeRequest) {
        let line = self.lock().turns.get(&(wish.tenant, wish.request)).cloned();
        // A customer hears only what they asked; somebody else's request answers like one that does not exist: not at all.
        if let Some(line) = line.filter(|line| applies(&wish.user, line.user.as_ref())) {
            line.join(wish.reply_to, wish.after).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn new(desk: &Desk, ask: &AskDelivery) -> Self {
        let (now, conversation) = (desk.now(), (ask.tenant.clone(), ask.conversation.clone()));
        let log =
            Log { frames: Vec::new(), listeners: ask.reply_to.iter().cloned().collect(), last_only: ask.last_only };
        let (user, cancelled) = (ask.ask.user.clone(), CancellationToken::new());
        let body = FrameBody::Accepted { conversation: ask.conversation.clone(), deadline_ms: 0, delivery: ask.class };
        let accepted = Frame { request: ask.request.clone(), attempt: ask.attempt, seq: 0, body };
        Self {
            bus: desk.bus.clone(),
            user,
            accepted,
            deadline: clock::now() + desk.clock().until(ask.deadline),
            cancelled,
            held: desk.owners.of(&conversation, millis(now)),
            conversation,
            asked_at_ms: millis(ask.asked_at),
            taken_over: CancellationToken::new(),
            log: tokio::sync::Mutex::new(log),
        }
    }

    /// The `accepted` frame with the time that is left: it proves that the turn runs, and whose conversation it is.
    fn accepted(&self) -> Frame {
        let mut frame = self.accepted.clone();
        if let FrameBody::Accepted { deadline_ms, .. } = &mut frame.body {
            *deadline_ms = self.deadline.saturating_duration_since(clock::now()).as_millis() as u64;
        }
        frame
    }

    /// Waits until somebody who may has wished this turn to stop.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Whether a person had the conversation when the turn began.
    pub fn is_humans(&self) -> bool {
        self.held.by_human
    }

    /// Waits until the conversation has another owner than when the turn began.
    pub async fn taken_over(&self) {
        self.taken_over.cancelled().await;
    }

    pub fn is_taken_over(&self) -> bool {
        self.taken_over.is_cancelled()
    }

    /// Sends a frame to everybody who listens, unless it would speak for an owner who is none any more: then it comes
    /// back. Whoever cannot be reached asks for it later.
    pub async fn send(&self, frame: Frame) -> Result<(), Frame> {
        let log = self.log.lock().await;
        let speaks = !matches!(frame.body, FrameBody::Accepted { .. } | FrameBody::Restart) && !frame.body.is_last();
        if speaks && self.is_taken_over() {
            self.bus.metrics().fenced_frames.inc();
            return Err(frame);
        }
        self.emit_all(log, frame).await;
        Ok(())
    }

    /// The last frame will be a while: who wants it alone is sent all the same what was said, as a sign of life.
    pub async fn is_slow(&self) {
        let mut log = self.log.lock().await;
        if !std::mem::take(&mut log.last_only) {
            return;
        }
        let Log { frames, listeners, .. } = &*log;
        for reply_to in listeners {
            for frame in frames {
                emit(&self.bus, reply_to, frame).await;
            }
        }
    }

    /// Sends a frame of a stored outcome: what it tells was said before, whoever owns the conversation now.
    pub async fn repeat(&self, frame: Frame) {
        self.emit_all(self.log.lock().await, frame).await;
    }

    async fn emit_all(&self, mut log: tokio::sync::MutexGuard<'_, Log>, frame: Frame) {
        log.frames.push(frame);
        let Log { frames, listeners, last_only } = &*log;
        let Some(frame) = frames.last().filter(|frame| !last_only || frame.body.is_last()) else { return };
        for reply_to in listeners {
            emit(&self.bus, reply_to, frame).await;
        }
    }

    async fn join(&self, reply_to: String, after: Position) {
        let mut log = self.log.lock().await;
        log.last_only = false;
        emit(&self.bus, &reply_to, &self.accepted()).await;
        for frame in log.frames.iter().filter(|frame| after.wants(frame)) {
            emit(&self.bus, &reply_to, frame).await;
        }
        if !log.listeners.contains(&reply_to) {
            if log.listeners.len() >= LISTENERS_MAX {
                log.listeners.remove(0);
            }
            log.listeners.push(reply_to);
        }
    }
}

async fn emit(bus: &Bus, reply_to: &str, frame: &Frame) {
    if let Err(error) = bus.emit(reply_to, frame).await {
        tracing::debug!(%error, request.id = %frame.request, "a frame could not be sent; it can be fetched later");
    }
}

impl Place {
    pub fn line(&self) -> &Line {
        &self.line
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.running.lock();
        // A later attempt of the same request may have taken the place over.
        if state.turns.get(&self.key).is_some_and(|line| Arc::ptr_eq(line, &self.line)) {
            state.turns.remove(&self.key);
        }
    }
}
