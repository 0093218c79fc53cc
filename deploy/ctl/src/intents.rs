//! `talkfleet intents`: look over, train, publish, look at, import and roll back what the desk recognises.

use std::{
    collections::BTreeMap,
    fmt::Write,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use talkfleet_worker::{
    catalog::{self, IntentsArtefact},
    intent::{self, IntentModel, IntentSet, Kind, ScopeCost, Warning, review},
    text,
};

use crate::{
    audit::{Deed, noted},
    connect::About,
    knowledge::load_encoders,
    width::padded,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Train from a file (our YAML, Rasa's NLU YAML, JSON lines or array, or CSV) and publish; workers follow within two seconds
    Train {
        file: PathBuf,
        #[command(flatten)]
        about: About,
    },
    /// Look a file over before training: conflicting, repeated and misplaced examples, thin intents, leaked test lines;
    /// exits with 1 when examples conflict or leak
    Validate {
        file: PathBuf,
        /// A test set in any of the formats: none of its lines may stand among the examples
        #[arg(long, value_name = "FILE")]
        test: Option<PathBuf>,
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
    /// List the versions that are kept, newest first
    List {
        #[command(flatten)]
        about: About,
    },
    /// Show the intents of the current version, with their examples by language
    Show {
        #[command(flatten)]
        about: About,
    },
    /// Turn Rasa's NLU YAML, JSON or CSV into our YAML; the file itself tells which it is
    Import {
        file: PathBuf,
        /// Where to write; without it, to standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Point back to an earlier version
    Rollback {
        #[arg(id = "intents_version", value_name = "VERSION")]
        version: String,
        #[command(flatten)]
        about: About,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Train { file, about } => {
            let deed = Deed::new("intents.train").of(&about.tenant).on(file.display());
            noted(&about.connect, deed, train(&file, &about)).await?;
        }
        Command::Validate { file, test, json } => return validate(&file, test.as_deref(), json).await,
        Command::List { about } => list(&about).await?,
        Command::Show { about } => show(&about).await?,
        Command::Import { file, output } => import(&file, output.as_deref())?,
        Command::Rollback { version, about } => {
            let back = async {
                let bus = about.connect.bus().await?;
                Ok(catalog::roll_back_intents(&bus, &about.tenant, &version).await?)
            };
            noted(&about.connect, Deed::new("intents.rollback").of(&about.tenant).on(&version), back).await?;
            match about.json {
                true => println!("{}", serde_json::json!({ "version": version })),
                false => println!("version {version} is current"),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a training came to.
#[derive(Debug, Serialize)]
struct Trained {
    version: String,
    examples: usize,
    intents: usize,
    /// Examples by language.
    languages: BTreeMap<&'static str, usize>,
    /// Share of held-out examples whose best intent was right.
    accuracy: f32,
    declined_wrongly: f32,
    declined_rightly: f32,
    warnings: Vec<String>,
    seconds: f64,
}

async fn train(file: &Path, about: &About) -> Result<()> {
    let since = Instant::now();
    let set = parse(file)?;
    let warnings: Vec<String> = intent::review(&set).iter().map(ToString::to_string).collect();
    let bus = about.connect.bus().await?;
    let encoders = load_encoders().await;
    let (examples, intents, languages) = (set.examples.len(), set.intents.len(), languages(&set));
    let (artefact, model) = tokio::task::spawn_blocking(move || {
        let bar = bar();
        let model = intent::train(&set, &encoders, &mut |share| bar.set_position((share * 100.0) as u64))?;
        bar.finish_and_clear();
        anyhow::Ok((IntentsArtefact::new(&set, &model)?, model))
    })
    .await??;
    let version = catalog::publish_intents(&bus, &about.tenant, &artefact).await?;
    let figures = IntentModel::validation(&model);
    tell(
        &Trained {
            version,
            examples,
            intents,
            languages,
            accuracy: figures.accuracy,
            declined_wrongly: figures.declined_wrongly,
            declined_rightly: figures.declined_rightly,
            warnings,
            seconds: since.elapsed().as_secs_f64(),
        },
        about.json,
    )
}

async fn validate(file: &Path, test: Option<&Path>, json: bool) -> Result<ExitCode> {
    let set = parse(file)?;
    let mut warnings = review::review(&set);
    if let Some(test) = test {
        warnings.extend(review::leaks(&set, &parse(test)?));
    }
    if let Some(encoder) = load_encoders().await.multilingual {
        let texts: Vec<String> = set.examples.iter().map(|example| example.text.clone()).collect();
        let embeddings = tokio::task::spawn_blocking(move || encoder.encode_many(&texts)).await?;
        warnings.extend(review::near(&set, &embeddings));
        warnings.extend(review::misplaced(&set, &embeddings));
    } else {
        eprintln!(
            "without the sentence encoder (`talkfleet up` fetches it) examples that say the same in other words are not looked for"
        );
    }
    let leaked = warnings.iter().filter(|warning| matches!(warning, Warning::Leaked { .. })).count();
    let conflicts = warnings.iter().filter(|warning| warning.is_conflict()).count() - leaked;
    let sentences: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let (intents, examples) = (set.intents.len(), set.examples.len());
    if json {
        println!(
            "{}",
            serde_json::json!({ "intents": intents, "examples": examples, "out_of_scope": set.out_of_scope.len(),
                "languages": languages(&set), "conflicts": conflicts, "leaked": leaked, "warnings": sentences })
        );
    } else {
        sentences.iter().for_each(|sentence| println!("{sentence}"));
        println!(
            "{intents} intents, {examples} examples: {conflicts} conflict(s), {leaked} line(s) of the test set, {} remark(s)",
            sentences.len() - conflicts - leaked
        );
    }
    Ok(if conflicts + leaked == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same formats, and the same complaints, as in `talkfleet eval intents`.
fn parse(file: &Path) -> Result<IntentSet> {
    crate::eval::taught(file)
}

fn tell(trained: &Trained, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(trained)?);
        return Ok(());
    }
    for warning in &trained.warnings {
        eprintln!("look at this: {warning}");
    }
    let languages: Vec<String> = trained.languages.iter().map(|(tag, count)| format!("{count} {tag}")).collect();
    println!(
        "trained {} intents from {} examples ({}) in {:.1} s: {:.1} % of held-out examples right, {:.1} % declined",
        trained.intents,
        trained.examples,
        languages.join(", "),
        trained.seconds,
        trained.accuracy * 100.0,
        trained.declined_wrongly * 100.0
    );
    println!("published as version {}", trained.version);
    Ok(())
}

fn languages(set: &IntentSet) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for example in &set.examples {
        *counts.entry(text::language(&example.text).tag()).or_default() += 1;
    }
    counts
}

async fn list(about: &About) -> Result<()> {
    let kept = catalog::intents_versions(&about.connect.bus().await?, &about.tenant).await?;
    let is_current = |version: &String| kept.current.as_ref() == Some(version);
    if about.json {
        let row = |version| serde_json::json!({ "version": version, "current": is_current(version) });
        println!("{}", kept.versions.iter().map(row).collect::<serde_json::Value>());
        return Ok(());
    }
    let row = |version: &String| format!("{version}{}\n", if is_current(version) { "  current" } else { "" });
    print!("{}", kept.versions.iter().map(row).collect::<String>());
    if kept.versions.is_empty() {
        eprintln!("tenant {} has no intents yet; `talkfleet intents train FILE` makes some", about.tenant);
    }
    Ok(())
}

async fn show(about: &About) -> Result<()> {
    let found = catalog::current_intents(&about.connect.bus().await?, &about.tenant).await?;
    let Some((version, artefact)) = found else {
        bail!("tenant {} has no intents yet; `talkfleet intents train FILE` makes some", about.tenant);
    };
    if about.json {
        let body = serde_json::json!({ "version": version, "intents": artefact.intents, "out_of_scope": artefact.out_of_scope });
        println!("{body}");
        return Ok(());
    }
    let mut table = format!("version {version}\n\n{:<28} {:<11} {:<16} DESCRIPTION\n", "INTENT", "KIND", "EXAMPLES");
    for card in &artefact.intents {
        let counts: Vec<String> = card.examples.iter().map(|(tag, count)| format!("{tag} {count}")).collect();
        let name = padded(&card.name, 28);
        writeln!(table, "{name} {:<11} {:<16} {}", kind(card.kind), counts.join(", "), card.description)?;
    }
    println!("{table}{:<28} {:<11} {}", "out of scope", "", artefact.out_of_scope);
    Ok(())
}

fn import(file: &Path, output: Option<&Path>) -> Result<()> {
    let set = parse(file)?;
    let yaml = to_yaml(&set);
    match output {
        None => print!("{yaml}"),
        Some(output) => {
            write_new(output, &yaml).with_context(|| format!("{} cannot be created anew", output.display()))?;
            eprintln!("wrote {} intents and {} examples", set.intents.len(), set.examples.len());
        }
    }
    Ok(())
}

fn write_new(file: &Path, text: &str) -> io::Result<()> {
    io::Write::write_all(&mut std::fs::File::create_new(file)?, text.as_bytes())
}

/// Our own format. A JSON string is a YAML string, so nothing can break out of its quotes.
fn to_yaml(set: &IntentSet) -> String {
    let mut out = String::from("version: 1\nintents:\n");
    for intent in &set.intents {
        let _ = writeln!(out, "  - name: {}\n    kind: {}", quoted(&intent.name), kind(intent.kind));
        if !intent.description.is_empty() {
            let _ = writeln!(out, "    description: {}", quoted(&intent.description));
        }
        let examples = set.examples.iter().filter(|example| example.intent == intent.name).map(|example| &example.text);
        by_language(&mut out, "    ", "examples", examples);
        if !intent.replies.is_empty() {
            out.push_str("    replies:\n");
            for (tag, replies) in &intent.replies {
                lines(&mut out, "      ", tag, replies);
            }
        }
    }
    by_language(&mut out, "", "out_of_scope", set.out_of_scope.iter());
    if set.scope != ScopeCost::default() {
        let ScopeCost { decline_good, answer_strange } = set.scope;
        let _ = writeln!(out, "scope_cost: {{ decline_good: {decline_good}, answer_strange: {answer_strange} }}");
    }
    out
}

fn by_language<'a>(out: &mut String, indent: &str, key: &str, texts: impl Iterator<Item = &'a String>) {
    let mut groups: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for one in texts {
        groups.entry(text::language(one).tag()).or_default().push(one);
    }
    if groups.is_empty() {
        return;
    }
    let _ = writeln!(out, "{indent}{key}:");
    for (tag, texts) in groups {
        lines(out, &format!("{indent}  "), tag, texts);
    }
}

fn lines<'a>(out: &mut String, indent: &str, key: &str, texts: impl IntoIterator<Item = &'a String>) {
    let _ = writeln!(out, "{indent}{key}:");
    for one in texts {
        let _ = writeln!(out, "{indent}  - {}", quoted(one));
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Question => "question",
        Kind::SmallTalk => "small_talk",
        Kind::Handover => "handover",
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(100);
    if let Ok(style) = ProgressStyle::with_template("  {bar:32} {percent} % trained, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let rasa = "version: \"3.1\"\nnlu:\n- intent: track\n  examples: |\n    - where is \"it\": now?\n    - 包裹到哪了\n- intent: nlu_fallback\n  examples: |\n    - 2+2 # really\n";
        let set = intent::parse(rasa).unwrap();
        assert_eq!(intent::parse(&to_yaml(&set)).unwrap(), set);
        let ours = include_str!("../../../schemas/demo/intents.yaml");
        let (set, again) =
            (intent::parse(ours).unwrap(), intent::parse(&to_yaml(&intent::parse(ours).unwrap())).unwrap());
        assert_eq!((again.intents, again.examples.len()), (set.intents, set.examples.len()));
    }

    #[test]
    fn only_readable_files_are_read() {
        assert!(parse(Path::new("/dev/zero")).unwrap_err().to_string().contains("regular"));
        assert!(parse(Path::new("/does/not/exist")).is_err());
    }

    #[test]
    fn every_format_teaches_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.jsonl", "{\"text\": \"余额\", \"intent\": \"查话费\"}\n"),
            ("a.json", "[{\"text\": \"余额\", \"intent\": \"查话费\"}]"),
            ("a.csv", "text,intent\n余额,查话费\n"),
            ("a.yaml", "version: 1\nintents:\n  - name: 查话费\n    examples: {zh: [余额]}\n"),
        ] {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            let set = parse(&file).unwrap();
            assert_eq!((set.examples[0].text.as_str(), set.intents[0].name.as_str()), ("余额", "查话费"), "{name}");
        }
        let file = folder.path().join("empty.yaml");
        std::fs::write(&file, "").unwrap();
        assert!(parse(&file).unwrap_err().to_string().ends_with("is empty"));
    }
}
