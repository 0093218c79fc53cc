//! What was sent and what became of it: counts, latencies and how both went over time; several of them add up to one.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies are told apart to three digits, from 1 µs to two minutes; what took longer counts as two minutes.
const LONGEST_US: u64 = 120_000_000;

/// Kinds of errors that are counted by name; a broken peer could bring any number of them.
const ERROR_KINDS_MAX: usize = 32;

/// Microseconds, kept as a histogram; None until there is one. On the wire it is pairs of a value and its count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(super) struct Latencies(Option<Histogram<u64>>);

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Answered,
    /// Refused because there is too much: 429 or 503.
    Shed {
        has_retry_after: bool,
    },
    /// The desk itself said that the deadline was over.
    Expired,
    /// Another refusal, a broken connection, or no answer at all in what came.
    Failed(String),
}

/// One message from the moment at which it was meant to be sent to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) verdict: Verdict,
    pub(super) took_us: u64,
    pub(super) first_frame_us: Option<u64>,
    pub(super) first_text_us: Option<u64>,
    /// In which window it ended.
    pub(super) window: usize,
    /// Before the last message was due.
    pub(super) is_within: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) window_s: f64,
    pub(super) issued: u64,
    /// In time.
    pub(super) answered: u64,
    /// Of these, before the last message was due: what a rate is made of.
    pub(super) answered_within: u64,
    pub(super) shed: u64,
    pub(super) shed_without_retry_after: u64,
    /// Answered past the deadline, or expired.
    pub(super) late: u64,
    pub(super) errors: u64,
    /// Sent, or due to be sent, without an end when the run ended.
    pub(super) unanswered: u64,
    pub(super) error_kinds: BTreeMap<String, u64>,
    /// Of all answers, late ones too: leaving them out would flatter.
    pub(super) latency: Latencies,
    pub(super) first_frame: Latencies,
    pub(super) first_text: Latencies,
    /// Of what was shed.
    pub(super) refusal: Latencies,
    /// How much later than meant the load generator sent.
    pub(super) send_lag: Latencies,
    pub(super) windows: Vec<Window>,
    pub(super) connections: u64,
    pub(super) reconnects: u64,
    /// The load generator's own.
    pub(super) cpu_us: u64,
    /// From the first moment to the last answer.
    pub(super) lasted_s: f64,
}

/// One stretch of a run: by the moment at which a message was due, and at which one ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    pub(super) issued: u64,
    pub(super) answered: u64,
    pub(super) shed: u64,
    pub(super) failed: u64,
    pub(super) latency: Latencies,
}

impl Latencies {
    pub(super) fn record(&mut self, us: u64) {
        self.record_n(us, 1);
    }

    fn record_n(&mut self, us: u64, count: u64) {
        // The bounds are constants that the library takes.
        let own = match &mut self.0 {
            Some(own) => own,
            none => match Histogram::new_with_bounds(1, LONGEST_US, 3) {
                Ok(new) => none.insert(new),
                Err(_) => return,
            },
        };
        own.saturating_record_n(us.max(1), count);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (_, None) => {}
            (none @ None, Some(_)) => none.clone_from(&other.0),
            // The same bounds: nothing that could not be added.
            (Some(own), Some(other)) => drop(own.add(other)),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// In milliseconds; 0 of nothing.
    pub(super) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.as_ref().map_or(0.0, |own| rounded(own.value_at_quantile(quantile) as f64 / 1e3))
    }

    pub(super) fn max_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |own| rounded(own.max() as f64 / 1e3))
    }

    pub(super) fn mean_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |own| rounded(own.mean() / 1e3))
    }
}

/// To the microsecond.
fn rounded(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

impl From<Vec<(u64, u64)>> for Latencies {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut own = Self::default();
        pairs.into_iter().for_each(|(us, count)| own.record_n(us, count));
        own
    }
}

impl From<Latencies> for Vec<(u64, u64)> {
    fn from(latencies: Latencies) -> Self {
        let Some(own) = latencies.0 else { return Vec::new() };
        own.iter_recorded().map(|step| (step.value_iterated_to(), step.count_since_last_iteration())).collect()
    }
}

impl Tally {
    pub(super) fn new(window_s: f64) -> Self {
        Self { window_s, ..Self::default() }
    }

    pub(super) fn issued(&mut self, window: usize) {
        self.issued += 1;
        self.window(window).issued += 1;
    }

    /// An end; `deadline_us` is when an answer comes too late.
    pub(super) fn ended(&mut self, ended: Ended, deadline_us: u64) {
        let Ended { verdict, took_us, first_frame_us, first_text_us, window, is_within } = ended;
        match &verdict {
            Verdict::Answered => {
                self.latency.record(took_us);
                self.window(window).latency.record(took_us);
                first_frame_us.into_iter().for_each(|us| self.first_frame.record(us));
                first_text_us.into_iter().for_each(|us| self.first_text.record(us));
            }
            Verdict::Shed { .. } => self.refusal.record(took_us),
            Verdict::Expired | Verdict::Failed(_) => {}
        }
        match verdict {
            Verdict::Answered if took_us <= deadline_us => {
                self.answered += 1;
                self.answered_within += u64::from(is_within);
                self.window(window).answered += 1;
            }
            Verdict::Answered | Verdict::Expired => {
                self.late += 1;
                self.window(window).failed += 1;
            }
            Verdict::Shed { has_retry_after } => {
                self.shed += 1;
                self.shed_without_retry_after += u64::from(!has_retry_after);
                self.window(window).shed += 1;
            }
            Verdict::Failed(kind) => {
                self.errors += 1;
                self.window(window).failed += 1;
                self.error(kind, 1);
            }
        }
    }

    /// What has no end when a run is over.
    pub(super) fn close(&mut self, lasted_s: f64) {
        let ended = self.answered + self.shed + self.late + self.errors;
        self.unanswered = self.issued.saturating_sub(ended);
        self.lasted_s = lasted_s;
    }

    /// Whether every message that was issued is counted once.
    pub(super) fn is_whole(&self) -> bool {
        self.issued == self.answered + self.shed + self.late + self.errors + self.unanswered
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.window_s = self.window_s.max(other.window_s);
        self.issued += other.issued;
        self.answered += other.answered;
        self.answered_within += other.answered_within;
        self.shed += other.shed;
        self.shed_without_retry_after += other.shed_without_retry_after;
        self.late += other.late;
        self.errors += other.errors;
        self.unanswered += other.unanswered;
        other.error_kinds.iter().for_each(|(kind, count)| self.error(kind.clone(), *count));
        self.latency.merge(&other.latency);
        self.first_frame.merge(&other.first_frame);
        self.first_text.merge(&other.first_text);
        self.refusal.merge(&other.refusal);
        self.send_lag.merge(&other.send_lag);
        for (at, theirs) in other.windows.iter().enumerate() {
            let own = self.window(at);
            own.issued += theirs.issued;
            own.answered += theirs.answered;
            own.shed += theirs.shed;
            own.failed += theirs.failed;
            own.latency.merge(&theirs.latency);
        }
        self.connections += other.connections;
        self.reconnects += other.reconnects;
        self.cpu_us += other.cpu_us;
        self.lasted_s = self.lasted_s.max(other.lasted_s);
    }

    /// What came of a later run.
    pub(super) fn append(&mut self, other: &Self) {
        let (windows, lasted_s) = (std::mem::take(&mut self.windows), self.lasted_s);
        self.merge(&Self { windows: Vec::new(), ..other.clone() });
        self.windows = windows.into_iter().chain(other.windows.iter().cloned()).collect();
        self.lasted_s = lasted_s + other.lasted_s;
    }

    fn error(&mut self, kind: String, count: u64) {
        let known = self.error_kinds.contains_key(&kind) || self.error_kinds.len() < ERROR_KINDS_MAX;
        *self.error_kinds.entry(if known { kind } else { "others".into() }).or_default() += count;
    }

    fn window(&mut self, at: usize) -> &mut Window {
        if at >= self.windows.len() {
            self.windows.resize_with(at + 1, Window::default);
        }
        &mut self.windows[at]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEADLINE_US: u64 = 1_000_000;

    fn ended(verdict: Verdict, took_us: u64) -> Ended {
        Ended {
            verdict,
            took_us,
            first_frame_us: None,
            first_text_us: None,
            window: (took_us / 500_000) as usize,
            is_within: true,
        }
    }

    fn verdicts() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            Just(Verdict::Answered),
            Just(Verdict::Shed { has_retry_after: true }),
            Just(Verdict::Shed { has_retry_after: false }),
            Just(Verdict::Expired),
            "[a-z]{1,2}".prop_map(Verdict::Failed),
        ]
    }

    fn tallied(all: &[(Verdict, u64)], open: u64) -> Tally {
        let mut tally = Tally::new(0.5);
        (0..all.len() as u64 + open).for_each(|at| tally.issued(at as usize % 3));
        all.iter().for_each(|(verdict, us)| tally.ended(ended(verdict.clone(), *us), DEADLINE_US));
        tally.close(2.0);
        tally
    }

    #[test]
    fn late_answers_are_late_and_their_latency_counts() {
        let tally = tallied(&[(Verdict::Answered, 2_000), (Verdict::Answered, 1_500_000)], 1);
        assert_eq!((tally.answered, tally.late, tally.unanswered), (1, 1, 1));
        assert!((tally.latency.max_ms() - 1_500.0).abs() < 1.5, "{}", tally.latency.max_ms());
    }

    proptest! {
        #[test]
        fn nothing_is_counted_twice_or_left_out(
            all in prop::collection::vec((verdicts(), 1..3_000_000u64), 0..80), open in 0..9u64,
        ) {
            let tally = tallied(&all, open);
            prop_assert!(tally.is_whole());
            prop_assert_eq!(tally.unanswered, open);
            let sum = |part: fn(&Window) -> u64| tally.windows.iter().map(part).sum::<u64>();
            prop_assert_eq!(sum(|one| one.issued), tally.issued);
            prop_assert_eq!(sum(|one| one.answered), tally.answered);
            prop_assert_eq!(sum(|one| one.failed), tally.late + tally.errors);
            prop_assert!(tally.error_kinds.len() <= ERROR_KINDS_MAX + 1);
            prop_assert_eq!(tally.error_kinds.values().sum::<u64>(), tally.errors);
        }

        /// What two senders saw, over the wire and together, is what one would have seen.
        #[test]
        fn parts_add_up_to_the_whole(
            all in prop::collection::vec((verdicts(), 1..3_000_000u64), 0..80), cut in 0usize..80,
        ) {
            let whole = tallied(&all, 0);
            let (one, two) = all.split_at(cut.min(all.len()));
            let mut merged = Tally::default();
            for part in [one, two] {
                let wire = serde_json::to_string(&tallied(part, 0)).unwrap();
                merged.merge(&serde_json::from_str(&wire).unwrap());
            }
            prop_assert!(merged.is_whole());
            prop_assert_eq!(merged.latency.count(), whole.latency.count());
            for quantile in [0.5, 0.9, 0.99, 1.0] {
                let (a, b) = (merged.latency.quantile_ms(quantile), whole.latency.quantile_ms(quantile));
                prop_assert!((a - b).abs() <= a.max(b) * 0.002 + 0.001, "{a} {b}");
            }
            prop_assert_eq!(merged.shed_without_retry_after, whole.shed_without_retry_after);
        }
    }
}
