//! `talkfleet backup` and `talkfleet restore`: what customers said, what the desk knows, and who may ask, kept in a folder.

/// Files, weighed while they are written.
mod file;

/// What a backup consists of.
mod manifest;

/// A backup put back.
mod restore;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use serde_json::json;
use talkfleet_shared::{
    bus::Bus,
    topology::{AUDIT, CATALOG, DEAD, FORGOTTEN, JOURNAL, KEYS, MODELS, OWNERS, TURNS},
};
use talkfleet_worker::store::Store;

use self::{
    file::Written,
    manifest::{FORMAT, Manifest, StreamFile, TableFile},
};
use crate::{
    audit::{Deed, noted},
    connect::Output,
};

pub(crate) use self::restore::{RestoreArgs, run as restore};

/// Copy streams and database into a folder, while the desk runs
///
/// The journal comes before the turns that it takes from, and both before the database, so that what is put back lacks nothing
/// of what it claims to have. Asks that lie on the queue are not copied: their time is over by the time that anybody restores.
/// The folder holds what customers said: keep it as safe as the database.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// A new folder, one for each backup
    #[arg(long, value_name = "DIR", required = true)]
    to: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Hold every file of a backup against its checksum; needs no desk
    Verify {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let began = Instant::now();
    let (manifest, json, said) = match (args.command, args.to) {
        (Some(Command::Verify { folder, json }), _) => (Manifest::verified(&folder)?, json, "every file is whole"),
        (None, to) => {
            let folder = to.context("--to DIR names the folder")?;
            let (bus, store) = (args.output.connect.bus().await?, args.output.connect.store().await?);
            let deed = Deed::new("backup").on(folder.display());
            let taken = noted(&args.output.connect, deed, take(&bus, &store, &folder)).await?;
            (taken, args.output.json, "kept")
        }
    };
    let took = began.elapsed();
    if json {
        let streams: Vec<_> = manifest.streams.iter().map(|s| json!({ "stream": s.stream, "messages": s.messages, "bytes": s.file.bytes, "last_sequence": s.last_sequence })).collect();
        let tables: Vec<_> = manifest
            .tables
            .iter()
            .map(|t| json!({ "table": t.table, "rows": t.rows, "bytes": t.file.bytes }))
            .collect();
        println!(
            "{}",
            json!({ "bytes": manifest.bytes(), "took_ms": took.as_millis() as u64, "began_at_ms": manifest.began_at_ms, "streams": streams, "tables": tables })
        );
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(&manifest) {
        println!("{line}");
    }
    println!("\n{said}: {} in {:.1} s", size(manifest.bytes()), took.as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

fn lines(manifest: &Manifest) -> Vec<String> {
    let mut lines = vec![format!("{:<16} {:>12} {:>12}", "STREAM OR TABLE", "MESSAGES", "SIZE")];
    let streams = manifest.streams.iter().map(|s| (&s.stream, s.messages, s.file.bytes));
    let tables = manifest.tables.iter().map(|t| (&t.table, t.rows, t.file.bytes));
    lines.extend(
        streams.chain(tables).map(|(name, count, bytes)| format!("{name:<16} {count:>12} {:>12}", size(bytes))),
    );
    lines
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1_000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Streams that are kept, in the order in which they are taken: the journal knows up to which turn it has taken, so that it
/// must not be newer than they are; the catalog names models, which must not be older than it.
fn streams() -> Vec<String> {
    let plain = [JOURNAL, TURNS, DEAD, AUDIT].map(str::to_owned);
    let buckets = [KEYS, CATALOG, OWNERS].map(|bucket| format!("KV_{bucket}"));
    plain.into_iter().chain(buckets).chain([format!("OBJ_{MODELS}")]).collect()
}

/// Writes a backup; its manifest comes last, and without it there is none.
async fn take(bus: &Bus, store: &Store, folder: &std::path::Path) -> Result<Manifest> {
    file::make_folder(folder)?;
    // Every backup has the salt, so that receipts of later forgettings can be applied to it.
    let salt = bus.salt().await?.fingerprint();
    let began_at_ms = now_ms(bus).await?;
    let mut kept = Vec::new();
    for stream in streams() {
        kept.push(keep_stream(bus, folder, &stream).await?);
    }
    let tables = keep_tables(store, folder).await?;
    // Last: who was forgotten while the rest was copied is forgotten again by whoever restores it.
    kept.push(keep_stream(bus, folder, &format!("KV_{FORGOTTEN}")).await?);
    let manifest = Manifest {
        format: FORMAT,
        talkfleet: env!("CARGO_PKG_VERSION").into(),
        nats_server: bus.server()?.version,
        postgresql: store.server_version().await?,
        began_at_ms,
        ended_at_ms: now_ms(bus).await?,
        salt,
        streams: kept,
        tables,
    };
    manifest.write(folder)?;
    Ok(manifest)
}

async fn keep_stream(bus: &Bus, folder: &std::path::Path, stream: &str) -> Result<StreamFile> {
    let mut file = Written::plain(folder, format!("streams/{stream}.tar.s2"))?;
    let facts = bus.snapshot(stream, |piece| file.add(piece)).await;
    let facts = facts.with_context(|| format!("stream {stream} could not be copied"))?;
    Ok(StreamFile {
        stream: stream.to_owned(),
        file: file.done()?,
        messages: facts.messages(),
        first_sequence: facts.first_sequence(),
        last_sequence: facts.last_sequence(),
        consumers: facts.consumers(),
        facts,
    })
}

async fn keep_tables(store: &Store, folder: &std::path::Path) -> Result<Vec<TableFile>> {
    let mut dump = store.dump().await?;
    let mut tables = Vec::new();
    for shape in dump.shapes().await? {
        let mut file = Written::compressed(folder, format!("tables/{}.copy.gz", shape.table))?;
        let rows = dump.table(&shape, |piece| file.add(piece)).await;
        let rows = rows.with_context(|| format!("table {} could not be copied", shape.table))?;
        let (table, columns) = (shape.table, shape.columns);
        tables.push(TableFile { table, columns, rows: rows.unsigned_abs(), file: file.done()? });
    }
    Ok(tables)
}

async fn now_ms(bus: &Bus) -> Result<u64> {
    let (_, now) = bus.time().await?;
    Ok(u64::try_from(now.unix_timestamp_nanos() / 1_000_000)?)
}
