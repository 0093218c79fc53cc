//! `talkfleet eval retrieval`: whether the document that answers is found, by tier, and whether the quote holds the answer.

/// What is measured: all that is known here of the worker's retrieval.
mod subject;

/// The encoder of one of its tiers, which no desk uses.
mod statics;

/// Documents and questions out of files.
mod data;

/// Asking, quoting, and asking without the answer.
mod measure;

/// PURE: figures and lists.
mod report;

/// PURE: the report in the terminal.
mod text;

/// PURE: the report as a page.
mod html;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

pub(super) use self::measure::holds;
use self::{
    report::{Evidence, Report},
    subject::{Library, Models, Tier},
};
use super::folder::Folder;

/// How well the right document is found, by tier
///
/// Documents are JSON lines or CSV with the columns id, title and text (Markdown); questions with
/// question, document (the id, or in JSON a list) and, where it is known, answer (what the answer
/// holds, word for word). No engine is needed. The sentence encoder is taken from the cache, or
/// fetched once; without it the tier of words stands alone. Documents are cut into passages as the
/// desk cuts them, and a passage that is found counts for its document.
///
/// --json prints one object with these figures, shares from 0 to 1, null where there was nothing to
/// measure:
///
///   tier                        whose figures stand at the top: the last of --tier, else the
///                               desk's own
///   recall_at_1, recall_at_5    questions whose document came first, or among the first five
///   mrr_at_10, ndcg_at_10       mean reciprocal rank, and discounted cumulative gain, over ten
///                               documents
///   cpu_us_per_query            CPU microseconds of one search, encoding the question included
///                               (encode_us_per_query); cpu_us_p99 of the dearest in a hundred
///   quote_us_per_query          CPU microseconds of quoting the answer
///   answer_in_1, _2, _3         questions whose answer is inside the quoted one, two, three
///                               sentences
///   answerable_auroc            how well the score tells questions with an answer from those without
///   answerable_declined, unanswerable_declined    at answerable_from, the threshold of a desk without
///                               intents
///   in_scope_answerable_declined, in_scope_unanswerable_declined    at in_scope_from, the threshold
///                               for a question that belongs to one of the desk's intents
///   answers_not_in_document     questions whose answer none of their documents holds word for word:
///                               no quote can (answers_not_in_document_ids: the first)
///   questions, documents, passages, questions_with_answer, unanswerable
///   indexed_per_second          passages that one core indexes in a second, embedding them apart
///   tiers                       each: tier, questions, recall_at_1, recall_at_5, mrr_at_10,
///                               ndcg_at_10, cpu_us_per_query, cpu_us_p99
///   languages                   by tag, the same by tier; without tiers that read no such language
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// What may be found; again for more files
    #[arg(long, value_name = "FILE", required = true)]
    documents: Vec<PathBuf>,
    /// What is asked; again for more files
    #[arg(long, value_name = "FILE", required = true)]
    questions: Vec<PathBuf>,
    /// Questions that no document answers; without them the same questions are asked after their documents were taken out
    #[arg(long, value_name = "FILE")]
    unanswerable: Vec<PathBuf>,
    /// Who ranks: several are compared, the last one also quotes; unless said, all that this machine has, the transformer's
    /// where the base has at most 1,000 English passages
    #[arg(long, value_enum, value_delimiter = ',')]
    tier: Vec<Tier>,
    /// The folder of the report: index.html, report.json, questions.jsonl, plots as SVG
    #[arg(long, value_name = "DIR", default_value = "eval-retrieval")]
    out: PathBuf,
    /// Print one JSON object, for scripts
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let documents = data::documents(&args.documents)?;
    let questions = data::questions(&args.questions, &documents)?;
    let unanswerable = data::unanswerable(&args.unanswerable)?;
    let folder = Folder::open(&args.out)?;
    let models = Models::open(&args.tier).await?;
    let report = tokio::task::spawn_blocking(move || {
        let library = Library::make(&documents, &questions, models, &args.tier)?;
        let tiers = if args.tier.is_empty() { library.tiers() } else { args.tier };
        let measured = measure::measure(&library, &documents, &questions, &unanswerable, &tiers)?;
        let report = Report::of(&Evidence {
            documents: &documents,
            passages: library.passages(),
            questions: &questions,
            tiers: &tiers,
            measured: &measured,
            given: !unanswerable.is_empty(),
        });
        folder.write(&html::page(&report), &report)?;
        html::drawings(&report).iter().try_for_each(|drawing| folder.plot(drawing.name, &drawing.plot))?;
        let lines = questions.iter().zip(&measured.asked);
        folder.lines("questions.jsonl", lines.map(|(question, asked)| report::line(question, asked)))?;
        anyhow::Ok((report, folder))
    });
    let (report, folder) = report.await??;
    match args.json {
        true => println!("{}", serde_json::to_string(&report.figures)?),
        false => println!("{}", text::text(&report, Some(&folder.page()))),
    }
    Ok(ExitCode::SUCCESS)
}
