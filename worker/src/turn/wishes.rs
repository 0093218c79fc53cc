//! PURE: wishes to stop that came before their turn began here, kept for a while and never more than so many.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use talkfleet_shared::{
    id::{RequestId, TenantId, UserId},
    topology::ASK_AGE_MAX,
};

/// How long a wish is kept: after this its ask has left the queue.
const AGE_MAX: Duration = ASK_AGE_MAX;

/// Wishes kept at once, about 200 B each; older ones are still found in the broker's stream at the next keep-alive.
const WISHES_MAX: usize = 10_000;

/// A request within its tenant.
pub type Key = (TenantId, RequestId);

/// On whose behalf a request shall stop: its customer's, or the tenant's own.
pub type Wish = Option<UserId>;

/// A customer stops only what they asked; the tenant itself stops anything of its own.
pub fn applies(wish: &Wish, asker: Option<&UserId>) -> bool {
    wish.is_none() || wish.as_ref() == asker
}

#[derive(Debug, Default)]
pub struct Wishes {
    order: VecDeque<(Instant, Key)>,
    wishes: HashMap<Key, Vec<Wish>>,
}

impl Wishes {
    /// Keeps a wish; of one request the first few are enough.
    pub fn add(&mut self, key: Key, wish: Wish, now: Instant) {
        self.forget_old(now);
        let kept = self.wishes.entry(key.clone()).or_default();
        if kept.is_empty() {
            self.order.push_back((now, key));
        }
        // A stranger's wish must not take the place of the asker's, so several are kept, but not any number.
        if kept.len() < 4 && !kept.contains(&wish) {
            kept.push(wish);
        }
    }

    /// Whether a request that begins now was wished to stop.
    pub fn holds(&self, key: &Key, asker: Option<&UserId>) -> bool {
        self.wishes.get(key).is_some_and(|kept| kept.iter().any(|wish| applies(wish, asker)))
    }

    fn forget_old(&mut self, now: Instant) {
        let old = |(at, _): &(Instant, Key)| now.saturating_duration_since(*at) > AGE_MAX;
        while self.order.len() >= WISHES_MAX || self.order.front().is_some_and(old) {
            let Some((_, key)) = self.order.pop_front() else { break };
            self.wishes.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        (TenantId::parse("t").unwrap(), RequestId::parse(&format!("r{n}")).unwrap())
    }

    fn user(name: &str) -> Option<UserId> {
        UserId::parse(name).ok()
    }

    #[test]
    fn a_customer_stops_only_their_own_request() {
        let mut wishes = Wishes::default();
        wishes.add(key(1), user("eve"), Instant::now());
        assert!(!wishes.holds(&key(1), user("ann").as_ref()));
        assert!(!wishes.holds(&key(1), None));
        wishes.add(key(1), user("ann"), Instant::now());
        assert!(wishes.holds(&key(1), user("ann").as_ref()));
        wishes.add(key(2), None, Instant::now());
        assert!(wishes.holds(&key(2), user("ann").as_ref()) && wishes.holds(&key(2), None));
        assert!(!wishes.holds(&key(3), None));
    }

    #[test]
    fn wishes_are_bounded_in_number_and_age() {
        let start = Instant::now();
        let mut wishes = Wishes::default();
        (0..WISHES_MAX + 5).for_each(|n| wishes.add(key(n), None, start));
        assert_eq!(wishes.wishes.len(), WISHES_MAX);
        assert!(!wishes.holds(&key(0), None) && wishes.holds(&key(WISHES_MAX), None));
        wishes.add(key(0), None, start + AGE_MAX + Duration::from_secs(1));
        assert_eq!(wishes.wishes.len(), 1);
    }
}
