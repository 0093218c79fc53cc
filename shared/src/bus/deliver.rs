//! One delivery: what it carries, kept alive while it runs, settled once.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_nats::{HeaderMap, HeaderName, HeaderValue, jetstream::AckKind};
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::OwnedSemaphorePermit;

use super::{Bus, BusError, DeadLetter, Kept, Lane, ask::LAST, bring_home, dead::millis, header_of, wire::Taken};
use crate::{
    chat::{Ask, DeliveryClass},
    dead::{Attempt, History, Why},
    envelope::{self, EnvelopeError, Format},
    header,
    hex::hex,
    id::{ConversationId, RequestId, TenantId},
    subject,
    telemetry::Trace,
    topology,
};

/// The budget of an ask that names none, or nonsense: as long as the gateway's default.
const BUDGET_DEFAULT: Duration = Duration::from_secs(30);

/// The longest budget that an ask may name; what lies longer is dropped by the stream anyway.
pub const BUDGET_MAX: Duration = Duration::from_secs(120);

/// One message of a consumer, with the permit that it was taken under.
pub struct Delivery {
    taken: Taken,
    bus: Bus,
    seat: Seat,
}

/// The permit that a delivery was taken under; given back with the delivery, or before.
pub struct Seat(Mutex<Option<OwnedSemaphorePermit>>);

impl Seat {
    pub fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Mutex::new(Some(permit)))
    }

    /// Gives the permit back: the work goes on, and costs nothing for now.
    pub fn leave(&self) {
        drop(self.take());
    }

    /// Takes the permit out of service; false when it was given back already.
    pub fn close(&self) -> bool {
        self.take().map(OwnedSemaphorePermit::forget).is_some()
    }

    fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How a delivery ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Done; waits until the broker has confirmed it, so that the conversation's next message is let in at once.
    Done,
    /// Not now; it is handed back after this long.
    Again(Duration),
    /// Never again: it was set aside.
    Aside,
}

/// An ask as it was delivered, its headers read.
#[derive(Debug, Clone)]
pub struct AskDelivery {
    pub tenant: TenantId,
    pub conversation: ConversationId,
    pub request: RequestId,
    pub reply_to: Option<String>,
    pub ask: Ask,
    /// SHA-256 of the body, in hexadecimal.
    pub digest: String,
    /// From 1.
    pub attempt: u32,
    /// When the broker stored it.
    pub asked_at: OffsetDateTime,
    /// When the answer must be there, by the broker's clock.
    pub deadline: OffsetDateTime,
    pub trace: Trace,
    pub class: DeliveryClass,
    /// Whoever waits wants the last frame alone.
    pub last_only: bool,
    /// It begins its conversation: there is nothing to remember.
    pub opening: bool,
}

/// What is known of an ask beside its headers and body.
pub(super) struct Arrival {
    pub(super) tenant: TenantId,
    pub(super) conversation: ConversationId,
    pub(super) attempt: u32,
    pub(super) asked_at: OffsetDateTime,
    pub(super) class: DeliveryClass,
}

/// An ask with its headers read; what is wrong with it else.
pub(super) fn read_delivery(
    headers: Option<&HeaderMap>,
    body: &[u8],
    arrival: Arrival,
) -> Result<AskDelivery, EnvelopeError> {
    let shape = |what: &str| EnvelopeError::Shape(what.to_owned());
    let ask = read_ask(headers, body)?;
    let id = header_of(headers, header::REQUEST).or_else(|| header_of(headers, header::MESSAGE_ID));
    let request = id.ok_or_else(|| shape("neither Talkfleet-Request nor Nats-Msg-Id names the request"))?;
    let request = RequestId::parse(request).map_err(|error| shape(&format!("the request's id {error}")))?;
    let budget = header_of(headers, header::BUDGET_MS)
        .and_then(|ms| ms.parse().ok())
        .map_or(BUDGET_DEFAULT, Duration::from_millis);
    let Arrival { tenant, conversation, attempt, asked_at, class } = arrival;
    Ok(AskDelivery {
        tenant,
        conversation,
        request,
        reply_to: header_of(headers, header::REPLY_TO).filter(|to| subject::is_reply(to)).map(str::to_owned),
        ask,
        digest: digest(body),
        attempt,
        asked_at,
        deadline: asked_at + budget.min(BUDGET_MAX),
        trace: Trace::attempted(header_of(headers, header::TRACEPARENT), attempt, &mut rand::rng()),
        class,
        last_only: header_of(headers, header::STREAM) == Some(LAST),
        opening: header_of(headers, header::OPENING).is_some(),
    })
}

/// What a worker makes of a message with these headers, subject and body; None when the broker would not carry them.
#[doc(hidden)]
pub fn read_any(
    subject: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    asked_at: OffsetDateTime,
) -> Option<Result<AskDelivery, EnvelopeError>> {
    let (tenant, conversation) = subject::parse_ask(subject)?;
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?);
    }
    let arrival = Arrival { tenant, conversation, attempt: 1, asked_at, class: DeliveryClass::Durable };
    Some(read_delivery(Some(&map), body, arrival))
}

impl Delivery {
    pub(super) fn new(mut taken: Taken, bus: Bus, permit: OwnedSemaphorePermit) -> Self {
        bring_home(&bus.lane, &mut taken.message_mut().subject);
        Self { taken, bus, seat: Seat::new(permit) }
    }

    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// How often this message was delivered, this time included.
    pub fn attempt(&self) -> u32 {
        self.taken.facts().map_or(1, |(delivered, _)| delivered)
    }

    pub fn subject(&self) -> &str {
        &self.taken.message().subject
    }

    pub fn headers(&self) -> Option<&HeaderMap> {
        self.taken.message().headers.as_ref()
    }

    pub fn body(&self) -> &Bytes {
        &self.taken.message().payload
    }

    /// The body of a message that is not an ask.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, EnvelopeError> {
        let format = Format::detect(header_of(self.headers(), header::CONTENT_TYPE), self.body())?;
        envelope::decode_large(self.body(), format)
    }

    /// The ask that this message carries; what is wrong with it else.
    pub fn ask(&self) -> Result<AskDelivery, EnvelopeError> {
        let shape = |what: &str| EnvelopeError::Shape(what.to_owned());
        let (tenant, conversation) =
            subject::parse_ask(self.subject()).ok_or_else(|| shape("the subject is no ask's"))?;
        let (attempt, asked_at) = self.taken.facts().map_err(|error| shape(&error.to_string()))?;
        let arrival = Arrival { tenant, conversation, attempt, asked_at, class: DeliveryClass::Durable };
        let ask = read_delivery(self.headers(), self.body(), arrival)?;
        Ok(AskDelivery { trace: self.bus.tracer.sample(ask.trace), ..ask })
    }

    /// Tells the broker that work goes on, so that it does not deliver the message again.
    pub async fn keep_alive(&self) -> Result<(), BusError> {
        self.taken.ack(AckKind::Progress).await
    }

    /// Ends the delivery; an ack that is not confirmed in time is mended by the redelivery.
    pub async fn settle(self, how: Settle) -> Result<(), BusError> {
        if let Settle::Again(after) = how {
            // Waited for here: to a delay that it is told, nats-server adds the redelivery's own wait.
            tokio::time::sleep(after).await;
        }
        let sent = async {
            match how {
                Settle::Done => self.taken.ack_confirmed(&self.bus.wire, AckKind::Ack).await,
                Settle::Again(_) => self.taken.ack(AckKind::Nak(None)).await,
                Settle::Aside => self.taken.ack_confirmed(&self.bus.wire, AckKind::Term).await,
            }
        };
        self.bus.within(self.bus.publish_timeout, sent).await
    }

    /// Acknowledges without waiting for the confirmation; for readers to whom a second delivery is harmless.
    pub async fn ack(&self) -> Result<(), BusError> {
        self.taken.ack(AckKind::Ack).await
    }

    /// Copies this message to the dead letters.
    pub async fn set_aside(&self, why: &Why, attempts: Vec<Attempt>) -> Result<(), BusError> {
        let stored_at_ms = self.taken.facts().map(|(_, stored_at)| millis(stored_at)).unwrap_or_default();
        let dead = DeadLetter {
            origin: self.subject(),
            headers: self.headers(),
            body: self.body(),
            why,
            history: History { stored_at_ms, attempts },
            attempt: self.attempt(),
        };
        self.bus.set_aside(&dead).await
    }
}

/// The ask in a body that lies or lay on the queue.
pub(super) fn read_ask(headers: Option<&HeaderMap>, body: &[u8]) -> Result<Ask, EnvelopeError> {
    let newer =
        header_of(headers, header::SCHEMA).and_then(|v| v.parse().ok()).filter(|v| *v > envelope::SCHEMA_VERSION);
    if let Some(version) = newer {
        return Err(EnvelopeError::Newer(version));
    }
    envelope::decode(body, Format::detect(header_of(headers, header::CONTENT_TYPE), body)?)
}

/// SHA-256 of a body in hexadecimal: what tells two asks under one idempotency key apart.
pub fn digest(body: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(body))
}

impl Bus {
    /// An ask that is still on the queue, by its stream sequence: what the reaper sets aside.
    pub async fn stored_ask(&self, sequence: u64) -> Result<Option<StoredAsk>, BusError> {
        let kept = self.wire.kept(&self.lane.stream(topology::ASK), sequence).await?;
        Ok(kept.map(|kept| StoredAsk::new(&self.lane, kept)))
    }

    /// Deletes an ask that nobody will take any more, so that its conversation is free again.
    pub async fn delete_ask(&self, sequence: u64) -> Result<(), BusError> {
        self.wire.delete(&self.lane.stream(topology::ASK), sequence).await
    }
}

/// An ask as it lies on the queue.
pub struct StoredAsk {
    pub subject: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub stored_at: OffsetDateTime,
}

impl StoredAsk {
    pub(super) fn new(lane: &Lane, mut kept: Kept) -> Self {
        bring_home(lane, &mut kept.subject);
        let subject = kept.subject.to_string();
        Self { subject, headers: kept.headers, body: kept.body, stored_at: kept.stored_at }
    }

    /// The ask in it; what is wrong with it else.
    pub fn ask(&self) -> Result<Ask, EnvelopeError> {
        read_ask(Some(&self.headers), &self.body)
    }

    /// When the broker stored it, Unix milliseconds.
    pub fn stored_at_ms(&self) -> u64 {
        millis(self.stored_at)
    }

    /// A header of it.
    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(Some(&self.headers), name)
    }

    /// Which request it is, if that can be told.
    pub fn request(&self) -> Option<RequestId> {
        RequestId::parse(self.header(header::REQUEST).or_else(|| self.header(header::MESSAGE_ID))?).ok()
    }
}
