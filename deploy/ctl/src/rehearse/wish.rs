//! PURE: how many replicas a ScaledObject's triggers call for, given what was read of the fleet.

use super::{
    manifest::{Scaled, Trigger},
    replicas::{self, Pod},
};

/// What was read at one look; times are the cluster's.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reading {
    /// None when the broker did not say.
    pub(super) lag: Option<Lag>,
    /// Work under way and room for it, over all ready workers.
    pub(super) running: f64,
    pub(super) permits: f64,
    /// Pods that exist, as they say what they use.
    pub(super) pods: Vec<Pod>,
}

/// The consumer's own figures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Lag {
    pub(super) waiting: u64,
    pub(super) running: u64,
    /// How long the oldest message has lain there.
    pub(super) oldest_s: f64,
}

impl Reading {
    fn ready(&self) -> u32 {
        self.pods.iter().filter(|pod| **pod != Pod::Unready).count() as u32
    }
}

/// How many replicas there should be. `shrunk` is what one pod here is of one in the manifests.
pub(super) fn wish(scaled: &Scaled, reading: &Reading, current: u32, shrunk: f64) -> u32 {
    let of = |trigger: &Trigger| match trigger {
        // KEDA's `num_pending + num_ack_pending` of the consumer.
        Trigger::Lag { threshold, .. } => {
            reading.lag.map(|lag| replicas::by_average((lag.waiting + lag.running) as f64, threshold * shrunk, current))
        }
        Trigger::Cpu { utilisation } => {
            replicas::by_utilisation(&reading.pods, scaled.requested_cores * shrunk, *utilisation, current)
        }
        Trigger::Query { query, threshold, each } => answer(query, reading).map(|value| match each {
            true => replicas::by_average(value, *threshold, current),
            false => replicas::by_value(value, *threshold, current, reading.ready()),
        }),
    };
    let wishes: Vec<Option<u32>> = scaled.triggers.iter().map(of).collect();
    replicas::together(&wishes, current)
}

/// Whether a question to Prometheus can be answered here.
pub(super) fn knows(query: &str) -> bool {
    answer(query, &Reading { lag: Some(Lag::default()), permits: 1.0, ..Reading::default() }).is_some()
}

/// What Prometheus would answer, for the questions that our manifests ask: there is none here, but what it would have
/// scraped is. None for any other question.
fn answer(query: &str, reading: &Reading) -> Option<f64> {
    let asks = |metric: &str| query.contains(metric);
    if asks("talkfleet_queue_oldest_age_seconds") {
        let lag = reading.lag?;
        // Guarded by "more wait than all workers together take"; an empty answer is 0 to KEDA.
        let more = (lag.waiting + lag.running) as f64 > reading.permits;
        return Some(if more || !asks("talkfleet_permits") { lag.oldest_s } else { 0.0 });
    }
    if asks("talkfleet_queue_pending") {
        return reading.lag.map(|lag| (lag.waiting + lag.running) as f64);
    }
    let busy = asks("talkfleet_running") && asks("talkfleet_permits") && reading.permits > 0.0;
    busy.then(|| reading.running / reading.permits)
}

#[cfg(test)]
mod tests {
    use super::{
        super::behavior::{Behavior, Rules},
        *,
    };

    const OLDEST: &str =
        "max(talkfleet_queue_oldest_age_seconds) and max(talkfleet_queue_pending) > sum(talkfleet_permits)";

    fn scaled(triggers: Vec<Trigger>) -> Scaled {
        let behavior = Behavior { up: Rules::default_up(), down: Rules::default_down(), min: 2, max: 50 };
        Scaled { name: "response".into(), behavior, triggers, requested_cores: 1.0 }
    }

    fn lag_trigger() -> Trigger {
        Trigger::Lag { stream: "ASK".into(), consumer: "response".into(), threshold: 45.0 }
    }

    fn reading(waiting: u64, running: u64, oldest_s: f64) -> Reading {
        Reading {
            lag: Some(Lag { waiting, running, oldest_s }),
            running: running as f64,
            permits: 8.0,
            pods: vec![Pod::Says(0.1); 4],
        }
    }

    #[test]
    fn lag_is_what_waits_and_what_is_answered() {
        let lag = scaled(vec![lag_trigger()]);
        // A thirty-second of a worker: 1.4 messages for each replica.
        assert_eq!(wish(&lag, &reading(3, 4, 0.0), 2, 1.0 / 32.0), 5);
        assert_eq!(wish(&lag, &Reading::default(), 2, 1.0 / 32.0), 2, "a broker that does not say");
    }

    #[test]
    fn age_counts_once_more_wait_than_are_taken() {
        let age = scaled(vec![Trigger::Query { query: OLDEST.into(), threshold: 10.0, each: false }]);
        assert_eq!(wish(&age, &reading(20, 8, 15.0), 4, 1.0), 6);
        assert_eq!(wish(&age, &reading(0, 8, 15.0), 4, 1.0), 0, "long answers are no lag");
    }

    #[test]
    fn a_question_that_cannot_be_answered_takes_nothing_away() {
        let unknown = Trigger::Query { query: "up".into(), threshold: 1.0, each: false };
        assert!(!knows("up") && knows(OLDEST) && knows("sum(talkfleet_running) / sum(talkfleet_permits)"));
        assert_eq!(wish(&scaled(vec![lag_trigger(), unknown]), &reading(0, 1, 0.0), 4, 1.0), 4);
    }
}
