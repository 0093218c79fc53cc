//! The server that is written to, among several: looked for every second, and left for the one that has taken over.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::join_all};
use sqlx::{
    PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use talkfleet_shared::{clock, lifecycle::Shutdown};

use super::{
    Store, StoreError,
    servers::{Writable, choose},
    within,
};

/// How often it is looked which server is the primary, and how long one may take to say so.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// What a server says of itself: whether it follows another, and which history it writes.
const STATE: &str = "
    select pg_is_in_recovery() as follows, case when pg_is_in_recovery() then 0
        else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end as timeline";

/// The servers of a database of which one is written to.
#[derive(Debug)]
pub(super) struct Primary {
    servers: Vec<Server>,
    chosen: Arc<Mutex<Chosen>>,
}

#[derive(Debug)]
struct Server {
    options: PgConnectOptions,
    /// One connection, to be asked.
    asked: PgPool,
}

/// Which server is written to since when.
#[derive(Debug, Default)]
struct Chosen {
    known: Option<(usize, u32)>,
    since: Option<Instant>,
}

impl Primary {
    /// Nothing to look for with one server; with several nothing is written before it has been looked.
    pub(super) fn of(options: &[PgConnectOptions]) -> Self {
        let server = |options: &PgConnectOptions| {
            let asked = PgPoolOptions::new().max_connections(1).acquire_timeout(LOOK_TIMEOUT);
            Server { options: options.clone(), asked: asked.connect_lazy_with(options.clone()) }
        };
        let servers = if options.len() > 1 { options.iter().map(server).collect() } else { Vec::new() };
        Self { servers, chosen: Arc::default() }
    }

    /// Connections of a pool are to the server that is chosen: others are not let in, and those from before a change go.
    pub(super) fn guard(&self, pool: PgPoolOptions) -> PgPoolOptions {
        if self.servers.is_empty() {
            return pool;
        }
        let (chosen, since) = (self.chosen.clone(), self.chosen.clone());
        pool.after_connect(move |connection, _| {
            let chosen = chosen.clone();
            async move {
                let state = state_of(connection).await?;
                let known = lock(&chosen).known.map(|(_, timeline)| Writable { timeline });
                if state.is_some() && state == known { Ok(()) } else { Err(no_primary()) }
            }
            .boxed()
        })
        .before_acquire(move |_, meta| {
            let changed = lock(&since).since;
            let current = changed.is_none_or(|changed| meta.age < clock::since(changed));
            async move { Ok(current) }.boxed()
        })
    }

    async fn close(&self) {
        join_all(self.servers.iter().map(|server| server.asked.close())).await;
    }
}

impl Store {
    /// Looks which server is to be written to, once; at most for a second.
    pub async fn look_for_primary(&self) {
        let primary = &self.primary;
        if primary.servers.is_empty() {
            return;
        }
        let asked = primary.servers.iter().map(|server| {
            let state = async { state_of(&mut *server.asked.acquire().await?).await };
            async move { within(LOOK_TIMEOUT, state).await.ok().flatten() }
        });
        let states = join_all(asked).await;
        let mut chosen = lock(&primary.chosen);
        let Some(found) = choose(&states, chosen.known).filter(|found| chosen.known != Some(*found)) else { return };
        let Some(server) = primary.servers.get(found.0) else { return };
        self.pool.set_connect_options(server.options.clone());
        *chosen = Chosen { known: Some(found), since: Some(clock::now()) };
        tracing::info!(server = found.0, timeline = found.1, "this server is written to");
    }

    /// Looks again and again, until shutdown.
    pub async fn follow_primary(self, shutdown: Shutdown) {
        while !self.primary.servers.is_empty() {
            tokio::select! {
                () = shutdown.asked() => return self.primary.close().await,
                () = tokio::time::sleep(LOOK_EVERY) => self.look_for_primary().await,
            }
        }
    }

    /// Which history the primary writes; it changes when another server takes over, by whatever name it is reached.
    pub async fn timeline(&self) -> Result<u32, StoreError> {
        let state = async { state_of(&mut *self.pool.acquire().await?).await };
        match within(LOOK_TIMEOUT, state).await? {
            Some(Writable { timeline }) => Ok(timeline),
            None => Err(StoreError::Away("it follows another server".into())),
        }
    }
}

/// None for one that follows another.
async fn state_of(connection: &mut PgConnection) -> Result<Option<Writable>, sqlx::Error> {
    let row = sqlx::query(STATE).fetch_one(connection).await?;
    let (follows, timeline): (bool, i32) = (row.try_get("follows")?, row.try_get("timeline")?);
    Ok((!follows).then_some(Writable { timeline: timeline.unsigned_abs() }))
}

fn no_primary() -> sqlx::Error {
    let text = "this server is not, or no longer, the one that is written to";
    sqlx::Error::Io(std::io::Error::other(text))
}

fn lock(chosen: &Mutex<Chosen>) -> std::sync::MutexGuard<'_, Chosen> {
    chosen.lock().unwrap_or_else(PoisonError::into_inner)
}
