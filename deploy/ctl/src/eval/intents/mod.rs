//! `talkfleet eval intents`: trained on one file, asked another, and told what to mend.

/// What is measured: all that is known here of the worker's intents.
mod subject;

/// Labelled texts out of files.
mod data;

/// PURE: parts for cross-validation and the learning curve.
mod parts;

/// PURE: what is wrong with the files themselves.
mod review;

/// Training and asking, with what they cost.
mod measure;

/// PURE: the line between in and out of scope.
mod scope;

/// PURE: confused intents side by side.
mod order;

/// The training lines nearest to a wrong one.
mod neighbours;

/// PURE: the lists of the report.
mod lists;

/// PURE: the figures.
mod report;

/// PURE: the report in the terminal.
mod text;

/// PURE: the report as a page.
mod html;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};

pub use self::data::taught;
use self::{
    data::Labelled,
    measure::{Held, Measured},
    report::{Evidence, Report},
    subject::{Subject, Tier},
};
use super::folder::Folder;

/// The fewest and most parts of a cross-validation.
const FOLDS_MAX: u32 = 20;

/// How well intents are recognised: trained on one file, asked another
///
/// Files are JSON lines or CSV with the columns text and intent (null, in CSV nothing: out of
/// scope), our YAML or Rasa's. No engine is needed. The sentence encoder is taken from the cache,
/// or fetched once; without it the tier of words stands alone.
///
/// A run costs about two trainings: one on everything, and together one on 10, 25 and 50 % of it
/// for the learning curve (--no-learning-curve spares that). --cross-validate adds one training for
/// each fold.
///
/// --json prints one object with these figures, shares from 0 to 1, null where there was nothing to
/// measure:
///
///   accuracy, macro_f1          test lines in scope whose likeliest intent is right, before any
///                               threshold; mean F1 over intents
///   accuracy_after_threshold    the same, counting only those that are recognised
///   declined_in_scope           test lines in scope below the threshold
///   oos_recall, oos_auroc       test lines out of scope below the threshold; area under the curve
///                               of that score
///   ece                         expected calibration error of the confidence, 15 bins
///   cpu_us_per_query            CPU microseconds of one query, as the model itself chooses its tiers
///   escalated                   queries that the dearest tier decided
///   tier                        the dearest tier that took part
///   train_seconds, train_cpu_seconds
///   examples, intents           what was taught
///   test_examples, test_out_of_scope
///   threshold                   where --validation put it; null: the model's own
///   leaked, accuracy_without_leaked, conflicts, duplicates
///   tiers                       each alone: tier, accuracy, macro_f1, cpu_us_per_query, decided
///   languages                   by tag: test_examples, accuracy, macro_f1,
///                               accuracy_after_threshold, test_out_of_scope, oos_recall
///   cross_validation            folds, accuracy, accuracy_deviation, macro_f1
///   learning_curve              examples, share, accuracy, macro_f1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// What is taught; again for more files
    #[arg(long, value_name = "FILE", required = true)]
    train: Vec<PathBuf>,
    /// What is asked; may be left out with --cross-validate
    #[arg(long, value_name = "FILE")]
    test: Vec<PathBuf>,
    /// Choose the threshold on these lines, with the fewest mistakes when a fifth of the traffic is out of scope
    #[arg(long, value_name = "FILE")]
    validation: Vec<PathBuf>,
    /// Test lines that belong to no intent, beside those of --test whose intent is null
    #[arg(long, value_name = "FILE")]
    out_of_scope: Vec<PathBuf>,
    /// Judge every training line by a model that has not seen it
    #[arg(long)]
    cross_validate: bool,
    /// Parts of the cross-validation, each a training
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=FOLDS_MAX as i64))]
    folds: u32,
    /// The dearest tier that takes part; the best that this machine has, unless said
    #[arg(long, value_enum)]
    tier: Option<Tier>,
    /// Train once only
    #[arg(long)]
    no_learning_curve: bool,
    /// The folder of the report: index.html, report.json, predictions.jsonl, plots as SVG
    #[arg(long, value_name = "DIR", default_value = "eval-intents")]
    out: PathBuf,
    /// Print one JSON object, for scripts
    #[arg(long)]
    json: bool,
}

/// What was read.
struct Files {
    train: Vec<Labelled>,
    /// Empty: every training line is asked by cross-validation.
    test: Vec<Labelled>,
    validation: Vec<Labelled>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let files = read(&args)?;
    let folder = Folder::open(&args.out)?;
    let subject = Subject::open(args.tier).await?;
    let json = args.json;
    let (report, predictions) = tokio::task::spawn_blocking(move || measure(&subject, &files, &args)).await??;
    write(&folder, &report, &predictions)?;
    match json {
        true => println!("{}", serde_json::to_string(&report.figures)?),
        false => println!("{}", text::text(&report, Some(&folder.page()))),
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the folder.
fn write(folder: &Folder, report: &Report, predictions: &[measure::Prediction]) -> Result<()> {
    folder.write(&html::page(report), report)?;
    let threshold = report.figures.threshold;
    folder.lines("predictions.jsonl", predictions.iter().map(|one| report::line(one, threshold)))?;
    html::drawings(report).iter().try_for_each(|drawing| folder.plot(drawing.name, &drawing.plot))
}

fn read(args: &Args) -> Result<Files> {
    if args.test.is_empty() && !args.cross_validate {
        bail!(
            "nothing is asked: give labelled lines that were not taught by --test FILE, or --cross-validate to judge every \
             training line by a model that has not seen it"
        );
    }
    let train = data::read(&args.train)?;
    let mut test = data::read(&args.test)?;
    test.append(&mut data::read_out_of_scope(&args.out_of_scope)?);
    let intents: std::collections::BTreeSet<&str> = train.iter().filter_map(|line| line.intent.as_deref()).collect();
    match intents.len() {
        0 => bail!("the training file teaches no intent: every line is out of scope"),
        1 => bail!(
            "the training file teaches one intent only ({}): a model tells at least two apart, so add examples of another",
            intents.first().copied().unwrap_or_default()
        ),
        _ => {}
    }
    if !args.test.is_empty() && test.iter().all(|line| line.intent.is_none()) {
        bail!("no line of the test file has an intent: nothing can be right; labelled lines go to --test");
    }
    if args.test.is_empty() && !args.out_of_scope.is_empty() {
        bail!("--out-of-scope is asked together with --test; with --cross-validate alone put those lines into --train");
    }
    Ok(Files { validation: data::read(&args.validation)?, train, test })
}

type Outcome = (Report, Vec<measure::Prediction>);

fn measure(subject: &Subject, files: &Files, args: &Args) -> Result<Outcome> {
    let Files { train, test, .. } = files;
    let folds = args.folds as usize;
    let crossed = args.cross_validate.then(|| measure::cross_validate(subject, train, folds)).transpose()?;
    let (measured, curve, threshold) = match (&crossed, test.is_empty()) {
        (Some((measured, _)), true) => (measured.clone(), Vec::new(), None),
        _ => tested(subject, files, args)?,
    };
    let asked: &[Labelled] = if test.is_empty() { &[] } else { test };
    let review = review::review(train, asked);
    let intents = train.iter().filter_map(|line| line.intent.as_deref()).collect::<std::collections::HashSet<_>>();
    let mut report = Report::of(&Evidence {
        measured: &measured,
        review: &review,
        source: source(args),
        examples: train.len(),
        intents: intents.len(),
        threshold,
        cross_validation: crossed.as_ref().map(|(_, held)| (folds, held.as_slice())),
        learning_curve: &curve,
    });
    neighbours::add(subject, train, &mut report.errors);
    Ok((report, measured.predictions))
}

/// `train.jsonl, asked test.jsonl, 2026-11-23`.
fn source(args: &Args) -> String {
    let names = |files: &[PathBuf]| {
        let name = |file: &PathBuf| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.iter().map(name).collect::<Vec<_>>().join(" + ")
    };
    let asked: Vec<PathBuf> = args.test.iter().chain(&args.out_of_scope).cloned().collect();
    let asked = if asked.is_empty() { "cross-validated".to_owned() } else { format!("asked {}", names(&asked)) };
    format!("{}, {asked}, {}", names(&args.train), time::OffsetDateTime::now_utc().date())
}

/// What the test file says, the learning curve, and the threshold that the validation file chose.
fn tested(subject: &Subject, files: &Files, args: &Args) -> Result<(Measured, Vec<Held>, Option<f64>)> {
    let Files { train, test, validation } = files;
    let all: Vec<&Labelled> = train.iter().collect();
    let (trained, measured) = measure::train_and_ask(subject, &all, test)?;
    let validated = measure::ask(subject, &trained, validation);
    let judged: Vec<scope::Judged> = validated.predictions.iter().map(report::judged).collect();
    let curve = match args.no_learning_curve {
        true => Vec::new(),
        false => measure::learning_curve(subject, train, test, &measured)?,
    };
    Ok((measured, curve, scope::choose(&judged)))
}
