//! `talkfleet replay`: recorded traffic asked again of a baseline and a candidate, apart from the live fleet, and compared.

/// What it is told.
mod args;

/// PURE: which stretch of the traffic.
mod range;

/// PURE: how fast, and when the live fleet comes first.
mod pace;

/// PURE: whole conversations in order, with the memory that they had.
mod conversations;

/// Reading the stretch: journal and archive.
mod source;

/// The run's folder: what was asked and answered so far.
mod folder;

/// Lanes, and workers that are started in them.
mod lanes;

/// Asking again.
mod drive;

/// The live fleet's lag.
mod throttle;

/// Asking again at the live fleet what went wrong there.
mod again;

/// What came of it, in a few lines.
mod summary;

/// What differs between the sides, stage by stage: a page to read, JSON, and a verdict.
pub mod report;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use talkfleet_shared::{
    bus::{Bus, Start},
    chat::TurnRecord,
    id::RequestId,
};
use time::OffsetDateTime;
use tokio::sync::mpsc;

pub(crate) use self::{args::Args, range::Edge};
use self::{
    conversations::Recorded,
    drive::{Outcome, Passes, Plan},
    folder::{Answers, Folder, Run, Writer},
    lanes::Stage,
    range::Stretch,
    report::Report,
    source::Wanted,
    summary::{Facts, Reading},
};

/// One recorded turn with what the baseline answered twice and the candidate once.
#[derive(Debug, Clone)]
pub struct Triple {
    pub original: TurnRecord,
    pub baseline_a: Option<TurnRecord>,
    pub baseline_b: Option<TurnRecord>,
    pub candidate: Option<TurnRecord>,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    BaselineA,
    /// The baseline once more: how far two answers of it differ is noise.
    BaselineB,
    Candidate,
    /// The live fleet, asked again for what went wrong.
    Live,
}

impl Side {
    /// The sides of a comparison.
    const COMPARED: [Self; 3] = [Self::BaselineA, Self::BaselineB, Self::Candidate];

    fn name(self) -> &'static str {
        match self {
            Self::BaselineA => "baseline_a",
            Self::BaselineB => "baseline_b",
            Self::Candidate => "candidate",
            Self::Live => "live",
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let stretch = Stretch::new(args.from, args.to, OffsetDateTime::now_utc()).map_err(anyhow::Error::msg)?;
    if args.count {
        return count(&args, stretch).await;
    }
    if args.live {
        return again::run(&args, stretch).await;
    }
    let (facts, report) = compare(&args, stretch).await?;
    match args.json {
        true => println!("{}", json!({ "run": facts, "report": report })),
        false => println!("{}\n{facts}\nthe page: {}", report.text(), args.report.join(report::PAGE).display()),
    }
    Ok(if facts.is_whole() { report.verdict().exit_code() } else { ExitCode::FAILURE })
}

impl Args {
    fn wanted(&self, stretch: Stretch) -> Wanted<'_> {
        let (tenant, channel) = (self.tenant.as_ref(), self.channel.as_ref());
        Wanted { stretch, tenant, channel, outcomes: &[], turns_max: self.turns_max }
    }

    fn plan(&self, run: &Run) -> Plan {
        Plan {
            run: run.id.clone(),
            speed: self.speed,
            in_flight: self.in_flight as usize,
            budget: Duration::from_millis(self.deadline_ms),
            model: Some(run.model),
            hear_from: Start::Sequence(1),
        }
    }

    /// The broker's address for workers that are started here: that of `up`, when it is the same broker.
    fn shadow(&self) -> Option<String> {
        let ready = || {
            let ready = self.connect.ready()?;
            ready.nats_shadow.filter(|_| self.connect.nats_url().is_ok_and(|url| url == ready.nats))
        };
        self.nats_shadow.clone().or_else(ready)
    }
}

/// The turns of a run's folder, and all that the sides have answered so far.
pub(crate) fn take_up(folder: &Path, arguments: &serde_json::Value) -> Result<(usize, usize)> {
    let Some(folder) = Folder::resume(folder, arguments)? else { return Ok((0, 0)) };
    let answers: Result<usize> = Side::COMPARED.iter().map(|side| Ok(folder.answers(*side)?.len())).sum();
    Ok((folder.turns.len(), answers?))
}

/// What a text means as an edge of a stretch and as a speed, in words.
pub(crate) fn flags(text: &str) -> Vec<String> {
    let edge = text.parse::<range::Edge>().map(|edge| edge.to_string());
    let speed = text.parse::<pace::Speed>().map(|speed| speed.to_string());
    [edge, speed].into_iter().flatten().collect()
}

/// How much the stretch is, and how fast it is read.
async fn count(args: &Args, stretch: Stretch) -> Result<ExitCode> {
    let bus = args.connect.bus().await?;
    let read = source::heads(&bus, &args.connect, &args.wanted(stretch)).await?;
    let reading = Reading::new(read.messages, read.bytes, read.elapsed);
    let turns = read.turns.len();
    let conversations: std::collections::HashSet<_> =
        read.turns.iter().map(|turn| (&turn.tenant, &turn.conversation)).collect();
    let conversations = conversations.len();
    match args.json {
        true => println!(
            "{}",
            json!({ "turns": turns, "conversations": conversations, "messages": reading.messages, "bytes": reading.bytes,
                "seconds": reading.seconds, "messages_per_second": reading.messages_per_second })
        ),
        false => println!("{stretch}: {turns} turns in {conversations} conversations; {reading}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks every side again, or goes on doing so, and compares.
async fn compare(args: &Args, stretch: Stretch) -> Result<(Facts, Report)> {
    let started_at_ms = unix_ms();
    let (candidate, baseline) = (args.candidate()?, args.baseline());
    let bus = args.connect.bus().await?;
    let (folder, reading) = open(args, stretch, &bus).await?;
    let mut answers = HashMap::new();
    for side in Side::COMPARED {
        answers.insert(side, folder.answers(side)?);
    }
    let before: usize = answers.values().map(Answers::len).sum();
    let mut facts = Facts::new(&folder, before, reading);
    if before < folder.turns.len() * Side::COMPARED.len() {
        let shadow = args.shadow();
        if shadow.is_none() && !args.json {
            eprintln!(
                "workers here are fenced by code alone; `talkfleet topology fence` prints a user for --nats-shadow"
            );
        }
        let lane = |side: &str| format!("{}-{side}", folder.run.id.to_ascii_lowercase());
        let opening = Instant::now();
        let judge = Stage::open(&args.connect, shadow.as_deref(), &lane("b"), &baseline).await?;
        let judged = match Stage::open(&args.connect, shadow.as_deref(), &lane("c"), &candidate).await {
            Ok(stage) => stage,
            Err(error) => {
                judge.close(args.keep).await?;
                return Err(error);
            }
        };
        let lanes_took = opening.elapsed();
        let asked = tokio::select! {
            asked = ask(args, &folder, &answers, &bus, [&judge, &judged]) => asked,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; the same command goes on where this stopped")),
        };
        judge.close(args.keep).await?;
        judged.close(args.keep).await?;
        facts.asked(&asked?, lanes_took);
        for side in Side::COMPARED {
            answers.insert(side, folder.answers(side)?);
        }
    }
    let triples = triples(&folder.turns, answers);
    facts.count(&triples);
    let about = report::Facts {
        tenant: args.tenant.as_ref().map_or_else(|| "every tenant".into(), ToString::to_string),
        channel: args.channel.as_ref().map(ToString::to_string),
        range: folder.run.stretch.to_string(),
        baseline: baseline.to_string(),
        candidate: candidate.to_string(),
        speed: args.speed.to_string(),
        started_at_ms,
        ended_at_ms: unix_ms(),
        skipped: BTreeMap::new(),
        cassette_misses: facts.misses(),
    };
    let report = report::compare(&triples, &about, &args.options());
    report.write(&args.report)?;
    Ok((facts, report))
}

fn unix_ms() -> u64 {
    (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as u64
}

/// The run that lies in the folder, or a new one.
async fn open(args: &Args, stretch: Stretch, bus: &Bus) -> Result<(Folder, Option<Reading>)> {
    let identity = args.identity()?;
    if let Some(folder) = Folder::resume(&args.report, &identity)? {
        return Ok((folder, None));
    }
    let (turns, reading) = read(args, stretch, bus).await?;
    if turns.is_empty() {
        bail!("no turn was {stretch}; widen --from and --to, or see whether --tenant and --channel are right");
    }
    let has_recordings = turns.iter().any(|turn| turn.original.model_call.is_some());
    let run = Run {
        id: RequestId::new().to_string(),
        arguments: identity,
        stretch,
        model: args.model_use(has_recordings),
        talkfleet: env!("CARGO_PKG_VERSION").into(),
    };
    Ok((Folder::begin(&args.report, run, turns)?, Some(reading)))
}

/// The stretch's turns with the memory that they had, by the baseline's own bounds.
async fn read(args: &Args, stretch: Stretch, bus: &Bus) -> Result<(Vec<Recorded>, Reading)> {
    let wanted = args.wanted(stretch);
    let memory = match args.baseline() {
        lanes::Who::Here { file, set } => lanes::worker_config(&args.connect, None, "b", file, &set)?.memory,
        lanes::Who::Lane(_) => lanes::worker_config(&args.connect, None, "b", None, &[])?.memory,
    };
    let read = source::read(bus, &args.connect, &wanted).await?;
    let reading = Reading::new(read.messages, read.bytes, read.elapsed);
    let earlier = source::earlier(bus, &args.connect, &wanted, &read.turns, &memory).await?;
    Ok((conversations::with_memory(earlier, read.turns, &memory), reading))
}

/// Asks what has no answer yet.
async fn ask(
    args: &Args,
    folder: &Folder,
    answers: &HashMap<Side, Answers>,
    live: &Bus,
    [judge, judged]: [&Stage; 2],
) -> Result<Passes> {
    let sides = [
        (Side::BaselineA, judge.bus.clone()),
        (Side::BaselineB, judge.bus.clone()),
        (Side::Candidate, judged.bus.clone()),
    ];
    let is_answered = |side: Side, turn: usize| {
        answers.get(&side).is_some_and(|known| known.contains_key(&folder.turns[turn].original.request))
    };
    let found = conversations::conversations(&folder.turns);
    let tracks: Vec<_> = drive::tracks(&found, &sides, is_answered).collect();
    let bar = progress(tracks.iter().map(|track| track.turns.len() as u64).sum(), args.json);
    let gate = throttle::watch(live.clone(), args.live_lag_max, bar.clone()).await;
    let (sender, outcomes) = mpsc::unbounded_channel();
    let writers = Side::COMPARED.map(|side| Ok((side, folder.writer(side)?)));
    let writers = writers.into_iter().collect::<Result<HashMap<_, _>>>()?;
    let writing = tokio::task::spawn_blocking(move || write(outcomes, writers));
    let passes = drive::drive(args.plan(&folder.run), folder.turns.clone(), tracks, gate, sender, bar.clone()).await?;
    bar.finish_and_clear();
    writing.await?.with_context(|| format!("{} cannot be written", folder.path().display()))?;
    Ok(passes)
}

/// Writes outcomes as they come; what has come is on the disk whenever none is waiting.
fn write(mut outcomes: mpsc::UnboundedReceiver<Outcome>, mut writers: HashMap<Side, Writer>) -> io::Result<()> {
    while let Some((side, original, record)) = outcomes.blocking_recv() {
        if let Some(writer) = writers.get_mut(&side) {
            writer.add(&original, &record)?;
        }
        if outcomes.is_empty() {
            writers.values_mut().try_for_each(Writer::flush)?;
        }
    }
    writers.values_mut().try_for_each(Writer::flush)
}

fn triples(turns: &[Recorded], mut answers: HashMap<Side, Answers>) -> Vec<Triple> {
    let mut take = |side: Side, request: &RequestId| answers.get_mut(&side).and_then(|known| known.remove(request));
    let triple = |turn: &Recorded| Triple {
        original: turn.original.clone(),
        baseline_a: take(Side::BaselineA, &turn.original.request),
        baseline_b: take(Side::BaselineB, &turn.original.request),
        candidate: take(Side::Candidate, &turn.original.request),
    };
    turns.iter().map(triple).collect()
}

fn progress(total: u64, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("  {bar:32} {pos}/{len} answered, {per_sec}, {eta} left {msg}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
