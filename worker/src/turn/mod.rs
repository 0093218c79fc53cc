//! One turn, told by its owner: recall, classify, search, plan, speak, record; whatever happens, exactly one outcome.

/// The broker's clock.
mod clock;

/// PURE: what is found out on the way, and the record made of it.
mod draft;

/// How a turn ends, in the order that a crash anywhere survives.
mod ending;

/// Redelivered asks, kept apart.
mod lanes;

/// Turns that cannot be answered at all: poison, and what nobody can read.
mod lost;

/// Who owns each conversation.
mod owners;

/// Turns that wait for a model.
mod parking;

/// The conversation so far.
mod recall;

/// The turns that run here, and who listens to them.
mod running;

/// Which rung an answer starts from, and the wait for a model.
mod rungs;

/// What is remembered of deliveries that come again.
mod setbacks;

/// PURE: what was said so far.
mod speech;

/// How a turn speaks.
mod voice;

/// PURE: what is looked for besides a message's own words.
mod wider;

/// What operators see of a turn.
mod watched;

/// PURE: wishes to stop that came early.
mod wishes;

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use talkfleet_shared::{
    bus::{AskDelivery, Bus, BusError, Seat, Settle},
    chat::{DeliveryClass, Intent, IntentReply, Language, Outcome, Problem, RetrieveReply, TAKEOVER, Versions},
    clock::{now, since},
    error::Code,
    release::Release,
    spans::{Kind, Span, key},
    topology::DELIVERIES_MAX,
};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub use self::{
    clock::{Clock, follow},
    draft::millis,
    lost::Lost,
    owners::{Owners, follow as follow_owners},
    running::Running,
    setbacks::Setbacks,
    voice::Voice,
};
use self::{
    draft::{Draft, language_of},
    lanes::Lanes,
    rungs::Rungs,
    running::Line,
    wider::{Alone, Wider, composed, is_better, wider},
};
use crate::{
    config::{PlanConfig, WorkerConfig},
    intake::{self, Intake},
    intent::entities::bare,
    ladder::Step,
    memory::Memory,
    plan::{self, Evidence, ModelState, Plan},
    response::{Brief, DEGRADED_MODEL, Size, Speakers, Spoken},
    roles::{Caller, Roles},
};

/// An ask that lay this long may have been cancelled before this worker could hear of it; asking costs a round trip.
const QUEUED_LONG: Duration = Duration::from_millis(500);

/// Everything that the turns of this process share.
pub struct Desk {
    pub bus: Bus,
    pub roles: Roles,
    /// None in a replay's lane.
    pub memory: Option<Memory>,
    pub speakers: Speakers,
    pub running: Arc<Running>,
    pub setbacks: Setbacks,
    pub owners: Owners,
    pub rungs: Rungs,
    pub intake: Intake,
    pub release: Release,
    /// What every record of this worker begins with.
    pub versions: Versions,
    pub clock: watch::Receiver<Clock>,
    /// Fired when the grace is over: what still runs goes back to the queue.
    pub hand_back: CancellationToken,
    /// When this worker began to listen; what was asked before may have been cancelled unheard.
    opened_at: OffsetDateTime,
    plan: PlanConfig,
    slow: Duration,
    turns_max: usize,
    searches_itself: bool,
    lanes: Lanes,
}

impl Desk {
    pub fn new(
        config: &WorkerConfig,
        roles: Roles,
        memory: Option<Memory>,
        speakers: Speakers,
        clock: watch::Receiver<Clock>,
    ) -> Self {
        let opened_at = clock.borrow().now();
        Self {
            bus: roles.bus.clone(),
            rungs: Rungs::new(config, roles.bus.metrics().clone()),
            release: config.release.name,
            versions: Versions::of(config.release.version(), config.release.name),
            intake: Intake::new(config, roles.bus.metrics().clone()),
            searches_itself: intake::searches_itself(config),
            roles,
            memory,
            speakers,
            running: Arc::default(),
            setbacks: Setbacks::default(),
            owners: Owners::default(),
            opened_at,
            clock,
            hand_back: CancellationToken::new(),
            plan: config.plan.clone(),
            slow: Duration::from_millis(config.turn.slow_ms),
            turns_max: config.memory.turns_max,
            lanes: Lanes::new(config.roles.response_concurrency),
        }
    }

    pub fn now(&self) -> OffsetDateTime {
        self.clock().now()
    }

    /// Somebody was forgotten: their turns stop, and what is kept of anybody's questions goes.
    pub fn forget(&self) {
        self.running.mind_forgotten(&self.bus);
        self.speakers.forget_answers();
    }

    fn clock(&self) -> Clock {
        *self.clock.borrow()
    }
}

/// Why a turn stopped being composed.
enum Ended {
    Spoken(Box<Spoken>),
    Cancelled,
    /// A person took the conversation over, or gave it back.
    TakenOver,
    Expired,
    /// This worker stops; another shall answer.
    HandBack,
}

/// Answers an ask and says how its delivery shall be settled; an error means that no outcome could be stored yet.
pub async fn run(desk: &Desk, ask: &AskDelivery, seat: &Seat) -> Result<Settle, BusError> {
    let mut span = watched::began(desk, ask);
    let settled = tell(desk, ask, seat, &mut span).await;
    match &settled {
        Ok(Settle::Again(_)) => span.fail("handed back"),
        Err(_) => span.fail("no outcome could be stored"),
        Ok(Settle::Done | Settle::Aside) => {}
    }
    settled
}

async fn tell(desk: &Desk, ask: &AskDelivery, seat: &Seat, span: &mut Span) -> Result<Settle, BusError> {
    let place = desk.running.enter(desk, ask);
    let asked_at_ms = millis(ask.asked_at);
    if desk.bus.is_forgotten(&ask.tenant, ask.ask.user.as_ref(), &ask.conversation, asked_at_ms) {
        let voice = Voice::open(place.line(), ask.request.clone(), ask.attempt).await;
        return Ok(ending::end_forgotten(desk, asked_at_ms, voice).await);
    }
    if ask.attempt > 1 {
        desk.bus.metrics().redeliveries.inc();
        if let Some(record) = desk.bus.read_record(&ask.tenant, Some(&ask.conversation), &ask.request).await? {
            return Ok(ending::end_again(desk, place.line(), &record).await);
        }
    }
    let queued = Duration::try_from(desk.now() - ask.asked_at).unwrap_or_default();
    let unheard = queued > QUEUED_LONG || ask.asked_at < desk.opened_at + QUEUED_LONG;
    if (unheard || ask.attempt > 1)
        && let Ok(Some(wish)) = desk.bus.is_cancelled(&ask.tenant, &ask.request).await
    {
        desk.running.cancel(ask.tenant.clone(), ask.request.clone(), wish);
    }
    let mut draft = Draft::new(ask, queued, desk.versions.clone());
    draft.load = desk.rungs.load(desk, ask, queued);
    let (began, left) = (now(), desk.clock().until(ask.deadline));
    let left = if queued > QUEUED_LONG && desk.intake.is_too_late(left) { Duration::ZERO } else { left };
    let mut voice = Voice::open(place.line(), ask.request.clone(), ask.attempt).await;
    let ended = tokio::select! {
        biased;
        () = place.line().cancelled() => Ended::Cancelled,
        () = place.line().taken_over() => Ended::TakenOver,
        () = passed(left) => Ended::Expired,
        () = desk.hand_back.cancelled() => Ended::HandBack,
        spoken = speak(desk, ask, seat, place.line(), &mut draft, &mut voice) => Ended::Spoken(Box::new(spoken)),
    };
    let outcome = match ended {
        // The answer's last words may have been fenced off.
        Ended::Spoken(_) | Ended::TakenOver if place.line().is_taken_over() => {
            Outcome::Cancelled { text: voice.said().text, by: Some(TAKEOVER.into()) }
        }
        Ended::Spoken(spoken) => draft.answered(ask, voice.text(), *spoken, desk.now()),
        Ended::Cancelled | Ended::TakenOver => Outcome::Cancelled { text: voice.said().text, by: None },
        Ended::Expired => Outcome::Expired { problem: Problem::new(Code::Expired) },
        Ended::HandBack if !ask.class.is_durable() => Outcome::Failed { problem: Problem::new(Code::WorkerAway) },
        Ended::HandBack if i64::from(ask.attempt) < DELIVERIES_MAX => return Ok(Settle::Again(Duration::ZERO)),
        Ended::HandBack => Outcome::Failed { problem: Problem::new(Code::TurnFailed) },
    };
    if !left.is_zero() && draft.timings.intent_ms == 0.0 && matches!(outcome, Outcome::Expired { .. }) {
        desk.intake.worked(since(began));
    }
    ending::count_saved(desk, &outcome, &voice);
    watched::ended(desk, ask, &draft.timings, &outcome, span);
    if ask.class == DeliveryClass::Fast {
        return Ok(ending::end_unkept(desk, &outcome, desk.now() - ask.asked_at, voice).await);
    }
    let record = draft.record(ask, voice.said(), outcome, desk.now());
    if ask.class == DeliveryClass::Journaled {
        return Ok(ending::end_journaled(desk, &record, voice).await);
    }
    ending::end(desk, place.line(), record, voice).await
}

/// Waits until a deadline has passed; one that has is not waited for at all, as even an empty sleep takes a millisecond.
async fn passed(left: Duration) {
    if !left.is_zero() {
        tokio::time::sleep(left).await;
    }
}

/// Speaks, unless a person has the conversation: then the customer only hears that somebody is there.
async fn speak(
    desk: &Desk,
    ask: &AskDelivery,
    seat: &Seat,
    line: &Line,
    draft: &mut Draft,
    voice: &mut Voice<'_>,
) -> Spoken {
    let spoken = match line.is_humans() {
        true => desk.speakers.with_colleague(draft.language, voice).await,
        false => compose(desk, ask, seat, draft, voice).await,
    };
    voice.flush().await;
    spoken
}

/// Composes the answer; roles that are away degrade it and never end it.
async fn compose(desk: &Desk, ask: &AskDelivery, seat: &Seat, draft: &mut Draft, voice: &mut Voice<'_>) -> Spoken {
    let lane = desk.lanes.enter(ask.attempt).await;
    let text = ask.ask.text.as_str();
    let message = bare(text);
    let caller = Caller { tenant: &ask.tenant, trace: ask.trace, left: desk.clock().until(ask.deadline) };
    if draft.load == Step::Approved
        && let Some(spoken) = rungs::approved_at_once(desk, caller, text, draft, voice).await
    {
        return spoken;
    }
    let (recalled, intent, found) = tokio::join!(
        timed(recall::recall(desk, ask, caller).instrument(span("recall"))),
        timed(desk.roles.classify(caller, text).instrument(span("intent"))),
        timed(desk.roles.search(caller, &message.text, desk.plan.passages_max).instrument(span("retrieval"))),
    );
    let history = draft.recalled(recalled);
    let mut intent = draft.classified(intent, || language_of(text, &history));
    let mut found = draft.searched(found);
    if message.is_number && draft.language == Language::Other {
        // Nobody has said a word yet; it is asked in English.
        draft.language = Language::English;
    }
    let alone = Alone { intent: intent.as_deref(), found: found.as_deref() };
    if let Some(wider) = wider(&desk.plan, &message, draft.language, &history, alone) {
        // Boxed, as what is long and rare: a turn is moved with all of it.
        (intent, found) = Box::pin(widen(desk, caller, wider, draft, (intent, found))).await;
    }
    desk.intake.worked(draft.own_work(desk.searches_itself));
    if let Some(intent) = &draft.intent {
        desk.bus.metrics().intent_confidence.observe(f64::from(intent.confidence));
        voice.tell_intent(intent, draft.language).await;
    }
    // A customer's message decides nothing about the model, whatever it says.
    let replayed = ask.ask.replayed.as_ref().filter(|_| !desk.bus.lane().is_live());
    let left = desk.clock().until(ask.deadline);
    let start = rungs::start(desk, ask, draft.load, left);
    let may_wait = rungs::may_wait(desk, ask, &start, left);
    let evidence = Evidence { intent: intent.as_deref(), found: found.as_deref(), model: start.model, may_wait };
    let plan = plan::plan(&desk.plan, evidence);
    let mut speaking = desk.bus.tracer().child(ask.trace, "response", Kind::Internal);
    let unknown = Intent::unknown();
    let brief = Brief {
        tenant: &ask.tenant,
        text,
        intent: draft.intent.as_ref().unwrap_or(&unknown),
        intents_version: intent.as_ref().map_or("", |intent| intent.version.as_str()),
        language: draft.language,
        history: &history,
        found: found.as_deref(),
        replayed,
        size: if start.step == Step::Small { Size::Small } else { Size::Full },
        left,
        span: &speaking,
    };
    let quoted_for_want_of_a_model = plan == Plan::Quote && start.model == ModelState::Away;
    let speech = Box::pin(rungs::speak(desk, seat, (&start, plan), &brief, lane, voice)).instrument(span("response"));
    let (spoken, response_ms) = timed(speech).await;
    speaking.set(key::RUNG, spoken.rung.name());
    draft.timings.response_ms = response_ms;
    let outcome = if spoken.degraded.is_some() { "degraded" } else { "ok" };
    desk.bus.metrics().stage("response", outcome, Duration::from_secs_f64(response_ms / 1_000.0));
    let lacking = spoken.degraded.or(quoted_for_want_of_a_model.then_some(DEGRADED_MODEL));
    draft.degraded.extend(lacking.map(str::to_owned));
    spoken
}

/// What was recognised and what was found, each as far as its role answered.
type Evident = (Option<Arc<IntentReply>>, Option<Arc<RetrieveReply>>);

/// Looks wider than the message's own words, and keeps what answers it better; a role that fails now changes nothing.
async fn widen(desk: &Desk, caller: Caller<'_>, wider: Wider, draft: &mut Draft, own: Evident) -> Evident {
    let search = |text: String| async move {
        let found = desk.roles.search(caller, &text, desk.plan.passages_max).instrument(span("retrieval")).await;
        found.ok()
    };
    let (intent, found) = (own.0.as_deref(), own.1.as_deref());
    let alone = Alone { intent, found };
    let started = now();
    let evident = match wider {
        Wider::Instead(text) => {
            let found = search(text).await;
            (own.0.clone(), found.or(own.1.clone()))
        }
        Wider::Each(parts) => {
            let found = join_all(parts.into_iter().map(search)).await;
            let together = composed(&desk.plan, alone, &found).map(Arc::new);
            (own.0.clone(), together.or(own.1.clone()))
        }
        Wider::Also { text, lean } => {
            let classify = desk.roles.classify(caller, &text).instrument(span("intent"));
            let (intent, found) = tokio::join!(classify, search(text.clone()));
            let intent = intent.ok().map(|wide| draft.of_this_message(&wide)).or(own.0.clone());
            let wide = Alone { intent: intent.as_deref(), found: found.as_deref() };
            if is_better(&desk.plan, lean, alone, wide) { (intent, found) } else { own }
        }
    };
    draft.widened(&evident, since(started).as_secs_f64() * 1_000.0);
    evident
}

fn span(stage: &'static str) -> tracing::Span {
    tracing::debug_span!("stage", stage)
}

async fn timed<T>(stage: impl Future<Output = T>) -> (T, f64) {
    let started = now();
    (stage.await, since(started).as_secs_f64() * 1_000.0)
}
