//! `talkfleet publish`: a file of messages onto the queue at a steady rate, as a gateway would, counting what comes back.

mod report; // what was counted, as text and JSON
mod source; // lines of a file as messages

use std::{
    collections::HashMap,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use talkfleet_shared::{
    bus::{AskHeaders, Bus, Mailbox, SubmitError},
    chat::FrameBody,
    id::{GatewayId, RequestId, TenantId},
    retry::Delays,
    subject,
    telemetry::Trace,
};
use tokio::{sync::Semaphore, task::JoinSet, time::MissedTickBehavior};

use self::{report::Report, source::Message};
use crate::connect::{Connect, parse_tenant};

/// Publish a file of messages onto the queue and count what comes back.
///
/// Each line is a JSON object {"text", "conversation"?, "user"?, "channel"?, "metadata"?}, or just a text.
/// A line without a conversation starts one of its own. Lines of one conversation are answered in order.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JSONL or plain text, one message a line; `-` reads standard input
    file: PathBuf,
    /// Messages a second
    #[arg(long, default_value_t = 100.0, value_name = "N")]
    rate: f64,
    /// Whose messages they are
    #[arg(long, default_value = "demo", value_parser = parse_tenant)]
    tenant: TenantId,
    /// How long each turn may take, in milliseconds
    #[arg(long, default_value_t = 30_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(500..=120_000))]
    deadline_ms: u64,
    /// Messages that may wait for their answer at once; more wait here
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// How many messages a file's text holds, and what is said of each line that is none.
pub(crate) fn read(text: &str) -> (usize, Vec<String>) {
    let (messages, skipped) = source::parse(text);
    (messages.len(), skipped.into_iter().map(|skipped| skipped.why).collect())
}

/// Requests that wait for their last frame, with the moment at which they were meant to go out.
type Waiting = Arc<Mutex<HashMap<RequestId, (Instant, tokio::sync::OwnedSemaphorePermit)>>>;

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if !args.rate.is_finite() || args.rate <= 0.0 || args.rate > 1_000_000.0 {
        bail!("--rate is {}; give messages a second, above 0", args.rate);
    }
    let (messages, skipped) = source::read(&args.file)?;
    for skip in &skipped {
        eprintln!("line {}: {}; skipped", skip.line, skip.why);
    }
    if messages.is_empty() {
        bail!("{} holds no message to publish", args.file.display());
    }
    let bus = args.connect.bus().await?;
    let mut report = publish(&bus, messages, &args).await?;
    report.skipped = skipped.len() as u64;
    match args.json {
        true => println!("{}", report.to_json()),
        false => println!("{report}"),
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn publish(bus: &Bus, messages: Vec<Message>, args: &Args) -> Result<Report> {
    let gateway = GatewayId::new();
    let waiting = Waiting::default();
    let report = Arc::new(Mutex::new(Report::default()));
    let bar = progress(messages.len() as u64, args.json);
    let mailbox = bus.mailbox(&gateway).await?;
    let listener = tokio::spawn(listen(mailbox, waiting.clone(), report.clone(), bar.clone()));

    let started = Instant::now();
    let room = Arc::new(Semaphore::new(args.in_flight as usize));
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / args.rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut publishing = JoinSet::new();
    for message in messages {
        ticks.tick().await;
        let permit = room.clone().acquire_owned().await?;
        let intended = Instant::now();
        let (bus, waiting, report, bar) = (bus.clone(), waiting.clone(), report.clone(), bar.clone());
        let (tenant, gateway, budget) = (args.tenant.clone(), gateway.clone(), Duration::from_millis(args.deadline_ms));
        publishing.spawn(async move {
            let request = RequestId::new();
            let headers = AskHeaders {
                reply_to: subject::reply(&gateway, &request),
                request: request.clone(),
                budget,
                trace: Trace::start(&mut rand::rng()),
                last_only: false,
                opening: false,
            };
            // The mailbox entry comes first: an answer may be faster than the broker's ack.
            lock(&waiting).insert(request.clone(), (intended, permit));
            let accepted = submit(&bus, &tenant, &message, &headers).await;
            let mut report = lock(&report);
            match accepted {
                Ok(()) => report.accepted += 1,
                Err(error) => {
                    lock(&waiting).remove(&request);
                    bar.inc(1);
                    report.refused(&error);
                }
            }
        });
        while publishing.try_join_next().is_some() {}
    }
    while publishing.join_next().await.is_some() {}
    settle(&waiting, Duration::from_millis(args.deadline_ms) + LAST_FRAME_GRACE).await;
    listener.abort();
    bar.finish_and_clear();
    let mut report = lock(&report).clone();
    report.unanswered = lock(&waiting).len() as u64;
    report.elapsed = started.elapsed();
    Ok(report)
}

/// How long after the deadline a last frame may still come: a killed worker's turn is delivered again after five seconds.
const LAST_FRAME_GRACE: Duration = Duration::from_secs(8);

/// Publishes one message; while the conversation is busy it waits its turn, within half of the budget.
async fn submit(bus: &Bus, tenant: &TenantId, message: &Message, headers: &AskHeaders) -> Result<(), SubmitError> {
    let mut delays = Delays::new(Duration::from_millis(20), Duration::from_millis(200));
    let give_up = Instant::now() + headers.budget / 2;
    loop {
        match bus.submit(tenant, &message.conversation, &message.ask, headers).await {
            Ok(_) => return Ok(()),
            Err(SubmitError::Busy) if Instant::now() < give_up => tokio::time::sleep(delays.next_delay()).await,
            Err(error) => return Err(error),
        }
    }
}

async fn listen(mut mailbox: Mailbox, waiting: Waiting, report: Arc<Mutex<Report>>, bar: ProgressBar) {
    while let Some(frame) = mailbox.next().await {
        if !frame.body.is_last() {
            continue;
        }
        let Some((intended, _permit)) = lock(&waiting).remove(&frame.request) else {
            lock(&report).second_last_frames += 1;
            continue;
        };
        bar.inc(1);
        let mut report = lock(&report);
        report.latency(intended.elapsed());
        match frame.body {
            FrameBody::Done { answer } => report.answered(answer.kind),
            FrameBody::Expired { .. } => report.expired += 1,
            FrameBody::Cancelled { .. } => report.cancelled += 1,
            _ => report.failed += 1,
        }
    }
}

/// Waits until nothing waits any more, at most for `longest`.
async fn settle(waiting: &Waiting, longest: Duration) {
    let until = Instant::now() + longest;
    while !lock(waiting).is_empty() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn progress(total: u64, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("  {bar:32} {pos}/{len} ended, {per_sec}, {eta} left");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
