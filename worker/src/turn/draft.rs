//! PURE: what a turn finds out on its way, and the answer and the record that are made of it.

use std::{sync::Arc, time::Duration};

use talkfleet_shared::{
    bus::AskDelivery,
    chat::{
        Answer, Ask, Exchange, Intent, IntentReply, Language, ModelCall, Outcome, Passage, RetrieveReply, Timings,
        TurnRecord, Versions,
    },
};
use time::OffsetDateTime;

use super::speech::Said;
use crate::{intent::entities::bare, ladder::Step, response::Spoken, roles::language};

/// What was found out on the way; whatever cuts a turn short, its record knows this much.
#[derive(Default)]
pub struct Draft {
    /// The rung that the queue's lag calls for.
    pub load: Step,
    pub language: Language,
    pub intent: Option<Intent>,
    passages: Vec<Passage>,
    pub degraded: Vec<String>,
    pub timings: Timings,
    versions: Versions,
    model_call: Option<ModelCall>,
    summary: Option<String>,
}

/// The conversation so far, and whether the memory itself could not tell.
pub struct Recalled {
    pub history: Vec<Exchange>,
    pub degraded: bool,
}

impl Draft {
    pub fn new(ask: &AskDelivery, queued: Duration, versions: Versions) -> Self {
        Self {
            language: language_of(ask.ask.text.as_str(), &[]),
            timings: Timings { queue_ms: queued.as_secs_f64() * 1_000.0, ..Timings::default() },
            versions,
            ..Self::default()
        }
    }

    pub fn recalled(&mut self, (recalled, elapsed_ms): (Recalled, f64)) -> Vec<Exchange> {
        self.timings.recall_ms = elapsed_ms;
        if recalled.degraded {
            self.degraded.push("memory".into());
        }
        recalled.history
    }

    pub fn classified<E>(
        &mut self,
        (reply, elapsed_ms): (Result<Arc<IntentReply>, E>, f64),
        guess: impl FnOnce() -> Language,
    ) -> Option<Arc<IntentReply>> {
        self.timings.intent_ms = elapsed_ms;
        let Ok(reply) = reply else {
            self.degraded.push("intent".into());
            self.language = guess();
            return None;
        };
        self.language = if reply.language == Language::Other { guess() } else { reply.language };
        self.versions.intents.clone_from(&reply.version);
        let (name, entities) = (reply.name.clone(), reply.entities.clone());
        self.intent = Some(Intent { name, confidence: reply.confidence, entities });
        Some(reply)
    }

    pub fn searched<E>(
        &mut self,
        (reply, elapsed_ms): (Result<Arc<RetrieveReply>, E>, f64),
    ) -> Option<Arc<RetrieveReply>> {
        self.timings.retrieval_ms = elapsed_ms;
        let Ok(reply) = reply else {
            self.degraded.push("retrieval".into());
            return None;
        };
        self.versions.knowledge.clone_from(&reply.version);
        self.passages.clone_from(&reply.passages);
        Some(reply)
    }

    /// The intent of a message that was read with others: what it wants comes from both, what it names from itself.
    pub fn of_this_message(&self, wide: &IntentReply) -> Arc<IntentReply> {
        let entities = self.intent.as_ref().map(|intent| intent.entities.clone()).unwrap_or_default();
        Arc::new(IntentReply { entities, ..wide.clone() })
    }

    /// What is known after it was looked for with other words besides.
    pub fn widened(
        &mut self,
        (intent, found): &(Option<Arc<IntentReply>>, Option<Arc<RetrieveReply>>),
        elapsed_ms: f64,
    ) {
        self.timings.retrieval_ms += elapsed_ms;
        if let Some(intent) = intent {
            let (name, entities) = (intent.name.clone(), intent.entities.clone());
            self.intent = Some(Intent { name, confidence: intent.confidence, entities });
        }
        if let Some(found) = found {
            self.passages.clone_from(&found.passages);
        }
    }

    /// How long recognising took, and searching where it is this process that searches; they run side by side.
    pub fn own_work(&self, searches_itself: bool) -> Duration {
        let Timings { intent_ms, retrieval_ms, .. } = self.timings;
        let own_ms = if searches_itself { intent_ms.max(retrieval_ms) } else { intent_ms };
        Duration::from_secs_f64(own_ms / 1_000.0)
    }

    /// The answer as the customer gets it.
    pub fn answered(&mut self, ask: &AskDelivery, text: &str, spoken: Spoken, now: OffsetDateTime) -> Outcome {
        self.timings.total_ms = (now - ask.asked_at).as_seconds_f64().max(0.0) * 1_000.0;
        self.model_call = spoken.model_call;
        self.summary = spoken.summary;
        Outcome::Answered {
            answer: Box::new(Answer {
                id: ask.request.clone(),
                conversation: ask.conversation.clone(),
                text: text.to_owned(),
                language: self.language,
                intent: self.intent.clone().unwrap_or_else(Intent::unknown),
                citations: spoken.citations,
                kind: spoken.kind,
                rung: spoken.rung,
                rung_reason: spoken.rung_reason,
                degraded: self.degraded.clone(),
                timings: self.timings,
                usage: spoken.usage,
                worker: self.versions.spoken_by(),
            }),
        }
    }

    /// The record that repeats this turn frame by frame.
    pub fn record(mut self, ask: &AskDelivery, said: Said, outcome: Outcome, now: OffsetDateTime) -> TurnRecord {
        self.timings.total_ms = (now - ask.asked_at).as_seconds_f64().max(0.0) * 1_000.0;
        let usage = match &outcome {
            Outcome::Answered { answer } => answer.usage.clone(),
            Outcome::Failed { .. } | Outcome::Expired { .. } | Outcome::Cancelled { .. } => None,
        };
        let spoken = match &outcome {
            Outcome::Failed { .. } | Outcome::Expired { .. } => said.text,
            Outcome::Answered { .. } | Outcome::Cancelled { .. } => String::new(),
        };
        TurnRecord {
            tenant: ask.tenant.clone(),
            conversation: ask.conversation.clone(),
            request: ask.request.clone(),
            attempt: ask.attempt,
            // What a replay brought along for the model has done its work.
            ask: Ask { replayed: None, ..ask.ask.clone() },
            ask_digest: ask.digest.clone(),
            language: self.language,
            intent: self.intent.unwrap_or_else(Intent::unknown),
            passages: self.passages,
            cuts: said.cuts,
            told_intent: said.intent.is_some(),
            parked: said.parked,
            sources: said.sources,
            spoken,
            outcome,
            timings: self.timings,
            usage,
            model_call: self.model_call,
            summary: self.summary,
            versions: self.versions,
            trace: Some(ask.trace.to_string()),
            asked_at_ms: millis(ask.asked_at),
            ended_at_ms: millis(now),
        }
    }
}

/// A message's language by its script; one without letters, or with none beside a number's, keeps the conversation's.
pub fn language_of(text: &str, history: &[Exchange]) -> Language {
    let texts = std::iter::once(text).chain(history.iter().rev().map(|exchange| exchange.question.as_str()));
    texts.map(|text| language(bare(text).language)).find(|found| *found != Language::Other).unwrap_or(Language::Other)
}

/// Unix milliseconds.
pub fn millis(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, earlier: &[&str], expected: Language) {
        let exchange = |question: &&str| Exchange { question: (*question).into(), answer: String::new() };
        let history: Vec<_> = earlier.iter().map(exchange).collect();
        assert_eq!(language_of(text, &history), expected, "{text}");
    }

    #[test]
    fn a_message_without_letters_keeps_the_conversations_language() {
        check("订单到哪了", &["Hello there"], Language::Chinese);
        check("20240101", &["Hello there", "你好"], Language::Chinese);
        check("20240101", &["你好", "Hello there", "👍"], Language::English);
        check("20240101", &[], Language::Other);
        check("HL-20481234", &["我的订单到哪了"], Language::Chinese);
    }
}
