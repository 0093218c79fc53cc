//! PURE: how long a broker that does not take messages is waited for: an election yes, an outage no.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long an election may take, during which the broker answers nothing: 4 to 9 s were seen, and it cannot be set.
const ELECTION_MAX: Duration = Duration::from_secs(10);

/// How long a connection may be gone before callers are told: another server of the cluster takes us within a second.
const DISCONNECTED_MAX: Duration = Duration::from_millis(1_500);

/// Since when the broker does not take messages; None while it does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Outage {
    since: Option<Instant>,
    disconnected_since: Option<Instant>,
}

impl Outage {
    /// Notes a failure; whether to try again. Whoever asks when an election should long be over is told at once.
    fn failed(&mut self, connected: bool, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if connected {
            self.disconnected_since = None;
        }
        let gone = (!connected).then(|| *self.disconnected_since.get_or_insert(now));
        now < since + ELECTION_MAX && gone.is_none_or(|gone| now < gone + DISCONNECTED_MAX)
    }
}

/// What everybody who publishes in this process knows together.
#[derive(Debug, Default)]
pub(super) struct SharedOutage(Mutex<Outage>);

impl SharedOutage {
    pub(super) fn failed(&self, connected: bool, now: Instant) -> bool {
        self.lock().failed(connected, now)
    }

    /// The broker took a message.
    pub(super) fn over(&self) {
        *self.lock() = Outage::default();
    }

    fn lock(&self) -> MutexGuard<'_, Outage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_is_waited_for_and_an_outage_is_not() {
        let (start, mut outage) = (Instant::now(), Outage::default());
        let at = |s: u64| start + Duration::from_secs(s);
        assert!(outage.failed(true, at(0)) && outage.failed(true, at(9)));
        assert!(!outage.failed(true, at(10)) && !outage.failed(true, at(60)), "nobody waits ten seconds anew");
        let shared = SharedOutage(Mutex::new(outage));
        shared.over();
        assert!(shared.failed(true, at(61)));
    }

    #[test]
    fn a_broker_that_is_gone_is_told_within_two_seconds() {
        let (start, mut outage) = (Instant::now(), Outage::default());
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(outage.failed(false, at(0)) && outage.failed(false, at(1_400)));
        assert!(!outage.failed(false, at(1_500)));
        assert!(outage.failed(true, at(1_600)), "it is back and elects");
        assert!(outage.failed(false, at(1_700)), "and may go once more");
    }
}
