//! `talkfleet audit list`: who changed what, when, and how it ended.

use std::process::ExitCode;

use anyhow::{Result, bail};
use talkfleet_shared::bus::Start;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::story::{Sieve, Stories, Story};
use crate::{connect::Output, replay::Edge, width::padded};

/// Tell what operators changed, oldest first; nothing can be taken out of the log, and it is kept for 400 days
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Since when: 90s, 30m, 2h, 7d, or a time such as 2026-01-31T09:00:00Z; without it, everything
    #[arg(long, value_name = "WHEN")]
    since: Option<Edge>,
    /// Only what this operator or account did
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only this action, or this area of actions: keys.revoke, or keys
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let from = start(args.since)?;
    let sieve = Sieve { operator: args.actor, action: args.action };
    let mut log = args.output.connect.bus().await?.audit_log(from).await?;
    let mut stories = Stories::default();
    while let Some(next) = log.next().await {
        let (stored_at, entry) = next?;
        if sieve.lets_pass(&entry) {
            stories.add((stored_at.unix_timestamp_nanos() / 1_000_000) as u64, entry);
        }
    }
    let told = stories.told();
    match args.output.json {
        true => println!("{}", serde_json::to_string(&told)?),
        false => print!("{}", table(&told)),
    }
    Ok(ExitCode::SUCCESS)
}

fn start(since: Option<Edge>) -> Result<Start> {
    match since {
        None => Ok(Start::Sequence(1)),
        Some(Edge::At(at)) => Ok(Start::Time(at)),
        Some(Edge::Ago(ago)) => Ok(Start::Time(OffsetDateTime::now_utc() - ago)),
        Some(Edge::Sequence(_)) => bail!("--since takes a time, or how long ago, such as 2h"),
    }
}

fn table(told: &[Story]) -> String {
    let row = |cells: [&str; 7]| {
        let [when, who, from, action, tenant, result, on] = cells;
        let (who, from) = (padded(who, 16), padded(from, 24));
        format!("{when:<21} {who} {from} {action:<22} {tenant:<12} {result:<10} {on}\n")
    };
    let mut table = row(["WHEN", "WHO", "FROM", "ACTION", "TENANT", "RESULT", "ON"]);
    for story in told {
        let tenant = story.tenant.as_ref().map_or("-", |tenant| tenant.as_str());
        let result = story.result.name();
        table += &row([&time_of(story.at_ms), &story.operator, &story.from, &story.action, tenant, result, &story.on]);
    }
    table
}

fn time_of(at_ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp((at_ms / 1_000) as i64).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
