//! How a turn ends: record, memory, last frame, settlement, in this order, so that a crash anywhere is mended by repeating.

use std::time::Duration;

use talkfleet_shared::{
    bus::{Bus, BusError, Settle, Written},
    chat::{Outcome, Position, TurnRecord},
    clock,
    metrics::{Reason, Turn},
    retry::Delays,
    spans::Kind,
};

use super::{Desk, millis, running::Line, voice::Voice};

/// How long a finished answer waits for a broker that elects a new leader (4 to 9 s) before its delivery is given up:
/// making the answer again costs more.
const RECORD_PATIENCE: Duration = Duration::from_secs(12);

/// Ends a turn whose outcome this worker has made. Another may have been faster; then theirs is what is shown.
pub async fn end(desk: &Desk, line: &Line, record: TurnRecord, voice: Voice<'_>) -> Result<Settle, BusError> {
    match write_patiently(&desk.bus, &record).await? {
        Written::First => {
            remember(desk, &record).await;
            voice.end(&record.outcome).await;
            count(desk, &record.outcome, record.timings.total_ms);
            Ok(Settle::Done)
        }
        Written::Second(winner) => Ok(end_again(desk, line, &winner).await),
        Written::Forgotten => Ok(end_forgotten(desk, record.asked_at_ms, voice).await),
    }
}

/// Ends a turn whose record is stored after it was told: memory, last frame, record. Who asks next finds it in the memory.
pub async fn end_journaled(desk: &Desk, record: &TurnRecord, voice: Voice<'_>) -> Settle {
    if desk.bus.forgets(record) {
        return end_forgotten(desk, record.asked_at_ms, voice).await;
    }
    let journaled = |reason| _ = desk.bus.metrics().journaled.get_or_create(&Reason { reason }).inc();
    remember(desk, record).await;
    voice.end(&record.outcome).await;
    count(desk, &record.outcome, record.timings.total_ms);
    journaled("sent");
    match write_patiently(&desk.bus, record).await {
        Ok(_) => journaled("stored"),
        Err(error) => {
            journaled("lost");
            tracing::warn!(%error, request.id = %record.request, "an answer that was told is in no record");
        }
    }
    Settle::Done
}

/// Ends a turn of which nothing is kept.
pub async fn end_unkept(desk: &Desk, outcome: &Outcome, took: time::Duration, voice: Voice<'_>) -> Settle {
    voice.end(outcome).await;
    count(desk, outcome, took.as_seconds_f64() * 1_000.0);
    Settle::Done
}

/// Ends a turn whose customer was forgotten: whoever waits hears that it stopped, and nothing is kept of it.
pub async fn end_forgotten(desk: &Desk, asked_at_ms: u64, voice: Voice<'_>) -> Settle {
    let took = time::Duration::milliseconds(millis(desk.now()).saturating_sub(asked_at_ms) as i64);
    end_unkept(desk, &Outcome::Cancelled { text: String::new(), by: None }, took, voice).await
}

/// Ends a turn whose outcome is stored already: only steps that may be repeated.
pub async fn end_again(desk: &Desk, line: &Line, record: &TurnRecord) -> Settle {
    remember(desk, record).await;
    for frame in record.frames(Position::default()) {
        line.repeat(frame).await;
    }
    Settle::Done
}

/// Stores a record; a broker that is busy with itself is given time.
pub async fn write_patiently(bus: &Bus, record: &TurnRecord) -> Result<Written, BusError> {
    let _span = bus.tracer().told(record.trace.as_deref(), "record", Kind::Producer);
    let started = clock::now();
    let mut delays = Delays::new(Duration::from_millis(100), Duration::from_secs(1));
    loop {
        match bus.write_record(record).await {
            Ok(written) => return Ok(written),
            Err(error) if clock::since(started) >= RECORD_PATIENCE => return Err(error),
            Err(error) => {
                tracing::debug!(%error, request.id = %record.request, "a record could not be stored; trying again")
            }
        }
        tokio::time::sleep(delays.next_delay()).await;
    }
}

async fn remember(desk: &Desk, record: &TurnRecord) {
    // A client that brings its own account of the conversation is its own memory.
    let Some(memory) = desk.memory.as_ref().filter(|_| record.ask.history.is_none()) else { return };
    if desk.bus.forgets(record) {
        return;
    }
    if let Err(error) = memory.append(record).await {
        tracing::debug!(%error, request.id = %record.request, "an answer is not in the memory; the archive has it");
    }
}

fn count(desk: &Desk, outcome: &Outcome, total_ms: f64) {
    let (kind, rung) = match outcome {
        Outcome::Answered { answer } => (answer.kind.name(), answer.rung.name()),
        Outcome::Failed { .. } | Outcome::Expired { .. } | Outcome::Cancelled { .. } => ("none", "none"),
    };
    let metrics = desk.bus.metrics();
    metrics.turns.get_or_create(&Turn { outcome: outcome.name(), kind, rung, release: desk.release.name() }).inc();
    metrics.turn_time.observe(total_ms / 1_000.0);
}

/// Counts a turn that nobody could have used the answer of, if it ended before a model was asked or anything was said.
pub fn count_saved(desk: &Desk, outcome: &Outcome, voice: &Voice<'_>) {
    let reason = match outcome {
        Outcome::Expired { .. } => "deadline",
        Outcome::Cancelled { .. } => "cancelled",
        Outcome::Answered { .. } | Outcome::Failed { .. } => return,
    };
    if voice.text().is_empty() && !voice.has_asked_model() {
        desk.bus.metrics().saved.get_or_create(&Reason { reason }).inc();
    }
}
