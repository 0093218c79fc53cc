//! What the intent role does: recognise the intent, the entities and the language of a message.

use std::{borrow::Cow, time::Instant};

use talkfleet_shared::{
    chat::{Entity, Intent, IntentReply, IntentRequest, Language, Problem},
    error::Code,
    id::TenantId,
};

use super::home::{Play, Refined};
use crate::{
    catalog::{Catalog, IntentCard},
    config::Role,
    encoder::Encoders,
    intent::{
        Choice, Kind, Message,
        entities::{self, bare, entities},
        remote::{Heard, Remote},
    },
};

/// Classifies with whatever intents are current for the tenant, and asks a model server besides where there is one.
pub struct IntentRole {
    pub catalog: Catalog,
    /// What a message is encoded with when a cheaper classifier is not sure.
    pub encoders: Encoders,
    pub remote: Option<Remote>,
}

impl Play for IntentRole {
    type Question = IntentRequest;
    type Answer = IntentReply;
    const ROLE: Role = Role::Intent;
    const SERVICE: &'static str = "intent";
    const DESCRIPTION: &'static str = "What a customer wants: intent, confidence, entities, language";

    fn version(&self, tenant: &TenantId) -> Option<String> {
        self.catalog.intents(tenant).map(|intents| intents.version.clone())
    }

    fn key(question: &IntentRequest) -> String {
        question.text.clone()
    }

    fn embeds<'a>(&self, tenant: &TenantId, question: &'a IntentRequest) -> Option<Cow<'a, str>> {
        let intents = self.catalog.intents(tenant)?;
        intents.model.uses_embeddings().then(|| bare(&question.text).text)
    }

    fn play(
        &self,
        tenant: &TenantId,
        question: &IntentRequest,
        embedding: Option<&[f32]>,
    ) -> Result<IntentReply, Problem> {
        let intents = self.catalog.intents(tenant).ok_or_else(|| Problem::new(Code::NotFound))?;
        // A number that only names something tells nothing of what is wanted, nor of the language.
        let bare = bare(&question.text);
        let message = Message::new(&bare.text, &self.encoders);
        let message = match embedding {
            Some(embedding) => message.with_embedding(embedding),
            None => message,
        };
        let classified = intents.model.read(&message, Choice::Cascade);
        let language = super::language(bare.language);
        let card = classified.intent.as_deref().and_then(|name| intents.card(name));
        let (name, confidence) = match &classified.intent {
            Some(name) => (name.clone(), classified.confidence),
            None => (Intent::OUT_OF_SCOPE.to_owned(), 1.0 - classified.in_scope),
        };
        Ok(IntentReply {
            name,
            confidence,
            kind: kind(classified.kind.unwrap_or_default()).to_owned(),
            language,
            entities: named(&question.text),
            reply: card.and_then(|card| reply(card, language, &question.text)),
            version: intents.version.clone(),
        })
    }

    async fn refine(
        &self,
        tenant: &TenantId,
        question: &IntentRequest,
        built_in: IntentReply,
        until: Instant,
    ) -> Refined<IntentReply> {
        let wanted = self.remote.as_ref().filter(|remote| remote.is_wanted(built_in.confidence));
        let (Some(remote), Some(intents)) = (wanted, self.catalog.intents(tenant)) else {
            return Refined::Lasting(built_in);
        };
        match remote.classify(&question.text, until).await {
            Ok(heard) => Refined::Lasting(spoken(&intents.intents, &intents.version, &question.text, built_in, heard)),
            Err(_) => Refined::Passing(built_in),
        }
    }
}

/// The reply when the remote arm has spoken, as its version says. A label that the tenant's intents do not have is out of
/// scope: nobody approved an answer for it, and the plan would not know what to make of it.
fn spoken(cards: &[IntentCard], version: &str, text: &str, built_in: IntentReply, heard: Heard) -> IntentReply {
    let card = heard.label.as_deref().and_then(|label| cards.iter().find(|card| card.name == label));
    let (name, confidence) = match (card, heard.label) {
        (Some(card), _) => (card.name.clone(), heard.confidence),
        (None, Some(_)) => (Intent::OUT_OF_SCOPE.to_owned(), heard.confidence),
        (None, None) => (Intent::OUT_OF_SCOPE.to_owned(), 1.0 - heard.confidence),
    };
    IntentReply {
        name,
        confidence,
        kind: kind(card.map(|card| card.kind).unwrap_or_default()).to_owned(),
        reply: card.and_then(|card| reply(card, built_in.language, text)),
        version: format!("{version}+{}", heard.version),
        ..built_in
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Question => "question",
        Kind::SmallTalk => "small_talk",
        Kind::Handover => "handover",
    }
}

/// One of the approved replies in the customer's language; the same message is always given the same one.
fn reply(card: &IntentCard, language: Language, text: &str) -> Option<String> {
    let replies = card.replies.get(language.code()).or_else(|| card.replies.get(Language::English.code()))?;
    replies.get(text.len() % replies.len().max(1)).cloned()
}

fn named(text: &str) -> Vec<Entity> {
    let wire = |entity: entities::Entity| Entity {
        kind: entity.kind.name().to_owned(),
        value: entity.value,
        start: entity.start as u32,
        end: entity.end as u32,
    };
    entities(text).into_iter().map(wire).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn card(name: &str, kind: Kind, reply: Option<&str>) -> IntentCard {
        let replies = reply.map(|reply| ("en".to_owned(), vec![reply.to_owned()])).into_iter().collect();
        IntentCard { name: name.into(), kind, description: String::new(), examples: BTreeMap::new(), replies }
    }

    fn check(label: Option<&str>, confidence: f32, expected: (&str, f32, &str, Option<&str>)) {
        let cards = [card("refund", Kind::Question, None), card("hello", Kind::SmallTalk, Some("Hello!"))];
        let order = Entity { kind: "order_number".into(), value: "HL-20481234".into(), start: 0, end: 11 };
        let built_in = IntentReply {
            name: "hello".into(),
            confidence: 0.4,
            kind: "small_talk".into(),
            language: Language::English,
            entities: vec![order.clone()],
            reply: Some("Hi.".into()),
            version: "v1".into(),
        };
        let heard = Heard { label: label.map(str::to_owned), confidence, version: "bert/7".into() };
        let told = spoken(&cards, "v2", "HL-20481234?", built_in, heard);
        let (name, confidence, kind, reply) = expected;
        assert_eq!((told.name.as_str(), told.kind.as_str(), told.reply.as_deref()), (name, kind, reply));
        assert!((told.confidence - confidence).abs() < 1e-6, "{told:?}");
        assert_eq!((told.version.as_str(), told.entities), ("v2+bert/7", vec![order]));
    }

    #[test]
    fn what_the_remote_arm_says_takes_the_place_of_the_built_in_intent() {
        check(Some("refund"), 0.9, ("refund", 0.9, "question", None));
        check(Some("hello"), 0.8, ("hello", 0.8, "small_talk", Some("Hello!")));
    }

    #[test]
    fn an_intent_that_the_tenant_does_not_have_is_out_of_scope() {
        check(Some("open_account"), 0.9, ("out_of_scope", 0.9, "question", None));
        check(Some("LABEL_3"), 0.9, ("out_of_scope", 0.9, "question", None));
        check(Some("out_of_scope"), 0.7, ("out_of_scope", 0.7, "question", None));
        check(None, 0.3, ("out_of_scope", 0.7, "question", None));
    }
}
