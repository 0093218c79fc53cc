//! PURE: from which rung an answer starts: by how long turns wait, what time is left, how the model fares, what may be spent.
//!
//! A rung is taken at once when the lag calls for it. It is left one at a time, and only after the lag stayed below a
//! lower threshold for the hold time, so that a desk at its limit does not flap.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use talkfleet_shared::chat::RungReason;

use crate::{config::PlanConfig, plan::ModelState};

/// What one turn's wait weighs in the smoothed lag.
const WEIGHT: f64 = 1.0 / 8.0;

/// After so long a lull without turns the lag is as good as forgotten.
const LULL: Duration = Duration::from_secs(1);

/// Whole answers that tell how long a model usually takes, how many are needed to tell, and how old they may be. Old ones
/// are forgotten so that a model which was too slow for every deadline is tried again.
const TIMES_MAX: usize = 64;
const TIMES_MIN: usize = 4;
const TIME_AGE_MAX: Duration = Duration::from_secs(60);

/// What a model is said to take before it has shown it.
const USUAL_GUESS: Duration = Duration::from_secs(3);

/// Of ten answers so many were made within the usual time.
const USUAL_OF_TEN: usize = 9;

/// From where an answer starts, best first. What lies below, waiting for the model and a human, is planned once it is known
/// what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Step {
    /// The model.
    #[default]
    Full,
    /// The smaller model; without one as above.
    Small,
    /// The knowledge quoted.
    Extract,
    /// The company's own answers come first, and spare their turn the search.
    Approved,
}

impl Step {
    const ALL: [Self; 4] = [Self::Full, Self::Small, Self::Extract, Self::Approved];

    fn above(self) -> Self {
        Self::ALL[(self as usize).saturating_sub(1)]
    }
}

/// How the lag of the last turns bears on the next.
#[derive(Debug, Clone)]
pub struct Ladder {
    /// From which lag on Small, Extract and Approved are taken, in milliseconds.
    taken_from_ms: [f64; 3],
    release: f64,
    hold: Duration,
    step: Step,
    lag_ms: f64,
    seen_at: Option<Instant>,
    /// Since when the lag has been low enough to leave each rung; None while it is not.
    calm_since: [Option<Instant>; 3],
    changed_at: Option<Instant>,
}

impl Ladder {
    pub fn new(config: &PlanConfig) -> Self {
        Self {
            taken_from_ms: [config.lag_small_ms, config.lag_extract_ms, config.lag_approved_ms].map(|ms| ms as f64),
            release: config.ladder_release,
            hold: Duration::from_millis(config.ladder_hold_ms),
            step: Step::Full,
            lag_ms: 0.0,
            seen_at: None,
            calm_since: [None; 3],
            changed_at: None,
        }
    }

    /// A turn begins that waited this long; the rung for it.
    pub fn waited(&mut self, queued: Duration, now: Instant) -> Step {
        let last = self.seen_at.replace(now).unwrap_or(now);
        self.smooth(queued.as_secs_f64() * 1_000.0, now.saturating_duration_since(last));
        for (calm_since, taken_from_ms) in self.calm_since.iter_mut().zip(self.taken_from_ms) {
            let calm = self.lag_ms < taken_from_ms * self.release;
            // Nobody waited while nobody came.
            *calm_since = calm.then(|| calm_since.unwrap_or(last));
        }
        self.climb(now);
        let called_for = Step::ALL[self.taken_from_ms.iter().filter(|from_ms| self.lag_ms >= **from_ms).count()];
        if called_for > self.step {
            (self.step, self.changed_at) = (called_for, Some(now));
        }
        self.step
    }

    /// A lag that grows is believed slowly, one that falls after a lull at once.
    fn smooth(&mut self, waited_ms: f64, lull: Duration) {
        let forgotten = 1.0 - (-lull.as_secs_f64() / LULL.as_secs_f64()).exp();
        let weight = if waited_ms < self.lag_ms { WEIGHT.max(forgotten) } else { WEIGHT };
        self.lag_ms += weight * (waited_ms - self.lag_ms);
    }

    /// Leaves the rung after the hold time; after a long calm several, each for a hold time of it.
    fn climb(&mut self, now: Instant) {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let (before, held) = (self.step, since(self.changed_at).unwrap_or(Duration::MAX));
        let mut needed = self.hold;
        while self.step > Step::Full {
            let calm = since(self.calm_since[self.step as usize - 1]).unwrap_or_default();
            if calm.min(held) < needed {
                break;
            }
            self.step = self.step.above();
            needed += self.hold;
        }
        if self.step != before {
            self.changed_at = Some(now);
        }
    }
}

/// How long a model takes for a whole answer.
#[derive(Debug, Clone, Default)]
pub struct Usual(VecDeque<(Instant, Duration)>);

impl Usual {
    pub fn took(&mut self, took: Duration, now: Instant) {
        if self.0.len() == TIMES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, took));
    }

    /// What nine of ten of the last answers took at most; None when too few were made lately.
    pub fn time(&self, now: Instant) -> Option<Duration> {
        let lately = self.0.iter().filter(|(at, _)| now.saturating_duration_since(*at) < TIME_AGE_MAX);
        let mut times: Vec<_> = lately.map(|(_, took)| *took).collect();
        times.sort_unstable();
        (times.len() >= TIMES_MIN).then(|| times[(times.len() * USUAL_OF_TEN).div_ceil(10) - 1])
    }
}

/// How long the turn at this place in line is likely to wait: until the model is tried again, and for those before it.
pub fn expected_wait(place: u32, opens_in: Duration, usual: Option<Duration>, concurrency: usize) -> Duration {
    let answers_before = place as usize / concurrency.max(1);
    opens_in + usual.unwrap_or(USUAL_GUESS) * answers_before as u32
}

/// How a model fares, for a turn that wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faring {
    /// Why it cannot be asked right now.
    pub obstacle: Option<RungReason>,
    pub usual: Option<Duration>,
}

/// What bears on one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strain {
    pub load: Step,
    /// What is left of its time for the answer, without what a quotation needs.
    pub left: Duration,
    pub full: Option<Faring>,
    pub small: Option<Faring>,
    /// Why its tenant may not have a model right now.
    pub tenant: Option<RungReason>,
}

/// From where a turn's answer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    pub step: Step,
    /// Why not from a higher rung; None from the highest there is.
    pub reason: Option<RungReason>,
    pub model: ModelState,
}

/// Decides from which rung a turn's answer starts.
pub fn start(strain: Strain) -> Start {
    let lag = (strain.load > Step::Full).then_some(RungReason::Lag);
    if strain.full.is_none() && strain.small.is_none() {
        let reason = lag.filter(|_| strain.load == Step::Approved);
        return Start { step: strain.load.max(Step::Extract), reason, model: ModelState::Absent };
    }
    let away = |reason| Start { step: strain.load.max(Step::Extract), reason, model: ModelState::Away };
    if strain.load >= Step::Extract {
        return away(lag);
    }
    if strain.tenant.is_some() {
        return away(strain.tenant);
    }
    let full =
        strain.full.map(|faring| (Step::Full, faring)).filter(|_| strain.load == Step::Full || strain.small.is_none());
    let small = strain.small.map(|faring| (Step::Small, faring));
    let mut reason = lag.filter(|_| strain.small.is_some());
    for (step, faring) in full.into_iter().chain(small) {
        match obstacle(faring, strain.left) {
            None => return Start { step, reason, model: ModelState::Ready },
            some => reason = some,
        }
    }
    away(reason)
}

/// What keeps a model from this turn's answer.
fn obstacle(faring: Faring, left: Duration) -> Option<RungReason> {
    let too_late = left.is_zero() || faring.usual.is_some_and(|usual| usual > left);
    faring.obstacle.or(too_late.then_some(RungReason::Deadline))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::WorkerConfig;

    const HOLD: Duration = Duration::from_secs(5);

    fn ladder() -> Ladder {
        let plan = WorkerConfig::load(None, &[]).unwrap().plan;
        Ladder::new(&PlanConfig {
            lag_small_ms: 1_000,
            lag_extract_ms: 3_000,
            lag_approved_ms: 10_000,
            ladder_release: 0.5,
            ladder_hold_ms: HOLD.as_millis() as u64,
            ..plan
        })
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const WELL: Faring = Faring { obstacle: None, usual: None };

    const CALM: Strain =
        Strain { load: Step::Full, left: Duration::from_secs(20), full: Some(WELL), small: Some(WELL), tenant: None };

    #[track_caller]
    fn check(strain: Strain, step: Step, reason: Option<RungReason>) {
        let start = start(strain);
        assert_eq!((start.step, start.reason), (step, reason), "{strain:?}");
    }

    #[test]
    fn a_rush_is_met_at_once_and_left_rung_by_rung() {
        let (mut ladder, mut now) = (ladder(), Instant::now());
        let mut rush = |ladder: &mut Ladder, lag, turns, every: Duration| {
            (0..turns)
                .map(|_| {
                    now += every;
                    ladder.waited(ms(lag), now)
                })
                .last()
                .unwrap()
        };
        assert_eq!(rush(&mut ladder, 10, 50, ms(10)), Step::Full);
        assert_eq!(rush(&mut ladder, 20_000, 50, ms(10)), Step::Approved);
        assert_eq!(rush(&mut ladder, 0, 100, ms(10)), Step::Approved, "not yet");
        assert_eq!(rush(&mut ladder, 0, 55, ms(100)), Step::Extract);
        assert_eq!(rush(&mut ladder, 0, 50, ms(100)), Step::Small);
        assert_eq!(rush(&mut ladder, 0, 50, ms(100)), Step::Full);
    }

    #[test]
    fn after_a_quiet_night_the_first_customer_is_served_in_full() {
        let (mut ladder, now) = (ladder(), Instant::now());
        for _ in 0..50 {
            ladder.waited(ms(20_000), now);
        }
        assert_eq!(ladder.waited(ms(5), now + HOLD * 100), Step::Full);
    }

    #[test]
    fn one_that_lay_long_is_no_rush() {
        assert_eq!(ladder().waited(ms(7_000), Instant::now()), Step::Full);
    }

    #[test]
    fn each_obstacle_leads_to_its_rung() {
        let open = Some(Faring { obstacle: Some(RungReason::Breaker), ..WELL });
        let slow = Some(Faring { usual: Some(Duration::from_secs(25)), ..WELL });
        check(CALM, Step::Full, None);
        check(Strain { full: open, ..CALM }, Step::Small, Some(RungReason::Breaker));
        check(Strain { full: slow, ..CALM }, Step::Small, Some(RungReason::Deadline));
        check(Strain { full: open, small: open, ..CALM }, Step::Extract, Some(RungReason::Breaker));
        check(Strain { load: Step::Small, ..CALM }, Step::Small, Some(RungReason::Lag));
        check(Strain { load: Step::Small, small: None, ..CALM }, Step::Full, None);
        check(Strain { load: Step::Extract, ..CALM }, Step::Extract, Some(RungReason::Lag));
        check(Strain { load: Step::Approved, ..CALM }, Step::Approved, Some(RungReason::Lag));
        check(Strain { tenant: Some(RungReason::Budget), ..CALM }, Step::Extract, Some(RungReason::Budget));
        let without = Strain { full: None, small: None, ..CALM };
        check(without, Step::Extract, None);
        check(Strain { load: Step::Approved, ..without }, Step::Approved, Some(RungReason::Lag));
    }

    #[test]
    fn the_usual_time_is_that_of_nine_in_ten_and_is_forgotten() {
        let (mut usual, now) = (Usual::default(), Instant::now());
        for took in 1..=3 {
            usual.took(ms(took * 100), now);
        }
        assert_eq!(usual.time(now), None, "three say little");
        for took in 4..=10 {
            usual.took(ms(took * 100), now);
        }
        assert_eq!(usual.time(now), Some(ms(900)));
        assert_eq!(usual.time(now + TIME_AGE_MAX), None);
    }

    fn faring() -> impl Strategy<Value = Option<Faring>> {
        let obstacle = prop_oneof![Just(None), Just(Some(RungReason::Breaker)), Just(Some(RungReason::Busy))];
        let usual = prop::option::of((0u64..40_000).prop_map(ms));
        prop::option::of((obstacle, usual).prop_map(|(obstacle, usual)| Faring { obstacle, usual }))
    }

    proptest! {
        #[test]
        fn more_lag_never_gives_a_higher_rung(
            turns in prop::collection::vec((0u64..3_000, 0u64..20_000, 0u64..20_000), 1..200),
            (full, small) in (faring(), faring()),
        ) {
            let (mut less, mut more, mut now) = (ladder(), ladder(), Instant::now());
            for (wait_ms, lag_ms, extra_ms) in turns {
                now += ms(wait_ms);
                let steps = [less.waited(ms(lag_ms), now), more.waited(ms(lag_ms + extra_ms), now)];
                prop_assert!(steps[0] <= steps[1], "{steps:?}");
                let starts = steps.map(|load| start(Strain { load, full, small, ..CALM }).step);
                prop_assert!(starts[0] <= starts[1], "{starts:?}");
            }
        }

        #[test]
        fn it_never_flaps(turns in prop::collection::vec((0u64..1_000, 0u64..20_000), 1..400)) {
            let (mut ladder, mut now, mut before) = (ladder(), Instant::now(), Step::Full);
            let mut changed_at: Option<Instant> = None;
            for (wait_ms, lag_ms) in turns {
                now += ms(wait_ms);
                let step = ladder.waited(ms(lag_ms), now);
                if step < before {
                    // A better rung comes no sooner than the hold time after the last change of any kind.
                    prop_assert!(changed_at.is_none_or(|at| now - at >= HOLD));
                }
                if step != before {
                    changed_at = Some(now);
                }
                before = step;
            }
        }

        #[test]
        fn a_deadline_that_a_model_cannot_meet_never_starts_it(
            (full, small) in (faring(), faring()),
            left_ms in 0u64..40_000,
            load in 0usize..4,
        ) {
            let strain = Strain { load: Step::ALL[load], left: ms(left_ms), full, small, tenant: None };
            let chosen = match start(strain).step {
                Step::Full => full,
                Step::Small => small,
                Step::Extract | Step::Approved => return Ok(()),
            };
            prop_assert!(chosen.is_some_and(|faring| faring.obstacle.is_none()));
            prop_assert!(chosen.and_then(|faring| faring.usual).is_none_or(|usual| usual <= ms(left_ms)));
        }
    }
}
