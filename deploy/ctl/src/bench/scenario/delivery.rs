//! One delivery class at a rate.

use anyhow::Result;

use super::Scenario;
use crate::bench::{
    fleet::{DELIVERIES, knows_deliveries},
    report::Outcome,
    subject::Bench,
};

/// Messages a second, and for how long, when nothing is said.
pub(in crate::bench) const RATE: f64 = 500.0;
pub(in crate::bench) const SECONDS: f64 = 20.0;

pub(super) async fn run(bench: &mut Bench, scenario: &Scenario) -> Result<Outcome> {
    if let Some(why) = missing(bench, scenario) {
        return Ok(Outcome::skipped(why));
    }
    bench.stand_on(bench.ground()).await?;
    let mut plan = bench.args.plan(RATE, SECONDS);
    plan.channel = plan.channel.or(scenario.channel.map(str::to_owned));
    Ok(Outcome::of(bench.measure(scenario.name, &plan).await?))
}

/// Why a fleet that is started here cannot do it.
pub(in crate::bench) fn missing(bench: &Bench, scenario: &Scenario) -> Option<String> {
    let class = bench.args.load.channel.as_deref().or(scenario.channel).filter(|class| DELIVERIES.contains(class))?;
    let lacks = !bench.args.is_aimed() && !knows_deliveries();
    lacks.then(|| {
        format!("this build's gateways have no channels.*.delivery, so there is nothing {class}; only durable is")
    })
}
