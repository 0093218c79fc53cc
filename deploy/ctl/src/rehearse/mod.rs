//! `talkfleet rehearse`: the manifests' autoscaling, by KEDA's and Kubernetes' own formulas, on real workers through a day.

/// PURE: how fast the count may change.
mod behavior;

/// PURE: how many replicas a metric calls for.
mod replicas;

/// PURE: what the manifests say.
mod manifest;

/// PURE: how many replicas the triggers call for together.
mod wish;

/// PURE: a day's load.
mod day;

/// PURE: what a day came to.
mod verdict;

mod fleet; // everything that runs
mod load; // the customers
mod page; // the report
mod run; // one day

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::{
    day::Day,
    fleet::{Fleet, Ground},
    load::Customers,
    manifest::{Scaled, Trigger},
    run::{Lived, Plan},
    verdict::{Figures, Limits, Setting},
};
use crate::engines::{Progress, Terminal};

/// What `roles.response_concurrency` is where the manifests do not say.
const CONCURRENCY_DEFAULT: u32 = 64;

/// The Deployment that is rehearsed.
const ROLE: &str = "response";

/// Rehearse the manifests' autoscaling on real workers, through a day's load in minutes.
///
/// Reads the ScaledObject of the Deployment `response`, starts NATS, Redis, PostgreSQL, a gateway and a worker with the
/// other roles, and then starts and stops response workers as KEDA and the HorizontalPodAutoscaler would, by their own
/// formulas, from the real lag at the broker. All times are divided by --speedup, and each worker is a small part of one
/// in the manifests (--concurrency), its lagThreshold with it. Exit code 0 when no message was lost, the count stood
/// still under constant load, and promotion and p99 kept their limits; 1 otherwise.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifests as `kubectl kustomize` renders them
    #[arg(long, value_name = "FILE", required_unless_present = "overlay")]
    manifests: Option<PathBuf>,
    /// An overlay that is rendered by kubectl, such as deploy/k8s/overlays/production
    #[arg(long, value_name = "DIR", conflicts_with = "manifests")]
    overlay: Option<PathBuf>,
    /// By how much everything is faster than in a cluster
    #[arg(long, default_value_t = 20.0, value_name = "FACTOR", value_parser = positive)]
    speedup: f64,
    /// How long the day is, in minutes of the cluster: shorter than a day, so its slopes are steeper
    #[arg(long, default_value_t = 90.0, value_name = "MINUTES", value_parser = positive)]
    day_minutes: f64,
    /// Turns a second at the ordinary peak, in the cluster's time
    #[arg(long, default_value_t = 0.9, value_name = "RATE", value_parser = positive)]
    peak: f64,
    /// By how much the promotion at eight in the evening multiplies the load, from one moment to the next
    #[arg(long, default_value_t = 3.0, value_name = "FACTOR", value_parser = positive)]
    promotion: f64,
    /// How long the stand-in model takes for an answer, in seconds of the cluster
    #[arg(long, default_value_t = 6.0, value_name = "SECONDS", value_parser = positive)]
    service_s: f64,
    /// Turns that one worker answers at once here
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    concurrency: u32,
    /// Response workers that this machine bears
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    workers_max: u32,
    /// From the wish for a pod until its process begins, in seconds of the cluster
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", value_parser = positive)]
    pod_start_s: f64,
    /// terminationGracePeriodSeconds
    #[arg(long, default_value_t = 35.0, value_name = "SECONDS", value_parser = positive)]
    grace_s: f64,
    /// How long a turn may take, in seconds of the cluster
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", value_parser = positive)]
    budget_s: f64,
    /// Live the day again with these lagThresholds, as parts of a worker's concurrency, and compare
    #[arg(long, value_delimiter = ',', value_name = "PARTS", value_parser = positive)]
    try_lag: Vec<f64>,
    /// Live the day again with these stabilisation windows for scaling down, in seconds, and compare
    #[arg(long, value_delimiter = ',', value_name = "SECONDS", value_parser = positive)]
    try_down_window: Vec<f64>,
    /// How often the count may turn round under constant load
    #[arg(long, default_value_t = 1, value_name = "N")]
    flips_max: u32,
    /// How long it may take until there are enough workers for the promotion, in seconds of the cluster
    #[arg(long, default_value_t = 120.0, value_name = "SECONDS", value_parser = positive)]
    reaction_s_max: f64,
    /// The same seed is the same customers
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Where everything lives, logs included, and stays; without it a folder that is removed
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write the page with its plots here
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// What is tried.
pub(crate) struct Candidate {
    name: String,
    /// Its anchor on the page.
    slug: String,
    scaled: Scaled,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Report {
    role: &'static str,
    how: String,
    real_s: f64,
    verdicts: Vec<Verdict>,
    passed: bool,
    /// The manifests' own first.
    candidates: Vec<Told>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    holds: bool,
    sentence: String,
}

#[derive(Debug, Serialize)]
struct Told {
    name: String,
    #[serde(flatten)]
    figures: Figures,
    samples: Vec<verdict::Sample>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1e6 => Ok(value),
        _ => Err("give a number above 0".into()),
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let yaml = args.yaml()?;
    let scaled = manifest::read(&yaml)?.remove(ROLE);
    let scaled = scaled.with_context(|| format!("no ScaledObject of the manifests scales the Deployment {ROLE}"))?;
    let of_one = manifest::response_concurrency(&yaml)?.unwrap_or(CONCURRENCY_DEFAULT);
    for trigger in &scaled.triggers {
        if let Trigger::Query { query, .. } = trigger
            && !wish::knows(query)
        {
            bail!("the rehearsal has no Prometheus and does not know the answer to '{query}'")
        }
    }
    let temporary = tempfile::tempdir()?;
    let data = std::path::absolute(args.data.as_deref().unwrap_or(temporary.path()))?;
    let progress = Terminal::default();
    let stop = tokio::signal::ctrl_c();
    let (report, lived) = tokio::select! {
        done = args.rehearse(scaled, of_one, &data, &progress) => done?,
        _ = stop => bail!("stopped before the day was over"),
    };
    if let Some(file) = &args.page {
        std::fs::write(file, page::page(&report, &lived))
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print!("{}", text(&report)),
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Args {
    fn yaml(&self) -> Result<String> {
        if let Some(file) = &self.manifests {
            return std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()));
        }
        let overlay = self.overlay.as_deref().unwrap_or(Path::new("."));
        let rendered = Command::new("kubectl").arg("kustomize").arg(overlay).output();
        let rendered =
            rendered.context("kubectl is not here; render the overlay elsewhere and give --manifests FILE")?;
        if !rendered.status.success() {
            bail!("kubectl kustomize {}: {}", overlay.display(), String::from_utf8_lossy(&rendered.stderr).trim())
        }
        Ok(String::from_utf8(rendered.stdout)?)
    }

    async fn rehearse(
        &self,
        scaled: Scaled,
        of_one: u32,
        data: &Path,
        progress: &dyn Progress,
    ) -> Result<(Report, Vec<(Candidate, Lived)>)> {
        let short = |cluster_s: f64| Duration::from_secs_f64(cluster_s / self.speedup);
        let ground = Ground {
            workers_max: self.workers_max as usize,
            concurrency: self.concurrency,
            service: short(self.service_s),
            pod_start: short(self.pod_start_s),
            grace: short(self.grace_s),
        };
        let began = Instant::now();
        let mut fleet = Fleet::start(data, ground, progress).await?;
        let mut lived = Vec::new();
        for candidate in self.candidates(&scaled, of_one) {
            progress.line(&format!("a day with {}", candidate.name));
            let plan = Plan {
                scaled: &candidate.scaled,
                setting: self.setting(),
                shrunk: f64::from(self.concurrency) / f64::from(of_one),
                workers_max: self.workers_max,
                speedup: self.speedup,
            };
            let customers = self.customers(&fleet);
            let day = run::live(&mut fleet, &plan, customers).await?;
            lived.push((candidate, day));
        }
        fleet.stop().await;
        Ok((self.report(of_one, began.elapsed(), &lived), lived))
    }

    /// The manifests' own settings, then what else is tried.
    fn candidates(&self, scaled: &Scaled, of_one: u32) -> Vec<Candidate> {
        let own = Candidate { name: "the manifests".into(), slug: "manifests".into(), scaled: scaled.clone() };
        let with_lag = |part: &f64| {
            let mut scaled = scaled.clone();
            for trigger in &mut scaled.triggers {
                if let Trigger::Lag { threshold, .. } = trigger {
                    *threshold = part * f64::from(of_one);
                }
            }
            Candidate { name: format!("lagThreshold {part} × concurrency"), slug: format!("lag-{part}"), scaled }
        };
        let with_window = |window_s: &f64| {
            let mut scaled = scaled.clone();
            scaled.behavior.down.window_s = *window_s;
            Candidate {
                name: format!("a window of {window_s} s for going down"),
                slug: format!("window-{window_s}"),
                scaled,
            }
        };
        let tried = self.try_lag.iter().map(with_lag).chain(self.try_down_window.iter().map(with_window));
        std::iter::once(own).chain(tried).collect()
    }

    fn setting(&self) -> Setting {
        let day = self.day();
        Setting {
            day_s: self.day_minutes * 60.0,
            service_s: self.service_s,
            concurrency: self.concurrency,
            promotion_rate: day.rate(day::PROMOTION.0),
        }
    }

    fn day(&self) -> Day {
        Day { peak: self.peak, promotion: self.promotion }
    }

    fn customers(&self, fleet: &Fleet) -> Customers {
        Customers {
            gateway: fleet.gateway.clone(),
            key: fleet.key.clone(),
            day: self.day(),
            day_s: self.day_minutes * 60.0,
            speedup: self.speedup,
            budget: Duration::from_secs_f64(self.budget_s / self.speedup),
            seed: self.seed,
        }
    }

    fn report(&self, of_one: u32, took: Duration, lived: &[(Candidate, Lived)]) -> Report {
        let limits =
            Limits { flips_max: self.flips_max, reaction_s_max: self.reaction_s_max, p99_s_max: 2.0 * self.service_s };
        let checks = lived.first().map(|(_, own)| own.figures.checks(&limits)).unwrap_or_default();
        let verdicts: Vec<Verdict> = checks.into_iter().map(|(holds, sentence)| Verdict { holds, sentence }).collect();
        let told = |(candidate, lived): &(Candidate, Lived)| Told {
            name: candidate.name.clone(),
            figures: lived.figures.clone(),
            samples: lived.samples.clone(),
        };
        let how = format!(
            "Everything is {} times as fast as in a cluster: syncs, windows, policies, pod starts, deadlines, answers. A \
             worker answers {} at once instead of {of_one}, and its lagThreshold is as much smaller. CPU and the start of \
             a process are this machine's own, so they weigh more than in a cluster. All seconds are the cluster's.",
            self.speedup, self.concurrency
        );
        Report {
            role: ROLE,
            how,
            real_s: took.as_secs_f64(),
            passed: verdicts.iter().all(|verdict| verdict.holds) && !verdicts.is_empty(),
            verdicts,
            candidates: lived.iter().map(told).collect(),
        }
    }
}

/// What a candidate is compared by.
const COLUMNS: [&str; 10] = [
    "lost",
    "expired",
    "refused",
    "flips",
    "reaction s",
    "p50 s",
    "p99 s",
    "promotion p99 s",
    "most workers",
    "worker-min",
];

fn cells(figures: &Figures) -> [String; 10] {
    [
        figures.lost.to_string(),
        figures.expired.to_string(),
        figures.refused.to_string(),
        figures.flips.to_string(),
        figures.reaction_s.map_or("never".into(), |s| format!("{s:.0}")),
        format!("{:.1}", figures.p50_s),
        format!("{:.1}", figures.p99_s),
        format!("{:.1}", figures.promotion_p99_s),
        figures.replicas_max.to_string(),
        format!("{:.0}", figures.worker_minutes),
    ]
}

/// For a terminal: the verdicts, the day hour by hour, the candidates.
fn text(report: &Report) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for verdict in &report.verdicts {
        let word = if verdict.holds { "ok" } else { "FAILED" };
        let _ = writeln!(text, "{word:<6} {}", verdict.sentence);
    }
    if let Some(own) = report.candidates.first() {
        let day_s = own.samples.last().map_or(1.0, |sample| sample.at_s);
        let most = own.figures.replicas_max.max(1) as usize;
        let _ = writeln!(text, "\n hour  turns/s   lag  workers");
        for hour in 0..day::HOURS as usize {
            let at_s = hour as f64 / day::HOURS * day_s;
            let Some(sample) = own.samples.iter().find(|sample| sample.at_s >= at_s) else { continue };
            let bar = "#".repeat(sample.replicas as usize * 40 / most);
            let _ = writeln!(text, "{hour:>5} {:>8.2} {:>5} {:>8}  {bar}", sample.rate, sample.lag, sample.replicas);
        }
    }
    let columns = COLUMNS.map(|name| format!("{name:>16}")).concat();
    let _ = writeln!(text, "\n{:<36}{columns}", "");
    for told in &report.candidates {
        let row = cells(&told.figures).map(|cell| format!("{cell:>16}")).concat();
        let _ = writeln!(text, "{:<36}{row}", told.name);
    }
    text
}
