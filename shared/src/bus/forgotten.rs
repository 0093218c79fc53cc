//! Whom the desk has forgotten, followed as the list grows: nothing of theirs is written down any more.

use std::{
    sync::{PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::watch;

use super::{Bus, BusError};
use crate::{
    chat::{Feedback, TurnRecord},
    forgotten::{List, SALT, Salt, Tombstone, Whom},
    id::{ConversationId, TenantId, UserId},
    lifecycle::Shutdown,
    retry::Delays,
    topology::FORGOTTEN,
};

/// Waits before the watch is opened again.
const REOPEN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long a starting process waits for the list before it works without.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// What `/readyz` calls it.
const PART: &str = "forgotten";

/// The list as last heard of.
pub(super) struct Forgotten {
    list: RwLock<List>,
    /// How often it has changed since it was read once, to its end; 0 before.
    changes: watch::Sender<u64>,
}

impl Default for Forgotten {
    fn default() -> Self {
        Self { list: RwLock::default(), changes: watch::Sender::new(0) }
    }
}

impl Forgotten {
    fn replace(&self, list: List) {
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = list;
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn apply(&self, key: &str, value: Option<&[u8]>) {
        self.list.write().unwrap_or_else(PoisonError::into_inner).apply(key, value);
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl Bus {
    /// Whether what was asked then by them is to be forgotten, as far as this process has heard.
    pub fn is_forgotten(
        &self,
        tenant: &TenantId,
        user: Option<&UserId>,
        conversation: &ConversationId,
        asked_at_ms: u64,
    ) -> bool {
        let list = self.forgotten.list.read().unwrap_or_else(PoisonError::into_inner);
        list.holds(tenant, user, Some(conversation), asked_at_ms)
    }

    /// Whether a record is of somebody who was forgotten.
    pub fn forgets(&self, record: &TurnRecord) -> bool {
        self.is_forgotten(&record.tenant, record.ask.user.as_ref(), &record.conversation, record.asked_at_ms)
    }

    /// Whether a verdict is of somebody who was forgotten.
    pub fn forgets_verdict(&self, verdict: &Feedback) -> bool {
        let list = self.forgotten.list.read().unwrap_or_else(PoisonError::into_inner);
        list.holds(&verdict.tenant, verdict.user.as_ref(), None, verdict.given_at_ms)
    }

    /// Calls `drop` whenever somebody was forgotten, until shutdown: it lets go of what this process still holds.
    pub async fn at_each_forgetting(&self, shutdown: Shutdown, mut drop: impl FnMut()) {
        let mut changes = self.forgotten.changes.subscribe();
        loop {
            tokio::select! {
                () = shutdown.asked() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            drop();
        }
    }

    /// Waits until the list was read once, but not for long: a list that nobody can read must not stop the desk.
    pub async fn forgotten_known(&self) {
        let mut changes = self.forgotten.changes.subscribe();
        let _ = tokio::time::timeout(KNOWN_WITHIN, changes.wait_for(|changes| *changes > 0)).await;
    }

    /// Keeps the list as the bucket is, until shutdown; while that cannot be done, what was last heard stays true.
    pub async fn follow_forgotten(self, shutdown: Shutdown) {
        // What is replayed is written nowhere but in its lane.
        if !self.lane.is_live() {
            return;
        }
        let mut delays = Delays::new(REOPEN.0, REOPEN.1);
        loop {
            let followed = tokio::select! {
                () = shutdown.asked() => return,
                followed = self.follow_forgotten_once(&mut delays) => followed,
            };
            let why = followed.err().map_or("the watch ended".to_owned(), |error| error.to_string());
            tracing::warn!(why, "whom the desk has forgotten cannot be followed; opening the watch again");
            self.health.lacks(PART, why);
            tokio::select! {
                () = shutdown.asked() => return,
                () = tokio::time::sleep(delays.next_delay()) => {}
            }
        }
    }

    async fn follow_forgotten_once(&self, delays: &mut Delays) -> Result<(), BusError> {
        let mut watch = self.watch(FORGOTTEN).await?;
        let mut list = List::default();
        // An empty bucket tells nothing, not even that it is empty.
        let mut whole = self.is_empty(FORGOTTEN).await?;
        while !whole {
            let Some(entry) = watch.next().await else { return Ok(()) };
            whole = entry.pending == 0;
            list.apply(&entry.key, entry.value.as_deref());
        }
        self.forgotten.replace(list);
        self.health.up(PART);
        delays.reset();
        while let Some(entry) = watch.next().await {
            self.forgotten.apply(&entry.key, entry.value.as_deref());
        }
        Ok(())
    }

    /// The list as it lies at the broker.
    pub async fn forgotten_list(&self) -> Result<List, BusError> {
        let mut list = List::default();
        for entry in self.entries(FORGOTTEN).await? {
            list.apply(&entry.key, entry.value.as_deref());
        }
        Ok(list)
    }

    /// This desk's salt; made when there is none, and of several who make one the first wins.
    pub async fn salt(&self) -> Result<Salt, BusError> {
        for _ in 0..2 {
            if let Some(salt) = self.get(FORGOTTEN, SALT).await?.and_then(|entry| Salt::parse(&entry.value?)) {
                return Ok(salt);
            }
            let fresh = Salt::create(&mut rand::rng());
            self.put_new(FORGOTTEN, SALT, Bytes::copy_from_slice(fresh.as_str().as_bytes())).await?;
        }
        Err(BusError::Refused(format!("what lies under '{SALT}' in the bucket '{FORGOTTEN}' is no salt")))
    }

    /// Writes down that somebody is forgotten as of now, which every process hears at once.
    pub async fn forget(&self, tenant: &TenantId, whom: &Whom) -> Result<(String, Tombstone), BusError> {
        let (_, now) = self.time().await?;
        let at_ms = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        let tombstone = Tombstone { tenant: tenant.clone(), at_ms };
        let mark = self.salt().await?.mark(tenant, whom);
        self.put_tombstone(&mark, &tombstone).await?;
        Ok((mark, tombstone))
    }

    /// Writes down an entry of the list that was made before, unless a later one is there.
    pub async fn put_tombstone(&self, mark: &str, tombstone: &Tombstone) -> Result<(), BusError> {
        let there = self.get(FORGOTTEN, mark).await?.and_then(|entry| entry.value);
        let there = there.and_then(|value| serde_json::from_slice::<Tombstone>(&value).ok());
        if there.is_some_and(|there| there.at_ms >= tombstone.at_ms) {
            return Ok(());
        }
        let value = serde_json::to_vec(tombstone).map_err(|error| BusError::Refused(error.to_string()))?;
        self.put(FORGOTTEN, mark, value.into()).await.map(drop)
    }
}
