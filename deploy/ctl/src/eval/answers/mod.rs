//! `talkfleet eval answers`: a running desk asked the questions of a labelled file, and its answers held against the labels.

/// Questions out of files.
mod data;

/// The desk is asked over NATS.
mod ask;

/// PURE: whether an answer says only what its passages say.
mod grounded;

/// PURE: what the gate may be held to.
mod figures;

/// PURE: figures, verdict and wrong answers.
mod report;

/// PURE: the report in the terminal.
mod text;

/// PURE: the report as a page.
mod html;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use talkfleet_shared::id::TenantId;

pub(crate) use self::data::asked;
use self::{
    ask::Pace,
    figures::Threshold,
    report::{Prices, Report},
};
use super::folder::Folder;
use crate::{
    connect::{Connect, parse_tenant},
    gate::with_defaults,
};

/// How well a running desk answers the questions of a labelled file
///
/// Questions are JSON lines or CSV with the column question and, where it is known, document (which
/// may be cited: an id, a title, or the last part of an address), answer (what the answer holds,
/// word for word) and expect (answer, refusal, handover or small_talk; without it a document or an
/// answer means answer). Each is asked in a conversation of its own, as a customer would; the turns
/// are kept and counted like any other.
///
/// An answer is grounded when every sentence of it is quoted from the passages it cites, or has its
/// words and all of its numbers from them.
///
/// --json prints one object with these figures, shares from 0 to 1, null where nothing is labelled:
///
///   questions, answered, refused, handed_over, small_talk, failed
///   as_expected                 answered, refused, handed over or chatted as the label says
///   citation_right, citation_first    cites an expected document, and cites it first
///   answer_holds                the answer holds an expected wording
///   grounded                    of the answers from the knowledge
///   refused_wrongly, answered_wrongly
///   latency_p50_ms, latency_p90_ms, latency_p99_ms    from the question to the last frame
///   prompt_tokens, completion_tokens, cost
///   kinds, rungs, languages, passed, checks
///
/// The exit code is 1 when a limit is exceeded: failures=1% unless said otherwise, and those of
/// --fail-on.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// What is asked; again for more files
    #[arg(long, value_name = "FILE", required = true)]
    questions: Vec<PathBuf>,
    /// Whose desk
    #[arg(long, default_value = "demo", value_parser = parse_tenant)]
    tenant: TenantId,
    /// Questions that wait for their answer at once
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    in_flight: u32,
    /// How long each turn may take, in milliseconds
    #[arg(long, default_value_t = 30_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(500..=120_000))]
    deadline_ms: u64,
    /// What fails the gate, as figure=limit: wrong_kind=10%, ungrounded=0, latency_p99_ms=800, failures=off; again for more
    #[arg(long, value_name = "FIGURE=LIMIT")]
    fail_on: Vec<Threshold>,
    /// What the model charges for 1,000 tokens of the prompt; 0 counts tokens only
    #[arg(long, value_name = "PRICE", default_value_t = 0.0)]
    prompt_price: f64,
    /// The same for the answer
    #[arg(long, value_name = "PRICE", default_value_t = 0.0)]
    completion_price: f64,
    /// The folder of the report: index.html, report.json
    #[arg(long, value_name = "DIR", default_value = "eval-answers")]
    out: PathBuf,
    /// Print one JSON object, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let questions = data::questions(&args.questions)?;
    let folder = Folder::open(&args.out)?;
    let bus = args.connect.bus().await?;
    let pace = Pace {
        tenant: args.tenant.clone(),
        in_flight: args.in_flight as usize,
        deadline: Duration::from_millis(args.deadline_ms),
    };
    let asked = ask::ask(&bus, &questions, &pace).await?;
    let prices = Prices { prompt: args.prompt_price, completion: args.completion_price };
    let report = Report::of(args.tenant.as_str(), &questions, &asked, prices, &with_defaults(&args.fail_on));
    folder.write(&html::page(&report), &report)?;
    match args.json {
        true => println!("{}", serde_json::to_string(&report.figures)?),
        false => println!("{}", text::text(&report, Some(&folder.page()))),
    }
    Ok(if report.figures.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
