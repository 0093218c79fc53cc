//! Looking through streams for what is somebody's, and overwriting it message by message.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    jetstream::{
        ErrorCode,
        consumer::pull::{Ordered, OrderedConfig},
        response::Response,
        stream::DirectGetErrorKind,
    },
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::{Bus, BusError, header_of};
use crate::{
    envelope::{self, EnvelopeError, Format},
    header, subject,
};

/// How long the next message of a stream that has more may take.
const NEXT_WITHIN: Duration = Duration::from_secs(10);

/// Deletions under way at once: the broker rewrites a block for each.
const ERASURES: usize = 32;

/// What nats-server says when a sequence holds nothing (any more).
const GONE: [ErrorCode; 2] = [ErrorCode::SEQUENCE_NOT_FOUND, ErrorCode::NO_MESSAGE_FOUND];

/// A message as it lies in a stream, whichever that is.
#[derive(Debug, Clone)]
pub struct Lying {
    pub sequence: u64,
    pub stored_at: OffsetDateTime,
    /// As the live fleet calls it, also in a replay's lane.
    pub subject: String,
    pub body: Bytes,
    headers: Option<HeaderMap>,
}

impl Lying {
    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(self.headers.as_ref(), name)
    }

    /// Every header's value.
    pub fn header_values(&self) -> Vec<&str> {
        let each = self.headers.iter().flat_map(HeaderMap::iter);
        each.flat_map(|(_, values)| values.iter().map(async_nats::HeaderValue::as_str)).collect()
    }

    pub fn read<T: DeserializeOwned>(&self) -> Result<T, EnvelopeError> {
        let format = Format::detect(self.header(header::CONTENT_TYPE), &self.body)?;
        envelope::decode_large(&self.body, format)
    }

    /// When it was stored, Unix milliseconds.
    pub fn stored_at_ms(&self) -> u64 {
        u64::try_from(self.stored_at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
    }
}

/// The messages that lay in a stream when the looking began, oldest first.
pub struct Sift(Option<Ordered>);

impl Sift {
    /// The next one; None after the last.
    pub async fn next(&mut self) -> Result<Option<Lying>, BusError> {
        let Some(messages) = &mut self.0 else { return Ok(None) };
        let next = tokio::time::timeout(NEXT_WITHIN, messages.next()).await.map_err(|_| BusError::Timeout)?;
        let message = next.ok_or(BusError::Away)?.map_err(refused)?;
        let info = message.info().map_err(refused)?;
        let (sequence, stored_at, pending) = (info.stream_sequence, info.published, info.pending);
        if pending == 0 {
            self.0 = None;
        }
        let (message, _) = message.split();
        let subject = at_home(&message.subject);
        Ok(Some(Lying { sequence, stored_at, subject, body: message.payload, headers: message.headers }))
    }
}

impl Bus {
    /// Looks through a stream, by its own name at the broker; `subjects` are the broker's too.
    pub async fn sift(&self, stream: &str, subjects: &str) -> Result<Sift, BusError> {
        let config = OrderedConfig { filter_subject: subjects.to_owned(), ..OrderedConfig::default() };
        let mut consumer = self.nats()?.stream(stream).await?.create_consumer(config).await.map_err(refused)?;
        let waiting = consumer.info().await.map_err(refused)?.num_pending;
        Ok(Sift(if waiting == 0 { None } else { Some(consumer.messages().await.map_err(refused)?) }))
    }

    /// What lies in a work queue, oldest first, without taking it: such a stream gives no second consumer a look.
    pub async fn queued(&self, stream: &str, subjects: &str) -> Result<Vec<Lying>, BusError> {
        let handle = self.nats()?.stream(stream).await?;
        let (mut found, mut next) = (Vec::new(), 1);
        loop {
            let message = match handle.direct_get_next_for_subject(subjects, Some(next)).await {
                Ok(message) => message,
                Err(error) => match error.kind() {
                    DirectGetErrorKind::NotFound => return Ok(found),
                    DirectGetErrorKind::TimedOut => return Err(BusError::Timeout),
                    _ => return Err(refused(error)),
                },
            };
            next = message.sequence + 1;
            found.push(Lying {
                sequence: message.sequence,
                stored_at: message.time,
                subject: at_home(&message.subject),
                body: message.payload,
                headers: Some(message.headers),
            });
        }
    }

    /// Overwrites messages with noise and takes them out; one that is gone already is fine. How many were there.
    pub async fn erase(&self, stream: &str, sequences: Vec<u64>) -> Result<u64, BusError> {
        let erased = futures::stream::iter(sequences).map(|sequence| self.erase_one(stream, sequence));
        erased.buffer_unordered(ERASURES).try_fold(0, |sum, one| async move { Ok(sum + u64::from(one)) }).await
    }

    async fn erase_one(&self, stream: &str, sequence: u64) -> Result<bool, BusError> {
        #[derive(serde::Serialize)]
        struct Wish {
            seq: u64,
            no_erase: bool,
        }
        #[derive(serde::Deserialize)]
        struct Done {
            success: bool,
        }
        let jetstream = &self.nats()?.jetstream;
        let wish = Wish { seq: sequence, no_erase: false };
        let asked = jetstream.request(format!("STREAM.MSG.DELETE.{stream}"), &wish).await;
        let response: Response<Done> = asked.map_err(refused)?;
        match response {
            Response::Ok(done) => Ok(done.success),
            // Somebody else was faster, or it has aged out meanwhile.
            Response::Err { error } if GONE.contains(&error.error_code()) => Ok(false),
            Response::Err { error } => Err(refused(error)),
        }
    }

    /// Takes out all that lies on a subject of a stream which lets no single message be deleted, such as a bucket's.
    pub async fn purge_subject(&self, stream: &str, subject: &str) -> Result<u64, BusError> {
        let handle = self.nats()?.stream(stream).await?;
        let purged = handle.purge().filter(subject).await.map_err(refused)?;
        Ok(purged.purged)
    }

    /// The streams at the broker whose names begin so.
    pub async fn streams_named(&self, beginning: &str) -> Result<Vec<String>, BusError> {
        let mut names: Vec<String> = self.nats()?.jetstream.stream_names().try_collect().await.map_err(refused)?;
        names.retain(|name| name.starts_with(beginning));
        names.sort_unstable();
        Ok(names)
    }
}

/// A subject of whichever lane, as the live fleet calls it.
fn at_home(subject: &str) -> String {
    let rest = subject.strip_prefix(subject::SHADOW).and_then(|rest| rest.strip_prefix('.'));
    match rest.and_then(|rest| rest.split_once('.')) {
        Some((_, rest)) => format!("{}.{rest}", subject::PREFIX),
        None => subject.to_owned(),
    }
}

fn refused(error: impl std::fmt::Display) -> BusError {
    BusError::Refused(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lanes_subject_is_read_as_the_live_one() {
        assert_eq!(at_home("shadow.next.turn.demo.c.r"), "chat.v1.turn.demo.c.r");
        for own in ["chat.v1.turn.demo.c.r", "$KV.OWNERS.demo.c", "shadow.next"] {
            assert_eq!(at_home(own), own);
        }
    }
}
