//! The most that a fleet carries: the rate goes up by steps until it is too much, then between the last two.

use anyhow::Result;

use crate::bench::{
    measure::Plan,
    report::{Outcome, Run},
    subject::Bench,
};

/// The first rate, and by how much it grows until it is too much.
const FIRST_RATE: f64 = 250.0;
const GROWTH: f64 = 2.0;

/// It is known well enough when too much is within this of what is carried.
const WITHIN: f64 = 1.1;

/// How long a step lasts when nothing is said.
const STEP_S: f64 = 5.0;

/// A step whose goodput is below this is too much.
const GOODPUT_MIN: f64 = 0.99;

/// Beyond that a rate would say more of the load generator than of the fleet.
const RATE_MAX: f64 = 200_000.0;

/// Above how long a message may wait for an answer in a step: what waits longer is lost to the next step.
const DEADLINE_MS_MAX: u64 = 5_000;

/// Between what is carried and what is not.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Search {
    carried: f64,
    too_much: Option<f64>,
    first: f64,
}

impl Search {
    fn new(first: f64) -> Self {
        Self { carried: 0.0, too_much: None, first }
    }

    /// The rate to try next; None when it is known well enough.
    fn next(&self) -> Option<f64> {
        let next = match self.too_much {
            None if self.carried == 0.0 => self.first,
            None => self.carried * GROWTH,
            Some(most) if self.carried == 0.0 => most / GROWTH,
            Some(most) => (self.carried * most).sqrt(),
        };
        let settled = self.too_much.is_some_and(|most| self.carried > 0.0 && most / self.carried <= WITHIN);
        (!settled && (1.0..=RATE_MAX).contains(&next)).then_some(next)
    }

    fn tried(&mut self, rate: f64, is_carried: bool) {
        if is_carried {
            self.carried = rate;
        } else {
            self.too_much = Some(rate);
        }
    }
}

pub(super) async fn run(bench: &mut Bench) -> Result<Outcome> {
    bench.stand_on(bench.ground()).await?;
    let plan = bench.args.plan(FIRST_RATE, STEP_S);
    let (capacity, mut runs) = capacity(bench, &plan).await?;
    // The highest rate that was carried is what the report is about.
    let best = runs.iter().rposition(|run| run.figures.offered_per_s <= capacity * 1.2 && is_carried(bench, run));
    if let Some(best) = best {
        let best = runs.remove(best);
        runs.insert(0, best);
    }
    let mut outcome = Outcome { runs, ..Outcome::default() };
    outcome.tell("capacity_per_s", capacity.round());
    outcome.found.push(match capacity > 0.0 {
        true => format!(
            "carries {capacity:.0} messages/s with goodput of 99 % and p99 within {} ms",
            bench.args.load.p99_limit_ms
        ),
        false => "carries not even one message a second within these bounds".into(),
    });
    Ok(outcome)
}

/// What is carried, and the steps that it took to know.
pub(in crate::bench) async fn capacity(bench: &Bench, plan: &Plan) -> Result<(f64, Vec<Run>)> {
    let seconds = bench.args.load.seconds.unwrap_or(STEP_S);
    let mut search = Search::new(bench.args.load.rate.unwrap_or(FIRST_RATE));
    let mut runs = Vec::new();
    while let Some(rate) = search.next() {
        let deadline_ms = plan.deadline_ms.min(DEADLINE_MS_MAX);
        let step = Plan {
            warm_up_s: plan.warm_up_s.min(1.0),
            deadline_ms,
            asks_deadline_ms: Some(deadline_ms),
            ..plan.steady(rate, seconds)
        };
        let run = bench.measure(format!("{rate:.0} messages/s"), &step).await?;
        search.tried(rate, is_carried(bench, &run));
        runs.push(run);
    }
    Ok((search.carried, runs))
}

fn is_carried(bench: &Bench, run: &Run) -> bool {
    run.figures.goodput() >= GOODPUT_MIN && run.figures.p99_ms <= bench.args.load.p99_limit_ms
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_carried_is_found_from_wherever_it_begins(truth in 2.0..100_000.0f64, first in 1.0..20_000.0f64) {
            let (mut search, mut steps) = (Search::new(first), 0);
            while let Some(rate) = search.next() {
                search.tried(rate, rate <= truth);
                steps += 1;
                prop_assert!(steps < 40);
            }
            prop_assert!(search.carried <= truth);
            prop_assert!(search.carried * WITHIN * 1.0001 >= truth, "{} of {truth}", search.carried);
        }
    }
}
