//! What stands before everything outside that is called: its breaker, its budget of retries, and what is counted of both.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use talkfleet_shared::{
    clock,
    metrics::{Metrics, Target},
};

use crate::{
    breaker::{Breaker, Pass, State},
    config::RetriesConfig,
    retries::RetryBudget,
};

/// After how many failures in a row a target is left alone, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub failures_max: u32,
    pub open_ms: u64,
}

/// One target's guard; clones guard the same.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    target: &'static str,
    state: Mutex<(Breaker, RetryBudget)>,
    metrics: Arc<Metrics>,
}

/// Leave for one call. Dropped without a word it says nothing of the target: the caller went away.
pub struct Leave {
    guard: Guard,
    pass: Option<Pass>,
    is_probe: bool,
}

impl Guard {
    pub fn new(target: &'static str, patience: Patience, retries: RetriesConfig, metrics: Arc<Metrics>) -> Self {
        let breaker = Breaker::new(patience.failures_max, Duration::from_millis(patience.open_ms));
        let budget = RetryBudget::new(retries, clock::now());
        let guard = Self(Arc::new(Inner { target, state: Mutex::new((breaker, budget)), metrics }));
        guard.show(State::Closed);
        guard
    }

    /// Whether a call would be let through now.
    pub fn lets_in(&self) -> bool {
        self.opens_in().is_zero()
    }

    /// How long calls are refused from now on, at most.
    pub fn opens_in(&self) -> Duration {
        self.lock().0.opens_in(clock::now())
    }

    /// Leave to call, unless the target failed too often a moment ago.
    pub fn enter(&self) -> Option<Leave> {
        let now = clock::now();
        let (pass, state) = {
            let (breaker, budget) = &mut *self.lock();
            let pass = breaker.enter(now);
            if pass.is_some() {
                budget.called(now);
            }
            (pass, breaker.state())
        };
        self.show(state);
        if pass.is_none() {
            self.0.metrics.breaker_refusals.get_or_create(&self.target()).inc();
        }
        pass.map(|pass| Leave { guard: self.clone(), pass: Some(pass), is_probe: pass.is_probe })
    }

    /// Whether a call may be repeated, hedged, or made once more elsewhere; what is granted is spent.
    pub fn may_retry(&self) -> bool {
        let may = self.lock().1.retry(clock::now());
        let Metrics { retries, retries_refused, .. } = &*self.0.metrics;
        if may { retries } else { retries_refused }.get_or_create(&self.target()).inc();
        may
    }

    fn report(&self, report: impl FnOnce(&mut Breaker)) {
        let state = {
            let breaker = &mut self.lock().0;
            report(breaker);
            breaker.state()
        };
        self.show(state);
    }

    fn show(&self, state: State) {
        let shown = match state {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        };
        self.0.metrics.breaker_state.get_or_create(&self.target()).set(shown);
    }

    fn target(&self) -> Target {
        Target { target: self.0.target }
    }

    fn lock(&self) -> MutexGuard<'_, (Breaker, RetryBudget)> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave {
    /// Whether this is the one call that tries whether the target is back.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    pub fn succeeded(mut self) {
        if let Some(pass) = self.pass.take() {
            self.guard.report(|breaker| breaker.succeeded(pass));
        }
    }

    pub fn failed(mut self) {
        let Some(pass) = self.pass.take() else { return };
        let guard = &self.guard;
        guard.report(|breaker| {
            if breaker.failed(pass, clock::now()) {
                guard.0.metrics.breaker_trips.get_or_create(&guard.target()).inc();
            }
        });
    }

    /// Reports what came of the call.
    pub fn report<T, E>(self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.succeeded(),
            Err(_) => self.failed(),
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.guard.report(|breaker| breaker.left(pass, clock::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guard_does_is_counted_by_its_target() {
        let metrics = Metrics::new("worker");
        let limits = RetriesConfig { share: 0.0, per_s_min: 0.0, saved_max: 1.0 };
        let guard = Guard::new("redis", Patience { failures_max: 1, open_ms: 60_000 }, limits, metrics.clone());
        guard.enter().unwrap().failed();
        assert!(guard.enter().is_none() && !guard.lets_in());
        assert!(guard.may_retry() && !guard.may_retry());
        let text = metrics.text();
        for line in [
            "talkfleet_breaker_state{target=\"redis\"} 2",
            "talkfleet_breaker_trips_total{target=\"redis\"} 1",
            "talkfleet_breaker_refusals_total{target=\"redis\"} 1",
            "talkfleet_retries_total{target=\"redis\"} 1",
            "talkfleet_retries_refused_total{target=\"redis\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn a_call_that_was_left_says_nothing() {
        let limits = RetriesConfig { share: 0.1, per_s_min: 0.0, saved_max: 1.0 };
        let patience = Patience { failures_max: 1, open_ms: 60_000 };
        let guard = Guard::new("redis", patience, limits, Metrics::new("worker"));
        drop(guard.enter());
        assert!(guard.lets_in());
    }
}
