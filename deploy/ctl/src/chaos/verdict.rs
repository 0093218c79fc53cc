//! PURE: what a run came to in figures, and what of it is not as expected.

use std::{collections::HashMap, time::Duration};

use super::{
    ledger::{self, Clocks, Knock, Laws, Struck, Took, Turn, Written},
    report::{Check, Figures},
    scenario::{Expected, Told},
};

/// How long after a fault a gap is counted to it.
const WINDOW: Duration = Duration::from_secs(40);

/// What a run left behind.
pub(super) struct Seen<'a> {
    pub(super) turns: &'a [Turn],
    pub(super) written: &'a HashMap<String, Written>,
    pub(super) struck: &'a [Struck],
    pub(super) clocks: Clocks,
}

impl Seen<'_> {
    /// The figures that turns and records tell.
    pub(super) fn figures(&self) -> Figures {
        let took = self.took();
        let gaps: Vec<Duration> = self.struck.iter().map(|fault| ledger::gap(self.turns, fault.at, WINDOW)).collect();
        let whole: Vec<Duration> = took.iter().map(|took| took.own + took.behind).collect();
        let own: Vec<Duration> = took.iter().map(|took| took.own).collect();
        let besides: Vec<Duration> = took.iter().map(|took| took.own - took.lost).collect();
        let lost = took.iter().map(|took| took.lost).max().unwrap_or_default();
        let behind = took.iter().map(|took| took.behind).max().unwrap_or_default();
        let anew = ledger::begun_anew(self.turns, self.struck);
        let (before, since) = self.around_first_fault(&took);
        let ms = |values: &[Duration], q| ledger::quantile(values.to_vec(), q).as_millis() as u64;
        Figures {
            faults: self.struck.len(),
            latency_p50_ms: ms(&whole, 0.5),
            latency_p99_ms: ms(&whole, 0.99),
            latency_max_ms: ms(&whole, 1.0),
            own_p50_ms: ms(&own, 0.5),
            own_max_ms: ms(&own, 1.0),
            besides_lost_max_ms: ms(&besides, 1.0),
            lost_max_ms: lost.as_millis() as u64,
            behind_max_ms: behind.as_millis() as u64,
            own_p99_before_ms: ms(&before, 0.99),
            own_p99_since_ms: ms(&since, 0.99),
            begun_anew_max_ms: ms(&anew, 1.0),
            gap_p50_ms: ms(&gaps, 0.5),
            gap_max_ms: ms(&gaps, 1.0),
            restarts: self.turns.iter().filter(|turn| turn.restarts > 0).count(),
            degraded: self.written.values().filter(|record| record.degraded).count(),
            ..Figures::default()
        }
    }

    /// Everything that was expected, and whether it came so; `patience` multiplies times.
    pub(super) fn checks(&self, expected: &Expected, patience: f64, laws: &Laws, figures: &Figures) -> Vec<Check> {
        let allowed = |limit: Duration| limit.mul_f64(patience).as_millis() as u64;
        let extra_ms = figures.besides_lost_max_ms.saturating_sub(figures.own_p50_ms);
        let mut checks = vec![
            at_most("time without an answer", allowed(expected.gap_max), figures.gap_max_ms, " ms"),
            at_most("longer than the median", allowed(expected.extra_max), extra_ms, " ms"),
            at_most("failed", expected.failed_max as u64, laws.failed as u64, ""),
        ];
        let least = |name, least: usize, seen: usize| {
            Check::new(name, format!("at least {least}"), seen.to_string(), seen >= least)
        };
        if expected.failed_min > 0 {
            checks.push(least("failed", expected.failed_min, laws.failed));
        }
        // Poison fails by design; everybody else is to be answered.
        let failed_by_design = laws.failed.min(expected.failed_max);
        let answered = share(laws.answered + failed_by_design, laws.issued);
        checks.push(at_least("answered", expected.answered_min, answered));
        if expected.errors_max < usize::MAX {
            let counts = |kind: &&String| !expected.errors_but.contains(&kind.as_str());
            let errors = self.turns.iter().flat_map(|turn| &turn.errors).filter(counts).count();
            checks.push(at_most("tries that failed", expected.errors_max as u64, errors as u64, ""));
        }
        if let Some(limit) = expected.behind_max {
            checks.push(at_most("wait behind an own message", allowed(limit), figures.behind_max_ms, " ms"));
        }
        if let Some(limit) = expected.anew_max {
            checks.push(at_most(
                "from the blow to the new beginning",
                allowed(limit),
                figures.begun_anew_max_ms,
                " ms",
            ));
        }
        if expected.restarts_min > 0 {
            checks.push(least("restarts", expected.restarts_min, figures.restarts));
        }
        if expected.degraded_min > 0.0 {
            checks.push(at_least("degraded", expected.degraded_min, share(figures.degraded, laws.answered)));
        }
        if expected.cancelled_min > 0 {
            checks.push(least("cancelled", expected.cancelled_min, laws.cancelled));
        }
        if expected.dead_min > 0 {
            checks.push(least("dead letters", expected.dead_min, figures.dead_letters));
        }
        if let Some(most) = expected.deaths_max {
            checks.push(at_most("processes that died", u64::from(most), u64::from(figures.deaths), ""));
        }
        if let Some(factor) = expected.p99_factor_max {
            let limit = (figures.own_p99_before_ms as f64 * factor * patience) as u64;
            checks.push(at_most("p99 since the first fault", limit, figures.own_p99_since_ms, " ms"));
        }
        if let Some(mb) = expected.memory_growth_max_mb {
            checks.push(at_most("memory that one process took on", mb, figures.memory_growth_mb, " MB"));
        }
        if let Some(told) = expected.told {
            checks.extend(self.told(told, patience));
        }
        if let Some(back_max) = expected.degraded_until {
            checks.extend(self.degraded_while_it_lasted(allowed(back_max)));
        }
        checks
    }

    fn took(&self) -> Vec<Took> {
        ledger::took(self.turns, self.written, self.struck, self.clocks)
    }

    /// Own times of what was answered before the first fault, and of the rest; all of it before when there was none.
    fn around_first_fault(&self, took: &[Took]) -> (Vec<Duration>, Vec<Duration>) {
        let first = self.struck.iter().map(|fault| fault.at).min();
        let is_before = |took: &&Took| first.is_none_or(|first| took.issued + took.behind + took.own < first);
        let (before, since): (Vec<&Took>, Vec<&Took>) = took.iter().partition(is_before);
        let own = |took: Vec<&Took>| took.into_iter().map(|took| took.own).collect();
        (own(before), own(since))
    }

    /// Whoever asks while the outage is known hears so at once.
    fn told(&self, told: Told, patience: f64) -> [Check; 2] {
        let within = told.within.mul_f64(patience);
        let knocks = ledger::knocks(self.turns, self.struck, told.known_after, within);
        let slowest = knocks.iter().map(|knock: &Knock| knock.waited).max().unwrap_or_default();
        let refused = knocks.iter().filter(|knock| knock.refused).count();
        [
            at_most("until told yes or no", within.as_millis() as u64, slowest.as_millis() as u64, " ms"),
            Check::new("refused while it was known", "at least 1", refused.to_string(), refused > 0),
        ]
    }

    fn degraded_while_it_lasted(&self, back_max_ms: u64) -> Vec<Check> {
        let each = self.struck.iter().flat_map(|fault| {
            let (turns, degraded) = ledger::degraded_during(self.turns, self.written, *fault);
            let back = ledger::back_after(self.turns, self.written, *fault).as_millis() as u64;
            [
                at_least("degraded answers while it lasted", 0.99, share(degraded, turns)),
                at_most("degraded answers after its end", back_max_ms, back, " ms"),
            ]
        });
        each.collect()
    }
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn at_most(name: &'static str, limit: u64, seen: u64, unit: &str) -> Check {
    Check::new(name, format!("at most {limit}{unit}"), format!("{seen}{unit}"), seen <= limit)
}

fn at_least(name: &'static str, limit: f64, seen: f64) -> Check {
    Check::new(name, format!("at least {:.1} %", limit * 100.0), format!("{:.1} %", seen * 100.0), seen >= limit)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{super::ledger::Outcome, *};

    fn turn(number: usize, issued: Instant, waited_ms: u64) -> Turn {
        let knock = Knock { at: issued, waited: Duration::from_millis(waited_ms), refused: waited_ms > 1_000 };
        Turn {
            conversation: format!("c{number}"),
            number: 0,
            key: format!("c{number}-0"),
            issued,
            ended: Some(issued + Duration::from_millis(waited_ms)),
            accepted: true,
            outcome: Outcome::Answered,
            last_frames: 1,
            restarts: 0,
            restarted: None,
            text: String::new(),
            words: Vec::new(),
            errors: Vec::new(),
            knocks: vec![knock],
        }
    }

    /// Ten answers of 100 ms, then a fault of 10 s, with one turn in it that takes `waited_ms`.
    #[track_caller]
    fn check(expected: Expected, waited_ms: u64, name: &str, passes: bool) {
        let now = Instant::now();
        let at = |s: u64| now + Duration::from_secs(s);
        let mut turns: Vec<_> = (0..10).map(|n| turn(n, at(0), 100)).collect();
        turns.push(turn(10, at(5), waited_ms));
        let (struck, written) = ([Struck { at: at(1), healed: at(11) }], HashMap::new());
        let seen = Seen { turns: &turns, written: &written, struck: &struck, clocks: Clocks { now, unix_ms: 0 } };
        let (figures, laws) = (seen.figures(), Laws { issued: 11, answered: 11, ..Laws::default() });
        let checks = seen.checks(&expected, 1.0, &laws, &figures);
        let found = checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(found.passed, passes, "{found:?}");
    }

    #[test]
    fn what_is_expected_is_held_against_what_came() {
        let told = Told { known_after: Duration::from_secs(2), within: Duration::from_secs(2) };
        let known = Expected { told: Some(told), ..Expected::default() };
        check(known, 1_900, "until told yes or no", true);
        check(known, 2_100, "until told yes or no", false);
        check(known, 100, "refused while it was known", false);
        let p99 = Expected { p99_factor_max: Some(2.0), ..Expected::default() };
        check(p99, 190, "p99 since the first fault", true);
        check(p99, 210, "p99 since the first fault", false);
        let degraded = Expected { degraded_until: Some(Duration::from_secs(15)), ..Expected::default() };
        check(degraded, 100, "degraded answers while it lasted", false);
        check(degraded, 100, "degraded answers after its end", true);
        check(Expected::default(), 6_099, "longer than the median", true);
        check(Expected::default(), 6_200, "longer than the median", false);
        check(Expected { dead_min: 1, ..Expected::default() }, 100, "dead letters", false);
    }
}
