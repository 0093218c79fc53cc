//! PURE: how many turns a worker takes at once: as many as leave the work that costs its processor as quick as it can be.
//!
//! Additive increase, multiplicative decrease, as in TCP and in Netflix's concurrency limits. What is watched is the time
//! of recognising and searching, which is this machine's own, and never the model's, which is somebody else's.

use std::time::{Duration, Instant};

/// A verdict is made from at least so many turns, over at least so long.
const TURNS_MIN: u32 = 8;
const WINDOW_MIN: Duration = Duration::from_millis(100);

/// The work may take this many times what it takes at its best.
const TOLERANCE: f64 = 2.0;

/// What a turn needs is this many times what is tolerated: nearly all are done by then, and an answer has to get home.
const NEEDED: f64 = 2.0;

/// What is left of the limit when it takes longer.
const CUT: f64 = 0.8;

/// How fast the best is forgotten, a verdict: so that work which became dearer for good is not held against the limit.
const DRIFT: f64 = 1.002;

/// The limit grows only where it was nearly used up.
const USED: f64 = 0.8;

#[derive(Debug, Clone)]
pub struct Tuner {
    min: f64,
    max: f64,
    /// Slower by less than this is not slow.
    slack_ms: f64,
    limit: f64,
    best_ms: Option<f64>,
    /// Nothing was slow yet, so the limit doubles.
    is_starting: bool,
    window: Option<Window>,
}

/// The turns since the last verdict.
#[derive(Debug, Clone, Copy)]
struct Window {
    began_at: Instant,
    turns: u32,
    sum_ms: f64,
    running_max: usize,
}

impl Tuner {
    /// It begins at `min`, so that the work is first seen at its best, and doubles until something is slow.
    pub fn new(min: usize, max: usize, slack: Duration) -> Self {
        let (min, max) = (min.min(max) as f64, max as f64);
        let slack_ms = slack.as_secs_f64() * 1_000.0;
        Self { min, max, slack_ms, limit: min, best_ms: None, is_starting: true, window: None }
    }

    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A turn's own work took this long, while so many turns were running; the limit from now on. Work that a deadline cut
    /// off counts with what it took until then: else those who are too slow to finish are never heard of.
    pub fn worked(&mut self, took: Duration, running: usize, now: Instant) -> usize {
        let took_ms = took.as_secs_f64() * 1_000.0;
        let fresh = Window { began_at: now, turns: 0, sum_ms: 0.0, running_max: 0 };
        let window = self.window.get_or_insert(fresh);
        window.turns += 1;
        window.sum_ms += took_ms;
        window.running_max = window.running_max.max(running);
        let Window { began_at, turns, sum_ms, running_max } = *window;
        if turns >= TURNS_MIN && now.saturating_duration_since(began_at) >= WINDOW_MIN {
            self.window = None;
            self.judge(sum_ms / f64::from(turns), running_max);
        }
        self.limit()
    }

    fn judge(&mut self, mean_ms: f64, running_max: usize) {
        let best_ms = self.best_ms.map_or(mean_ms, |best| mean_ms.min(best * DRIFT));
        self.best_ms = Some(best_ms);
        if mean_ms > self.tolerated_ms(best_ms) {
            self.limit = (self.limit * CUT).max(self.min);
            self.is_starting = false;
        } else if running_max as f64 >= self.limit.floor() * USED {
            let grown = if self.is_starting { self.limit * 2.0 } else { self.limit + 1.0 };
            self.limit = grown.min(self.max);
        }
    }

    fn tolerated_ms(&self, best_ms: f64) -> f64 {
        (best_ms * TOLERANCE).max(best_ms + self.slack_ms)
    }

    /// Whether a turn with this little time left would most likely be over before its work is done: it is dropped before
    /// it costs anything. What is measured is the tolerated time and not the usual one, which those who are dropped could
    /// never mend.
    pub fn is_too_late(&self, left: Duration) -> bool {
        self.best_ms.is_some_and(|best_ms| left.as_secs_f64() * 1_000.0 < self.tolerated_ms(best_ms) * NEEDED)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const CORES: f64 = 2.0;
    const WORK_MS: f64 = 5.0;
    const MODEL_MS: u64 = 60;
    const DEADLINE_MS: u64 = 2_000;
    const CONCURRENCY_MAX: usize = 256;

    /// Turns a second that the cores can do when nothing is in the way.
    const CAPACITY: f64 = CORES * 1_000.0 / WORK_MS;

    /// A turn that runs: what it still has to compute, then how long the model has it.
    struct Turn {
        asked_ms: u64,
        began_ms: u64,
        work_ms: f64,
        done_ms: Option<u64>,
    }

    /// A worker in steps of a millisecond. Its cores take the turns' work in order, as the roles' permits do, and each turn
    /// that waits for one costs a little of everybody's time, as memory and cold caches do.
    struct World {
        now_ms: u64,
        start: Instant,
        offered: f64,
        queue: VecDeque<u64>,
        running: Vec<Turn>,
        tuner: Tuner,
        answered: Vec<(u64, u64)>,
    }

    impl World {
        fn new(tuner: Tuner) -> Self {
            let (queue, running, answered) = (VecDeque::new(), Vec::new(), Vec::new());
            Self { now_ms: 0, start: Instant::now(), offered: 0.0, queue, running, tuner, answered }
        }

        fn left(&self, asked_ms: u64) -> Duration {
            Duration::from_millis((asked_ms + DEADLINE_MS).saturating_sub(self.now_ms))
        }

        fn step(&mut self, per_s: f64) {
            self.now_ms += 1;
            self.offered += per_s / 1_000.0;
            while self.offered >= 1.0 {
                self.offered -= 1.0;
                self.queue.push_back(self.now_ms);
            }
            while self.running.len() < self.tuner.limit()
                && let Some(asked_ms) = self.queue.pop_front()
            {
                let left = self.left(asked_ms);
                if !left.is_zero() && !self.tuner.is_too_late(left) {
                    let (began_ms, work_ms) = (self.now_ms, WORK_MS);
                    self.running.push(Turn { asked_ms, began_ms, work_ms, done_ms: None });
                }
            }
            self.compute();
            let now = self.start + Duration::from_millis(self.now_ms);
            let (now_ms, count) = (self.now_ms, self.running.len());
            let (answered, tuner) = (&mut self.answered, &mut self.tuner);
            self.running.retain(|turn| {
                let is_done = turn.done_ms.is_some_and(|done_ms| done_ms <= now_ms);
                let is_over = turn.asked_ms + DEADLINE_MS <= now_ms;
                if is_done && !is_over {
                    answered.push((turn.asked_ms, now_ms));
                }
                if is_over && turn.done_ms.is_none() {
                    tuner.worked(Duration::from_millis(now_ms - turn.began_ms), count, now);
                }
                !(is_done || is_over)
            });
        }

        fn compute(&mut self) {
            let computing = self.running.iter().filter(|turn| turn.done_ms.is_none()).count() as f64;
            let lost = 1.0 + 0.002 * (computing - CORES).max(0.0);
            let step_ms = 1.0 / lost;
            let mut free_ms = CORES * step_ms;
            let (now_ms, running) = (self.now_ms, self.running.len());
            for turn in self.running.iter_mut().filter(|turn| turn.done_ms.is_none()) {
                let worked_ms = free_ms.min(step_ms).min(turn.work_ms);
                free_ms -= worked_ms;
                turn.work_ms -= worked_ms;
                if turn.work_ms <= 1e-9 {
                    let now = self.start + Duration::from_millis(now_ms);
                    self.tuner.worked(Duration::from_millis(now_ms - turn.began_ms + 1), running, now);
                    // Too late for the model: quoted at once.
                    let has_time = now_ms + MODEL_MS < turn.asked_ms + DEADLINE_MS;
                    turn.done_ms = Some(now_ms + if has_time { MODEL_MS } else { 0 });
                }
            }
        }

        /// Runs for so long at this rate; answers a second of what was asked then.
        fn run(&mut self, per_s: f64, seconds: u64) -> f64 {
            let from = self.answered.len();
            for _ in 0..seconds * 1_000 {
                self.step(per_s);
            }
            (self.answered.len() - from) as f64 / seconds as f64
        }
    }

    fn tuned() -> Tuner {
        Tuner::new(4, CONCURRENCY_MAX, Duration::from_millis(50))
    }

    #[test]
    fn goodput_stays_at_capacity_whatever_is_offered() {
        for load in [0.5, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0] {
            let mut world = World::new(tuned());
            world.run(CAPACITY * load, 5);
            let goodput = world.run(CAPACITY * load, 10) / CAPACITY;
            assert!(goodput >= 0.9 * f64::min(load, 1.0), "{goodput:.2} C of {load} C, limit {}", world.tuner.limit());
        }
    }

    #[test]
    fn without_tuning_the_same_worker_loses_itself() {
        let mut world = World::new(Tuner::new(CONCURRENCY_MAX, CONCURRENCY_MAX, Duration::ZERO));
        world.run(CAPACITY * 5.0, 5);
        let goodput = world.run(CAPACITY * 5.0, 10) / CAPACITY;
        assert!(goodput < 0.8, "{goodput:.2} C");
    }

    #[test]
    fn after_an_overload_nobody_is_lost_any_more_and_the_queue_is_gone_within_two_deadlines() {
        let mut world = World::new(tuned());
        world.run(CAPACITY * 5.0, 20);
        for _ in 0..2 * DEADLINE_MS / 1_000 {
            let goodput = world.run(CAPACITY * 0.5, 1) / CAPACITY;
            assert!(goodput >= 0.8, "{goodput:.2} C while what had waited is answered too");
        }
        let goodput = world.run(CAPACITY * 0.5, 2) / CAPACITY;
        assert!(goodput >= 0.49, "{goodput:.2} C");
        let slowest = world.answered.iter().rev().take(300).map(|(asked, done)| done - asked).max().unwrap();
        assert!(slowest < MODEL_MS + 40, "{slowest} ms");
    }

    #[test]
    fn what_would_be_over_before_its_work_is_done_is_too_late() {
        let (mut tuner, now) = (tuned(), Instant::now());
        assert!(!tuner.is_too_late(Duration::from_millis(1)), "nothing is known yet");
        for turn in 0..TURNS_MIN {
            tuner.worked(Duration::from_millis(30), 1, now + WINDOW_MIN * turn);
        }
        assert!(tuner.is_too_late(Duration::from_millis(159)) && !tuner.is_too_late(Duration::from_millis(161)));
    }

    proptest! {
        #[test]
        fn the_limit_keeps_its_bounds(turns in prop::collection::vec((0u64..500, 0usize..300, 0u64..50), 0..500)) {
            let (mut tuner, mut now) = (tuned(), Instant::now());
            for (took_ms, running, wait_ms) in turns {
                now += Duration::from_millis(wait_ms);
                let limit = tuner.worked(Duration::from_millis(took_ms), running, now);
                prop_assert!((4..=CONCURRENCY_MAX).contains(&limit));
            }
        }
    }
}
