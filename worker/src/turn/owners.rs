//! Who owns each conversation, followed as it changes: a turn speaks only while nobody has taken its conversation over.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use talkfleet_shared::{
    bus::{BusError, Entry},
    owner::{Conversation, Owner, OwnerRecord, parse_key},
    retry::Delays,
    topology::{OWNERS, OWNERS_AGE},
};
use tokio::sync::watch;

use super::{Desk, millis};

/// Waits before the watch is opened again.
const REOPEN_FIRST: Duration = Duration::from_millis(100);
const REOPEN_LONGEST: Duration = Duration::from_secs(2);

/// How long a starting worker waits for the owners before it takes asks without knowing them.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// Entries below which nothing is swept out.
const SWEEP_MIN: usize = 1_024;

/// What `/readyz` calls it.
const PART: &str = "owners";

/// The owners as last heard of.
pub struct Owners {
    map: RwLock<Map>,
    /// Whether the bucket was read once, to its end.
    known: watch::Sender<bool>,
}

/// Who has a conversation, and since which revision; 0 when nobody ever took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    pub revision: u64,
    pub by_human: bool,
}

#[derive(Debug, Default)]
struct Map {
    held: HashMap<Conversation, (Held, u64)>,
    sweep_at: usize,
}

impl Default for Owners {
    fn default() -> Self {
        Self { map: RwLock::default(), known: watch::Sender::new(false) }
    }
}

impl Owners {
    /// Who has a conversation, as far as this process has heard.
    pub fn of(&self, conversation: &Conversation, now_ms: u64) -> Held {
        self.map.read().unwrap_or_else(PoisonError::into_inner).of(conversation, now_ms)
    }

    /// Waits until the owners were read once, but not for long: an answer is worth more than certainty.
    pub async fn known(&self) {
        let _ = tokio::time::timeout(KNOWN_WITHIN, self.known.subscribe().wait_for(|known| *known)).await;
    }

    fn replace(&self, map: Map) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = map;
        self.known.send_replace(true);
    }

    fn change(&self, entry: Entry, now_ms: u64) {
        self.map.write().unwrap_or_else(PoisonError::into_inner).apply(entry, now_ms);
    }
}

impl Map {
    fn of(&self, conversation: &Conversation, now_ms: u64) -> Held {
        let fresh = |(_, since_ms): &&(Held, u64)| !is_old(*since_ms, now_ms);
        self.held.get(conversation).filter(fresh).map(|(held, _)| *held).unwrap_or_default()
    }

    fn apply(&mut self, entry: Entry, now_ms: u64) {
        let Some(conversation) = parse_key(&entry.key) else { return };
        let record = entry.value.map(|value| serde_json::from_slice::<OwnerRecord>(&value));
        let (by_human, since_ms) = match record {
            None => (false, now_ms),
            Some(Ok(record)) => (matches!(record.owner, Owner::Human { .. }), record.since_ms),
            // Whatever a later build writes here, it is not that the bot may speak.
            Some(Err(_)) => (true, now_ms),
        };
        if self.held.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.held.retain(|_, (_, since_ms)| !is_old(*since_ms, now_ms));
            self.sweep_at = self.held.len() * 2;
        }
        self.held.insert(conversation, (Held { revision: entry.revision, by_human }, since_ms));
    }
}

/// The broker drops such an entry without a word.
fn is_old(since_ms: u64, now_ms: u64) -> bool {
    u128::from(now_ms.saturating_sub(since_ms)) > OWNERS_AGE.as_millis()
}

/// Follows the owners for ever; while that cannot be done, health says so and what was last heard stays true.
pub async fn follow(desk: &Desk) {
    // What is replayed is nobody's conversation any more.
    if !desk.bus.lane().is_live() {
        desk.owners.replace(Map::default());
        return;
    }
    let mut delays = Delays::new(REOPEN_FIRST, REOPEN_LONGEST);
    loop {
        let ended = follow_once(desk, &mut delays).await;
        let why = ended.err().map_or("the watch ended".to_owned(), |error| error.to_string());
        tracing::warn!(why, "who owns conversations cannot be followed; opening the watch again");
        desk.bus.health().lacks(PART, why);
        tokio::time::sleep(delays.next_delay()).await;
    }
}

async fn follow_once(desk: &Desk, delays: &mut Delays) -> Result<(), BusError> {
    let now_ms = || millis(desk.now());
    let mut watch = desk.bus.watch(OWNERS).await?;
    let mut map = Map::default();
    // An empty bucket tells nothing, not even that it is empty.
    let mut whole = desk.bus.is_empty(OWNERS).await?;
    while !whole {
        let Some(entry) = watch.next().await else { return Ok(()) };
        whole = entry.pending == 0;
        map.apply(entry, now_ms());
    }
    desk.owners.replace(map);
    desk.running.mind_owners(&desk.owners, now_ms());
    desk.bus.health().up(PART);
    delays.reset();
    while let Some(entry) = watch.next().await {
        desk.owners.change(entry, now_ms());
        desk.running.mind_owners(&desk.owners, now_ms());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: Option<&'static str>, revision: u64) -> Entry {
        Entry { key: key.into(), value: value.map(Into::into), revision, pending: 0 }
    }

    const ANN: &str = r#"{"owner":{"human":{"name":"Ann"}},"since_ms":1000}"#;

    #[test]
    fn a_conversation_is_the_bots_until_it_is_taken_and_again_when_released() {
        let (mut map, talk) = (Map::default(), parse_key("t.c").unwrap());
        assert_eq!(map.of(&talk, 2_000), Held::default());
        map.apply(entry("t.c", Some(ANN), 5), 2_000);
        assert_eq!(map.of(&talk, 2_000), Held { revision: 5, by_human: true });
        map.apply(entry("t.c", None, 6), 2_000);
        assert_eq!(map.of(&talk, 2_000), Held { revision: 6, by_human: false });
        map.apply(entry("t.c", Some("of tomorrow"), 7), 2_000);
        assert!(map.of(&talk, 2_000).by_human, "what cannot be read is no leave to speak");
        map.apply(entry("no key of ours", Some(ANN), 8), 2_000);
        assert_eq!(map.held.len(), 1);
    }

    #[test]
    fn an_owner_who_is_gone_for_long_is_forgotten() {
        let (mut map, talk) = (Map::default(), parse_key("t.c").unwrap());
        map.apply(entry("t.c", Some(ANN), 5), 1_000);
        let later = 2_000 + OWNERS_AGE.as_millis() as u64;
        assert_eq!(map.of(&talk, later), Held::default());
        (0..SWEEP_MIN).for_each(|n| map.apply(entry(&format!("t.c{n}"), None, 6), later));
        assert!(!map.held.contains_key(&talk));
    }
}
