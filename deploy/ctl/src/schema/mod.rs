//! `talkfleet schema`: what under `schemas/` is written from the code, and the check that none of it is stale.

/// The messages of the wire: a JSON Schema and examples for each.
pub mod wire;

/// The examples themselves, one case beside the other.
mod examples;

/// Examples of what operators change.
mod deeds;

/// Examples of what buckets hold.
mod records;

/// Golden bytes: written once, read by every later version.
pub mod golden;

/// NATS and WebSocket as an AsyncAPI document.
mod asyncapi;

/// Every subject and who does what there, for the AsyncAPI document.
mod channels;

/// The headers of every message, for the AsyncAPI document.
mod headers;

/// What is said over a WebSocket, for the AsyncAPI document.
mod socket;

/// Tables for people: error codes.
mod tables;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::broker::{self, PERMISSIONS_FILE};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write every schema anew; golden bytes that exist are never touched
    Write {
        /// The folder of schemas
        #[arg(long, default_value = "schemas")]
        dir: PathBuf,
        /// The broker's users
        #[arg(long, value_name = "FILE", default_value = PERMISSIONS_FILE)]
        permissions: PathBuf,
    },
    /// Name what is stale, missing or no longer readable; exit code 1 when something is
    Check {
        /// The folder of schemas
        #[arg(long, default_value = "schemas")]
        dir: PathBuf,
        /// The broker's users
        #[arg(long, value_name = "FILE", default_value = PERMISSIONS_FILE)]
        permissions: PathBuf,
    },
}

/// Runs `talkfleet schema`.
pub async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Write { dir, permissions } => {
            let written = write(&dir)?;
            written.iter().for_each(|path| println!("wrote {}", dir.join(path).display()));
            let stale = check_permissions(&permissions)?.is_some();
            if stale {
                save(&permissions, broker::permissions()?.as_bytes())?;
                println!("wrote {}", permissions.display());
            }
            if written.is_empty() && !stale {
                println!("{} was up to date", dir.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { dir, permissions } => {
            let mut findings = check(&dir)?;
            findings.extend(check_permissions(&permissions)?);
            findings.iter().for_each(|finding| eprintln!("{finding}"));
            Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// A file under `schemas/` that is written from the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Relative to the folder of schemas.
    pub path: String,
    pub text: String,
}

/// What is wrong with a file under `schemas/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub path: String,
    pub what: What,
}

/// How a file can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Missing,
    /// The code says something else by now.
    Stale,
    /// Nothing in the code writes it.
    Orphan,
    /// Golden bytes that this build does not read as they were meant.
    Unread(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, what } = self;
        match what {
            What::Missing => write!(f, "{path} is missing; run `talkfleet schema write`"),
            What::Stale => write!(f, "{path} is stale; run `talkfleet schema write`"),
            What::Orphan => write!(f, "{path} is written by nothing; delete it, or restore what wrote it"),
            What::Unread(why) => {
                write!(f, "{path} is no longer read as it was meant: {why}; keep the change additive")
            }
        }
    }
}

/// Every document that is rewritten from the code.
pub fn documents() -> Result<Vec<Document>> {
    let (messages, api) = (wire::messages()?, talkfleet_gateway::http::openapi());
    let mut documents = vec![
        Document { path: "asyncapi.json".into(), text: asyncapi::document(&messages, &api)? },
        Document { path: "openapi.json".into(), text: pretty(&api)? },
        Document { path: "errors.md".into(), text: tables::errors() },
    ];
    for message in &wire::all()? {
        documents.push(Document { path: message.path(), text: pretty(&message.schema)? });
    }
    Ok(documents)
}

/// Writes what differs; the paths that were written come back.
pub fn write(dir: &Path) -> Result<Vec<String>> {
    let mut written = Vec::new();
    for document in documents()? {
        let path = dir.join(&document.path);
        if fs::read_to_string(&path).ok().as_deref() != Some(&document.text) {
            save(&path, document.text.as_bytes())?;
            written.push(document.path);
        }
    }
    for file in golden::files(&wire::all()?) {
        let path = dir.join(&file.path);
        if !path.exists() {
            save(&path, &file.bytes)?;
            written.push(file.path);
        }
    }
    Ok(written)
}

/// What is stale, missing, orphaned or unread.
pub fn check(dir: &Path) -> Result<Vec<Finding>> {
    let documents = documents()?;
    let mut findings = Vec::new();
    for Document { path, text } in &documents {
        match fs::read_to_string(dir.join(path)) {
            Err(_) => findings.push(Finding { path: path.clone(), what: What::Missing }),
            Ok(found) if found != *text => findings.push(Finding { path: path.clone(), what: What::Stale }),
            Ok(_) => {}
        }
    }
    let known = |path: &String| documents.iter().any(|document| document.path == *path);
    let schemas = listing(dir, "wire")?.into_iter().filter(|path| path.ends_with(".schema.json"));
    findings.extend(schemas.filter(|path| !known(path)).map(|path| Finding { path, what: What::Orphan }));
    findings.extend(golden::check(dir, &wire::all()?)?);
    Ok(findings)
}

/// Whether the broker's users, which lie apart from the schemas, are as the code says.
pub fn check_permissions(path: &Path) -> Result<Option<Finding>> {
    let what = match fs::read_to_string(path) {
        Err(_) => What::Missing,
        Ok(found) if found != broker::permissions()? => What::Stale,
        Ok(_) => return Ok(None),
    };
    Ok(Some(Finding { path: path.display().to_string(), what }))
}

/// The files of a folder under `dir`, sorted, as paths relative to `dir`; none when it does not exist.
fn listing(dir: &Path, folder: &str) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(dir.join(folder)) else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            paths.push(format!("{folder}/{}", entry.file_name().to_string_lossy()));
        }
    }
    paths.sort();
    Ok(paths)
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    let shown = path.display();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create the folder of {shown}"))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {shown}"))
}

/// JSON with sorted keys: whether a build keeps the order of a map must not show in the files.
fn pretty<T: Serialize>(value: &T) -> Result<String> {
    let mut value = serde_json::to_value(value)?;
    value.sort_all_objects();
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}
