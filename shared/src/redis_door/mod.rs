//! The way to Redis that gateway and worker go alike: one server or a cluster, in the clear or over TLS, mending itself.

/// PURE: where Redis is, as the configuration says it.
mod place;

/// PURE: which keys of a cluster lie together.
mod slot;

/// Certificates from files, read anew when these change.
mod tls;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::future::join_all;
use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError, RedisResult, Script,
    ServerErrorKind, ToRedisArgs,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::{ClusterClient, ClusterConfig},
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
};

use self::tls::Pem;
pub use self::{
    place::RedisPlace,
    slot::{SLOTS, slot_of},
};

/// How often a command is sent anew when a cluster says that a key lies elsewhere, or a node of it is gone: twice is a slot that
/// moves under a map that is old.
const CLUSTER_RETRIES: u32 = 3;

/// What is waited between these, in milliseconds: all of them together less than anybody waits for Redis.
const CLUSTER_RETRY_MS: (u64, u64) = (5, 40);

/// How often it is looked whether certificates have changed.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct RedisTimes {
    /// One attempt to connect.
    pub connect: Duration,
    /// An answer, with all that is tried anew for it.
    pub answer: Duration,
    /// Between attempts to connect, at least and at most.
    pub reconnect: (Duration, Duration),
}

/// A connection that mends itself; cheap to clone.
#[derive(Clone)]
pub struct RedisLink(Link);

#[derive(Clone)]
enum Link {
    Fixed(Way),
    /// Over TLS with files, and replaced when these change.
    Renewed(Arc<RwLock<Way>>),
}

#[derive(Clone)]
enum Way {
    One(ConnectionManager),
    Many(ClusterConnection),
}

/// A script, called by its digest; a server that does not know it is told it once.
pub struct Program {
    source: &'static str,
    digest: String,
}

impl Program {
    pub fn new(source: &'static str) -> Self {
        Self { source, digest: Script::new(source).get_hash().to_owned() }
    }
}

impl RedisLink {
    /// Prepares the connection; it is made with the first use, so that a process starts without Redis. Within a runtime.
    pub fn open(place: RedisPlace, times: RedisTimes) -> RedisResult<Self> {
        let pem = Pem::read(&place)?;
        let way = Way::open(&place, times, pem.as_ref())?;
        let Some(pem) = pem else { return Ok(Self(Link::Fixed(way))) };
        let way = Arc::new(RwLock::new(way));
        tokio::spawn(tls::renew(Arc::downgrade(&way), place, times, pem));
        Ok(Self(Link::Renewed(way)))
    }

    /// Asks one command.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self.way() {
            Way::One(mut one) => command.query_async(&mut one).await.map_err(explain),
            Way::Many(mut many) => command.query_async(&mut many).await,
        }
    }

    /// Asks several commands whose answers nobody needs, each of one key: at once, and in no order in a cluster.
    pub async fn tell(&self, commands: Vec<Cmd>) -> RedisResult<()> {
        match self.way() {
            Way::One(mut one) => {
                let mut pipe = redis::pipe();
                commands.into_iter().for_each(|command| {
                    pipe.add_command(command).ignore();
                });
                pipe.query_async(&mut one).await.map_err(explain)
            }
            // A pipeline goes to one node, and is of no use while a slot moves.
            Way::Many(many) => {
                let asked = commands.iter().map(|command| {
                    let mut many = many.clone();
                    async move { command.query_async::<()>(&mut many).await }
                });
                join_all(asked).await.into_iter().collect()
            }
        }
    }

    /// Runs a script; its keys must lie in one slot.
    pub async fn run<T: FromRedisValue>(
        &self,
        program: &Program,
        keys: &[&str],
        arguments: &[Vec<u8>],
    ) -> RedisResult<T> {
        let call = |name: &str, what: &str| {
            let mut command = redis::cmd(name);
            command.arg(what).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        match self.ask(&call("EVALSHA", &program.digest)).await {
            // With its text to the node that has the keys: a replica that took over knows no script.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.ask(&call("EVAL", program.source)).await
            }
            done => done,
        }
    }

    /// Whether keys lie on several servers.
    pub fn is_cluster(&self) -> bool {
        matches!(self.way(), Way::Many(_))
    }

    fn way(&self) -> Way {
        match &self.0 {
            Link::Fixed(way) => way.clone(),
            Link::Renewed(way) => way.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Way {
    fn open(place: &RedisPlace, times: RedisTimes, pem: Option<&Pem>) -> RedisResult<Self> {
        let tcp = TcpSettings::default().set_nodelay(true);
        let addresses = place.addresses();
        let infos = addresses.iter().map(|url| url.as_str().into_connection_info());
        let infos = infos.collect::<RedisResult<Vec<ConnectionInfo>>>()?;
        if place.cluster {
            let (wait_min, wait_max) = CLUSTER_RETRY_MS;
            let mut builder = ClusterClient::builder(infos)
                .tcp_settings(tcp)
                .connection_timeout(times.connect)
                .response_timeout(times.answer)
                .retries(CLUSTER_RETRIES)
                .retry_wait_formula(wait_min, 2)
                .min_retry_wait(wait_min)
                .max_retry_wait(wait_max);
            if let Some(pem) = pem {
                builder = builder.certs(pem.certificates());
            }
            let config = ClusterConfig::new().set_connection_timeout(times.connect).set_response_timeout(times.answer);
            return Ok(Self::Many(builder.build()?.get_pending_async_connection_with_config(config)));
        }
        let first = infos.into_iter().next();
        let info = first.ok_or((ErrorKind::InvalidClientConfig, "redis.url is empty"))?.set_tcp_settings(tcp);
        // The library's name is nobody's business, and telling it would be one command more to allow.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let info = info.set_redis_settings(settings);
        let client = match pem {
            Some(pem) => Client::build_with_tls(info, pem.certificates())?,
            None => Client::open(info)?,
        };
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(times.connect))
            .set_response_timeout(Some(times.answer))
            .set_number_of_retries(2)
            .set_min_delay(times.reconnect.0)
            .set_max_delay(times.reconnect.1);
        ConnectionManager::new_lazy_with_config(client, config).map(Self::One)
    }
}

/// Whether these keys move, and the same a moment later may succeed: some of them lie here already, some there still.
pub fn is_moving(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::TryAgain))
}

/// A text or number as a script's argument.
pub fn argument(value: impl ToRedisArgs) -> Vec<Vec<u8>> {
    value.to_redis_args()
}

/// One server that answers like a member of a cluster is one.
fn explain(error: RedisError) -> RedisError {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::CrossSlot) => RedisError::from((
            ErrorKind::InvalidClientConfig,
            "this server is a member of a cluster; set redis.cluster = true",
        )),
        _ => error,
    }
}
