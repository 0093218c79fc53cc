//! Turns that wait for a model, in line by tenant: they hold no permit, and are bounded in number and in time.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use talkfleet_shared::{
    clock,
    id::TenantId,
    metrics::{Metrics, Reason},
};

/// How often a turn that waits looks whether its time has come.
const LOOK: Duration = Duration::from_millis(50);

/// The lines of a worker; a tenant that has used up its part of the model keeps nobody else waiting.
pub struct Parking {
    lines: Mutex<Lines>,
    places_max: usize,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Lines {
    next: u64,
    tickets: usize,
    /// The numbers of those who wait; who just came up, and may come back, is not among them.
    waiting: HashMap<TenantId, BTreeSet<u64>>,
}

impl Lines {
    fn join(&mut self, tenant: &TenantId, number: u64) {
        self.waiting.entry(tenant.clone()).or_default().insert(number);
    }

    fn leave(&mut self, tenant: &TenantId, number: u64) {
        let Some(line) = self.waiting.get_mut(tenant) else { return };
        line.remove(&number);
        if line.is_empty() {
            self.waiting.remove(tenant);
        }
    }
}

/// A turn's ticket; with it the turn leaves the line, and may come back to its place.
pub struct Ticket<'a> {
    parking: &'a Parking,
    tenant: &'a TenantId,
    number: u64,
    outcome: &'static str,
}

impl Parking {
    pub fn new(places_max: usize, metrics: Arc<Metrics>) -> Self {
        Self { lines: Mutex::default(), places_max, metrics }
    }

    pub fn has_room(&self) -> bool {
        self.lock().tickets < self.places_max
    }

    /// A place at the end of the tenant's line, if there is one.
    pub fn enter<'a>(&'a self, tenant: &'a TenantId) -> Option<Ticket<'a>> {
        let mut lines = self.lock();
        if lines.tickets >= self.places_max {
            return None;
        }
        let number = lines.next;
        lines.next += 1;
        lines.tickets += 1;
        lines.join(tenant, number);
        self.metrics.parked.inc();
        Some(Ticket { parking: self, tenant, number, outcome: "left" })
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// From 1.
    pub fn place(&self) -> u32 {
        let lines = self.parking.lock();
        let line = lines.waiting.get(self.tenant);
        line.map_or(1, |line| line.range(..=self.number).count().max(1)) as u32
    }

    /// Waits until it is first in line and somebody is free; false when its patience is over. Whoever comes up leaves the
    /// line, so that the next one may; when nothing came of it, it has its place again.
    pub async fn comes_up(&mut self, until: Instant, is_free: impl Fn() -> bool) -> bool {
        self.parking.lock().join(self.tenant, self.number);
        while clock::now() < until {
            if self.place() == 1 && is_free() {
                self.parking.lock().leave(self.tenant, self.number);
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }

    /// How the wait ended; without a word the turn left.
    pub fn ends(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        {
            let mut lines = self.parking.lock();
            lines.leave(self.tenant, self.number);
            lines.tickets -= 1;
        }
        self.parking.metrics.parked.dec();
        self.parking.metrics.parked_turns.get_or_create(&Reason { reason: self.outcome }).inc();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn parking(places_max: usize) -> Parking {
        Parking::new(places_max, Metrics::new("worker"))
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn later(ms: u64) -> Instant {
        clock::now() + Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn one_after_the_other_comes_up_and_keeps_its_place_when_nothing_came_of_it() {
        let (parking, ann) = (parking(3), tenant("ann"));
        let mut tickets = [(); 3].map(|()| parking.enter(&ann).unwrap());
        assert!(parking.enter(&ann).is_none() && !parking.has_room(), "the line is bounded");
        assert_eq!([0, 1, 2].map(|n: usize| tickets[n].place()), [1, 2, 3]);
        assert!(tickets[0].comes_up(later(1_000), || true).await);
        assert_eq!(tickets[1].place(), 1);
        assert!(!tickets[0].comes_up(later(200), || false).await, "it failed, and waits again");
        assert_eq!([0, 1].map(|n: usize| tickets[n].place()), [1, 2]);
        let [first, mut second, third] = tickets;
        first.ends("answered");
        third.ends("in_vain");
        assert!(second.comes_up(later(100), || true).await);
        drop(second);
        let text = parking.metrics.text();
        for outcome in ["answered", "in_vain", "left"] {
            assert!(text.contains(&format!("talkfleet_parked_turns_total{{reason=\"{outcome}\"}} 1")), "{text}");
        }
        assert!(text.contains("talkfleet_parked 0") && parking.has_room());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_keeps_no_other_waiting() {
        let (parking, ann, eve) = (parking(3), tenant("ann"), tenant("eve"));
        let (mut first, mut other) = (parking.enter(&ann).unwrap(), parking.enter(&eve).unwrap());
        assert_eq!([first.place(), other.place()], [1, 1]);
        let (came_up, other_came_up) =
            tokio::join!(first.comes_up(later(200), || false), other.comes_up(later(200), || true));
        assert!(!came_up && other_came_up);
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_as_soon_as_somebody_is_free() {
        let (parking, ann, free) = (parking(1), tenant("ann"), AtomicBool::new(false));
        let mut ticket = parking.enter(&ann).unwrap();
        let wakes = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            free.store(true, Ordering::Relaxed);
        };
        let started = clock::now();
        let (came_up, ()) = tokio::join!(ticket.comes_up(later(9_000), || free.load(Ordering::Relaxed)), wakes);
        assert!(came_up && clock::since(started) <= Duration::from_millis(400) + LOOK);
    }
}
