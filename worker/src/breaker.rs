//! PURE: a circuit breaker: after so many failures in a row something is left alone for a while, then tried by one call.

use std::time::{Duration, Instant};

#[derive(Debug, Clone)]
pub struct Breaker {
    failures_max: u32,
    open_for: Duration,
    phase: Phase,
    /// Counts the changes between closed and open, so that a call which began before one has no say after it.
    era: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// All is well, or was until this many failures ago.
    Closed { failures: u32 },
    /// Left alone until then.
    Open { until: Instant },
    /// One call is trying; should it never report back, another may from then on.
    HalfOpen { until: Instant },
}

/// What a breaker looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Closed,
    HalfOpen,
    Open,
}

/// Leave for one call, which reports with it how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    era: u64,
    /// Whether it is the one call that tries.
    pub is_probe: bool,
}

impl Breaker {
    pub fn new(failures_max: u32, open_for: Duration) -> Self {
        Self { failures_max, open_for, phase: Phase::Closed { failures: 0 }, era: 0 }
    }

    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::Open { .. } => State::Open,
        }
    }

    /// Whether a call would be let through.
    pub fn lets_in(&self, now: Instant) -> bool {
        self.opens_in(now).is_zero()
    }

    /// How long calls are refused from now on, at most.
    pub fn opens_in(&self, now: Instant) -> Duration {
        match self.phase {
            Phase::Closed { .. } => Duration::ZERO,
            Phase::Open { until } | Phase::HalfOpen { until } => until.saturating_duration_since(now),
        }
    }

    /// Lets a call through or not; after the pause it is one call that tries.
    pub fn enter(&mut self, now: Instant) -> Option<Pass> {
        if !self.lets_in(now) {
            return None;
        }
        let is_probe = !matches!(self.phase, Phase::Closed { .. });
        if is_probe {
            self.turn(Phase::HalfOpen { until: now + self.open_for });
        }
        Some(Pass { era: self.era, is_probe })
    }

    pub fn succeeded(&mut self, pass: Pass) {
        match self.phase {
            _ if pass.era != self.era => {}
            Phase::Closed { .. } => self.phase = Phase::Closed { failures: 0 },
            Phase::Open { .. } | Phase::HalfOpen { .. } => self.turn(Phase::Closed { failures: 0 }),
        }
    }

    /// Whether this failure was the last straw.
    pub fn failed(&mut self, pass: Pass, now: Instant) -> bool {
        match self.phase {
            _ if pass.era != self.era => false,
            Phase::Closed { failures } if failures + 1 < self.failures_max => {
                self.phase = Phase::Closed { failures: failures + 1 };
                false
            }
            _ => {
                self.turn(Phase::Open { until: now + self.open_for });
                true
            }
        }
    }

    /// Nobody waited for the call's end, which says nothing; when it was the one that tried, another may at once.
    pub fn left(&mut self, pass: Pass, now: Instant) {
        if pass.era == self.era && pass.is_probe {
            self.turn(Phase::Open { until: now });
        }
    }

    fn turn(&mut self, phase: Phase) {
        self.phase = phase;
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);
    const FAILURES_MAX: u32 = 3;

    #[test]
    fn it_opens_after_the_last_straw_and_is_closed_by_one_that_tried() {
        let start = Instant::now();
        let mut breaker = Breaker::new(2, PAUSE);
        let pass = breaker.enter(start).unwrap();
        assert!(!breaker.failed(pass, start));
        let pass = breaker.enter(start).unwrap();
        assert!(!pass.is_probe && breaker.failed(pass, start));
        assert!(breaker.enter(start).is_none());
        assert_eq!(breaker.opens_in(start), PAUSE);
        let later = start + PAUSE;
        let probe = breaker.enter(later).unwrap();
        assert!(probe.is_probe, "one may try");
        assert!(breaker.enter(later).is_none(), "but only one");
        breaker.succeeded(probe);
        assert!(breaker.enter(later).is_some_and(|pass| !pass.is_probe));
    }

    #[test]
    fn who_began_before_it_opened_has_no_say() {
        let start = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE);
        let passes = [(); 3].map(|()| breaker.enter(start).unwrap());
        assert!(breaker.failed(passes[0], start));
        breaker.succeeded(passes[1]);
        assert!(!breaker.failed(passes[2], start + PAUSE / 2), "the pause does not grow by who came too late");
        assert_eq!((breaker.state(), breaker.opens_in(start)), (State::Open, PAUSE));
    }

    #[test]
    fn a_probe_that_nobody_waited_for_makes_room_for_another() {
        let start = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE);
        let pass = breaker.enter(start).unwrap();
        breaker.failed(pass, start);
        let probe = breaker.enter(start + PAUSE).unwrap();
        breaker.left(probe, start + PAUSE);
        assert!(breaker.enter(start + PAUSE).is_some_and(|pass| pass.is_probe));
    }

    #[derive(Debug, Clone)]
    enum Act {
        Wait(u64),
        Enter,
        Succeed(usize),
        Fail(usize),
        Leave(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0u64..12_000).prop_map(Act::Wait),
            Just(Act::Enter),
            Just(Act::Enter),
            any::<usize>().prop_map(Act::Succeed),
            any::<usize>().prop_map(Act::Fail),
            any::<usize>().prop_map(Act::Leave),
        ]
    }

    /// From which state a breaker may go where.
    fn is_legal(from: State, to: State) -> bool {
        from == to
            || matches!(
                (from, to),
                (State::Closed, State::Open)
                    | (State::Open, State::HalfOpen)
                    | (State::HalfOpen, State::Closed | State::Open)
            )
    }

    proptest! {
        #[test]
        fn every_move_is_legal_and_half_open_lets_one_probe(acts in prop::collection::vec(act(), 1..200)) {
            let (mut now, mut breaker) = (Instant::now(), Breaker::new(FAILURES_MAX, PAUSE));
            let mut out: Vec<(Pass, Instant)> = Vec::new();
            for act in acts {
                let before = breaker.state();
                let taken = |out: &mut Vec<(Pass, Instant)>, n: usize| {
                    (!out.is_empty()).then(|| { let at = n % out.len(); out.swap_remove(at).0 })
                };
                match act {
                    Act::Wait(ms) => now += Duration::from_millis(ms),
                    Act::Enter => {
                        let let_in = breaker.lets_in(now);
                        let pass = breaker.enter(now);
                        prop_assert_eq!(pass.is_some(), let_in);
                        out.extend(pass.map(|pass| (pass, now)));
                    }
                    Act::Succeed(n) => if let Some(pass) = taken(&mut out, n) { breaker.succeeded(pass) },
                    Act::Fail(n) => if let Some(pass) = taken(&mut out, n) { breaker.failed(pass, now); },
                    Act::Leave(n) => if let Some(pass) = taken(&mut out, n) { breaker.left(pass, now) },
                }
                prop_assert!(is_legal(before, breaker.state()), "{before:?} to {:?}", breaker.state());
                let current = out.iter().filter(|(pass, at)| pass.is_probe && pass.era == breaker.era && *at + PAUSE > now);
                prop_assert!(current.count() <= 1);
            }
        }

        #[test]
        fn what_fails_without_end_is_called_once_a_pause(calls in prop::collection::vec(0u64..5_000, 1..200)) {
            let mut now = Instant::now();
            let (start, mut breaker, mut let_in) = (now, Breaker::new(FAILURES_MAX, PAUSE), 0);
            for wait_ms in calls {
                now += Duration::from_millis(wait_ms);
                if let Some(pass) = breaker.enter(now) {
                    let_in += 1;
                    breaker.failed(pass, now);
                }
            }
            prop_assert!(let_in <= u64::from(FAILURES_MAX) + (now - start).as_secs() / PAUSE.as_secs());
        }
    }
}
