//! Dead letters: a message that could not be processed is set aside whole, and people list, mend, redrive and drop it.

use std::time::Duration;

use async_nats::{
    HeaderMap, HeaderValue,
    jetstream::{
        consumer::pull::{Ordered, OrderedConfig},
        stream::{DirectGetErrorKind, Stream},
    },
};
use bytes::Bytes;
use futures::StreamExt;
use time::OffsetDateTime;

use super::{
    Accepted, Bus, BusError, SubmitError, ask::time_to_live, deliver::read_ask, header_of, headers_for, insert_checked,
};
use crate::{
    chat::Ask,
    dead::{History, Why, fingerprint},
    envelope::{self, EnvelopeError, Format},
    header,
    id::{ConversationId, RequestId, TenantId},
    metrics::Reason,
    subject, topology,
};

/// The broker's own, on a message that was read without its body.
const SIZE: &str = "Nats-Msg-Size";

/// What a dead letter carries beside the headers of the message that it was.
const OF_THE_LETTER: [&str; 7] = [
    header::REASON,
    header::ORIGIN,
    header::ATTEMPT,
    header::FINGERPRINT,
    header::CHAIN,
    header::HISTORY,
    header::WORKER,
];

/// A message that goes to the dead letters.
pub struct DeadLetter<'a> {
    pub origin: &'a str,
    pub headers: Option<&'a HeaderMap>,
    pub body: &'a Bytes,
    pub why: &'a Why,
    pub history: History,
    pub attempt: u32,
}

/// A dead letter without its body.
#[derive(Debug, Clone)]
pub struct DeadHead {
    /// Its place in the stream, by which people name it.
    pub sequence: u64,
    pub stored_at: OffsetDateTime,
    /// Bytes of the body.
    pub size: usize,
    /// Whose it is, unless not even that could be told.
    pub tenant: Option<TenantId>,
    headers: HeaderMap,
}

/// A dead letter as it lies there.
#[derive(Debug, Clone)]
pub struct Dead {
    pub head: DeadHead,
    pub body: Bytes,
}

/// How a dead letter is asked again.
#[derive(Debug, Clone)]
pub struct Redrive {
    pub request: RequestId,
    pub budget: Duration,
}

/// The heads of the dead letters, oldest first.
pub struct DeadLetters {
    messages: Option<Ordered>,
    timeout: Duration,
}

impl DeadLetters {
    /// The next one; None after the last that lay there when the reading began.
    pub async fn next(&mut self) -> Result<Option<DeadHead>, BusError> {
        let Some(messages) = &mut self.messages else { return Ok(None) };
        let next = tokio::time::timeout(self.timeout, messages.next()).await.map_err(|_| BusError::Timeout)?;
        let message = next.ok_or(BusError::Away)?.map_err(refused)?;
        let info = message.info().map_err(refused)?;
        let (sequence, stored_at, pending) = (info.stream_sequence, info.published, info.pending);
        if pending == 0 {
            self.messages = None;
        }
        let size = header_of(message.headers.as_ref(), SIZE).and_then(|size| size.parse().ok()).unwrap_or_default();
        let headers = own_headers(message.headers.as_ref());
        Ok(Some(DeadHead { sequence, stored_at, size, tenant: subject::parse_tenant(&message.subject), headers }))
    }
}

impl Bus {
    /// Copies a message to the dead letters, with all that is known about why.
    pub async fn set_aside(&self, dead: &DeadLetter<'_>) -> Result<(), BusError> {
        let mut headers = own_headers(dead.headers);
        let id = header_of(dead.headers, header::MESSAGE_ID).filter(|_| headers.get(header::REQUEST).is_none());
        if let Some(id) = id {
            insert_checked(&mut headers, header::REQUEST, id);
        }
        insert_checked(&mut headers, header::REASON, dead.why.reason());
        insert_checked(&mut headers, header::ORIGIN, dead.origin);
        insert_checked(&mut headers, header::ATTEMPT, &dead.attempt.to_string());
        insert_checked(&mut headers, header::FINGERPRINT, &dead.why.fingerprint());
        insert_checked(&mut headers, header::CHAIN, &json(&dead.why.chain));
        insert_checked(&mut headers, header::HISTORY, &json(&dead.history));
        insert_checked(&mut headers, header::WORKER, self.who());
        let tenant = subject::parse_ask(dead.origin).map(|(tenant, _)| tenant);
        let tenant = tenant.or_else(|| subject::parse_tenant(dead.origin));
        self.publish_stored(subject::dead(tenant.as_ref()), headers, dead.body.clone()).await?;
        self.metrics.dead_letters.get_or_create(&Reason { reason: dead.why.cause.name() }).inc();
        Ok(())
    }

    /// The dead letters of a tenant, or all of them, without their bodies: there may be a million.
    pub async fn dead_letters(&self, tenant: Option<&TenantId>) -> Result<DeadLetters, BusError> {
        let every = || subject::every_tenant(subject::DEAD);
        let filter_subject = tenant.map_or_else(every, |tenant| subject::dead(Some(tenant)));
        let config = OrderedConfig { filter_subject, headers_only: true, ..OrderedConfig::default() };
        let mut consumer = self.dead_stream().await?.create_consumer(config).await.map_err(refused)?;
        let waiting = consumer.info().await.map_err(refused)?.num_pending;
        let messages = if waiting == 0 { None } else { Some(consumer.messages().await.map_err(refused)?) };
        Ok(DeadLetters { messages, timeout: self.call_timeout })
    }

    /// One dead letter; None when there is none of this number (any more).
    pub async fn dead_letter(&self, sequence: u64) -> Result<Option<Dead>, BusError> {
        let message = match self.dead_stream().await?.direct_get(sequence).await {
            Ok(message) => message,
            Err(error) => match error.kind() {
                DirectGetErrorKind::NotFound => return Ok(None),
                DirectGetErrorKind::TimedOut => return Err(BusError::Timeout),
                _ => return Err(refused(error)),
            },
        };
        let head = DeadHead {
            sequence: message.sequence,
            stored_at: message.time,
            size: message.payload.len(),
            tenant: subject::parse_tenant(&message.subject),
            headers: own_headers(Some(&message.headers)),
        };
        Ok(Some(Dead { head, body: message.payload }))
    }

    /// Puts a mended ask in a dead letter's place; its new number comes back. A crash in between leaves both, never none.
    pub async fn mend_dead(&self, dead: &Dead, ask: &Ask) -> Result<u64, BusError> {
        let body = envelope::encode(ask, Format::Json)?;
        let mut headers = dead.head.headers.clone();
        headers_for(Format::Json).iter().for_each(|(name, values)| {
            values.iter().for_each(|value| headers.insert(name.clone(), value.clone()));
        });
        let ack = self.publish_stored(subject::dead(dead.head.tenant.as_ref()), headers, body).await?;
        self.drop_dead(dead.head.sequence).await?;
        Ok(ack.sequence)
    }

    /// Deletes a dead letter; false when it was gone already.
    pub async fn drop_dead(&self, sequence: u64) -> Result<bool, BusError> {
        match self.dead_stream().await?.delete_message(sequence).await {
            Ok(deleted) => Ok(deleted),
            // Somebody else was faster.
            Err(_) if self.dead_letter(sequence).await?.is_none() => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }

    /// Puts a dead letter's ask on the queue again. Nobody waits for its frames any more, so it carries no reply-to; the
    /// outcome is in its record.
    pub async fn redrive(&self, dead: &Dead, with: &Redrive) -> Result<Accepted, SubmitError> {
        let mut headers = dead.head.original();
        headers.insert(header::MESSAGE_ID, with.request.as_str());
        headers.insert(header::REQUEST, with.request.as_str());
        headers.insert(header::BUDGET_MS, HeaderValue::from(with.budget.as_millis() as u64));
        headers.insert(header::TTL, time_to_live(with.budget));
        headers.insert(header::REDRIVE_OF, HeaderValue::from(dead.head.sequence));
        let no_ask = || SubmitError::Unknown(BusError::Refused("this dead letter is no ask".into()));
        let (subject, of_conversation) = subject::asked_again(dead.head.origin()).ok_or_else(no_ask)?;
        self.submit_on(subject, of_conversation, headers, dead.body.clone()).await
    }

    /// Publishes a dead letter that is no ask where it came from.
    pub async fn send_back(&self, dead: &Dead) -> Result<(), BusError> {
        self.publish_stored(dead.head.origin().to_owned(), dead.head.original(), dead.body.clone()).await.map(drop)
    }

    async fn dead_stream(&self) -> Result<Stream<()>, BusError> {
        self.stream(topology::DEAD).await
    }
}

impl DeadHead {
    /// A header of it.
    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(Some(&self.headers), name)
    }

    /// Every header of it, by name.
    pub fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers = Vec::new();
        for (name, values) in self.headers.iter() {
            headers.extend(values.iter().map(|value| (AsRef::<str>::as_ref(name), value.as_str())));
        }
        headers.sort_unstable();
        headers
    }

    /// Where it was taken from.
    pub fn origin(&self) -> &str {
        self.header(header::ORIGIN).unwrap_or_default()
    }

    pub fn reason(&self) -> &str {
        self.header(header::REASON).unwrap_or("it is not known why")
    }

    /// What it is grouped by; a letter of a build that wrote none is grouped by its reason.
    pub fn fingerprint(&self) -> String {
        let reason = || fingerprint("", &[self.reason().to_owned()]);
        self.header(header::FINGERPRINT).map_or_else(reason, str::to_owned)
    }

    /// The errors that led there, outermost first.
    pub fn chain(&self) -> Vec<String> {
        let read = |text| serde_json::from_str(text).ok();
        self.header(header::CHAIN).and_then(read).unwrap_or_else(|| vec![self.reason().to_owned()])
    }

    /// What is known of its deliveries.
    pub fn history(&self) -> Option<History> {
        serde_json::from_str(self.header(header::HISTORY)?).ok()
    }

    /// The dead letter that this one's message was asked again for.
    pub fn redrive_of(&self) -> Option<u64> {
        self.header(header::REDRIVE_OF)?.parse().ok()
    }

    /// Whose ask it was; None when it was none.
    pub fn asked_in(&self) -> Option<(TenantId, ConversationId)> {
        subject::parse_ask(self.origin())
    }

    /// Whether it was a customer's verdict.
    pub fn is_feedback(&self) -> bool {
        self.tenant.as_ref().is_some_and(|tenant| self.origin() == subject::feedback(tenant))
    }

    /// The request that it is asked again as.
    pub fn request_of_round(&self, round: u32) -> RequestId {
        RequestId::from_dead_letter(self.sequence, millis(self.stored_at), round)
    }

    /// The headers of the message that it was, without where its frames went.
    fn original(&self) -> HeaderMap {
        let kept =
            |name: &str| !OF_THE_LETTER.contains(&name) && name != header::REPLY_TO && name != header::REDRIVE_OF;
        let mut headers = HeaderMap::new();
        for (name, values) in self.headers.iter().filter(|(name, _)| kept(AsRef::as_ref(*name))) {
            values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
        }
        headers
    }
}

impl Dead {
    /// The ask in it; what is wrong with it else.
    pub fn ask(&self) -> Result<Ask, EnvelopeError> {
        read_ask(Some(&self.head.headers), &self.body)
    }
}

/// The headers of a message without those that the broker acts upon.
fn own_headers(headers: Option<&HeaderMap>) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        if !AsRef::<str>::as_ref(name).starts_with("Nats-") {
            values.iter().for_each(|value| kept.append(name.clone(), value.clone()));
        }
    }
    kept
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn refused(error: impl std::fmt::Display) -> BusError {
    BusError::Refused(error.to_string())
}

/// Unix milliseconds.
pub(super) fn millis(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}
