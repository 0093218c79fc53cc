//! Where a read goes: to a replica that has what the reader has seen, else to the primary, so many at once.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use talkfleet_shared::{
    clock,
    lifecycle::Shutdown,
    metrics::{Metrics, Pool, Target},
};
use tokio::sync::Semaphore;

use super::{
    Lsn, Store, StoreError,
    route::{Standing, Track, choose},
    within,
};

/// How often it is measured how far the replicas have come, and how long one may take to say so.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
const MEASURE_TIMEOUT: Duration = Duration::from_secs(1);

/// The replicas of a database and what is known of them.
#[derive(Debug)]
pub(super) struct Replicas {
    pools: Vec<PgPool>,
    known: Mutex<Known>,
    turns: AtomicUsize,
    lag_max: Duration,
    /// Reads that only the primary can answer because no replica will do.
    fallbacks: Semaphore,
}

#[derive(Debug, Default)]
struct Known {
    primary: Track,
    standings: Vec<Standing>,
    /// Up to where this process has seen what is searched.
    searched: Lsn,
}

/// What a read asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// What the reader has seen already: it is not shown less.
    pub(super) seen: Lsn,
    /// How long a replica may take before the primary is asked instead.
    pub(super) patience: Duration,
}

impl Replicas {
    pub(super) fn new(pools: Vec<PgPool>, lag_max: Duration, fallbacks_max: usize) -> Self {
        let standings = vec![Standing::Away; pools.len()];
        Self {
            pools,
            known: Mutex::new(Known { standings, ..Known::default() }),
            turns: AtomicUsize::new(0),
            lag_max,
            fallbacks: Semaphore::new(fallbacks_max),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    pub(super) fn lag_max(&self) -> Duration {
        self.lag_max
    }

    pub(super) async fn close(&self) {
        join_all(self.pools.iter().map(PgPool::close)).await;
    }

    fn choose(&self, seen: Lsn) -> Option<usize> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        choose(&self.known().standings, seen, self.lag_max, turn)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Reads where it may be read; a replica that fails is left alone until it is measured again.
    pub(super) async fn read<T, F>(
        &self,
        reading: Reading,
        query: impl Fn(PoolConnection<Postgres>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        if self.replicas.is_empty() {
            self.count("primary");
            return self.read_at(&self.pool, "primary", self.limits.statement, &query).await;
        }
        if let Some(place) = self.replicas.choose(reading.seen) {
            match self.read_at(&self.replicas.pools[place], "replica", reading.patience, &query).await {
                Ok(answer) => {
                    self.count("replica");
                    return Ok(answer);
                }
                // Away, in the way of what it replays, or before a migration that it has not replayed.
                Err(error) => {
                    self.replicas.known().standings[place] = Standing::Away;
                    tracing::warn!(%error, replica = place, "a replica failed; the primary is asked");
                }
            }
        }
        let Ok(permit) = tokio::time::timeout(self.limits.acquire, self.replicas.fallbacks.acquire()).await else {
            self.count("refused");
            let text = "no replica will do, and the primary has its fill of reads (database.fallback_reads_max)";
            return Err(StoreError::Away(text.into()));
        };
        let _permit = permit.map_err(|error| StoreError::Away(error.to_string()))?;
        self.count("fallback");
        self.read_at(&self.pool, "primary", self.limits.statement, &query).await
    }

    async fn read_at<T, F>(
        &self,
        pool: &PgPool,
        name: &'static str,
        limit: Duration,
        query: &impl Fn(PoolConnection<Postgres>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        within(limit, async { query(acquire(pool, name, &self.metrics).await?).await }).await
    }

    /// Measures how far the replicas have come, every second until shutdown; until then nothing is read from them.
    pub async fn follow_replicas(self, shutdown: Shutdown) {
        loop {
            self.measure().await;
            tokio::select! {
                () = shutdown.asked() => return,
                () = tokio::time::sleep(MEASURE_EVERY) => {}
            }
        }
    }

    async fn measure(&self) {
        self.gauge("primary", std::slice::from_ref(&self.pool));
        if self.replicas.is_empty() {
            return;
        }
        self.gauge("replica", &self.replicas.pools);
        // The primary first: what a replica has come to is compared with what was there before it was asked.
        if let Ok(primary) = within(MEASURE_TIMEOUT, position(&self.pool)).await {
            self.replicas.known().primary.note(clock::now(), primary);
        }
        let replayed = join_all(self.replicas.pools.iter().map(|pool| within(MEASURE_TIMEOUT, replayed(pool)))).await;
        let now = clock::now();
        let mut known = self.replicas.known();
        let standings: Vec<_> = replayed
            .into_iter()
            .map(|replayed| match replayed {
                Ok(Some(replayed)) => Standing::Replays { replayed, lag: known.primary.lag(replayed, now) },
                Ok(None) | Err(_) => Standing::Away,
            })
            .collect();
        known.standings = standings;
        let serving: Vec<f64> = known.standings.iter().filter_map(|standing| lag_s(*standing)).collect();
        self.metrics.replica_lag.set(serving.iter().copied().fold(0.0, f64::max));
        self.metrics.replicas.set(serving.len() as i64);
    }

    /// What was written for searching is what this process searches from here on.
    pub async fn search_seen(&self) {
        if self.replicas.is_empty() {
            return;
        }
        match within(MEASURE_TIMEOUT, position(&self.pool)).await {
            Ok(position) => self.replicas.known().searched = position,
            Err(error) => tracing::debug!(%error, "a replica may be searched that lacks the last change"),
        }
    }

    pub(super) fn searched(&self) -> Lsn {
        self.replicas.known().searched
    }

    fn count(&self, target: &'static str) {
        self.metrics.database_reads.get_or_create(&Target { target }).inc();
    }

    fn gauge(&self, pool: &'static str, pools: &[PgPool]) {
        let busy: usize = pools.iter().map(|pool| (pool.size() as usize).saturating_sub(pool.num_idle())).sum();
        self.metrics.database_connections.get_or_create(&Pool { pool }).set(busy as i64);
    }
}

/// A connection, and how long it was waited for.
pub(super) async fn acquire(
    pool: &PgPool,
    name: &'static str,
    metrics: &Arc<Metrics>,
) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    let began = clock::now();
    let acquired = pool.acquire().await;
    metrics.database_wait.get_or_create(&Pool { pool: name }).observe(clock::since(began).as_secs_f64());
    acquired
}

/// Where the primary's log ends.
pub(super) async fn position(pool: &PgPool) -> Result<Lsn, sqlx::Error> {
    position_at(&mut *pool.acquire().await?).await
}

pub(super) async fn position_at(connection: &mut sqlx::PgConnection) -> Result<Lsn, sqlx::Error> {
    let text: String = sqlx::query_scalar("select pg_current_wal_lsn()::text").fetch_one(connection).await?;
    Lsn::parse(&text).ok_or_else(|| sqlx::Error::Decode(format!("'{text}' is no position").into()))
}

/// Up to where a replica has come; None when it is none, such as one that was made a primary.
async fn replayed(pool: &PgPool) -> Result<Option<Lsn>, sqlx::Error> {
    const SQL: &str = "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()::text end";
    let text: Option<String> = sqlx::query_scalar(SQL).fetch_one(pool).await?;
    Ok(text.as_deref().and_then(Lsn::parse))
}

fn lag_s(standing: Standing) -> Option<f64> {
    match standing {
        Standing::Replays { lag: Some(lag), .. } => Some(lag.as_secs_f64()),
        Standing::Away | Standing::Replays { lag: None, .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WorkerConfig;

    /// A store whose primary and replica both refuse connections.
    fn nowhere(fallback_reads_max: usize) -> Store {
        let url = "postgres://me:hidden@127.0.0.1:1/none";
        let flags = [
            ("database.url", url.to_owned()),
            ("database.replica_urls", format!("[\"{url}\"]")),
            ("database.fallback_reads_max", fallback_reads_max.to_string()),
            ("database.acquire_timeout_ms", "20".to_owned()),
        ];
        let flags = flags.map(|(key, value)| (key.to_owned(), value));
        let config = WorkerConfig::load(None, &flags).unwrap();
        Store::open(&config.database, Metrics::new("worker")).unwrap()
    }

    async fn read(store: &Store) -> StoreError {
        let reading = Reading { seen: Lsn::default(), patience: Duration::from_millis(50) };
        let one = store.read(reading, |mut connection| async move {
            sqlx::query_scalar::<_, i32>("select 1").fetch_one(&mut *connection).await
        });
        one.await.unwrap_err()
    }

    fn counted(store: &Store, target: &'static str) -> u64 {
        store.metrics.database_reads.get_or_create(&Target { target }).get()
    }

    #[tokio::test]
    async fn only_so_many_reads_fall_back_to_the_primary_at_once() {
        let store = nowhere(1);
        assert!(matches!(read(&store).await, StoreError::Away(_)));
        assert_eq!((counted(&store, "fallback"), counted(&store, "refused")), (1, 0));
        let _busy = store.replicas.fallbacks.try_acquire().unwrap();
        let error = read(&store).await.to_string();
        assert!(error.contains("database.fallback_reads_max"), "{error}");
        assert_eq!((counted(&store, "fallback"), counted(&store, "refused")), (1, 1));
    }

    #[tokio::test]
    async fn a_replica_that_fails_is_left_alone_until_it_is_measured() {
        let store = nowhere(4);
        store.replicas.known().standings[0] = Standing::Replays { replayed: Lsn::default(), lag: Some(Duration::ZERO) };
        read(&store).await;
        assert_eq!((counted(&store, "replica"), counted(&store, "fallback")), (0, 1));
        assert_eq!(store.replicas.choose(Lsn::default()), None);
    }
}
