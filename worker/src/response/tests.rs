//! Speaking with a stand-in for a model over a real socket: it is slow, breaks off, talks nonsense, and is overrun.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::{Stream, StreamExt, stream};
use talkfleet_shared::{
    chat::{Language, Passage},
    config::{Secret, Url},
    metrics::Metrics,
};

use super::{
    model::{Model, ModelError, Piece},
    prompt::{Prompt, Question},
};
use crate::{
    config::{ModelConfig, WorkerConfig},
    plan::ModelState,
};

/// How the stand-in behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Temper {
    Fine,
    /// So many calls are refused first.
    Overrun(usize, Option<&'static str>),
    Mute,
    FallsSilent,
    BreaksOff,
    Garbage,
    Html,
    Wordless,
    Unauthorized,
}

struct StandIn {
    temper: Temper,
    calls: AtomicUsize,
}

fn words(text: &str) -> String {
    format!("data: {}\n\n", serde_json::json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }))
}

async fn complete(State(model): State<Arc<StandIn>>, body: Bytes) -> Response {
    let call = model.calls.fetch_add(1, Ordering::SeqCst);
    let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&asked["stream"], &asked["model"]), (&true.into(), &"stand-in".into()));
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":3}}\n\n";
    let done = "data: [DONE]\n\n";
    let opening = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let never = || stream::pending::<String>().boxed();
    let said = |pieces: Vec<String>| stream::iter(pieces).boxed();
    match model.temper {
        Temper::Overrun(refusals, wait) if call < refusals => {
            let mut response = StatusCode::TOO_MANY_REQUESTS.into_response();
            if let Some(wait) = wait {
                response.headers_mut().insert("retry-after", wait.parse().unwrap());
            }
            response
        }
        Temper::Fine | Temper::Overrun(..) => {
            events(said(vec![opening.into(), words("Two"), words(" days [1]."), usage.into(), done.into()]))
        }
        Temper::Mute => events(never()),
        Temper::FallsSilent => events(said(vec![words("Two")]).chain(never()).boxed()),
        Temper::BreaksOff => events(said(vec![words("Two")])),
        Temper::Garbage => events(said(vec!["data: {\"choices\": 7}\n\n".into()])),
        Temper::Html => ([(CONTENT_TYPE, "text/html")], "<h1>Welcome</h1>").into_response(),
        Temper::Wordless => events(said(vec![opening.into(), done.into()])),
        Temper::Unauthorized => StatusCode::UNAUTHORIZED.into_response(),
    }
}

fn events(pieces: impl Stream<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(pieces.map(Ok::<_, Infallible>));
    ([(CONTENT_TYPE, "text/event-stream; charset=utf-8")], body).into_response()
}

struct Bench {
    model: Model,
    stand_in: Arc<StandIn>,
    metrics: Arc<Metrics>,
}

async fn bench(temper: Temper) -> Bench {
    let stand_in = Arc::new(StandIn { temper, calls: AtomicUsize::new(0) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(stand_in.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let metrics = Metrics::new("worker");
    let config = ModelConfig {
        base_url: Url::new(format!("http://{address}/v1/")),
        api_key: Secret::new("k"),
        name: "stand-in".into(),
        first_token_timeout_ms: 400,
        token_timeout_ms: 200,
        breaker_failures: 2,
        ..config()
    };
    let model = Model::new(&config, metrics.clone()).unwrap().unwrap();
    Bench { model, stand_in, metrics }
}

fn config() -> ModelConfig {
    WorkerConfig::load(None, &[]).unwrap().model
}

fn prompt() -> Prompt {
    let passage = Passage {
        id: "p".into(),
        document: "d".into(),
        title: "Delivery times".into(),
        url: String::new(),
        text: "Two days.".into(),
        language: Language::English,
        score: 0.9,
    };
    let passages = [passage];
    let question = Question {
        text: "How long?",
        intent: "delivery",
        language: Language::English,
        history: &[],
        passages: &passages,
    };
    Prompt::new(&ModelConfig { name: "stand-in".into(), ..config() }, &question)
}

impl Bench {
    /// The whole answer, with what it was charged.
    async fn answer(&self, left: Duration) -> Result<(String, Option<u32>), ModelError> {
        let mut answering = self.model.ask(self.model.enter()?, &prompt(), left).await?;
        let (mut text, mut prompt_tokens) = (String::new(), None);
        loop {
            match answering.next().await {
                Ok(Piece::Words(words)) => text += &words,
                Ok(Piece::Usage { prompt_tokens: tokens, .. }) => prompt_tokens = Some(tokens),
                Ok(Piece::Finish(_)) => {}
                Ok(Piece::End) => {
                    answering.finish(None);
                    return Ok((text, prompt_tokens));
                }
                Err(error) => return Err(answering.fail(error)),
            }
        }
    }

    fn calls(&self) -> usize {
        self.stand_in.calls.load(Ordering::SeqCst)
    }
}

const LONG: Duration = Duration::from_secs(30);

#[track_caller]
fn check(answered: Result<(String, Option<u32>), ModelError>, expected: impl Fn(&ModelError) -> bool) {
    let error = answered.unwrap_err();
    assert!(expected(&error), "{error:?}");
}

#[tokio::test]
async fn words_and_usage_come_as_they_are_made() {
    let bench = bench(Temper::Fine).await;
    assert_eq!(bench.answer(LONG).await.unwrap(), ("Two days [1].".into(), Some(11)));
    assert!(bench.metrics.text().contains("talkfleet_model_calls_total{reason=\"ok\"} 1"));
}

#[tokio::test]
async fn a_refusal_that_may_pass_is_asked_once_more() {
    let once = bench(Temper::Overrun(1, None)).await;
    assert!(once.answer(LONG).await.is_ok());
    assert_eq!(once.calls(), 2);
    let twice = bench(Temper::Overrun(2, Some("0"))).await;
    check(twice.answer(LONG).await, |e| matches!(e, ModelError::Status { status, .. } if status.as_u16() == 429));
    assert_eq!(twice.calls(), 2);
    let patient = bench(Temper::Overrun(1, Some("60"))).await;
    check(patient.answer(LONG).await, |e| matches!(e, ModelError::Status { .. }));
    assert_eq!(patient.calls(), 1, "quoting is faster than waiting a minute");
    let stranger = bench(Temper::Unauthorized).await;
    check(stranger.answer(LONG).await, |e| matches!(e, ModelError::Status { .. }));
    assert_eq!(stranger.calls(), 1);
}

#[tokio::test]
async fn every_fault_has_its_name_and_none_hangs() {
    check(bench(Temper::Mute).await.answer(LONG).await, |e| matches!(e, ModelError::FirstToken));
    check(bench(Temper::FallsSilent).await.answer(LONG).await, |e| matches!(e, ModelError::Silent));
    check(bench(Temper::BreaksOff).await.answer(LONG).await, |e| matches!(e, ModelError::BrokeOff));
    check(bench(Temper::Garbage).await.answer(LONG).await, |e| matches!(e, ModelError::Garbage));
    check(bench(Temper::Html).await.answer(LONG).await, |e| matches!(e, ModelError::NoStream));
    check(bench(Temper::Wordless).await.answer(LONG).await, |e| matches!(e, ModelError::Empty));
}

#[tokio::test]
async fn time_for_a_quotation_is_kept() {
    let bench = bench(Temper::Mute).await;
    let started = Instant::now();
    check(bench.answer(Duration::from_millis(600)).await, |e| matches!(e, ModelError::FirstToken));
    assert!(started.elapsed() < Duration::from_millis(350), "{:?}", started.elapsed());
}

#[tokio::test]
async fn after_failures_in_a_row_it_is_left_alone() {
    let bench = bench(Temper::Garbage).await;
    for _ in 0..2 {
        assert_eq!(bench.model.state(), ModelState::Ready);
        check(bench.answer(LONG).await, |e| matches!(e, ModelError::Garbage));
    }
    assert_eq!(bench.model.state(), ModelState::Away);
    check(bench.answer(LONG).await, |e| matches!(e, ModelError::Away));
    assert_eq!(bench.calls(), 2);
}

#[test]
fn without_an_address_there_is_no_model() {
    assert!(Model::new(&config(), Metrics::new("worker")).unwrap().is_none());
}
