//! The model: OpenAI-compatible endpoints in the order of preference; every wait is bounded, and a failure is a kind, not an end.

/// One endpoint, and the door to HTTP.
mod endpoint;

/// PURE: why a model did not answer.
mod error;

/// PURE: a completion's events as pieces.
mod stream;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{FuturesUnordered, iter},
};
use talkfleet_shared::{
    chat::{ModelCall, RungReason, Usage},
    clock,
    config::ConfigError,
    metrics::Metrics,
};
use tokio::time::Instant;

use self::endpoint::{Call, Endpoint, Pieces};
pub use self::{error::ModelError, stream::Piece};
use super::prompt::Prompt;
use crate::{
    config::{Fallback, ModelConfig, RetriesConfig},
    ladder::{Faring, Usual},
};

/// What is kept of a turn's time for quoting the knowledge when the model does not begin.
pub const QUOTE_RESERVE: Duration = Duration::from_millis(500);

/// The longest answer: a server that ignores `max_tokens` is cut off here.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// The endpoints' names in the metrics, in the order in which they are asked.
const TARGETS: [&str; 8] = [
    "model",
    "model_fallback_1",
    "model_fallback_2",
    "model_fallback_3",
    "model_fallback_4",
    "model_fallback_5",
    "model_fallback_6",
    "model_fallback_7",
];

/// The smaller model's.
const SMALL: [&str; 1] = ["model_small"];

/// The words in the data of an event, and whether it was an end or a failure.
pub(super) fn said(data: &str) -> (String, bool) {
    let pieces = stream::read(data);
    let words = pieces.iter().filter_map(|piece| match piece {
        Ok(Piece::Words(words)) => Some(words.as_str()),
        _ => None,
    });
    let ended = pieces.iter().any(|piece| matches!(piece, Ok(Piece::End) | Err(_)));
    (words.collect(), ended)
}

/// The configured endpoints.
pub struct Model {
    endpoints: Vec<Endpoint>,
    first_token_timeout: Duration,
    token_timeout: Duration,
    /// After so long without a first word the next endpoint is asked as well; None never does.
    hedge_after: Option<Duration>,
    concurrency: usize,
    usual: Mutex<Usual>,
}

/// Leave to ask; no API has been called yet.
pub struct Leave {
    endpoint: usize,
    call: Call,
}

/// An answer that has begun.
pub struct Answering {
    pieces: Pieces,
    first: Option<String>,
    token_timeout: Duration,
    said_bytes: usize,
    /// It has said why it stops; some servers end there, without a word.
    has_finished: bool,
    /// None when it is a recording that speaks.
    call: Option<Call>,
    /// Of a recording.
    usage: Option<Usage>,
}

impl Model {
    /// The configured model; None when there is none.
    pub fn new(
        config: &ModelConfig,
        retries: RetriesConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Self>, ConfigError> {
        Self::of(config, &TARGETS, retries, metrics)
    }

    fn of(
        config: &ModelConfig,
        targets: &[&'static str],
        retries: RetriesConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Self>, ConfigError> {
        if config.base_url.is_empty() {
            return Ok(None);
        }
        let first = (&config.base_url, &config.api_key, config.name.as_str(), config.price);
        let others =
            config.fallbacks.iter().map(|other| (&other.base_url, &other.api_key, other.name.as_str(), other.price));
        let endpoints = std::iter::once(first).chain(others);
        let endpoints: Result<Vec<_>, _> = endpoints
            .zip(targets)
            .map(|(endpoint, target)| Endpoint::new(config, endpoint, target, retries, metrics.clone()))
            .collect();
        Ok(Some(Self {
            endpoints: endpoints?,
            first_token_timeout: Duration::from_millis(config.first_token_timeout_ms),
            token_timeout: Duration::from_millis(config.token_timeout_ms),
            hedge_after: (config.hedge_after_ms > 0).then(|| Duration::from_millis(config.hedge_after_ms)),
            concurrency: config.concurrency,
            usual: Mutex::default(),
        }))
    }

    /// The smaller model; None when there is none.
    pub fn small(
        config: &ModelConfig,
        retries: RetriesConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Self>, ConfigError> {
        let Fallback { base_url, api_key, name, price } = config.small.clone();
        let config = ModelConfig { base_url, api_key, name, price, fallbacks: Vec::new(), ..config.clone() };
        Self::of(&config, &SMALL, retries, metrics)
    }

    /// Whether it can be asked right now, and how long it usually takes.
    pub fn faring(&self) -> Faring {
        let obstacle = match self.endpoints.iter().any(Endpoint::is_ready) {
            true => None,
            false if self.opens_in().is_zero() => Some(RungReason::Busy),
            false => Some(RungReason::Breaker),
        };
        Faring { obstacle, usual: self.usual().time(clock::now()) }
    }

    /// How long no endpoint lets anybody in.
    pub fn opens_in(&self) -> Duration {
        self.endpoints.iter().map(|endpoint| endpoint.guard().opens_in()).min().unwrap_or_default()
    }

    /// Answers at once.
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// A whole answer took so long.
    pub fn took(&self, took: Duration) {
        self.usual().took(took, clock::now());
    }

    fn usual(&self) -> std::sync::MutexGuard<'_, Usual> {
        self.usual.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave to ask, unless every endpoint failed a moment ago or is fully occupied.
    pub fn enter(&self) -> Result<Leave, ModelError> {
        self.enter_from(0).ok_or(ModelError::Away)
    }

    fn enter_from(&self, from: usize) -> Option<Leave> {
        let mut others = self.endpoints.iter().enumerate().skip(from);
        others.find_map(|(endpoint, asked)| Some(Leave { endpoint, call: asked.enter()? }))
    }

    /// Asks one endpoint after the other until one speaks; a slow one may be overtaken by the next.
    pub async fn ask(&self, leave: Leave, prompt: &Prompt, left: Duration) -> Result<Answering, ModelError> {
        let until = Instant::now() + left.saturating_sub(QUOTE_RESERVE);
        let mut next = leave.endpoint + 1;
        let mut asked = FuturesUnordered::new();
        asked.push(self.begin(leave, prompt, until));
        let mut hedge_at = self.hedge_after.map(|after| Instant::now() + after);
        loop {
            let hedge = hedge_at.filter(|_| next < self.endpoints.len());
            let failed = tokio::select! {
                biased;
                Some(begun) = asked.next() => match begun {
                    Ok(answering) => return Ok(answering),
                    Err(error) => Some(error),
                },
                () = tokio::time::sleep_until(hedge.unwrap_or(until)), if hedge.is_some() => None,
            };
            // An endpoint that fails while another is still being asked is not replaced.
            if failed.is_some() && !asked.is_empty() {
                continue;
            }
            match (self.enter_elsewhere(next, until), failed) {
                (Some(leave), _) => {
                    next = leave.endpoint + 1;
                    hedge_at = self.hedge_after.map(|after| Instant::now() + after);
                    asked.push(self.begin(leave, prompt, until));
                }
                (None, Some(error)) => return Err(error),
                (None, None) => hedge_at = None,
            }
        }
    }

    /// Leave to ask another endpoint besides or instead, which counts as a retry of the first.
    fn enter_elsewhere(&self, from: usize, until: Instant) -> Option<Leave> {
        let is_there = self.endpoints.iter().skip(from).any(Endpoint::is_ready) && Instant::now() < until;
        (is_there && self.endpoints[0].guard().may_retry()).then(|| self.enter_from(from))?
    }

    async fn begin(&self, leave: Leave, prompt: &Prompt, until: Instant) -> Result<Answering, ModelError> {
        let Leave { endpoint, call } = leave;
        let another_waits = self.endpoints[endpoint + 1..].iter().any(Endpoint::is_ready);
        let begun = self.endpoints[endpoint].begin(prompt, another_waits);
        let give_up = until.min(Instant::now() + self.first_token_timeout);
        match tokio::time::timeout_at(give_up, begun).await.unwrap_or(Err(ModelError::FirstToken)) {
            Ok((first, pieces)) => Ok(Answering {
                pieces,
                first: Some(first),
                token_timeout: self.token_timeout,
                said_bytes: 0,
                has_finished: false,
                call: Some(call),
                usage: None,
            }),
            Err(error) => {
                call.failed(&error);
                Err(error)
            }
        }
    }
}

impl Answering {
    /// What a model said once, as if it said it again; nothing is counted and nothing paid.
    pub fn recorded(call: &ModelCall) -> Self {
        Self {
            pieces: iter([Ok(Piece::Finish(call.finish.clone())), Ok(Piece::End)]).boxed(),
            first: Some(call.text.clone()),
            token_timeout: Duration::MAX,
            said_bytes: 0,
            has_finished: false,
            call: None,
            usage: call.usage.clone(),
        }
    }

    /// The next piece; after [`Piece::End`] or an error there is none.
    pub async fn next(&mut self) -> Result<Piece, ModelError> {
        let piece = match self.first.take() {
            Some(first) => Ok(Piece::Words(first)),
            None => match tokio::time::timeout(self.token_timeout, self.pieces.next()).await {
                Ok(Some(piece)) => piece,
                Ok(None) if self.has_finished => Ok(Piece::End),
                Ok(None) => Err(ModelError::BrokeOff),
                Err(_) => Err(ModelError::Silent),
            },
        };
        match piece {
            Ok(Piece::Words(words)) => {
                self.said_bytes += words.len();
                if self.said_bytes > ANSWER_BYTES_MAX { Ok(Piece::End) } else { Ok(Piece::Words(words)) }
            }
            Ok(Piece::Finish(why)) => {
                self.has_finished = true;
                Ok(Piece::Finish(why))
            }
            Ok(Piece::Usage { prompt_tokens, completion_tokens }) => {
                self.usage = self.call.as_ref().map(|call| call.usage(prompt_tokens, completion_tokens));
                Ok(Piece::Usage { prompt_tokens, completion_tokens })
            }
            other => other,
        }
    }

    /// The answer is complete, or enough of it was heard; what it cost, as far as the model said so.
    pub fn finish(self) -> Option<Usage> {
        if let Some(call) = self.call {
            call.succeeded(self.usage.as_ref());
        }
        self.usage
    }

    /// The answer will not be completed.
    pub fn fail(self, error: ModelError) -> ModelError {
        if let Some(call) = self.call {
            call.failed(&error);
        }
        error
    }
}
