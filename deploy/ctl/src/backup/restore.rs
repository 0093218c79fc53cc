//! A backup put back: verified before anything is touched, whole or not at all, and without those who were forgotten since.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde_json::json;
use talkfleet_shared::{
    bus::{Bus, Change},
    forgotten::List,
    topology::{ADVISORIES, ARCHIVE, ASK, AUDIT, CANCELS, FORGOTTEN, JOURNAL, RESPONSE, Scale},
};
use talkfleet_worker::store::{Shape, Store};

use super::{
    file,
    manifest::{Manifest, StreamFile},
};
use crate::{
    audit::{Deed, noted},
    connect::{Output, RedisArgs},
    forget::{Desk, Receipt, read_receipts},
    topology,
};

/// Put a backup back into a desk that is empty, or in place of what it holds
///
/// Gateways and workers must be stopped. Everything is checked before anything is touched. Asks that were open are not
/// answered again. Who was forgotten, by the backup's own list, by that of the desk that is replaced and by receipts, is
/// forgotten in what was put back.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The backup's folder
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Delete what the desk holds
    #[arg(long)]
    replace: bool,
    /// Receipts of `talkfleet forget` from after the backup
    #[arg(long, value_name = "DIR")]
    receipts: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    redis: RedisArgs,
}

pub(crate) async fn run(args: RestoreArgs) -> Result<ExitCode> {
    let began = Instant::now();
    let manifest = Manifest::verified(&args.from)?;
    let receipts = args.receipts.as_deref().map(read_receipts).transpose()?.unwrap_or_default();
    if let Some(strange) = receipts.iter().find(|receipt| receipt.salt != manifest.salt) {
        bail!("the receipt {} is of another desk than the backup", strange.mark);
    }
    let connect = &args.output.connect;
    let (bus, store) = (connect.bus().await?, connect.store().await?);
    nobody_at_work(&bus).await?;
    let there = what_is_there(&bus, &store, &manifest).await?;
    if !there.is_empty() && !args.replace {
        bail!("the desk is not empty: {}; --replace deletes that first", there.join(", "));
    }
    let desk = Target { bus: &bus, store: &store, output: &args.output };
    let deed = Deed::new("restore").on(args.from.display()).that_makes_the_log();
    let done = desk.restore(&args.from, &manifest, &receipts, &args.redis);
    let forgotten = noted(connect, deed, done).await?;
    let (turns, rows) =
        (manifest.streams.iter().map(|s| s.messages).sum::<u64>(), manifest.tables.iter().map(|t| t.rows).sum::<u64>());
    let took = began.elapsed();
    match args.output.json {
        true => println!(
            "{}",
            json!({ "messages": turns, "rows": rows, "bytes": manifest.bytes(), "forgotten_again": forgotten, "took_ms": took.as_millis() as u64 })
        ),
        false => println!(
            "put back: {turns} messages and {rows} rows in {:.1} s; of those who were forgotten, {forgotten} things went again. \
             Start workers and gateways now.",
            took.as_secs_f64()
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is restored into.
struct Target<'a> {
    bus: &'a Bus,
    store: &'a Store,
    output: &'a Output,
}

impl Target<'_> {
    /// Puts everything back and forgets again who was forgotten; how many things of theirs went.
    async fn restore(
        &self,
        folder: &Path,
        manifest: &Manifest,
        receipts: &[Receipt],
        redis: &RedisArgs,
    ) -> Result<u64> {
        let (bus, connect) = (self.bus, &self.output.connect);
        let mut list = forgotten_of(bus).await?;
        for receipt in receipts {
            list.apply(&receipt.mark, Some(&serde_json::to_vec(&receipt.tombstone)?));
        }
        let scale = Scale { replicas: connect.replicas, ..Scale::default() };
        put_back(bus, self.store, folder, manifest, scale).await?;
        for change in bus.topology_apply(scale).await? {
            if let Change::Conflict { .. } = change {
                bail!("{}", topology::line(&change, ""));
            }
        }
        for (mark, tombstone) in list.tombstones() {
            bus.put_tombstone(mark, tombstone).await?;
        }
        if bus.forgotten_list().await?.tombstones().next().is_none() {
            return Ok(0);
        }
        let report = Desk::open(connect, redis).await?.forget_listed(&[]).await?;
        if !report.is_clean() {
            eprintln!("talkfleet: somebody who was forgotten is still named; `talkfleet forget --listed` says where");
        }
        Ok(report.erased())
    }
}

/// Who answers or archives meanwhile would write into what is being put back.
async fn nobody_at_work(bus: &Bus) -> Result<()> {
    for (stream, consumer) in [(ASK, RESPONSE), (JOURNAL, ARCHIVE)] {
        if bus.pulls_open(stream, consumer).await? > 0 {
            bail!("workers are at work here; stop them and the gateways, then restore");
        }
    }
    Ok(())
}

/// What would be lost.
async fn what_is_there(bus: &Bus, store: &Store, manifest: &Manifest) -> Result<Vec<String>> {
    let mut there = Vec::new();
    for StreamFile { stream, .. } in manifest.streams.iter().filter(|kept| kept.stream != AUDIT) {
        if bus.has_stream(stream).await? {
            let messages = bus.stream_messages(stream).await?;
            if messages > 0 {
                there.push(format!("stream {stream} holds {messages} messages"));
            }
        }
    }
    there.extend(store.rows_there().await?.into_iter().map(|(table, _)| format!("table {table} holds rows")));
    Ok(there)
}

async fn forgotten_of(bus: &Bus) -> Result<List> {
    match bus.has_stream(&format!("KV_{FORGOTTEN}")).await? {
        true => Ok(bus.forgotten_list().await?),
        false => Ok(List::default()),
    }
}

/// Streams and tables; should anything fail, streams that were built are taken away again and no row was written.
async fn put_back(bus: &Bus, store: &Store, folder: &Path, manifest: &Manifest, scale: Scale) -> Result<()> {
    store.migrate().await?;
    let mut fill = store.fill(true).await?;
    for table in &manifest.tables {
        let shape = Shape { table: table.table.clone(), columns: table.columns.clone() };
        let filled = fill.table(&shape, file::decompressed(&table.file.at(folder))?).await;
        let rows = filled.with_context(|| format!("table {} is not taken; nothing was put back", table.table))?;
        if rows != table.rows {
            bail!("table {} took {rows} rows of {}; nothing was put back", table.table, table.rows);
        }
    }
    // What was noted at this desk stays noted; a desk without a log gets that of the backup.
    let keeps_its_log = bus.has_stream(AUDIT).await?;
    let streams: Vec<&StreamFile> =
        manifest.streams.iter().filter(|kept| !(keeps_its_log && kept.stream == AUDIT)).collect();
    for stream in streams.iter().map(|stream| stream.stream.as_str()).chain([ASK, CANCELS, ADVISORIES]) {
        if bus.has_stream(stream).await? {
            bus.delete_stream(stream).await?;
        }
    }
    let mut built = Vec::new();
    let mut failed = None;
    // The turns before the journal, which takes from them as soon as it is there.
    for stream in streams.into_iter().rev() {
        let given = give(bus, folder, stream, scale.replicas).await;
        built.push(&stream.stream);
        if let Err(error) = given {
            failed = Some(error);
            break;
        }
    }
    let done = match failed {
        None => fill.commit().await.context("the database took nothing; nothing was put back"),
        Some(error) => Err(error),
    };
    if done.is_err() {
        for stream in built {
            // One that was not built is not there to be deleted.
            let _ = bus.delete_stream(stream).await;
        }
    }
    done
}

async fn give(bus: &Bus, folder: &Path, stream: &StreamFile, replicas: usize) -> Result<()> {
    let next = file::plain(&stream.file.at(folder))?;
    bus.restore_snapshot(&stream.stream, &stream.facts, replicas, next)
        .await
        .with_context(|| format!("stream {} could not be built; nothing was put back", stream.stream))?;
    let messages = bus.stream_messages(&stream.stream).await?;
    // What was too old went at once.
    if messages > stream.messages {
        bail!("stream {} has {messages} messages and should have {}", stream.stream, stream.messages);
    }
    Ok(())
}
