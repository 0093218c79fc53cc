//! What a publishing run counted: issued = answered + refused + failed + expired + cancelled + unanswered.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use talkfleet_shared::{bus::SubmitError, chat::Kind};

/// The longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;

#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) accepted: u64,
    pub(super) skipped: u64,
    pub(super) failed: u64,
    pub(super) expired: u64,
    pub(super) cancelled: u64,
    pub(super) unanswered: u64,
    pub(super) second_last_frames: u64,
    pub(super) elapsed: Duration,
    answered: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, u64>,
    latency_us: Histogram<u64>,
}

impl Default for Report {
    fn default() -> Self {
        // Three digits over ten minutes; these bounds cannot fail, and a histogram without bounds grows by itself.
        let latency_us = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3);
        Self {
            accepted: 0,
            skipped: 0,
            failed: 0,
            expired: 0,
            cancelled: 0,
            unanswered: 0,
            second_last_frames: 0,
            elapsed: Duration::ZERO,
            answered: BTreeMap::new(),
            refused: BTreeMap::new(),
            latency_us: latency_us.unwrap_or_else(|_| unreachable!("constant bounds")),
        }
    }
}

impl Report {
    pub(super) fn answered(&mut self, kind: Kind) {
        *self.answered.entry(kind.name()).or_default() += 1;
    }

    pub(super) fn refused(&mut self, error: &SubmitError) {
        let why = match error {
            SubmitError::Busy => "conversation_busy",
            SubmitError::Full => "overloaded",
            SubmitError::TooLarge => "body_too_large",
            SubmitError::Unknown(_) => "broker_away",
        };
        *self.refused.entry(why).or_default() += 1;
    }

    pub(super) fn latency(&mut self, latency: Duration) {
        self.latency_us.saturating_record((latency.as_micros() as u64).max(1));
    }

    /// Whether every message was answered.
    pub(super) fn is_clean(&self) -> bool {
        self.refused.is_empty() && self.failed + self.expired + self.unanswered + self.second_last_frames == 0
    }

    fn issued(&self) -> u64 {
        self.accepted + self.refused.values().sum::<u64>()
    }

    fn answers(&self) -> u64 {
        self.answered.values().sum()
    }

    fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1_000.0
    }

    fn per_s(&self) -> f64 {
        self.answers() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "issued": self.issued(),
            "accepted": self.accepted,
            "answered": self.answers(),
            "kinds": self.answered,
            "refused": self.refused,
            "failed": self.failed,
            "expired": self.expired,
            "cancelled": self.cancelled,
            "unanswered": self.unanswered,
            "second_last_frames": self.second_last_frames,
            "skipped": self.skipped,
            "elapsed_ms": self.elapsed.as_millis() as u64,
            "answered_per_s": self.per_s(),
            "p50_ms": self.quantile_ms(0.5),
            "p95_ms": self.quantile_ms(0.95),
            "p99_ms": self.quantile_ms(0.99),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<&str, u64>| {
            counts.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "issued      {} ({} lines skipped)", self.issued(), self.skipped)?;
        writeln!(f, "answered    {} ({})", self.answers(), list(&self.answered))?;
        writeln!(f, "refused     {} {}", self.refused.values().sum::<u64>(), list(&self.refused))?;
        writeln!(
            f,
            "failed      {}, expired {}, cancelled {}, unanswered {}",
            self.failed, self.expired, self.cancelled, self.unanswered
        )?;
        writeln!(f, "rate        {:.0} answers/s over {:.1} s", self.per_s(), self.elapsed.as_secs_f64())?;
        write!(
            f,
            "latency     p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
            self.quantile_ms(0.5),
            self.quantile_ms(0.95),
            self.quantile_ms(0.99)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_counted_once() {
        let mut report = Report { accepted: 3, expired: 1, ..Report::default() };
        report.answered(Kind::Answer);
        report.answered(Kind::Refusal);
        report.refused(&SubmitError::Busy);
        let json = report.to_json();
        assert_eq!(
            (json["issued"].as_u64(), json["answered"].as_u64(), json["refused"]["conversation_busy"].as_u64()),
            (Some(4), Some(2), Some(1))
        );
        assert!(!report.is_clean());
    }
}
