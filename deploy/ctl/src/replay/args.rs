//! What `talkfleet replay` is told.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};
use talkfleet_shared::{
    bus,
    chat::ModelUse,
    config::parse_setting,
    id::{ChannelId, TenantId},
};

use super::{
    lanes::Who,
    pace::Speed,
    range::Edge,
    report::{Options, Prices, Threshold, with_defaults},
};
use crate::connect::{Connect, parse_tenant};

/// Ask recorded traffic again and compare what is answered, before customers see it.
///
/// Whole conversations are asked again in order, with the memory that they had, in lanes of their own: twice of the
/// baseline, so that its noise is known, and once of the candidate. Nothing there reaches customers, archives, memory or
/// feedback. A run that was interrupted goes on when it is started again with the same arguments.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// From when on: 2026-01-31T09:00:00Z, how long ago (90s, 30m, 2h, 7d), or a place in the journal (seq:N)
    #[arg(long, value_name = "WHEN", required = true)]
    pub(super) from: Edge,
    /// Until when, the same way
    #[arg(long, value_name = "WHEN", default_value = "now")]
    pub(super) to: Edge,
    /// This tenant's alone
    #[arg(long, value_parser = parse_tenant)]
    pub(super) tenant: Option<TenantId>,
    /// What came over this channel alone
    #[arg(long, value_parser = parse_channel)]
    pub(super) channel: Option<ChannelId>,
    /// original, max, or how many times as fast as it was asked, such as 10x
    #[arg(long, default_value = "max")]
    pub(super) speed: Speed,
    /// Turns that may be under way at once, over all sides
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) in_flight: u32,
    /// A stretch with more turns is refused
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub(super) turns_max: usize,
    /// How long each turn may take, in milliseconds
    #[arg(long, default_value_t = 30_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(500..=120_000))]
    pub(super) deadline_ms: u64,
    /// Who speaks for the model: what it said then (the default where that was recorded), the model itself, or nobody
    #[arg(long, value_enum)]
    pub(super) model: Option<Model>,
    /// What happens where the prompt is not the recorded one any more: the model is asked, or the knowledge is quoted
    #[arg(long, value_enum, default_value_t = OnMiss::Extract)]
    pub(super) on_miss: OnMiss,
    #[command(flatten)]
    pub(super) candidate: CandidateArgs,
    #[command(flatten)]
    pub(super) baseline: BaselineArgs,
    /// The folder of the run and its report
    #[arg(long, value_name = "DIR", default_value = "replay")]
    pub(super) report: PathBuf,
    /// What fails the gate, as figure=limit: intent_flips=2%, citation_changes=off, latency_p99_ratio=1.5; again for more
    #[arg(long, value_name = "FIGURE=LIMIT")]
    pub(super) fail_on: Vec<Threshold>,
    /// What the model charges for 1,000 tokens of the prompt; 0 counts tokens only
    #[arg(long, value_name = "PRICE", default_value_t = 0.0)]
    pub(super) prompt_price: f64,
    /// The same for the answer
    #[arg(long, value_name = "PRICE", default_value_t = 0.0)]
    pub(super) completion_price: f64,
    /// Keep the lanes that were made for the run
    #[arg(long)]
    pub(super) keep: bool,
    /// Wait while more messages than this lie at, or are answered by, the live fleet
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub(super) live_lag_max: u64,
    /// Read the stretch, tell how much it is and how fast it was read, and ask nothing
    #[arg(long)]
    pub(super) count: bool,
    /// Ask turns that went wrong again at the LIVE fleet, each once; their answers are stored and remembered
    #[arg(long)]
    pub(super) live: bool,
    /// With --live: the outcomes that went wrong
    #[arg(long, value_name = "OUTCOME", value_delimiter = ',', default_values = ["failed", "expired"],
          value_parser = ["failed", "expired", "cancelled", "answered"])]
    pub(super) outcome: Vec<String>,
    /// With --live: do not ask first
    #[arg(long)]
    pub(super) yes: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(super) json: bool,
    /// NATS for workers that are started here, with the rights that `talkfleet topology fence` prints
    #[arg(long, env = "TALKFLEET_NATS_SHADOW", value_name = "URL", hide_env_values = true)]
    pub(super) nats_shadow: Option<String>,
    #[command(flatten)]
    pub(super) connect: Connect,
}

/// Who is judged.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "The candidate: workers in a lane, or one that is started here")]
pub(super) struct CandidateArgs {
    /// The lane in which the candidate's workers listen (nats.lane)
    #[arg(long, value_name = "LANE", conflicts_with_all = ["candidate_set", "candidate_config"])]
    candidate: Option<String>,
    /// A setting of the candidate, such as shadow.intents_of=demo-next or plan.answerable_min=0.3
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    candidate_set: Vec<(String, String)>,
    /// The candidate's configuration file
    #[arg(long, value_name = "FILE")]
    candidate_config: Option<PathBuf>,
}

/// What it is judged against.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "The baseline: this build with its defaults, unless more is said")]
pub(super) struct BaselineArgs {
    /// The lane in which the baseline's workers listen
    #[arg(long, value_name = "LANE", conflicts_with_all = ["baseline_set", "baseline_config"])]
    baseline: Option<String>,
    /// A setting of the baseline
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    baseline_set: Vec<(String, String)>,
    /// The baseline's configuration file
    #[arg(long, value_name = "FILE")]
    baseline_config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Model {
    Recorded,
    Live,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnMiss {
    Live,
    Extract,
}

impl Args {
    /// Who is judged; the error says how to name one.
    pub(super) fn candidate(&self) -> Result<Who> {
        let CandidateArgs { candidate, candidate_set: set, candidate_config: file } = &self.candidate;
        match candidate {
            Some(lane) => Ok(Who::Lane(lane.clone())),
            None if set.is_empty() && file.is_none() => bail!(
                "say what is to be judged: --candidate LANE (its workers run with nats.lane=LANE), or \
                 --candidate-set KEY=VALUE or --candidate-config FILE, which start one here"
            ),
            None => Ok(Who::Here { file: file.clone(), set: set.clone() }),
        }
    }

    /// How the report is made.
    pub(super) fn options(&self) -> Options {
        let (prompt_per_1k, completion_per_1k) = (self.prompt_price, self.completion_price);
        Options {
            prices: Prices { prompt_per_1k, completion_per_1k, ..Prices::default() },
            thresholds: with_defaults(&self.fail_on),
            ..Options::default()
        }
    }

    pub(super) fn baseline(&self) -> Who {
        let BaselineArgs { baseline, baseline_set: set, baseline_config: file } = &self.baseline;
        match baseline {
            Some(lane) => Who::Lane(lane.clone()),
            None => Who::Here { file: file.clone(), set: set.clone() },
        }
    }

    /// Who speaks for the model.
    pub(super) fn model_use(&self, has_recordings: bool) -> ModelUse {
        match (self.model, self.on_miss) {
            (Some(Model::Live), _) => ModelUse::Live,
            (Some(Model::Off), _) => ModelUse::Off,
            (None, _) if !has_recordings => ModelUse::Live,
            (_, OnMiss::Extract) => ModelUse::Recorded,
            (_, OnMiss::Live) => ModelUse::RecordedOrLive,
        }
    }

    /// What makes a run another run; how fast it goes does not.
    pub(super) fn identity(&self) -> Result<Value> {
        let side = |lane: &Option<String>, set: &[(String, String)], file: &Option<PathBuf>| -> Result<Value> {
            let digest = match file {
                Some(file) => {
                    let text = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
                    Some(bus::digest(&text))
                }
                None => None,
            };
            Ok(json!({ "lane": lane, "set": set, "config": digest }))
        };
        let (candidate, baseline) = (&self.candidate, &self.baseline);
        Ok(json!({
            "from": self.from.to_string(),
            "to": self.to.to_string(),
            "tenant": self.tenant,
            "channel": self.channel,
            "deadline_ms": self.deadline_ms,
            "model": self.model.map(|model| format!("{model:?}")),
            "on_miss": format!("{:?}", self.on_miss),
            "candidate": side(&candidate.candidate, &candidate.candidate_set, &candidate.candidate_config)?,
            "baseline": side(&baseline.baseline, &baseline.baseline_set, &baseline.baseline_config)?,
        }))
    }
}

fn parse_channel(text: &str) -> Result<ChannelId, String> {
    ChannelId::parse(text).map_err(|error| format!("a channel's name {error}"))
}
