//! One endpoint of an OpenAI-compatible API: how it is asked, how it is faring, and the one door to HTTP here.

use std::{sync::Arc, time::Duration};

use eventsource_stream::Eventsource;
use futures::{StreamExt, stream::BoxStream};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use talkfleet_shared::{
    chat::Usage,
    config::{ConfigError, Secret, Url},
    metrics::{Direction, Metrics, Reason},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ModelError, Piece, stream::read};
use crate::{
    config::{ModelConfig, Price, RetriesConfig},
    guard::{self, Guard, Patience},
    response::prompt::Prompt,
};

/// What a response says, piece by piece; without [`Piece::End`] or an error at its end the server broke off.
pub type Pieces = BoxStream<'static, Result<Piece, ModelError>>;

pub struct Endpoint {
    http: reqwest::Client,
    url: String,
    api_key: Secret,
    name: String,
    price: Price,
    permits: Arc<Semaphore>,
    guard: Guard,
    metrics: Arc<Metrics>,
}

/// One call; it reports to the breaker and the metrics once, however it ends.
pub struct Call {
    leave: Option<guard::Leave>,
    metrics: Arc<Metrics>,
    pub model: String,
    price: Price,
    _permit: OwnedSemaphorePermit,
}

impl Endpoint {
    pub fn new(
        config: &ModelConfig,
        (base_url, api_key, name, price): (&Url, &Secret, &str, Price),
        target: &'static str,
        retries: RetriesConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ConfigError> {
        let unusable = |error: reqwest::Error| ConfigError(vec![format!("model.base_url cannot be used: {error}")]);
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            // A key must not follow a redirect to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(unusable)?;
        let patience = Patience { failures_max: config.breaker_failures, open_ms: config.breaker_open_ms };
        Ok(Self {
            http,
            url: format!("{}/chat/completions", base_url.reveal().trim_end_matches('/')),
            api_key: api_key.clone(),
            name: name.to_owned(),
            price,
            permits: Arc::new(Semaphore::new(config.concurrency)),
            guard: Guard::new(target, patience, retries, metrics.clone()),
            metrics,
        })
    }

    pub fn has_room(&self) -> bool {
        self.permits.available_permits() > 0
    }

    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether asking makes sense right now.
    pub fn is_ready(&self) -> bool {
        self.has_room() && self.guard.lets_in()
    }

    /// Leave to ask, unless it failed a moment ago or is fully occupied.
    pub fn enter(&self) -> Option<Call> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        let leave = Some(self.guard.enter()?);
        let (metrics, model) = (self.metrics.clone(), self.name.clone());
        Some(Call { leave, metrics, model, price: self.price, _permit: permit })
    }

    /// Asks, and waits for the first words; what can be mended by asking again is asked again once.
    pub async fn begin(&self, prompt: &Prompt, another_waits: bool) -> Result<(String, Pieces), ModelError> {
        let prompt = prompt.to_model(&self.name);
        match self.begin_once(&prompt).await {
            Err(error) => match error.retry_wait(another_waits) {
                Some(wait) if self.guard.may_retry() => {
                    tokio::time::sleep(wait).await;
                    self.begin_once(&prompt).await
                }
                _ => Err(error),
            },
            begun => begun,
        }
    }

    async fn begin_once(&self, prompt: &Prompt) -> Result<(String, Pieces), ModelError> {
        let mut request = self.http.post(&self.url).json(prompt);
        if !self.api_key.is_empty() {
            request = request.bearer_auth(self.api_key.reveal());
        }
        // The library's own text names the address, which may carry a password.
        let response = request.send().await.map_err(|error| ModelError::Connect(error.without_url().to_string()))?;
        let status = response.status();
        if !status.is_success() {
            let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            return Err(ModelError::Status { status: status.as_u16(), retry_after: seconds.map(Duration::from_secs) });
        }
        let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !media.starts_with("text/event-stream") {
            return Err(ModelError::NoStream);
        }
        let mut pieces = pieces(response);
        match next_words(&mut pieces).await {
            Some(Ok(Piece::Words(first))) => Ok((first, pieces)),
            Some(Ok(_)) => Err(ModelError::Empty),
            Some(Err(error)) => Err(error),
            None => Err(ModelError::BrokeOff),
        }
    }
}

/// The first piece that decides whether there is an answer: usage alone does not.
async fn next_words(pieces: &mut Pieces) -> Option<Result<Piece, ModelError>> {
    loop {
        match pieces.next().await? {
            Ok(Piece::Usage { .. } | Piece::Finish(_)) => {}
            piece => return Some(piece),
        }
    }
}

fn pieces(response: reqwest::Response) -> Pieces {
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

impl Call {
    /// What so many tokens cost here.
    pub fn usage(&self, prompt_tokens: u32, completion_tokens: u32) -> Usage {
        let cost = f64::from(prompt_tokens) * self.price.prompt + f64::from(completion_tokens) * self.price.completion;
        // A price for a million tokens is a millionth of it for one.
        Usage { model: self.model.clone(), prompt_tokens, completion_tokens, cost_micros: cost.round() as u64 }
    }

    pub fn succeeded(mut self, usage: Option<&Usage>) {
        self.report("ok", guard::Leave::succeeded);
        let Some(usage) = usage else { return };
        for (direction, tokens) in [("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens)] {
            self.metrics.model_tokens.get_or_create(&Direction { direction }).inc_by(u64::from(tokens));
        }
        self.metrics.model_cost_micros.inc_by(usage.cost_micros);
    }

    pub fn failed(mut self, error: &ModelError) {
        self.report(error.name(), guard::Leave::failed);
    }

    fn report(&mut self, reason: &'static str, report: fn(guard::Leave)) {
        if let Some(leave) = self.leave.take() {
            report(leave);
            self.metrics.model_calls.get_or_create(&Reason { reason }).inc();
        }
    }
}

impl Drop for Call {
    /// Nobody waits for it any more: another endpoint was faster, or the turn is over. That says nothing about it.
    fn drop(&mut self) {
        self.report("dropped", drop);
    }
}
