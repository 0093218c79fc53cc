//! Where a tenant's knowledge is searched: in memory or in a backend, by one face.

use std::{sync::Arc, time::Duration};

use talkfleet_shared::{id::TenantId, metrics::Metrics};

use super::{
    CatalogError,
    memory::{self, InMemory},
};
use crate::{
    config::{BackendName, WorkerConfig},
    encoder::Encoder,
    guard::{Guard, Patience},
    retrieval::{
        Hit, IndexError, Passage,
        remote::{
            BackendError, Question, QuotedSentences,
            elastic::{self, Elastic, ElasticError},
            pgvector::{self, Pgvector},
        },
    },
    store::Store,
};

/// Where knowledge is searched, as it is configured.
pub struct Backend {
    kind: Kind,
    guard: Guard,
    timeout: Duration,
    quoted: QuotedSentences,
}

enum Kind {
    /// In each worker.
    Memory,
    /// In PostgreSQL.
    Pgvector(Arc<Pgvector>),
    /// In Elasticsearch or OpenSearch.
    Elasticsearch(Arc<Elastic>),
}

/// What a tenant knows at one version, ready to be searched.
pub struct LoadedKnowledge {
    pub version: String,
    backend: Arc<Backend>,
    base: Base,
}

enum Base {
    Memory(Box<InMemory>),
    Pgvector(Arc<Pgvector>, pgvector::Base),
    Elasticsearch(Arc<Elastic>, elastic::Base),
}

/// Why a search gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl SearchError {
    /// Whether it was told before: while a backend is left alone, every search fails alike.
    pub fn is_old_news(&self) -> bool {
        matches!(self, Self::Backend(BackendError::LeftAlone))
    }
}

impl Backend {
    pub fn new(config: &WorkerConfig, store: &Store, metrics: Arc<Metrics>) -> Result<Arc<Self>, ElasticError> {
        let retrieval = &config.retrieval;
        let patience = Patience { failures_max: retrieval.breaker_failures, open_ms: retrieval.breaker_open_ms };
        let guard = Guard::new(retrieval.backend.name(), patience, config.retries, metrics);
        let kind = match retrieval.backend {
            BackendName::Memory => Kind::Memory,
            BackendName::Pgvector => Kind::Pgvector(Arc::new(Pgvector::new(store.clone(), retrieval.graph_from))),
            BackendName::Elasticsearch => {
                Kind::Elasticsearch(Arc::new(Elastic::new(&config.elasticsearch, guard.clone())?))
            }
        };
        let timeout = Duration::from_millis(retrieval.timeout_ms);
        Ok(Arc::new(Self { kind, guard, timeout, quoted: QuotedSentences::default() }))
    }

    /// Bounds a search in time, and leaves the backend alone when it failed too often.
    async fn call<T>(&self, work: impl Future<Output = Result<T, BackendError>>) -> Result<T, BackendError> {
        let leave = self.guard.enter().ok_or(BackendError::LeftAlone)?;
        let done = tokio::time::timeout(self.timeout, work).await;
        let done = done.unwrap_or_else(|_| Err(BackendError::Timeout(self.timeout.as_millis() as u64)));
        leave.report(&done);
        done
    }

    /// The tenant's knowledge as it stands now. Where it is searched is brought up to date first, by one worker of all.
    pub async fn refresh(
        self: &Arc<Self>,
        store: &Store,
        tenant: &TenantId,
        before: Option<&LoadedKnowledge>,
    ) -> Result<LoadedKnowledge, CatalogError> {
        let (version, base) = match &self.kind {
            Kind::Memory => {
                let before = before.and_then(LoadedKnowledge::in_memory);
                let loaded = memory::load(store, tenant, before).await?;
                (loaded.revision, Base::Memory(Box::new(loaded)))
            }
            Kind::Pgvector(pgvector) => {
                let base = pgvector.refresh(tenant).await?;
                (base.version, Base::Pgvector(pgvector.clone(), base))
            }
            Kind::Elasticsearch(elastic) => {
                let base = elastic.refresh(store, tenant).await?;
                (base.version, Base::Elasticsearch(elastic.clone(), base))
            }
        };
        Ok(LoadedKnowledge { version: version.to_string(), backend: self.clone(), base })
    }
}

impl LoadedKnowledge {
    /// Passages in it.
    pub fn passages(&self) -> usize {
        match &self.base {
            Base::Memory(own) => own.index.len(),
            Base::Pgvector(_, base) => base.outline.passages(),
            Base::Elasticsearch(_, base) => base.outline.passages(),
        }
    }

    /// The passages that answer a question best, best first.
    pub async fn search(&self, question: Question<'_>) -> Result<Vec<Hit>, SearchError> {
        match &self.base {
            Base::Memory(own) => {
                let Question { text, embedding, language, count, tuning, .. } = question;
                Ok(own.index.search(text, embedding, language, count, tuning)?)
            }
            Base::Pgvector(pgvector, base) => Ok(self.backend.call(pgvector.search(base, question)).await?),
            Base::Elasticsearch(elastic, base) => Ok(self.backend.call(elastic.search(base, question)).await?),
        }
    }

    /// The cosine of an embedding to the sentence at a place of a passage that was found; each is encoded once.
    pub fn sentence_meaning(&self, passage: &Passage, place: usize, query: &[f32], encoder: &Encoder) -> Option<f32> {
        match &self.base {
            Base::Memory(own) => own.index.sentence_meaning(passage, place, query, encoder),
            Base::Pgvector(..) | Base::Elasticsearch(..) => self.backend.quoted.meaning(passage, place, query, encoder),
        }
    }

    fn in_memory(&self) -> Option<&InMemory> {
        match &self.base {
            Base::Memory(own) => Some(own),
            Base::Pgvector(..) | Base::Elasticsearch(..) => None,
        }
    }
}
