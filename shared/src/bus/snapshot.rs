//! Whole streams as the broker itself writes them down: sequences, times and consumers stay what they were.
//!
//! Reading messages and publishing them again would number them anew: a journal takes from the turns' stream by sequence,
//! and a consumer's place is one.

use std::{io, time::Duration};

use async_nats::{StatusCode, jetstream::response::Response};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Bus, BusError};
use crate::subject;

/// One piece of a snapshot: well below the broker's largest message.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// How long the next piece, or the broker's word that it has one, may take.
const CHUNK_WITHIN: Duration = Duration::from_secs(30);

/// The broker's own, on a message that it has taken from another stream.
const SOURCE: &str = "Nats-Stream-Source";

/// How long the broker may take to build a stream from what it was given.
const BUILD_WITHIN: Duration = Duration::from_secs(600);

/// A stream's settings and what it held, in the broker's own words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamFacts {
    pub config: Value,
    pub state: Value,
}

impl StreamFacts {
    fn number(&self, name: &str) -> u64 {
        self.state.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    pub fn messages(&self) -> u64 {
        self.number("messages")
    }

    pub fn first_sequence(&self) -> u64 {
        self.number("first_seq")
    }

    pub fn last_sequence(&self) -> u64 {
        self.number("last_seq")
    }

    pub fn consumers(&self) -> u64 {
        self.number("consumer_count")
    }
}

/// Why a snapshot could not be taken or given.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("the broker stopped: {0}")]
    Stopped(String),
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// The stream and the sequence that a sourced message was taken from, as its header says them: `TURNS 1000 …`.
fn taken_from(header: &str) -> Option<(String, u64)> {
    let mut words = header.split(' ');
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

fn refused(error: impl std::fmt::Display) -> BusError {
    BusError::Refused(error.to_string())
}

impl Bus {
    /// Whether the broker has a stream of this name.
    pub async fn has_stream(&self, name: &str) -> Result<bool, BusError> {
        Ok(self.streams_named(name).await?.iter().any(|found| found == name))
    }

    /// Messages of a stream, by its own name at the broker.
    pub async fn stream_messages(&self, name: &str) -> Result<u64, BusError> {
        let stream = self.nats()?.jetstream.get_stream(name).await.map_err(refused)?;
        Ok(stream.cached_info().state.messages)
    }

    /// How many wait for messages of a consumer right now: none where there is no such consumer.
    pub async fn pulls_open(&self, stream: &str, consumer: &str) -> Result<usize, BusError> {
        match self.consumer(stream, consumer).await {
            Ok(consumer) => Ok(consumer.cached_info().num_waiting),
            Err(BusError::Missing(_)) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Takes a snapshot of a stream with its consumers; each piece is handed on as it comes.
    pub async fn snapshot(
        &self,
        name: &str,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<StreamFacts, SnapshotError> {
        let nats = self.nats()?;
        let inbox = nats.client.new_inbox();
        let mut pieces = nats.client.subscribe(inbox.clone()).await.map_err(refused)?;
        let wish = serde_json::json!({
            "deliver_subject": inbox, "chunk_size": CHUNK_BYTES, "no_consumers": false, "jsck": true,
        });
        let asked = nats.jetstream.request(format!("STREAM.SNAPSHOT.{name}"), &wish).await.map_err(refused)?;
        let facts = match asked {
            Response::<StreamFacts>::Ok(facts) => facts,
            Response::Err { error } => return Err(refused(format!("no snapshot of stream {name}: {error}")).into()),
        };
        loop {
            let piece = tokio::time::timeout(CHUNK_WITHIN, pieces.next()).await.map_err(|_| BusError::Timeout)?;
            let piece = piece.ok_or(BusError::Away)?;
            if piece.payload.is_empty() {
                return match piece.status {
                    None | Some(StatusCode::OK) => Ok(facts),
                    Some(status) if status.as_u16() == 204 => Ok(facts),
                    Some(status) => Err(SnapshotError::Stopped(format!(
                        "{status} {}",
                        piece.description.as_deref().unwrap_or_default()
                    ))),
                };
            }
            take(&piece.payload)?;
            // The broker goes on when it hears that we have it.
            if let Some(reply) = piece.reply {
                nats.client.publish(reply, Bytes::new()).await.map_err(refused)?;
            }
        }
    }

    /// Builds a stream from its snapshot, with so many replicas; there must be none of its name.
    pub async fn restore_snapshot(
        &self,
        name: &str,
        facts: &StreamFacts,
        replicas: usize,
        mut next: impl FnMut() -> io::Result<Option<Vec<u8>>>,
    ) -> Result<(), SnapshotError> {
        #[derive(Deserialize)]
        struct Begun {
            deliver_subject: String,
        }
        let nats = self.nats()?;
        let mut wish = facts.clone();
        let mut sources = None;
        if let Some(config) = wish.config.as_object_mut() {
            config.insert("num_replicas".into(), replicas.into());
            sources = config.remove("sources");
        }
        let asked = nats.jetstream.request(format!("STREAM.RESTORE.{name}"), &wish).await.map_err(refused)?;
        let to = match asked {
            Response::<Begun>::Ok(begun) => begun.deliver_subject,
            Response::Err { error } => return Err(refused(format!("stream {name} is not taken: {error}")).into()),
        };
        while let Some(piece) = next()? {
            let said = self.give(&to, piece.into(), CHUNK_WITHIN).await?;
            if !said.is_empty() {
                return Err(SnapshotError::Stopped(String::from_utf8_lossy(&said).into_owned()));
            }
        }
        let said = self.give(&to, Bytes::new(), BUILD_WITHIN).await?;
        match serde_json::from_slice::<Value>(&said) {
            Ok(built) if built.get("error").is_none() => {}
            Ok(built) => return Err(SnapshotError::Stopped(built["error"]["description"].to_string())),
            Err(_) => return Err(SnapshotError::Stopped(String::from_utf8_lossy(&said).into_owned())),
        }
        match sources {
            Some(sources) => self.take_on(name, wish.config, sources).await,
            None => Ok(()),
        }
    }

    /// Lets a stream that was built take from its source again, from the message after the last that it has: left to itself
    /// the broker (2.15) would take everything once more that the source still holds.
    async fn take_on(&self, name: &str, mut config: Value, mut sources: Value) -> Result<(), SnapshotError> {
        use async_nats::jetstream::stream::LastRawMessageErrorKind as Kind;
        let nats = self.nats()?;
        let taken = subject::every_tenant("journal");
        let last = match nats.stream(name).await?.get_last_raw_message_by_subject(&taken).await {
            Ok(message) => Some(message),
            Err(error) if matches!(error.kind(), Kind::NoMessageFound) => None,
            Err(error) => return Err(refused(error).into()),
        };
        let from = last.and_then(|message| taken_from(message.headers.get(SOURCE)?.as_str()));
        let first = sources.get_mut(0).and_then(Value::as_object_mut);
        if let Some((source, (from, sequence))) = first.zip(from)
            && source.get("name").and_then(Value::as_str) == Some(&from)
        {
            source.insert("opt_start_seq".into(), (sequence + 1).into());
        }
        if let Some(config) = config.as_object_mut() {
            config.insert("sources".into(), sources);
        }
        match nats.jetstream.request(format!("STREAM.UPDATE.{name}"), &config).await.map_err(refused)? {
            Response::<Value>::Ok(_) => Ok(()),
            Response::Err { error } => Err(refused(format!("stream {name} cannot take on: {error}")).into()),
        }
    }

    async fn give(&self, to: &str, piece: Bytes, within: Duration) -> Result<Bytes, BusError> {
        let request = async_nats::Request::new().payload(piece).timeout(Some(within));
        let said = self.nats()?.client.send_request(to.to_owned(), request).await;
        said.map(|message| message.payload).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_where_it_was_taken_from() {
        let header = "TURNS 1000 chat.v1.turn.*.*.* chat.v1.journal.{{wildcard(1)}} chat.v1.turn.demo.c.r bR7zyMJo";
        assert_eq!(taken_from(header), Some(("TURNS".into(), 1_000)));
        assert_eq!((taken_from("TURNS"), taken_from("TURNS x"), taken_from("")), (None, None, None));
    }
}
