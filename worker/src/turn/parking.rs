//! Turns that wait for a model, in line: they hold no permit, and are bounded in number and in time.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use talkfleet_shared::{
    clock,
    metrics::{Metrics, Reason},
};

/// How often a turn that waits looks whether its time has come.
const LOOK: Duration = Duration::from_millis(50);

/// The line of a worker.
pub struct Parking {
    line: Mutex<Line>,
    places_max: usize,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Line {
    next: u64,
    waiting: BTreeSet<u64>,
}

/// A turn's ticket; with it the turn leaves the line, and may come back to its place.
pub struct Ticket<'a> {
    parking: &'a Parking,
    number: u64,
    outcome: &'static str,
}

impl Parking {
    pub fn new(places_max: usize, metrics: Arc<Metrics>) -> Self {
        Self { line: Mutex::default(), places_max, metrics }
    }

    pub fn has_room(&self) -> bool {
        self.lock().waiting.len() < self.places_max
    }

    /// A place at the end of the line, if there is one.
    pub fn enter(&self) -> Option<Ticket<'_>> {
        let mut line = self.lock();
        if line.waiting.len() >= self.places_max {
            return None;
        }
        let number = line.next;
        line.next += 1;
        line.waiting.insert(number);
        self.metrics.parked.inc();
        Some(Ticket { parking: self, number, outcome: "left" })
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// From 1.
    pub fn place(&self) -> u32 {
        self.parking.lock().waiting.range(..=self.number).count().max(1) as u32
    }

    /// Waits until it is first in line and somebody is free; false when its patience is over. Whoever comes up leaves the
    /// line, so that the next one may; when nothing came of it, it has its place again.
    pub async fn comes_up(&mut self, until: Instant, is_free: impl Fn() -> bool) -> bool {
        self.parking.lock().waiting.insert(self.number);
        while clock::now() < until {
            if self.place() == 1 && is_free() {
                self.parking.lock().waiting.remove(&self.number);
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
        self.parking.lock().waiting.remove(&self.number);
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

    fn later(ms: u64) -> Instant {
        clock::now() + Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn one_after_the_other_comes_up_and_keeps_its_place_when_nothing_came_of_it() {
        let parking = parking(3);
        let mut tickets = [(); 3].map(|()| parking.enter().unwrap());
        assert!(parking.enter().is_none() && !parking.has_room(), "the line is bounded");
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
    async fn it_goes_on_as_soon_as_somebody_is_free() {
        let (parking, free) = (parking(1), AtomicBool::new(false));
        let mut ticket = parking.enter().unwrap();
        let wakes = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            free.store(true, Ordering::Relaxed);
        };
        let started = clock::now();
        let (came_up, ()) = tokio::join!(ticket.comes_up(later(9_000), || free.load(Ordering::Relaxed)), wakes);
        assert!(came_up && clock::since(started) <= Duration::from_millis(400) + LOOK);
    }
}
