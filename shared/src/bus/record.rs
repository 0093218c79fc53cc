//! Turn records: the first to be stored for its request is the truth, and whoever is second reads it.

use async_nats::HeaderValue;
use futures::StreamExt;

use super::{Bus, BusError, StoreError, header_of, headers_for};
use crate::{
    chat::{Feedback, TurnRecord},
    envelope::{self, Format},
    header,
    id::{ConversationId, RequestId, TenantId},
    subject, topology,
};

/// What became of an attempt to write the truth.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// Ours is the record.
    First,
    /// Somebody was faster; theirs is the record.
    Second(Box<TurnRecord>),
    /// Whoever asked was forgotten meanwhile: nothing is stored.
    Forgotten,
}

impl Bus {
    /// Stores a record unless one exists for its request.
    ///
    /// Whoever tells an outcome has stored it before, or has read it here: that is what makes it the only one.
    pub async fn write_record(&self, record: &TurnRecord) -> Result<Written, BusError> {
        if self.forgets(record) {
            return Ok(Written::Forgotten);
        }
        let subject = subject::turn(&record.tenant, &record.conversation, &record.request);
        let mut headers = headers_for(Format::MessagePack);
        headers.insert(header::EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(0u64));
        let body = envelope::encode(record, Format::MessagePack)?;
        match self.store(subject.clone(), headers, body).await {
            Ok(_) => Ok(Written::First),
            Err(StoreError::NotFirst) => match self.last_record(subject).await? {
                Some(record) => Ok(Written::Second(Box::new(record))),
                None => Err(BusError::Missing("record that it said it has".into())),
            },
            Err(StoreError::Failed(error)) => {
                if matches!(error, BusError::Missing(_)) {
                    // Mostly an election; the stream is made again only when the broker says that there is none.
                    self.restore(topology::TURNS, None).await?;
                }
                Err(error)
            }
        }
    }

    /// The record of a request, if its turn has ended and is still kept.
    pub async fn read_record(
        &self,
        tenant: &TenantId,
        conversation: Option<&ConversationId>,
        request: &RequestId,
    ) -> Result<Option<TurnRecord>, BusError> {
        match conversation {
            Some(conversation) => self.last_record(subject::turn(tenant, conversation, request)).await,
            None => self.last_record(subject::turn_of_request(tenant, request)).await,
        }
    }

    async fn last_record(&self, subject: String) -> Result<Option<TurnRecord>, BusError> {
        let kept = self.last(topology::TURNS, self.lane.subject(subject)).await?;
        kept.map(|kept| read(&kept.body, Some(&kept.headers))).transpose()
    }

    /// The records of a conversation that are still kept, oldest first.
    pub async fn records_of(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
    ) -> Result<Vec<TurnRecord>, BusError> {
        let every = subject::turns_of_conversation(tenant, conversation);
        // Most conversations that are asked for are long over, or made up: a direct get costs the broker far less than a
        // consumer does.
        if self.last_record(every.clone()).await?.is_none() {
            return Ok(Vec::new());
        }
        let refused = |error: &dyn std::fmt::Display| BusError::Refused(error.to_string());
        let stream = self.stream(topology::TURNS).await?;
        let config = async_nats::jetstream::consumer::pull::OrderedConfig {
            filter_subject: self.lane.subject(every),
            ..Default::default()
        };
        let mut consumer = stream.create_consumer(config).await.map_err(|error| refused(&error))?;
        let mut waiting = consumer.info().await.map_err(|error| refused(&error))?.num_pending;
        let mut records = Vec::new();
        if waiting == 0 {
            return Ok(records);
        }
        let mut messages = consumer.messages().await.map_err(|error| refused(&error))?;
        while waiting > 0 {
            let next = tokio::time::timeout(self.call_timeout, messages.next()).await;
            let message =
                next.map_err(|_| BusError::Timeout)?.ok_or(BusError::Away)?.map_err(|error| refused(&error))?;
            records.push(read(&message.payload, message.headers.as_ref())?);
            waiting -= 1;
        }
        Ok(records)
    }

    /// Puts a customer's verdict into the journal.
    pub async fn write_feedback(&self, feedback: &Feedback) -> Result<(), BusError> {
        let body = envelope::encode(feedback, Format::MessagePack)?;
        self.publish_stored(subject::feedback(&feedback.tenant), headers_for(Format::MessagePack), body).await.map(drop)
    }
}

fn read(body: &[u8], headers: Option<&async_nats::HeaderMap>) -> Result<TurnRecord, BusError> {
    let format = Format::detect(header_of(headers, header::CONTENT_TYPE), body)?;
    Ok(envelope::decode_large(body, format)?)
}
