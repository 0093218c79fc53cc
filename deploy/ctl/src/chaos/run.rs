//! One scenario from its first message to its verdict.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng};
use talkfleet_shared::{
    chat::{self, Kind, TurnRecord},
    id::{ConversationId, RequestId},
};

use super::{
    customer::Door,
    fault::{Aftermath, Disks},
    fleet::Fleet,
    ledger::{Clocks, Outcome, Struck, Turn, Written, judge},
    load,
    report::{Check, Figures, Report},
    scenario::Scenario,
    verdict::Seen,
};
use crate::members::Member;

/// How long a fleet may take to be well again before the next scenario.
const WELL_WITHIN: Duration = Duration::from_secs(90);

/// How long after the last customer has gone records may still be written.
const SETTLED_WITHIN: Duration = Duration::from_secs(100);

/// How often the memory of every process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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
    let first_blow = blows.iter().map(|blow| blow.at).min().unwrap_or_default();
    let began = Instant::now();
    let striking = futures::future::join_all(blows.into_iter().map(|blow| {
        let (fleet, disks) = (fleet.clone(), disks.clone());
        async move {
            tokio::time::sleep_until((began + blow.at).into()).await;
            let at = Instant::now();
            let aftermath = blow.fault.strike(&fleet, disks.as_ref()).await?;
            anyhow::Ok((Struck { at, healed: Instant::now() }, aftermath))
        }
    }));
    let plan = load::Plan {
        seed: settings.seed,
        lasts: scenario.lasts,
        rate: scenario.rate * settings.load,
        poison: scenario.poison,
        budget: scenario.budget,
    };
    let mut memory = Memory::default();
    let watching = async {
        loop {
            memory.look(fleet.members.all(), began.elapsed() < first_blow);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let (turns, struck) = tokio::select! {
        told = async { tokio::join!(load::send(&door, &name, plan), striking) } => told,
        () = watching => return Err(anyhow::anyhow!("the memory was watched to no end")),
    };
    let struck: Vec<(Struck, Aftermath)> = struck.into_iter().collect::<Result<_>>()?;
    let (struck, aftermaths): (Vec<Struck>, Vec<Aftermath>) = struck.into_iter().unzip();

    let gone = Instant::now();
    let written = outcomes(fleet, &turns).await?;
    let within = scenario.expected.archived_within.mul_f64(settings.patience);
    let archived = archived(fleet, &turns, &written, began_ms, within).await;
    let takeovers: Vec<_> = aftermaths.iter().flat_map(|aftermath| aftermath.takeovers.clone()).collect();
    let laws = judge(&turns, &written, &takeovers);
    let clocks = Clocks { now: began, unix_ms: began_ms };
    let seen = Seen { turns: &turns, written: &written, struck: &struck, clocks };
    let exits = || aftermaths.iter().flat_map(|aftermath| &aftermath.exits);
    let figures = Figures {
        deaths: total_deaths(fleet) - deaths,
        archived,
        archived_after_ms: gone.elapsed().as_millis() as u64,
        dead_letters: dead_letters(fleet, began_ms).await?,
        memory_growth_mb: memory.growth_mb(),
        exit_max_ms: exits().max().map_or(0, |took| took.as_millis() as u64),
        ..seen.figures()
    };
    let mut checks = seen.checks(&scenario.expected, settings.patience, &laws, &figures);
    let bad: Vec<&str> = aftermaths.iter().flat_map(|one| &one.complaints).map(String::as_str).collect();
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

/// What processes hold of the machine's memory: just before the first blow, when each has done its work for a while, and
/// at most since.
#[derive(Default)]
struct Memory(HashMap<String, (u64, u64)>);

impl Memory {
    fn look(&mut self, members: &[Member], is_before: bool) {
        for member in members {
            let Some(bytes) = member.resident_bytes() else { continue };
            let seen = self.0.entry(member.name.clone()).or_insert((bytes, bytes));
            *seen = if is_before { (bytes, bytes) } else { (seen.0, seen.1.max(bytes)) };
        }
    }

    fn growth_mb(&self) -> u64 {
        self.0.values().map(|(before, most)| (most - before) >> 20).max().unwrap_or_default()
    }
}

/// Dead letters that were left since a moment.
async fn dead_letters(fleet: &Fleet, since_ms: u64) -> Result<usize> {
    let mut letters = fleet.bus.dead_letters(Some(&fleet.tenant)).await?;
    let mut left = 0;
    while let Some(letter) = letters.next().await? {
        left += usize::from(letter.stored_at.unix_timestamp_nanos() >= i128::from(since_ms) * 1_000_000);
    }
    Ok(left)
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
    let hands_over = matches!(&record.outcome, chat::Outcome::Answered { answer } if answer.kind == Kind::Handover);
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
        hands_over,
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

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_millis() as u64
}
