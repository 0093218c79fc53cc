//! The line of a conversation: its messages are put on the queue one by one, first come first served, and not too many wait.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use talkfleet_shared::id::{ConversationId, TenantId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

type Key = (TenantId, ConversationId);

/// Every conversation that somebody is putting a message of on the queue.
#[derive(Default)]
pub(super) struct Lines {
    lines: Arc<Mutex<HashMap<Key, Line>>>,
}

struct Line {
    /// At its head or behind.
    places: usize,
    /// One permit; it is handed on in the order in which it was asked for.
    head: Arc<Semaphore>,
}

/// A place in the line; given up by dropping it.
pub(super) struct Place {
    key: Key,
    lines: Arc<Mutex<HashMap<Key, Line>>>,
    head: Arc<Semaphore>,
    at_head: Option<OwnedSemaphorePermit>,
}

impl Lines {
    /// Takes a place; None when more than `waiting_max` would wait behind the one at the head.
    pub(super) fn enter(&self, tenant: &TenantId, conversation: &ConversationId, waiting_max: usize) -> Option<Place> {
        let key = (tenant.clone(), conversation.clone());
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(key.clone()).or_insert_with(|| Line { places: 0, head: Arc::new(Semaphore::new(1)) });
        // The one at the head is being published; those behind it wait.
        if line.places > waiting_max {
            return None;
        }
        line.places += 1;
        let head = line.head.clone();
        let at_head = head.clone().try_acquire_owned().ok();
        Some(Place { key, lines: self.lines.clone(), head, at_head })
    }
}

impl Place {
    /// Waits until everybody before has left.
    pub(super) async fn reach_head(&mut self) {
        if self.at_head.is_none() {
            // The semaphore is never closed, so there is nothing else that could come of it.
            self.at_head = self.head.clone().acquire_owned().await.ok();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.at_head = None;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get_mut(&self.key) {
            line.places -= 1;
            if line.places == 0 {
                lines.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_fair_bounded_and_forgotten() {
        let lines = Lines::default();
        let tenant = TenantId::parse("demo").unwrap();
        let [one, other] = ["c1", "c2"].map(|c| ConversationId::parse(c).unwrap());
        let enter = |conversation| lines.enter(&tenant, conversation, 2);
        let first = enter(&one).unwrap();
        let (mut second, third) = (enter(&one).unwrap(), enter(&one).unwrap());
        assert!(enter(&one).is_none(), "one at the head and two behind it");
        assert!(lines.enter(&tenant, &other, 0).is_some(), "with nobody there, nobody is waited for");
        assert!(enter(&other).is_some(), "another conversation does not wait");
        let order = Arc::new(Mutex::new(Vec::new()));
        let wait = |mut place: Place, name: &'static str| {
            let order = order.clone();
            tokio::spawn(async move {
                place.reach_head().await;
                order.lock().unwrap().push(name);
            })
        };
        assert!(futures::FutureExt::now_or_never(second.reach_head()).is_none());
        let tasks = [wait(second, "second"), wait(third, "third")];
        tokio::task::yield_now().await;
        drop(first);
        futures::future::join_all(tasks).await;
        assert_eq!(*order.lock().unwrap(), ["second", "third"]);
        assert!(lines.lines.lock().unwrap().is_empty());
    }
}
