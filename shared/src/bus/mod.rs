//! The only door to NATS: what both sides do with the broker, named by what it means and not by how it is done.

/// Publishing an ask, and what 'accepted' means.
mod ask;

/// Connecting, and what the connection tells of itself.
mod connect;

/// How the broker lets us in by a file.
mod login;

/// Making the broker agree with the topology.
mod apply;

/// Pulling from a consumer, no more than there are permits.
mod pull;

/// One delivery, settled once.
mod deliver;

/// Asks that go to a worker at once, past the queue.
mod direct;

/// What gateways ask of one another.
mod peer;

/// PURE: what the broker lets a replay's workers do.
mod fence;

/// PURE: what the broker lets every user do.
mod rights;

/// Records in the order in which they were stored, for replays.
mod journal;

/// PURE: the subjects and streams of a replay, apart from the live ones.
mod lane;

/// What waits for each consumer, and for how long.
mod queue;

/// Dead letters: set aside, looked at, mended, asked again.
mod dead;

/// What operators change, written down.
mod audit;

/// Turn records: first writer wins, everybody reads.
mod record;

/// Frames to a waiting client, wishes to stop and to resume.
mod reply;

/// What the archive has just taken in, told to whoever keeps copies.
mod changes;

/// The rule of releases, followed and written.
mod rule;

/// Who is there.
mod present;

/// Whom the desk has forgotten, followed.
mod forgotten;

/// Looking through streams, and overwriting what lies in them.
mod erase;

/// Whole streams, written down and built again.
mod snapshot;

/// Roles as services: asked over a queue group, discovered by `$SRV`.
mod service;

/// Buckets and objects that processes watch.
mod store;

/// What the bus needs of a broker, and the two that give it.
mod wire;

/// A broker in memory, for simulations.
pub mod model;

use std::{sync::Arc, time::Duration};

use async_nats::{
    HeaderMap, HeaderValue, Subject,
    jetstream::{self, consumer::PullConsumer},
};
use bytes::Bytes;
use tokio::sync::watch;

use self::wire::{Kept, Nats, StoreError, Stored, Wire};
pub use self::{
    apply::{Change, ServerInfo},
    ask::{ASK_GRACE, Accepted, AskHeaders, SubmitError},
    audit::AuditLog,
    changes::Changes,
    connect::SERVER_VERSION_MIN,
    dead::{Dead, DeadHead, DeadLetter, DeadLetters, Redrive},
    deliver::{AskDelivery, BUDGET_MAX, Delivery, Seat, Settle, StoredAsk, digest, read_any},
    direct::{DirectAsk, DirectAsks},
    erase::{Lying, Sift},
    fence::{Rights, Rules, SHADOW_USER, fence},
    journal::{JournalState, Lag, Records, Start, StoredRecord},
    lane::{Lane, LaneError},
    peer::{HandOvers, HandedOver, Listening, Listenings},
    present::Present,
    pull::Deliveries,
    queue::{Queue, Teller},
    record::Written,
    reply::{Cancels, Mailbox, ResumeRequest, Resumes},
    rights::{BusRights, OPERATOR, users},
    service::{CallError, Offer, ServiceCall},
    snapshot::{CHUNK_BYTES, SnapshotError, StreamFacts},
    store::{Entry, Watch},
};
use crate::{
    admin::Health,
    config::NatsConfig,
    envelope::{self, EnvelopeError, Format},
    header,
    id::BusUser,
    metrics::Metrics,
    release::Rule,
    spans::Tracer,
};

/// Waits between attempts to take part in what is missing at the broker.
const JOIN_FIRST: Duration = Duration::from_millis(200);
const JOIN_LONGEST: Duration = Duration::from_secs(5);

/// What can go wrong at the broker.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("NATS at {url} cannot be reached: {why}; check nats.url and that the server runs with JetStream (-js)")]
    Connect { url: String, why: String },
    #[error("nats-server {found} is too old; install {}.{}.{} or later", SERVER_VERSION_MIN.0, SERVER_VERSION_MIN.1, SERVER_VERSION_MIN.2)]
    TooOld { found: String },
    #[error("the broker did not answer in time")]
    Timeout,
    #[error("the broker cannot be reached")]
    Away,
    #[error("the broker has no {0}; run `talkfleet topology apply`")]
    Missing(String),
    #[error("the broker refused: {0}")]
    Refused(String),
    #[error("this process works in a lane, for a replay, and may not {0}")]
    Fenced(String),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

/// A connection to the broker; cheap to clone.
#[derive(Clone)]
pub struct Bus {
    wire: Wire,
    metrics: Arc<Metrics>,
    health: Health,
    publish_timeout: Duration,
    call_timeout: Duration,
    shards: u32,
    replicas: usize,
    lane: Lane,
    who: Arc<str>,
    tracer: Tracer,
    rule: Arc<watch::Sender<Option<Rule>>>,
    user: Option<BusUser>,
    forgotten: Arc<forgotten::Forgotten>,
}

impl Bus {
    /// The same connection, telling its part of traces.
    pub fn traced_by(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Connects to a model of the broker, for a simulation.
    pub fn simulated(
        link: model::Link,
        config: &NatsConfig,
        name: &str,
        metrics: Arc<Metrics>,
        health: Health,
    ) -> Self {
        Self::over(Wire::Model(link), config, Lane::default(), name, metrics, health)
    }

    fn over(wire: Wire, config: &NatsConfig, lane: Lane, name: &str, metrics: Arc<Metrics>, health: Health) -> Self {
        health.up("nats");
        metrics.bus_connected.set(1);
        let publish_timeout = Duration::from_millis(config.publish_timeout_ms);
        let call_timeout = Duration::from_millis(config.call_timeout_ms);
        let (shards, replicas) = (config.shards, config.replicas);
        let who = format!("{name}/{}/{}", env!("CARGO_PKG_VERSION"), ulid::Ulid::generate()).into();
        let (tracer, rule, forgotten) = (Tracer::off(), Arc::new(watch::Sender::new(None)), Arc::default());
        let user = config.user(connect::role_of(name));
        Self {
            wire,
            metrics,
            health,
            publish_timeout,
            call_timeout,
            shards,
            replicas,
            lane,
            who,
            tracer,
            rule,
            user,
            forgotten,
        }
    }

    /// A handle of a stream, by its name at the live fleet; costs no round trip.
    async fn stream(&self, name: &str) -> Result<jetstream::stream::Stream<()>, BusError> {
        self.nats()?.stream(&self.lane.stream(name)).await
    }

    async fn consumer(&self, stream: &str, name: &str) -> Result<PullConsumer, BusError> {
        self.nats()?.consumer(&self.lane.stream(stream), name).await
    }

    /// Whether the connection stands right now; publishing while it does not would only buffer.
    pub fn is_connected(&self) -> bool {
        self.wire.is_connected()
    }

    /// The server itself, for what only operators do; a model of one has nothing of that kind.
    fn nats(&self) -> Result<&Nats, BusError> {
        match &self.wire {
            Wire::Nats(nats) => Ok(nats),
            Wire::Model(_) => Err(BusError::Refused("a model of the broker cannot do this".into())),
        }
    }

    /// On which subjects and streams this process works.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Who speaks here, as `<program>/<version>/<id of this run>`.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// As whom the broker knows us, by which inboxes are kept apart.
    pub fn user(&self) -> Option<&BusUser> {
        self.user.as_ref()
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where this process tells its part of traces.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Sends what is buffered, then closes; bounded, so that a broker that went away first does not hold us up.
    pub async fn close(&self, within: Duration) {
        let _ = tokio::time::timeout(within, async {
            let _ = self.wire.flush().await;
            if let Wire::Nats(nats) = &self.wire {
                let _ = nats.client.drain().await;
            }
        })
        .await;
    }

    /// Waits until the broker has everything that was published so far.
    pub async fn flush(&self) -> Result<(), BusError> {
        self.within(self.publish_timeout, self.wire.flush()).await
    }

    /// Publishes without an ack, but never waits for a broker that is away: the library would, for ever, once its buffer is full.
    async fn publish_core(&self, subject: String, headers: HeaderMap, body: Bytes) -> Result<(), BusError> {
        if !self.is_connected() {
            return Err(BusError::Away);
        }
        let sent = self.wire.publish(self.lane.address(subject)?, headers, body);
        self.within(self.publish_timeout, sent).await
    }

    async fn within<T>(&self, time: Duration, done: impl Future<Output = Result<T, BusError>>) -> Result<T, BusError> {
        tokio::time::timeout(time, done).await.unwrap_or(Err(BusError::Timeout))
    }

    /// Publishes into a stream and waits for the broker's ack.
    async fn publish_stored(&self, subject: String, headers: HeaderMap, body: Bytes) -> Result<Stored, BusError> {
        match self.store(subject, headers, body).await {
            Ok(stored) => Ok(stored),
            Err(StoreError::NotFirst) => Err(BusError::Refused("wrong last sequence".into())),
            Err(StoreError::Failed(error)) => Err(error),
        }
    }

    async fn store(&self, subject: String, headers: HeaderMap, body: Bytes) -> Result<Stored, StoreError> {
        if !self.is_connected() {
            return Err(StoreError::Failed(BusError::Away));
        }
        let subject = self.lane.address(subject).map_err(StoreError::Failed)?;
        self.wire.store(subject, headers, body).await
    }

    /// The newest message on a subject, by its name at the broker.
    async fn last(&self, stream: &str, subject: String) -> Result<Option<Kept>, BusError> {
        if !self.is_connected() {
            return Err(BusError::Away);
        }
        self.wire.last(&self.lane.stream(stream), subject).await
    }
}

/// Gives a subject that came in the name that it has at the live fleet.
fn bring_home(lane: &Lane, subject: &mut Subject) {
    if let Some(home) = lane.home(subject) {
        *subject = home.into();
    }
}

fn stored_error(error: &jetstream::context::PublishError) -> BusError {
    use jetstream::context::PublishErrorKind as Kind;
    match error.kind() {
        Kind::TimedOut => BusError::Timeout,
        Kind::BrokenPipe => BusError::Away,
        Kind::StreamNotFound => BusError::Missing("stream for this subject".into()),
        Kind::MaxPayloadExceeded => BusError::Envelope(EnvelopeError::TooLarge),
        _ => BusError::Refused(error.to_string()),
    }
}

/// Headers of a body in `format`, with the schema's version.
fn headers_for(format: Format) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, format.content_type());
    headers.insert(header::SCHEMA, HeaderValue::from(u64::from(envelope::SCHEMA_VERSION)));
    headers
}

/// Sets a header whose value may come from outside: a value with line breaks is left out, never a panic.
fn insert_checked(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = value.parse::<HeaderValue>() {
        headers.insert(name, value);
    }
}

fn header_of<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers.and_then(|headers| headers.get(name)).map(HeaderValue::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_line_breaks_is_left_out() {
        let mut headers = HeaderMap::new();
        insert_checked(&mut headers, header::USER, "a\r\nNats-TTL: 1s");
        assert!(headers.get(header::USER).is_none());
    }
}
