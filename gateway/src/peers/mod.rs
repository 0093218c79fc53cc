//! The one door to Redis: what the gateways tell one another about requests, and the limits that they keep together. Without
//! Redis everything still works, on one's own.

/// Buckets that all gateways share.
mod limits;

/// One lane of them.
mod drawer;

use std::{sync::Arc, time::Duration};

use redis::{Cmd, RedisError};
use serde::{Deserialize, Serialize};
use talkfleet_shared::{
    admin::Health,
    id::{ChannelId, ConversationId, RequestId, TenantId},
    lifecycle::Shutdown,
    metrics::Metrics,
    redis_door::{RedisLink, RedisPlace, RedisTimes},
};
use tokio::sync::mpsc;

pub(crate) use self::limits::SharedBuckets;

/// How long a request is remembered: as long as its record.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// Notes that may wait to be written; above it they are dropped, since they only speed up what works without them.
const NOTES_WAITING_MAX: usize = 10_000;

/// Notes that are written in one round trip.
const NOTES_AT_ONCE: usize = 64;

/// How long one attempt to connect may take, and what lies between two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How often it is looked whether Redis is there.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// What a gateway tells the others about a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) conversation: ConversationId,
    /// Its policy says what hanging up means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<ChannelId>,
    /// Of the ask, when the request came under an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    /// Unix milliseconds.
    pub(crate) deadline_at_ms: u64,
}

/// A connection to the other gateways' notes.
pub struct Peers {
    redis: RedisLink,
    timeout: Duration,
    notes: mpsc::Sender<(String, Note)>,
    buckets: SharedBuckets,
}

impl Peers {
    /// Connects in the background; `health`'s `redis` says whether it is there.
    pub(crate) fn connect(
        place: RedisPlace,
        timeout: Duration,
        (metrics, health): (Arc<Metrics>, Health),
        shutdown: &Shutdown,
    ) -> Result<Self, RedisError> {
        let times = RedisTimes { connect: CONNECT_TIMEOUT, answer: timeout, reconnect: RECONNECT };
        let redis = RedisLink::open(place, times)?;
        let (notes, waiting) = mpsc::channel(NOTES_WAITING_MAX);
        shutdown.spawn(write_notes(redis.clone(), waiting, shutdown.clone()));
        shutdown.spawn(watch_over(redis.clone(), health.clone(), shutdown.clone()));
        let buckets = SharedBuckets::open(redis.clone(), timeout, (metrics, health), shutdown);
        Ok(Self { redis, timeout, notes, buckets })
    }

    /// The buckets that all gateways draw from.
    pub(crate) fn buckets(&self) -> SharedBuckets {
        self.buckets.clone()
    }

    /// Tells the others of a request, without waiting.
    pub(crate) fn tell(&self, tenant: &TenantId, request: &RequestId, note: Note) {
        let _ = self.notes.try_send((key(tenant, request), note));
    }

    /// Tells the others of a request unless somebody did before; then theirs comes back.
    pub(crate) async fn tell_first(&self, tenant: &TenantId, request: &RequestId, note: &Note) -> Option<Note> {
        let mut command = redis::cmd("SET");
        command.arg(key(tenant, request)).arg(serde_json::to_string(note).ok()?);
        command.arg("NX").arg("GET").arg("EX").arg(REMEMBERED.as_secs());
        self.ask(&command).await
    }

    /// What the others told of a request.
    pub(crate) async fn recall(&self, tenant: &TenantId, request: &RequestId) -> Option<Note> {
        self.ask(redis::cmd("GET").arg(key(tenant, request))).await
    }

    async fn ask(&self, command: &Cmd) -> Option<Note> {
        let asked = self.redis.ask::<Option<String>>(command);
        serde_json::from_str(&tokio::time::timeout(self.timeout, asked).await.ok()?.ok()??).ok()
    }
}

fn key(tenant: &TenantId, request: &RequestId) -> String {
    format!("tf:{tenant}:req:{request}")
}

async fn write_notes(redis: RedisLink, mut waiting: mpsc::Receiver<(String, Note)>, shutdown: Shutdown) {
    let mut batch = Vec::with_capacity(NOTES_AT_ONCE);
    loop {
        tokio::select! {
            () = shutdown.asked() => return,
            n = waiting.recv_many(&mut batch, NOTES_AT_ONCE) => if n == 0 { return },
        }
        let noted = batch.drain(..).filter_map(|(key, note)| {
            let mut command = redis::cmd("SETEX");
            command.arg(key).arg(REMEMBERED.as_secs()).arg(serde_json::to_string(&note).ok()?);
            Some(command)
        });
        // A note that is lost costs a client on another gateway a second of doubt, nothing more.
        let _ = redis.tell(noted.collect()).await;
    }
}

async fn watch_over(redis: RedisLink, health: Health, shutdown: Shutdown) {
    let mut was_there = None;
    loop {
        let there = redis.ask::<()>(&redis::cmd("PING")).await;
        if was_there != Some(there.is_ok()) {
            match &there {
                Ok(()) => tracing::info!("Redis is there"),
                Err(error) => tracing::warn!(%error, "Redis is away; this gateway goes on alone"),
            }
        }
        was_there = Some(there.is_ok());
        match there {
            Ok(()) => health.up("redis"),
            Err(_) => health.lacks("redis", "does not answer"),
        }
        tokio::select! {
            () = shutdown.asked() => return,
            () = tokio::time::sleep(CHECK_EVERY) => {}
        }
    }
}
