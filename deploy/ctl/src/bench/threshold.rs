//! The figures that can be held to a limit with `--fail-on`.

use super::figures::Figures;
use crate::gate::{self, Found, gauges};

gauges! {
    /// A figure of a bench.
    Figure:
    P50 "p50_ms" Millis None, "half of the answers are whole within this time from when they were meant to be asked";
    P90 "p90_ms" Millis None, "nine of ten answers are";
    P99 "p99_ms" Millis None, "99 of 100 answers are";
    P999 "p999_ms" Millis None, "999 of 1,000 answers are";
    Max "max_ms" Millis None, "the slowest answer";
    FirstFrameP99 "first_frame_p99_ms" Millis None, "99 of 100 answers have begun within this time";
    RefusalP99 "refusal_p99_ms" Millis None, "99 of 100 refusals are told within this time";
    Errors "errors" Rate None, "the share of messages that ended in an error";
    Shed "shed" Rate None, "the share that was refused because there was too much";
    Late "late" Rate None, "the share that was answered past its deadline, or expired";
    Unanswered "unanswered" Rate None, "the share without any end";
    TurnsPerS "turns_per_s" Fewest None, "answers a second";
    CpuPerTurn "cpu_us_per_turn" Most None, "CPU time of all processes for a turn, in microseconds, the load generator apart";
    Ratio "ratio" Fewest None, "answers a second over those of what it is compared with";
    CpuRatio "cpu_ratio" Most None, "CPU time for a turn over that of what it is compared with";
}

pub(super) type Threshold = gate::Threshold<Figure>;
pub(super) type Check = gate::Check<Figure>;

/// Holds figures to limits; what has not been measured at all fails.
pub(super) fn checks(thresholds: &[Threshold], figures: &Figures, ratios: Option<(f64, f64)>) -> Vec<Check> {
    let held = gate::with_defaults(thresholds);
    let check = |threshold: &Threshold| {
        let limit = threshold.limit?;
        let missing = if matches!(threshold.figure, Figure::TurnsPerS | Figure::Ratio) { 0.0 } else { f64::MAX };
        let found = value(threshold.figure, figures, ratios).unwrap_or(missing);
        Some(Check::of(threshold.figure, limit, Found::plain(found)))
    };
    held.iter().filter_map(check).collect()
}

fn value(figure: Figure, figures: &Figures, ratios: Option<(f64, f64)>) -> Option<f64> {
    let share = |count: u64| (figures.issued > 0).then(|| count as f64 / figures.issued as f64);
    let answered = |ms: f64| (figures.answered > 0).then_some(ms);
    match figure {
        Figure::P50 => answered(figures.p50_ms),
        Figure::P90 => answered(figures.p90_ms),
        Figure::P99 => answered(figures.p99_ms),
        Figure::P999 => answered(figures.p999_ms),
        Figure::Max => answered(figures.max_ms),
        Figure::FirstFrameP99 => figures.first_frame_p99_ms,
        Figure::RefusalP99 => Some(figures.refusal_p99_ms),
        Figure::Errors => share(figures.errors),
        Figure::Shed => share(figures.shed),
        Figure::Late => share(figures.late),
        Figure::Unanswered => share(figures.unanswered),
        Figure::TurnsPerS => Some(figures.turns_per_s),
        Figure::CpuPerTurn => figures.cpu_us_per_turn,
        Figure::Ratio => ratios.map(|(ratio, _)| ratio),
        Figure::CpuRatio => ratios.map(|(_, cpu_ratio)| cpu_ratio),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::State;

    #[test]
    fn what_was_not_measured_fails() {
        let thresholds =
            ["p99_ms=15", "errors=0", "turns_per_s=100", "first_frame_p99_ms=5"].map(|text| text.parse().unwrap());
        let states = |figures: &Figures| {
            checks(&thresholds, figures, None).into_iter().map(|check| check.state).collect::<Vec<_>>()
        };
        let good = Figures {
            issued: 1_000,
            answered: 1_000,
            p99_ms: 15.0,
            turns_per_s: 100.0,
            first_frame_p99_ms: Some(1.0),
            ..Figures::default()
        };
        assert_eq!(states(&good), [State::Pass; 4]);
        assert_eq!(states(&Figures { errors: 1, ..good }).iter().filter(|state| **state == State::Fail).count(), 1);
        assert_eq!(states(&Figures::default()), [State::Fail; 4]);
    }
}
