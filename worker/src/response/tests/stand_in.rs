//! A stand-in for a model over a real socket, in every temper that models have.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
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
    chat::{Intent, Language, Passage, Usage},
    config::{Secret, Url},
    metrics::Metrics,
};

use crate::{
    config::{Fallback, ModelConfig, Price, RetriesConfig, WorkerConfig},
    response::{
        model::{Model, ModelError, Piece},
        prompt::{Prompt, Question},
    },
};

/// How the stand-in behaves.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Temper {
    Fine,
    /// So many calls are refused first.
    Overrun(usize, Option<&'static str>),
    /// So many calls fail first.
    Failing(usize),
    Mute,
    /// Its first word comes this late.
    Late(Duration),
    FallsSilent,
    BreaksOff,
    /// The connection is reset in mid-answer.
    Resets,
    Garbage,
    /// An object with an error, after a word.
    Reports,
    Html,
    Wordless,
    Unauthorized,
    /// It ends after its finish reason, without a word of farewell.
    Curt,
    /// Carriage returns, comments, thoughts, nulls, and characters that are cut between two chunks.
    Odd,
    /// It says this and nothing else.
    Says(String),
}

struct StandIn {
    temper: Temper,
    calls: AtomicUsize,
}

pub(super) fn words(text: &str) -> String {
    format!("data: {}\n\n", serde_json::json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }))
}

const DONE: &str = "data: [DONE]\n\n";

async fn complete(State(model): State<Arc<StandIn>>, body: Bytes) -> Response {
    let call = model.calls.fetch_add(1, Ordering::SeqCst);
    let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&asked["stream"], asked["model"].as_str().unwrap().starts_with("stand-in")), (&true.into(), true));
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":3}}\n\n";
    let opening = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let never = || stream::pending::<String>().boxed();
    let said = |pieces: Vec<String>| stream::iter(pieces).boxed();
    let fine = || vec![opening.into(), words("Two"), words(" days [1]."), usage.into(), DONE.into()];
    match model.temper.clone() {
        Temper::Overrun(refusals, wait) if call < refusals => {
            let mut response = StatusCode::TOO_MANY_REQUESTS.into_response();
            if let Some(wait) = wait {
                response.headers_mut().insert("retry-after", wait.parse().unwrap());
            }
            response
        }
        Temper::Failing(failures) if call < failures => StatusCode::BAD_GATEWAY.into_response(),
        Temper::Fine | Temper::Overrun(..) | Temper::Failing(_) => events(said(fine())),
        Temper::Mute => events(never()),
        Temper::Late(wait) => {
            let first = stream::once(async move {
                tokio::time::sleep(wait).await;
                String::new()
            });
            events(first.chain(said(fine())))
        }
        Temper::FallsSilent => events(said(vec![words("Two")]).chain(never()).boxed()),
        Temper::BreaksOff => events(said(vec![words("Two")])),
        Temper::Resets => {
            // After the first word has left.
            let reset = stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(io::Error::other("reset on purpose"))
            });
            let broken = stream::iter([Ok(words("Two"))]).chain(reset);
            ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(broken)).into_response()
        }
        Temper::Garbage => events(said(vec!["data: {\"choices\": 7}\n\n".into()])),
        Temper::Reports => {
            events(said(vec![words("Two"), "data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n".into()]))
        }
        Temper::Html => ([(CONTENT_TYPE, "text/html")], "<h1>Welcome</h1>").into_response(),
        Temper::Wordless => events(said(vec![opening.into(), DONE.into()])),
        Temper::Unauthorized => StatusCode::UNAUTHORIZED.into_response(),
        Temper::Curt => {
            let stop = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
            events(said(vec![words("Two"), words(" days."), stop.into()]))
        }
        Temper::Odd => {
            let thought = "data: {\"choices\":[{\"delta\":{\"content\":null,\"reasoning_content\":\"Hm.\"}}]}\r\n\r\n";
            let text = format!(": keep-alive\r\n\r\n{thought}{}{}{DONE}", words("两天"), words("到。"))
                .replace("\n\n", "\r\n\r\n");
            let bytes = text.into_bytes().into_iter().map(|byte| Ok::<_, Infallible>(vec![byte]));
            ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream::iter(bytes))).into_response()
        }
        Temper::Says(text) => {
            let letters: Vec<char> = text.chars().collect();
            let pieces = letters.chunks(3).map(|piece| words(&piece.iter().collect::<String>()));
            events(said(pieces.chain([DONE.to_owned()]).collect()))
        }
    }
}

fn events(pieces: impl Stream<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(pieces.map(Ok::<_, Infallible>));
    ([(CONTENT_TYPE, "text/event-stream; charset=utf-8")], body).into_response()
}

pub(super) struct Bench {
    pub(super) model: Model,
    stand_ins: Vec<Arc<StandIn>>,
    pub(super) metrics: Arc<Metrics>,
}

async fn stand_in(temper: Temper) -> (Arc<StandIn>, Url) {
    let stand_in = Arc::new(StandIn { temper, calls: AtomicUsize::new(0) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::new(format!("http://{}/v1/", listener.local_addr().unwrap()));
    let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(stand_in.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (stand_in, url)
}

pub(super) async fn bench(temper: Temper) -> Bench {
    fleet([temper], 0).await
}

/// One endpoint after the other.
pub(super) async fn fleet(tempers: impl IntoIterator<Item = Temper>, hedge_after_ms: u64) -> Bench {
    let (mut stand_ins, mut urls) = (Vec::new(), Vec::new());
    for temper in tempers {
        let (stand_in, url) = stand_in(temper).await;
        stand_ins.push(stand_in);
        urls.push(url);
    }
    let fallback = |(number, url): (usize, &Url)| Fallback {
        base_url: url.clone(),
        api_key: Secret::default(),
        name: format!("stand-in-{number}"),
        price: Price::default(),
    };
    let metrics = Metrics::new("worker");
    let config = ModelConfig {
        base_url: urls[0].clone(),
        api_key: Secret::new("k"),
        name: "stand-in".into(),
        first_token_timeout_ms: 400,
        token_timeout_ms: 200,
        breaker_failures: 2,
        hedge_after_ms,
        price: Price { prompt: 2.0, completion: 8.0 },
        fallbacks: urls.iter().enumerate().skip(1).map(fallback).collect(),
        ..config()
    };
    let model = Model::new(&config, retries(), metrics.clone()).unwrap().unwrap();
    Bench { model, stand_ins, metrics }
}

pub(super) fn retries() -> RetriesConfig {
    WorkerConfig::load(None, &[]).unwrap().retries
}

pub(super) fn config() -> ModelConfig {
    WorkerConfig::load(None, &[]).unwrap().model
}

pub(super) fn passage(title: &str, text: &str) -> Passage {
    Passage {
        id: "p".into(),
        document: "d".into(),
        title: title.into(),
        url: "https://shop.example/help".into(),
        text: text.into(),
        language: Language::English,
        score: 0.9,
    }
}

pub(super) fn prompt() -> Prompt {
    let passage = passage("Delivery times", "Two days.");
    let passages = std::slice::from_ref(&passage);
    let question =
        Question { text: "How long?", intent: &Intent::unknown(), language: Language::English, history: &[], passages };
    Prompt::new(&ModelConfig { name: "stand-in".into(), ..config() }, &question)
}

impl Bench {
    pub(super) async fn answer(&self, left: Duration) -> Result<(String, Option<Usage>), ModelError> {
        let mut answering = self.model.ask(self.model.enter()?, &prompt(), left).await?;
        let mut text = String::new();
        loop {
            match answering.next().await {
                Ok(Piece::Words(words)) => text += &words,
                Ok(Piece::Usage { .. } | Piece::Finish(_)) => {}
                Ok(Piece::End) => return Ok((text, answering.finish())),
                Err(error) => return Err(answering.fail(error)),
            }
        }
    }

    pub(super) fn calls(&self) -> Vec<usize> {
        self.stand_ins.iter().map(|stand_in| stand_in.calls.load(Ordering::SeqCst)).collect()
    }

    pub(super) fn counted(&self, reason: &str) -> u64 {
        let line = format!("talkfleet_model_calls_total{{reason=\"{reason}\"}} ");
        self.metrics.text().lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or_default()
    }
}
