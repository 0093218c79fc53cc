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

/// PURE: citations.
mod sources;

/// PURE: what a colleague reads first.
mod summary;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use talkfleet_shared::{
    bus,
    chat::{
        Citation, Exchange, Intent, Kind, Language, ModelCall, ModelUse, Passage, Replayed, RetrieveReply, Rung, Usage,
    },
    config::ConfigError,
    id::TenantId,
    metrics::{self, Metrics},
};

use self::{
    cache::{AnswerCache, Kept, Lookup},
    cassette::{Speaker, speaker},
    editor::{Edited, Editor, Stop},
    ground::Shown,
    model::{Answering, Model, ModelError, Piece},
    prompt::{Prompt, Question},
    quote::{quote, without_instructions},
};
use crate::{
    config::{ModelConfig, PlanConfig, WorkerConfig},
    plan::{ModelState, Plan, Refusal},
    turn::Voice,
};

/// What an answer lacks when the model should have spoken and did not.
pub const DEGRADED_MODEL: &str = "model";

/// What an answer lacks when the model said what the passages do not support.
const DEGRADED_GROUNDING: &str = "grounding";

/// Why a model stops when it was not done.
const CUT_SHORT: [&str; 2] = ["length", "content_filter"];

/// Everybody who can speak here.
pub struct Speakers {
    metrics: Arc<Metrics>,
    model: Option<Model>,
    cache: AnswerCache,
    model_config: ModelConfig,
    plan: PlanConfig,
}

/// What an answer is made from.
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
    /// Time until the deadline.
    pub left: Duration,
}

/// What is known of an answer beside its text, which the voice has.
#[derive(Debug, Clone, PartialEq)]
pub struct Spoken {
    pub kind: Kind,
    pub rung: Rung,
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
            citations: Vec::new(),
            usage: None,
            model_call: None,
            degraded: None,
            summary: None,
        }
    }
}

impl Speakers {
    pub fn new(config: &WorkerConfig, metrics: Arc<Metrics>) -> Result<Self, ConfigError> {
        Ok(Self {
            model: Model::new(&config.model, config.retries, metrics.clone())?,
            cache: AnswerCache::new(config, metrics.clone()),
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

    /// Whether asking the model makes sense; a recording is always ready.
    pub fn model_state(&self, replayed: Option<&Replayed>) -> ModelState {
        match replayed.map(|replayed| replayed.model) {
            Some(ModelUse::Recorded | ModelUse::RecordedOrLive) => ModelState::Ready,
            Some(ModelUse::Off) => ModelState::Absent,
            Some(ModelUse::Live) | None => self.model.as_ref().map_or(ModelState::Absent, Model::state),
        }
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
            Plan::Approved { reply } => {
                voice.say_at_once(&reply).await;
                Spoken { rung: Rung::Approved, ..Spoken::canned(Kind::Answer) }
            }
            Plan::Refuse(why) => {
                let near = brief.found.map_or(&[][..], |found| &found.passages);
                voice.say_at_once(&canned::refusal(why, brief.language, near, &self.plan)).await;
                Spoken::canned(Kind::Refusal)
            }
            Plan::Quote => quote(brief, voice).await,
            Plan::Generate => self.generate(brief, voice).await,
        }
    }

    /// The model speaks; when it cannot, breaks off, or says what the passages do not, the knowledge is quoted.
    async fn generate(&self, brief: &Brief<'_>, voice: &mut Voice<'_>) -> Spoken {
        let Some(found) = brief.found else { return quote(brief, voice).await };
        let shown = found.passages.iter().take(self.plan.passages_max as usize);
        let passages: Vec<Passage> = shown.map(without_instructions).collect();
        voice.tell_sources(&sources::citations(&passages)).await;
        let key = self.cache.key(brief);
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
                return Spoken { citations, model_call, rung: Rung::Model, ..answer };
            }
        };
        match relayed {
            Ok(Relayed { stop: None, spoken }) => spoken,
            // What was said before it did not know the rest is an answer.
            Ok(Relayed { stop: Some(Stop::Ignorance), spoken }) if !spoken.citations.is_empty() => spoken,
            Ok(Relayed { stop: Some(Stop::Ignorance), spoken }) => {
                let refused = Plan::Refuse(Refusal::NotKnown);
                if voice.text().ends_with(|c: char| !c.is_whitespace()) {
                    voice.say(" ").await;
                }
                let refusal = Box::pin(self.speak(refused, brief, voice)).await;
                Spoken { usage: spoken.usage, model_call: spoken.model_call, ..refusal }
            }
            Ok(Relayed { stop: Some(Stop::Unsupported(reason)), spoken }) => {
                self.metrics.ungrounded.get_or_create(&metrics::Reason { reason: reason.name() }).inc();
                tracing::info!(
                    reason = reason.name(),
                    "the model said what the passages do not; they are quoted instead"
                );
                let quoted = self.quote_after(canned::quoted_instead(brief.language), brief, voice).await;
                let Spoken { usage, model_call, .. } = spoken;
                Spoken { usage, model_call, degraded: Some(DEGRADED_GROUNDING), ..quoted }
            }
            Err(error) => {
                tracing::warn!(%error, "the model did not answer; the knowledge is quoted instead");
                let quoted = self.quote_after(canned::interrupted(brief.language), brief, voice).await;
                Spoken { degraded: Some(DEGRADED_MODEL), ..quoted }
            }
        }
    }

    /// Quotes the knowledge, with a sentence that leads over when something was said before.
    async fn quote_after(&self, bridge: &str, brief: &Brief<'_>, voice: &mut Voice<'_>) -> Spoken {
        if !voice.text().trim().is_empty() {
            voice.say_at_once(&format!("\n\n{bridge}\n\n")).await;
        }
        quote(brief, voice).await
    }

    /// Passes on what a model says, sentence by sentence, as far as the passages support it.
    async fn relay(
        &self,
        passages: &[Passage],
        brief: &Brief<'_>,
        voice: &mut Voice<'_>,
    ) -> Result<Relayed, ModelError> {
        let question = Question {
            text: brief.text,
            intent: brief.intent,
            language: brief.language,
            history: brief.history,
            passages,
        };
        let hosts = passages.iter().filter_map(|passage| marks::host(&passage.url)).map(str::to_owned).collect();
        let shown: Vec<_> =
            passages.iter().map(|passage| Shown { title: &passage.title, text: &passage.text }).collect();
        let mut editor = Editor::new(&shown, hosts, brief.text, self.plan.grounding);
        let prompt = Prompt::new(&self.model_config, &question);
        let prompt_digest = bus::digest(&serde_json::to_vec(&prompt).unwrap_or_default());
        let mut answering = match speaker(brief.replayed, &prompt_digest) {
            Speaker::Recording(call) => Answering::recorded(call),
            Speaker::Model => {
                let model = self.model.as_ref().ok_or(ModelError::Away)?;
                let leave = model.enter()?;
                voice.ask_model();
                model.ask(leave, &prompt, brief.left).await?
            }
            Speaker::Nobody => return Err(ModelError::Unrecorded),
        };
        let told = match tell(&mut answering, &mut editor, voice).await {
            Ok(told) if told.text.trim().is_empty() => return Err(answering.fail(ModelError::Empty)),
            Ok(told) => told,
            Err(error) => return Err(answering.fail(error)),
        };
        let usage = answering.finish();
        let mut citations = sources::citations(editor.cited().filter_map(|n| passages.get(n)));
        if citations.is_empty() && editor.has_claimed() {
            // Supported by what it was shown, and it did not say by which.
            citations = sources::citations(passages.first());
        }
        let call = ModelCall { prompt_digest, text: told.text, finish: told.finish, usage: usage.clone() };
        let spoken =
            Spoken { citations, usage, model_call: Some(call), rung: Rung::Model, ..Spoken::canned(Kind::Answer) };
        // Courtesies alone are no answer.
        let stop = told.stop.or((!editor.has_claimed()).then_some(Stop::Ignorance));
        Ok(Relayed { stop, spoken })
    }
}

/// What came of a model's speech.
struct Relayed {
    /// Why it was not heard to the end.
    stop: Option<Stop>,
    spoken: Spoken,
}

/// What a model said, and what it said about it.
#[derive(Default)]
struct Told {
    text: String,
    finish: String,
    stop: Option<Stop>,
}

/// Says what the model says, as far as it is let through, until it ends.
async fn tell(answering: &mut Answering, editor: &mut Editor, voice: &mut Voice<'_>) -> Result<Told, ModelError> {
    let mut told = Told::default();
    loop {
        let piece = tokio::select! {
            biased;
            piece = answering.next() => piece,
            () = voice.due() => {
                voice.flush().await;
                continue;
            }
        };
        let edited = match piece? {
            Piece::Words(words) => {
                told.text.push_str(&words);
                editor.push(&words)
            }
            Piece::Finish(finish) => {
                told.finish = finish;
                continue;
            }
            Piece::Usage { .. } => continue,
            Piece::End => {
                // What was cut short ends in half a sentence.
                let edited =
                    if CUT_SHORT.contains(&told.finish.as_str()) { Edited::default() } else { editor.finish() };
                voice.say(&edited.text).await;
                return Ok(Told { stop: edited.stop, ..told });
            }
        };
        voice.say(&edited.text).await;
        if edited.stop.is_some() {
            return Ok(Told { stop: edited.stop, ..told });
        }
    }
}
