//! The commands: add, list, remove, reindex.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use talkfleet_shared::bus::Bus;
use talkfleet_worker::{
    catalog,
    encoder::{Encoder, Encoders},
    store::{Change, Store},
};

use super::{AddOptions, Folder, Isolation, Step, Summary, add, reindex, sandbox, shown};
use crate::{
    audit::{Deed, noted},
    connect::About,
    engines::{Progress, Sources, Terminal, fetch_encoder, fetch_transformer},
};

/// Lines about skipped files before the rest is only counted.
const SKIPPED_SHOWN_MAX: usize = 50;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Add folders or files; what is unchanged costs nothing, what cannot be read is named and left out
    ///
    /// Read are Markdown (front matter: id, title, url, category, questions), HTML, plain text, PDF, and questions with
    /// answers as CSV or JSON lines (question, answer, and if you like id, title, url, category). `questions` are wordings
    /// that customers used for what an article answers: they lead to it and are never quoted.
    Add {
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Remove documents whose files are gone from these folders
        #[arg(long)]
        prune: bool,
        #[command(flatten)]
        about: About,
    },
    /// List the documents: id, language, passages, title, address
    List {
        #[command(flatten)]
        about: About,
    },
    /// Remove documents by the ids that `list` shows
    Remove {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        about: About,
    },
    /// Cut and embed every document anew, as a new version
    Reindex {
        #[command(flatten)]
        about: About,
    },
    /// Read one file from standard input, in a bounded process of its own
    #[command(hide = true)]
    ReadFile { kind: String },
}

/// The engines; the tables are there afterwards.
async fn open(about: &About) -> Result<(Bus, Store)> {
    let store = about.connect.store().await?;
    store.migrate().await?;
    Ok((about.connect.bus().await?, store))
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Add { paths, prune, about } => {
            let named: Vec<String> = paths.iter().map(|path| shown(&path.to_string_lossy())).collect();
            let deed = Deed::new("knowledge.add").of(&about.tenant).on(named.join(" "));
            noted(&about.connect, deed, add_paths(&paths, prune, &about)).await?;
        }
        Command::List { about } => list(&about).await?,
        Command::Remove { ids, about } => {
            let deed = Deed::new("knowledge.remove").of(&about.tenant).on(ids.join(" "));
            noted(&about.connect, deed, remove(ids, &about)).await?;
        }
        Command::Reindex { about } => {
            noted(&about.connect, Deed::new("knowledge.reindex").of(&about.tenant), reindex_all(&about)).await?;
        }
        Command::ReadFile { kind } => sandbox::serve_reading(&kind)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add_paths(paths: &[PathBuf], prune: bool, about: &About) -> Result<()> {
    let folder = |path: &PathBuf| Folder::open(path).with_context(|| shown(&path.to_string_lossy()));
    let folders: Vec<Folder> = paths.iter().map(folder).collect::<Result<_>>()?;
    let (bus, store) = open(about).await?;
    let isolation = Isolation::ourselves(&["knowledge", "read-file"])?;
    let options = AddOptions { encoder: load_encoder().await, isolation, prune };
    let bar = Bar::new("files");
    let summary = add(&store, &about.tenant, &folders, &options, &mut |step| bar.take(step)).await?;
    bar.0.finish_and_clear();
    catalog::publish_knowledge(&bus, &store, &about.tenant).await?;
    if about.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        tell(&summary);
    }
    Ok(())
}

fn tell(summary: &Summary) {
    for skipped in summary.skipped.iter().take(SKIPPED_SHOWN_MAX) {
        eprintln!("left out {}: {}", skipped.file, skipped.why);
    }
    if summary.skipped.len() > SKIPPED_SHOWN_MAX {
        eprintln!("… and {} more; --json tells all", summary.skipped.len() - SKIPPED_SHOWN_MAX);
    }
    println!(
        "added {}, changed {}, unchanged {}, removed {}, left out {}; version {}",
        summary.added,
        summary.changed,
        summary.unchanged,
        summary.removed,
        summary.skipped.len(),
        summary.version
    );
}

async fn list(about: &About) -> Result<()> {
    let (_, store) = open(about).await?;
    let documents = store.list_documents(&about.tenant).await?;
    if about.json {
        return print(&serde_json::to_string(&documents)?);
    }
    let mut table = format!("{:<40} {:<4} {:>8}  {:<44} URL", "ID", "LANG", "PASSAGES", "TITLE");
    for one in &documents {
        let (id, title, url) = (shown(&one.id), shown(&one.title), shown(&one.url));
        write!(table, "\n{id:<40} {:<4} {:>8}  {title:<44} {url}", one.language, one.passages)?;
    }
    print(&table)?;
    let bare: i64 = documents.iter().map(|one| one.passages - one.embedded).sum();
    if bare > 0 {
        eprintln!(
            "{bare} passages have no embedding and are found by their words only; `talkfleet knowledge reindex` helps"
        );
    }
    Ok(())
}

async fn remove(ids: Vec<String>, about: &About) -> Result<()> {
    let (bus, store) = open(about).await?;
    let known = store.known_documents(&about.tenant).await?;
    if let Some(stranger) = ids.iter().find(|id| known.iter().all(|one| one.id != **id)) {
        bail!("there is no document '{}'; `talkfleet knowledge list` shows the ids", shown(stranger));
    }
    let count = ids.len();
    let version = store.change_knowledge(&about.tenant, &Change { removed: ids, ..Change::default() }).await?;
    catalog::publish_knowledge(&bus, &store, &about.tenant).await?;
    match about.json {
        true => println!("{}", serde_json::json!({ "removed": count, "version": version })),
        false => println!("removed {count}; version {version}"),
    }
    Ok(())
}

async fn reindex_all(about: &About) -> Result<()> {
    let (bus, store) = open(about).await?;
    let bar = Bar::new("documents");
    let count = reindex(&store, &about.tenant, load_encoder().await, &mut |step| bar.take(step)).await?;
    bar.0.finish_and_clear();
    let version = catalog::publish_knowledge(&bus, &store, &about.tenant).await?;
    match about.json {
        true => println!("{}", serde_json::json!({ "documents": count, "version": version })),
        false => println!("cut and embedded {count} documents anew; version {version}"),
    }
    Ok(())
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The multilingual encoder alone, fetched if need be.
pub(crate) async fn load_encoder() -> Option<Arc<Encoder>> {
    load(Sources { without_transformer: true, ..Sources::from_environment() }).await.multilingual
}

/// The sentence encoders, fetched if need be. Without any everything works by words alone, which is worth a warning.
pub(crate) async fn load_encoders() -> Encoders {
    load(Sources::from_environment()).await
}

async fn load(sources: Sources) -> Encoders {
    let progress = Terminal::default();
    let multilingual = fetch_encoder(&sources, &progress).await.map(Some).unwrap_or_else(|error| {
        progress.line(&format!("going on without the sentence encoder, by words alone: {error:#}"));
        None
    });
    let transformer = fetch_transformer(&sources, &progress).await.unwrap_or_else(|error| {
        progress.line(&format!("going on without the transformer: {error:#}"));
        None
    });
    let load = move || Encoders::load(multilingual.as_deref(), transformer.as_deref());
    let loaded = tokio::task::spawn_blocking(load).await.map_err(anyhow::Error::from).and_then(|loaded| Ok(loaded?));
    loaded.unwrap_or_else(|error| {
        progress.line(&format!("going on without the sentence encoders, by words alone: {error:#}"));
        Encoders::default()
    })
}

/// A bar on a terminal, nothing elsewhere.
struct Bar(ProgressBar);

impl Bar {
    fn new(what: &str) -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(&format!("  {{bar:32}} {{pos}} of {{len}} {what}, {{elapsed}}"))
        {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn take(&self, step: Step) {
        match step {
            Step::Found(count) => self.0.set_length(count as u64),
            Step::Read => self.0.inc(1),
            // It counts files; a batch of documents only shows that it lives.
            Step::Written(_) => self.0.tick(),
            Step::Reindexed(count) => self.0.inc(count as u64),
        }
    }
}
