//! What operators see of a turn: its span, and, when it took long, one line with where the time went and no word of anybody's.

use std::time::Duration;

use talkfleet_shared::{
    bus::AskDelivery,
    chat::{Outcome, Timings},
    metrics::Metrics,
    spans::{Kind, Span, key},
    topology::RESPONSE,
};

use super::Desk;

/// Begins the span of a turn, and tells how long it lay on the queue. An attempt names the one before, whose worker may be
/// gone together with its own span.
pub fn began(desk: &Desk, ask: &AskDelivery) -> Span {
    let tracer = desk.bus.tracer();
    let (mut span, attempt) = (tracer.span(ask.trace, "turn", Kind::Consumer), i64::from(ask.attempt));
    if let Some(sent) = ask.trace.origin() {
        let queued = tracer.child(sent, "queue", Kind::Internal).since(waited(desk, ask)).with(key::ATTEMPT, attempt);
        drop(queued.with(key::MESSAGING_CONSUMER, RESPONSE));
        if ask.attempt > 1 {
            span.link(sent.attempt(ask.attempt - 1));
        }
    }
    span.set(key::ATTEMPT, attempt);
    span.set(key::MESSAGING_OPERATION_TYPE, "process");
    span.set(key::CLASS, ask.class.name());
    span.set_text(key::MESSAGE, || ask.request.to_string());
    span.set_text(key::CONVERSATION, || ask.conversation.to_string());
    span
}

/// The turn has its outcome.
pub fn ended(desk: &Desk, ask: &AskDelivery, timings: &Timings, outcome: &Outcome, span: &mut Span) {
    let (kind, rung) = match outcome {
        Outcome::Answered { answer } => (answer.kind.name(), answer.rung.name()),
        Outcome::Failed { .. } | Outcome::Expired { .. } | Outcome::Cancelled { .. } => ("none", "none"),
    };
    span.set(key::OUTCOME, outcome.name());
    span.set(key::ANSWER_KIND, kind);
    span.set(key::RUNG, rung);
    let took = waited(desk, ask);
    if is_slow(desk.slow, took) {
        tell_slow(desk.bus.metrics(), ask.attempt, timings, took, (outcome.name(), kind, rung));
    }
}

fn waited(desk: &Desk, ask: &AskDelivery) -> Duration {
    (desk.now() - ask.asked_at).try_into().unwrap_or_default()
}

fn is_slow(slow: Duration, took: Duration) -> bool {
    !slow.is_zero() && took > slow
}

/// Whose turn it was says the log's span around it.
fn tell_slow(
    metrics: &Metrics,
    attempt: u32,
    timings: &Timings,
    took: Duration,
    (outcome, kind, rung): (&'static str, &'static str, &'static str),
) {
    metrics.slow_turns.inc();
    tracing::info!(
        outcome,
        kind,
        rung,
        attempt,
        total_ms = took.as_millis() as u64,
        queue_ms = timings.queue_ms as u64,
        recall_ms = timings.recall_ms as u64,
        intent_ms = timings.intent_ms as u64,
        retrieval_ms = timings.retrieval_ms as u64,
        response_ms = timings.response_ms as u64,
        "a turn was slow"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_what_took_longer_and_nothing_without_a_limit() {
        let [half, second] = [500, 1_000].map(Duration::from_millis);
        assert!(is_slow(half, second) && !is_slow(half, half) && !is_slow(second, half));
        assert!(!is_slow(Duration::ZERO, second));
    }
}
