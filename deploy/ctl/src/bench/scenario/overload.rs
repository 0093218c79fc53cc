//! Three and five times what a fleet carries, then half of it: what is still answered, how refusals are, how soon all is well.

use anyhow::Result;
use serde_json::json;

use super::saturate;
use crate::bench::{
    driver::Load,
    measure::Plan,
    report::{Outcome, Run},
    schedule::{Schedule, Shape, Spacing},
    subject::Bench,
    tally::{Tally, Window},
};

/// How long each load lasts when nothing is said.
const SECONDS: f64 = 20.0;

/// Goodput is told in stretches of so many seconds.
const STRETCH_S: usize = 5;

/// After the load has dropped, all is well from the first second on after which so many of a hundred are answered.
const WELL: f64 = 0.99;

pub(super) async fn run(bench: &mut Bench) -> Result<Outcome> {
    bench.stand_on(bench.ground()).await?;
    let template = bench.args.plan(0.0, SECONDS);
    let mut outcome = Outcome::default();
    let capacity = match bench.args.load.capacity {
        Some(capacity) => capacity,
        None => saturate::capacity(bench, &template).await?.0,
    };
    if capacity < 1.0 {
        return Ok(Outcome::skipped("the fleet carries less than a message a second; look for --p99-limit-ms"));
    }
    let seconds = template.load.seconds();
    let at = |times: f64, shape, seconds| Plan {
        warm_up_s: 1.0,
        ..template.with(Load::Open(Schedule { shape, spacing: Spacing::Poisson, rate: capacity * times, seconds }))
    };
    let three = bench.measure(format!("3 × {capacity:.0}/s"), &at(3.0, Shape::Steady, seconds)).await?;
    // Half of the time at five times, half of it at half: one run, so that nothing rests in between.
    let five = bench.measure(format!("5 × {capacity:.0}/s, then half"), &at(5.0, Shape::Relief, seconds * 2.0)).await?;
    let well_after = well_after_s(&five.measured.tally, seconds as usize);
    outcome.tell("capacity_per_s", capacity.round());
    for (key, run, until_s) in [("three_times", &three, seconds), ("five_times", &five, seconds)] {
        let goodput = goodput(&run.measured.tally, until_s as usize);
        let least = goodput.iter().skip(usize::from(goodput.len() > 2)).copied().fold(f64::MAX, f64::min);
        let share = (least / capacity * 100.0).round() / 100.0;
        outcome.tell(
            key,
            json!({
                "goodput_per_s": goodput, "least_share_of_capacity": share, "p99_ms": run.figures.p99_ms,
                "refusal_p99_ms": run.figures.refusal_p99_ms, "shed": run.figures.shed,
                "shed_without_retry_after": run.figures.shed_without_retry_after,
            }),
        );
        outcome.found.push(told(run, share, least));
    }
    outcome.tell("well_after_s", well_after);
    outcome.found.push(match well_after {
        Some(after) => format!("{after} s after the load had dropped to half, 99 of 100 were answered and stayed so"),
        None => "after the load had dropped to half, it was not well again before the end".into(),
    });
    outcome.runs = vec![three, five];
    Ok(outcome)
}

fn told(run: &Run, share: f64, least: f64) -> String {
    let figures = &run.figures;
    format!(
        "{}: at least {least:.0} answers/s in {STRETCH_S} s, {share} of what is carried; p99 of those let in {} ms; refusals p99 {} ms, \
         {} of {} without Retry-After",
        run.name, figures.p99_ms, figures.refusal_p99_ms, figures.shed_without_retry_after, figures.shed
    )
}

/// Answers a second in each whole stretch up to a moment.
fn goodput(tally: &Tally, until_s: usize) -> Vec<f64> {
    let windows = &tally.windows[..until_s.min(tally.windows.len())];
    let answers = |stretch: &[Window]| stretch.iter().map(|window| window.answered).sum::<u64>();
    let of = |stretch: &[Window]| answers(stretch) as f64 / (stretch.len() as f64 * tally.window_s.max(0.001));
    windows.chunks_exact(STRETCH_S.min(until_s.max(1))).map(of).collect()
}

/// The seconds after `from_s` from which on as much was answered as was asked.
fn well_after_s(tally: &Tally, from_s: usize) -> Option<usize> {
    let issued = tally.windows.iter().rposition(|window| window.issued > 0)?;
    let windows = tally.windows.get(from_s..issued)?;
    let is_bad =
        |window: &Window| (window.answered as f64) < window.issued as f64 * WELL && window.shed + window.failed > 0;
    let after = windows.iter().rposition(is_bad).map_or(0, |at| at + 1);
    (after < windows.len()).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(windows: &[(u64, u64, u64)]) -> Tally {
        let window = |(issued, answered, shed): &(u64, u64, u64)| Window {
            issued: *issued,
            answered: *answered,
            shed: *shed,
            ..Window::default()
        };
        Tally { window_s: 1.0, windows: windows.iter().map(window).collect(), ..Tally::default() }
    }

    #[test]
    fn goodput_is_told_by_stretches_and_the_end_of_trouble_by_seconds() {
        let mut seconds = vec![(500, 100, 400); 10];
        seconds.extend([(50, 30, 20), (50, 80, 10), (50, 50, 0), (50, 50, 0), (50, 50, 0)]);
        let tally = tally(&seconds);
        assert_eq!(goodput(&tally, 10), [100.0, 100.0]);
        assert_eq!(well_after_s(&tally, 10), Some(1));
        assert_eq!(well_after_s(&self::tally(&[(5, 0, 5); 4]), 1), None);
    }
}
