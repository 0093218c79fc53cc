//! How much of the queue this worker takes: permits, as many as its own work bears.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use talkfleet_shared::{
    bus::Seat,
    clock,
    metrics::{self, Metrics},
};
use tokio::sync::Semaphore;

use crate::{
    config::{BackendName, Role, WorkerConfig},
    tune::Tuner,
};

/// The permits that asks are taken under.
pub struct Intake {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    running: AtomicUsize,
    metrics: Arc<Metrics>,
}

struct State {
    /// None when this process's own work is not what a turn waits for.
    tuner: Option<Tuner>,
    /// Permits in service, free or not.
    given: usize,
}

impl Intake {
    pub fn new(config: &WorkerConfig, metrics: Arc<Metrics>) -> Self {
        let max = config.roles.concurrency(Role::Response);
        let slack = Duration::from_millis(config.roles.response_slack_ms);
        let tuner = own_work(config).then(|| Tuner::new(config.roles.response_concurrency_min, max, slack));
        let state = Mutex::new(State { tuner, given: max });
        let intake = Self { permits: Arc::new(Semaphore::new(max)), state, running: AtomicUsize::new(0), metrics };
        intake.show(max);
        intake
    }

    pub fn permits(&self) -> Arc<Semaphore> {
        self.permits.clone()
    }

    /// A turn was taken from the queue.
    pub fn began(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// A turn is over; its permit goes out of service when there are more than this worker bears.
    pub fn ended(&self, seat: &Seat) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.lock();
        let limit = state.tuner.as_ref().map_or(state.given, Tuner::limit);
        if state.given > limit && seat.close() {
            state.given -= 1;
            self.show(state.given);
        }
    }

    /// A turn's recognising and searching took so long here.
    pub fn worked(&self, took: Duration) {
        let running = self.running.load(Ordering::Relaxed);
        let mut state = self.lock();
        let Some(limit) = state.tuner.as_mut().map(|tuner| tuner.worked(took, running, clock::now())) else { return };
        if limit > state.given {
            self.permits.add_permits(limit - state.given);
            state.given = limit;
            self.show(limit);
        }
    }

    /// Whether a turn that lay on the queue would most likely be over before its work is done.
    pub fn is_too_late(&self, left: Duration) -> bool {
        self.lock().tuner.as_ref().is_some_and(|tuner| tuner.is_too_late(left))
    }

    fn show(&self, permits: usize) {
        self.metrics.permits.get_or_create(&metrics::Role { role: Role::Response.name() }).set(permits as i64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether recognising and searching are this process's own work, which more turns at once make slower.
fn own_work(config: &WorkerConfig) -> bool {
    config.plays(Role::Intent) || searches_itself(config)
}

/// Whether searches cost this process's cores, and not somebody else's.
pub fn searches_itself(config: &WorkerConfig) -> bool {
    config.plays(Role::Retrieval) && config.retrieval.backend == BackendName::Memory
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[(&str, &str)]) -> WorkerConfig {
        let flags: Vec<_> = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        WorkerConfig::load(None, &flags).unwrap()
    }

    /// Turns one after the other that took so long, a second apart in the tuner's eyes.
    async fn turns(intake: &Intake, count: usize, took_ms: u64) {
        for _ in 0..count {
            intake.began();
            tokio::time::advance(Duration::from_secs(1)).await;
            intake.worked(Duration::from_millis(took_ms));
            let permit = intake.permits().try_acquire_owned().unwrap();
            intake.ended(&Seat::new(permit));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn permits_go_out_of_service_one_by_one_and_come_back() {
        let config = config(&[("roles.response_concurrency", "16"), ("roles.response_concurrency_min", "2")]);
        let intake = Intake::new(&config, Metrics::new("worker"));
        turns(&intake, 14, 5).await;
        assert_eq!(intake.permits.available_permits(), 2, "it begins with few");
        (0..2).for_each(|_| intake.began());
        turns(&intake, 8, 5).await;
        assert_eq!(intake.permits.available_permits(), 4, "all were in use and none was slow");
        turns(&intake, 40, 900).await;
        assert_eq!(intake.permits.available_permits(), 2, "slow");
        assert!(intake.is_too_late(Duration::from_millis(50)));
    }

    #[test]
    fn who_only_waits_for_others_is_not_tuned() {
        let intake = Intake::new(&config(&[("roles.enabled", "[\"response\"]")]), Metrics::new("worker"));
        assert!(intake.lock().tuner.is_none() && !intake.is_too_late(Duration::ZERO));
        assert_eq!(intake.permits.available_permits(), 64);
    }
}
