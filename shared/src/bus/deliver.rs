//! Taking messages from a durable consumer: never more than there are permits, kept alive while they run, settled once.

use std::{sync::Arc, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{self, AckKind, consumer::PullConsumer},
};
use bytes::Bytes;
use futures::StreamExt;
use time::OffsetDateTime;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{Bus, BusError, DeadLetter, JOIN_FIRST, JOIN_LONGEST, bring_home, dead::millis, header_of};
use crate::{
    chat::Ask,
    dead::{Attempt, History, Why},
    envelope::{self, EnvelopeError, Format},
    header,
    id::{ConversationId, RequestId, TenantId},
    lifecycle::Shutdown,
    retry::Delays,
    subject,
    telemetry::Trace,
};

/// How long a pull stays open at the broker before it is renewed: what is lost of it when a broker dies costs as much.
const PULL_EXPIRES: Duration = Duration::from_secs(2);

/// A pull that has not ended this long after it should have was lost together with the broker that held it.
const PULL_GRACE: Duration = Duration::from_secs(1);

/// When nothing was delivered for this long, the broker is asked whether something waits; three of its heartbeats, say,
/// since clients of this kind are on record for stalls after a change of leaders.
const STALL_AFTER: Duration = Duration::from_secs(9);

/// What is waited before a pull is rebuilt: a broker that goes away closes pulls first.
const REBUILD_PAUSE: Duration = Duration::from_millis(250);

/// When nothing comes for this long, the open pull has brought everything that was on its way.
const HAND_BACK_LULL: Duration = Duration::from_millis(5);

/// The budget of an ask that names none, or nonsense: as long as the gateway's default.
const BUDGET_DEFAULT: Duration = Duration::from_secs(30);

/// The longest budget that an ask may name; what lies longer is dropped by the stream anyway.
pub const BUDGET_MAX: Duration = Duration::from_secs(120);

/// Pulls messages as long as there are permits.
pub struct Deliveries {
    bus: Bus,
    consumer: PullConsumer,
    names: (&'static str, &'static str),
    permits: Arc<Semaphore>,
    batch: Option<Pull>,
    held: Vec<OwnedSemaphorePermit>,
    batch_max: usize,
    /// When something was last delivered, or the broker last said that nothing waits.
    alive_at: Instant,
    /// Whether health was told that nothing can be taken.
    is_down: bool,
}

/// A pull that is open at the broker.
struct Pull {
    messages: jetstream::consumer::pull::Batch,
    over_at: Instant,
}

/// One message of a consumer, with the permit that it was taken under.
pub struct Delivery {
    message: jetstream::Message,
    bus: Bus,
    /// Given back when the delivery is dropped.
    _permit: OwnedSemaphorePermit,
}

/// How a delivery ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Done; waits until the broker has confirmed it, so that the conversation's next message is let in at once.
    Done,
    /// Not now; the broker delivers it again after this long.
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
}

impl Bus {
    /// Starts taking messages from a durable consumer, at most as many at once as there are permits. As long as the
    /// broker lacks it, health says so; None when shutdown came first.
    pub async fn deliveries(
        &self,
        stream: &'static str,
        consumer: &'static str,
        permits: Arc<Semaphore>,
        until: &Shutdown,
    ) -> Option<Deliveries> {
        let mut delays = Delays::new(JOIN_FIRST, JOIN_LONGEST);
        while !until.is_asked() {
            match self.open(stream, consumer, permits.clone()).await {
                Ok(deliveries) => {
                    self.health.up(consumer);
                    return Some(deliveries);
                }
                Err(error) => {
                    self.health.down(consumer, error.to_string());
                    tracing::warn!(%error, consumer, "nothing can be taken; trying again");
                }
            }
            tokio::select! {
                () = until.asked() => {}
                () = tokio::time::sleep(delays.next_delay()) => {}
            }
        }
        None
    }

    async fn open(
        &self,
        stream: &'static str,
        consumer: &'static str,
        permits: Arc<Semaphore>,
    ) -> Result<Deliveries, BusError> {
        let names = (stream, consumer);
        let consumer = self.consumer(stream, consumer).await?;
        // One pull asks for at most this much, so that a worker with many permits leaves something to the others.
        let batch_max = permits.available_permits().clamp(1, 256);
        let alive_at = Instant::now();
        let (bus, batch, held, is_down) = (self.clone(), None, Vec::new(), false);
        Ok(Deliveries { bus, consumer, names, permits, batch, held, batch_max, alive_at, is_down })
    }

    pub(super) async fn consumer(&self, stream: &str, name: &str) -> Result<PullConsumer, BusError> {
        use async_nats::jetstream::context::ConsumerInfoErrorKind as Kind;
        let stream = self.stream(stream).await?;
        if let Err(error) = stream.consumer_info(name).await {
            return Err(match error.kind() {
                Kind::NotFound | Kind::StreamNotFound => BusError::Missing(format!("consumer '{name}'")),
                Kind::TimedOut => BusError::Timeout,
                _ => BusError::Refused(error.to_string()),
            });
        }
        stream.get_consumer(name).await.map_err(|error| BusError::Refused(error.to_string()))
    }

    /// A handle of a stream; costs no round trip.
    pub(super) async fn stream(&self, name: &str) -> Result<jetstream::stream::Stream<()>, BusError> {
        self.jetstream
            .get_stream_no_info(&self.lane.stream(name))
            .await
            .map_err(|error| BusError::Refused(error.to_string()))
    }
}

impl Deliveries {
    /// The next message; None once shutdown was asked.
    pub async fn next(&mut self, shutdown: &Shutdown) -> Option<Delivery> {
        loop {
            tokio::select! {
                biased;
                () = shutdown.asked() => return None,
                delivery = self.pull() => if let Some(delivery) = delivery { return Some(delivery) },
            }
        }
    }

    /// One step: the next message of the open pull, or a new pull for as many as there are permits.
    async fn pull(&mut self) -> Option<Delivery> {
        if self.batch.is_none() {
            self.open().await?;
        }
        let pull = self.batch.as_mut()?;
        match tokio::time::timeout_at(pull.over_at, pull.messages.next()).await {
            Ok(Some(Ok(mut message))) => {
                bring_home(&self.bus.lane, &mut message.message.subject);
                let permit = self.held.pop()?;
                if self.held.is_empty() {
                    self.batch = None;
                }
                self.alive_at = Instant::now();
                self.is_well();
                Some(Delivery { message, bus: self.bus.clone(), _permit: permit })
            }
            Ok(Some(Err(error))) => {
                tracing::warn!(%error, consumer = self.names.1, "a pull failed");
                self.rebuild().await;
                None
            }
            Ok(None) => {
                self.batch = None;
                self.held.clear();
                self.is_well();
                self.look_for_a_stall().await;
                None
            }
            Err(_) => {
                tracing::warn!(consumer = self.names.1, "a pull was lost with the broker that held it");
                self.rebuild().await;
                None
            }
        }
    }

    async fn open(&mut self) -> Option<()> {
        if self.held.is_empty() {
            self.held.push(self.permits.clone().acquire_owned().await.ok()?);
            while self.held.len() < self.batch_max {
                let Ok(permit) = self.permits.clone().try_acquire_owned() else { break };
                self.held.push(permit);
            }
        }
        match self.consumer.batch().max_messages(self.held.len()).expires(PULL_EXPIRES).messages().await {
            Ok(messages) => self.batch = Some(Pull { messages, over_at: Instant::now() + PULL_EXPIRES + PULL_GRACE }),
            Err(error) => {
                tracing::warn!(%error, consumer = self.names.1, "a pull could not be opened");
                self.rebuild().await;
            }
        }
        Some(())
    }

    /// The watchdog: pulls end as they should and bring nothing; when something waits nevertheless, they are rebuilt.
    async fn look_for_a_stall(&mut self) {
        if self.alive_at.elapsed() < STALL_AFTER {
            return;
        }
        self.alive_at = Instant::now();
        let waiting = match self.consumer.get_info().await {
            Ok(info) => info.num_pending,
            Err(error) => {
                tracing::warn!(%error, consumer = self.names.1, "the broker cannot say whether something waits");
                self.rebuild().await;
                return;
            }
        };
        if waiting > 0 {
            tracing::warn!(waiting, consumer = self.names.1, "something waits and nothing comes; the pull is rebuilt");
            self.bus.metrics.pull_stalls.inc();
            self.rebuild().await;
        }
    }

    /// Lets go of everything, waits a little, since the broker may be away, and joins again. What an operator deleted
    /// comes back from the topology, when this process may do that.
    async fn rebuild(&mut self) {
        self.batch = None;
        self.held.clear();
        self.bus.metrics.pull_rebuilds.inc();
        tokio::time::sleep(REBUILD_PAUSE).await;
        let (stream, consumer) = self.names;
        let joined = match self.bus.consumer(stream, consumer).await {
            Err(BusError::Missing(_)) => self.bus.restore(stream, Some(consumer)).await,
            joined => joined.map(Some),
        };
        match joined {
            Ok(Some(joined)) => self.consumer = joined,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, consumer, "nothing can be taken; trying again");
                self.bus.health.down(consumer, error.to_string());
                self.is_down = true;
            }
        }
    }

    /// A pull brought something, or ended as it should.
    fn is_well(&mut self) {
        if std::mem::take(&mut self.is_down) {
            self.bus.health.up(self.names.1);
        }
    }

    /// Hands back what the open pull had already brought; called after the last `next`.
    ///
    /// The pull is closed before anything is handed back: while it is open, the broker would deliver it here again, and
    /// each time would count as an attempt.
    pub async fn hand_back(mut self) {
        let Some(mut pull) = self.batch.take() else { return };
        let mut brought = Vec::new();
        while let Ok(Some(Ok(message))) = tokio::time::timeout(HAND_BACK_LULL, pull.messages.next()).await {
            brought.push(message);
        }
        drop(pull);
        let _ = self.bus.flush().await;
        for message in brought {
            let _ = message.ack_with(AckKind::Nak(None)).await;
        }
    }
}

impl Delivery {
    /// How often this message was delivered, this time included.
    pub fn attempt(&self) -> u32 {
        self.message.info().map_or(1, |info| info.delivered.clamp(1, i64::from(u32::MAX)) as u32)
    }

    pub fn subject(&self) -> &str {
        &self.message.subject
    }

    pub fn headers(&self) -> Option<&HeaderMap> {
        self.message.headers.as_ref()
    }

    pub fn body(&self) -> &Bytes {
        &self.message.payload
    }

    /// The body of a message that is not an ask.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, EnvelopeError> {
        let format = Format::detect(header_of(self.headers(), header::CONTENT_TYPE), self.body())?;
        envelope::decode_large(self.body(), format)
    }

    /// The ask that this message carries; what is wrong with it else.
    pub fn ask(&self) -> Result<AskDelivery, EnvelopeError> {
        let shape = |what: &str| EnvelopeError::Shape(what.to_owned());
        let headers = self.headers();
        let ask = read_ask(headers, self.body())?;
        let (tenant, conversation) =
            subject::parse_ask(self.subject()).ok_or_else(|| shape("the subject is no ask's"))?;
        let id = header_of(headers, header::REQUEST).or_else(|| header_of(headers, header::MESSAGE_ID));
        let request = id.ok_or_else(|| shape("neither Talkfleet-Request nor Nats-Msg-Id names the request"))?;
        let request = RequestId::parse(request).map_err(|error| shape(&format!("the request's id {error}")))?;
        let info = self.message.info().map_err(|error| shape(&error.to_string()))?;
        let budget = header_of(headers, header::BUDGET_MS)
            .and_then(|ms| ms.parse().ok())
            .map_or(BUDGET_DEFAULT, Duration::from_millis);
        let reply_to = header_of(headers, header::REPLY_TO).filter(|to| subject::is_reply(to)).map(str::to_owned);
        Ok(AskDelivery {
            tenant,
            conversation,
            request,
            reply_to,
            ask,
            digest: digest(self.body()),
            attempt: self.attempt(),
            asked_at: info.published,
            deadline: info.published + budget.min(BUDGET_MAX),
            trace: Trace::follow(header_of(headers, header::TRACEPARENT), &mut rand::rng()),
        })
    }

    /// Tells the broker that work goes on, so that it does not deliver the message again.
    pub async fn keep_alive(&self) -> Result<(), BusError> {
        self.message.ack_with(AckKind::Progress).await.map_err(|error| BusError::Refused(error.to_string()))
    }

    /// Ends the delivery; an ack that is not confirmed in time is mended by the redelivery.
    pub async fn settle(self, how: Settle) -> Result<(), BusError> {
        let sent = async {
            match how {
                Settle::Done => self.message.double_ack().await,
                Settle::Again(after) => self.message.ack_with(AckKind::Nak(Some(after))).await,
                Settle::Aside => self.message.double_ack_with(AckKind::Term).await,
            }
        };
        match tokio::time::timeout(self.bus.publish_timeout, sent).await {
            Ok(sent) => sent.map_err(|error| BusError::Refused(error.to_string())),
            Err(_) => Err(BusError::Timeout),
        }
    }

    /// Acknowledges without waiting for the confirmation; for readers to whom a second delivery is harmless.
    pub async fn ack(&self) -> Result<(), BusError> {
        self.message.ack().await.map_err(|error| BusError::Refused(error.to_string()))
    }

    /// Copies this message to the dead letters.
    pub async fn set_aside(&self, why: &Why, attempts: Vec<Attempt>) -> Result<(), BusError> {
        let stored_at_ms = self.message.info().map(|info| millis(info.published)).unwrap_or_default();
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
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Bus {
    /// An ask that is still on the queue, by its stream sequence: what the reaper sets aside.
    pub async fn stored_ask(&self, sequence: u64) -> Result<Option<StoredAsk>, BusError> {
        use async_nats::jetstream::stream::RawMessageErrorKind as Kind;
        let stream = self.stream(crate::topology::ASK).await?;
        match stream.get_raw_message(sequence).await {
            Ok(mut message) => {
                bring_home(&self.lane, &mut message.subject);
                Ok(Some(StoredAsk {
                    subject: message.subject.to_string(),
                    headers: message.headers,
                    body: message.payload,
                    stored_at: message.time,
                }))
            }
            Err(error) if matches!(error.kind(), Kind::NoMessageFound) => Ok(None),
            Err(error) => Err(BusError::Refused(error.to_string())),
        }
    }

    /// Deletes an ask that nobody will take any more, so that its conversation is free again.
    pub async fn delete_ask(&self, sequence: u64) -> Result<(), BusError> {
        let stream = self.stream(crate::topology::ASK).await?;
        stream.delete_message(sequence).await.map(drop).map_err(|error| BusError::Refused(error.to_string()))
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
    /// A header of it.
    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(Some(&self.headers), name)
    }

    /// Which request it is, if that can be told.
    pub fn request(&self) -> Option<RequestId> {
        RequestId::parse(self.header(header::REQUEST).or_else(|| self.header(header::MESSAGE_ID))?).ok()
    }
}
