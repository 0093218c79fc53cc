//! What waits for each consumer and for how long: the figures that workers are scaled and people are called by.

use std::time::Duration;

use async_nats::jetstream::response::Response;
use serde::{Deserialize, de::DeserializeOwned};
use time::OffsetDateTime;

use super::{Bus, BusError};
use crate::{
    lifecycle::Shutdown,
    metrics::Consumer,
    topology::{ADVISORIES, ARCHIVE, ASK, JOURNAL, REAPER, RESPONSE, RESPONSE_NEXT},
};

/// How often the broker is asked: two small requests for each consumer, and autoscalers look every 15 to 30 s.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Who tells of queues: each role of its own, and gateways of all, so that no role has to be there for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Teller {
    /// Does not tell the age of the journal's oldest message: the journal keeps what was read, so the message itself would
    /// have to be asked for, which a gateway may not. In work queues what lies first is what waits longest.
    Gateway,
    Response,
    Archive,
}

impl Teller {
    /// The consumers that it tells of, with their streams.
    fn consumers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Gateway => &[(ASK, RESPONSE), (ASK, RESPONSE_NEXT), (JOURNAL, ARCHIVE), (ADVISORIES, REAPER)],
            Self::Response => &[(ASK, RESPONSE), (ASK, RESPONSE_NEXT), (ADVISORIES, REAPER)],
            Self::Archive => &[(JOURNAL, ARCHIVE)],
        }
    }
}

/// How far a consumer is behind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Queue {
    /// Never delivered, or delivered and not settled.
    pub pending: u64,
    /// How long the oldest of them has lain there by the broker's clock; None when this process may not know.
    pub oldest: Option<Duration>,
}

#[derive(Deserialize)]
struct ConsumerInfo {
    num_pending: u64,
    num_ack_pending: u64,
    ack_floor: Floor,
    #[serde(with = "time::serde::rfc3339")]
    ts: OffsetDateTime,
}

#[derive(Deserialize)]
struct Floor {
    stream_seq: u64,
}

#[derive(Deserialize)]
struct StreamInfo {
    state: State,
    #[serde(with = "time::serde::rfc3339")]
    ts: OffsetDateTime,
}

#[derive(Deserialize)]
struct State {
    messages: u64,
    #[serde(with = "time::serde::rfc3339")]
    first_ts: OffsetDateTime,
}

impl Bus {
    /// Keeps the metrics of the queues fresh until shutdown. What the broker does not tell is taken back: an autoscaler
    /// knows what to do without a figure, and does the wrong thing with an old one.
    ///
    /// Several processes tell the same; whoever reads takes the maximum.
    pub async fn tell_queues(&self, teller: Teller, until: &Shutdown) {
        if !self.lane.is_live() {
            return;
        }
        while !until.is_asked() {
            for &(stream, consumer) in teller.consumers() {
                let queue = self.queue(stream, consumer, teller).await;
                if let Err(error) = &queue {
                    tracing::debug!(%error, consumer, "the broker does not say how much waits");
                }
                self.show(consumer, queue.ok());
            }
            tokio::select! {
                biased;
                () = until.asked() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn show(&self, consumer: &'static str, queue: Option<Queue>) {
        let (label, metrics) = (Consumer { consumer }, &self.metrics);
        match queue.map(|queue| queue.pending) {
            Some(pending) => _ = metrics.queue_pending.get_or_create(&label).set(pending as i64),
            None => _ = metrics.queue_pending.remove(&label),
        }
        match queue.and_then(|queue| queue.oldest) {
            Some(age) => _ = metrics.queue_oldest_age.get_or_create(&label).set(age.as_secs_f64()),
            None => _ = metrics.queue_oldest_age.remove(&label),
        }
    }

    /// How far a consumer of the live fleet is behind.
    pub async fn queue(&self, stream: &str, consumer: &str, teller: Teller) -> Result<Queue, BusError> {
        let info: ConsumerInfo = self.info(format!("CONSUMER.INFO.{stream}.{consumer}")).await?;
        let pending = info.num_pending + info.num_ack_pending;
        let oldest = match (pending, stream, teller) {
            (0, ..) => Some(Duration::ZERO),
            (_, JOURNAL, Teller::Gateway) => None,
            (_, JOURNAL, _) => {
                let stored_at = self.stored_after(stream, info.ack_floor.stream_seq).await?;
                Some(stored_at.map_or(Duration::ZERO, |at| age(at, info.ts)))
            }
            _ => {
                let StreamInfo { state, ts } = self.info(format!("STREAM.INFO.{stream}")).await?;
                Some(if state.messages == 0 { Duration::ZERO } else { age(state.first_ts, ts) })
            }
        };
        Ok(Queue { pending, oldest })
    }

    /// When the first message above a sequence was stored; there may be gaps.
    async fn stored_after(&self, stream: &str, sequence: u64) -> Result<Option<OffsetDateTime>, BusError> {
        use async_nats::jetstream::stream::DirectGetErrorKind as Kind;
        let stream = self.stream(stream).await?;
        let first = stream.direct_get_builder().sequence(sequence + 1).next_by_subject(">").send().await;
        match first {
            Ok(message) => Ok(Some(message.time)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(BusError::Refused(error.to_string())),
        }
    }

    /// What the broker says of a stream or consumer, with its time, which the library does not pass on.
    async fn info<T: DeserializeOwned>(&self, what: String) -> Result<T, BusError> {
        // The broker wants an empty object where nothing is to be said; `null` it refuses.
        let nothing = serde_json::json!({});
        let asked = self.nats()?.jetstream.request(what, &nothing);
        let asked = async { asked.await.map_err(|error| BusError::Refused(error.to_string())) };
        match self.within(self.call_timeout, asked).await? {
            Response::Ok(info) => Ok(info),
            Response::Err { error } => Err(BusError::Refused(error.to_string())),
        }
    }
}

fn age(stored_at: OffsetDateTime, now: OffsetDateTime) -> Duration {
    (now - stored_at).try_into().unwrap_or_default()
}
