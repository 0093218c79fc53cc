//! `talkfleet release`: a candidate beside the stable workers, by share of the conversations; back by one command.

/// PURE: whether a replay lets a candidate through.
mod gate;

/// Who answers and who publishes right now.
mod fleet;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use talkfleet_shared::{
    bus::Bus,
    release::{Release, Rule, Share},
};
use time::OffsetDateTime;

use self::fleet::Fleet;
use crate::{
    audit::{Deed, noted},
    connect::Output,
    replay::report,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Who answers whom: the share, workers by release and version, gateways, what waits
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// Let the candidate answer this part of the conversations, such as 5%; a conversation keeps who answers it
    Share {
        /// From 0% to 100%, in steps of 0.01%
        #[arg(value_parser = Share::parse)]
        share: Share,
        /// The folder of a replay whose candidate was this very version: it must have passed its limits
        #[arg(long, value_name = "DIR", required_unless_present = "force")]
        gate: Option<PathBuf>,
        /// How old that replay may be, in hours
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        gate_hours_max: u64,
        /// Do so without a gate, and whoever is there
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        output: Output,
    },
    /// End the trial: the stable workers are of the candidate's version by now, and answer everybody
    Promote {
        #[command(flatten)]
        output: Output,
    },
    /// Take everything from the candidate at once: what is new goes to the stable workers, and so does what lies on its queue
    Rollback {
        #[command(flatten)]
        output: Output,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Status { output } => show(&output.connect.bus().await?, output.json).await?,
        Command::Share { share, gate, gate_hours_max, force, output } => {
            let bus = output.connect.bus().await?;
            let age_max = Duration::from_secs(gate_hours_max.saturating_mul(3_600));
            let gate = gate.map(|folder| (folder, age_max));
            let version = candidate(&Fleet::look(&bus).await?, gate, force)?;
            let deed =
                Deed::new("release.share").on(format!("{share} for {version}{}", if force { ", forced" } else { "" }));
            noted(&output.connect, deed, set(&bus, share, &version)).await?;
            show(&bus, output.json).await?;
        }
        Command::Promote { output } => {
            let bus = output.connect.bus().await?;
            let fleet = Fleet::look(&bus).await?;
            let Some(rule) = fleet.rule.as_ref().filter(|rule| rule.is_on_trial()) else {
                bail!("no candidate is on trial; `talkfleet release share 5% --gate DIR` begins one")
            };
            let version = rule.version.clone();
            let others: Vec<_> =
                fleet.versions(Release::Stable).into_iter().filter(|stable| *stable != version).collect();
            if !others.is_empty() || fleet.versions(Release::Stable).is_empty() {
                let still = if others.is_empty() { "nobody answers".to_owned() } else { others.join(" and ") };
                bail!(
                    "the stable workers are not {version} yet ({still}); roll them to it, then promote again. \
                     Meanwhile `talkfleet release share 100%` lets the candidate answer everybody"
                )
            }
            let deed = Deed::new("release.promote").on(&version);
            noted(&output.connect, deed, set(&bus, Share::NONE, &version)).await?;
            show(&bus, output.json).await?;
        }
        Command::Rollback { output } => {
            let bus = output.connect.bus().await?;
            // Asked of nobody: whatever else is wrong, this must work.
            let version = bus.read_rule().await?.map(|rule| rule.version).unwrap_or_default();
            let deed = Deed::new("release.rollback").on(&version);
            noted(&output.connect, deed, set(&bus, Share::NONE, &version)).await?;
            show(&bus, output.json).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The candidate's version, if it may meet customers.
fn candidate(fleet: &Fleet, gate: Option<(PathBuf, Duration)>, force: bool) -> Result<String> {
    let version = match fleet.versions(Release::Next).as_slice() {
        [version] => (*version).to_owned(),
        [] if force => String::new(),
        [] => bail!(
            "no candidate is there; start workers with release.name = \"next\" and a release.version of their own"
        ),
        several if force => several.join("+"),
        several => bail!("the candidate's workers are of several versions: {}; wait for one", several.join(", ")),
    };
    if force {
        return Ok(version);
    }
    if fleet.gateways == 0 {
        bail!("no gateway says that it is there, so that nobody knows whether they go by the rule")
    }
    if fleet.gateways_that_do_not_follow > 0 {
        bail!(
            "{} of {} gateways are of a build that knows no releases, and could let two messages of a conversation be \
             answered at once; roll the gateways first",
            fleet.gateways_that_do_not_follow,
            fleet.gateways
        )
    }
    let Some((folder, age_max)) = gate else { bail!("give --gate DIR, the folder of the candidate's replay") };
    let path = folder.join(report::JSON);
    let text = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let replayed =
        serde_json::from_slice(&text).with_context(|| format!("{} is no replay's report", path.display()))?;
    let objections = gate::objections(&replayed, &version, unix_ms(), age_max);
    if !objections.is_empty() {
        bail!("{}; replay again with the candidate, or give --force", objections.join("; "))
    }
    Ok(version)
}

async fn set(bus: &Bus, share: Share, version: &str) -> Result<()> {
    Ok(bus.write_rule(&Rule { share, version: version.to_owned(), set_at_ms: unix_ms() }).await?)
}

async fn show(bus: &Bus, json: bool) -> Result<()> {
    let fleet = Fleet::look(bus).await?;
    match json {
        true => println!("{}", serde_json::to_string(&fleet)?),
        false => fleet.show(),
    }
    Ok(())
}

fn unix_ms() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}
