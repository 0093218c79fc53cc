//! Who is there: processes that say what they are by the NATS services protocol, and whoever asks for them.

use std::{collections::BTreeMap, time::Duration};

use async_nats::service::ServiceExt;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::{Bus, BusError};
use crate::{id::RequestId, lifecycle::Shutdown, retry::Delays, subject};

/// How services of ours begin.
pub(super) const SERVICE: &str = "talkfleet-";

/// Waits between attempts to say that one is there.
const AGAIN: (Duration, Duration) = (super::JOIN_FIRST, super::JOIN_LONGEST);

/// One process of a service, as `$SRV.INFO` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {
    pub id: String,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

impl Bus {
    /// Says that this process is there until shutdown: a service without endpoints, for `nats micro ls` and
    /// [`Bus::present`]. What speaks here goes on without it.
    pub async fn announce(&self, what: &str, description: &str, metadata: &[(&str, &str)], until: &Shutdown) {
        let Ok(nats) = self.nats() else { return };
        let mut delays = Delays::new(AGAIN.0, AGAIN.1);
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        while !until.is_asked() {
            let service = nats.client.service_builder().description(description);
            let service = service.metadata(metadata.iter().map(owned).collect());
            match service.start(format!("{SERVICE}{what}"), env!("CARGO_PKG_VERSION")).await {
                Ok(service) => {
                    until.asked().await;
                    let _ = service.stop().await;
                }
                Err(error) => tracing::warn!(%error, what, "others cannot be told that this process is there"),
            }
            tokio::select! {
                biased;
                () = until.asked() => {}
                () = tokio::time::sleep(delays.next_delay()) => {}
            }
        }
    }

    /// Whoever says within this time that they are there.
    pub async fn present(&self, what: &str, within: Duration) -> Result<Vec<Present>, BusError> {
        let refused = |error: &dyn std::fmt::Display| BusError::Refused(error.to_string());
        let client = &self.nats()?.client;
        let told = subject::present(&RequestId::new());
        let mut heard = client.subscribe(told.clone()).await.map_err(|error| refused(&error))?;
        let question = format!("$SRV.INFO.{SERVICE}{what}");
        client.publish_with_reply(question, told, "".into()).await.map_err(|error| refused(&error))?;
        let mut present: Vec<Present> = Vec::new();
        let gather = async {
            while let Some(message) = heard.next().await {
                // Nobody there is told by an empty message.
                present.extend(serde_json::from_slice::<Present>(&message.payload));
            }
        };
        let _ = tokio::time::timeout(within, gather).await;
        present.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(present)
    }
}
