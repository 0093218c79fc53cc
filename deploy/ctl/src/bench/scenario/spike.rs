//! A tenth of the rate, all of it within a second, a tenth again.

use anyhow::Result;

use super::delivery;
use crate::bench::{
    driver::Load,
    report::Outcome,
    schedule::{Schedule, Shape},
    subject::Bench,
    tally::{Latencies, Tally},
};

/// Messages a second at the top when nothing is said, and for how long in all.
const RATE: f64 = 1_000.0;
const SECONDS: f64 = 30.0;

/// The stretches of the curve as shares of its time; between them the rate changes.
const STRETCHES: [(&str, f64, f64); 3] = [("before", 0.0, 0.3), ("within", 0.34, 0.7), ("after", 0.74, 1.0)];

pub(super) async fn run(bench: &mut Bench) -> Result<Outcome> {
    bench.stand_on(bench.ground()).await?;
    let mut plan = bench.args.plan(RATE, SECONDS.max(delivery::SECONDS));
    if let Load::Open(schedule) = plan.load {
        plan.load = Load::Open(Schedule { shape: Shape::Spike, ..schedule });
    }
    let run = bench.measure("spike", &plan).await?;
    let mut found = Vec::new();
    let mut extra = serde_json::Map::new();
    for (name, from, to) in STRETCHES {
        let latency = between(&run.measured.tally, from * plan.load.seconds(), to * plan.load.seconds());
        extra.insert(format!("{name}_p99_ms"), latency.quantile_ms(0.99).into());
        found.push(format!(
            "{name} the spike: p50 {} ms, p99 {} ms",
            latency.quantile_ms(0.5),
            latency.quantile_ms(0.99)
        ));
    }
    Ok(Outcome { extra, found, ..Outcome::of(run) })
}

/// The latencies of a stretch of time.
fn between(tally: &Tally, from_s: f64, to_s: f64) -> Latencies {
    let mut all = Latencies::default();
    for (at, window) in tally.windows.iter().enumerate() {
        let middle = (at as f64 + 0.5) * tally.window_s;
        if (from_s..to_s).contains(&middle) {
            all.merge(&window.latency);
        }
    }
    all
}
