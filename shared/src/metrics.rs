//! Every metric, once; each process, and each process within a test, has a registry of its own.

use std::{fmt::Write, sync::Arc};

/// For those who look one up once and note it often.
pub use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{family::Family, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

/// Bucket bounds of durations in seconds: 100 µs to 30 s, three a decade.
const SECONDS: [f64; 17] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

macro_rules! labels {
    ($($name:ident { $($label:ident),* })*) => {$(
        /// Labels of bounded value, all of them our own words.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name {
            $(pub $label: &'static str),*
        }
    )*};
}

labels! {
    Face { face }
    FaceOutcome { face, outcome }
    FaceCode { face, code }
    Stage { stage, outcome }
    Turn { outcome, kind, rung, release }
    Role { role }
    Reason { reason }
    Direction { direction }
    Row { table }
    CacheOutcome { cache, outcome }
    CacheSource { cache, source }
    Target { target }
    Pool { pool }
    Lane { lane }
    Class { class }
    Consumer { consumer }
    Verdict { verdict, kind }
    Part { part }
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Bucket bounds of confidences: the plan's thresholds lie in the middle, and a model that drifts shows at both ends.
const CONFIDENCES: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident : $kind:ty = $make:expr, $name:literal $(, $unit:ident)?;)*) => {
        /// The metrics of one process.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)*
        }

        impl Metrics {
            /// A fresh set, for the process that goes by `service` (`gateway` or `worker`).
            pub fn new(service: &'static str) -> Arc<Self> {
                let mut registry = Registry::with_prefix("talkfleet");
                registry.register("build", "Which build runs", Info::new([("service", service), ("version", env!("CARGO_PKG_VERSION"))]));
                $(
                    let $field: $kind = $make;
                    metrics!(@register registry, $name, concat!($($help),+), $field $(, $unit)?);
                )*
                Arc::new(Self { registry, $($field),* })
            }

            /// Names as they are scraped, for checks of boards and alerts.
            pub const NAMES: &'static [&'static str] = &[$(concat!("talkfleet_", $name $(, metrics!(@suffix $unit))?)),*];
        }
    };
    (@register $registry:ident, $name:literal, $help:expr, $field:ident) => {
        $registry.register($name, $help.trim(), $field.clone());
    };
    (@register $registry:ident, $name:literal, $help:expr, $field:ident, $unit:ident) => {
        $registry.register_with_unit($name, $help.trim(), Unit::$unit, $field.clone());
    };
    (@suffix Seconds) => { "_seconds" };
}

metrics! {
    /// Requests that came in and how they ended, by face
    requests: Family<FaceOutcome, Counter> = Family::default(), "requests";
    /// Time from a request's arrival to its last byte, by face
    request_time: Family<Face, Histogram> = Family::new_with_constructor(seconds as fn() -> Histogram), "request", Seconds;
    /// Time from a request's arrival to its first word, by face
    first_frame_time: Family<Face, Histogram> = Family::new_with_constructor(seconds as fn() -> Histogram), "first_frame", Seconds;
    /// Requests that were refused, by face and code
    refusals: Family<FaceCode, Counter> = Family::default(), "refusals";
    /// Requests whose limits were looked at, by where they are kept: `redis` for all gateways together, or `local`
    limit_checks: Family<Reason, Counter> = Family::default(), "limit_checks";
    /// Scripts that looked at limits in Redis, each for as many requests as had come
    limit_scripts: Counter = Counter::default(), "limit_scripts";
    /// Whether limits are counted by this process alone since Redis is away
    limits_local: Gauge = Gauge::default(), "limits_local";
    /// Requests that were let in, by lane
    admitted: Family<Lane, Counter> = Family::default(), "admitted";
    /// Requests that were refused since there was no room for them, by reason
    shed: Family<Reason, Counter> = Family::default(), "shed";
    /// Requests that may be under way at once, by delivery class
    concurrency_limit: Family<Class, Gauge> = Family::default(), "concurrency_limit";
    /// Requests under way, by delivery class
    in_flight: Family<Class, Gauge> = Family::default(), "in_flight";
    /// Requests that wait for room, by lane
    in_line: Family<Lane, Gauge> = Family::default(), "in_line";
    /// Time that requests waited for room which did not get it at once
    dwell: Histogram = seconds(), "dwell", Seconds;
    /// Open connections, by face
    connections: Family<Face, Gauge> = Family::default(), "connections";
    /// Requests whose outcome a client waits for
    waiting: Gauge = Gauge::default(), "waiting";
    /// Turns that ended, by outcome, kind of answer, rung and release: `stable`, or `next` for a candidate beside it
    turns: Family<Turn, Counter> = Family::default(), "turns";
    /// Time from the broker's storing of an ask to its outcome
    turn_time: Histogram = seconds(), "turn", Seconds;
    /// Turns that took longer than `turn.slow_ms`
    slow_turns: Counter = Counter::default(), "slow_turns";
    /// Time that a stage took, by stage and outcome
    stage_time: Family<Stage, Histogram> = Family::new_with_constructor(seconds as fn() -> Histogram), "stage", Seconds;
    /// How sure the desk was of each message's intent, from 0 to 1
    intent_confidence: Histogram = Histogram::new(CONFIDENCES), "intent_confidence";
    /// What customers thought of answers, by verdict and kind of answer
    feedback: Family<Verdict, Counter> = Family::default(), "feedback";
    /// Messages that wait for a consumer or are in its hands, by consumer; absent while the broker does not tell
    queue_pending: Family<Consumer, Gauge> = Family::default(), "queue_pending";
    /// How long the oldest of them has lain there, by consumer
    queue_oldest_age: Family<Consumer, Gauge<f64, std::sync::atomic::AtomicU64>> = Family::default(), "queue_oldest_age", Seconds;
    /// Tokens that were refused, by reason: a stranger's, a stale one, none at all, not known yet, or left unseen
    auth_failures: Family<Reason, Counter> = Family::default(), "auth_failures";
    /// Work under way, by role
    running: Family<Role, Gauge> = Family::default(), "running";
    /// Permits, by role: how much may be under way at once
    permits: Family<Role, Gauge> = Family::default(), "permits";
    /// Deliveries that were not the first of their ask
    redeliveries: Counter = Counter::default(), "redeliveries";
    /// Messages that were set aside, by reason
    dead_letters: Family<Reason, Counter> = Family::default(), "dead_letters";
    /// Turns that ended, and messages that were dropped, before a model was called, since nobody could use the answer, by reason
    saved: Family<Reason, Counter> = Family::default(), "saved";
    /// Frames that did not leave because somebody else owns the conversation by now
    fenced_frames: Counter = Counter::default(), "fenced_frames";
    /// Calls of a model, by outcome
    model_calls: Family<Reason, Counter> = Family::default(), "model_calls";
    /// Tokens that a model charged for, by direction
    model_tokens: Family<Direction, Counter> = Family::default(), "model_tokens";
    /// Messages that a model server was to classify, by outcome; but for `ok` the built-in intents answered
    intent_remote_calls: Family<Reason, Counter> = Family::default(), "intent_remote_calls";
    /// Questions whose answer a model may just have given, by what became of the look-up
    answer_cache: Family<Reason, Counter> = Family::default(), "answer_cache";
    /// Look-ups of copies, by cache and outcome: hit, nothing, unknown, joined, miss or failed
    cache_lookups: Family<CacheOutcome, Counter> = Family::default(), "cache_lookups";
    /// What was fetched because this process had no copy, by cache and source
    cache_loads: Family<CacheSource, Counter> = Family::default(), "cache_loads";
    /// Keys in the filter of what exists; 0 while it is not filled
    cache_known: Gauge = Gauge::default(), "cache_known";
    /// Reads of the database, by target: replica, primary (there are no replicas), fallback (none would do) or refused (the
    /// primary had its fill)
    database_reads: Family<Target, Counter> = Family::default(), "database_reads";
    /// Connections to the database in use, by pool
    database_connections: Family<Pool, Gauge> = Family::default(), "database_connections";
    /// Time that a connection to the database was waited for, by pool
    database_wait: Family<Pool, Histogram> = Family::new_with_constructor(seconds as fn() -> Histogram), "database_wait", Seconds;
    /// Replicas that answer
    replicas: Gauge = Gauge::default(), "replicas";
    /// How far behind the last of the replicas that answer is at most
    replica_lag: Gauge<f64, std::sync::atomic::AtomicU64> = Gauge::default(), "replica_lag", Seconds;
    /// What models charged, in millionths of the configured prices' currency
    model_cost_micros: Counter = Counter::default(), "model_cost_micros";
    /// Answers of a model that were cut off where the passages do not support them, by reason
    ungrounded: Family<Reason, Counter> = Family::default(), "ungrounded";
    /// Records of journaled turns, which are stored after the answer was told: sent, stored and lost
    journaled: Family<Reason, Counter> = Family::default(), "journaled";
    /// Asks that came past the queue and found no room here
    direct_refused: Counter = Counter::default(), "direct_refused";
    /// The breaker before each thing outside: 0 closed, 1 half-open (one call tries), 2 open (left alone), by target
    breaker_state: Family<Target, Gauge> = Family::default(), "breaker_state";
    /// Times that a breaker opened, by target
    breaker_trips: Family<Target, Counter> = Family::default(), "breaker_trips";
    /// Calls that a breaker refused, by target
    breaker_refusals: Family<Target, Counter> = Family::default(), "breaker_refusals";
    /// Calls that were made once more, hedged, or made elsewhere instead, by target
    retries: Family<Target, Counter> = Family::default(), "retries";
    /// Retries that the budget refused, by target
    retries_refused: Family<Target, Counter> = Family::default(), "retries_refused";
    /// Answers that came from a lower rung of the ladder, by reason
    rung_reasons: Family<Reason, Counter> = Family::default(), "rung_reasons";
    /// The rung that the queue's lag calls for: 0 full, 1 smaller model, 2 extract, 3 approved answers first
    ladder_step: Gauge = Gauge::default(), "ladder_step";
    /// Turns that wait for a model, in line
    parked: Gauge = Gauge::default(), "parked";
    /// Turns that waited for a model, by what became of the wait
    parked_turns: Family<Reason, Counter> = Family::default(), "parked_turns";
    /// Rows written to the archive, by table
    archived: Family<Row, Counter> = Family::default(), "archived";
    /// Journal entries that the archive left out since their customer was forgotten meanwhile
    forgotten_entries: Counter = Counter::default(), "forgotten_entries";
    /// Rows that were deleted from the archive since they were older than it keeps, by table
    archive_expired: Family<Row, Counter> = Family::default(), "archive_expired";
    /// Batches that the archive could not write at once
    archive_failures: Counter = Counter::default(), "archive_failures";
    /// Passages in this process's index
    passages: Gauge = Gauge::default(), "passages";
    /// Whether the broker is connected
    bus_connected: Gauge = Gauge::default(), "bus_connected";
    /// Times that the broker was connected anew
    bus_reconnects: Counter = Counter::default(), "bus_reconnects";
    /// Subscriptions that fell behind and lost messages
    slow_consumers: Counter = Counter::default(), "slow_consumers";
    /// Pulls that failed, or were lost with their broker, and were opened anew
    pull_rebuilds: Counter = Counter::default(), "pull_rebuilds";
    /// Pulls that were opened anew because something waited and nothing came
    pull_stalls: Counter = Counter::default(), "pull_stalls";
    /// The part of the conversations, from 0 to 1, that a candidate answers
    release_share: Gauge<f64, std::sync::atomic::AtomicU64> = Gauge::default(), "release_share";
    /// When a certificate of ours ends, as Unix time, by target: http is the gateway's own, the others show it to an engine
    certificate_expires: Family<Target, Gauge> = Family::default(), "certificate_expires", Seconds;
    /// How far this machine's clock is from the broker's
    clock_skew: Gauge<f64, std::sync::atomic::AtomicU64> = Gauge::default(), "clock_skew", Seconds;
    /// Spans that did not reach the collector, by reason: `full` (the line was) or `unsent`
    spans_dropped: Family<Reason, Counter> = Family::default(), "spans_dropped";
    /// What this process makes use of, by part: 0 there, 1 missing and done without, 2 missing and it is of no use
    part_missing: Family<Part, Gauge> = Family::default(), "part_missing";
}

impl Metrics {
    /// The registry in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        if let Err(error) = text::encode(&mut out, &self.registry) {
            let _ = writeln!(out, "# {error}");
        }
        out
    }

    /// Notes how long a stage took.
    pub fn stage(&self, stage: &'static str, outcome: &'static str, elapsed: std::time::Duration) {
        self.stage_time.get_or_create(&Stage { stage, outcome }).observe(elapsed.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_scraped_under_its_name() {
        let metrics = Metrics::new("worker");
        metrics.redeliveries.inc();
        metrics.stage("intent", "ok", std::time::Duration::from_millis(2));
        let text = metrics.text();
        assert!(text.contains("talkfleet_redeliveries_total 1"), "{text}");
        assert!(
            text.contains("talkfleet_stage_seconds_bucket{le=\"0.0025\",stage=\"intent\",outcome=\"ok\"} 1"),
            "{text}"
        );
        let scraped = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        for name in scraped.filter(|name| *name != "talkfleet_build") {
            assert!(Metrics::NAMES.contains(&name), "{name} is on no list");
        }
    }
}
