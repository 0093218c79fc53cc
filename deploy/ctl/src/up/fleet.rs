//! Gateways and workers in this process: the same `start(config, shutdown)` that their own binaries call.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use talkfleet_gateway::Gateway;
use talkfleet_shared::{
    config::{self, GATEWAY_DEFAULTS, WORKER_DEFAULTS},
    lifecycle::Shutdown,
};
use talkfleet_worker::Worker;

/// The first gateway's port when nobody says otherwise.
const PORT_DEFAULT: u16 = 8080;

/// What a fleet consists of, and what it stands on.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    pub nats: String,
    pub redis: String,
    pub database: String,
    pub encoder: PathBuf,
    /// None leaves it to the worker to look in the cache.
    pub transformer: Option<PathBuf>,
    pub gateways: u16,
    pub workers: u16,
    pub roles: Vec<String>,
    /// The first gateway's port; None takes 8080 or, when that is taken, a free one.
    pub port: Option<u16>,
    pub gateway_set: Vec<(String, String)>,
    pub worker_set: Vec<(String, String)>,
    /// Pages that citations point to.
    pub site: Option<PathBuf>,
}

/// Running gateways and workers.
pub struct Fleet {
    gateways: Vec<(Gateway, Shutdown)>,
    workers: Vec<(Worker, Shutdown)>,
}

impl Fleet {
    /// Starts gateways, whose port may be taken, then workers; each has a shutdown of its own, since they stop in the order of [`Fleet::drain`].
    pub async fn start(options: &FleetOptions) -> Result<Self> {
        let mut fleet = Self { gateways: Vec::new(), workers: Vec::new() };
        for number in 0..options.gateways {
            fleet.add_gateway(options, number == 0).await?;
        }
        for _ in 0..options.workers {
            fleet.add_worker(options).await?;
        }
        Ok(fleet)
    }

    pub async fn add_worker(&mut self, options: &FleetOptions) -> Result<()> {
        let mut flags = options.engine_flags();
        flags.push(("database.url".into(), options.database.clone()));
        flags.push(("models.encoder_dir".into(), options.encoder.display().to_string()));
        flags.extend(
            options.transformer.iter().map(|at| ("models.transformer_dir".to_owned(), at.display().to_string())),
        );
        flags.push(("roles.enabled".into(), serde_json::to_string(&options.roles)?));
        flags.extend(options.worker_set.iter().cloned());
        let config = config::load(WORKER_DEFAULTS, None, &flags).context("the workers' configuration")?;
        let shutdown = Shutdown::new();
        self.workers.push((Worker::start(config, shutdown.clone()).await?, shutdown));
        Ok(())
    }

    pub async fn add_gateway(&mut self, options: &FleetOptions, first: bool) -> Result<()> {
        let mut flags = options.engine_flags();
        flags.push(("http.listen".into(), format!("127.0.0.1:{}", options.http_port(first))));
        flags.push(("web.tenant".into(), super::DEMO_TENANT.into()));
        flags.extend(options.site.iter().map(|site| ("web.site_dir".to_owned(), site.display().to_string())));
        flags.extend(options.gateway_set.iter().cloned());
        let config = config::load(GATEWAY_DEFAULTS, None, &flags).context("the gateways' configuration")?;
        let shutdown = Shutdown::new();
        self.gateways.push((Gateway::start(config, shutdown.clone()).await?, shutdown));
        Ok(())
    }

    /// Waits until every `/readyz` would say yes.
    pub async fn ready(&self, within: Duration) -> Result<()> {
        let until = tokio::time::Instant::now() + within;
        loop {
            let missing: Vec<String> = self.missing();
            if missing.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() > until {
                bail!("not ready after {} s: {}", within.as_secs(), missing.join("; "));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn missing(&self) -> Vec<String> {
        let gateways = self.gateways.iter().flat_map(|(gateway, _)| gateway.health().missing());
        let workers = self.workers.iter().flat_map(|(worker, _)| worker.health().missing());
        gateways.chain(workers).map(|(part, why)| format!("{part}: {why}")).collect()
    }

    pub fn gateway_urls(&self) -> Vec<String> {
        self.gateways.iter().map(|(gateway, _)| format!("http://{}", gateway.http)).collect()
    }

    pub fn admin_urls(&self) -> Vec<String> {
        self.gateways.iter().map(|(gateway, _)| format!("http://{}", gateway.admin)).collect()
    }

    pub fn worker_urls(&self) -> Vec<String> {
        self.workers.iter().map(|(worker, _)| format!("http://{}", worker.admin)).collect()
    }

    /// One worker finishes what it has begun and leaves.
    pub async fn drain_worker(&mut self, number: usize) {
        let (worker, shutdown) = self.workers.remove(number);
        shutdown.ask();
        worker.finished().await;
    }

    /// Gateways stop taking messages and finish; then the workers.
    pub async fn drain(self) {
        self.gateways.iter().for_each(|(_, shutdown)| shutdown.ask());
        for (gateway, _) in self.gateways {
            gateway.finished().await;
        }
        self.workers.iter().for_each(|(_, shutdown)| shutdown.ask());
        for (worker, _) in self.workers {
            worker.finished().await;
        }
    }
}

impl FleetOptions {
    fn engine_flags(&self) -> Vec<(String, String)> {
        // Several of them share this machine, so the admin ports are free ones.
        let flags = [("nats.url", &self.nats), ("redis.url", &self.redis)];
        let listen = ("admin.listen".to_owned(), "127.0.0.1:0".to_owned());
        flags.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).chain([listen]).collect()
    }

    fn http_port(&self, first: bool) -> u16 {
        let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        match (first, self.port) {
            (true, Some(port)) => port,
            (true, None) if free(PORT_DEFAULT) => PORT_DEFAULT,
            _ => 0,
        }
    }
}
