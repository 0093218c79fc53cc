//! The Talkfleet worker: the desk that answers. One process hosts one role or several; all of them speak over one bus.

/// Every key of the configuration.
pub mod config;

/// Asks are taken, kept alive, settled and, on the way out, handed back.
mod consume;

/// Asks that come past the queue.
mod direct;

/// One turn, told by its owner.
mod turn;

/// How much of the queue is taken at once.
mod intake;

/// PURE: how many turns a worker bears.
mod tune;

/// A role is called: in process when at home, else over NATS.
mod roles;

/// PURE: what the desk does with a message.
mod plan;

/// What was said before.
mod memory;

/// The one door to Redis.
mod keeper;

/// Copies of what is dear to make.
mod cache;

/// What lies in Redis, looked through by operators.
pub mod copies;

/// The ladder of speakers.
pub mod response;

/// PURE: a circuit breaker.
mod breaker;

/// PURE: from which rung an answer starts.
mod ladder;

/// PURE: what a tenant may have of the model.
mod allowance;

/// PURE: a budget of retries.
mod retries;

/// What stands before everything outside.
pub mod guard;

/// What killed its workers is failed and set aside.
mod reaper;

/// Text before any model sees it.
pub mod text;

/// Texts as vectors.
pub mod encoder;

/// Intents: read, trained, recognised, evaluated.
pub mod intent;

/// Knowledge: cut, indexed, searched.
pub mod retrieval;

/// What is current for each tenant.
pub mod catalog;

/// The journal into the database, and history out of it.
pub mod archive;

/// The one door to PostgreSQL.
pub mod store;

/// Where the encoders' weights lie.
mod models;

/// A door for fuzz targets to what nothing else outside may call.
#[doc(hidden)]
pub mod fuzz;

pub use memory::{Kept, remembered};

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use talkfleet_shared::{
    admin::{self, Health},
    bus::{Bus, BusError, Teller},
    certificate,
    config::ConfigError,
    lifecycle::Shutdown,
    metrics::Metrics,
    release::Release,
    spans::Tracer,
};
use tokio::net::TcpListener;

use crate::{
    archive::{Gathering, Shelf},
    catalog::{Backend, Catalog, What},
    config::{Role, WorkerConfig},
    guard::{Guard, Patience},
    intent::remote::Remote,
    keeper::{Redis, RedisError},
    memory::Memory,
    response::Speakers,
    retrieval::Tuning,
    roles::{Embeddings, Home, IntentRole, RetrievalRole, Roles},
    store::{Store, StoreError},
    turn::Desk,
};

/// What is left of the grace time for flushing and closing.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// How long a starting worker waits for its own intents and knowledge before it takes asks without them, and how often
/// it looks.
const HOME_WITHIN: Duration = Duration::from_secs(10);
const HOME_LOOK: Duration = Duration::from_millis(20);

/// How workers that own turns are found by `$SRV`.
pub const RESPONDER: &str = "response";

/// What `/readyz` calls a worker that has not opened all of its roles yet.
const STARTING: &str = "roles";

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("admin.listen '{listen}' cannot be listened on: {why}; choose another address or stop what uses it")]
    Listen { listen: String, why: io::Error },
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Encoder(#[from] encoder::EncoderError),
    #[error(transparent)]
    Backend(#[from] retrieval::remote::elastic::ElasticError),
    #[error("otel.endpoint cannot be used: {0}")]
    Otel(String),
}

/// A running worker.
pub struct Worker {
    /// Where operators look.
    pub admin: SocketAddr,
    bus: Bus,
    store: Store,
    /// What takes new work ends when the caller's shutdown is asked, and finishes what it has begun.
    doors: Shutdown,
    /// The admin port is open until the very end.
    rooms: Shutdown,
    /// How long all of that may take.
    grace: Duration,
}

impl Worker {
    /// Connects and plays its roles until `shutdown` is asked; admin port 0 takes a free one.
    pub async fn start(config: WorkerConfig, shutdown: Shutdown) -> Result<Self, StartError> {
        let listen = |why| StartError::Listen { listen: config.admin.listen.clone(), why };
        let listener = TcpListener::bind(&config.admin.listen).await.map_err(listen)?;
        let admin = listener.local_addr().map_err(listen)?;
        let (metrics, health) = (Metrics::new("worker"), Health::new());
        health.down(STARTING, "the roles are being opened");
        let nats = config.nats.named(config.plays_as());
        let bus = Bus::connect(&nats, "talkfleet-worker", metrics.clone(), health.clone()).await?;
        let tracer = Tracer::open(&config.otel, "talkfleet-worker", bus.who(), metrics.clone());
        let bus = bus.traced_by(tracer.map_err(StartError::Otel)?);
        let store = Store::open(&config.database, metrics.clone())?;
        store.look_for_primary().await;
        let redis = Redis::new(config.redis.place(), redis_guard(&config, &metrics))?;
        let (doors, rooms) = (shutdown.part(), Shutdown::new());
        rooms.spawn(admin::serve(listener, health, metrics, rooms.clone()));
        rooms.spawn(store.clone().follow_replicas(rooms.clone()));
        rooms.spawn(store.clone().follow_primary(rooms.clone()));
        rooms.spawn(certificate::follow(own_certificates(&config), bus.metrics().clone(), rooms.clone()));
        // To the very end: turns that are still being finished must not write down who was forgotten meanwhile.
        rooms.spawn(bus.clone().follow_forgotten(rooms.clone()));

        let roles = play_at_home(&config, &bus, &store, &doors).await?;
        if config.plays(Role::Response) {
            // What is replayed brings its history along, and must not be remembered as if it had been said.
            let live = bus.lane().is_live();
            answer(&config, roles, live.then(|| redis.clone()), &doors).await?;
        }
        if config.plays(Role::Archive) {
            keep_the_archive(&config, &bus, &store, redis, &doors);
        }
        for (role, teller) in [(Role::Response, Teller::Response), (Role::Archive, Teller::Archive)] {
            let (bus, until) = (bus.clone(), rooms.clone());
            if config.plays(role) {
                rooms.spawn(async move { bus.tell_queues(teller, &until).await });
            }
        }
        bus.health().up(STARTING);
        let names: Vec<_> = config.roles.enabled.iter().map(|role| role.name()).collect();
        tracing::info!(roles = names.join(","), %admin, worker = bus.who(), "the worker is at work");
        Ok(Self { admin, bus, store, doors, rooms, grace: config.admin.grace() })
    }

    /// What this process needs, and whether it has it; `/readyz` tells the same.
    pub fn health(&self) -> &Health {
        self.bus.health()
    }

    /// Waits until shutdown is asked and everything that was begun has finished or was handed back.
    pub async fn finished(self) {
        self.doors.asked().await;
        self.bus.health().down("draining", "this process is going away");
        self.doors.drained(self.grace.saturating_sub(FAREWELL)).await;
        self.rooms.ask();
        self.bus.tracer().close(FAREWELL / 2).await;
        self.bus.close(FAREWELL / 2).await;
        let _ = tokio::time::timeout(FAREWELL / 2, self.store.close()).await;
        tracing::info!("the worker has gone home");
    }
}

/// Works until `shutdown` is asked, then drains.
pub async fn run(config: WorkerConfig, shutdown: Shutdown) -> Result<(), StartError> {
    Worker::start(config, shutdown).await?.finished().await;
    Ok(())
}

/// The certificates by which this process shows who it is, by the engine that it shows them to.
fn own_certificates(config: &WorkerConfig) -> Vec<(&'static str, PathBuf)> {
    let (redis, database) = (&*config.redis.cert_file, &*config.database.cert_file);
    let files = [("nats", config.nats.tls().cert_file), ("redis", redis), ("database", database)];
    files.into_iter().filter(|(_, path)| !path.is_empty()).map(|(target, path)| (target, path.into())).collect()
}

/// Plays the response role alone over a bus that is given, without a memory: what simulations do.
pub async fn respond(config: &WorkerConfig, bus: Bus, doors: &Shutdown) -> Result<(), StartError> {
    doors.spawn(bus.clone().follow_forgotten(doors.clone()));
    let roles = Roles { bus, intent: None, retrieval: None, aliases: config.shadow.aliases() };
    answer(config, roles, None, doors).await
}

/// Opens the roles that are at home: they serve others over the bus, and this process directly.
async fn play_at_home(config: &WorkerConfig, bus: &Bus, store: &Store, doors: &Shutdown) -> Result<Roles, StartError> {
    let mut roles = Roles { bus: bus.clone(), intent: None, retrieval: None, aliases: config.shadow.aliases() };
    if !config.plays(Role::Intent) && !config.plays(Role::Retrieval) {
        return Ok(roles);
    }
    let encoders = models::load(&config.models).await?;
    let encoder = encoders.multilingual.clone();
    let embeddings = Arc::new(Embeddings::new(encoder.clone()));
    let backend = Backend::new(config, store, bus.metrics().clone())?;
    let catalog = Catalog::new(bus.clone(), store.clone(), backend);
    let follow = |what: What| {
        // Said before the task runs, so that nobody takes this worker for ready in between.
        bus.health().down(what.name(), "being loaded");
        let (catalog, doors) = (catalog.clone(), doors.clone());
        async move { catalog.follow(what, doors).await }
    };
    let metrics = bus.metrics();
    // Whom a candidate's own roles would answer for others, no share says.
    let lends = config.release.name == Release::Stable;
    if config.plays(Role::Intent) {
        doors.spawn(follow(What::Intents));
        let remote = Remote::new(&config.intent, config.retries, metrics.clone())?;
        let play = IntentRole { catalog: catalog.clone(), encoders, remote };
        let permits = config.roles.concurrency(Role::Intent);
        let home = Arc::new(Home::new(play, permits, embeddings.clone(), metrics.clone()));
        if lends {
            doors.spawn(roles::serve(home.clone(), bus.clone(), doors.clone()));
        }
        at_each_forgetting(bus, doors, {
            let home = home.clone();
            move || home.forget()
        });
        roles.intent = Some(home);
    }
    if config.plays(Role::Retrieval) {
        doors.spawn(follow(What::Knowledge));
        let play = RetrievalRole { catalog: catalog.clone(), encoder, tuning: Tuning::default() };
        let permits = config.retrieval_permits();
        let home = Arc::new(Home::new(play, permits, embeddings, metrics.clone()));
        if lends {
            doors.spawn(roles::serve(home.clone(), bus.clone(), doors.clone()));
        }
        at_each_forgetting(bus, doors, {
            let home = home.clone();
            move || home.forget()
        });
        roles.retrieval = Some(home);
    }
    Ok(roles)
}

/// Opens the response role: turns are taken and answered, poison is reaped.
async fn answer(config: &WorkerConfig, roles: Roles, redis: Option<Redis>, doors: &Shutdown) -> Result<(), StartError> {
    let speakers = Speakers::new(config, redis.clone(), roles.bus.metrics().clone())?;
    let memory = redis.map(|redis| Memory::new(redis, config.memory.clone()));
    let clock = turn::follow(&roles.bus, doors).await;
    let desk = Arc::new(Desk::new(config, roles, memory, speakers, clock));
    doors.spawn({
        let (bus, until) = (desk.bus.clone(), doors.clone());
        let (release, version) = (config.release.name.name(), config.release.version().to_owned());
        async move {
            let metadata = [("release", release), ("version", version.as_str())];
            bus.announce(RESPONDER, "Owns turns and answers them", &metadata, &until).await;
        }
    });
    at_each_forgetting(&desk.bus, doors, {
        let desk = desk.clone();
        move || desk.forget()
    });
    let (config, until) = (config.clone(), doors.clone());
    if config.release.name == Release::Next {
        // Poison is the stable workers' to judge, and what comes past the queue theirs to answer.
        doors.spawn(async move {
            roles_are_home(desk.bus.health(), &until).await;
            consume::run(desk, &config, until).await;
        });
        return Ok(());
    }
    doors.spawn(reaper::run(desk.clone(), doors.clone()));
    desk.bus.health().down(direct::PART, "not heard yet");
    doors.spawn(async move {
        roles_are_home(desk.bus.health(), &until).await;
        let direct = direct::run(desk.clone(), config.roles.direct_concurrency, config.turn.grace(), until.clone());
        tokio::join!(direct, consume::run(desk, &config, until));
    });
    Ok(())
}

fn at_each_forgetting(bus: &Bus, doors: &Shutdown, drop: impl FnMut() + Send + 'static) {
    let (bus, until) = (bus.clone(), doors.clone());
    doors.spawn(async move { bus.at_each_forgetting(until, drop).await });
}

/// Waits until what the roles at home need is loaded: an ask taken before would be answered without them.
///
/// Bounded, since an answer without them is still better than none.
async fn roles_are_home(health: &Health, until: &Shutdown) {
    let give_up = Instant::now() + HOME_WITHIN;
    let away = || [What::Intents, What::Knowledge].iter().any(|what| health.missing().contains_key(what.name()));
    while away() && Instant::now() < give_up && !until.is_asked() {
        tokio::time::sleep(HOME_LOOK).await;
    }
}

fn redis_guard(config: &WorkerConfig, metrics: &Arc<Metrics>) -> Guard {
    let patience = Patience { failures_max: config.redis.breaker_failures, open_ms: config.redis.breaker_open_ms };
    Guard::new("redis", patience, config.retries, metrics.clone())
}

/// Opens the archive role.
fn keep_the_archive(config: &WorkerConfig, bus: &Bus, store: &Store, redis: Redis, doors: &Shutdown) {
    let gather = Gathering {
        batch_rows: config.roles.archive_batch_rows,
        batch_wait: Duration::from_millis(config.roles.archive_batch_wait_ms),
    };
    let patience =
        Patience { failures_max: config.database.breaker_failures, open_ms: config.database.breaker_open_ms };
    // Apart, since a base that is slow to read may still be written.
    let [writes, reads] =
        ["archive", "history"].map(|target| Guard::new(target, patience, config.retries, bus.metrics().clone()));
    let shelf = Arc::new(Shelf::new(bus.clone(), store.clone(), reads, redis, config.cache.clone()));
    doors.spawn(shelf.clone().follow(doors.clone()));
    let reread = Duration::from_secs(config.database.promotion_reread_s);
    doors.spawn(archive::catch_up_after_promotions(bus.clone(), store.clone(), shelf.clone(), reread, doors.clone()));
    at_each_forgetting(bus, doors, {
        let shelf = shelf.clone();
        move || shelf.drop_copies()
    });
    doors.spawn(archive::keep_young(bus.metrics().clone(), store.clone(), config.archive, doors.clone()));
    doors.spawn(archive::run(bus.clone(), store.clone(), shelf.clone(), gather, writes, doors.clone()));
    doors.spawn(archive::serve_history(bus.clone(), shelf, doors.clone()));
}
