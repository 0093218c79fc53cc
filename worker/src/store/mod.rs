//! The one door to PostgreSQL: knowledge, the archive of turns, feedback and usage; every query names its tenant first.

/// What customers asked, what they were answered, and what they thought of it.
mod archive;

/// Documents and passages, with a version that moves in the same transaction as they do.
mod knowledge;

/// Every table, written down and filled again.
mod dump;

/// What is somebody's, and what is old, deleted.
mod forget;

/// The schema, brought up to date by whoever comes first.
mod migrate;

/// What a backend elsewhere reads of the knowledge.
mod sample;

/// PURE: which of several servers is written to.
mod servers;

/// The server that is written to, among several.
mod primary;

/// What was written again after another server took over.
mod promotion;

/// PURE: a position in the database's log.
mod lsn;

/// PURE: which replica a read may go to.
mod route;

/// Where a read goes.
mod read;

/// The tables that PostgreSQL is searched by when it is the retrieval's backend.
pub mod search;

use std::{future::Future, str::FromStr, sync::Arc, time::Duration};

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use talkfleet_shared::{config::Url, metrics::Metrics};

pub use self::{
    archive::{Journaled, Written},
    dump::{Dump, DumpError, Fill, Shape},
    forget::{ArchivedRow, RetentionTurn, Table},
    knowledge::{Change, Document, Known, Listed, Passage, Snapshot, SnapshotDocument, Source},
    lsn::Lsn,
    sample::{Count, Sampled},
};
use self::{primary::Primary, read::Replicas};
use crate::config::DatabaseConfig;

/// How long an operator's command may wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one reading query or one writing transaction may take; a database behind a dead cable never answers at all.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// What can go wrong at the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database.url '{0}' should look like postgres://user:password@host:5432/database")]
    Url(String),
    /// Nothing was written; the same again may succeed.
    #[error("PostgreSQL cannot be reached: {0}")]
    Away(String),
    /// This data will never be taken.
    #[error("PostgreSQL refused the data: {0}")]
    Rejected(String),
    /// Neither time nor other data helps: the schema or the rights are wrong.
    #[error("PostgreSQL: {0}; check the database's schema and the user's rights")]
    Broken(String),
    /// Whoever owns the schema must bring it up to date.
    #[error("PostgreSQL's schema is not up to date: {0}; let its owner run `talkfleet database migrate`")]
    Behind(String),
    #[error(
        "PostgreSQL has no pgvector of 0.7 or newer ({0}); install it and let a superuser say `create extension vector` in \
         this database, or set retrieval.backend to memory"
    )]
    NoVector(String),
}

/// Connections to the database; cheap to clone, reconnecting by itself.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    primary: Arc<Primary>,
    replicas: Arc<Replicas>,
    limits: Limits,
    /// Whether tables may be made and changed.
    migrates: bool,
    metrics: Arc<Metrics>,
}

/// Certificates for TLS from files, read anew with every connection.
#[derive(Debug, Clone, Copy, Default)]
struct Files<'a> {
    /// Empty for what the address says.
    ca: &'a str,
    /// Empty for none.
    cert: &'a str,
    /// Empty for none.
    key: &'a str,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    acquire: Duration,
    /// Of a reading query.
    statement: Duration,
}

impl Store {
    /// Opens the door without knocking: a database that is away is met by the first query. Replicas are read from once
    /// [`Store::follow_replicas`] has seen them.
    pub fn open(config: &DatabaseConfig, metrics: Arc<Metrics>) -> Result<Self, StoreError> {
        let limits = Limits {
            acquire: Duration::from_millis(config.acquire_timeout_ms),
            statement: Duration::from_millis(config.statement_timeout_ms),
        };
        let files = Files { ca: &config.ca_file, cert: &config.cert_file, key: &config.key_file };
        let connections = config.connections_max;
        let replica = |url| {
            let servers = servers_of(url, files, limits.statement)?;
            Ok(pool(&servers, connections, limits.acquire, &Primary::of(&[])))
        };
        let replicas = config.replica_urls.iter().map(replica).collect::<Result<_, StoreError>>()?;
        let lag_max = Duration::from_millis(config.replica_lag_max_ms);
        // The server ends what nobody waits for any more, and the longest that is waited for is a write.
        let servers = servers_of(&config.url, files, WRITE_TIMEOUT)?;
        let primary = Primary::of(&servers);
        Ok(Self {
            pool: pool(&servers, connections, limits.acquire, &primary),
            primary: Arc::new(primary),
            replicas: Arc::new(Replicas::new(replicas, lag_max, config.fallback_reads_max)),
            limits,
            migrates: config.migrate,
            metrics,
        })
    }

    /// Connects an operator's command, and says so when nobody is there.
    pub async fn connect(url: &Url, connections_max: u32) -> Result<Self, StoreError> {
        let limits = Limits { acquire: ACQUIRE_TIMEOUT, statement: READ_TIMEOUT };
        let servers = servers_of(url, Files::default(), WRITE_TIMEOUT)?;
        let primary = Primary::of(&servers);
        let store = Self {
            pool: pool(&servers, connections_max, limits.acquire, &primary),
            primary: Arc::new(primary),
            replicas: Arc::new(Replicas::new(Vec::new(), Duration::ZERO, 1)),
            limits,
            migrates: true,
            metrics: Metrics::new("operator"),
        };
        store.look_for_primary().await;
        store.ping().await?;
        Ok(store)
    }

    /// A replica that is further behind than this is not read from.
    pub fn replica_lag_max(&self) -> Duration {
        self.replicas.lag_max()
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        within(READ_TIMEOUT, sqlx::query("select 1").execute(&self.pool)).await.map(drop)
    }

    /// Gives the connections back; queries after this fail.
    pub async fn close(&self) {
        self.pool.close().await;
        self.replicas.close().await;
    }
}

/// How each server of a database is reached.
fn servers_of(url: &Url, files: Files<'_>, statement: Duration) -> Result<Vec<PgConnectOptions>, StoreError> {
    let bad = || StoreError::Url(url.to_string());
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.reveal().starts_with(scheme)) {
        return Err(bad());
    }
    let server = |address: &String| {
        let mut options = PgConnectOptions::from_str(address).map_err(|_| bad())?;
        if !files.ca.is_empty() {
            // Whoever names an authority wants to know whom they speak with.
            options = options.ssl_root_cert(files.ca).ssl_mode(PgSslMode::VerifyFull);
        }
        if !files.cert.is_empty() {
            options = options.ssl_client_cert(files.cert).ssl_client_key(files.key);
        }
        let timeout = [("statement_timeout", statement.as_millis().to_string())];
        Ok(options.application_name("talkfleet").options(timeout))
    };
    servers::each(url.reveal()).iter().map(server).collect()
}

fn pool(servers: &[PgConnectOptions], connections_max: u32, acquire: Duration, primary: &Primary) -> PgPool {
    let options = PgPoolOptions::new().max_connections(connections_max.max(1)).acquire_timeout(acquire);
    // The first of several until another is chosen; nothing gets through to it before.
    primary.guard(options).connect_lazy_with(servers.first().cloned().unwrap_or_default())
}

/// Bounds a query in time and sorts its failure by what helps.
async fn within<T>(limit: Duration, query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, query).await {
        Ok(done) => done.map_err(|error| sort(&error)),
        Err(_) => Err(StoreError::Away(format!("no answer within {limit:?}"))),
    }
}

fn sort(error: &sqlx::Error) -> StoreError {
    let sqlx::Error::Database(refusal) = error else {
        return match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                StoreError::Broken(error.to_string())
            }
            sqlx::Error::Encode(_) => StoreError::Rejected(error.to_string()),
            sqlx::Error::PoolTimedOut => StoreError::Away("no connection within database.acquire_timeout_ms".into()),
            _ => StoreError::Away(error.to_string()),
        };
    };
    // The message alone: PostgreSQL puts a row's contents into the detail.
    let message = refusal.message().to_owned();
    match refusal.code().as_deref().and_then(|code| code.get(..2)) {
        // Bad data, a violated constraint, too complex or too large.
        Some("22" | "23" | "54") => StoreError::Rejected(message),
        // Connections, transactions to repeat, resources, shutdowns, input and output.
        Some("08" | "25" | "40" | "53" | "55" | "57" | "58") => StoreError::Away(message),
        _ => StoreError::Broken(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bad_address_is_named_without_its_password() {
        let error = Store::connect(&Url::new("http://me:hidden@host"), 1).await.unwrap_err().to_string();
        assert!(error.contains("postgres://") && !error.contains("hidden"), "{error}");
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_away() {
        let url = Url::new("postgres://me:hidden@127.0.0.1:1/none");
        let error = Store::connect(&url, 1).await.unwrap_err();
        assert!(matches!(error, StoreError::Away(_)), "{error}");
        assert!(!error.to_string().contains("hidden"), "{error}");
    }

    #[tokio::test]
    async fn silence_is_bounded() {
        let error = within(Duration::from_millis(5), std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert!(matches!(error, StoreError::Away(_)), "{error}");
    }
}
