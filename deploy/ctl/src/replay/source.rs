//! Reading a stretch of the traffic: from the journal, what is older from the archive, and what its conversations had said before.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use talkfleet_shared::{
    bus::{Bus, BusError, Records, Start, StoredRecord},
    chat::{TurnHead, TurnRecord},
    envelope::EnvelopeError,
    id::{ChannelId, RequestId, TenantId},
};
use talkfleet_worker::{config::MemoryConfig, store::Store};
use time::OffsetDateTime;
use tokio::{sync::mpsc, task::JoinHandle};

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
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) stretch: Stretch,
    pub(super) tenant: Option<&'a TenantId>,
    pub(super) channel: Option<&'a ChannelId>,
    /// How they ended; empty means however they did.
    pub(super) outcomes: &'a [String],
    /// More than this are refused.
    pub(super) turns_max: usize,
}

/// A stretch as it was read.
pub(super) struct Read<T> {
    pub(super) turns: Vec<T>,
    /// What the journal gave, wanted or not.
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
}

/// What is asked of a turn before it counts as one of the stretch.
struct Look<'a> {
    tenant: &'a TenantId,
    request: &'a RequestId,
    channel: &'a ChannelId,
    outcome: &'a str,
    asked_at_ms: u64,
}

impl<'a> From<&'a TurnRecord> for Look<'a> {
    fn from(turn: &'a TurnRecord) -> Self {
        let TurnRecord { tenant, request, asked_at_ms, .. } = turn;
        let (channel, outcome) = (&turn.ask.channel, turn.outcome.name());
        Self { tenant, request, channel, outcome, asked_at_ms: *asked_at_ms }
    }
}

impl<'a> From<&'a TurnHead> for Look<'a> {
    fn from(turn: &'a TurnHead) -> Self {
        let TurnHead { tenant, request, asked_at_ms, .. } = turn;
        let (channel, outcome) = (&turn.ask.channel, turn.outcome());
        Self { tenant, request, channel, outcome, asked_at_ms: *asked_at_ms }
    }
}

impl Wanted<'_> {
    fn takes(&self, sequence: Option<u64>, turn: &Look) -> bool {
        let within = match self.stretch {
            Stretch::Asked { from_ms, to_ms } => (from_ms..to_ms).contains(&turn.asked_at_ms),
            Stretch::Journal { from, to } => sequence.is_some_and(|sequence| (from..=to).contains(&sequence)),
        };
        within
            && self.tenant.is_none_or(|tenant| tenant == turn.tenant)
            && self.channel.is_none_or(|channel| channel == turn.channel)
            && (self.outcomes.is_empty() || self.outcomes.iter().any(|outcome| outcome == turn.outcome))
    }
}

/// Whether nothing of a stretch can come any more.
fn is_past(stretch: Stretch, stored: &StoredRecord) -> bool {
    match stretch {
        Stretch::Asked { to_ms, .. } => millis(stored.stored_at) > to_ms.saturating_add(TURN_MAX_MS),
        Stretch::Journal { to, .. } => stored.sequence > to,
    }
}

/// Reads the turns of a stretch; each once.
pub(super) async fn read(bus: &Bus, connect: &Connect, wanted: &Wanted<'_>) -> Result<Read<TurnRecord>> {
    if wanted.channel.is_none() && wanted.outcomes.is_empty() {
        return stretch(bus, connect, wanted, |stored| stored.read().map(Some)).await;
    }
    // Many may lie between those that are meant.
    let (channel, outcomes) = (wanted.channel.cloned(), wanted.outcomes.to_vec());
    let picked = move |head: &TurnHead| {
        channel.as_ref().is_none_or(|channel| *channel == head.ask.channel)
            && (outcomes.is_empty() || outcomes.iter().any(|outcome| outcome == head.outcome()))
    };
    stretch(
        bus,
        connect,
        wanted,
        move |stored| if picked(&stored.head()?) { stored.read().map(Some) } else { Ok(None) },
    )
    .await
}

/// The heads of a stretch's turns, each once: what it takes to count them.
pub(super) async fn heads(bus: &Bus, connect: &Connect, wanted: &Wanted<'_>) -> Result<Read<TurnHead>> {
    stretch(bus, connect, wanted, |stored| stored.head().map(Some)).await
}

async fn stretch<T>(
    bus: &Bus,
    connect: &Connect,
    wanted: &Wanted<'_>,
    decode: impl Fn(&StoredRecord) -> Result<Option<T>, EnvelopeError> + Send + Sync + 'static,
) -> Result<Read<T>>
where
    T: From<TurnRecord> + Send + 'static,
    for<'a> Look<'a>: From<&'a T>,
{
    let started = Instant::now();
    let mut seen: HashSet<(TenantId, RequestId)> = HashSet::new();
    let mut read = Read { turns: Vec::new(), messages: 0, bytes: 0, elapsed: Duration::ZERO };
    let state = bus.journal_state().await?;
    let mut take = |read: &mut Read<T>, sequence: Option<u64>, turn: T| {
        let look = Look::from(&turn);
        if wanted.takes(sequence, &look) && seen.insert((look.tenant.clone(), look.request.clone())) {
            read.turns.push(turn);
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
        archived(&store, wanted.tenant, (from_ms, to_ms), |record| take(&mut read, None, record.into())).await?;
    }
    let from = match wanted.stretch {
        Stretch::Asked { from_ms, .. } => Start::Time(time_of(from_ms)),
        Stretch::Journal { from, .. } => Start::Sequence(from),
    };
    let range = wanted.stretch;
    let mut journal =
        Decoded::new(bus.journal(from, wanted.tenant).await?, move |stored| is_past(range, stored), decode);
    while let Some(stored) = journal.next().await? {
        read.messages += 1;
        read.bytes += stored.bytes as u64;
        match stored.turn {
            Ok(Some(turn)) => take(&mut read, Some(stored.sequence), turn)?,
            Ok(None) => {}
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
    // Most of what lies there are other conversations.
    let ours: HashSet<Key> = turns.iter().map(key).collect();
    let decode = move |stored: &StoredRecord| {
        let TurnHead { tenant, conversation, .. } = stored.head()?;
        if ours.contains(&(tenant, conversation)) { stored.read().map(Some) } else { Ok(None) }
    };
    let is_past = move |stored: &StoredRecord| millis(stored.stored_at) > last_ms + TURN_MAX_MS;
    let mut journal = Decoded::new(bus.journal(Start::Time(time_of(from_ms)), wanted.tenant).await?, is_past, decode);
    while let Some(stored) = journal.next().await? {
        if let Ok(Some(record)) = stored.turn {
            take(record)?;
        }
    }
    Ok(past.into_values().flatten().collect())
}

/// The requests of everything that was recorded since a time.
pub(super) async fn requests_since(bus: &Bus, from_ms: u64, tenant: Option<&TenantId>) -> Result<HashSet<RequestId>> {
    let decode = |stored: &StoredRecord| stored.head().map(|head| Some(head.request));
    let mut journal = Decoded::new(bus.journal(Start::Time(time_of(from_ms)), tenant).await?, |_| false, decode);
    let mut requests = HashSet::new();
    while let Some(stored) = journal.next().await? {
        requests.extend(stored.turn.ok().flatten());
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
struct Decoded<T> {
    chunks: mpsc::Receiver<Result<JoinHandle<Vec<Entry<T>>>, BusError>>,
    ready: std::vec::IntoIter<Entry<T>>,
}

/// One decoded message.
struct Entry<T> {
    sequence: u64,
    bytes: usize,
    /// None when it is not wanted.
    turn: Result<Option<T>, EnvelopeError>,
}

impl<T: Send + 'static> Decoded<T> {
    /// Reads up to the first record that is past the end.
    fn new(
        mut records: Records,
        is_past: impl Fn(&StoredRecord) -> bool + Send + Sync + 'static,
        decode: impl Fn(&StoredRecord) -> Result<Option<T>, EnvelopeError> + Send + Sync + 'static,
    ) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let decode = Arc::new(decode);
        // A task of its own is woken on the connection's thread; whoever waits under `block_on` is called over to another
        // thread for every single message, which costs half as much again as reading it.
        tokio::spawn(async move {
            let mut is_over = false;
            while !is_over {
                let decoding = match chunk(&mut records, &is_past).await {
                    Ok((chunk, ended)) => {
                        is_over = ended;
                        let decode = decode.clone();
                        Ok(tokio::spawn(async move { chunk.iter().map(|stored| entry(stored, &*decode)).collect() }))
                    }
                    Err(error) => {
                        is_over = true;
                        Err(error)
                    }
                };
                is_over |= sender.send(decoding).await.is_err();
            }
        });
        Self { chunks, ready: Vec::new().into_iter() }
    }

    /// The next record; None after the last one.
    async fn next(&mut self) -> Result<Option<Entry<T>>> {
        loop {
            if let Some(record) = self.ready.next() {
                return Ok(Some(record));
            }
            match self.chunks.recv().await {
                Some(decoding) => self.ready = decoding?.await?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

/// The next records, and whether they are the last ones.
async fn chunk(
    records: &mut Records,
    is_past: &impl Fn(&StoredRecord) -> bool,
) -> Result<(Vec<StoredRecord>, bool), BusError> {
    let mut chunk = Vec::with_capacity(CHUNK);
    while chunk.len() < CHUNK {
        match records.next().await.transpose()? {
            Some(stored) if !is_past(&stored) => chunk.push(stored),
            _ => return Ok((chunk, true)),
        }
    }
    Ok((chunk, false))
}

fn entry<T>(stored: &StoredRecord, decode: &impl Fn(&StoredRecord) -> Result<Option<T>, EnvelopeError>) -> Entry<T> {
    Entry { sequence: stored.sequence, bytes: stored.body_bytes(), turn: decode(stored) }
}
