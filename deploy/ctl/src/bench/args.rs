//! What a bench is asked to do.

use std::path::PathBuf;

use talkfleet_shared::{config::parse_setting, id::TenantId};

use super::{
    driver::{Face, Load},
    measure::Plan,
    schedule::{Schedule, Shape, Spacing},
    threshold::Threshold,
    traffic::{Languages, Manners},
};
use crate::connect::parse_tenant;

/// How much a fleet carries, how fast it answers, and what a turn costs.
///
/// Starts NATS, Redis, PostgreSQL, gateways and workers as processes of their own, drives them with an open load whose
/// latency is counted from the moment at which a message was meant to be sent, and reads beside it what each process takes
/// of the machine. With --target it drives what already runs. The last line of --json is one object with every figure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// What is measured; `talkfleet bench --list` tells them
    #[arg(long, value_delimiter = ',', value_name = "NAME", default_value = "durable")]
    pub(super) scenario: Vec<String>,
    /// Tell the scenarios and what each does
    #[arg(long)]
    pub(super) list: bool,
    /// Measure something else in the same run, driven alike and in turns with ours
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(super) compare: Option<Rival>,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Fail when a figure exceeds its limit, as p99_ms=15, errors=0 or turns_per_s=12000; again or with commas for more
    #[arg(long, value_delimiter = ',', value_name = "FIGURE=LIMIT")]
    pub(super) fail_on: Vec<Threshold>,
    /// Print one JSON object for each scenario, the last of them on the last line
    #[arg(long)]
    pub(super) json: bool,
    /// Write a page with plots, the figures as JSON and the plots as files here
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

/// What stands beside ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Rival {
    /// The system that Talkfleet replaces: FastAPI before NATS and three nats-py workers, and all of it in one process
    Fastapi,
    /// A bare axum handler that answers at once: what HTTP alone costs
    Axum,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "The load")]
pub(super) struct LoadArgs {
    /// Messages a second, at the curve's highest point; without it what the scenario takes
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(super) rate: Option<f64>,
    /// How long each part of a scenario lasts
    #[arg(long, value_name = "S", value_parser = positive)]
    pub(super) seconds: Option<f64>,
    /// Before anything is counted
    #[arg(long, default_value_t = 2.0, value_name = "S", value_parser = not_negative)]
    pub(super) warm_up: f64,
    /// The curve of the rate
    #[arg(long, value_enum, default_value_t = Shape::Steady)]
    pub(super) shape: Shape,
    /// How messages lie among one another
    #[arg(long, value_enum, default_value_t = Spacing::Poisson)]
    pub(super) spacing: Spacing,
    /// How the desk is asked
    #[arg(long, value_enum, default_value_t = Face::Http)]
    pub(super) face: Face,
    /// The channel of the messages, which decides how they are delivered; without it what the scenario takes
    #[arg(long, value_name = "NAME")]
    pub(super) channel: Option<String>,
    /// In which languages customers write
    #[arg(long, value_enum, default_value_t = Languages::Both)]
    pub(super) languages: Languages,
    /// The share of messages that go on with a conversation
    #[arg(long, default_value_t = 0.25, value_name = "SHARE", value_parser = share)]
    pub(super) follow_share: f64,
    /// How long customers think before they write on, in milliseconds, on average
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    pub(super) think_ms: u64,
    /// How long an answer may take, in milliseconds: the desk is told, and what comes later is counted as late
    #[arg(long, default_value_t = 10_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(500..=120_000))]
    pub(super) deadline_ms: u64,
    /// Processes of the load generator
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) clients: u16,
    /// Connections at most; a message that finds none free waits, and its wait counts
    #[arg(long, default_value_t = 5_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(super) connections: u32,
    /// WebSockets of the scenario `sockets`
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(super) sockets: u32,
    /// The most that a fleet carries, for scenarios that go beyond it; without it that is measured first
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(super) capacity: Option<f64>,
    /// The p99 above which a rate counts as more than a fleet carries
    #[arg(long, default_value_t = 200.0, value_name = "MS", value_parser = positive)]
    pub(super) p99_limit_ms: f64,
    /// The same seed is the same load
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(super) seed: u64,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "The fleet that is started for it")]
pub(super) struct FleetArgs {
    /// How many gateways
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(super) gateways: u16,
    /// How many workers
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(super) workers: u16,
    /// Three processes instead of each worker: intent and retrieval, response, archive
    #[arg(long)]
    pub(super) roles_apart: bool,
    /// Where everything lives, logs included, and stays; without it a folder that is removed
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Set a key of the gateways' configuration, as section.key=value
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    pub(super) gateway_set: Vec<(String, String)>,
    /// Set a key of the workers' configuration, as section.key=value
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    pub(super) worker_set: Vec<(String, String)>,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Or one that already runs")]
pub(super) struct TargetArgs {
    /// A gateway, as http://host:port; again for more
    #[arg(long, value_name = "URL", requires = "key")]
    pub(super) target: Vec<String>,
    /// An API key for it
    #[arg(long, value_name = "KEY", env = "TALKFLEET_API_KEY", hide_env_values = true)]
    pub(super) key: Option<String>,
    /// Gateways, key and broker from the file that `talkfleet up --ready-file` writes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "nats"])]
    pub(super) ready_file: Option<PathBuf>,
    /// Its broker, for --face nats
    #[arg(long, value_name = "URL")]
    pub(super) nats: Option<String>,
    /// Whose key it is, for --face nats
    #[arg(long, default_value = "demo", value_parser = parse_tenant)]
    pub(super) tenant: TenantId,
    /// A process on this machine whose cost is counted, as gateway=1234; again for more
    #[arg(long, value_name = "NAME=PID", value_parser = named_pid)]
    pub(super) pid: Vec<(String, u32)>,
}

impl Args {
    /// Whether something that runs already is driven.
    pub(super) fn is_aimed(&self) -> bool {
        !self.target.target.is_empty() || self.target.ready_file.is_some()
    }

    /// The load as asked for, where a scenario takes so many messages a second for so long.
    pub(super) fn plan(&self, rate: f64, seconds: f64) -> Plan {
        let load = &self.load;
        let schedule = Schedule {
            shape: load.shape,
            spacing: load.spacing,
            rate: load.rate.unwrap_or(rate),
            seconds: load.seconds.unwrap_or(seconds),
        };
        Plan {
            face: load.face,
            channel: load.channel.clone(),
            load: Load::Open(schedule),
            warm_up_s: load.warm_up,
            manners: Manners { languages: load.languages, follow_share: load.follow_share, think_ms: load.think_ms },
            clients: load.clients.into(),
            connections_max: load.connections as usize,
            holds_connections: false,
            asks_deadline_ms: Some(load.deadline_ms),
            deadline_ms: load.deadline_ms,
            seed: load.seed,
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite() && *value <= 1e7)
}

fn positive(text: &str) -> Result<f64, String> {
    number(text).filter(|value| *value > 0.0).ok_or_else(|| "give a number above 0".into())
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text).filter(|value| *value >= 0.0).ok_or_else(|| "give 0 or more".into())
}

fn share(text: &str) -> Result<f64, String> {
    number(text).filter(|value| (0.0..=0.95).contains(value)).ok_or_else(|| "give a share from 0 to 0.95".into())
}

fn named_pid(text: &str) -> Result<(String, u32), String> {
    let parsed = text.split_once('=').and_then(|(name, pid)| Some((name.to_owned(), pid.parse().ok()?)));
    parsed.filter(|(name, _)| !name.is_empty()).ok_or_else(|| "give a name and a process id, as gateway=1234".into())
}
