//! The remote arm against stand-ins for model servers over real sockets.

mod stand_in;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use talkfleet_shared::{config::Url, metrics::Metrics};
use tokio::io::AsyncReadExt;

use self::stand_in::{LONG, Temper, bench, defaults, outputs, retries, tensor};
use super::{Heard, Remote, RemoteError};
use crate::config::{IntentConfig, RemoteProtocol, RemoteWhen};

async fn said(temper: Temper) -> Result<Heard, RemoteError> {
    bench(temper, |_| {}).await.ask().await
}

fn heard(label: &str, confidence: f32, version: &str) -> Heard {
    Heard { label: Some(label.into()), confidence, version: version.into() }
}

#[tokio::test]
async fn labels_and_scores_are_understood_and_counted() {
    let bench = bench(Temper::Fine, |_| {}).await;
    assert_eq!(bench.ask().await, Ok(heard("refund", 0.9, "bert/7")));
    bench.counted("ok", 1);
    assert!(bench.metrics.text().contains("talkfleet_stage_seconds_count{stage=\"intent_remote\",outcome=\"ok\"} 1"));
}

#[tokio::test]
async fn the_json_of_a_huggingface_runtime_is_understood() {
    // Its `hg_json` counts the characters of the text as the shape.
    let one = r#"{"label": "track", "score": 0.75}"#;
    let output = json!({ "name": "output", "datatype": "BYTES", "shape": [one.len(), 1], "data": [one] });
    assert_eq!(said(Temper::Says(outputs(&[output]))).await, Ok(heard("track", 0.75, "bert/7")));
    let many = r#"[{"label": "track", "score": 0.25}, {"label": "refund", "score": 0.75}]"#;
    assert_eq!(
        said(Temper::Says(outputs(&[tensor("output", "BYTES", json!([many]))]))).await,
        Ok(heard("refund", 0.75, "bert/7"))
    );
}

#[tokio::test]
async fn labels_of_bare_scores_come_from_the_metadata_once() {
    let bench = bench(Temper::Says(outputs(&[tensor("logits", "FP32", json!([[-3.0, 6.0]]))])), |_| {}).await;
    // The shape that this helper writes counts rows, and the data are one row of two.
    assert!(matches!(bench.ask().await, Err(RemoteError::Shape(_))));
    let bench = self::bench(Temper::Says(outputs(&[tensor("logits", "FP32", json!([-3.0, 6.0]))])), |_| {}).await;
    for _ in 0..3 {
        let heard = bench.ask().await.unwrap();
        assert_eq!(heard.label.as_deref(), Some("track"));
        assert!((heard.confidence - 1.0 / (1.0 + (-9f32).exp())).abs() < 1e-5);
    }
    assert_eq!(bench.server.metadata.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn labels_of_bare_scores_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.txt");
    std::fs::write(&path, "refund\ntrack\nhello\n").unwrap();
    let named = |config: &mut IntentConfig| {
        config.remote_labels = path.display().to_string();
        config.remote_protocol = RemoteProtocol::TfServing;
    };
    let right = bench(Temper::Says(json!({ "predictions": [[0.1, 0.2, 0.7]] })), named).await;
    assert_eq!(right.ask().await, Ok(heard("hello", 0.7, "bert")));
    let two = bench(Temper::Says(json!({ "predictions": [[0.5, 0.5]] })), named).await;
    assert_eq!(two.ask().await, Err(RemoteError::Labels("2 scores for 3 labels".into())));
    two.counted("labels", 1);
}

#[tokio::test]
async fn a_file_of_labels_that_cannot_be_right_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.txt");
    let refused = |labels: &str| {
        std::fs::write(&path, labels).unwrap();
        let config = IntentConfig {
            remote_url: Url::new("http://127.0.0.1:1"),
            remote_labels: path.display().to_string(),
            ..defaults()
        };
        Remote::new(&config, retries(), Metrics::new("worker")).err().unwrap().to_string()
    };
    assert!(refused("a\n\nb").contains("line 2 is empty or a repetition"));
    assert!(refused("a\nb\na").contains("line 3 is empty or a repetition"));
    std::fs::remove_file(&path).unwrap();
    let config = IntentConfig { remote_url: Url::new("http://a"), remote_labels: "/none/here".into(), ..defaults() };
    assert!(
        Remote::new(&config, retries(), Metrics::new("worker")).err().unwrap().to_string().contains("cannot be read")
    );
    assert!(
        Remote::new(&defaults(), retries(), Metrics::new("worker")).unwrap().is_none(),
        "without an address there is none"
    );
}

#[tokio::test]
async fn tensorflow_servings_rest_is_understood() {
    let tf = |config: &mut IntentConfig| config.remote_protocol = RemoteProtocol::TfServing;
    let fine = bench(Temper::Fine, tf).await;
    assert_eq!(fine.ask().await, Ok(heard("refund", 0.9, "bert")));
    // Its JSON has NaN without quotes, which is no JSON.
    let nan = bench(Temper::Writes(r#"{"predictions": [{"labels": ["a"], "scores": [NaN]}]}"#.into()), tf).await;
    assert_eq!(nan.ask().await, Err(RemoteError::Garbage("no JSON")));
    let two = bench(Temper::Says(json!({ "predictions": [[0.5], [0.5]] })), tf).await;
    assert_eq!(two.ask().await, Err(RemoteError::Shape("2 predictions for one text".into())));
    let bare = bench(Temper::Says(json!({ "predictions": [[0.5, 0.5]] })), tf).await;
    assert_eq!(bare.ask().await, Err(RemoteError::Labels("2 scores and no labels".into())));
}

#[tokio::test]
async fn every_fault_has_its_name() {
    let labels = |labels: Value, scores: Value| {
        Temper::Says(outputs(&[tensor("label", "BYTES", labels), tensor("score", "FP32", scores)]))
    };
    let cases = [
        (Temper::Status(503), RemoteError::Status(503), "status"),
        (Temper::Status(404), RemoteError::Status(404), "status"),
        (Temper::Redirects, RemoteError::Status(307), "status"),
        (Temper::Writes("<h1>Welcome</h1>".into()), RemoteError::Garbage("no JSON"), "garbage"),
        (Temper::Writes(r#"{"outputs": [{"na"#.into()), RemoteError::Garbage("no JSON"), "garbage"),
        (Temper::Says(json!({ "outputs": 7 })), RemoteError::Garbage("JSON of another shape"), "garbage"),
        (Temper::Says(outputs(&[])), RemoteError::Shape("neither labels nor scores".into()), "shape"),
        (
            labels(json!(["a", "b", "c"]), json!([0.5, 0.5])),
            RemoteError::Shape("3 labels beside 2 scores".into()),
            "shape",
        ),
        (labels(json!(["a", "b"]), json!([0.5, null])), RemoteError::NotFinite, "not_finite"),
        (Temper::Writes(" ".repeat(super::client::REPLY_BYTES_MAX + 1)), RemoteError::TooLong, "too_long"),
    ];
    for (temper, error, reason) in cases {
        let bench = bench(temper.clone(), |_| {}).await;
        assert_eq!(bench.ask().await, Err(error), "{temper:?}");
        bench.counted(reason, 1);
        assert_eq!(bench.server.elsewhere.load(Ordering::SeqCst), 0, "a redirect was followed");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_resets_has_its_name_too() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = IntentConfig {
        remote_url: Url::new(format!("http://talk:secret@{address}")),
        remote_model: "bert".into(),
        remote_breaker_failures: 9,
        ..defaults()
    };
    let remote = Remote::new(&config, retries(), Metrics::new("worker")).unwrap().unwrap();
    let resets = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Once some has come and not all was read, closing resets.
        let _ = stream.read(&mut [0; 16]).await;
    });
    let error = remote.classify("my money", Instant::now() + LONG).await.unwrap_err();
    assert!(matches!(error, RemoteError::BrokeOff(_)), "{error:?}");
    resets.await.unwrap();
    let error = remote.classify("my money", Instant::now() + LONG).await.unwrap_err();
    assert!(matches!(error, RemoteError::Connect(_)), "{error:?}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_slow_server_is_not_waited_for() {
    let bench = bench(Temper::Mute, |config| config.remote_timeout_ms = 100).await;
    let started = Instant::now();
    assert_eq!(bench.ask().await, Err(RemoteError::Timeout));
    let waited = started.elapsed();
    assert!((Duration::from_millis(100)..Duration::from_millis(900)).contains(&waited), "{waited:?}");
    bench.counted("timeout", 1);
}

#[tokio::test]
async fn a_callers_deadline_is_kept_and_held_against_nobody() {
    let bench = bench(Temper::Mute, |config| config.remote_timeout_ms = 1_400).await;
    let started = Instant::now();
    for _ in 0..3 {
        let until = Instant::now() + Duration::from_millis(150);
        assert_eq!(bench.remote.classify("my money", until).await, Err(RemoteError::NoTime));
        assert!(Instant::now() < until + Duration::from_millis(100));
    }
    assert!(started.elapsed() < Duration::from_millis(1_200));
    bench.counted("no_time", 3);
    assert_eq!(bench.asked(), 3, "the breaker, which opens after two failures, is closed");
    assert_eq!(bench.remote.classify("my money", Instant::now()).await, Err(RemoteError::NoTime));
    assert_eq!(bench.asked(), 3, "without any time nobody is asked");
}

#[tokio::test]
async fn after_failures_it_is_left_alone_until_it_is_ready_again() {
    let bench = bench(Temper::StaysDown(2, 2), |_| {}).await;
    for _ in 0..2 {
        assert_eq!(bench.ask().await, Err(RemoteError::Status(503)));
    }
    assert_eq!(bench.ask().await, Err(RemoteError::Away));
    assert_eq!((bench.asked(), bench.server.readiness.load(Ordering::SeqCst)), (2, 0));
    for denials in 1..=2 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(bench.ask().await, Err(RemoteError::NotReady));
        assert_eq!(bench.ask().await, Err(RemoteError::Away));
        assert_eq!((bench.asked(), bench.server.readiness.load(Ordering::SeqCst)), (2, denials));
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    for _ in 0..3 {
        assert_eq!(bench.ask().await, Ok(heard("refund", 0.9, "bert/7")));
    }
    assert_eq!(
        (bench.asked(), bench.server.readiness.load(Ordering::SeqCst)),
        (5, 3),
        "closed again, nobody asks that"
    );
    bench.counted("not_ready", 2);
    bench.counted("away", 3);
}

#[tokio::test]
async fn one_that_is_ready_and_fails_is_left_alone_again() {
    let bench = bench(Temper::Fails(3), |_| {}).await;
    for _ in 0..2 {
        assert_eq!(bench.ask().await, Err(RemoteError::Status(503)));
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(bench.ask().await, Err(RemoteError::Status(503)), "one call tries");
    assert_eq!(bench.ask().await, Err(RemoteError::Away), "and one failure is enough");
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(bench.ask().await.is_ok());
}

#[tokio::test]
async fn more_than_it_may_be_asked_at_once_is_answered_without_it() {
    let bench = bench(Temper::Mute, |config| {
        config.remote_concurrency = 1;
        config.remote_timeout_ms = 200;
    })
    .await;
    let (first, second) = tokio::join!(bench.ask(), bench.ask());
    assert_eq!((first, second), (Err(RemoteError::Timeout), Err(RemoteError::Busy)));
}

#[tokio::test]
async fn a_likeliest_label_that_is_unlikely_is_no_intent() {
    let bench = bench(Temper::Fine, |config| config.remote_in_scope_min = 0.95).await;
    assert_eq!(bench.ask().await, Ok(Heard { label: None, confidence: 0.9, version: "bert/7".into() }));
}

#[tokio::test]
async fn it_is_asked_always_or_when_the_built_in_model_is_unsure() {
    let wanted = |when, confidence| async move {
        bench(Temper::Fine, |config| config.remote_when = when).await.remote.is_wanted(confidence)
    };
    assert!(wanted(RemoteWhen::Always, 0.99).await);
    assert!(wanted(RemoteWhen::Unsure, 0.69).await);
    assert!(!wanted(RemoteWhen::Unsure, 0.7).await);
}

/// Against real servers: `deploy/models/check.sh` starts one and names them here, as `protocol address model` between commas.
#[tokio::test]
#[ignore = "needs a model server; run deploy/models/check.sh, which says what it needs"]
async fn real_servers_are_understood() {
    let servers = std::env::var("TALKFLEET_MODEL_SERVERS").unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/demo");
    let set = crate::intent::parse(&std::fs::read_to_string(folder.join("intents.yaml")).unwrap()).unwrap();
    let texts: Vec<&str> = set.examples.iter().step_by(5).map(|example| example.text.as_str()).collect();
    for server in servers.split(',') {
        let [protocol, url, model] = server.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
        let config = IntentConfig {
            remote_url: Url::new(url),
            remote_protocol: serde_json::from_value(json!(protocol)).unwrap(),
            remote_model: model.into(),
            remote_timeout_ms: 1_400,
            remote_in_scope_min: 0.0,
            remote_breaker_failures: 1_000,
            ..defaults()
        };
        let remote = Remote::new(&config, retries(), Metrics::new("worker")).unwrap().unwrap();
        let (mut best_ms, mut right, mut version) = (f64::MAX, 0, String::new());
        for _ in 0..3 {
            let mut took_ms = Vec::new();
            right = 0;
            for (text, example) in texts.iter().zip(set.examples.iter().step_by(5)) {
                let started = Instant::now();
                let heard = remote.classify(text, started + LONG).await.unwrap();
                took_ms.push(started.elapsed().as_secs_f64() * 1e3);
                right += usize::from(heard.label.as_ref() == Some(&example.intent));
                version = heard.version;
            }
            took_ms.sort_by(f64::total_cmp);
            best_ms = best_ms.min(took_ms[took_ms.len() / 2]);
        }
        println!(
            "{protocol} {model}: {version} understood, {right} of {} as labelled, median {best_ms:.2} ms",
            texts.len()
        );
        assert!(right * 10 > texts.len() * 9, "these are what it was trained with");
        let nobody = IntentConfig { remote_model: "nobody".into(), ..config };
        let nobody = Remote::new(&nobody, retries(), Metrics::new("worker")).unwrap().unwrap();
        assert_eq!(nobody.classify("hello", Instant::now() + LONG).await, Err(RemoteError::Status(404)));
    }
}
