//! What a database took along that another has taken over from: written again from the journal.
//!
//! A replica that is promoted may lack the last moments of its primary, rows among them whose journal entries were acknowledged.
//! Every promotion begins a new history; of each history it is noted in the database whether this was done, so that it is done
//! once for all workers, and by one that did not see the promotion as well.

use std::{sync::Arc, time::Duration};

use talkfleet_shared::{
    bus::{Bus, BusError, Start, StoredRecord},
    lifecycle::Shutdown,
};
use time::OffsetDateTime;

use super::{
    batch::{Batch, Entry, EntryKind},
    shelf::Shelf,
};
use crate::store::{Journaled, Store, StoreError};

/// How often it is looked whether another server has taken over; that is also how late it is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Rows that are written at once.
const ROWS: usize = 500;

/// Why the journal could not be written again; it is tried anew.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Looks for promotions until shutdown.
pub async fn catch_up_after_promotions(
    bus: Bus,
    store: Store,
    shelf: Arc<Shelf>,
    reread: Duration,
    shutdown: Shutdown,
) {
    let mut known = None;
    loop {
        let look = async {
            tokio::time::sleep(LOOK_EVERY).await;
            // A database that is away or too old says nothing, and others are told so elsewhere.
            let Ok(timeline) = store.timeline().await else { return known };
            if known == Some(timeline) {
                return known;
            }
            match catch_up(&bus, &store, &shelf, timeline, reread).await {
                Ok(()) => Some(timeline),
                Err(error) => {
                    tracing::warn!(%error, timeline, "the journal is not written again yet");
                    known
                }
            }
        };
        known = tokio::select! {
            () = shutdown.asked() => return,
            seen = look => seen,
        };
    }
}

async fn catch_up(bus: &Bus, store: &Store, shelf: &Shelf, timeline: u32, reread: Duration) -> Result<(), Failed> {
    if store.is_caught_up(timeline).await? {
        return Ok(());
    }
    let from = Start::Time(OffsetDateTime::now_utc() - reread);
    let (mut entries, mut rows) = (0, 0);
    for mut records in [bus.journal(from, None).await?, bus.journal_verdicts(from).await?] {
        let mut batch = Vec::with_capacity(ROWS);
        while let Some(record) = records.next().await {
            // What cannot be read was set aside when it came.
            batch.extend(read(&record?));
            if batch.len() == ROWS {
                entries += batch.len();
                rows += write(store, shelf, std::mem::take(&mut batch)).await?;
            }
        }
        entries += batch.len();
        rows += write(store, shelf, batch).await?;
    }
    store.note_caught_up(timeline).await?;
    tracing::info!(
        timeline,
        entries,
        rows,
        "another database has taken over; it was told again what it may have lacked"
    );
    Ok(())
}

fn read(record: &StoredRecord) -> Option<Entry> {
    let entry = Entry::read(record.subject(), |kind| match kind {
        EntryKind::Turn => {
            record.read().map(|turn| Entry::Turn(Box::new(Journaled { record: turn, body: record.body().clone() })))
        }
        EntryKind::Feedback => record.verdict().map(Entry::Feedback),
    });
    entry.ok()
}

/// How many rows were not there.
async fn write(store: &Store, shelf: &Shelf, entries: Vec<Entry>) -> Result<u64, Failed> {
    if entries.is_empty() {
        return Ok(0);
    }
    match write_together(store, shelf, entries.clone()).await {
        // One of them is refused, and was set aside when it came; the others go in.
        Err(StoreError::Rejected(_)) => {
            let mut rows = 0;
            for entry in entries {
                match write_together(store, shelf, vec![entry]).await {
                    Err(StoreError::Rejected(_)) => {}
                    written => rows += written?,
                }
            }
            Ok(rows)
        }
        written => Ok(written?),
    }
}

async fn write_together(store: &Store, shelf: &Shelf, entries: Vec<Entry>) -> Result<u64, StoreError> {
    let mut batch = Batch::default();
    entries.into_iter().for_each(|entry| batch.add(entry));
    let written = store.write_archive(&batch.turns, batch.feedback()).await?;
    if written.turns > 0 {
        shelf.took_in(&batch.turns, written.position).await;
    }
    Ok(written.turns)
}
