//! Making the broker agree with the topology, and telling what differs when it does not.

use std::time::Instant;

use async_nats::jetstream::{
    self,
    consumer::{IntoConsumerConfig, pull},
    stream::Config,
};

use futures::{Stream, StreamExt};
use time::OffsetDateTime;

use super::{
    Bus, BusError,
    wire::{Consumer, Wire},
};
use crate::{
    clock,
    topology::{self, Scale},
};

/// One thing that was, or would be, done to the broker.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    Create {
        what: &'static str,
        name: String,
    },
    Update {
        what: &'static str,
        name: String,
        differences: Vec<String>,
    },
    /// It exists with settings that the broker cannot change in place.
    Conflict {
        what: &'static str,
        name: String,
        differences: Vec<String>,
    },
}

/// What the broker says about itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ServerInfo {
    pub name: String,
    pub version: String,
    pub jetstream: bool,
    pub payload_bytes_max: usize,
}

impl Bus {
    /// Who answers at the other end.
    pub fn server(&self) -> Result<ServerInfo, BusError> {
        let info = self.nats()?.client.server_info();
        Ok(ServerInfo {
            name: info.server_name,
            version: info.version,
            jetstream: info.jetstream,
            payload_bytes_max: info.max_payload,
        })
    }

    /// The stream as wanted, taking from its sources from where it began to: one that was built from a backup would otherwise
    /// take everything once more that they still hold.
    async fn going_on(&self, mut wanted: Config) -> Result<Config, BusError> {
        let Some(sources) = &mut wanted.sources else { return Ok(wanted) };
        if let Ok(there) = self.nats()?.jetstream.get_stream(&wanted.name).await {
            for source in sources {
                let mut known = there.cached_info().config.sources.iter().flatten();
                source.start_sequence =
                    known.find(|known| known.name == source.name).and_then(|known| known.start_sequence);
            }
        }
        Ok(wanted)
    }

    /// What differs between the broker and the topology; nothing is changed.
    pub async fn topology_diff(&self, scale: Scale) -> Result<Vec<Change>, BusError> {
        let mut changes = Vec::new();
        for wanted in topology::streams_of(&self.lane, scale) {
            changes.extend(self.stream_change(&wanted).await?);
        }
        for (stream, wanted) in topology::consumers_of(&self.lane, scale) {
            let name = wanted.durable_name.clone().unwrap_or_default();
            let (what, path) = ("consumer", format!("{stream}/{name}"));
            match self.consumer(stream, &name).await {
                Ok(found) => {
                    let differences = topology::consumer_differences(&found.cached_info().config, &wanted);
                    if !differences.is_empty() {
                        changes.push(Change::Update { what, name: path, differences });
                    }
                }
                Err(_) => changes.push(Change::Create { what, name: path }),
            }
        }
        for wanted in topology::buckets_of(&self.lane, scale) {
            if self.nats()?.jetstream.get_key_value(&wanted.bucket).await.is_err() {
                changes.push(Change::Create { what: "bucket", name: wanted.bucket });
            }
        }
        for wanted in topology::object_stores_of(&self.lane, scale) {
            if self.nats()?.jetstream.get_object_store(&wanted.bucket).await.is_err() {
                changes.push(Change::Create { what: "object store", name: wanted.bucket });
            }
        }
        Ok(changes)
    }

    /// Creates and updates until the broker agrees; a setting that cannot be changed in place is reported, not forced.
    pub async fn topology_apply(&self, scale: Scale) -> Result<Vec<Change>, BusError> {
        let changes = self.topology_diff(scale).await?;
        let conflict = |change: &Change| matches!(change, Change::Conflict { .. });
        if changes.iter().any(conflict) {
            return Ok(changes);
        }
        let refused = |error: &dyn std::fmt::Display| BusError::Refused(error.to_string());
        for wanted in topology::streams_of(&self.lane, scale) {
            let wanted = self.going_on(wanted).await?;
            self.nats()?.jetstream.create_or_update_stream(wanted).await.map_err(|error| refused(&error))?;
        }
        for (stream, wanted) in topology::consumers_of(&self.lane, scale) {
            let handle = self.stream(stream).await?;
            handle.create_consumer(wanted.into_consumer_config()).await.map_err(|error| refused(&error))?;
        }
        for wanted in topology::buckets_of(&self.lane, scale) {
            self.nats()?.jetstream.create_or_update_key_value(wanted).await.map_err(|error| refused(&error))?;
        }
        for wanted in topology::object_stores_of(&self.lane, scale) {
            if self.nats()?.jetstream.get_object_store(&wanted.bucket).await.is_err() {
                self.nats()?.jetstream.create_object_store(wanted).await.map_err(|error| refused(&error))?;
            }
        }
        Ok(changes)
    }

    /// The name of the server that leads a stream; None on a single server, or while one is elected.
    pub async fn leader(&self, stream: &str) -> Result<Option<String>, BusError> {
        let info = self
            .nats()?
            .jetstream
            .get_stream(&*self.lane.stream(stream))
            .await
            .map_err(|error| BusError::Refused(error.to_string()))?;
        Ok(info.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone()))
    }

    /// Messages on the queue, those that are being answered included.
    pub async fn asks_waiting(&self) -> Result<u64, BusError> {
        let asks = self.nats()?.jetstream.get_stream(&*self.lane.stream(topology::ASK)).await;
        let asks = asks.map_err(|error| BusError::Refused(error.to_string()))?;
        Ok(asks.cached_info().state.messages)
    }

    /// The subjects of messages on `subject` as they are published, before anybody has acknowledged them.
    pub async fn overhear(&self, subject: String) -> Result<impl Stream<Item = String> + use<>, BusError> {
        let heard = self
            .nats()?
            .client
            .subscribe(self.lane.subject(subject))
            .await
            .map_err(|error| BusError::Refused(error.to_string()))?;
        self.flush().await?;
        Ok(heard.map(|message| message.subject.to_string()))
    }

    /// Deletes a stream with all that it holds, as an operator might by mistake.
    pub async fn delete_stream(&self, stream: &str) -> Result<(), BusError> {
        self.nats()?
            .jetstream
            .delete_stream(&*self.lane.stream(stream))
            .await
            .map(drop)
            .map_err(|error| BusError::Refused(error.to_string()))
    }

    /// Deletes a consumer, as an operator might by mistake.
    pub async fn delete_consumer(&self, stream: &str, consumer: &str) -> Result<(), BusError> {
        let deleted = self.stream(stream).await?.delete_consumer(consumer).await;
        deleted.map(drop).map_err(|error| BusError::Refused(error.to_string()))
    }

    /// Makes a stream, and a consumer of it, again that an operator deleted while we ran; what exists is left as it is.
    pub(super) async fn restore(
        &self,
        stream: &'static str,
        consumer: Option<&str>,
    ) -> Result<Option<Consumer>, BusError> {
        // Where only the operator may make one, the broker does not even answer.
        let unmade = |what: &str, error: &dyn std::fmt::Display| {
            BusError::Missing(format!("{what}, and it could not be made here ({error})"))
        };
        let scale = Scale { replicas: self.replicas, ..Scale::default() };
        let name = self.lane.stream(stream);
        if let Err(error) = self.nats()?.jetstream.get_stream(&*name).await {
            missing(&error)?;
            let wanted = topology::streams_of(&self.lane, scale).into_iter().find(|wanted| wanted.name == *name);
            let wanted = wanted.ok_or_else(|| BusError::Missing(format!("stream '{name}'")))?;
            tracing::warn!(
                stream = %name,
                "a stream was deleted; it is made again as the topology says, and what it held is lost"
            );
            let made = self.nats()?.jetstream.get_or_create_stream(wanted).await;
            made.map_err(|error| unmade(&format!("stream '{name}'"), &error))?;
        }
        let Some(consumer) = consumer else { return Ok(None) };
        let meant = |config: &pull::Config| config.durable_name.as_deref() == Some(consumer);
        let mut consumers = topology::consumers_of(&self.lane, scale).into_iter();
        let Some((_, wanted)) = consumers.find(|(of, config)| *of == stream && meant(config)) else { return Ok(None) };
        tracing::warn!(stream = %name, consumer, "a consumer was deleted; it is made again as the topology says");
        let made = self.stream(stream).await?.create_consumer(wanted).await;
        made.map(|made| Some(Consumer::Nats(Box::new(made))))
            .map_err(|error| unmade(&format!("consumer '{consumer}'"), &error))
    }

    /// Removes a lane with everything that still lies in it.
    pub async fn topology_remove(&self) -> Result<(), BusError> {
        if self.lane.is_live() {
            return Err(BusError::Refused("the live streams are not removed; name a lane".into()));
        }
        for stream in topology::streams_of(&self.lane, Scale::default()) {
            match self.nats()?.jetstream.delete_stream(&stream.name).await {
                Ok(_) => {}
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(BusError::Refused(error.to_string())),
            }
        }
        Ok(())
    }

    async fn stream_change(&self, wanted: &Config) -> Result<Option<Change>, BusError> {
        let name = wanted.name.clone();
        let actual = match self.nats()?.jetstream.get_stream(&name).await {
            Ok(stream) => stream.cached_info().config.clone(),
            Err(error) => return missing(&error).map(|()| Some(Change::Create { what: "stream", name })),
        };
        let differences = topology::differences(&actual, wanted);
        if differences.is_empty() {
            return Ok(None);
        }
        let fixed = actual.retention != wanted.retention || actual.storage != wanted.storage;
        let what = "stream";
        Ok(Some(if fixed {
            Change::Conflict { what, name, differences }
        } else {
            Change::Update { what, name, differences }
        }))
    }

    /// What the broker's clock showed at a moment of ours; half a round trip is its error.
    pub async fn time(&self) -> Result<(Instant, OffsetDateTime), BusError> {
        #[derive(serde::Deserialize)]
        struct Stamped {
            #[serde(with = "time::serde::rfc3339")]
            ts: OffsetDateTime,
        }
        let before = clock::now();
        let shown = match &self.wire {
            Wire::Model(link) => link.time().await?,
            Wire::Nats(nats) => {
                let asked = nats.jetstream.request(format!("STREAM.INFO.{}", self.lane.stream(topology::ASK)), &());
                let reply: jetstream::response::Response<Stamped> =
                    asked.await.map_err(|error| BusError::Refused(error.to_string()))?;
                let jetstream::response::Response::Ok(stamped) = reply else {
                    return Err(BusError::Missing(format!("stream '{}'", topology::ASK)));
                };
                stamped.ts
            }
        };
        Ok((before + clock::now().saturating_duration_since(before) / 2, shown))
    }
}

fn is_missing(error: &jetstream::context::DeleteStreamError) -> bool {
    matches!(error.kind(), jetstream::context::DeleteStreamErrorKind::JetStream(e)
        if e.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}

/// Ok when the broker said that there is no such stream.
fn missing(error: &jetstream::context::GetStreamError) -> Result<(), BusError> {
    match error.kind() {
        jetstream::context::GetStreamErrorKind::JetStream(e)
            if e.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND =>
        {
            Ok(())
        }
        jetstream::context::GetStreamErrorKind::JetStream(e)
            if e.error_code() == jetstream::ErrorCode::JETSTREAM_NOT_ENABLED =>
        {
            Err(BusError::Refused("JetStream is not enabled; start nats-server with -js".into()))
        }
        _ => Err(BusError::Refused(error.to_string())),
    }
}
