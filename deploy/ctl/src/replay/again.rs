//! `--live`: turns that went wrong are asked again at the live fleet, each once, however often this is run.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Result, bail};
use serde_json::json;
use talkfleet_shared::{
    bus::{Bus, Start},
    chat::{Ask, TurnRecord},
    id::RequestId,
};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::{
    Args, Side,
    conversations::{Recorded, conversations},
    drive::{self, Plan},
    progress,
    range::Stretch,
    source::{self, Wanted},
    throttle,
};
use crate::audit::{Deed, noted};

/// In place of a run's name: every run asks the same turn under the same request, so that the broker stores it once.
const RUN: &str = "live";

/// The broker's clock may be this much behind ours.
const CLOCKS: Duration = Duration::from_secs(60);

/// What became of it.
#[derive(Default)]
struct Done {
    found: usize,
    already: usize,
    outcomes: BTreeMap<&'static str, u64>,
    missing: u64,
}

pub(super) async fn run(args: &Args, stretch: Stretch) -> Result<ExitCode> {
    let bus = args.connect.bus().await?;
    let wanted = Wanted { outcomes: &args.outcome, ..args.wanted(stretch) };
    let wrong = source::read(&bus, &args.connect, &wanted).await?.turns;
    let mut done = Done { found: wrong.len(), ..Done::default() };
    let known = known_since(&bus, args, &wrong).await?;
    let turns: Vec<_> = wrong.into_iter().filter(|turn| !known.contains(&request(turn))).map(as_it_was).collect();
    done.already = done.found - turns.len();
    if !turns.is_empty() {
        confirm(args, turns.len())?;
        let deed = Deed::new("replay.live").on(format!("{} turns {stretch}", turns.len()));
        noted(&args.connect, deed, ask(args, &bus, turns, &mut done)).await?;
    }
    tell(args, &done);
    Ok(if done.missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn request(turn: &TurnRecord) -> RequestId {
    drive::request_again(RUN, Side::Live, turn)
}

/// The message without what is ours: the live fleet has its own memory.
fn as_it_was(original: TurnRecord) -> Recorded {
    let ask = Ask { replayed: None, ..original.ask.clone() };
    Recorded { original, ask }
}

/// The requests that were recorded since the first of these turns.
async fn known_since(bus: &Bus, args: &Args, turns: &[TurnRecord]) -> Result<HashSet<RequestId>> {
    let Some(first_ms) = turns.iter().map(|turn| turn.asked_at_ms).min() else { return Ok(HashSet::new()) };
    source::requests_since(bus, first_ms, args.tenant.as_ref()).await
}

fn confirm(args: &Args, turns: usize) -> Result<()> {
    if args.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        bail!("{turns} turns would be asked again at the live fleet; give --yes to do so without being asked");
    }
    print!(
        "{turns} customers' messages are asked again at the live fleet; answers are stored and remembered. Go on? [y/N] "
    );
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { bail!("nothing was asked") }
}

async fn ask(args: &Args, bus: &Bus, turns: Vec<Recorded>, done: &mut Done) -> Result<()> {
    let plan = Plan {
        run: RUN.into(),
        speed: args.speed,
        in_flight: args.in_flight as usize,
        budget: Duration::from_millis(args.deadline_ms),
        model: None,
        hear_from: Start::Time(OffsetDateTime::now_utc() - CLOCKS),
    };
    let sides = [(Side::Live, bus.clone())];
    let found = conversations(&turns);
    let tracks: Vec<_> = drive::tracks(&found, &sides, |_, _| false).collect();
    let bar = progress(turns.len() as u64, args.json);
    let gate = throttle::watch(bus.clone(), args.live_lag_max, bar.clone()).await;
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let passes = drive::drive(plan, turns, tracks, gate, sender, bar.clone()).await?;
    bar.finish_and_clear();
    done.missing = passes.values().map(|pass| pass.missing).sum();
    while let Ok((_, _, record)) = outcomes.try_recv() {
        *done.outcomes.entry(record.outcome.name()).or_default() += 1;
    }
    Ok(())
}

fn tell(args: &Args, done: &Done) {
    let Done { found, already, outcomes, missing } = done;
    if args.json {
        println!("{}", json!({ "found": found, "already": already, "outcomes": outcomes, "missing": missing }));
        return;
    }
    println!("{found} turns went wrong; {already} of them had been asked again before");
    for (outcome, count) in outcomes {
        println!("{count} {outcome}");
    }
    if *missing > 0 {
        println!("{missing} without an outcome; run it again");
    }
}
