//! Knowledge that no longer fits in a worker: searched where it lies, ranked here as the index in memory ranks.
//!
//! A backend gives candidates by words and by meaning with their exact scores. What differs from the index in memory:
//! the best few dozen of each list are ranked and not all passages, and the mean and the deviation that scores are
//! standardised by come from a sample of the base's embeddings and from the sums over what its words matched.

/// PURE: a text as weighted terms, so that a backend's sum of products is BM25.
mod terms;

/// PURE: how the scores of a base that nobody holds as a whole are spread.
mod outline;

/// PURE: candidates of a backend become hits.
mod fuse;

/// PURE: what a backend's questions gave, put together.
mod gather;

/// The meanings of sentences that were quoted.
mod sentences;

/// PostgreSQL with pgvector.
pub mod pgvector;

/// Elasticsearch and OpenSearch.
pub mod elastic;

use std::time::Duration;

use talkfleet_shared::id::TenantId;

pub use self::{outline::Outline, sentences::QuotedSentences};
use super::Tuning;
use crate::encoder::DIMENSIONS;
use crate::store::{self, SnapshotDocument, Store, StoreError};
use crate::text::Language;

/// Kinds of entries, as every backend spells them: a passage, a customer's wording, a document with all its wordings.
const TEXT: &str = "text";
const QUESTION: &str = "question";
const WHOLE: &str = "whole";

/// Embeddings of passages that stand for all of a language's: the deviation is then within 3 % (one in √2·512).
const SAMPLE_PASSAGES: i64 = 512;

/// Documents whose wordings stand for those of all.
const SAMPLE_WORDED: i64 = 128;

/// Documents that are read, cut into terms and written at a time; also what a first load's average length is guessed by.
const BATCH_DOCUMENTS: u32 = 500;

/// Candidates of each list, by words and by meaning, when fewer hits are wanted.
const CANDIDATES: i64 = 32;

/// Passages of a document that are looked at when its wordings led there.
const PASSAGES_OF_DOCUMENT_MAX: i32 = 50;

/// How often a worker looks whether another one has brought the base up to date.
const BUSY_LOOK: Duration = Duration::from_millis(200);

/// Why a backend cannot be searched or brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Elastic(#[from] elastic::ElasticError),
    #[error("the search backend failed too often and is left alone for a moment")]
    LeftAlone,
    #[error("the search backend did not answer within {0} ms")]
    Timeout(u64),
}

/// A question with everything that is known of it.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub tenant: &'a TenantId,
    pub text: &'a str,
    pub embedding: Option<&'a [f32]>,
    pub language: Language,
    pub count: usize,
    pub tuning: &'a Tuning,
}

impl Question<'_> {
    /// Candidates of each list: at least as many as hits are wanted.
    fn candidates(&self) -> i64 {
        CANDIDATES.max(self.count as i64)
    }
}

/// One thing a backend keeps, before it is cut into terms.
struct Piece {
    document: String,
    kind: &'static str,
    ordinal: i32,
    language: Language,
    title: String,
    text: String,
    embedding: Option<Vec<f32>>,
}

/// What a backend keeps of a document. Wordings without a passage lead nowhere.
fn pieces(document: SnapshotDocument) -> Vec<Piece> {
    let SnapshotDocument { id, title, language, passages, questions, .. } = document;
    if passages.is_empty() {
        return Vec::new();
    }
    let piece = |kind, ordinal, title: &str, text: String, embedding| Piece {
        document: id.clone(),
        kind,
        ordinal,
        language,
        title: title.to_owned(),
        text,
        embedding,
    };
    let mut found = Vec::new();
    if !questions.is_empty() {
        let texts: Vec<&str> = passages.iter().chain(&questions).map(|passage| passage.text.as_str()).collect();
        found.push(piece(WHOLE, 0, "", texts.join("\n"), None));
    }
    let kept = |passage: store::Passage| (passage.text, passage.embedding.filter(|own| own.len() == DIMENSIONS));
    for (kind, title, own) in [(TEXT, title.as_str(), passages), (QUESTION, "", questions)] {
        for (ordinal, (text, embedding)) in (0..).zip(own.into_iter().map(kept)) {
            found.push(piece(kind, ordinal, title, text, embedding));
        }
    }
    found
}

/// The outline of a tenant's knowledge as it stands now.
async fn outline(store: &Store, tenant: &TenantId) -> Result<Outline, StoreError> {
    let counts = store.knowledge_counts(tenant).await?;
    let passages = store.sample_passages(tenant, SAMPLE_PASSAGES).await?;
    let wordings = store.sample_wordings(tenant, SAMPLE_WORDED).await?;
    Ok(Outline::new(&counts, &passages, &wordings))
}
