//! `talkfleet bench`: what a fleet carries, how fast it answers, and what a turn costs which process.

mod args; // what is asked for

/// PURE: when messages are meant to be sent.
mod schedule;

/// PURE: who asks what.
mod traffic;

/// PURE: what became of it.
mod tally;

pub(crate) mod clients; // several processes of the driver
mod compare;
mod cost; // what processes take of the machine
mod driver; // sends and listens
mod fleet; // gateways, workers and engines of its own
mod measure; // one run with its cost
mod scenario; // what is measured, by name
mod subject; // whom scenarios drive // what else is measured beside it

/// PURE: what a run came to in figures.
mod figures;

/// PURE: figures and their limits.
mod threshold;

/// PURE: what is told, as text and JSON.
mod report;

/// PURE: what is told, as a page.
mod html;

pub(crate) use self::{
    args::Args,
    compare::axum::{Args as AxumArgs, COMMAND as AXUM_COMMAND},
};

use std::process::ExitCode;

use anyhow::{Result, bail};

use self::{
    report::{NamedFigures, Outcome, Report},
    scenario::Scenario,
    subject::Bench,
};
use crate::{
    engines::{Progress, Terminal},
    eval::folder::Folder,
    gate::State,
};

pub(crate) async fn client() -> Result<ExitCode> {
    driver::client::run().await
}

pub(crate) async fn axum(args: AxumArgs) -> Result<ExitCode> {
    compare::axum::serve(args).await
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if args.list {
        for scenario in scenario::ALL {
            println!("{:<10} {}", scenario.name, scenario.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = choose(&args)?;
    let folder = args.out.as_deref().map(Folder::open).transpose()?;
    driver::client::more_descriptors();
    let mut bench = Bench::open(args.clone()).await?;
    let stop = tokio::signal::ctrl_c();
    let told = tokio::select! {
        told = every(&mut bench, &wanted, folder.as_ref()) => told,
        _ = stop => Err(anyhow::anyhow!("stopped before the last scenario was over")),
    };
    bench.close().await;
    Ok(if told? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn choose(args: &Args) -> Result<Vec<&'static Scenario>> {
    let find = |name: &String| {
        let found = scenario::ALL.iter().find(|scenario| scenario.name == *name);
        found.ok_or_else(|| anyhow::anyhow!("there is no scenario '{name}'; `talkfleet bench --list` tells them"))
    };
    let wanted = args.scenario.iter().map(find).collect::<Result<Vec<_>>>()?;
    if let Some(own) = wanted.iter().find(|scenario| scenario.needs_own_fleet && args.is_aimed()) {
        bail!(
            "the scenario {} starts and stops processes, so it cannot be run with --target or --ready-file",
            own.name
        );
    }
    if let Some(other) = wanted.iter().find(|scenario| args.compare.is_some() && !scenario.is_delivery()) {
        bail!("--compare goes with the scenarios durable, journaled and fast, not with {}", other.name);
    }
    if args.compare.is_some() && args.is_aimed() {
        bail!("--compare starts a fleet of its own, so it cannot be run with --target or --ready-file");
    }
    Ok(wanted)
}

/// Runs one after another; false when a limit was not kept.
async fn every(bench: &mut Bench, wanted: &[&'static Scenario], folder: Option<&Folder>) -> Result<bool> {
    let (progress, mut passed, mut pages) = (Terminal::default(), true, Vec::new());
    for scenario in wanted {
        progress.line(&format!("{}: {}", scenario.name, scenario.what));
        let outcome = match bench.args.compare {
            Some(rival) => compare::run(bench, scenario, rival).await?,
            None => scenario::run(bench, scenario).await?,
        };
        let report = report(bench, scenario, &outcome);
        passed &= report.passed;
        match bench.args.json {
            true => println!("{}", serde_json::to_string(&report)?),
            false => println!("\n{report}"),
        }
        pages.push((report, outcome));
    }
    if let Some(folder) = folder {
        let reports: Vec<&Report> = pages.iter().map(|(report, _)| report).collect();
        folder.write(&html::page(&pages), &reports)?;
        for (name, plot) in html::plots(&pages) {
            folder.plot(&name, &plot.plot)?;
        }
        progress.line(&format!("the page is {}", folder.page().display()));
    }
    Ok(passed)
}

fn report(bench: &Bench, scenario: &Scenario, outcome: &Outcome) -> Report {
    let main = outcome.runs.first();
    let figures = main.map(|run| run.figures.clone()).unwrap_or_default();
    let checks = threshold::checks(&bench.args.fail_on, &figures, outcome.ratios);
    let others = outcome.runs.iter().skip(1);
    let load = &bench.args.load;
    Report {
        scenario: scenario.name.to_owned(),
        what: scenario.what.to_owned(),
        talkfleet: env!("CARGO_PKG_VERSION"),
        debug_build: cfg!(debug_assertions),
        face: scenario.face(load.face).word().to_owned(),
        channel: load.channel.clone().or(scenario.channel.map(str::to_owned)).unwrap_or_else(|| "web".into()),
        fleet: bench.what(),
        figures,
        extra: outcome.extra.clone(),
        found: outcome.found.clone(),
        runs: others.map(|run| NamedFigures { name: run.name.clone(), figures: run.figures.clone() }).collect(),
        skipped: outcome.skipped.clone(),
        passed: checks.iter().all(|check| check.state != State::Fail),
        checks,
    }
}
