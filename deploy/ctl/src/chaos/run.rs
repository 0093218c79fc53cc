//! One scenario from its first message to its verdict.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng};
use talkfleet_shared::{
    chat::{self, TurnRecord},
    id::{ConversationId, RequestId},
};

use super::{
    customer::Door,
    fault::{Aftermath, Disks},
    fleet::Fleet,
    ledger::{self, Laws, Outcome, Turn, Written, judge},
    load,
    report::{Check, Figures, Report},
    scenario::{Expected, Scenario},
};

/// How long after a fault a gap is counted to it.
const WINDOW: Duration = Duration::from_secs(40);

/// How long a fleet may take to be well again before the next scenario.
const WELL_WITHIN: Duration = Duration::from_secs(90);

/// How long after the last customer has gone records may still be written, and rows archived.
const SETTLED_WITHIN: Duration = Duration::from_secs(100);
const ARCHIVED_WITHIN: Duration = Duration::from_secs(30);

/// How a scenario is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) seed: u64,
    /// Times in expectations are multiplied by this, for machines that are busy with other things.
    pub(super) patience: f64,
    /// Messages a second are multiplied by this.
    pub(super) load: f64,
}

/// Runs a scenario on a fleet that is well.
pub(super) async fn run(
    fleet: &Arc<Fleet>,
    disks: &Arc<dyn Disks>,
    scenario: &Scenario,
    settings: Settings,
) -> Result<Report> {
    fleet.healthy(WELL_WITHIN).await?;
    fleet.model.set(super::model::Mood::Well(scenario.word_gap));
    // The broker's clock and ours are one machine's.
    let began_ms = unix_ms();
    let name = format!("{}-{}-{began_ms}", scenario.name, settings.seed);
    let door = Door::new(fleet.gateways.clone(), &fleet.key)?;
    let deaths = total_deaths(fleet);
    let blows = (scenario.blows)(&mut StdRng::seed_from_u64(settings.seed));
    let faults = blows.len();
    let began = Instant::now();
    let striking = futures::future::join_all(blows.into_iter().map(|blow| {
        let (fleet, disks) = (fleet.clone(), disks.clone());
        async move {
            tokio::time::sleep_until((began + blow.at).into()).await;
            let struck = Instant::now();
            blow.fault.strike(&fleet, disks.as_ref()).await.map(|aftermath| (struck, aftermath))
        }
    }));
    let plan = load::Plan {
        seed: settings.seed,
        lasts: scenario.lasts,
        rate: scenario.rate * settings.load,
        poison: scenario.poison,
        budget: scenario.budget,
    };
    let (turns, struck) = tokio::join!(load::send(&door, &name, plan), striking);
    let struck: Vec<(Instant, Aftermath)> = struck.into_iter().collect::<Result<_>>()?;

    let written = outcomes(fleet, &turns).await?;
    let archived = archived(fleet, &turns, &written, began_ms, ARCHIVED_WITHIN.mul_f64(settings.patience)).await;
    let laws = judge(&turns, &written);
    let moments: Vec<Instant> = struck.iter().map(|(moment, _)| *moment).collect();
    let figures = Figures {
        faults,
        deaths: total_deaths(fleet) - deaths,
        archived,
        degraded: written.values().filter(|record| record.degraded).count(),
        ..measure(&turns, &moments)
    };
    let mut checks = checks(&scenario.expected, settings.patience, &turns, &laws, &figures);
    let bad: Vec<String> = struck.into_iter().flat_map(|(_, aftermath)| aftermath.complaints).collect();
    checks.push(Check::new(
        "complaints",
        "none",
        if bad.is_empty() { "none".into() } else { bad.join("; ") },
        bad.is_empty(),
    ));
    let all = archived == written.len();
    checks.push(Check::new("archived", format!("{} rows", written.len()), format!("{archived} rows"), all));
    let passed = laws.hold() && checks.iter().all(|check| check.passed);
    let mut errors = BTreeMap::new();
    for kind in turns.iter().flat_map(|turn| &turn.errors) {
        *errors.entry(kind.clone()).or_default() += 1;
    }
    let (scenario, what) = (scenario.name, scenario.what);
    Ok(Report { scenario, what, seed: settings.seed, passed, laws, figures, checks, errors })
}

fn total_deaths(fleet: &Fleet) -> u32 {
    fleet.members.all().iter().map(|member| member.deaths()).sum()
}

/// What the desk wrote down about each message; waits for what is still under way.
async fn outcomes(fleet: &Fleet, turns: &[Turn]) -> Result<HashMap<String, Written>> {
    let until = Instant::now() + SETTLED_WITHIN;
    let mut written = HashMap::new();
    loop {
        for turn in turns {
            if !written.contains_key(&turn.key)
                && let Some(record) = record_of(fleet, turn).await?
            {
                written.insert(turn.key.clone(), written_of(record));
            }
        }
        let missing = turns.iter().any(|turn| turn.accepted && !written.contains_key(&turn.key));
        let empty = fleet.bus.asks_waiting().await.is_ok_and(|waiting| waiting == 0);
        if Instant::now() > until || (empty && !missing) {
            return Ok(written);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The record, be it among the turns or, should that stream have been deleted, in the archive.
async fn record_of(fleet: &Fleet, turn: &Turn) -> Result<Option<TurnRecord>> {
    let conversation = ConversationId::parse(&turn.conversation)?;
    let request = RequestId::from_idempotency_key(&fleet.tenant, &turn.key);
    if let Ok(Some(record)) = fleet.bus.read_record(&fleet.tenant, Some(&conversation), &request).await {
        return Ok(Some(record));
    }
    let archived = fleet.store.record(&fleet.tenant, &request).await;
    Ok(archived.ok().flatten())
}

fn written_of(record: TurnRecord) -> Written {
    let (outcome, text, degraded) = match record.outcome {
        chat::Outcome::Answered { answer } => (Outcome::Answered, answer.text, !answer.degraded.is_empty()),
        chat::Outcome::Failed { .. } => (Outcome::Failed, String::new(), false),
        chat::Outcome::Expired { .. } => (Outcome::Expired, String::new(), false),
        chat::Outcome::Cancelled { text, .. } => (Outcome::Cancelled, text, false),
    };
    Written {
        conversation: record.conversation.to_string(),
        outcome,
        text,
        degraded,
        asked_at_ms: record.asked_at_ms,
        ended_at_ms: record.ended_at_ms,
    }
}

/// How many of the records have reached the archive.
async fn archived(
    fleet: &Fleet,
    turns: &[Turn],
    written: &HashMap<String, Written>,
    since_ms: u64,
    within: Duration,
) -> usize {
    let until = Instant::now() + within;
    let ours: std::collections::HashSet<RequestId> =
        turns.iter().map(|turn| RequestId::from_idempotency_key(&fleet.tenant, &turn.key)).collect();
    loop {
        let (mut found, mut after): (usize, Option<TurnRecord>) = (0, None);
        while let Ok(rows) = fleet
            .store
            .records(&fleet.tenant, since_ms - 1_000, u64::from(u32::MAX) * 1_000, after.as_ref(), 1_000)
            .await
        {
            found += rows.iter().filter(|row| ours.contains(&row.request)).count();
            let Some(last) = rows.into_iter().next_back() else { break };
            after = Some(last);
        }
        if found >= written.len() || Instant::now() > until {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn measure(turns: &[Turn], faults: &[Instant]) -> Figures {
    let answered = || turns.iter().filter(|turn| turn.outcome == Outcome::Answered);
    let latencies: Vec<Duration> = answered().filter_map(|turn| Some(turn.ended? - turn.issued)).collect();
    let gaps: Vec<Duration> = faults.iter().map(|fault| ledger::gap(turns, *fault, WINDOW)).collect();
    let ms = |values: &[Duration], q| ledger::quantile(values.to_vec(), q).as_millis() as u64;
    Figures {
        latency_p50_ms: ms(&latencies, 0.5),
        latency_p99_ms: ms(&latencies, 0.99),
        latency_max_ms: ms(&latencies, 1.0),
        gap_p50_ms: ms(&gaps, 0.5),
        gap_max_ms: ms(&gaps, 1.0),
        restarts: turns.iter().filter(|turn| turn.restarts > 0).count(),
        ..Figures::default()
    }
}

fn checks(expected: &Expected, patience: f64, turns: &[Turn], laws: &Laws, figures: &Figures) -> Vec<Check> {
    let allowed = |limit: Duration| limit.mul_f64(patience).as_millis() as u64;
    let extra_ms = figures.latency_max_ms.saturating_sub(figures.latency_p50_ms);
    let at_most = |name, limit: u64, seen: u64, unit: &str| {
        Check::new(name, format!("at most {limit}{unit}"), format!("{seen}{unit}"), seen <= limit)
    };
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    let at_least = |name, limit: f64, seen: f64| {
        Check::new(name, format!("at least {:.1} %", limit * 100.0), format!("{:.1} %", seen * 100.0), seen >= limit)
    };
    let mut checks = vec![
        at_most("time without an answer", allowed(expected.gap_max), figures.gap_max_ms, " ms"),
        at_most("longer than the median", allowed(expected.extra_max), extra_ms, " ms"),
        at_most("failed", expected.failed_max as u64, laws.failed as u64, ""),
    ];
    if expected.failed_min > 0 {
        let (least, seen) = (expected.failed_min, laws.failed);
        checks.push(Check::new("failed", format!("at least {least}"), seen.to_string(), seen >= least));
    }
    // Poison fails by design; everybody else is to be answered.
    let failed_by_design = laws.failed.min(expected.failed_max);
    checks.push(at_least("answered", expected.answered_min, share(laws.answered + failed_by_design, laws.issued)));
    if expected.errors_max < usize::MAX {
        let errors: usize = turns.iter().map(|turn| turn.errors.len()).sum();
        checks.push(at_most("tries that failed", expected.errors_max as u64, errors as u64, ""));
    }
    if expected.restarts_min > 0 {
        let (least, seen) = (expected.restarts_min, figures.restarts);
        checks.push(Check::new("restarts", format!("at least {least}"), seen.to_string(), seen >= least));
    }
    if expected.degraded_min > 0.0 {
        checks.push(at_least("degraded", expected.degraded_min, share(figures.degraded, laws.answered)));
    }
    checks
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_millis() as u64
}
