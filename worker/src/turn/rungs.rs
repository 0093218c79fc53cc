//! Which rung a turn's answer starts from, and the rungs that need the turn itself: no search, and the wait for a model.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use talkfleet_shared::{
    bus::{AskDelivery, Seat},
    chat::{Kind, Parked, RungReason},
    clock,
    metrics::{Metrics, Reason},
};

use super::{Desk, draft::Draft, parking::Parking, voice::Voice};
use crate::{
    config::WorkerConfig,
    ladder::{self, Ladder, Start, Step, Strain},
    plan::{self, ModelState, Plan},
    response::{Brief, QUOTE_RESERVE, Size, Spoken},
    roles::Caller,
};

/// Nobody is asked to wait for less than this.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// What the turns of a worker share of the ladder.
pub struct Rungs {
    ladder: Mutex<Ladder>,
    pub parking: Parking,
    metrics: Arc<Metrics>,
}

impl Rungs {
    pub fn new(config: &WorkerConfig, metrics: Arc<Metrics>) -> Self {
        let parking = Parking::new(config.plan.parked_max, metrics.clone());
        Self { ladder: Mutex::new(Ladder::new(&config.plan)), parking, metrics }
    }

    /// The rung that the lag calls for, with this turn's wait in it. One that comes again waited for other reasons, and
    /// what is replayed waits for nobody.
    pub fn load(&self, desk: &Desk, ask: &AskDelivery, queued: Duration) -> Step {
        if !desk.bus.lane().is_live() {
            return Step::Full;
        }
        let queued = if ask.attempt == 1 { queued } else { Duration::ZERO };
        let step = self.ladder.lock().unwrap_or_else(PoisonError::into_inner).waited(queued, clock::now());
        self.metrics.ladder_step.set(step as i64);
        step
    }

    /// Counts why an answer came from a lower rung.
    pub fn count(&self, reason: Option<RungReason>) {
        if let Some(reason) = reason {
            self.metrics.rung_reasons.get_or_create(&Reason { reason: reason.name() }).inc();
        }
    }
}

/// From where the answer starts. A replay has its own wish for the model, which a customer's message never has.
pub fn start(desk: &Desk, ask: &AskDelivery, load: Step, left: Duration) -> Start {
    if let Some(replayed) = ask.ask.replayed.as_ref().filter(|_| !desk.bus.lane().is_live()) {
        let model = desk.speakers.model_state(replayed);
        return Start { step: Step::Full, reason: None, model };
    }
    ladder::start(Strain {
        load,
        left: left.saturating_sub(QUOTE_RESERVE),
        full: desk.speakers.faring(Size::Full),
        small: desk.speakers.faring(Size::Small),
        tenant: desk.speakers.tenant_obstacle(&ask.tenant),
    })
}

/// Whether a turn can wait for a model: somebody listens, there is time and room, and what stands in the way may pass.
pub fn may_wait(desk: &Desk, ask: &AskDelivery, start: &Start, left: Duration) -> bool {
    start.model == ModelState::Away
        && matches!(start.reason, Some(RungReason::Breaker | RungReason::Busy))
        && ask.reply_to.is_some()
        && desk.bus.lane().is_live()
        && left > WAIT_MIN + QUOTE_RESERVE
        && desk.rungs.parking.has_room()
}

/// Far behind, a question that the company wrote an answer to is answered with it before anything is searched.
pub async fn approved_at_once(
    desk: &Desk,
    caller: Caller<'_>,
    text: &str,
    draft: &mut Draft,
    voice: &mut Voice<'_>,
) -> Option<Spoken> {
    let intent = desk.roles.classify(caller, text).await.ok()?;
    let reply = plan::approved(&desk.plan, &intent)?;
    desk.rungs.count(Some(RungReason::Lag));
    let language = draft.language;
    draft.classified::<()>((Ok(intent), 0.0), || language);
    if let Some(intent) = &draft.intent {
        voice.tell_intent(intent, draft.language).await;
    }
    Some(Spoken { rung_reason: Some(RungReason::Lag), ..desk.speakers.approved(&reply, voice).await })
}

/// Speaks as planned, and says why from this rung. `lane` is what a redelivered ask holds: while it waits, others have it.
pub async fn speak<L>(
    desk: &Desk,
    seat: &Seat,
    (start, plan): (&Start, Plan),
    brief: &Brief<'_>,
    lane: L,
    voice: &mut Voice<'_>,
) -> Spoken {
    let is_on_the_ladder = matches!(plan, Plan::Generate | Plan::Quote);
    let mut spoken = if plan == Plan::Wait {
        drop(lane);
        wait_and_speak(desk, seat, start, brief, voice).await
    } else {
        desk.speakers.speak(plan, brief, voice).await
    };
    let reason = start.reason.filter(|_| is_on_the_ladder && spoken.kind == Kind::Answer);
    spoken.rung_reason = spoken.rung_reason.or(reason);
    desk.rungs.count(spoken.rung_reason);
    spoken
}

/// Waits in line for a model and lets it speak; at the end of its patience the customer is told honestly.
async fn wait_and_speak(desk: &Desk, seat: &Seat, start: &Start, brief: &Brief<'_>, voice: &mut Voice<'_>) -> Spoken {
    let in_vain = async |voice: &mut Voice<'_>| {
        let spoken = desk.speakers.speak(Plan::Wait, brief, voice).await;
        Spoken { rung_reason: start.reason, ..spoken }
    };
    let Some(mut ticket) = desk.rungs.parking.enter(brief.tenant) else { return in_vain(voice).await };
    let place = ticket.place();
    let wait_ms = desk.speakers.expected_wait(place).as_millis() as u64;
    voice.tell_parked(Parked { place, wait_ms }).await;
    seat.leave();
    let until = clock::now() + brief.left.saturating_sub(QUOTE_RESERVE);
    while ticket.comes_up(until, || desk.speakers.can_generate(brief.tenant)).await {
        let left = until.saturating_duration_since(clock::now()) + QUOTE_RESERVE;
        let brief = Brief { left, ..*brief };
        match desk.speakers.try_to_generate(&brief, voice).await {
            Ok(spoken) => {
                ticket.ends("answered");
                return spoken;
            }
            Err(error) if voice.text().is_empty() => {
                tracing::debug!(%error, "the model failed a turn that waited for it")
            }
            Err(error) => {
                ticket.ends("answered");
                return desk.speakers.go_on_without_model(&error, &brief, voice).await;
            }
        }
    }
    ticket.ends("in_vain");
    in_vain(voice).await
}
