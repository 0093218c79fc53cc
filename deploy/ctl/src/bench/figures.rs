//! What a run came to in figures: rates, latencies, and what a turn cost which process.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    measure::Measured,
    tally::{Latencies, Tally},
};

/// Everything that is told of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    /// In time, over the run.
    pub(super) turns_per_s: f64,
    pub(super) offered_per_s: f64,
    pub(super) seconds: f64,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
    pub(super) max_ms: f64,
    pub(super) mean_ms: f64,
    /// Of faces that stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_frame_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_frame_p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_text_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_text_p99_ms: Option<f64>,
    /// issued = answered + shed + late + errors + unanswered.
    pub(super) issued: u64,
    pub(super) answered: u64,
    pub(super) shed: u64,
    pub(super) late: u64,
    pub(super) errors: u64,
    pub(super) unanswered: u64,
    pub(super) shed_without_retry_after: u64,
    pub(super) refusal_p50_ms: f64,
    pub(super) refusal_p99_ms: f64,
    pub(super) error_kinds: BTreeMap<String, u64>,
    /// CPU time of all processes for an answer, the load generator apart; None when no process is watched.
    pub(super) cpu_us_per_turn: Option<f64>,
    /// The same by process.
    pub(super) cpu_us: BTreeMap<String, f64>,
    pub(super) load_generator_cpu_us: f64,
    pub(super) rss_mib: BTreeMap<String, f64>,
    pub(super) descriptors: BTreeMap<String, u64>,
    pub(super) threads: BTreeMap<String, u64>,
    /// How much later than meant the load generator sent: beyond a millisecond it is itself what is slow.
    pub(super) send_lag_p99_ms: f64,
    pub(super) connections: u64,
    pub(super) reconnects: u64,
    /// Cores that other work on this machine kept busy meanwhile; the figures are worse for it.
    pub(super) others_cores: f64,
}

impl Figures {
    pub(super) fn of(measured: &Measured) -> Self {
        let Measured { tally, costs, load } = measured;
        let turns = (tally.answered + tally.late).max(1) as f64;
        let seconds = load.seconds();
        // A tail that is still answered after the last message belongs to the run.
        let lasted = tally.lasted_s.max(seconds).max(0.001);
        let each = |cost: &super::cost::Cost| (cost.name.clone(), tenth(cost.cpu_us as f64 / turns));
        let cpu_us: BTreeMap<String, f64> = costs.processes.iter().map(each).collect();
        let all_us: u64 = costs.processes.iter().map(|cost| cost.cpu_us).sum();
        let others_us = costs.machine_us.saturating_sub(all_us + tally.cpu_us);
        let streamed = |of: &Latencies, quantile: f64| (of.count() > 0).then(|| of.quantile_ms(quantile));
        Self {
            turns_per_s: tenth(tally.answered_within as f64 / seconds.max(0.001)),
            offered_per_s: tenth(tally.issued as f64 / seconds.max(0.001)),
            seconds,
            mean_ms: tally.latency.mean_ms(),
            first_frame_p50_ms: streamed(&tally.first_frame, 0.5),
            first_frame_p99_ms: streamed(&tally.first_frame, 0.99),
            first_text_p50_ms: streamed(&tally.first_text, 0.5),
            first_text_p99_ms: streamed(&tally.first_text, 0.99),
            refusal_p50_ms: tally.refusal.quantile_ms(0.5),
            refusal_p99_ms: tally.refusal.quantile_ms(0.99),
            cpu_us_per_turn: (!costs.processes.is_empty()).then(|| tenth(all_us as f64 / turns)),
            cpu_us,
            load_generator_cpu_us: tenth(tally.cpu_us as f64 / tally.issued.max(1) as f64),
            rss_mib: costs.processes.iter().map(|cost| (cost.name.clone(), mib(cost.rss_bytes))).collect(),
            descriptors: costs.processes.iter().map(|cost| (cost.name.clone(), cost.descriptors)).collect(),
            threads: costs.processes.iter().map(|cost| (cost.name.clone(), cost.threads)).collect(),
            others_cores: (others_us as f64 / 1e6 / lasted * 100.0).round() / 100.0,
            ..Self::of_tally(tally)
        }
    }

    fn of_tally(tally: &Tally) -> Self {
        let at = |quantile| tally.latency.quantile_ms(quantile);
        Self {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: tally.latency.max_ms(),
            issued: tally.issued,
            answered: tally.answered,
            shed: tally.shed,
            late: tally.late,
            errors: tally.errors,
            unanswered: tally.unanswered,
            shed_without_retry_after: tally.shed_without_retry_after,
            error_kinds: tally.error_kinds.clone(),
            send_lag_p99_ms: tally.send_lag.quantile_ms(0.99),
            connections: tally.connections,
            reconnects: tally.reconnects,
            ..Self::default()
        }
    }

    /// The share of messages that were answered in time.
    pub(super) fn goodput(&self) -> f64 {
        self.answered as f64 / self.issued.max(1) as f64
    }
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

pub(super) fn mib(bytes: u64) -> f64 {
    tenth(bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{
        cost::{Cost, Costs},
        driver::Load,
        schedule::{Schedule, Shape, Spacing},
        tally::{Ended, Verdict},
    };

    /// 100 messages in 10 s: 96 answered in 1 to 96 ms, two shed, one error, one that never ends.
    pub(in crate::bench) fn measured() -> Measured {
        let mut tally = Tally::new(1.0);
        (0..100).for_each(|at| tally.issued(at / 10));
        let ended = |verdict, ms: u64| Ended {
            verdict,
            took_us: ms * 1_000,
            first_frame_us: Some(ms * 100),
            first_text_us: None,
            window: ms as usize / 10,
            is_within: true,
        };
        (1..=96).for_each(|ms| tally.ended(ended(Verdict::Answered, ms), 1_000_000));
        (1..=2).for_each(|ms| tally.ended(ended(Verdict::Shed { has_retry_after: ms == 1 }, ms), 1_000_000));
        tally.ended(ended(Verdict::Failed("status 500".into()), 1), 1_000_000);
        tally.close(10.0);
        tally.cpu_us = 1_000;
        let cost =
            |name: &str, cpu_us| Cost { name: name.into(), cpu_us, rss_bytes: 3 << 20, descriptors: 9, threads: 2 };
        let costs = Costs {
            processes: vec![cost("nats", 960), cost("gateway", 4_800)],
            samples: vec![],
            machine_us: 5_006_760,
        };
        let schedule = Schedule { shape: Shape::Steady, spacing: Spacing::Even, rate: 10.0, seconds: 10.0 };
        Measured { tally, costs, load: Load::Open(schedule) }
    }

    #[test]
    fn figures_follow_from_what_was_counted() {
        let figures = Figures::of(&measured());
        assert_eq!((figures.turns_per_s, figures.offered_per_s), (9.6, 10.0));
        assert_eq!((figures.answered, figures.shed, figures.errors, figures.unanswered), (96, 2, 1, 1));
        assert_eq!(figures.shed_without_retry_after, 1);
        assert!((figures.p50_ms - 48.0).abs() < 0.1 && (figures.max_ms - 96.0).abs() < 0.2, "{figures:?}");
        assert!((figures.first_frame_p99_ms.unwrap() - 9.6).abs() < 0.1 && figures.first_text_p50_ms.is_none());
        assert_eq!(
            (figures.cpu_us_per_turn, figures.cpu_us["gateway"], figures.cpu_us["nats"]),
            (Some(60.0), 50.0, 10.0)
        );
        assert_eq!((figures.load_generator_cpu_us, figures.rss_mib["nats"]), (10.0, 3.0));
        assert_eq!(figures.others_cores, 0.5);
        assert!((figures.goodput() - 0.96).abs() < 1e-9);
    }
}
