//! The archive role: the journal into PostgreSQL in batches, and a conversation's history back out of it.
//!
//! Whoever hosts the role spawns four tasks, each ending by itself once `shutdown` was asked:
//! [`run`] (reads JOURNAL, writes rows, acknowledges), [`serve_history`] (answers `chat.v1.history.<tenant>`),
//! [`Shelf::follow`] (drops copies where other workers write) and [`catch_up_after_promotions`].

/// PURE: what a batch consists of.
mod batch;

/// Conversations' archived turns, as copies over the database.
mod shelf;

/// Answering what was said in a conversation.
mod history;

/// What a database took along that another has taken over from.
mod promotion;

/// What is too old to be kept.
mod retention;

use std::{sync::Arc, time::Duration};

use talkfleet_shared::{
    admin::Health,
    bus::{Bus, Deliveries, Delivery, Settle},
    dead::{Cause, Why},
    lifecycle::Shutdown,
    metrics::{Metrics, Row},
    retry::Delays,
    spans::{Kind, Span, Tracer, key},
    topology::{ARCHIVE, JOURNAL},
};
use tokio::sync::{Semaphore, mpsc};

use self::batch::{Batch, Entry, EntryKind};
pub use self::{history::serve_history, promotion::catch_up_after_promotions, retention::keep_young, shelf::Shelf};
use crate::{
    guard::{Guard, Leave},
    store::{Journaled, Store, StoreError, Written},
};

/// Waits between attempts to write while the database is away.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// What `/readyz` calls it.
const DATABASE: &str = "database";

/// How the archive gathers rows.
#[derive(Debug, Clone, Copy)]
pub struct Gathering {
    /// Rows that are written at once.
    pub batch_rows: usize,
    /// How long a row may wait for others.
    pub batch_wait: Duration,
}

/// Reads the journal into the database until shutdown; what is not written is not acknowledged, so nothing is lost.
pub async fn run(bus: Bus, store: Store, shelf: Arc<Shelf>, config: Gathering, guard: Guard, shutdown: Shutdown) {
    if !schema_is_there(&store, &bus, &shutdown).await {
        return;
    }
    let rows = config.batch_rows.max(1);
    // One batch is written while the next is gathered.
    let permits = Arc::new(Semaphore::new(rows * 2));
    let Some(deliveries) = bus.deliveries(JOURNAL, ARCHIVE, permits, &shutdown).await else { return };
    let (sender, mut receiver) = mpsc::channel(rows);
    let reader = tokio::spawn(read(deliveries, sender, shutdown.clone()));
    let (metrics, health) = (bus.metrics().clone(), bus.health().clone());
    bus.forgotten_known().await;
    let tracer = bus.tracer().clone();
    let archive = Archive { bus, store, shelf, guard, metrics, health, tracer, shutdown };
    while let Some(first) = receiver.recv().await {
        archive.write(gather(first, &mut receiver, rows, config.batch_wait).await).await;
    }
    let _ = reader.await;
}

/// Waits for the database and brings its schema up to date; false when shutdown came first.
async fn schema_is_there(store: &Store, bus: &Bus, shutdown: &Shutdown) -> bool {
    let mut delays = Delays::new(RETRY_FIRST, RETRY_LONGEST);
    loop {
        let Err(error) = store.prepare().await else {
            bus.health().up(DATABASE);
            return true;
        };
        bus.health().lacks(DATABASE, error.to_string());
        tracing::warn!(%error, "the archive waits for the database");
        tokio::select! {
            () = shutdown.asked() => return false,
            () = tokio::time::sleep(delays.next_delay()) => {}
        }
    }
}

/// A task of its own, so that the batch's clock never cuts a pull in half.
async fn read(mut deliveries: Deliveries, sender: mpsc::Sender<Delivery>, shutdown: Shutdown) {
    while let Some(delivery) = deliveries.next(&shutdown).await {
        if sender.send(delivery).await.is_err() {
            break;
        }
    }
    deliveries.hand_back().await;
}

/// As many deliveries as make a batch, or those that came in time.
async fn gather(
    first: Delivery,
    receiver: &mut mpsc::Receiver<Delivery>,
    rows: usize,
    wait: Duration,
) -> Vec<Delivery> {
    let mut gathered = vec![first];
    let until = tokio::time::Instant::now() + wait;
    while gathered.len() < rows {
        match tokio::time::timeout_at(until, receiver.recv()).await {
            Ok(Some(delivery)) => gathered.push(delivery),
            Ok(None) | Err(_) => break,
        }
    }
    gathered
}

struct Archive {
    bus: Bus,
    store: Store,
    shelf: Arc<Shelf>,
    guard: Guard,
    metrics: Arc<Metrics>,
    health: Health,
    tracer: Tracer,
    shutdown: Shutdown,
}

impl Archive {
    /// Writes what can be read, sets the rest aside, acknowledges both.
    async fn write(&self, deliveries: Vec<Delivery>) {
        let mut batch = Batch::default();
        let mut readable = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match read_entry(&delivery) {
                Ok(entry) => {
                    batch.add(entry);
                    readable.push(delivery);
                }
                Err(why) => set_aside(delivery, why).await,
            }
        }
        match self.write_until_done(&mut batch).await {
            Ok(()) => acknowledge(&readable).await,
            Err(Stopped::Refused) => self.write_one_by_one(readable).await,
            Err(Stopped::Shutdown) => tracing::info!(rows = readable.len(), "left to the next archive worker"),
        }
    }

    /// Tries until the database has taken the batch, refuses its data, or shutdown was asked.
    async fn write_until_done(&self, batch: &mut Batch) -> Result<(), Stopped> {
        let mut delays = Delays::new(RETRY_FIRST, RETRY_LONGEST);
        loop {
            // Each time: it may have been waiting for the database for hours.
            self.forget(batch);
            if batch.rows() == 0 {
                return Ok(());
            }
            let wait = match self.guard.enter() {
                Some(leave) => match self.write_once(batch, leave).await {
                    Ok(()) => return Ok(()),
                    Err(StoreError::Rejected(_)) => return Err(Stopped::Refused),
                    Err(error) => {
                        tracing::warn!(%error, rows = batch.rows(), "the archive cannot be written; trying again");
                        // What lies in the journal is never given up; over the budget it is tried less often.
                        if self.guard.may_retry() { delays.next_delay() } else { RETRY_LONGEST }
                    }
                },
                None => self.guard.opens_in().max(RETRY_FIRST),
            };
            tokio::select! {
                () = self.shutdown.asked() => return Err(Stopped::Shutdown),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Leaves out what is of somebody who was forgotten while it was under way.
    fn forget(&self, batch: &mut Batch) {
        let gone = batch.keep(|turn| !self.bus.forgets(&turn.record), |verdict| !self.bus.forgets_verdict(verdict));
        self.bus.metrics().forgotten_entries.inc_by(gone as u64);
    }

    async fn write_once(&self, batch: &Batch, leave: Leave) -> Result<(), StoreError> {
        let under = |turn: &Journaled| self.tracer.told(turn.record.trace.as_deref(), "archive", Kind::Consumer);
        let mut spans: Vec<Span> = batch.turns.iter().filter_map(under).collect();
        spans.iter_mut().for_each(|span| span.set(key::MESSAGES, batch.rows() as i64));
        let written = self.store.write_archive(&batch.turns, batch.feedback()).await;
        if written.is_err() {
            spans.iter_mut().for_each(|span| span.fail("database"));
        }
        drop(spans);
        match &written {
            // A refusal of the data is an answer.
            Ok(_) | Err(StoreError::Rejected(_)) => leave.succeeded(),
            Err(_) => {
                leave.failed();
                self.metrics.archive_failures.inc();
                self.health.lacks(DATABASE, "does not take the archive's rows");
            }
        }
        let written = written?;
        self.health.up(DATABASE);
        self.count(written);
        // Before it is acknowledged: whoever is given the batch again tells it again.
        self.shelf.took_in(&batch.turns, written.position).await;
        Ok(())
    }

    /// One row of a batch is refused: the others go in, that one is set aside.
    async fn write_one_by_one(&self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            let mut one = Batch::default();
            if let Ok(entry) = read_entry(&delivery) {
                one.add(entry);
            }
            match self.write_until_done(&mut one).await {
                Ok(()) => acknowledge(std::slice::from_ref(&delivery)).await,
                Err(Stopped::Refused) => set_aside(delivery, "the database refuses this row").await,
                Err(Stopped::Shutdown) => return,
            }
        }
    }

    fn count(&self, written: Written) {
        self.metrics.archived.get_or_create(&Row { table: "turns" }).inc_by(written.turns);
        self.metrics.archived.get_or_create(&Row { table: "feedback" }).inc_by(written.feedback);
    }
}

fn read_entry(delivery: &Delivery) -> Result<Entry, String> {
    Entry::read(delivery.subject(), |kind| match kind {
        EntryKind::Turn => {
            delivery.read().map(|record| Entry::Turn(Box::new(Journaled { record, body: delivery.body().clone() })))
        }
        EntryKind::Feedback => delivery.read().map(Entry::Feedback),
    })
}

/// Why a batch is not in the database.
enum Stopped {
    Refused,
    Shutdown,
}

/// A lost acknowledgement means a second delivery, and that one changes nothing.
async fn acknowledge(deliveries: &[Delivery]) {
    for delivery in deliveries {
        if let Err(error) = delivery.ack().await {
            tracing::warn!(%error, "an archived record could not be acknowledged");
            return;
        }
    }
}

async fn set_aside(delivery: Delivery, why: impl Into<String>) {
    let why = Why::new(Cause::Unarchived, why);
    tracing::warn!(subject = delivery.subject(), why = why.reason(), "a journal entry was set aside");
    let settled = match delivery.set_aside(&why, Vec::new()).await {
        Ok(()) => delivery.settle(Settle::Aside).await,
        Err(_) => delivery.settle(Settle::Again(RETRY_LONGEST)).await,
    };
    if let Err(error) = settled {
        tracing::warn!(%error, "a journal entry could not be settled; it will come again");
    }
}
