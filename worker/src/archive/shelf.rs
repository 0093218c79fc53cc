//! Conversations' archived turns as copies over the database: read through, and dropped where the archive takes more in.
//!
//! A copy that was not dropped, because a message was lost, is no harm for as long as it lives: the broker keeps the
//! records of the last hour, which [`super::history`] reads beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use moka::future::Cache as Remembered;
use talkfleet_shared::{
    bus::{Bus, Changes},
    chance,
    chat::{ArchiveChange, HistoryTurn, Outcome},
    clock,
    id::{ConversationId, TenantId},
    lifecycle::Shutdown,
    retry::Delays,
};

use super::{RETRY_FIRST, RETRY_LONGEST};
use crate::{
    cache::{Cache, Filling, Key, Known, Plan, Times},
    config::CacheConfig,
    guard::Guard,
    keeper::Redis,
    store::{Journaled, Lsn, Store, StoreError},
};

/// How long the database may take; less than whoever asks waits, so that the breaker hears of it.
const READ_TIMEOUT: Duration = Duration::from_millis(500);

/// The most turns of one answer: what a screen can show, and far below the broker's largest message.
pub const TURNS_MAX: u32 = 200;

/// For how long one process alone reads a conversation: thrice what the database is given.
const LEASE: Duration = Duration::from_secs(2);

/// How long others wait for it; what callers wait leaves them time to read the database themselves then.
const WAIT_MAX: Duration = Duration::from_millis(400);

/// Conversations in one message, 64 KB of ids; and in one page of those that exist.
const TOLD_MAX: usize = 1_000;
const PAGE_ROWS: u32 = 10_000;

/// How soon it is noticed that messages may have been missed.
const LOOK: Duration = Duration::from_secs(1);

/// What a turn takes beside its texts, in bytes.
const TURN_BYTES: usize = 256;

/// The archive's turns, and which conversations it holds at all.
pub struct Shelf {
    bus: Bus,
    store: Store,
    guard: Guard,
    /// None when the configuration keeps no copies.
    copies: Option<Cache<Vec<HistoryTurn>>>,
    known: Known,
    /// Up to where a replica must have come to be read for a conversation that was written a moment ago.
    written: Remembered<Key, Lsn>,
    config: CacheConfig,
}

impl Shelf {
    pub fn new(bus: Bus, store: Store, guard: Guard, redis: Redis, config: CacheConfig) -> Self {
        let seconds = Duration::from_secs;
        let plan = Plan {
            name: "history",
            source: "database",
            weight_max: config.history_bytes_max,
            weigh: |turns: &Vec<HistoryTurn>| turns.iter().map(bytes_of).sum::<usize>().try_into().unwrap_or(u32::MAX),
            times: Times {
                local: seconds(config.history_local_ttl_s),
                shared: seconds(config.history_ttl_s),
                nothing: seconds(config.nothing_ttl_s),
            },
            lease: LEASE,
            wait_max: WAIT_MAX,
        };
        let metrics = bus.metrics().clone();
        Self {
            copies: (config.history_bytes_max > 0).then(|| Cache::new(plan, Some(redis), metrics)),
            known: Known::default(),
            // Later than this a replica that is read from at all has come as far.
            written: Remembered::builder().time_to_live(store.replica_lag_max() * 2).build(),
            bus,
            store,
            guard,
            config,
        }
    }

    /// The newest archived turns of a conversation, oldest first.
    pub async fn turns(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
    ) -> Result<Arc<Vec<HistoryTurn>>, Arc<StoreError>> {
        let key = Key::history(tenant, conversation);
        let read = async {
            let seen = self.written.get(&key).await.unwrap_or_default();
            let left_alone = || StoreError::Away("it failed a moment ago and is left alone".into());
            let leave = self.guard.enter().ok_or_else(left_alone)?;
            let read = tokio::time::timeout(READ_TIMEOUT, self.store.history(tenant, conversation, TURNS_MAX, seen));
            let turns = read.await.unwrap_or_else(|_| Err(StoreError::Away("it took too long".into())));
            leave.report(&turns);
            let turns = turns?;
            Ok(Some(turns).filter(|turns| !turns.is_empty()))
        };
        let found = match &self.copies {
            Some(copies) => copies.get(&key, Some(&self.known), read).await?,
            None => read.await.map_err(Arc::new)?.map(Arc::new),
        };
        Ok(found.unwrap_or_default())
    }

    /// The archive has taken turns in, up to a position in the database's log: copies are dropped, here and everywhere.
    pub async fn took_in(&self, turns: &[Journaled], position: Option<Lsn>) {
        let mut changed: BTreeMap<&TenantId, BTreeSet<&ConversationId>> = BTreeMap::new();
        for Journaled { record: turn, .. } in turns {
            changed.entry(&turn.tenant).or_default().insert(&turn.conversation);
        }
        for (tenant, conversations) in changed {
            let conversations: Vec<_> = conversations.into_iter().cloned().collect();
            let keys = keys_of(tenant, &conversations);
            self.note(&keys, position).await;
            if let Some(copies) = &self.copies {
                copies.changed(&keys).await;
            }
            for some in conversations.chunks(TOLD_MAX) {
                let change = ArchiveChange {
                    conversations: some.to_vec(),
                    position: position.map(|position| position.to_string()),
                };
                if let Err(error) = self.bus.tell_changed(tenant, &change).await {
                    tracing::debug!(%error, "other processes keep copies until they expire");
                }
            }
        }
    }

    /// These conversations exist, and from where on a replica holds what was written of them.
    async fn note(&self, keys: &[Key], position: Option<Lsn>) {
        for key in keys {
            self.known.add(key);
            if let Some(position) = position {
                self.written.insert(key.clone(), position).await;
            }
        }
    }

    /// Hears what other processes take in, and knows what exists, until shutdown.
    pub async fn follow(self: Arc<Self>, shutdown: Shutdown) {
        let mut delays = Delays::new(RETRY_FIRST, RETRY_LONGEST);
        loop {
            let hear = async {
                match self.bus.changes().await {
                    // Heard before anything is listed, so that nothing falls in between.
                    Ok(changes) => tokio::select! {
                        () = self.hear(changes) => {}
                        () = self.know() => {}
                    },
                    Err(error) => tracing::warn!(%error, "the archive's changes cannot be heard; trying again"),
                }
                self.forget();
                tokio::time::sleep(delays.next_delay()).await;
            };
            tokio::select! {
                () = shutdown.asked() => return,
                () = hear => {}
            }
        }
    }

    async fn hear(&self, mut changes: Changes) {
        while let Some((tenant, change)) = changes.next().await {
            let keys = keys_of(&tenant, &change.conversations);
            // Noted first: whoever reads anew after the copy was dropped must not read it where it is not yet.
            self.note(&keys, change.position.as_deref().and_then(Lsn::parse)).await;
            let Some(copies) = &self.copies else { continue };
            for key in &keys {
                copies.drop_here(key).await;
            }
        }
    }

    /// Somebody was forgotten: which conversations were theirs is not told here, so no copy is kept.
    pub fn drop_copies(&self) {
        if let Some(copies) = &self.copies {
            copies.drop_all_here();
        }
    }

    /// Lists what exists, again and again: a filter forgets nothing, and a message may have been lost.
    async fn know(&self) {
        let mut delays = Delays::new(RETRY_FIRST, RETRY_LONGEST);
        let mut keys = 0;
        loop {
            let missed = self.missed();
            match self.fill(keys * 2).await {
                Ok(filling) if self.missed() == missed => {
                    keys = filling.keys();
                    self.known.serve(filling);
                    self.bus.metrics().cache_known.set(keys as i64);
                    delays = Delays::new(RETRY_FIRST, RETRY_LONGEST);
                    self.until_stale(missed).await;
                }
                Ok(_) => {
                    self.forget();
                    tokio::time::sleep(delays.next_delay()).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "what the archive holds cannot be listed; every conversation may exist");
                    tokio::time::sleep(delays.next_delay()).await;
                }
            }
        }
    }

    /// Every conversation in a fresh filter, with room for so many at least.
    async fn fill(&self, keys_max: usize) -> Result<Filling, StoreError> {
        let mut room = keys_max.max(self.config.known_keys_min);
        loop {
            let mut filling = self.known.fill(room);
            let mut after = None;
            while !filling.is_crowded() {
                let page = self.store.conversations_after(after.as_ref(), PAGE_ROWS).await?;
                page.iter().for_each(|(tenant, conversation)| filling.add(&Key::history(tenant, conversation)));
                if page.len() < PAGE_ROWS as usize {
                    return Ok(filling);
                }
                after = page.into_iter().next_back();
            }
            room *= 4;
        }
    }

    /// Waits until it is time for a fresh filter; at once when messages may have been missed, and then nothing is trusted.
    async fn until_stale(&self, missed: u64) {
        let began = clock::now();
        let refresh = Duration::from_secs(self.config.known_refresh_s).mul_f64(chance::between(0.8, 1.0));
        while clock::since(began) < refresh {
            tokio::time::sleep(LOOK).await;
            if self.missed() != missed {
                return self.forget();
            }
        }
    }

    /// Counts the times that messages may have been missed.
    fn missed(&self) -> u64 {
        let metrics = self.bus.metrics();
        metrics.bus_reconnects.get() + metrics.slow_consumers.get()
    }

    fn forget(&self) {
        self.known.forget();
        self.bus.metrics().cache_known.set(0);
        if let Some(copies) = &self.copies {
            copies.drop_all_here();
        }
    }
}

fn keys_of(tenant: &TenantId, conversations: &[ConversationId]) -> Vec<Key> {
    conversations.iter().map(|conversation| Key::history(tenant, conversation)).collect()
}

fn bytes_of(turn: &HistoryTurn) -> usize {
    let said = match &turn.outcome {
        Outcome::Answered { answer } => answer.text.len() + answer.citations.len() * TURN_BYTES,
        Outcome::Cancelled { text, .. } => text.len(),
        Outcome::Failed { .. } | Outcome::Expired { .. } => 0,
    };
    TURN_BYTES + turn.question.len() + said
}
