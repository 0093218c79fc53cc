//! What else is measured beside the desk, driven alike and in turns with it.

pub(super) mod axum; // a bare handler
mod fastapi; // the system that is replaced
mod standing; // whatever it is, while it runs

use anyhow::Result;
use serde_json::json;

use self::standing::Standing;
use super::{
    args::Rival,
    cost::Process,
    driver::{Face, Load},
    figures::Figures,
    measure::{Measured, Plan, measure},
    report::{Outcome, Run},
    scenario::{Scenario, delivery},
    subject::Bench,
};
use crate::engines::{Engine, Terminal};

/// How often each has its turn: what disturbs the machine meanwhile hits all of them.
const ROUNDS: usize = 2;

/// Messages at once when it is asked how much each can do.
const AT_ONCE: usize = 128;

/// How long a turn lasts when nothing is said.
const TURN_S: f64 = 5.0;

/// Latencies are compared at this share of what the slowest of them can do.
const SHARE: f64 = 0.5;

pub(super) async fn run(bench: &mut Bench, scenario: &Scenario, rival: Rival) -> Result<Outcome> {
    if let Some(why) = delivery::missing(bench, scenario) {
        return Ok(Outcome::skipped(why));
    }
    let environment = match rival {
        Rival::Fastapi => Some(fastapi::environment(&Terminal::default()).await?),
        Rival::Axum => None,
    };
    bench.stand_on(bench.ground()).await?;
    std::fs::create_dir_all(bench.data())?;
    let standing = match environment {
        Some(python) => {
            let nats = bench.fleet()?.engines.nats_url.clone();
            let shapes = [fastapi::Shape::Workers, fastapi::Shape::InProcess];
            let started = shapes.map(|shape| fastapi::start(shape, &python, &nats, bench.data()));
            futures::future::try_join_all(started).await?
        }
        None => vec![axum::start(bench.data()).await?],
    };
    let mut plan = bench.args.plan(delivery::RATE, TURN_S);
    plan.channel = plan.channel.or(scenario.channel.map(str::to_owned));
    plan.face = Face::Http;
    compare(bench, plan, &standing).await
}

async fn compare(bench: &Bench, plan: Plan, standing: &[Standing]) -> Result<Outcome> {
    let seconds = plan.load.seconds();
    let full = plan.with(Load::Closed { at_once: AT_ONCE, seconds });
    let capacities: Vec<Run> = in_turns(bench, &full, standing, "at capacity").await?;
    let slowest = capacities.iter().map(|run| run.figures.turns_per_s).fold(f64::MAX, f64::min);
    let rate = bench.args.load.rate.unwrap_or((slowest * SHARE).max(1.0));
    let alike = in_turns(bench, &plan.steady(rate, seconds), standing, &format!("at {rate:.0} messages/s")).await?;
    Ok(told(standing, rate, capacities, alike))
}

/// Every one of them in its turn, ours first, round after round; what each did is put together.
async fn in_turns(bench: &Bench, plan: &Plan, standing: &[Standing], how: &str) -> Result<Vec<Run>> {
    let mut all: Vec<(String, Option<Measured>)> = vec![("talkfleet".to_owned(), None)];
    all.extend(standing.iter().map(|one| (one.name.to_owned(), None)));
    for _ in 0..ROUNDS {
        for (at, (_, sum)) in all.iter_mut().enumerate() {
            let measured = match at.checked_sub(1).map(|at| &standing[at]) {
                None => measure(bench.target()?, plan, bench.processes()).await?,
                Some(rival) => measure(&rival.target, plan, processes(bench, rival)).await?,
            };
            match sum {
                Some(sum) => sum.then(&measured),
                None => *sum = Some(measured),
            }
        }
    }
    Ok(all.into_iter().filter_map(|(name, sum)| Some(Run::new(format!("{name} {how}"), sum?))).collect())
}

/// Its own, and the broker where it goes through one.
fn processes(bench: &Bench, rival: &Standing) -> Vec<Process> {
    let mut own = rival.processes();
    if own.len() > 1 {
        own.extend(bench.processes().into_iter().filter(|process| process.name == Engine::Nats.key()));
    }
    own
}

/// Rates and costs at capacity, latencies at a rate that all of them can do.
fn told(standing: &[Standing], rate: f64, capacities: Vec<Run>, alike: Vec<Run>) -> Outcome {
    let mut outcome = Outcome::default();
    let Some((ours, theirs)) = capacities.split_first() else { return outcome };
    let Some((ours_alike, theirs_alike)) = alike.split_first() else { return outcome };
    let ratio = |a: f64, b: f64| if b > 0.0 { (a / b * 1e3).round() / 1e3 } else { 0.0 };
    for ((name, full), even) in standing.iter().map(|one| one.name).zip(theirs).zip(theirs_alike) {
        let (turns, cpu) = (ours.figures.turns_per_s, cpu(&ours.figures));
        let (own_turns, own_cpu) = (full.figures.turns_per_s, self::cpu(&full.figures));
        let ratios = (ratio(turns, own_turns), ratio(cpu, own_cpu));
        outcome.tell(
            name,
            json!({
                "turns_per_s": own_turns, "cpu_us_per_turn": own_cpu, "cpu_us": full.figures.cpu_us,
                "p50_ms": even.figures.p50_ms, "p99_ms": even.figures.p99_ms,
                "cpu_us_per_turn_at_rate": even.figures.cpu_us_per_turn,
                "ratio": ratios.0, "cpu_ratio": ratios.1,
                "errors": full.figures.errors + even.figures.errors, "rss_mib": full.figures.rss_mib,
            }),
        );
        outcome.found.push(format!(
            "{name}: {own_turns:.0} turns/s, ours {turns:.0}: {} times; CPU a turn {own_cpu:.0} µs, ours {cpu:.0}: {} times; \
             at {rate:.0}/s its p50 is {} ms and its p99 {} ms, ours {} and {}",
            ratios.0,
            ratios.1,
            even.figures.p50_ms,
            even.figures.p99_ms,
            ours_alike.figures.p50_ms,
            ours_alike.figures.p99_ms
        ));
        if outcome.ratios.is_none() {
            outcome.ratios = Some(ratios);
            outcome.tell("ratio", ratios.0);
            outcome.tell("cpu_ratio", ratios.1);
        }
    }
    outcome.tell("rate_of_latencies_per_s", rate.round());
    outcome.tell("cpu_us_per_turn_at_rate", ours_alike.figures.cpu_us_per_turn);
    let mut main = ours_alike.clone();
    let Figures { turns_per_s, cpu_us_per_turn, cpu_us, .. } = ours.figures.clone();
    main.figures = Figures { turns_per_s, cpu_us_per_turn, cpu_us, ..main.figures };
    outcome.runs = [vec![main], capacities, alike].concat();
    outcome
}

fn cpu(figures: &Figures) -> f64 {
    figures.cpu_us_per_turn.unwrap_or_default()
}
