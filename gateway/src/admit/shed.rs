//! PURE: is there any use in letting a request in? What is known of the wait before it, of this process's load, and what a
//! refused client is told.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A wait that is shorter than this says nothing yet about how fast the fleet is.
const MEASURED_OVER_MIN: Duration = Duration::from_millis(250);

/// Fewer than so many waiting requests are no overload: one of them may be alone with its bad luck.
const WAITING_MIN: usize = 8;

/// Neither do fewer answers than so many: the first one after a fleet's start, divided by its wait, would say 'never'.
const SERVED_MIN: u64 = 8;

/// The bounds of what a refused client is told to wait.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// How much of each decision goes into the share of those who are refused.
const PRESSURE_SMOOTHING: f64 = 0.01;

/// By how much the share of those who are shed moves with each look at the CPU.
const CPU_STEP: f64 = 0.05;

/// Even a process that has no time left lets some in: their answers tell when it is over.
const CPU_SHED_MAX: f64 = 0.9;

/// Requests that were accepted and have heard nothing yet.
#[derive(Debug, Default)]
pub struct Backlog {
    waiting: BTreeMap<u64, Accepted>,
    accepted: u64,
    heard: u64,
    /// The latest request that has heard something: what waits before it was overtaken and says nothing about the queue.
    heard_up_to: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Accepted {
    at: Instant,
    /// How many requests had heard something by then.
    heard: u64,
}

impl Backlog {
    /// Notes a request that was accepted now; the number is its name here.
    pub fn accepted(&mut self, now: Instant) -> u64 {
        let number = self.accepted;
        self.accepted += 1;
        self.waiting.insert(number, Accepted { at: now, heard: self.heard });
        number
    }

    /// A request has heard its first word.
    pub fn heard(&mut self, number: u64) {
        if self.waiting.remove(&number).is_some() {
            self.heard += 1;
            self.heard_up_to = self.heard_up_to.max(Some(number));
        }
    }

    /// Nobody waits here for a request any more.
    pub fn left(&mut self, number: u64) {
        self.waiting.remove(&number);
    }

    /// How many have heard nothing yet.
    pub fn unheard(&self) -> usize {
        self.waiting.len()
    }

    /// How long whoever comes now will wait: as long as the first in the queue has, or, when others were served meanwhile, as
    /// long as it takes to serve everybody before at that pace.
    pub fn expected_wait(&self, now: Instant) -> Duration {
        let from = self.heard_up_to.map_or(0, |number| number + 1);
        let Some((_, first)) = self.waiting.range(from..).next().filter(|_| self.waiting.len() >= WAITING_MIN) else {
            return Duration::ZERO;
        };
        let age = now.saturating_duration_since(first.at);
        let served = self.heard - first.heard;
        if age < MEASURED_OVER_MIN || served < SERVED_MIN {
            return age;
        }
        let pace = served as f64 / age.as_secs_f64();
        age.max(Duration::from_secs_f64(self.waiting.len() as f64 / pace))
    }
}

/// What share of the requests is shed because this process has no time for them.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuRelief(f64);

impl CpuRelief {
    /// Notes how much of its CPU the process has used of late, and how much it may; both from 0 to 1.
    pub fn looked(&mut self, used: f64, max: f64) {
        let step = if used > max { CPU_STEP } else { -CPU_STEP };
        self.0 = (self.0 + step).clamp(0.0, CPU_SHED_MAX);
    }

    pub fn is_needed(self) -> bool {
        self.0 > 0.0
    }

    /// Whether a request is shed; `dice` is from 0 to 1. What nobody waits for goes first.
    pub fn sheds(self, is_batch: bool, dice: f64) -> bool {
        let share = if is_batch { self.0 * 2.0 } else { self.0 };
        dice < share
    }
}

/// How many of those who come are refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pressure(f64);

impl Pressure {
    pub fn note(&mut self, refused: bool) {
        self.0 += PRESSURE_SMOOTHING * (f64::from(u8::from(refused)) - self.0);
    }

    /// When to come back: with four of five refused, those who come back after five seconds are as many as can be served.
    pub fn retry_after(self, expected_wait: Duration) -> Duration {
        let crowd = RETRY.0.as_secs_f64() / (1.0 - self.0).max(0.01);
        Duration::from_secs_f64(crowd).max(expected_wait).clamp(RETRY.0, RETRY.1)
    }
}

/// Whether a request that would wait so long has a chance: half of its time is for waiting, half for the answer.
pub fn is_hopeless(expected_wait: Duration, budget: Duration) -> bool {
    expected_wait > budget / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_wait_is_what_the_first_in_the_queue_waits() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        let numbers: Vec<_> = (0..20).map(|n| backlog.accepted(start + ms(n))).collect();
        assert_eq!(backlog.expected_wait(start + ms(3_000)), ms(3_000), "nobody answers");
        assert!(is_hopeless(ms(3_000), ms(5_000)) && !is_hopeless(ms(3_000), ms(6_000)));
        numbers[..10].iter().for_each(|number| backlog.heard(*number));
        // Ten in a second since the eleventh came, and ten are left.
        assert_eq!(backlog.expected_wait(start + ms(1_010)).as_millis(), 1_000);
        numbers[10..].iter().for_each(|number| backlog.left(*number));
        assert_eq!(backlog.expected_wait(start + ms(9_000)), Duration::ZERO);
    }

    #[test]
    fn the_first_answer_of_a_fleet_that_starts_tells_no_pace() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        let numbers: Vec<_> = (0..64).map(|_| backlog.accepted(start)).collect();
        backlog.heard(numbers[0]);
        assert_eq!(backlog.expected_wait(start + ms(300)), ms(300));
    }

    #[test]
    fn one_with_bad_luck_is_no_queue() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        let unlucky = backlog.accepted(start);
        for n in 0..50 {
            let number = backlog.accepted(start + ms(1_000 + n));
            backlog.heard(number);
        }
        let _waiting: Vec<_> = (0..20).map(|_| backlog.accepted(start + ms(9_900))).collect();
        assert_eq!(backlog.expected_wait(start + ms(10_000)), ms(100));
        backlog.heard(unlucky);
        assert_eq!(backlog.expected_wait(start + ms(10_000)), ms(100));
    }

    #[test]
    fn relief_comes_in_steps_and_goes_again() {
        let mut relief = CpuRelief::default();
        assert!(!relief.sheds(true, 0.0));
        (0..4).for_each(|_| relief.looked(1.0, 0.95));
        assert!(relief.sheds(false, 0.15) && !relief.sheds(false, 0.25) && relief.sheds(true, 0.25));
        (0..100).for_each(|_| relief.looked(1.0, 0.95));
        assert!(!relief.sheds(false, 0.95), "some are always let in");
        (0..20).for_each(|_| relief.looked(0.5, 0.95));
        assert!(!relief.sheds(true, 0.0));
    }

    proptest! {
        #[test]
        fn whoever_is_refused_hears_of_seconds_and_more_in_a_crowd(refused in 0u32..100, wait_ms in 0u64..100_000) {
            let mut pressure = Pressure::default();
            (0..10_000).for_each(|n| pressure.note(n % 100 < refused));
            let told = pressure.retry_after(ms(wait_ms));
            prop_assert!(told >= RETRY.0 && told <= RETRY.1);
            prop_assert!(told >= ms(wait_ms).min(RETRY.1));
            if refused >= 80 {
                prop_assert!(told >= Duration::from_secs(2), "{told:?}");
            }
        }
    }
}
