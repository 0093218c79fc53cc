//! What a scenario came to: the laws, the figures, what was expected of them, and the verdict.

use std::fmt;

use serde::Serialize;

use super::ledger::Laws;

/// One scenario's outcome.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) scenario: &'static str,
    pub(super) what: &'static str,
    pub(super) seed: u64,
    pub(super) passed: bool,
    pub(super) laws: Laws,
    pub(super) figures: Figures,
    /// Each with what was expected and what was seen.
    pub(super) checks: Vec<Check>,
    /// Tries of customers that were refused or broken, by kind.
    pub(super) errors: std::collections::BTreeMap<String, usize>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) faults: usize,
    /// Processes that ended during the run.
    pub(super) deaths: u32,
    pub(super) latency_p50_ms: u64,
    pub(super) latency_p99_ms: u64,
    pub(super) latency_max_ms: u64,
    /// Without the wait behind an earlier message of the same conversation.
    pub(super) own_p50_ms: u64,
    pub(super) own_max_ms: u64,
    /// The same without what was lost of an answer that had to be begun anew.
    pub(super) besides_lost_max_ms: u64,
    /// The most that was lost of one.
    pub(super) lost_max_ms: u64,
    /// The longest wait behind an earlier message.
    pub(super) behind_max_ms: u64,
    /// Own times of turns answered before the first fault, and of the rest.
    pub(super) own_p99_before_ms: u64,
    pub(super) own_p99_since_ms: u64,
    /// From a blow until an answer that it cut off was begun anew; what had been made of it by then is lost.
    pub(super) begun_anew_max_ms: u64,
    /// Time without an answer after a fault.
    pub(super) gap_p50_ms: u64,
    pub(super) gap_max_ms: u64,
    /// Answers that a customer saw begin anew.
    pub(super) restarts: usize,
    /// Answers that were made with something missing.
    pub(super) degraded: usize,
    /// Records that reached the archive.
    pub(super) archived: usize,
    /// Until the last of them had, from the end of the last customer's wait.
    pub(super) archived_after_ms: u64,
    pub(super) dead_letters: usize,
    /// What the process that grew most holds more than before the first fault.
    pub(super) memory_growth_mb: u64,
    /// The slowest of those that were asked to leave and did.
    pub(super) exit_max_ms: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) expected: String,
    pub(super) seen: String,
    pub(super) passed: bool,
}

impl Check {
    pub(super) fn new(name: &'static str, expected: impl Into<String>, seen: impl Into<String>, passed: bool) -> Self {
        Self { name, expected: expected.into(), seen: seen.into(), passed }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (laws, figures) = (&self.laws, &self.figures);
        writeln!(f, "{}: {} (seed {})", self.scenario, self.what, self.seed)?;
        writeln!(
            f,
            "  issued {} = answered {} + refused {} + failed {} + expired {} + cancelled {} + unknown {}",
            laws.issued, laws.answered, laws.refused, laws.failed, laws.expired, laws.cancelled, laws.unknown
        )?;
        writeln!(
            f,
            "  accepted without outcome {}, second last frames {}, shown unlike written {}, out of order {}, spoken after takeover {}, strangers {}",
            laws.accepted_without_outcome,
            laws.second_last_frames,
            laws.shown_unlike_written,
            laws.out_of_order,
            laws.spoken_after_takeover,
            laws.strangers
        )?;
        writeln!(
            f,
            "  {} faults, {} processes died; gap p50 {} ms, max {} ms; latency p50 {} ms, p99 {} ms, max {} ms; {} restarts, {} degraded, {} dead letters",
            figures.faults,
            figures.deaths,
            figures.gap_p50_ms,
            figures.gap_max_ms,
            figures.latency_p50_ms,
            figures.latency_p99_ms,
            figures.latency_max_ms,
            figures.restarts,
            figures.degraded,
            figures.dead_letters
        )?;
        writeln!(
            f,
            "  without waits behind own messages (at most {} ms): p50 {} ms, max {} ms; p99 before the first fault {} ms, since {} ms; begun anew after {} ms, with {} ms of an answer lost",
            figures.behind_max_ms,
            figures.own_p50_ms,
            figures.own_max_ms,
            figures.own_p99_before_ms,
            figures.own_p99_since_ms,
            figures.begun_anew_max_ms,
            figures.lost_max_ms
        )?;
        writeln!(
            f,
            "  {} rows archived after {} ms; memory grew by at most {} MB; slowest exit {} ms",
            figures.archived, figures.archived_after_ms, figures.memory_growth_mb, figures.exit_max_ms
        )?;
        if !self.errors.is_empty() {
            let errors: Vec<_> = self.errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            writeln!(f, "  tries that failed: {}", errors.join(", "))?;
        }
        for check in &self.checks {
            let mark = if check.passed { "ok  " } else { "FAIL" };
            writeln!(f, "  {mark} {}: {} (expected {})", check.name, check.seen, check.expected)?;
        }
        write!(f, "  {}", if self.passed { "every promise was kept" } else { "A PROMISE WAS BROKEN" })
    }
}

/// The table of recoveries: one line a scenario.
pub(super) fn table(reports: &[Report]) -> String {
    let mut text =
        format!("{:<18} {:>9} {:>9} {:>9} {:>6}  VERDICT\n", "SCENARIO", "GAP P50", "GAP MAX", "ISSUED", "LOST");
    for report in reports {
        let verdict = if report.passed { "ok" } else { "FAILED" };
        text += &format!(
            "{:<18} {:>6} ms {:>6} ms {:>9} {:>6}  {verdict}\n",
            report.scenario,
            report.figures.gap_p50_ms,
            report.figures.gap_max_ms,
            report.laws.issued,
            report.laws.accepted_without_outcome
        );
    }
    text
}
