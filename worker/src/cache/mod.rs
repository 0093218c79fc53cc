//! Copies of what is dear to make: in this process over Redis, each made once however many ask, and dropped when it changes.
//!
//! A look-up goes: the copy here; is it known not to exist; whoever is fetching it already; the copy in Redis; the lease,
//! whose holder makes it for the whole fleet. Without Redis the rest goes on as it is.

/// PURE: under which key a copy lies.
mod key;

/// PURE: how long a copy is kept.
mod times;

/// PURE: a copy as it lies in Redis.
pub(crate) mod copy;

/// The right of one process to make a copy for all.
mod lease;

/// Which keys may exist at all.
mod known;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::{Expiry, future::Cache as Local};
use serde::{Serialize, de::DeserializeOwned};
use talkfleet_shared::{
    chance, clock,
    metrics::{CacheOutcome, CacheSource, Metrics},
};

use self::lease::Lease;
pub use self::{
    key::Key,
    known::{Filling, Known},
    times::Times,
};
use crate::keeper::{Look, Redis};

/// Changes are told apart by shelf: two keys of a shelf that change at once cost one of them a copy, no more.
const SHELVES: usize = 1_024;

/// How often a copy is looked for while another process makes it.
const POLL_FIRST: Duration = Duration::from_millis(5);
const POLL_LONGEST: Duration = Duration::from_millis(50);

/// What a cache is for.
pub struct Plan<V> {
    /// `history`, `answers`: what metrics call it.
    pub name: &'static str,
    /// Who makes what is not there: `database`, `model`.
    pub source: &'static str,
    /// How much this process holds, in what `weigh` measures.
    pub weight_max: u64,
    pub weigh: fn(&V) -> u32,
    pub times: Times,
    /// For how long one process alone makes a copy; should it die, the next takes over then.
    pub lease: Duration,
    /// How long the others wait for it before they make one of their own.
    pub wait_max: Duration,
}

/// Copies of one kind.
pub struct Cache<V> {
    plan: Plan<V>,
    local: Local<Key, Held<V>>,
    redis: Option<Redis>,
    /// Counts the changes of each shelf, so that a copy of what was before one is not kept after it.
    changes: Box<[AtomicU64]>,
    metrics: Arc<Metrics>,
}

/// A copy, or that there is nothing.
struct Held<V> {
    value: Option<Arc<V>>,
    life: Duration,
}

impl<V> Clone for Held<V> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), life: self.life }
    }
}

/// Each copy lives as long as it says itself.
struct ItsOwn;

impl<V> Expiry<Key, Held<V>> for ItsOwn {
    fn expire_after_create(&self, _: &Key, held: &Held<V>, _: Instant) -> Option<Duration> {
        Some(held.life)
    }
}

/// What the shared level has to say.
enum Seen<V> {
    Kept(Held<V>),
    /// Nothing; it is ours to make.
    Ours(Lease),
    /// It cannot be asked, or nobody has made it in time.
    Silent,
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// Without Redis a cache of this process alone.
    pub fn new(plan: Plan<V>, redis: Option<Redis>, metrics: Arc<Metrics>) -> Self {
        let weigh = plan.weigh;
        let local = Local::builder()
            .max_capacity(plan.weight_max)
            .weigher(move |key: &Key, held: &Held<V>| {
                held.value.as_deref().map_or(key.as_str().len() as u32, weigh).max(1)
            })
            .expire_after(ItsOwn)
            .build();
        Self { plan, local, redis, changes: (0..SHELVES).map(|_| AtomicU64::new(0)).collect(), metrics }
    }

    /// The copy under a key, or what `make` makes, `Ok(None)` being that there is nothing; a failure is not kept. Many who
    /// ask at once wait for one of them.
    pub async fn get<E>(
        &self,
        key: &Key,
        known: Option<&Known>,
        make: impl Future<Output = Result<Option<V>, E>>,
    ) -> Result<Option<Arc<V>>, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        if let Some(held) = self.local.get(key).await {
            self.count(if held.value.is_some() { "hit" } else { "nothing" });
            return Ok(held.value);
        }
        if known.is_some_and(|known| known.lacks(key)) {
            self.count("unknown");
            return Ok(None);
        }
        let before = self.change(key).load(Ordering::Acquire);
        let fetched = self.local.entry_by_ref(key).or_try_insert_with(self.fetch(key, make)).await;
        self.count(match &fetched {
            Ok(entry) if entry.is_fresh() => "miss",
            Ok(_) => "joined",
            Err(_) => "failed",
        });
        if self.change(key).load(Ordering::Acquire) != before {
            self.local.invalidate(key).await;
        }
        fetched.map(|entry| entry.into_value().value)
    }

    /// What lies under these keys has changed: no copy of it is kept, here or in Redis. Other processes must be told.
    pub async fn changed(&self, keys: &[Key]) {
        // Redis first: what is fetched from there until it has forgotten is dropped after it.
        if let Some(redis) = &self.redis
            && let Err(error) = redis.forget(keys.iter().map(Key::place)).await
        {
            tracing::debug!(%error, "copies in Redis are left to expire");
        }
        for key in keys {
            self.drop_here(key).await;
        }
    }

    /// Another process has changed what lies under a key, and has dropped the copy in Redis.
    pub async fn drop_here(&self, key: &Key) {
        self.change(key).fetch_add(1, Ordering::Release);
        self.local.invalidate(key).await;
    }

    /// Changes may have been missed: this process keeps no copy.
    pub fn drop_all_here(&self) {
        self.changes.iter().for_each(|change| {
            change.fetch_add(1, Ordering::Release);
        });
        self.local.invalidate_all();
    }

    async fn fetch<E>(&self, key: &Key, make: impl Future<Output = Result<Option<V>, E>>) -> Result<Held<V>, E> {
        let lease = match self.look(key).await {
            Seen::Kept(held) => {
                self.count_load("redis");
                return Ok(held);
            }
            Seen::Ours(lease) => Some(lease),
            Seen::Silent => None,
        };
        self.count_load(self.plan.source);
        let made = make.await?;
        if let Some(lease) = lease {
            self.share(lease, made.as_ref()).await;
        }
        Ok(self.held(made.map(Arc::new), None))
    }

    /// Looks into Redis until there is a copy, the lease is ours, or it has taken too long.
    async fn look(&self, key: &Key) -> Seen<V> {
        let Some(redis) = &self.redis else { return Seen::Silent };
        let token = format!("{:016x}", chance::between(0, u64::MAX));
        let (began, mut pause) = (clock::now(), POLL_FIRST);
        loop {
            match redis.look(key.place(), &token, self.plan.lease).await {
                Ok(Look::Kept { bytes, left }) => match copy::read(&bytes) {
                    Some(value) => return Seen::Kept(self.held(value.map(Arc::new), Some(left))),
                    None => return Seen::Silent,
                },
                Ok(Look::Leased) => return Seen::Ours(Lease::new(redis.clone(), key.clone(), token)),
                Ok(Look::Taken) if clock::since(began) < self.plan.wait_max => tokio::time::sleep(pause).await,
                Ok(Look::Taken) | Err(_) => return Seen::Silent,
            }
            pause = (pause * 2).min(POLL_LONGEST);
        }
    }

    /// Keeps in Redis what was made, for the other processes.
    async fn share(&self, lease: Lease, made: Option<&V>) {
        let Some(bytes) = copy::write(made) else { return };
        let keep_for = self.plan.times.in_redis(made.is_some(), chance::between(-1.0, 1.0));
        match lease.fill(&bytes, keep_for).await {
            Ok(true) => {}
            Ok(false) => tracing::debug!(cache = self.plan.name, "what was made is old already; Redis keeps no copy"),
            Err(error) => tracing::debug!(cache = self.plan.name, %error, "Redis keeps no copy"),
        }
    }

    fn held(&self, value: Option<Arc<V>>, left: Option<Duration>) -> Held<V> {
        let life = self.plan.times.in_process(value.is_some(), left, chance::between(-1.0, 1.0));
        Held { value, life }
    }

    fn change(&self, key: &Key) -> &AtomicU64 {
        &self.changes[key.shelf(SHELVES)]
    }

    fn count(&self, outcome: &'static str) {
        self.metrics.cache_lookups.get_or_create(&CacheOutcome { cache: self.plan.name, outcome }).inc();
    }

    fn count_load(&self, source: &'static str) {
        self.metrics.cache_loads.get_or_create(&CacheSource { cache: self.plan.name, source }).inc();
    }
}

#[cfg(test)]
mod tests;
