//! Reading a stretch of the traffic: from the journal, what is older from the archive, and what its conversations had said before.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use talkfleet_shared::{
    bus::{Bus, Records, Start, StoredRecord},
    chat::TurnRecord,
    envelope::EnvelopeError,
    id::{ChannelId, RequestId, TenantId},
};
use talkfleet_worker::{config::MemoryConfig, store::Store};
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use super::{
    conversations::{Key, key, remember},
    range::{Stretch, millis},
};
use crate::connect::Connect;

/// Records that are decoded by one task; enough that handing them over costs nothing.
const CHUNK: usize = 256;

/// Chunks that wait for their decoding.
const CHUNKS_MAX: usize = 8;

/// Rows of the archive that are read at once.
const ROWS_MAX: u32 = 1_000;

/// The longest that a turn may have taken: a stretch by time is read this much further, since turns are stored as they end.
const TURN_MAX_MS: u64 = 600_000;

/// Which turns are meant.
pub(super) struct Wanted<'a> {
    pub(super) stretch: Stretch,
    pub(super) tenant: Option<&'a TenantId>,
    pub(super) channel: Option<&'a ChannelId>,
    /// More than this are refused.
    pub(super) turns_max: usize,
}

/// A stretch as it was read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) turns: Vec<TurnRecord>,
    /// What the journal gave, wanted or not.
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
}

impl Wanted<'_> {
    fn takes(&self, sequence: Option<u64>, record: &TurnRecord) -> bool {
        let within = match self.stretch {
            Stretch::Asked { from_ms, to_ms } => (from_ms..to_ms).contains(&record.asked_at_ms),
            Stretch::Journal { from, to } => sequence.is_some_and(|sequence| (from..=to).contains(&sequence)),
        };
        within
            && self.tenant.is_none_or(|tenant| *tenant == record.tenant)
            && self.channel.is_none_or(|channel| *channel == record.ask.channel)
    }

    /// Whether nothing of the stretch can come any more.
    fn is_past(&self, stored: &StoredRecord) -> bool {
        match self.stretch {
            Stretch::Asked { to_ms, .. } => millis(stored.stored_at) > to_ms.saturating_add(TURN_MAX_MS),
            Stretch::Journal { to, .. } => stored.sequence > to,
        }
    }
}

/// Reads the turns of a stretch; each once.
pub(super) async fn read(bus: &Bus, connect: &Connect, wanted: &Wanted<'_>) -> Result<Read> {
    let started = Instant::now();
    let mut seen: HashSet<(TenantId, RequestId)> = HashSet::new();
    let mut read = Read::default();
    let state = bus.journal_state().await?;
    let mut take = |read: &mut Read, record: TurnRecord| {
        if seen.insert((record.tenant.clone(), record.request.clone())) {
            read.turns.push(record);
        }
        if read.turns.len() > wanted.turns_max {
            bail!("the stretch holds more than {} turns; narrow it, or raise --turns-max", wanted.turns_max);
        }
        Ok(())
    };
    if let Stretch::Asked { from_ms, to_ms } = wanted.stretch
        && let Some(to_ms) = older_than_the_journal(from_ms, to_ms, state.first_at)
    {
        let store =
            connect.store().await.context("the stretch is older than the journal, and the archive is needed")?;
        archived(&store, wanted.tenant, (from_ms, to_ms), |record| {
            if wanted.takes(None, &record) { take(&mut read, record) } else { Ok(()) }
        })
        .await?;
    }
    let from = match wanted.stretch {
        Stretch::Asked { from_ms, .. } => Start::Time(time_of(from_ms)),
        Stretch::Journal { from, .. } => Start::Sequence(from),
    };
    let mut journal = Decoded::new(bus.journal(from, wanted.tenant).await?);
    while let Some(stored) = journal.next(|stored| wanted.is_past(stored)).await? {
        read.messages += 1;
        read.bytes += stored.bytes as u64;
        match stored.record {
            Ok(record) if wanted.takes(Some(stored.sequence), &record) => take(&mut read, record)?,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, sequence = stored.sequence, "a record of the journal cannot be read"),
        }
    }
    read.elapsed = started.elapsed();
    Ok(read)
}

/// What the conversations of these turns had said before the stretch, as far back as the memory reaches.
pub(super) async fn earlier(
    bus: &Bus,
    connect: &Connect,
    wanted: &Wanted<'_>,
    turns: &[TurnRecord],
    memory: &MemoryConfig,
) -> Result<Vec<TurnRecord>> {
    let Some(first_ms) = turns.iter().map(|turn| turn.asked_at_ms).min() else { return Ok(Vec::new()) };
    let from_ms = first_ms.saturating_sub(memory.age_s.saturating_mul(1_000));
    let mut taken: HashSet<RequestId> = turns.iter().map(|turn| turn.request.clone()).collect();
    let mut past: HashMap<Key, Vec<TurnRecord>> = turns.iter().map(|turn| (key(turn), Vec::new())).collect();
    let last_ms: HashMap<Key, u64> = turns.iter().map(|turn| (key(turn), turn.asked_at_ms)).collect();
    let mut take = |record: TurnRecord| {
        let key = key(&record);
        let before = last_ms.get(&key).is_some_and(|last| record.asked_at_ms < *last);
        if before
            && taken.insert(record.request.clone())
            && let Some(past) = past.get_mut(&key)
        {
            remember(past, &record, memory.turns_max);
        }
        Ok(())
    };
    let state = bus.journal_state().await?;
    if let Some(to_ms) = older_than_the_journal(from_ms, first_ms, state.first_at) {
        match connect.store().await {
            Ok(store) => archived(&store, wanted.tenant, (from_ms, to_ms), &mut take).await?,
            Err(error) => eprintln!("{error:#}; conversations that began before the journal lack what they had said"),
        }
    }
    let last_ms = turns.iter().map(|turn| turn.asked_at_ms).max().unwrap_or(first_ms);
    let mut journal = Decoded::new(bus.journal(Start::Time(time_of(from_ms)), wanted.tenant).await?);
    while let Some(stored) = journal.next(|stored| millis(stored.stored_at) > last_ms + TURN_MAX_MS).await? {
        if let Ok(record) = stored.record {
            take(record)?;
        }
    }
    Ok(past.into_values().flatten().collect())
}

/// The requests of everything that was recorded since a time.
pub(super) async fn requests_since(bus: &Bus, from_ms: u64, tenant: Option<&TenantId>) -> Result<HashSet<RequestId>> {
    let mut journal = Decoded::new(bus.journal(Start::Time(time_of(from_ms)), tenant).await?);
    let mut requests = HashSet::new();
    while let Some(stored) = journal.next(|_| false).await? {
        requests.extend(stored.record.ok().map(|record| record.request));
    }
    Ok(requests)
}

/// The end of what the journal has forgotten of a stretch; None when it knows all of it.
fn older_than_the_journal(from_ms: u64, to_ms: u64, first_at: Option<OffsetDateTime>) -> Option<u64> {
    // A turn is stored as it ends: one that was asked before the journal's first message may still stand in it.
    let first_ms = first_at.map_or(u64::MAX, millis);
    (from_ms < first_ms).then(|| to_ms.min(first_ms))
}

/// Archived records asked in `from_ms..to_ms`, of one tenant or of all.
async fn archived(
    store: &Store,
    tenant: Option<&TenantId>,
    (from_ms, to_ms): (u64, u64),
    mut take: impl FnMut(TurnRecord) -> Result<()>,
) -> Result<()> {
    let tenants = match tenant {
        Some(tenant) => vec![tenant.clone()],
        None => store.tenants_of_records(from_ms, to_ms).await?,
    };
    for tenant in tenants {
        let mut last: Option<TurnRecord> = None;
        loop {
            let rows = store.records(&tenant, from_ms, to_ms, last.as_ref(), ROWS_MAX).await?;
            let Some(newest) = rows.last().cloned() else { break };
            last = Some(newest);
            rows.into_iter().try_for_each(&mut take)?;
        }
    }
    Ok(())
}

fn time_of(ms: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Records of a stream, decoded side by side and handed on in their order.
pub(super) struct Decoded {
    records: Records,
    decoding: VecDeque<JoinHandle<Vec<Entry>>>,
    ready: std::vec::IntoIter<Entry>,
    ended: bool,
}

/// One decoded message.
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) bytes: usize,
    pub(super) record: Result<TurnRecord, EnvelopeError>,
}

impl Decoded {
    pub(super) fn new(records: Records) -> Self {
        Self { records, decoding: VecDeque::new(), ready: Vec::new().into_iter(), ended: false }
    }

    /// The next record; None after the last one, or the one before the first that is past the end.
    async fn next(&mut self, is_past: impl Fn(&StoredRecord) -> bool) -> Result<Option<Entry>> {
        loop {
            if let Some(record) = self.ready.next() {
                return Ok(Some(record));
            }
            while !self.ended && self.decoding.len() < CHUNKS_MAX {
                let chunk = self.chunk(&is_past).await?;
                self.decoding.push_back(tokio::spawn(async move { chunk.iter().map(decode).collect() }));
            }
            match self.decoding.pop_front() {
                Some(decoding) => self.ready = decoding.await?.into_iter(),
                None => return Ok(None),
            }
        }
    }

    async fn chunk(&mut self, is_past: impl Fn(&StoredRecord) -> bool) -> Result<Vec<StoredRecord>> {
        let mut chunk = Vec::with_capacity(CHUNK);
        while chunk.len() < CHUNK {
            match self.records.next().await.transpose()? {
                Some(stored) if !is_past(&stored) => chunk.push(stored),
                _ => {
                    self.ended = true;
                    break;
                }
            }
        }
        Ok(chunk)
    }
}

fn decode(stored: &StoredRecord) -> Entry {
    Entry { sequence: stored.sequence, bytes: stored.body_bytes(), record: stored.read() }
}
