//! The model: an OpenAI-compatible API that streams its answer; every wait is bounded, and a failure is a kind, not an end.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use eventsource_stream::Eventsource;
use futures::{StreamExt, stream::BoxStream};
use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::Deserialize;
use talkfleet_shared::{
    chat::{ModelCall, Usage},
    config::ConfigError,
    metrics::{Direction, Metrics, Reason},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::prompt::Prompt;
use crate::{breaker::Breaker, config::ModelConfig, plan::ModelState};

/// What is kept of a turn's time for quoting the knowledge when the model does not begin.
const QUOTE_RESERVE: Duration = Duration::from_millis(500);

/// The wait before the one retry, unless the API names another.
const RETRY_WAIT: Duration = Duration::from_millis(200);

/// A model that asks for more patience than this is not waited for; quoting is faster.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);

/// The longest answer: a server that ignores `max_tokens` is cut off here.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// Why a model did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("the model cannot be reached: {0}")]
    Connect(String),
    #[error("the model answered with status {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    #[error("the model did not answer with text/event-stream; check model.base_url")]
    NoStream,
    #[error("the model did not begin in time")]
    FirstToken,
    #[error("the model fell silent")]
    Silent,
    #[error("the model broke off")]
    BrokeOff,
    #[error("the model sent something that is no chat completion")]
    Garbage,
    #[error("the model said nothing")]
    Empty,
    #[error("nothing was recorded for this prompt")]
    Unrecorded,
    #[error("the model failed a moment ago, or is fully occupied")]
    Away,
}

impl ModelError {
    fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Status { .. } => "status",
            Self::NoStream => "no_stream",
            Self::FirstToken => "first_token",
            Self::Silent => "silent",
            Self::BrokeOff => "broke_off",
            Self::Garbage => "garbage",
            Self::Empty => "empty",
            Self::Unrecorded => "unrecorded",
            Self::Away => "away",
        }
    }

    /// How long to wait before trying once more; None when that would not help.
    fn retry_wait(&self) -> Option<Duration> {
        match self {
            Self::Connect(_) => Some(RETRY_WAIT),
            Self::Status { status, retry_after }
                if *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() =>
            {
                retry_after.or(Some(RETRY_WAIT)).filter(|wait| *wait <= RETRY_WAIT_MAX)
            }
            _ => None,
        }
    }
}

/// The model and how it is faring.
pub struct Model {
    http: reqwest::Client,
    url: String,
    config: ModelConfig,
    permits: Arc<Semaphore>,
    breaker: Arc<Mutex<Breaker>>,
    metrics: Arc<Metrics>,
}

/// An answer that has begun.
pub struct Answering {
    chunks: BoxStream<'static, Result<Piece, ModelError>>,
    first: Option<String>,
    token_timeout: Duration,
    said_bytes: usize,
    /// None when it is a recording that speaks.
    call: Option<Call>,
}

/// A piece of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Words(String),
    /// Why the model stops here, in its own word.
    Finish(String),
    Usage {
        prompt_tokens: u32,
        completion_tokens: u32,
    },
    End,
}

/// Leave to ask; the API has not been called yet.
pub struct Leave(Call);

/// One call; it reports to the breaker and the metrics once, however it ends.
struct Call {
    breaker: Arc<Mutex<Breaker>>,
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Model {
    /// The configured model; None when there is none.
    pub fn new(config: &ModelConfig, metrics: Arc<Metrics>) -> Result<Option<Self>, ConfigError> {
        if config.base_url.is_empty() {
            return Ok(None);
        }
        let unusable = |error: reqwest::Error| ConfigError(vec![format!("model.base_url cannot be used: {error}")]);
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            // A key must not follow a redirect to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(unusable)?;
        let breaker = Breaker::new(config.breaker_failures, Duration::from_millis(config.breaker_open_ms));
        Ok(Some(Self {
            http,
            url: format!("{}/chat/completions", config.base_url.reveal().trim_end_matches('/')),
            config: config.clone(),
            permits: Arc::new(Semaphore::new(config.concurrency)),
            breaker: Arc::new(Mutex::new(breaker)),
            metrics,
        }))
    }

    /// Whether asking makes sense right now.
    pub fn state(&self) -> ModelState {
        let ready = self.permits.available_permits() > 0 && lock(&self.breaker).is_closed(Instant::now());
        if ready { ModelState::Ready } else { ModelState::Away }
    }

    /// Leave to ask, unless the model failed a moment ago or is fully occupied.
    pub fn enter(&self) -> Result<Leave, ModelError> {
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| ModelError::Away)?;
        if !lock(&self.breaker).enter(Instant::now()) {
            return Err(ModelError::Away);
        }
        Ok(Leave(Call { breaker: self.breaker.clone(), metrics: self.metrics.clone(), _permit: permit }))
    }

    /// Asks, and waits for the first words; what can be mended by asking again is asked again once.
    pub async fn ask(&self, Leave(call): Leave, prompt: &Prompt, left: Duration) -> Result<Answering, ModelError> {
        let patience = Duration::from_millis(self.config.first_token_timeout_ms);
        let within = patience.min(left.saturating_sub(QUOTE_RESERVE));
        let begun = tokio::time::timeout(within, self.begin_with_retry(prompt)).await;
        match begun.unwrap_or(Err(ModelError::FirstToken)) {
            Ok((first, chunks)) => Ok(Answering {
                chunks,
                said_bytes: 0,
                first: Some(first),
                token_timeout: Duration::from_millis(self.config.token_timeout_ms),
                call: Some(call),
            }),
            Err(error) => Err(call.failed(error)),
        }
    }

    async fn begin_with_retry(&self, prompt: &Prompt) -> Result<Begun, ModelError> {
        match self.begin(prompt).await {
            Err(error) => match error.retry_wait() {
                Some(wait) => {
                    tokio::time::sleep(wait).await;
                    self.begin(prompt).await
                }
                None => Err(error),
            },
            begun => begun,
        }
    }

    async fn begin(&self, prompt: &Prompt) -> Result<Begun, ModelError> {
        let mut request = self.http.post(&self.url).json(prompt);
        if !self.config.api_key.is_empty() {
            request = request.bearer_auth(self.config.api_key.reveal());
        }
        // The library's own text names the address, which may carry a password.
        let response = request.send().await.map_err(|error| ModelError::Connect(error.without_url().to_string()))?;
        let status = response.status();
        if !status.is_success() {
            let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            return Err(ModelError::Status { status, retry_after: seconds.map(Duration::from_secs) });
        }
        let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !media.starts_with("text/event-stream") {
            return Err(ModelError::NoStream);
        }
        let mut chunks = pieces(response);
        match next_words(&mut chunks).await {
            Some(Ok(Piece::Words(first))) => Ok((first, chunks)),
            Some(Ok(_)) => Err(ModelError::Empty),
            Some(Err(error)) => Err(error),
            None => Err(ModelError::BrokeOff),
        }
    }
}

type Begun = (String, BoxStream<'static, Result<Piece, ModelError>>);

/// The first piece that decides whether there is an answer: usage alone does not.
async fn next_words(chunks: &mut BoxStream<'static, Result<Piece, ModelError>>) -> Option<Result<Piece, ModelError>> {
    loop {
        match chunks.next().await? {
            Ok(Piece::Usage { .. } | Piece::Finish(_)) => {}
            Ok(Piece::Words(words)) if words.is_empty() => {}
            piece => return Some(piece),
        }
    }
}

impl Answering {
    /// What a model said once, as if it said it again; nothing is counted and nothing paid.
    pub fn recorded(call: &ModelCall) -> Self {
        let usage = call.usage.as_ref().map(|usage| Piece::Usage {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
        });
        let rest: Vec<_> = [Piece::Finish(call.finish.clone())].into_iter().chain(usage).chain([Piece::End]).collect();
        Self {
            chunks: futures::stream::iter(rest.into_iter().map(Ok)).boxed(),
            first: Some(call.text.clone()),
            token_timeout: Duration::MAX,
            said_bytes: 0,
            call: None,
        }
    }

    /// The next piece; after [`Piece::End`] or an error there is none.
    pub async fn next(&mut self) -> Result<Piece, ModelError> {
        let piece = match self.first.take() {
            Some(first) => Ok(Piece::Words(first)),
            None => match tokio::time::timeout(self.token_timeout, self.chunks.next()).await {
                Ok(Some(piece)) => piece,
                Ok(None) => Err(ModelError::BrokeOff),
                Err(_) => Err(ModelError::Silent),
            },
        };
        match piece {
            Ok(Piece::Words(words)) => {
                self.said_bytes += words.len();
                if self.said_bytes > ANSWER_BYTES_MAX { Ok(Piece::End) } else { Ok(Piece::Words(words)) }
            }
            other => other,
        }
    }

    /// The answer is complete.
    pub fn finish(self, usage: Option<&Usage>) {
        if let Some(call) = self.call {
            call.succeeded(usage);
        }
    }

    /// The answer will not be completed.
    pub fn fail(self, error: ModelError) -> ModelError {
        match self.call {
            Some(call) => call.failed(error),
            None => error,
        }
    }
}

impl Call {
    fn succeeded(self, usage: Option<&Usage>) {
        lock(&self.breaker).succeeded();
        self.metrics.model_calls.get_or_create(&Reason { reason: "ok" }).inc();
        for (direction, tokens) in usage
            .map(|usage| [("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens)])
            .into_iter()
            .flatten()
        {
            self.metrics.model_tokens.get_or_create(&Direction { direction }).inc_by(u64::from(tokens));
        }
    }

    fn failed(self, error: ModelError) -> ModelError {
        lock(&self.breaker).failed(Instant::now());
        self.metrics.model_calls.get_or_create(&Reason { reason: error.name() }).inc();
        error
    }
}

fn lock(breaker: &Mutex<Breaker>) -> MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    prompt_tokens: u32,
    completion_tokens: u32,
}

/// The response's events as pieces; the stream ends with [`Piece::End`], an error, or, when the server broke off, bare.
fn pieces(response: reqwest::Response) -> BoxStream<'static, Result<Piece, ModelError>> {
    let events = response.bytes_stream().eventsource();
    events
        .flat_map(|event| {
            let pieces = match event {
                Ok(event) => read(&event.data),
                Err(_) => vec![Err(ModelError::BrokeOff)],
            };
            futures::stream::iter(pieces)
        })
        .boxed()
}

fn read(data: &str) -> Vec<Result<Piece, ModelError>> {
    if data.trim() == "[DONE]" {
        return vec![Ok(Piece::End)];
    }
    let Ok(chunk) = serde_json::from_str::<Chunk>(data) else { return vec![Err(ModelError::Garbage)] };
    let choice = chunk.choices.into_iter().next();
    let (words, finish) = choice.map_or((None, None), |choice| (choice.delta.content, choice.finish_reason));
    let usage = chunk.usage.map(|tokens| Piece::Usage {
        prompt_tokens: tokens.prompt_tokens,
        completion_tokens: tokens.completion_tokens,
    });
    words
        .filter(|words| !words.is_empty())
        .map(Piece::Words)
        .into_iter()
        .chain(finish.map(Piece::Finish))
        .chain(usage)
        .map(Ok)
        .collect()
}
