//! What the retrieval role does: find the passages that answer, and quote the sentences that do.

use std::{borrow::Cow, sync::Arc};

use talkfleet_shared::{
    chat::{Passage, Problem, RetrieveReply, RetrieveRequest},
    error::Code,
    id::TenantId,
};

use tokio::runtime::Handle;

use super::home::Play;
use crate::{
    catalog::Catalog,
    config::Role,
    encoder::Encoder,
    response::extract,
    retrieval::{self, Hit, Tuning, remote::Question},
    text,
};

/// The most passages of one answer, whatever a caller wants.
const PASSAGES_MAX: u32 = 50;

/// Searches whatever knowledge is current for the tenant.
pub struct RetrievalRole {
    pub catalog: Catalog,
    pub encoder: Option<Arc<Encoder>>,
    pub tuning: Tuning,
}

impl Play for RetrievalRole {
    type Question = RetrieveRequest;
    type Answer = RetrieveReply;
    const ROLE: Role = Role::Retrieval;
    const SERVICE: &'static str = "retrieve";
    const DESCRIPTION: &'static str = "What the company knows about a question: passages with scores and links";

    fn version(&self, tenant: &TenantId) -> Option<String> {
        self.catalog.knowledge(tenant).map(|knowledge| knowledge.version.clone())
    }

    fn key(question: &RetrieveRequest) -> String {
        format!("{}\n{}", question.passages_max, question.text)
    }

    fn embeds<'a>(&self, _tenant: &TenantId, question: &'a RetrieveRequest) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(&question.text))
    }

    fn play(
        &self,
        tenant: &TenantId,
        question: &RetrieveRequest,
        embedding: Option<&[f32]>,
    ) -> Result<RetrieveReply, Problem> {
        let knowledge = self.catalog.knowledge(tenant).ok_or_else(|| Problem::new(Code::NotFound))?;
        let language = text::language(&question.text);
        let count = question.passages_max.clamp(1, PASSAGES_MAX) as usize;
        let asked = Question { tenant, text: &question.text, embedding, language, count, tuning: &self.tuning };
        // In memory it is work and no waiting; a backend is waited for on this thread, which is one that may block.
        let hits = Handle::current().block_on(knowledge.search(asked)).map_err(|error| {
            if !error.is_old_news() {
                tracing::warn!(%error, stage = Self::ROLE.name(), "the knowledge cannot be searched");
            }
            Problem::new(Code::Internal)
        })?;
        let encoder = self.encoder.as_deref();
        let sentence = |passage: &retrieval::Passage, place, query: &[f32]| {
            knowledge.sentence_meaning(passage, place, query, encoder?)
        };
        let meanings = encoder.map(|_| extract::Meanings { sentence: &sentence });
        let quoted = extract::extract(&question.text, embedding, &hits, meanings, language);
        Ok(RetrieveReply {
            answerable: hits.first().map_or(0.0, |hit| hit.score),
            passages: hits.into_iter().map(passage).collect(),
            extract: Some(quoted.text).filter(|text| !text.is_empty()),
            version: knowledge.version.clone(),
        })
    }
}

fn passage(hit: Hit) -> Passage {
    let passage = &hit.passage;
    Passage {
        id: passage.id.clone(),
        document: passage.document.clone(),
        title: passage.title.clone(),
        url: passage.url.clone(),
        text: passage.text.clone(),
        language: super::language(passage.language),
        score: hit.score,
    }
}
