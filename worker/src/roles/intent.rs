//! What the intent role does: recognise the intent, the entities and the language of a message.

use talkfleet_shared::{
    chat::{Entity, Intent, IntentReply, IntentRequest, Language, Problem},
    error::Code,
    id::TenantId,
};

use super::home::Play;
use crate::{
    catalog::{Catalog, IntentCard},
    config::Role,
    encoder::Encoders,
    intent::{
        Choice, Kind, Message,
        entities::{self, EntityKind, entities},
    },
    text,
};

/// Classifies with whatever intents are current for the tenant.
pub struct IntentRole {
    pub catalog: Catalog,
    /// What a message is encoded with when a cheaper classifier is not sure.
    pub encoders: Encoders,
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

    fn embeds<'a>(&self, tenant: &TenantId, question: &'a IntentRequest) -> Option<&'a str> {
        let intents = self.catalog.intents(tenant)?;
        intents.model.uses_embeddings().then_some(question.text.as_str())
    }

    fn play(
        &self,
        tenant: &TenantId,
        question: &IntentRequest,
        embedding: Option<&[f32]>,
    ) -> Result<IntentReply, Problem> {
        let intents = self.catalog.intents(tenant).ok_or_else(|| Problem::new(Code::NotFound))?;
        let message = Message::new(&question.text, &self.encoders);
        let message = match embedding {
            Some(embedding) => message.with_embedding(embedding),
            None => message,
        };
        let classified = intents.model.read(&message, Choice::Cascade);
        let language = super::language(text::language(&question.text));
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
        kind: entity_kind(entity.kind).to_owned(),
        value: entity.value,
        start: entity.start as u32,
        end: entity.end as u32,
    };
    entities(text).into_iter().map(wire).collect()
}

fn entity_kind(kind: EntityKind) -> &'static str {
    match kind {
        EntityKind::Email => "email",
        EntityKind::OrderNumber => "order_number",
        EntityKind::Card => "card",
        EntityKind::Phone => "phone",
        EntityKind::Amount => "amount",
        EntityKind::Date => "date",
    }
}
