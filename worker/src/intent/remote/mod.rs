//! The remote arm: a company's own classifier, such as a fine-tuned BERT, behind a model server; it may fail at any time.
//!
//! Whoever asks it has the built-in model's word already, so that a failure costs no more than the wait, and that is bounded
//! by the configuration and by the caller's deadline. After failures in a row the server is left alone; then one call asks
//! whether it is ready, and if so, for an answer.

/// PURE: what is sent to a model server, and where its reply holds the answer.
mod protocol;

/// PURE: from an answer's tensors to one label and its probability.
mod answer;

/// The one door to model servers.
mod client;

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use talkfleet_shared::{
    clock,
    config::ConfigError,
    metrics::{Metrics, Reason},
};
use tokio::sync::Semaphore;

use self::{client::Client, protocol::Protocol};
use crate::{
    config::{IntentConfig, RemoteProtocol, RemoteWhen, RetriesConfig},
    guard::{Guard, Patience},
};

/// What is kept of the caller's time for bringing the answer home.
const WAY_HOME: Duration = Duration::from_millis(20);

/// Labels that a model may have.
const LABELS_MAX: usize = 10_000;

/// Why the remote arm did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    #[error("the model server cannot be reached ({0}); check intent.remote_url")]
    Connect(String),
    #[error("the model server broke off ({0})")]
    BrokeOff(String),
    #[error("the model server did not answer within intent.remote_timeout_ms")]
    Timeout,
    #[error("the message's own deadline left the model server no time")]
    NoTime,
    #[error("the model server answered with status {0}; check intent.remote_url, remote_model and remote_version")]
    Status(u16),
    #[error("the model server says that its model is not ready")]
    NotReady,
    #[error("the model server's reply is longer than {} bytes", client::REPLY_BYTES_MAX)]
    TooLong,
    #[error("the model server sent {0}; check intent.remote_protocol")]
    Garbage(&'static str),
    #[error("the model server sent {0}; let it send labels with scores, or one score for each label")]
    Shape(String),
    #[error("the model server sent {0}; name the labels in the model's metadata or in intent.remote_labels")]
    Labels(String),
    #[error("the model server sent a score that is no finite number")]
    NotFinite,
    #[error("intent.remote_concurrency messages are being classified already")]
    Busy,
    #[error("the model server failed a moment ago and is left alone for intent.remote_breaker_open_ms")]
    Away,
}

impl RemoteError {
    /// The word for metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::BrokeOff(_) => "broke_off",
            Self::Timeout => "timeout",
            Self::NoTime => "no_time",
            Self::Status(_) => "status",
            Self::NotReady => "not_ready",
            Self::TooLong => "too_long",
            Self::Garbage(_) => "garbage",
            Self::Shape(_) => "shape",
            Self::Labels(_) => "labels",
            Self::NotFinite => "not_finite",
            Self::Busy => "busy",
            Self::Away => "away",
        }
    }

    /// Whether it speaks against the server.
    fn is_its_fault(&self) -> bool {
        !matches!(self, Self::NoTime | Self::Busy | Self::Away)
    }
}

/// What the remote arm recognised.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// None when it is not sure of any.
    pub label: Option<String>,
    /// The likeliest label's probability, 0 to 1, as the model gives it.
    pub confidence: f32,
    /// Who spoke, for the record: the model, and its version where one is known.
    pub version: String,
}

/// A model server and how it is faring.
pub struct Remote {
    client: Client,
    protocol: Protocol,
    config: IntentConfig,
    permits: Semaphore,
    guard: Guard,
    /// From the file that the configuration names; a model's own are asked for when they are needed.
    labels: Option<Arc<[String]>>,
    learned: Mutex<Option<Arc<[String]>>>,
    /// So that a failure is logged once and not with every message.
    well: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Remote {
    /// The configured model server; None when there is none.
    pub fn new(
        config: &IntentConfig,
        retries: RetriesConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Self>, ConfigError> {
        if config.remote_url.is_empty() {
            return Ok(None);
        }
        let patience =
            Patience { failures_max: config.remote_breaker_failures, open_ms: config.remote_breaker_open_ms };
        Ok(Some(Self {
            client: Client::new()?,
            protocol: Protocol::new(config),
            permits: Semaphore::new(config.remote_concurrency),
            guard: Guard::new("intent_remote", patience, retries, metrics.clone()),
            labels: read_labels(&config.remote_labels)?,
            learned: Mutex::new(None),
            well: AtomicBool::new(true),
            config: config.clone(),
            metrics,
        }))
    }

    /// Whether to ask, when the built-in model is this sure.
    pub fn is_wanted(&self, confidence: f32) -> bool {
        match self.config.remote_when {
            RemoteWhen::Always => true,
            RemoteWhen::Unsure => confidence < self.config.remote_below,
        }
    }

    /// Asks about a text for a caller who waits until then; counts and logs what comes of it.
    pub async fn classify(&self, text: &str, until: Instant) -> Result<Heard, RemoteError> {
        let started = clock::now();
        let heard = self.enter_and_ask(text, until).await;
        let outcome = heard.as_ref().err().map_or("ok", RemoteError::name);
        self.metrics.intent_remote_calls.get_or_create(&Reason { reason: outcome }).inc();
        self.metrics.stage("intent_remote", outcome, clock::since(started));
        match &heard {
            Ok(_) => {
                if !self.well.swap(true, Ordering::Relaxed) {
                    tracing::info!(stage = "intent_remote", "the model server classifies again");
                }
            }
            Err(error) if error.is_its_fault() => {
                if self.well.swap(false, Ordering::Relaxed) {
                    tracing::warn!(%error, stage = "intent_remote", "the built-in intents answer instead");
                }
            }
            Err(_) => {}
        }
        heard
    }

    async fn enter_and_ask(&self, text: &str, until: Instant) -> Result<Heard, RemoteError> {
        let limit = Duration::from_millis(self.config.remote_timeout_ms);
        let left = until.saturating_duration_since(clock::now()).saturating_sub(WAY_HOME);
        if left.is_zero() {
            return Err(RemoteError::NoTime);
        }
        let _permit = self.permits.try_acquire().map_err(|_| RemoteError::Busy)?;
        let leave = self.guard.enter().ok_or(RemoteError::Away)?;
        let heard = match tokio::time::timeout(limit.min(left), self.ask(text, leave.is_probe())).await {
            Ok(heard) => heard,
            // A caller in a hurry says nothing about the server.
            Err(_) if left < limit => Err(RemoteError::NoTime),
            Err(_) => Err(RemoteError::Timeout),
        };
        match &heard {
            Ok(_) => leave.succeeded(),
            Err(error) if error.is_its_fault() => leave.failed(),
            Err(_) => drop(leave),
        }
        heard
    }

    async fn ask(&self, text: &str, tries: bool) -> Result<Heard, RemoteError> {
        if tries {
            let said = self.client.get(&self.protocol.ready_url()).await;
            let ready = said.map(|body| self.protocol.is_ready(&body));
            match ready {
                // A status here is how servers say no.
                Ok(false) | Err(RemoteError::Status(_)) => return Err(RemoteError::NotReady),
                Ok(true) => {}
                Err(error) => return Err(error),
            }
        }
        let body = self.client.post(&self.protocol.infer_url(), &self.protocol.question(text)).await?;
        let reply = self.protocol.read(&body)?;
        let labels = match &self.labels {
            None if answer::is_bare(&reply.parts) => self.learn().await?,
            known => known.clone(),
        };
        let best = answer::best(&reply.parts, labels.as_deref()).inspect_err(|error| {
            if matches!(error, RemoteError::Labels(_)) {
                // The model was exchanged under its name; its labels are asked for anew.
                *lock(&self.learned) = None;
            }
        })?;
        let confidence = best.probability as f32;
        Ok(Heard {
            label: (confidence >= self.config.remote_in_scope_min).then_some(best.label),
            confidence,
            version: self.version(reply.version),
        })
    }

    /// The labels in the model's own description, asked for once.
    async fn learn(&self) -> Result<Option<Arc<[String]>>, RemoteError> {
        let known = lock(&self.learned).clone();
        let (None, Some(url)) = (&known, self.protocol.metadata_url()) else { return Ok(known) };
        let labels = protocol::labels(&self.client.get(&url).await?).map(Arc::from);
        lock(&self.learned).clone_from(&labels);
        Ok(labels)
    }

    fn version(&self, told: Option<String>) -> String {
        let asked_for = Some(&self.config.remote_version).filter(|version| !version.is_empty()).cloned();
        match told.or(asked_for) {
            Some(version) => format!("{}/{version}", self.config.remote_model),
            None => self.config.remote_model.clone(),
        }
    }
}

/// The label that a reply holds likeliest, and its probability.
pub(crate) fn best_of(kind: RemoteProtocol, body: &[u8], labels: &[String]) -> Result<(String, f64), String> {
    let best = protocol::read(kind, body).and_then(|reply| answer::best(&reply.parts, Some(labels)));
    best.map(|best| (best.label, best.probability)).map_err(|error| error.to_string())
}

/// The labels in a model's description.
pub(crate) use protocol::labels as labels_of;

/// One label a line, in the order of the model's scores; None without a file.
fn read_labels(path: &str) -> Result<Option<Arc<[String]>>, ConfigError> {
    if path.is_empty() {
        return Ok(None);
    }
    let wrong = |why: String| ConfigError(vec![format!("intent.remote_labels '{path}' {why}")]);
    let text = std::fs::read_to_string(Path::new(path)).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let labels: Vec<String> = text.trim().lines().map(|line| line.trim().to_owned()).collect();
    let mut seen = HashSet::new();
    match labels.iter().position(|label| label.is_empty() || !seen.insert(label)) {
        Some(line) => Err(wrong(format!("line {} is empty or a repetition; give one label a line", line + 1))),
        None if labels.len() > LABELS_MAX => Err(wrong(format!("has more than {LABELS_MAX} lines"))),
        None => Ok(Some(labels.into())),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
