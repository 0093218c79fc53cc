//! What a search server may do to us, and what we make of it: the suite in both dialects, faults, and a real server where there is one.

use std::{sync::Arc, time::Duration};

use talkfleet_shared::metrics::Metrics;
use talkfleet_worker::{catalog::Backend, config::WorkerConfig, encoder::Encoder, store::Store, text::Language};

use super::{
    Base, config, encoder, postgres_with_vectors,
    stand_in::{StandIn, What},
    store, suite,
};

/// Names a server that the suite is run against, such as `http://127.0.0.1:9200`; it is left with a few indices `suite-…`.
const SERVER: &str = "TALKFLEET_TEST_SEARCH";

/// elasticsearch or opensearch, which it is when nothing is said.
const DIALECT: &str = "TALKFLEET_TEST_SEARCH_DIALECT";

/// Set for a server that cannot search by embeddings, such as the in-memory one of the package osmem-server.
const WORDS_ONLY: &str = "TALKFLEET_TEST_SEARCH_WORDS_ONLY";

fn elastic(url: &str, dialect: &str) -> WorkerConfig {
    config(&[
        ("retrieval.backend", "elasticsearch"),
        ("retrieval.timeout_ms", "2000"),
        ("retrieval.breaker_failures", "3"),
        ("retrieval.breaker_open_ms", "300"),
        ("elasticsearch.url", url),
        ("elasticsearch.dialect", dialect),
        ("elasticsearch.prefix", "suite"),
        ("elasticsearch.replicas", "0"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn both_dialects_answer_the_same_questions() {
    let data = tempfile::tempdir().unwrap();
    let engines = postgres_with_vectors(&data).await;
    let (store, encoder) = (store(&engines).await, encoder().await);
    for dialect in ["elasticsearch", "opensearch"] {
        let server = StandIn::start(dialect).await;
        let config = elastic(&server.url, dialect);
        suite::run(dialect, &store, &|| Backend::new(&config, &store, Metrics::new("worker")).unwrap(), &encoder).await;
    }
    let server = StandIn::start("elasticsearch").await;
    a_server_with_faults_is_survived(&store, &server, &encoder).await;
    engines.stop().await;
}

/// Against a server of yours: `TALKFLEET_TEST_SEARCH=http://127.0.0.1:9200 cargo test --test it a_real_server -- --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a search server, named by TALKFLEET_TEST_SEARCH"]
async fn a_real_server_answers_the_same_questions() {
    let url = std::env::var(SERVER).expect("name a server in TALKFLEET_TEST_SEARCH");
    let dialect = std::env::var(DIALECT).unwrap_or_else(|_| "opensearch".into());
    let data = tempfile::tempdir().unwrap();
    let engines = postgres_with_vectors(&data).await;
    let (store, encoder) = (store(&engines).await, encoder().await);
    let config = elastic(&url, &dialect);
    let open = || Backend::new(&config, &store, Metrics::new("worker")).unwrap();
    // Each run has tenants of its own.
    let name = format!("t{}", std::process::id());
    suite::run_by_words(&name, &store, &open, &encoder).await;
    if std::env::var_os(WORDS_ONLY).is_none() {
        suite::run(&name, &store, &open, &encoder).await;
    }
    engines.stop().await;
}

pub(super) async fn a_server_with_faults_is_survived(store: &Store, server: &StandIn, encoder: &Arc<Encoder>) {
    let config = elastic(&server.url, "elasticsearch");
    let open = || Backend::new(&config, store, Metrics::new("worker")).unwrap();
    let mut base = Base::open(store, open(), "faults", encoder).await;
    let (before, bulks) = (server.indices(), server.calls("_bulk"));
    // Half of the items are rejected for load, then the whole request, then all goes through.
    server.break_next("_bulk", What::Items);
    server.break_next("_bulk", What::Status(429));
    let texts: Vec<_> = (0..9)
        .map(|n| base.document(&format!("d{n}"), "Parcel", &[&format!("Parcel locker {n} is in the hall.")], &[]))
        .collect();
    base.change(texts, &[]).await;
    assert_eq!(server.calls("_bulk") - bulks, 3);
    assert_eq!(base.hits("parcel locker", true, 16).await.len(), 9);

    // Each refusal is one clear sentence, and the breaker lets the server alone after three.
    let search = || base.hits_of("parcel", None, Language::English, 3);
    for (what, expected) in [
        (What::Status(401), "check elasticsearch.api_key"),
        (What::Garbage, "check elasticsearch.url"),
        (What::Silence(Duration::from_secs(5)), "did not answer within 2000 ms"),
    ] {
        server.break_next("_msearch", what);
        let error = search().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let calls = server.calls("_msearch");
    let error = search().await.unwrap_err().to_string();
    assert!(error.contains("left alone") && server.calls("_msearch") == calls, "{error}");
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(search().await.unwrap().len(), 3, "one that tries closes it again");

    // Somebody deletes the index: a search says so, and the next loading makes it anew.
    server.lose_everything();
    let error = search().await.unwrap_err().to_string();
    assert!(error.contains("is missing") && error.contains("made anew"), "{error}");
    base.change(vec![base.document("d1", "Parcel", &["Parcel lockers have gone."], &[])], &[]).await;
    assert_eq!(base.hits("parcel locker", true, 16).await.len(), 9);
    assert_eq!(server.indices().len(), before.len(), "one index behind the alias: {:?}", server.indices());

    // A worker that cannot log in is told so at once.
    server.break_next("/state", What::Status(403));
    let error = open().refresh(&base.store, &base.tenant, None).await.err().unwrap().to_string();
    assert!(error.contains("what that user may do"), "{error}");
    // A server of the other kind is refused with its name.
    let config = elastic(&server.url, "opensearch");
    let other = Backend::new(&config, store, Metrics::new("worker")).unwrap().refresh(store, &base.tenant, None).await;
    assert!(other.err().unwrap().to_string().contains("Elasticsearch 8.17.0"));
}
