//! What the intent role does: recognise the intent, the entities and the language of a message.

use std::time::Instant;

use talkfleet_shared::{
    chat::{Entity, Intent, IntentReply, IntentRequest, Language, Problem},
    error::Code,
    id::TenantId,
};

use super::home::{Play, Refined};
use crate::{
    catalog::{Catalog, IntentCard, LoadedIntents},
    config::Role,
    intent::{
        Kind,
        entities::{self, entities},
        remote::{Heard, Remote},
    },
    text,
};

/// Classifies with whatever intents are current for the tenant, and asks a model server besides where there is one.
pub struct IntentRole {
    pub catalog: Catalog,
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
        let classified = intents.model.classify(&question.text, embedding);
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
            Ok(heard) => Refined::Lasting(spoken(&intents, &question.text, built_in, heard)),
            Err(_) => Refined::Passing(built_in),
        }
    }
}

/// The reply when the remote arm has spoken, as its version says. A label that the tenant's intents do not have is out of
/// scope: nobody approved an answer for it, and the plan would not know what to make of it.
fn spoken(intents: &LoadedIntents, text: &str, built_in: IntentReply, heard: Heard) -> IntentReply {
    let card = heard.label.as_deref().and_then(|label| intents.card(label));
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
        version: format!("{}+{}", intents.version, heard.version),
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
