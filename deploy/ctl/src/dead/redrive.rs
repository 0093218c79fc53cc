//! `talkfleet dead redrive`: dead letters asked again at a rate, each until it has an outcome; what was answered is removed.

use std::{
    collections::HashSet,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures::{StreamExt, stream};
use talkfleet_shared::{
    bus::{BUDGET_MAX, Bus, Dead, Redrive, SubmitError},
    chat::Outcome,
    id::{ConversationId, RequestId, TenantId},
    retry::Delays,
};
use tokio::{
    sync::Mutex,
    time::{Interval, MissedTickBehavior},
};

use super::{
    Which, Whose, confirmed,
    ended::{Ended, Told},
    group::{self, Row},
    letters, numbers,
};
use crate::{
    audit::{Deed, noted},
    connect::Output,
};

/// Letters that wait for their outcome at once: a redrive must not take the desk away from those who ask now.
const WAITING_MAX: usize = 64;

/// How long after its deadline an outcome may still come: a killed worker's turn is delivered again after some seconds.
const GRACE: Duration = Duration::from_secs(10);

/// Redrives of one letter within the hour for which their outcomes are kept.
const ROUNDS_MAX: u32 = 1_000;

/// Ask dead letters again, each under a new request id, and tell what came of it.
///
/// The outcome of the first request stays `failed`. A letter whose redrive is answered is removed; every other stays.
/// Redriving twice is harmless: the same letter is asked under the same id until that has an outcome. A customer's
/// verdict goes back to where it came from; what can go nowhere is named and stays. Ends with 0 when nothing is left.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    whose: Whose,
    /// Letters a second
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    rate: f64,
    /// How long each turn may take, in milliseconds
    #[arg(long, default_value_t = 30_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(500..=BUDGET_MAX.as_millis() as u64))]
    deadline_ms: u64,
    /// One after the other, and no further after the first that is not answered
    #[arg(long)]
    stop_on_error: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

/// What all letters of one run share.
#[derive(Clone)]
struct Run {
    bus: Bus,
    budget: Duration,
    ticks: Arc<Mutex<Interval>>,
    stop_on_error: bool,
    dry_run: bool,
    quiet: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    if !args.rate.is_finite() || args.rate <= 0.0 || args.rate > 1_000_000.0 {
        bail!("--rate is {}; give letters a second, above 0", args.rate);
    }
    let bus = args.output.connect.bus().await?;
    let chosen = args.which.choose(&bus, args.whose.tenant.as_ref()).await?;
    let (rows, doubles) =
        if args.which.is_wide() { group::without_doubles(chosen.rows) } else { (chosen.rows, vec![]) };
    let ask_first = args.which.is_wide() && !args.dry_run && !rows.is_empty();
    if ask_first && !confirmed(&format!("Asking {} again", letters(rows.len())), args.yes)? {
        println!("nothing was asked");
        return Ok(ExitCode::FAILURE);
    }
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / args.rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let run = Run {
        bus,
        budget: Duration::from_millis(args.deadline_ms),
        ticks: Arc::new(Mutex::new(ticks)),
        stop_on_error: args.stop_on_error,
        dry_run: args.dry_run,
        quiet: args.output.json,
    };
    let mut told: Vec<Told> = chosen.gone.into_iter().map(|id| run.told(id, Ended::Gone)).collect();
    let deed = Deed::new("dead.redrive").on(numbers(&rows));
    let changes = !args.dry_run && !rows.is_empty();
    let lanes = group::lanes(rows, args.stop_on_error);
    let again = async {
        let all = stream::iter(lanes).map(|lane| run.clone().lane(lane)).buffer_unordered(WAITING_MAX);
        told.extend(all.collect::<Vec<_>>().await.into_iter().flatten());
        run.drop_doubles(&told).await
    };
    let dropped = if changes { noted(&args.output.connect, deed, again).await? } else { again.await? };
    told.extend(doubles.into_iter().map(|row| run.told(row.id, double(&row, &dropped))));
    report(told, args.output.json)
}

fn double(row: &Row, dropped: &HashSet<u64>) -> Ended {
    let with = row.redrive_of.unwrap_or_default();
    match dropped.contains(&row.id) {
        true => Ended::WentAlong { with },
        false => Ended::Skipped { why: format!("it is a redrive of {with}, and goes when that one is answered") },
    }
}

impl Run {
    async fn lane(self, rows: Vec<Row>) -> Vec<Told> {
        let (mut told, mut stopped) = (Vec::with_capacity(rows.len()), false);
        for row in rows {
            let ended = match stopped {
                true => Ended::Untried,
                false => self.one(row.id).await.unwrap_or_else(|error| Ended::Refused { why: format!("{error:#}") }),
            };
            stopped |= self.stop_on_error && ended.is_error();
            told.push(self.told(row.id, ended));
        }
        told
    }

    fn told(&self, id: u64, ended: Ended) -> Told {
        if !self.quiet {
            println!("{id:>8}  {}", ended.sentence());
        }
        Told { id, ended }
    }

    async fn one(&self, id: u64) -> Result<Ended> {
        let Some(dead) = self.bus.dead_letter(id).await? else { return Ok(Ended::Gone) };
        if dead.head.is_feedback() {
            return self.send_back(&dead).await;
        }
        let Some((tenant, conversation)) = dead.head.asked_in() else {
            let why = "the broker itself writes the journal that it was taken from, and nobody else can".into();
            return Ok(Ended::Skipped { why });
        };
        if let Err(error) = dead.ask() {
            return Ok(Ended::Skipped { why: format!("{error}; mend it with `talkfleet dead edit {id}`") });
        }
        let (request, outcome) = self.round(&dead, &tenant, &conversation).await?;
        match outcome {
            Some(_) => self.settle(&dead, request, outcome).await,
            None if self.dry_run => Ok(Ended::WouldAsk { request }),
            None => self.ask(&dead, request, &tenant, &conversation).await,
        }
    }

    async fn send_back(&self, dead: &Dead) -> Result<Ended> {
        if self.dry_run {
            return Ok(Ended::WouldReturn);
        }
        self.ticks.lock().await.tick().await;
        self.bus.send_back(dead).await?;
        self.bus.drop_dead(dead.head.sequence).await?;
        Ok(Ended::Returned)
    }

    /// The request that this letter is asked as: the first that has no outcome yet, or one that was answered already.
    async fn round(
        &self,
        dead: &Dead,
        tenant: &TenantId,
        conversation: &ConversationId,
    ) -> Result<(RequestId, Option<Outcome>)> {
        for round in 0..ROUNDS_MAX {
            let request = dead.head.request_of_round(round);
            match self.outcome(tenant, conversation, &request).await? {
                None => return Ok((request, None)),
                Some(outcome @ Outcome::Answered { .. }) => return Ok((request, Some(outcome))),
                Some(_) => {}
            }
        }
        bail!("it was redriven {ROUNDS_MAX} times within the hour; find the cause first")
    }

    async fn ask(
        &self,
        dead: &Dead,
        request: RequestId,
        tenant: &TenantId,
        conversation: &ConversationId,
    ) -> Result<Ended> {
        self.ticks.lock().await.tick().await;
        let with = Redrive { request: request.clone(), budget: self.budget };
        let mut delays = Delays::new(Duration::from_millis(50), Duration::from_millis(500));
        let give_up = Instant::now() + self.budget;
        loop {
            match self.bus.redrive(dead, &with).await {
                Ok(_) => break,
                // The customer is asking something else just now, or another redrive of this letter is under way.
                Err(SubmitError::Busy) if Instant::now() < give_up => tokio::time::sleep(delays.next_delay()).await,
                Err(error) => return Ok(Ended::Refused { why: error.to_string() }),
            }
        }
        let give_up = Instant::now() + self.budget + GRACE;
        loop {
            let outcome = self.outcome(tenant, conversation, &request).await?;
            if outcome.is_some() || Instant::now() >= give_up {
                return self.settle(dead, request, outcome).await;
            }
            tokio::time::sleep(delays.next_delay()).await;
        }
    }

    async fn outcome(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        request: &RequestId,
    ) -> Result<Option<Outcome>> {
        Ok(self.bus.read_record(tenant, Some(conversation), request).await?.map(|record| record.outcome))
    }

    async fn settle(&self, dead: &Dead, request: RequestId, outcome: Option<Outcome>) -> Result<Ended> {
        Ok(match outcome {
            Some(Outcome::Answered { .. }) => {
                if !self.dry_run {
                    self.bus.drop_dead(dead.head.sequence).await?;
                }
                Ended::Answered { request }
            }
            Some(Outcome::Failed { problem }) => Ended::Failed { request, problem },
            Some(Outcome::Expired { .. }) => Ended::Expired { request },
            Some(Outcome::Cancelled { .. }) => Ended::Cancelled { request },
            None => Ended::Open { request },
        })
    }

    /// Removes what earlier redrives of answered letters left behind; they lie behind what they are a redrive of.
    async fn drop_doubles(&self, told: &[Told]) -> Result<HashSet<u64>> {
        let answered = told.iter().filter(|told| matches!(told.ended, Ended::Answered { .. }));
        let (mut done, mut dropped): (HashSet<u64>, _) = (answered.map(|told| told.id).collect(), HashSet::new());
        if self.dry_run || done.is_empty() {
            return Ok(dropped);
        }
        let mut heads = self.bus.dead_letters(None).await?;
        while let Some(head) = heads.next().await? {
            if head.redrive_of().is_some_and(|of| done.contains(&of)) {
                self.bus.drop_dead(head.sequence).await?;
                done.insert(head.sequence);
                dropped.insert(head.sequence);
            }
        }
        Ok(dropped)
    }
}

fn report(mut told: Vec<Told>, json: bool) -> Result<ExitCode> {
    told.sort_by_key(|told| told.id);
    let settled = told.iter().filter(|told| told.ended.is_settled()).count();
    match json {
        true => {
            println!("{}", serde_json::json!({ "settled": settled, "left": told.len() - settled, "letters": told }))
        }
        false if told.is_empty() => println!("there are no such dead letters"),
        false => println!("{settled} of {} settled", letters(told.len())),
    }
    Ok(if settled == told.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
