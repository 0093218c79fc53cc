//! The Talkfleet gateway: the front door. It lets messages in, puts them on the queue, and tells their answers as they are made.

/// Every key of the configuration.
pub mod config;

/// What holds for each channel.
pub mod channels;

/// The desk as the faces see it: ask, come back, stop, look back, judge.
pub mod desk;

/// HTTP: routes, the accept path, and the one place where an error becomes a response.
pub mod http;

/// WebSocket: one session.
mod ws;

/// The face for OpenAI-style clients.
mod openai;

/// The customer's chat page.
mod web;

/// The face for people with a plain NATS tool.
pub mod ingress;

/// What a client sends, parsed into what the desk takes; shared by the faces.
pub mod intake;

/// Who calls.
pub mod auth;

/// PURE: visitors' tokens and the conversations that name their owner.
mod visitor;

/// May a request come in now?
pub mod admit;

/// Replies find the waiting client.
pub mod relay;

/// The one door to Redis.
mod peers;

/// A door for fuzz targets to what nothing else outside may call.
#[doc(hidden)]
pub mod fuzz;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use talkfleet_shared::{
    admin::{self, Health},
    bus::{Bus, BusError, Teller},
    certificate,
    lifecycle::Shutdown,
    metrics::Metrics,
    spans::Tracer,
};
use tokio::net::TcpListener;

use crate::{
    config::{GatewayConfig, HttpConfig},
    desk::Desk,
    http::tls::Tls,
    peers::Peers,
};

/// What is left of the grace time for telling those who still listen where to come back, and for flushing.
const FAREWELL: Duration = Duration::from_secs(3);

/// How long a starting gateway keeps who connects waiting for it, and how often it looks.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
const OPEN_LOOK: Duration = Duration::from_millis(20);

/// Why a gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{key} '{listen}' cannot be listened on: {why}; choose another address or stop what uses it")]
    Listen { key: &'static str, listen: String, why: io::Error },
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("redis.url cannot be used: {0}")]
    Redis(String),
    #[error("otel.endpoint cannot be used: {0}")]
    Otel(String),
    #[error("{0}")]
    Tls(String),
    #[error("{0}")]
    Jwt(String),
}

/// A running gateway.
pub struct Gateway {
    /// Where customers connect.
    pub http: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    desk: Arc<Desk>,
    /// What takes new work ends when the caller's shutdown is asked.
    doors: Shutdown,
    /// What tells running stories ends after them.
    rooms: Shutdown,
    /// How long all of that may take.
    grace: Duration,
}

impl Gateway {
    /// Connects, listens, and serves until `shutdown` is asked; port 0 takes a free one.
    pub async fn start(config: GatewayConfig, shutdown: Shutdown) -> Result<Self, StartError> {
        let public = listen("http.listen", &config.http.listen).await?;
        let private = listen("admin.listen", &config.admin.listen).await?;
        let (metrics, health) = (Metrics::new("gateway"), Health::new());
        for part in ["mailbox", "keys"] {
            health.down(part, "not yet");
        }
        let bus = Bus::connect(&config.nats, "talkfleet-gateway", metrics.clone(), health.clone()).await?;
        let tracer = Tracer::open(&config.otel, "talkfleet-gateway", bus.who(), metrics.clone());
        let bus = bus.traced_by(tracer.map_err(StartError::Otel)?);
        let (doors, rooms) = (shutdown.part(), Shutdown::new());
        rooms.spawn(bus.clone().follow_forgotten(rooms.clone()));
        let peers = match config.redis.url.is_empty() {
            true => None,
            false => Some(
                Peers::connect(
                    config.redis.place(),
                    Duration::from_millis(config.redis.timeout_ms),
                    (metrics.clone(), health.clone()),
                    &rooms,
                )
                .map_err(|error| StartError::Redis(error.to_string()))?,
            ),
        };
        let tls = open_tls(&config.http, &metrics, &rooms)?;
        rooms.spawn(certificate::follow(config.own_certificates(), metrics.clone(), rooms.clone()));
        let (http_config, grace) = (config.http.clone(), config.admin.grace());
        let desk = Desk::open(bus.clone(), config, peers, doors.clone(), &rooms);
        desk.keyring().jwt().open().await.map_err(StartError::Jwt)?;
        let addresses = (address(&public)?, address(&private)?);

        rooms.spawn({
            let (desk, bus, rooms) = (desk.clone(), bus.clone(), rooms.clone());
            async move { desk.keyring().follow(&bus, &rooms).await }
        });
        rooms.spawn({
            let (bus, rooms) = (bus.clone(), rooms.clone());
            async move { bus.tell_queues(Teller::Gateway, &rooms).await }
        });
        rooms.spawn({
            let (bus, rooms) = (bus.clone(), rooms.clone());
            async move { bus.follow_rule(&rooms).await }
        });
        rooms.spawn({
            let (desk, health, rooms) = (desk.clone(), health.clone(), rooms.clone());
            async move { desk.keyring().jwt().follow(&health, &rooms).await }
        });
        rooms.spawn(admin::serve(private, health.clone(), metrics.clone(), rooms.clone()));
        doors.spawn(ingress::serve(desk.clone(), doors.clone()));
        doors.spawn({
            let (router, health, doors) = (http::router(desk.clone()), health.clone(), doors.clone());
            async move {
                until_open(&health, &doors).await;
                http::accept::serve(public, tls, router, http_config, metrics, doors).await;
            }
        });
        tracing::info!(gateway.id = %desk.relay().gateway(), http = %addresses.0, admin = %addresses.1, "the gateway is open");
        Ok(Self { http: addresses.0, admin: addresses.1, desk, doors, rooms, grace })
    }

    /// What this process needs, and whether it has it; `/readyz` tells the same.
    pub fn health(&self) -> &Health {
        self.desk.bus().health()
    }

    /// Waits until shutdown is asked and everything that was begun has finished or was told where to come back.
    pub async fn finished(self) {
        self.doors.asked().await;
        let health = self.desk.bus().health();
        health.down("draining", "this process is going away");
        if !self.doors.drained(self.grace.saturating_sub(FAREWELL)).await {
            tracing::info!(
                waiting = self.desk.relay().waiting(),
                "some answers are not finished; their clients come back elsewhere"
            );
            self.desk.relay().close();
            self.doors.drained(FAREWELL / 2).await;
        }
        self.desk.relay().close();
        self.rooms.ask();
        self.rooms.drained(FAREWELL / 3).await;
        self.desk.bus().tracer().close(FAREWELL / 3).await;
        self.desk.bus().close(FAREWELL / 3).await;
        tracing::info!("the gateway is closed");
    }
}

/// TLS for who connects, if there is a certificate, followed as long as the process lives.
fn open_tls(config: &HttpConfig, metrics: &Arc<Metrics>, until: &Shutdown) -> Result<Option<Tls>, StartError> {
    if config.cert_file.is_empty() {
        return Ok(None);
    }
    let (tls, files) = Tls::open(&config.cert_file, &config.key_file, metrics).map_err(StartError::Tls)?;
    until.spawn(tls.clone().follow(files, metrics.clone(), until.clone()));
    Ok(Some(tls))
}

/// Waits until keys and mailbox are there: who connects meanwhile is kept waiting by the kernel instead of being refused.
/// Bounded, since a refusal that names what is missing is better than silence.
async fn until_open(health: &Health, until: &Shutdown) {
    let give_up = Instant::now() + OPEN_WITHIN;
    let closed = || ["keys", "mailbox"].iter().any(|part| health.missing().contains_key(part));
    while closed() && Instant::now() < give_up && !until.is_asked() {
        tokio::time::sleep(OPEN_LOOK).await;
    }
}

/// Serves until `shutdown` is asked, then drains.
pub async fn run(config: GatewayConfig, shutdown: Shutdown) -> Result<(), StartError> {
    Gateway::start(config, shutdown).await?.finished().await;
    Ok(())
}

async fn listen(key: &'static str, listen: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(listen).await.map_err(|why| StartError::Listen { key, listen: listen.to_owned(), why })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let failed = |why| StartError::Listen { key: "http.listen", listen: "its address".into(), why };
    listener.local_addr().map_err(failed)
}
