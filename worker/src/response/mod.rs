//! Speaking: the ladder from a model over quoted knowledge to prepared sentences, each rung falling to the next.

/// PURE: the desk's own sentences.
mod canned;

/// PURE: an answer quoted from the knowledge.
pub mod extract;

/// PURE: who speaks for the model in a replay.
mod cassette;

/// What a model just said to the same question.
mod cache;

/// PURE: a stream cut into sentences.
mod cutter;

/// PURE: a model's sentences on their way to the customer.
mod editor;

/// PURE: whether the passages say what a model says.
mod ground;

/// PURE: sentences in articles that speak to a model.
mod injection;

/// PURE: a model's marks and links on their way to the customer.
mod marks;

/// The model's endpoints.
mod model;

/// PURE: what a model is asked.
mod prompt;

/// The knowledge quoted.
mod quote;

/// Passages, read to hold a model to them.
mod readings;

/// A model's words on their way.
mod relay;

/// PURE: citations.
mod sources;

/// PURE: what a colleague reads first.
mod summary;

#[cfg(test)]
mod tests;

pub use self::model::{ModelError, QUOTE_RESERVE};

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use talkfleet_shared::{
    chat::{
        Citation, Exchange, Intent, Kind, Language, ModelCall, ModelUse, Passage, Replayed, RetrieveReply, Rung,
        RungReason, Usage,
    },
    clock,
    config::ConfigError,
    id::TenantId,
    metrics::{self, Metrics},
    spans::Span,
};

use self::{
    cache::{AnswerCache, Kept, Lookup},
    editor::Stop,
    model::Model,
    quote::{Quotations, without_instructions},
    readings::Readings,
    relay::Relayed,
};
use crate::{
    allowance::Allowances,
    config::{ModelConfig, PlanConfig, WorkerConfig},
    keeper::Redis,
    ladder::{self, Faring},
    plan::{ModelState, Plan, Refusal},
    turn::Voice,
};

/// What an answer lacks when the model should have spoken and did not.
pub const DEGRADED_MODEL: &str = "model";

/// What an answer lacks when the model said what the passages do not support.
const DEGRADED_GROUNDING: &str = "grounding";

/// The words in the data of a model's event, and whether it was an end or a failure.
pub(crate) fn said(data: &str) -> (String, bool) {
    model::said(data)
}

/// Everybody who can speak here.
pub struct Speakers {
    metrics: Arc<Metrics>,
    model: Option<Model>,
    small: Option<Model>,
    allowances: Mutex<Allowances>,
    quotations: Quotations,
    readings: Readings,
    cache: AnswerCache,
    model_config: ModelConfig,
    plan: PlanConfig,
}

/// Which of the models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Full,
    Small,
}

/// What an answer is made from.
#[derive(Clone, Copy)]
pub struct Brief<'a> {
    pub tenant: &'a TenantId,
    pub text: &'a str,
    pub intent: &'a Intent,
    /// The artefact that recognised the intent; empty when none did.
    pub intents_version: &'a str,
    pub language: Language,
    pub history: &'a [Exchange],
    pub found: Option<&'a RetrieveReply>,
    /// How a replay wants the message treated; None for a customer's.
    pub replayed: Option<&'a Replayed>,
    /// Who generates it, if anybody does.
    pub size: Size,
    /// Time until the deadline.
    pub left: Duration,
    /// What it is a part of.
    pub span: &'a Span,
}

/// What is known of an answer beside its text, which the voice has.
#[derive(Debug, Clone, PartialEq)]
pub struct Spoken {
    pub kind: Kind,
    pub rung: Rung,
    /// Why no higher rung spoke.
    pub rung_reason: Option<RungReason>,
    pub citations: Vec<Citation>,
    pub usage: Option<Usage>,
    pub model_call: Option<ModelCall>,
    /// What was missing when the model should have spoken and did not, or not to the end.
    pub degraded: Option<&'static str>,
    /// For the colleague who takes over.
    pub summary: Option<String>,
}

impl Spoken {
    fn canned(kind: Kind) -> Self {
        Self {
            kind,
            rung: Rung::Canned,
            rung_reason: None,
            citations: Vec::new(),
            usage: None,
            model_call: None,
            degraded: None,
            summary: None,
        }
    }
}

impl Speakers {
    /// Without Redis a model's answers are kept in this process alone.
    pub fn new(config: &WorkerConfig, redis: Option<Redis>, metrics: Arc<Metrics>) -> Result<Self, ConfigError> {
        Ok(Self {
            model: Model::new(&config.model, config.retries, metrics.clone())?,
            small: Model::small(&config.model, config.retries, metrics.clone())?,
            allowances: Mutex::new(Allowances::new(
                config.model.tenant_concurrency,
                config.model.tenant_tokens_per_min,
            )),
            quotations: Quotations::new(),
            readings: Readings::new(),
            cache: AnswerCache::new(config, redis, metrics.clone()),
            metrics,
            model_config: config.model.clone(),
            plan: config.plan.clone(),
        })
    }

    /// A person has the conversation: the desk says so and no more.
    pub async fn with_colleague(&self, language: Language, voice: &mut Voice<'_>) -> Spoken {
        voice.say_at_once(canned::with_colleague(language)).await;
        Spoken::canned(Kind::Handover)
    }

    /// Somebody was forgotten: nobody can tell whose question made which of the kept answers, so none is kept here.
    pub fn forget_answers(&self) {
        self.cache.drop_here();
    }

    /// Whether asking the model makes sense in a replay; a recording is always ready.
    pub fn model_state(&self, replayed: &Replayed) -> ModelState {
        match replayed.model {
            ModelUse::Recorded | ModelUse::RecordedOrLive => ModelState::Ready,
            ModelUse::Off => ModelState::Absent,
            ModelUse::Live => match self.faring(Size::Full) {
                None => ModelState::Absent,
                Some(Faring { obstacle: None, .. }) => ModelState::Ready,
                Some(Faring { obstacle: Some(_), .. }) => ModelState::Away,
            },
        }
    }

    /// How a model fares; None when there is none of that size.
    pub fn faring(&self, size: Size) -> Option<Faring> {
        self.model(size).map(Model::faring)
    }

    /// Why the tenant may not have a model right now.
    pub fn tenant_obstacle(&self, tenant: &TenantId) -> Option<RungReason> {
        self.allowances().obstacle(tenant, clock::now())
    }

    /// Whether the model can be asked for this tenant right now.
    pub fn can_generate(&self, tenant: &TenantId) -> bool {
        self.faring(Size::Full).is_some_and(|faring| faring.obstacle.is_none())
            && self.tenant_obstacle(tenant).is_none()
    }

    /// How long a turn at this place in line is likely to wait for the model.
    pub fn expected_wait(&self, place: u32) -> Duration {
        let Some(model) = &self.model else { return Duration::ZERO };
        ladder::expected_wait(place, model.opens_in(), model.faring().usual, model.concurrency())
    }

    fn model(&self, size: Size) -> Option<&Model> {
        match size {
            Size::Full => self.model.as_ref(),
            Size::Small => self.small.as_ref(),
        }
    }

    fn allowances(&self) -> MutexGuard<'_, Allowances> {
        self.allowances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The company's own answer.
    pub async fn approved(&self, reply: &str, voice: &mut Voice<'_>) -> Spoken {
        voice.say_at_once(reply).await;
        Spoken { rung: Rung::Approved, ..Spoken::canned(Kind::Answer) }
    }

    /// Speaks as planned, or one rung lower.
    pub async fn speak(&self, plan: Plan, brief: &Brief<'_>, voice: &mut Voice<'_>) -> Spoken {
        match plan {
            Plan::SmallTalk { reply } => {
                voice.say_at_once(&reply.unwrap_or_else(|| canned::small_talk(brief.language))).await;
                Spoken::canned(Kind::SmallTalk)
            }
            Plan::Handover { reply } => {
                voice.say_at_once(&reply.unwrap_or_else(|| canned::handover(brief.language))).await;
                let summary = summary::summary(brief.text, brief.intent, brief.history, brief.language);
                Spoken { summary: Some(summary), ..Spoken::canned(Kind::Handover) }
            }
            Plan::Approved { reply } => self.approved(&reply, voice).await,
            Plan::Wait => {
                voice.say_at_once(canned::waited_in_vain(brief.language)).await;
                let summary = summary::summary(brief.text, brief.intent, brief.history, brief.language);
                let degraded = Some(DEGRADED_MODEL);
                Spoken { summary: Some(summary), degraded, ..Spoken::canned(Kind::Handover) }
            }
            Plan::Refuse(why) => {
                let near = brief.found.map_or(&[][..], |found| &found.passages);
                voice.say_at_once(&canned::refusal(why, brief.language, near, &self.plan)).await;
                Spoken::canned(Kind::Refusal)
            }
            Plan::Quote => self.quotations.quote(brief, voice).await,
            Plan::Generate => self.generate(brief, voice).await,
        }
    }

    /// The model speaks; when it cannot, breaks off, or says what the passages do not, the knowledge is quoted.
    async fn generate(&self, brief: &Brief<'_>, voice: &mut Voice<'_>) -> Spoken {
        match self.try_to_generate(brief, voice).await {
            Ok(spoken) => spoken,
            Err(error) => self.go_on_without_model(&error, brief, voice).await,
        }
    }

    /// The model did not answer, or not to the end: the knowledge is quoted.
    pub async fn go_on_without_model(&self, error: &ModelError, brief: &Brief<'_>, voice: &mut Voice<'_>) -> Spoken {
        tracing::warn!(%error, "the model did not answer; the knowledge is quoted instead");
        let quoted = self.quote_after(canned::interrupted(brief.language), brief, voice).await;
        let rung_reason = Some(match error {
            ModelError::Away => RungReason::Busy,
            _ => RungReason::Failed,
        });
        Spoken { degraded: Some(DEGRADED_MODEL), rung_reason, ..quoted }
    }

    /// The model speaks; what the passages do not say is not said, and they are quoted instead.
    pub async fn try_to_generate(&self, brief: &Brief<'_>, voice: &mut Voice<'_>) -> Result<Spoken, ModelError> {
        let Some(found) = brief.found else { return Ok(self.quotations.quote(brief, voice).await) };
        let shown = found.passages.iter().take(self.plan.passages_max as usize);
        let passages: Vec<Passage> = shown.map(without_instructions).collect();
        voice.tell_sources(&sources::citations(&passages)).await;
        // What the smaller model said is told to nobody else.
        let key = self.cache.key(brief).filter(|_| brief.size == Size::Full);
        let made = async {
            let relayed = self.relay(&passages, brief, voice).await;
            (relayed, voice.text().to_owned())
        };
        let keep = |made: &(Result<Relayed, ModelError>, String)| match made {
            (Ok(Relayed { stop: None, spoken }), text) => cache::keepable(spoken, text),
            _ => None,
        };
        let relayed = match self.cache.answer(key, made, keep).await {
            Lookup::Made((relayed, _)) => relayed,
            Lookup::Failed => self.relay(&passages, brief, voice).await,
            Lookup::Kept(kept) => {
                voice.say_at_once(&kept.text).await;
                let Kept { citations, call: model_call, .. } = (*kept).clone();
                let answer = Spoken::canned(Kind::Answer);
                return Ok(Spoken { citations, model_call, rung: Rung::Model, ..answer });
            }
        };
        Ok(match relayed? {
            Relayed { stop: None, spoken } => spoken,
            // What was said before it did not know the rest is an answer.
            Relayed { stop: Some(Stop::Ignorance), spoken } if !spoken.citations.is_empty() => spoken,
            Relayed { stop: Some(Stop::Ignorance), spoken } => {
                let refused = Plan::Refuse(Refusal::NotKnown);
                if voice.text().ends_with(|c: char| !c.is_whitespace()) {
                    voice.say(" ").await;
                }
                let refusal = Box::pin(self.speak(refused, brief, voice)).await;
                Spoken { usage: spoken.usage, model_call: spoken.model_call, ..refusal }
            }
            Relayed { stop: Some(Stop::Unsupported(reason)), spoken } => {
                self.metrics.ungrounded.get_or_create(&metrics::Reason { reason: reason.name() }).inc();
                tracing::info!(
                    reason = reason.name(),
                    "the model said what the passages do not; they are quoted instead"
                );
                let quoted = self.quote_after(canned::quoted_instead(brief.language), brief, voice).await;
                let Spoken { usage, model_call, .. } = spoken;
                let rung_reason = Some(RungReason::Failed);
                Spoken { usage, model_call, degraded: Some(DEGRADED_GROUNDING), rung_reason, ..quoted }
            }
        })
    }

    /// Quotes the knowledge, with a sentence that leads over when something was said before.
    async fn quote_after(&self, bridge: &str, brief: &Brief<'_>, voice: &mut Voice<'_>) -> Spoken {
        if !voice.text().trim().is_empty() {
            voice.say_at_once(&format!("\n\n{bridge}\n\n")).await;
        }
        self.quotations.quote(brief, voice).await
    }
}
