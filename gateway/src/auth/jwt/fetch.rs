//! The one client of identity providers: it fetches an address that the configuration names, and follows it nowhere else.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, redirect::Policy};

use super::keys::KEYS_BYTES_MAX;

/// How long a provider may take; meanwhile the keys that were read last hold.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Fetches sets of keys; None where there is no client to do so.
#[derive(Default)]
pub(super) struct Fetcher(Option<Client>);

impl Fetcher {
    pub(super) fn new() -> Self {
        Self(Client::builder().redirect(Policy::none()).timeout(TIMEOUT).build().ok())
    }

    /// What lies at an address, if it is no more than a set of keys can be.
    pub(super) async fn fetch(&self, url: &str) -> Result<Bytes, String> {
        let client = self.0.as_ref().ok_or("there is no client for addresses")?;
        let failed = |error: reqwest::Error| format!("keys_url cannot be fetched: {}", error.without_url());
        let mut response = client.get(url).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(format!("keys_url answered {}", response.status()));
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > KEYS_BYTES_MAX {
                return Err(format!("keys_url answered more than {KEYS_BYTES_MAX} bytes"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}
