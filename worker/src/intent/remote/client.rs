//! The one door to model servers: HTTP requests of which each has one outcome; time limits are the caller's.

use std::time::Duration;

use reqwest::{Response, redirect::Policy};
use serde_json::Value;
use talkfleet_shared::config::ConfigError;

use super::RemoteError;

/// How long an idle connection is kept: shorter than uvicorn, which carries MLServer and KServe's servers, keeps its own
/// (5 s), so that no message is sent into one that is just being closed.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// The longest reply: 10,000 labels with scores are a tenth of it.
pub(super) const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) struct Client {
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new() -> Result<Self, ConfigError> {
        let unusable = |error: reqwest::Error| ConfigError(vec![format!("intent.remote_url cannot be used: {error}")]);
        // What customers wrote must not follow a redirect to another host.
        let builder = reqwest::Client::builder().redirect(Policy::none()).pool_idle_timeout(IDLE_MAX);
        Ok(Self { http: builder.build().map_err(unusable)? })
    }

    pub(super) async fn post(&self, url: &str, body: &Value) -> Result<Vec<u8>, RemoteError> {
        read(self.http.post(url).json(body).send().await.map_err(away)?).await
    }

    pub(super) async fn get(&self, url: &str) -> Result<Vec<u8>, RemoteError> {
        read(self.http.get(url).send().await.map_err(away)?).await
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, RemoteError> {
    let status = response.status();
    if !status.is_success() {
        return Err(RemoteError::Status(status.as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(away)? {
        if body.len() + chunk.len() > REPLY_BYTES_MAX {
            return Err(RemoteError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The library's own text names the address, which may carry a password.
fn away(error: reqwest::Error) -> RemoteError {
    let connect = error.is_connect();
    let why = error.without_url().to_string();
    if connect { RemoteError::Connect(why) } else { RemoteError::BrokeOff(why) }
}
