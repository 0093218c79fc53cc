//! Where knowledge is searched: the same questions to every backend, on real engines.

/// What every backend must answer.
mod suite;

/// A stand-in for Elasticsearch and OpenSearch.
mod stand_in;

/// What a search server may do to us, and what we make of it.
mod servers;

/// Figures of one backend beside the other; `--ignored`.
mod figures;

use std::{path::PathBuf, sync::Arc, time::Duration};

use talkfleet::engines::{EngineOptions, Engines, Silent, Sources, fetch_encoder};
use talkfleet_shared::{config::Url, id::TenantId, metrics::Metrics};
use talkfleet_worker::{
    catalog::{Backend, LoadedKnowledge},
    config::WorkerConfig,
    encoder::Encoder,
    retrieval::{Hit, Tuning, remote::Question},
    store::{Change, Document, Passage, Source, Store},
    text::{self, Language},
};
use tempfile::TempDir;

/// PostgreSQL of the package, which brings pgvector; one on the PATH may have none.
pub(crate) async fn postgres_with_vectors(data: &TempDir) -> Engines {
    let elsewhere = Some("elsewhere".to_owned());
    let options = EngineOptions {
        nats: elsewhere.clone(),
        redis: elsewhere,
        ..EngineOptions::new(data.path(), Sources { packages_only: true, ..Sources::from_environment() })
    };
    Engines::start(options, &Silent).await.unwrap()
}

async fn encoder() -> Arc<Encoder> {
    let folder: PathBuf = fetch_encoder(&Sources::from_environment(), &Silent).await.unwrap();
    Arc::new(Encoder::load(&folder).unwrap())
}

fn config(set: &[(&str, &str)]) -> WorkerConfig {
    let flags: Vec<_> = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    WorkerConfig::load(None, &flags).unwrap()
}

/// One tenant's knowledge behind one backend, as a worker has it.
struct Base {
    store: Store,
    backend: Arc<Backend>,
    tenant: TenantId,
    encoder: Arc<Encoder>,
    loaded: LoadedKnowledge,
}

impl Base {
    async fn open(store: &Store, backend: Arc<Backend>, tenant: &str, encoder: &Arc<Encoder>) -> Self {
        let tenant = TenantId::parse(tenant).unwrap();
        let loaded = backend.refresh(store, &tenant, None).await.unwrap();
        Self { store: store.clone(), backend, tenant, encoder: encoder.clone(), loaded }
    }

    /// Another worker of the same fleet.
    async fn beside(&self, backend: Arc<Backend>) -> Self {
        Self::open(&self.store, backend, self.tenant.as_str(), &self.encoder).await
    }

    async fn change(&mut self, put: Vec<Document>, removed: &[&str]) {
        let removed = removed.iter().map(|id| (*id).to_owned()).collect();
        self.store.change_knowledge(&self.tenant, &Change { put, removed, ..Change::default() }).await.unwrap();
        self.follow().await;
    }

    async fn follow(&mut self) {
        self.loaded = self.backend.refresh(&self.store, &self.tenant, Some(&self.loaded)).await.unwrap();
    }

    async fn hits(&self, query: &str, by_meaning: bool, count: usize) -> Vec<Hit> {
        let embedding = by_meaning.then(|| self.encoder.encode(query));
        self.hits_of(query, embedding.as_deref(), text::language(query), count).await.unwrap()
    }

    async fn hits_of(
        &self,
        query: &str,
        embedding: Option<&[f32]>,
        language: Language,
        count: usize,
    ) -> Result<Vec<Hit>, talkfleet_worker::catalog::SearchError> {
        let tuning = Tuning::default();
        let question = Question { tenant: &self.tenant, text: query, embedding, language, count, tuning: &tuning };
        self.loaded.search(question).await
    }

    /// A document whose texts and wordings are embedded.
    fn document(&self, id: &str, title: &str, texts: &[&str], wordings: &[&str]) -> Document {
        document(&self.encoder, id, title, texts, wordings)
    }
}

fn document(encoder: &Encoder, id: &str, title: &str, texts: &[&str], wordings: &[&str]) -> Document {
    let text = |text: &&str| Passage {
        text: (*text).to_owned(),
        embedding: Some(encoder.encode(&format!("{title}\n{text}"))),
    };
    let wording = |text: &&str| Passage { text: (*text).to_owned(), embedding: Some(encoder.encode(text)) };
    Document {
        id: id.to_owned(),
        title: title.to_owned(),
        url: format!("/help/{id}"),
        category: String::new(),
        language: text::language(&format!("{title}\n{}", texts.join("\n"))),
        body: texts.join("\n"),
        digest: Vec::new(),
        source: Source::default(),
        passages: texts.iter().map(text).collect(),
        questions: wordings.iter().map(wording).collect(),
    }
}

async fn store(engines: &Engines) -> Store {
    let store = Store::connect(&Url::new(engines.database_url.clone()), 8).await.unwrap();
    store.migrate().await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_pgvector_answer_the_same_questions() {
    let data = tempfile::tempdir().unwrap();
    let engines = postgres_with_vectors(&data).await;
    let (store, encoder) = (store(&engines).await, encoder().await);
    for name in ["memory", "pgvector"] {
        let config = config(&[("retrieval.backend", name)]);
        suite::run(name, &store, &|| Backend::new(&config, &store, Metrics::new("worker")).unwrap(), &encoder).await;
    }
    // With a graph from the first passage on, the same holds.
    let config = config(&[("retrieval.backend", "pgvector"), ("retrieval.graph_from", "1")]);
    suite::run("graph", &store, &|| Backend::new(&config, &store, Metrics::new("worker")).unwrap(), &encoder).await;
    engines.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_fails_a_search_at_once_and_is_found_again() {
    let data = tempfile::tempdir().unwrap();
    let engines = postgres_with_vectors(&data).await;
    let (store, encoder) = (store(&engines).await, encoder().await);
    let config = config(&[
        ("retrieval.backend", "pgvector"),
        ("retrieval.breaker_failures", "2"),
        ("retrieval.breaker_open_ms", "500"),
        ("retrieval.timeout_ms", "400"),
    ]);
    let mut base =
        Base::open(&store, Backend::new(&config, &store, Metrics::new("worker")).unwrap(), "away", &encoder).await;
    base.change(vec![base.document("returns", "Returns", &["Goods go back within thirty days."], &[])], &[]).await;
    assert_eq!(base.hits("goods go back", true, 3).await.len(), 1);
    engines.kill(talkfleet::engines::Engine::Postgres).unwrap();
    let search = || base.hits_of("goods go back", None, Language::English, 3);
    for _ in 0..2 {
        assert!(search().await.is_err());
    }
    let since = std::time::Instant::now();
    let error = search().await.unwrap_err().to_string();
    assert!(error.contains("left alone") && since.elapsed() < Duration::from_millis(100), "{error}");
    engines.revive(talkfleet::engines::Engine::Postgres).await.unwrap();
    crate::harness::until("the search works again", || async { search().await.ok().map(drop) }).await;
    engines.stop().await;
}
