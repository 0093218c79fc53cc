//! Where a running fleet is: flags win over variables, which win over the ready file that `up` leaves in its data folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use talkfleet_shared::{
    admin::Health,
    bus::Bus,
    config::{self, GATEWAY_DEFAULTS, NatsConfig, Url},
    id::TenantId,
    metrics::Metrics,
    redis_door::RedisPlace,
};
use talkfleet_worker::store::Store;

/// The name of the ready file within a data folder.
pub const READY_FILE: &str = "ready.json";

/// The variables by which addresses are told, to the services and here; with `_FILE` behind it one names a file that holds it.
const NATS_URL: &str = "TALKFLEET_NATS__URL";
const DATABASE_URL: &str = "TALKFLEET_DATABASE__URL";
const REDIS_URL: &str = "TALKFLEET_REDIS__URL";

/// The longest name of an operator.
const OPERATOR_CHARS_MAX: usize = 64;

/// What `up` tells once everything is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// The first gateway's address.
    pub gateway: String,
    /// Its admin address.
    pub admin: String,
    pub nats: String,
    /// NATS for a replay's workers, who may do little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats_shadow: Option<String>,
    pub redis: String,
    pub database: String,
    pub api_key: String,
    /// Every gateway's address.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// Every worker's admin address.
    #[serde(default)]
    pub workers: Vec<String>,
}

/// Which fleet to talk to.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which fleet")]
pub struct Connect {
    /// The data folder of a fleet that `talkfleet up` runs
    #[arg(long, env = "TALKFLEET_DATA", value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// NATS, as nats://user:password@host:port
    #[arg(long, env = NATS_URL, value_name = "URL", hide_env_values = true)]
    pub nats: Option<String>,
    /// PostgreSQL, as postgres://user:password@host:port/database
    #[arg(long, env = DATABASE_URL, value_name = "URL", hide_env_values = true)]
    pub database: Option<String>,
    /// Who you are, for the audit log; without it, the account of this machine
    #[arg(long, env = "TALKFLEET_OPERATOR", value_name = "NAME", global = true, value_parser = parse_operator)]
    pub operator: Option<String>,
    /// Over how many subjects asks are spread; as the gateways' nats.shards
    #[arg(long, default_value_t = 4, env = "TALKFLEET_NATS__SHARDS", value_name = "N", hide = true)]
    pub shards: u32,
    /// Copies of each stream: 1 on a single node, 3 on a cluster
    #[arg(long, default_value_t = 1, env = "TALKFLEET_NATS__REPLICAS", value_name = "N", hide = true)]
    pub replicas: usize,
}

/// Where Redis is, for the few commands that look into it, and certificates for TLS.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Redis")]
pub(crate) struct RedisArgs {
    /// redis://user:password@host:port, or rediss:// for TLS; of a cluster every master, as redis://user:password@a:6379,b:6379
    #[arg(long, env = REDIS_URL, value_name = "URL", hide_env_values = true)]
    redis: Option<String>,
    /// Who signed Redis's certificate, as PEM; without it the system's authorities are trusted
    #[arg(long, env = "TALKFLEET_REDIS__CA_FILE", value_name = "FILE")]
    redis_ca_file: Option<String>,
    /// Our own certificate, where Redis asks for one
    #[arg(long, env = "TALKFLEET_REDIS__CERT_FILE", value_name = "FILE")]
    redis_cert_file: Option<String>,
    /// Its key
    #[arg(long, env = "TALKFLEET_REDIS__KEY_FILE", value_name = "FILE")]
    redis_key_file: Option<String>,
}

impl RedisArgs {
    /// Every server by itself; without an address, that of the fleet which runs here.
    pub(crate) fn servers(&self, connect: &Connect) -> Result<Vec<RedisPlace>> {
        let ready = || connect.ready().map(|ready| ready.redis);
        let told = self.redis.clone().or(config::value_of_file(REDIS_URL)?);
        let url = told.or_else(ready).ok_or_else(|| not_found("--redis URL"))?;
        let file = |file: &Option<String>| file.clone().unwrap_or_default();
        let (ca_file, cert_file) = (file(&self.redis_ca_file), file(&self.redis_cert_file));
        let key_file = file(&self.redis_key_file);
        let place = RedisPlace { url: Url::new(url), ca_file, cert_file, key_file, ..RedisPlace::default() };
        let servers = place.servers();
        let problems: Vec<String> = servers.iter().flat_map(RedisPlace::problems).collect();
        if servers.is_empty() || !problems.is_empty() {
            bail!("{}", problems.first().map_or("--redis names no server", String::as_str))
        }
        Ok(servers)
    }
}

/// Whose data a command works on, where, and how it tells what it did.
#[derive(Debug, clap::Args)]
pub(crate) struct About {
    /// Whose data
    #[arg(long, default_value = "demo", value_parser = parse_tenant)]
    pub(crate) tenant: TenantId,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// Where the fleet is, and how a command tells what it did.
#[derive(Debug, clap::Args)]
pub(crate) struct Output {
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

impl Connect {
    /// The ready file of the fleet's data folder, if there is one.
    pub fn ready(&self) -> Option<Ready> {
        read_ready(&self.data_dir().join(READY_FILE)).ok()
    }

    /// The data folder that is meant.
    pub fn data_dir(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(default_data_dir)
    }

    /// A connection to the broker.
    pub async fn bus(&self) -> Result<Bus> {
        self.bus_in("").await
    }

    /// Whether any fleet is meant at all.
    pub(crate) fn names_a_fleet(&self) -> bool {
        self.nats.is_some() || !matches!(config::value_of_file(NATS_URL), Ok(None)) || self.ready().is_some()
    }

    /// The broker's address.
    pub(crate) fn nats_url(&self) -> Result<String> {
        let ready = || self.ready().map(|ready| ready.nats);
        let told = self.nats.clone().or(config::value_of_file(NATS_URL)?);
        told.or_else(ready).ok_or_else(|| not_found("--nats URL"))
    }

    /// The database's address.
    pub(crate) fn database_url(&self) -> Result<String> {
        let ready = || self.ready().map(|ready| ready.database);
        let told = self.database.clone().or(config::value_of_file(DATABASE_URL)?);
        told.or_else(ready).ok_or_else(|| not_found("--database URL"))
    }

    /// A connection to the broker in the lane of a replay.
    pub async fn bus_in(&self, lane: &str) -> Result<Bus> {
        // How to be let in is said by the same variables as to the services.
        let environment: NatsConfig = config::section(GATEWAY_DEFAULTS, "nats")?;
        let plain = nats_config(&self.nats_url()?, self.shards, self.replicas);
        let (publish_timeout_ms, call_timeout_ms) = (plain.publish_timeout_ms, plain.call_timeout_ms);
        let NatsConfig { url, shards, replicas, .. } = plain;
        let lane = lane.to_owned();
        let config = NatsConfig { url, shards, replicas, publish_timeout_ms, call_timeout_ms, lane, ..environment };
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(anyhow!("{problem}"));
        }
        Ok(Bus::connect(&config, "talkfleet", Metrics::new("talkfleet"), Health::new()).await?)
    }

    /// A connection to the database.
    pub async fn store(&self) -> Result<Store> {
        Store::connect(&Url::new(self.database_url()?), 4).await.context("PostgreSQL cannot be reached")
    }
}

fn not_found(flag: &str) -> anyhow::Error {
    anyhow!("no running fleet was found; start one with `talkfleet up`, or give --data DIR or {flag}")
}

/// How the operator's command talks to a broker.
pub fn nats_config(url: &str, shards: u32, replicas: usize) -> NatsConfig {
    NatsConfig {
        url: Url::new(url),
        user: String::new(),
        credentials_file: String::new(),
        nkey_file: String::new(),
        ca_file: String::new(),
        cert_file: String::new(),
        key_file: String::new(),
        shards,
        replicas,
        publish_timeout_ms: 5_000,
        call_timeout_ms: 5_000,
        lane: String::new(),
    }
}

/// Reads a ready file.
pub fn read_ready(path: &Path) -> Result<Ready> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no ready file", path.display()))
}

/// `$XDG_DATA_HOME/talkfleet`, else `~/.local/share/talkfleet`, else a folder of the system's temporary one.
pub fn default_data_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let share = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    share.unwrap_or_else(std::env::temp_dir).join("talkfleet")
}

/// An operator's name from the command line.
fn parse_operator(text: &str) -> Result<String, String> {
    let fits = (1..=OPERATOR_CHARS_MAX).contains(&text.chars().count()) && !text.contains(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(format!("give a name of 1 to {OPERATOR_CHARS_MAX} characters")) }
}

/// A tenant's name from the command line.
pub fn parse_tenant(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).map_err(|error| format!("a tenant's name {error}"))
}
