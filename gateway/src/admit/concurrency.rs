//! PURE: how many requests may be under way at once? As many as keep the fleet busy without making anybody wait long for the first word.
//!
//! It is the gradient of Netflix's concurrency-limits (Gradient2, github.com/Netflix/concurrency-limits): the limit is
//! multiplied with the time that a request should take over the time that it takes, measured anew in every round. By Little's
//! law that is the exact step where the fleet is at its capacity: with `limit = throughput × time`, allowing the time that is
//! wanted allows that many requests. What differs is the baseline. Gradient2 compares with a long-term average, which is
//! fooled twice: a lasting overload becomes the new normal, and answers that take seconds because a model speaks look like a
//! queue when the mix changes. A turn tells the two apart by itself: until its first frame it lies in a queue, from there to
//! its last frame it is served, however long that takes. So the time that it should take is the time of its service plus a
//! wait of `wait_target`, as in CoDel (RFC 8289) a target for the wait and not for the whole.

use std::time::{Duration, Instant};

/// What bounds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub start: usize,
    pub min: usize,
    pub max: usize,
    /// How long a request may wait for its first word.
    pub wait_target: Duration,
    /// How long a round lasts at least.
    pub round: Duration,
}

/// First words that a round must have heard.
const HEARD_MIN: u32 = 4;

/// How much of what a round takes away is taken at once; more would follow its noise.
const SMOOTHING: f64 = 0.5;

/// What a round leaves of the limit at least.
const GRADIENT_MIN: f64 = 0.1;

/// Waits of so many targets are no noise: the limit is set at once.
const OVERDUE: f64 = 2.0;

/// First words that tell the pace at which a queue drains.
const DRAINED_MIN: u32 = 8;

/// A fleet that says nothing for so many rounds, or times of service, stands still.
const STILL: f64 = 2.0;

/// What a round adds at most, and does while all of the limit is used and nobody waits.
const GROWTH: f64 = 1.5;

/// What it adds at first after an overload.
const GROWTH_CAREFUL: f64 = 1.02;

/// The part of the limit that must be in use for a round to say something about it.
const IN_USE: f64 = 0.8;

/// The part of the limit that may be without a first word where everybody finds a place at once.
const UNHEARD: f64 = 0.01;

/// How much of each time of service, or of publishing, goes into their average.
const TIME_SMOOTHING: f64 = 0.05;

/// By how much a wait that does not end at the lowest limit is taken for the nature of the fleet, each round.
const RESIGNATION: f64 = 1.1;

/// How much longer than by nature a wait may be.
const TOLERANCE: f64 = 1.5;

/// The limit and what it is made from.
#[derive(Debug, Clone)]
pub struct Concurrency {
    bounds: Bounds,
    limit: f64,
    /// How long a request waits where nothing is in its way, in seconds; None until the first round.
    wait_by_nature: Option<f64>,
    /// How long it takes until the broker has a request, in seconds.
    publishing: Option<f64>,
    /// How long it takes from the first word to the last, in seconds.
    service: Option<f64>,
    growth: f64,
    /// When the limit was changed last; None before the first overload.
    changed_at: Option<Instant>,
    round: Round,
}

/// What is measured of the requests that came in since the limit was set.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    began: Option<Instant>,
    heard: u32,
    pace: Pace,
    /// In seconds.
    waited: f64,
    in_flight_max: usize,
    unheard_max: usize,
    /// The limit when it began.
    limit: f64,
    /// Of first words of requests that had come in before and waited far too long.
    draining: Pace,
}

/// How fast first words come, without the time in which the fleet stood still.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    heard: u32,
    /// When the first and the last of them were heard.
    span: Option<(Instant, Instant)>,
}

impl Concurrency {
    pub fn new(bounds: Bounds) -> Self {
        let limit = bounds.start.clamp(bounds.min, bounds.max) as f64;
        let round = Round { limit, ..Round::default() };
        Self {
            bounds,
            limit,
            wait_by_nature: None,
            publishing: None,
            service: None,
            growth: GROWTH,
            changed_at: None,
            round,
        }
    }

    /// How many may be under way.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Notes how many are under way after one was let in.
    pub fn entered(&mut self, in_flight: usize) {
        self.round.in_flight_max = self.round.in_flight_max.max(in_flight);
    }

    /// A request that was accepted then hears its first word now; so many others have heard nothing yet.
    pub fn spoke(&mut self, accepted: Instant, now: Instant, unheard: usize) {
        self.round.unheard_max = self.round.unheard_max.max(unheard);
        let began = *self.round.began.get_or_insert(accepted);
        let waited = seconds(accepted, now) + self.publishing.unwrap_or(0.0);
        if accepted < began {
            self.drain(waited, now);
            return;
        }
        self.round.heard += 1;
        self.round.pace.hear(now, self.still());
        self.round.waited += waited;
        if self.round.heard >= HEARD_MIN && now.saturating_duration_since(began) >= self.bounds.round {
            self.end_round(now);
        }
    }

    /// A request that spoke then is served now.
    pub fn served(&mut self, spoke: Instant, now: Instant) {
        let took = seconds(spoke, now);
        self.service = Some(average(self.service, took));
    }

    /// It took so long until the broker had a request: a wait as well, when many publish at once.
    pub fn published(&mut self, took: Duration) {
        self.publishing = Some(average(self.publishing, took.as_secs_f64()));
    }

    /// What came in before knows of the limit before. When it let in far too many, those are served at the fleet's full pace:
    /// there is no need to wait for the end of the queue to know what the limit should be.
    fn drain(&mut self, waited: f64, now: Instant) {
        let target = self.target();
        if waited < target * OVERDUE {
            return;
        }
        self.round.draining.hear(now, self.still());
        let (service, draining) = (self.service.unwrap_or(0.0), self.round.draining);
        if draining.heard >= DRAINED_MIN
            && let Some(per_second) = draining.per_second(service.max(self.bounds.round.as_secs_f64()), now)
        {
            self.growth = GROWTH_CAREFUL;
            self.changed_at = Some(now);
            self.set(self.round.limit.min(per_second * (service + target)));
        }
    }

    /// How long nothing is heard, in seconds, of a fleet that stands still; one whose turns begin and end together is silent
    /// for as long as one of them takes.
    fn still(&self) -> f64 {
        STILL * self.service.unwrap_or(0.0).max(self.bounds.round.as_secs_f64())
    }

    /// Grows fast until the first overload was seen, as TCP starts slowly: what is added shows within a round. From then on,
    /// no sooner than it is known what came of what was added before, in steps that double while all goes well. Where hardly
    /// anybody is left without a word it is known at once, else when those that were added have come back.
    fn grow(&mut self, gradient: f64, service: f64, round: &Round, now: Instant) {
        let is_known = round.unheard_max as f64 <= (self.limit * UNHEARD).max(1.0);
        if !is_known && self.changed_at.is_some_and(|changed| seconds(changed, now) < service) {
            return;
        }
        self.set(self.limit * gradient.min(self.growth) + 1.0);
        if self.changed_at.is_some() {
            self.changed_at = Some(now);
            self.growth = (1.0 + 2.0 * (self.growth - 1.0)).min(GROWTH);
        }
    }

    /// How long a request may wait, in seconds.
    fn target(&self) -> f64 {
        self.bounds.wait_target.as_secs_f64().max(self.wait_by_nature.unwrap_or(0.0) * TOLERANCE)
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(self.bounds.min as f64, self.bounds.max as f64);
    }

    fn end_round(&mut self, now: Instant) {
        let fresh = Round { began: Some(now), limit: self.limit, ..Round::default() };
        let round = std::mem::replace(&mut self.round, fresh);
        let waited = round.waited / f64::from(round.heard);
        let by_nature = self.wait_by_nature.map_or(waited, |by_nature| by_nature.min(waited));
        self.wait_by_nature = Some(by_nature);
        let target = self.target();
        let service = self.service.unwrap_or(0.0);
        // How many may be under way at this pace, each waiting as long as it may (Little's law).
        let least = service.max(self.bounds.round.as_secs_f64() / 2.0);
        let able = |at_least| round.pace.per_second(at_least, now).map_or(0.0, |pace| pace * (service + target));
        // With less in flight, the limit is not what the round has measured.
        if (round.in_flight_max as f64) < self.limit * IN_USE {
            if waited <= target {
                self.set(self.limit.max(able(least)));
            }
            return;
        }
        let gradient = (service + target) / (service + waited);
        // Where nobody waits, the fleet has room, and nobody knows how much.
        let gradient = if waited <= target / 2.0 { GROWTH } else { gradient.clamp(GRADIENT_MIN, GROWTH) };
        if gradient >= 1.0 {
            self.grow(gradient, service, &round, now);
        } else {
            self.growth = GROWTH_CAREFUL;
            self.changed_at = Some(now);
            let smoothing = if waited > target * OVERDUE { 1.0 } else { SMOOTHING };
            let cut = self.limit * (1.0 - smoothing + smoothing * gradient);
            // Where the fleet keeps up with as many, those who waited did so because it had stood still.
            self.set(cut.max(able(service).min(self.limit)));
        }
        self.round.limit = self.limit;
        if self.limit <= self.bounds.min as f64 && waited > target {
            self.wait_by_nature = Some((by_nature * RESIGNATION).min(waited));
        }
    }
}

impl Pace {
    /// Notes a first word; after a silence of more than `still` seconds counting begins anew.
    fn hear(&mut self, now: Instant, still: f64) {
        let (since, last) = self.span.unwrap_or((now, now));
        *self = match seconds(last, now) > still {
            true => Self { heard: 1, span: Some((now, now)) },
            false => Self { heard: self.heard + 1, span: Some((since, now)) },
        };
    }

    /// Once `at_least` seconds were heard: turns that began together end together, so a pace is known when each place has
    /// been given away.
    fn per_second(&self, at_least: f64, now: Instant) -> Option<f64> {
        let elapsed = seconds(self.span?.0, now);
        (elapsed > at_least).then(|| f64::from(self.heard) / elapsed)
    }
}

fn average(before: Option<f64>, took: f64) -> f64 {
    before.map_or(took, |before| before + TIME_SMOOTHING * (took - before))
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::admit::queue::{Lane, Queue};

    const MS: Duration = Duration::from_millis(1);

    const BOUNDS: Bounds = Bounds {
        start: 200,
        min: 4,
        max: 20_000,
        wait_target: Duration::from_millis(100),
        round: Duration::from_millis(100),
    };

    /// What a client is content with.
    const BUDGET: Duration = Duration::from_millis(500);

    /// One request on its way through the fleet.
    #[derive(Clone, Copy)]
    struct Turn {
        came: Instant,
        accepted: Instant,
        spoke: Option<Instant>,
        done_at: Instant,
    }

    /// A fleet in simulated time, a millisecond a step: so many turns at once, each with its time to the first word and to the
    /// last; whoever finds no place waits in the broker, first come first served. Before it stand the limit and the line.
    struct Fleet {
        now: Instant,
        parallel: usize,
        first_word: Duration,
        service: Duration,
        concurrency: Concurrency,
        line: Queue<u8, Instant>,
        broker: VecDeque<Turn>,
        running: Vec<Turn>,
        owed: f64,
    }

    /// What came of a stretch of time.
    #[derive(Debug, Default)]
    struct Told {
        offered: u64,
        /// Answered within [`BUDGET`] after the service itself.
        good: u64,
        late: u64,
        /// Let in and not answered yet, more than before.
        under_way: i64,
        wait_max: Duration,
    }

    impl Fleet {
        fn new(parallel: usize, first_word_ms: u64, service_ms: u64) -> Self {
            Self {
                now: Instant::now(),
                parallel,
                first_word: MS * first_word_ms as u32,
                service: MS * service_ms as u32,
                concurrency: Concurrency::new(BOUNDS),
                line: Queue::new(1_000, Duration::from_millis(8)),
                broker: VecDeque::new(),
                running: Vec::new(),
                owed: 0.0,
            }
        }

        fn in_flight(&self) -> usize {
            self.broker.len() + self.running.len()
        }

        fn offer(&mut self, per_second: f64, seconds: u32) -> Told {
            self.offer_for(per_second, seconds * 1_000)
        }

        fn offer_for(&mut self, per_second: f64, ms: u32) -> Told {
            let mut told = Told { under_way: -(self.in_flight() as i64), ..Told::default() };
            for _ in 0..ms {
                self.now += MS;
                self.owed += per_second / 1_000.0;
                while self.owed >= 1.0 {
                    self.owed -= 1.0;
                    told.offered += 1;
                    drop(self.line.push(0, Lane::Interactive, self.now, self.now));
                }
                self.step(&mut told);
            }
            told.under_way += self.in_flight() as i64;
            told
        }

        fn step(&mut self, told: &mut Told) {
            let now = self.now;
            let (service, first_word) = (self.service, self.first_word);
            let speaks = |turn: &Turn| turn.spoke.is_none() && now + service >= turn.done_at + first_word;
            let silent = self.running.iter().filter(|turn| turn.spoke.is_none() && !speaks(turn)).count();
            let unheard = self.broker.len() + silent;
            for turn in &mut self.running {
                if speaks(turn) {
                    turn.spoke = Some(now);
                    self.concurrency.spoke(turn.accepted, now, unheard);
                }
            }
            let done = self.running.extract_if(.., |turn| turn.done_at <= now);
            for turn in done {
                self.concurrency.served(turn.spoke.unwrap_or(now), now);
                let waited = (now - turn.came).saturating_sub(self.service);
                told.wait_max = told.wait_max.max(waited);
                *if waited <= BUDGET { &mut told.good } else { &mut told.late } += 1;
            }
            while self.running.len() < self.parallel
                && let Some(turn) = self.broker.pop_front()
            {
                self.running.push(Turn { done_at: now + self.service, ..turn });
            }
            while self.in_flight() < self.concurrency.limit()
                && let Some((came, ..)) = self.line.pop(now, |_| true)
            {
                let turn = Turn { came, accepted: now, spoke: None, done_at: now };
                self.broker.push_back(turn);
                let in_flight = self.in_flight();
                self.concurrency.entered(in_flight);
            }
        }
    }

    /// Overload and its end, for a fleet of some capacity.
    #[track_caller]
    fn overload(parallel: usize, first_word_ms: u64, service_ms: u64) {
        let mut fleet = Fleet::new(parallel, first_word_ms, service_ms);
        let capacity = parallel as f64 * 1_000.0 / service_ms as f64;
        let share = |told: &Told, of: f64| (told.good as i64 + told.under_way) as f64 / of;
        let calm = fleet.offer(capacity * 0.8, 10);
        assert!(share(&calm, calm.offered as f64) >= 0.97, "at 0.8: {calm:?}");
        for load in [3.0, 5.0] {
            let first = fleet.offer(capacity * load, 5);
            let then = fleet.offer(capacity * load, 55);
            let goodput = share(&then, capacity * 55.0);
            assert!(goodput >= 0.9, "at {load}: {goodput} of capacity, limit {}, {then:?}", fleet.concurrency.limit());
            assert!(then.late <= then.good / 20, "at {load}: {then:?}");
            assert!(share(&first, capacity * 5.0) >= 0.5, "at {load}, while it is found out: {first:?}");
        }
        // What overload has left behind is answered within its wait; from then on everybody is at once.
        let after = fleet.offer(capacity * 0.5, 5);
        assert!(share(&after, after.offered as f64) >= 0.97, "after it: {after:?}");
    }

    #[test]
    fn goodput_stays_under_overload_and_service_is_back_at_once() {
        overload(20, 5, 20);
        overload(20, 20, 20);
        overload(8, 5, 200);
        overload(300, 5, 3_000);
    }

    #[test]
    fn a_fleet_that_stood_still_for_a_moment_is_not_taken_for_a_slow_one() {
        // It stands still twice: what waits at the second time came in before the limit was set at the end of the first.
        for awake_ms in 5..40 {
            let mut fleet = Fleet::new(20, 5, 5);
            fleet.offer(2_000.0, 10);
            for (parallel, ms) in [(0, 200), (20, awake_ms), (0, 400)] {
                fleet.parallel = parallel;
                fleet.offer_for(2_000.0, ms);
            }
            fleet.parallel = 20;
            let told = fleet.offer(2_000.0, 2);
            let served = (told.good as i64 + told.late as i64 + told.under_way) as f64;
            let limit = fleet.concurrency.limit();
            assert!(served >= told.offered as f64 * 0.97, "awake for {awake_ms} ms: limit {limit}, {told:?}");
        }
    }

    #[test]
    fn a_moment_in_which_nothing_moves_costs_nobody_a_refusal_where_there_is_room() {
        let mut fleet = Fleet::new(20, 2, 2);
        fleet.offer(4_000.0, 5);
        fleet.parallel = 0;
        let still = fleet.offer_for(4_000.0, 95);
        fleet.parallel = 20;
        let told = fleet.offer(4_000.0, 1);
        let refused = |told: &Told| told.offered as i64 - told.good as i64 - told.late as i64 - told.under_way;
        assert_eq!(refused(&still) + refused(&told), 0, "limit {}, {still:?} {told:?}", fleet.concurrency.limit());
    }

    #[test]
    fn room_that_was_taken_away_from_long_answers_is_back_within_seconds() {
        let mut fleet = Fleet::new(1_000, 1, 1_500);
        fleet.offer(100.0, 5);
        fleet.concurrency.set(60.0);
        fleet.concurrency.changed_at = Some(fleet.now);
        fleet.concurrency.growth = GROWTH_CAREFUL;
        fleet.offer(150.0, 3);
        let told = fleet.offer(150.0, 5);
        assert_eq!(told.good as i64 + told.under_way, told.offered as i64, "limit {}", fleet.concurrency.limit());
    }

    #[test]
    fn a_slow_model_is_no_overload() {
        for first_word_ms in [5, 400, 3_000] {
            let mut fleet = Fleet::new(usize::MAX, first_word_ms, 3_000);
            fleet.offer(400.0, 25);
            let told = fleet.offer(400.0, 30);
            assert!(
                (told.good as i64 + told.under_way) as f64 >= told.offered as f64 * 0.99,
                "{first_word_ms} ms: {told:?}"
            );
            assert!(told.wait_max <= Duration::from_millis(60), "{first_word_ms} ms: {told:?}");
        }
    }

    #[test]
    fn answers_that_become_slower_by_nature_are_no_overload() {
        let mut fleet = Fleet::new(usize::MAX, 5, 20);
        fleet.offer(300.0, 30);
        fleet.service = Duration::from_secs(3);
        let told = fleet.offer(300.0, 30);
        assert!(told.good as f64 >= 300.0 * 27.0 * 0.99, "{told:?}");
    }

    #[test]
    fn a_limit_stays_within_its_bounds() {
        let mut fleet = Fleet::new(1, 1, 100);
        fleet.offer(10_000.0, 60);
        assert!((BOUNDS.min..40).contains(&fleet.concurrency.limit()), "{:?}", fleet.concurrency);
        let concurrency = Concurrency::new(Bounds { start: 5, min: 10, max: 20, ..BOUNDS });
        assert_eq!(concurrency.limit(), 10);
    }
}
