//! Turn records read from their streams in the order in which they were stored: the journal's past, a lane's as they come.

use async_nats::{
    Subject,
    jetstream::{
        Message,
        consumer::{DeliverPolicy, pull},
    },
};
use bytes::Bytes;
use futures::StreamExt;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::{Bus, BusError, header_of};
use crate::{
    chat::{Feedback, TurnHead, TurnRecord},
    envelope::{self, EnvelopeError, Format},
    header,
    id::TenantId,
    release::Release,
    subject, topology,
};

/// From where on records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Sequence(u64),
    /// What was stored at this time or later.
    Time(OffsetDateTime),
}

/// What the journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalState {
    /// When its oldest message was stored; None when it is empty.
    pub first_at: Option<OffsetDateTime>,
    pub last_sequence: u64,
}

/// Records, oldest first.
pub struct Records {
    messages: pull::Ordered,
    /// The last one to be read; None follows for ever.
    last_sequence: Option<u64>,
}

/// A record as it lies in its stream. It is read apart from its delivery, so that somebody else may do that.
pub struct StoredRecord {
    pub sequence: u64,
    pub stored_at: OffsetDateTime,
    subject: Subject,
    content_type: Option<String>,
    body: Bytes,
}

/// How far the workers are behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Asks that nobody has taken yet.
    pub waiting: u64,
    /// Asks that are being answered.
    pub running: u64,
    /// Open requests for more: somebody listens.
    pub pulls: u64,
}

fn refused(error: impl std::fmt::Display) -> BusError {
    BusError::Refused(error.to_string())
}

impl Bus {
    /// What the journal holds right now.
    pub async fn journal_state(&self) -> Result<JournalState, BusError> {
        self.stream_state(topology::JOURNAL).await
    }

    pub(super) async fn stream_state(&self, stream: &str) -> Result<JournalState, BusError> {
        let info = self.stream(stream).await?.get_info().await.map_err(refused)?;
        let first_at = (info.state.messages > 0).then_some(info.state.first_timestamp);
        Ok(JournalState { first_at, last_sequence: info.state.last_sequence })
    }

    /// The journal's records up to what it holds right now, of one tenant or of all.
    pub async fn journal(&self, from: Start, tenant: Option<&TenantId>) -> Result<Records, BusError> {
        let last_sequence = self.journal_state().await?.last_sequence;
        let subject = subject::journal_of(tenant.map_or("*", TenantId::as_str));
        self.records(topology::JOURNAL, from, subject, Some(last_sequence)).await
    }

    /// What customers thought of answers, up to what the journal holds right now.
    pub async fn journal_verdicts(&self, from: Start) -> Result<Records, BusError> {
        let last_sequence = self.journal_state().await?.last_sequence;
        self.records(topology::JOURNAL, from, subject::every_tenant("feedback"), Some(last_sequence)).await
    }

    /// Every record of the turns' stream, and then those that come.
    pub async fn follow_turns(&self, from: Start) -> Result<Records, BusError> {
        self.records(topology::TURNS, from, subject::every_turn(), None).await
    }

    pub(super) async fn records(
        &self,
        stream: &str,
        from: Start,
        subject: String,
        last_sequence: Option<u64>,
    ) -> Result<Records, BusError> {
        let deliver_policy = match from {
            Start::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence: start_sequence.max(1) },
            Start::Time(start_time) => DeliverPolicy::ByStartTime { start_time },
        };
        let filter_subject = self.lane.subject(subject);
        let config = pull::OrderedConfig { deliver_policy, filter_subject, ..Default::default() };
        let consumer = self.stream(stream).await?.create_consumer(config).await.map_err(refused)?;
        let nothing = consumer.cached_info().num_pending == 0;
        let messages = consumer.messages().await.map_err(refused)?;
        Ok(Records { messages, last_sequence: last_sequence.map(|last| if nothing { 0 } else { last }) })
    }

    /// How far the response workers are behind.
    pub async fn lag(&self) -> Result<Lag, BusError> {
        self.lag_of(Release::Stable).await
    }

    /// How far those of a release are.
    pub async fn lag_of(&self, release: Release) -> Result<Lag, BusError> {
        let consumer = self.consumer(topology::ASK, release.consumer()).await?;
        let info = consumer.cached_info();
        Ok(Lag { waiting: info.num_pending, running: info.num_ack_pending as u64, pulls: info.num_waiting as u64 })
    }
}

impl Records {
    /// The next record; None after the last one.
    pub async fn next(&mut self) -> Option<Result<StoredRecord, BusError>> {
        if self.last_sequence == Some(0) {
            return None;
        }
        let message = match self.messages.next().await? {
            Ok(message) => message,
            Err(error) => return Some(Err(refused(error))),
        };
        let (record, pending) = match stored(message) {
            Ok(stored) => stored,
            Err(error) => return Some(Err(error)),
        };
        if self.last_sequence.is_some_and(|last| record.sequence >= last || pending == 0) {
            self.last_sequence = Some(0);
        }
        Some(Ok(record))
    }
}

fn stored(message: Message) -> Result<(StoredRecord, u64), BusError> {
    let info = message.info().map_err(refused)?;
    let (sequence, stored_at, pending) = (info.stream_sequence, info.published, info.pending);
    let content_type = header_of(message.headers.as_ref(), header::CONTENT_TYPE).map(str::to_owned);
    let (subject, body) = (message.message.subject, message.message.payload);
    Ok((StoredRecord { sequence, stored_at, subject, content_type, body }, pending))
}

impl StoredRecord {
    pub fn read(&self) -> Result<TurnRecord, EnvelopeError> {
        self.decode()
    }

    /// What a customer thought of an answer, of an entry that is that.
    pub fn verdict(&self) -> Result<Feedback, EnvelopeError> {
        self.decode()
    }

    /// What the broker's permissions have guarded.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Who asked what, when, and how it ended, for a part of what the whole costs.
    pub fn head(&self) -> Result<TurnHead, EnvelopeError> {
        self.decode()
    }

    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, EnvelopeError> {
        let format = Format::detect(self.content_type.as_deref(), &self.body)?;
        envelope::decode_large(&self.body, format)
    }

    /// How long it is on the wire, without its headers.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }
}
