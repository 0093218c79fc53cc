//! What this process remembers of deliveries that come again, so that a dead letter can tell its history.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use talkfleet_shared::dead::Attempt;

use super::wishes::Key;

/// Requests remembered at once: setbacks are rare, and an outage's worth of them would tell the same story each.
const REQUESTS_MAX: usize = 1_000;

/// Deliveries of this process that ended without an outcome, by request. What other workers saw is not known here.
#[derive(Debug, Default)]
pub struct Setbacks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    order: VecDeque<Key>,
    attempts: HashMap<Key, Vec<Attempt>>,
}

impl Setbacks {
    /// Remembers a delivery; the request that was remembered first makes room.
    pub fn note(&self, key: Key, attempt: Attempt) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.attempts.contains_key(&key) {
            if state.order.len() >= REQUESTS_MAX
                && let Some(oldest) = state.order.pop_front()
            {
                state.attempts.remove(&oldest);
            }
            state.order.push_back(key.clone());
        }
        state.attempts.entry(key).or_default().push(attempt);
    }

    /// What is remembered of a request, which is then forgotten.
    pub fn take(&self, key: &Key) -> Vec<Attempt> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = state.attempts.remove(key);
        if attempts.is_some() {
            state.order.retain(|kept| kept != key);
        }
        attempts.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use talkfleet_shared::id::{RequestId, TenantId};

    use super::*;

    fn key(n: usize) -> Key {
        (TenantId::parse("t").unwrap(), RequestId::parse(&format!("r{n}")).unwrap())
    }

    fn attempt(attempt: u32) -> Attempt {
        Attempt { attempt, delivered_at_ms: 0, ended: "badly".into(), worker: "w".into() }
    }

    #[test]
    fn setbacks_are_told_once_in_order_and_bounded() {
        let setbacks = Setbacks::default();
        [1, 2].into_iter().for_each(|n| setbacks.note(key(0), attempt(n)));
        assert_eq!(setbacks.take(&key(0)), [attempt(1), attempt(2)]);
        assert!(setbacks.take(&key(0)).is_empty());
        (0..=REQUESTS_MAX).for_each(|n| setbacks.note(key(n), attempt(1)));
        assert!(setbacks.take(&key(0)).is_empty());
        assert_eq!(setbacks.take(&key(1)).len(), 1);
        assert_eq!(setbacks.0.lock().unwrap().order.len(), REQUESTS_MAX - 1);
    }
}
