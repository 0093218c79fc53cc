//! Roles at home in one process beside the same roles in three, in turns on the same fleet.

use anyhow::Result;

use super::delivery;
use crate::bench::{
    driver::Load,
    fleet::{Ground, Layout},
    measure::Measured,
    report::{Outcome, Run},
    subject::Bench,
};

/// How often each has its turn.
const ROUNDS: usize = 2;

/// Messages at once when it is asked how much each can do.
const AT_ONCE: usize = 128;

/// How long a turn lasts when nothing is said.
const TURN_S: f64 = 5.0;

pub(super) async fn run(bench: &mut Bench) -> Result<Outcome> {
    bench.stand_on(Ground { layout: Layout::Either, ..bench.ground() }).await?;
    let even = bench.args.plan(delivery::RATE / 2.0, TURN_S);
    let full = even.with(Load::Closed { at_once: AT_ONCE, seconds: even.load.seconds() });
    let layouts = [(Layout::Together, "roles at home"), (Layout::Apart, "roles apart")];
    let mut sums: Vec<(String, Option<Measured>)> = Vec::new();
    for how in ["at capacity", "at the same rate"] {
        sums.extend(layouts.iter().map(|(_, name)| (format!("{name} {how}"), None)));
    }
    for _ in 0..ROUNDS {
        for (at, (layout, _)) in layouts.iter().enumerate() {
            bench.fleet()?.switch(*layout).await?;
            for (row, plan) in [&full, &even].into_iter().enumerate() {
                let run = bench.measure("", plan).await?;
                match &mut sums[row * layouts.len() + at].1 {
                    Some(sum) => sum.then(&run.measured),
                    none => *none = Some(run.measured),
                }
            }
        }
    }
    bench.fleet()?.switch(Layout::Together).await?;
    let runs: Vec<Run> = sums.into_iter().filter_map(|(name, sum)| Some(Run::new(name, sum?))).collect();
    let mut outcome = Outcome::default();
    if let [home, apart, ..] = &runs[..] {
        let ratio = |of: fn(&Run) -> f64| (of(home) > 0.0).then(|| (of(apart) / of(home) * 100.0).round() / 100.0);
        let turns = ratio(|run| run.figures.turns_per_s);
        let cpu = ratio(|run| run.figures.cpu_us_per_turn.unwrap_or_default());
        outcome.tell("apart_turns_ratio", turns);
        outcome.tell("apart_cpu_ratio", cpu);
        outcome.found.push(format!(
            "three processes do {} times the turns of one, at {} times the CPU a turn",
            turns.unwrap_or_default(),
            cpu.unwrap_or_default()
        ));
    }
    outcome.runs = runs;
    Ok(outcome)
}
