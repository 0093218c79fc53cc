//! `talkfleet chaos`: a real fleet under a known load is broken on purpose, and every promise is held against what came.

mod customer; // a good client of the API
mod disks; // disks that are small, or forget
mod fault; // what can be done to a fleet
mod fleet; // everything that runs, with every link in our hands

/// PURE: what was asked and what became of it, held against the load laws.
mod ledger;

mod link; // a TCP link that can be cut
mod load; // who asks what, and when
pub(crate) mod model; // a stand-in for a paid model's API
mod people; // takeovers, second takers, customers who never read
mod report; // laws, figures, verdict
mod run; // one scenario
mod scenario; // what one consists of
mod scenarios; // the fault table

/// PURE: what a run came to in figures, and what of it is not as expected.
mod verdict;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};

use self::{
    disks::{Mounted, Plain},
    fault::Disks,
    fleet::{Fleet, Ground, NODES},
    report::Report,
    run::Settings,
    scenario::{Needs, Scenario},
};
use crate::engines::{EngineOptions, NatsCluster, Progress, Sources, Terminal};

/// Where Debian's package faketime puts its library; the second is that of other distributions.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// Break a real fleet on purpose and hold what comes against the promises.
///
/// Starts three nats-servers, Redis, PostgreSQL, two gateways and seven workers on this machine, sends a known load and
/// strikes as the scenario says. Exit code 0 when nothing accepted was lost, nothing was answered twice or out of order,
/// and every figure is as expected; 1 otherwise. It touches no other fleet.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scenarios by name; `all` for every one but thousand-kills
    #[arg(long, value_delimiter = ',', value_name = "NAME", required_unless_present = "list")]
    scenario: Vec<String>,
    /// Tell the scenarios and what each does
    #[arg(long)]
    list: bool,
    /// The same seed is the same load and the same schedule of faults
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Multiply the times that are expected, on a machine that is busy with other things
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = factor)]
    patience: f64,
    /// Multiply the messages a second
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = factor)]
    load: f64,
    /// Where everything lives, logs included, and stays; without it a folder that is removed
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print the reports as a JSON array
    #[arg(long)]
    json: bool,
    /// Also write the reports as JSON here
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.01..=1_000.0).contains(&value) => Ok(value),
        _ => Err("give a number from 0.01 to 1000".into()),
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if args.list {
        for scenario in scenarios::all() {
            println!("{:<18} {:>4} s  {}", scenario.name, scenario.lasts.as_secs(), scenario.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = choose(&args.scenario)?;
    let settings = Settings { seed: args.seed, patience: args.patience, load: args.load };
    let temporary = tempfile::tempdir()?;
    let data = args.data.clone().unwrap_or_else(|| temporary.path().to_owned());
    let data = std::path::absolute(&data).with_context(|| format!("{} is no folder", data.display()))?;
    let stop = tokio::signal::ctrl_c();
    let reports = tokio::select! {
        reports = every(&wanted, settings, &data, args.json) => reports?,
        _ = stop => bail!("stopped before the last scenario was over"),
    };
    let json = serde_json::to_string_pretty(&reports)?;
    if let Some(file) = &args.report {
        std::fs::write(file, &json).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    match args.json {
        true => println!("{json}"),
        false => println!("\n{}", report::table(&reports)),
    }
    let passed = reports.iter().all(|report| report.passed) && !reports.is_empty();
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn choose(names: &[String]) -> Result<Vec<Scenario>> {
    let mut all = scenarios::all();
    if names.iter().any(|name| name == "all") {
        all.retain(|scenario| scenario.name != "thousand-kills");
        return Ok(all);
    }
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|scenario| scenario.name == **name)) {
        bail!("there is no scenario '{unknown}'; `talkfleet chaos --list` tells them");
    }
    all.retain(|scenario| names.iter().any(|name| name == scenario.name));
    Ok(all)
}

/// Runs scenarios one after another; those that need nothing special share a fleet.
async fn every(wanted: &[Scenario], settings: Settings, data: &std::path::Path, quiet: bool) -> Result<Vec<Report>> {
    let progress = Terminal::default();
    let mut reports = Vec::new();
    let mut shared: Option<(Arc<Fleet>, Arc<dyn Disks>)> = None;
    for scenario in wanted {
        let mut own = None;
        let (fleet, disks) = match (scenario.needs, &shared) {
            (Needs::Nothing, Some(shared)) => shared,
            (Needs::Nothing, None) => shared.insert(start(Needs::Nothing, data, &progress).await?),
            (needs, _) => {
                if let Err(why) = can(needs) {
                    progress.line(&format!("{}: skipped, {why}", scenario.name));
                    continue;
                }
                own.insert(start(needs, &data.join(scenario.name), &progress).await?)
            }
        };
        progress.line(&format!("{}: {}", scenario.name, scenario.what));
        let report = run::run(fleet, disks, scenario, settings).await;
        let report = report.with_context(|| format!("scenario {}", scenario.name))?;
        if !quiet {
            println!("{report}\n");
        }
        reports.push(report);
    }
    Ok(reports)
}

async fn start(needs: Needs, data: &std::path::Path, progress: &dyn Progress) -> Result<(Arc<Fleet>, Arc<dyn Disks>)> {
    progress.line("starting three nats-servers, Redis, PostgreSQL, two gateways and seven workers");
    let mut ground = Ground::default();
    if let Needs::OtherClocks(seconds) = needs {
        let library = FAKETIME.iter().find(|path| std::path::Path::new(path).exists()).unwrap_or(&"");
        ground.responders = vec![
            ("LD_PRELOAD".into(), (*library).into()),
            ("FAKETIME".into(), format!("{seconds:+}s")),
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
        ];
    }
    ground.sync_always = needs == Needs::LosableDisks;
    let options =
        EngineOptions { nats_sync_always: ground.sync_always, ..EngineOptions::new(data, Sources::from_environment()) };
    let cluster = NatsCluster::prepare(&options, NODES, progress).await?;
    let folders: Vec<PathBuf> = (0..NODES).map(|node| cluster.folder(node)).collect();
    let disks: Arc<dyn Disks> = match needs {
        Needs::SmallDisks => Arc::new(Mounted::small(&folders)?),
        Needs::LosableDisks => Arc::new(Mounted::losable(&folders, data)?),
        Needs::Nothing | Needs::OtherClocks(_) => Arc::new(Plain),
    };
    Ok((Fleet::start(data, cluster, &ground, progress).await?, disks))
}

/// Whether this machine has what a scenario needs; why not.
fn can(needs: Needs) -> Result<(), &'static str> {
    match needs {
        Needs::SmallDisks | Needs::LosableDisks if !rustix::process::getuid().is_root() => {
            Err("it mounts disks of its own, which takes root")
        }
        Needs::OtherClocks(_) if !FAKETIME.iter().any(|path| std::path::Path::new(path).exists()) => {
            Err("it turns clocks with libfaketime; install the package faketime")
        }
        _ => Ok(()),
    }
}
