//! The gate of one delivery class: a request enters at once, after a short wait in line, or hears 503 before anything is published.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use talkfleet_shared::{
    chance,
    chat::{DeliveryClass, Frame, FrameBody, Problem},
    clock,
    error::Code,
    id::TenantId,
    lifecycle::Shutdown,
    metrics::{self, Counter, Gauge, Metrics, Reason},
};
use tokio::sync::oneshot;

use super::{
    concurrency::{Bounds, Concurrency},
    cpu::CpuClock,
    queue::{Lane, Queue},
    shed::{self, Backlog, CpuRelief, Pressure},
};
use crate::config::AdmissionConfig;

/// A line that did not empty for so many dwell times is no burst: nobody gains by waiting in it.
const STANDING: u32 = 2;

/// What is left of the dwell time then, as a divisor: whoever is refused hears so at once (controlled delay, as in 'Fail at
/// Scale').
const STANDING_DWELL: u32 = 2;

/// How often it is looked at how much of its CPU the process uses.
const CPU_LOOK_EVERY: Duration = Duration::from_millis(500);

/// The gates of a process, one for each delivery class: a slow class does not narrow a fast one.
pub struct Gates([Arc<Gate>; DeliveryClass::ALL.len()]);

/// One class's room and who waits for it.
pub struct Gate {
    dwell: Duration,
    metrics: Arc<Metrics>,
    gauges: Gauges,
    /// Held for a few hundred nanoseconds at a time.
    state: Mutex<State>,
}

struct State {
    concurrency: Concurrency,
    in_flight: usize,
    line: Queue<TenantId, oneshot::Sender<Permit>>,
    /// Since when somebody waits in it.
    line_since: Instant,
    backlog: Backlog,
    relief: CpuRelief,
    pressure: Pressure,
}

/// What is noted for each request, looked up once.
struct Gauges {
    in_flight: Gauge,
    limit: Gauge,
    admitted: [Counter; Lane::ALL.len()],
    in_line: [Gauge; Lane::ALL.len()],
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shed {
    /// It would hear its first word too late for its deadline.
    Wait,
    /// This process has no time for it.
    Cpu,
    /// The line was full, or its time in line is over.
    Dwell,
}

/// Room for one request, until its last frame or until nobody waits for it.
pub struct Permit {
    gate: Arc<Gate>,
    progress: Progress,
}

enum Progress {
    Entered,
    /// The fleet has it.
    Accepted {
        number: u64,
        at: Instant,
    },
    Spoke {
        at: Instant,
    },
}

impl Gates {
    pub fn new(config: &AdmissionConfig, in_flight_max: usize, metrics: &Arc<Metrics>) -> Self {
        Self(DeliveryClass::ALL.map(|class| Arc::new(Gate::new(class, config, in_flight_max, metrics.clone()))))
    }

    pub fn of(&self, class: DeliveryClass) -> &Arc<Gate> {
        &self.0[class as usize]
    }

    /// Looks at the process's CPU until the end; returns at once where nobody wants to know.
    pub(crate) async fn watch_cpu(&self, cpu_percent_max: u32, until: &Shutdown) {
        let Some(mut clock) = CpuClock::start().filter(|_| cpu_percent_max > 0) else { return };
        let max = f64::from(cpu_percent_max) / 100.0;
        while !until.is_asked() {
            tokio::select! {
                () = until.asked() => return,
                () = tokio::time::sleep(CPU_LOOK_EVERY) => {}
            }
            let Some(used) = clock.look() else { return };
            self.0.iter().for_each(|gate| gate.lock().relief.looked(used, max));
        }
    }
}

impl Gate {
    fn new(class: DeliveryClass, config: &AdmissionConfig, in_flight_max: usize, metrics: Arc<Metrics>) -> Self {
        let dwell = Duration::from_millis(config.dwell_ms);
        let bounds = Bounds {
            start: config.concurrency_start,
            min: config.concurrency_min.min(in_flight_max),
            max: in_flight_max,
            wait_target: Duration::from_millis(config.wait_target_ms),
            round: Duration::from_millis(config.round_ms),
        };
        let state = State {
            concurrency: Concurrency::new(bounds),
            in_flight: 0,
            line: Queue::new(config.line_max, dwell),
            line_since: clock::now(),
            backlog: Backlog::default(),
            relief: CpuRelief::default(),
            pressure: Pressure::default(),
        };
        let gauges = Gauges::of(class, &metrics);
        Self { dwell, metrics, gauges, state: Mutex::new(state) }
    }

    /// Room for one more, or 503 and when to come back.
    pub async fn enter(self: &Arc<Self>, tenant: &TenantId, lane: Lane, budget: Duration) -> Result<Permit, Problem> {
        let came = clock::now();
        let (turn, dwell) = {
            let mut state = self.lock();
            if let Some(why) = state.shed(lane, budget, came) {
                return Err(self.refuse(&mut state, why, came));
            }
            if state.in_flight < state.concurrency.limit() && state.line.is_empty() {
                return Ok(self.admit(&mut state, lane));
            }
            let (ticket, turn) = oneshot::channel();
            let dwell = state.dwell(self.dwell, came);
            drop(state.line.push(tenant.clone(), lane, ticket, came));
            self.note_line(&state, lane);
            (turn, dwell)
        };
        // Whoever is dropped from the line hears of it by the end of their ticket.
        let entered = tokio::time::timeout(dwell, turn).await.ok().and_then(Result::ok);
        self.metrics.dwell.observe(clock::since(came).as_secs_f64());
        entered.ok_or_else(|| {
            let (mut state, now) = (self.lock(), clock::now());
            drop(state.line.expire(now));
            self.note_line(&state, lane);
            self.refuse(&mut state, Shed::Dwell, now)
        })
    }

    /// The broker has taken a request within this time.
    pub(crate) fn published(&self, took: Duration) {
        self.lock().concurrency.published(took);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(self: &Arc<Self>, state: &mut State, lane: Lane) -> Permit {
        state.in_flight += 1;
        state.concurrency.entered(state.in_flight);
        state.pressure.note(false);
        self.gauges.admitted[lane as usize].inc();
        self.note_room(state);
        Permit { gate: self.clone(), progress: Progress::Entered }
    }

    fn refuse(&self, state: &mut State, why: Shed, now: Instant) -> Problem {
        state.pressure.note(true);
        self.metrics.shed.get_or_create(&Reason { reason: why.word() }).inc();
        let wait_ms = state.pressure.retry_after(state.backlog.expected_wait(now)).as_millis() as u64;
        let told = Problem::because(Code::Overloaded, why.sentence());
        told.retry_after_ms(chance::between(wait_ms / 2, wait_ms + wait_ms / 2))
    }

    /// Lets in who waits, while there is room.
    fn admit_waiting(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            if state.in_flight >= state.concurrency.limit() {
                return;
            }
            let next = state.line.pop(clock::now(), |ticket| !ticket.is_closed());
            let Some((ticket, lane, _)) = next else { return };
            let permit = self.admit(&mut state, lane);
            self.note_line(&state, lane);
            drop(state);
            // Whoever left this very moment gives it back, and the next one is let in.
            let _ = ticket.send(permit);
        }
    }

    fn note_room(&self, state: &State) {
        self.gauges.in_flight.set(state.in_flight as i64);
        self.gauges.limit.set(state.concurrency.limit() as i64);
    }

    fn note_line(&self, state: &State, lane: Lane) {
        self.gauges.in_line[lane as usize].set(state.line.len(lane) as i64);
    }
}

impl Gauges {
    fn of(class: DeliveryClass, metrics: &Metrics) -> Self {
        let class = metrics::Class { class: class.name() };
        let lane = |lane: Lane| metrics::Lane { lane: lane.word() };
        Self {
            in_flight: metrics.in_flight.get_or_create(&class).clone(),
            limit: metrics.concurrency_limit.get_or_create(&class).clone(),
            admitted: Lane::ALL.map(|word| metrics.admitted.get_or_create(&lane(word)).clone()),
            in_line: Lane::ALL.map(|word| metrics.in_line.get_or_create(&lane(word)).clone()),
        }
    }
}

impl State {
    /// How long whoever comes now may wait in line.
    fn dwell(&mut self, dwell: Duration, now: Instant) -> Duration {
        if self.line.is_empty() {
            self.line_since = now;
        }
        let stands = now.saturating_duration_since(self.line_since) >= dwell * STANDING;
        if stands { dwell / STANDING_DWELL } else { dwell }
    }

    fn shed(&self, lane: Lane, budget: Duration, now: Instant) -> Option<Shed> {
        if shed::is_hopeless(self.backlog.expected_wait(now), budget) {
            return Some(Shed::Wait);
        }
        let is_busy = self.relief.is_needed() && self.relief.sheds(lane == Lane::Batch, chance::between(0.0, 1.0));
        is_busy.then_some(Shed::Cpu)
    }
}

impl Shed {
    /// The word for metrics.
    fn word(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Cpu => "cpu",
            Self::Dwell => "dwell",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Wait => "The answer would come too late for this deadline; try again as Retry-After says.",
            Self::Cpu => "This server has no time left; try again as Retry-After says.",
            Self::Dwell => "The desk is as busy as it can be; try again as Retry-After says.",
        }
    }
}

impl Permit {
    /// The fleet has taken the request.
    pub fn accepted(&mut self) {
        let at = clock::now();
        let number = self.gate.lock().backlog.accepted(at);
        self.progress = Progress::Accepted { number, at };
    }

    /// Something was said about it; whether that was the last word.
    pub fn hear(&mut self, frame: &Frame) -> bool {
        if matches!(frame.body, FrameBody::Accepted { .. }) {
            return false;
        }
        let is_last = frame.body.is_last();
        match self.progress {
            Progress::Accepted { number, at } => {
                let now = clock::now();
                let mut state = self.gate.lock();
                state.backlog.heard(number);
                let limit = state.concurrency.limit();
                let unheard = state.backlog.unheard();
                state.concurrency.spoke(at, now, unheard);
                if is_last {
                    state.concurrency.served(now, now);
                }
                let has_grown = state.concurrency.limit() > limit;
                self.gate.note_room(&state);
                drop(state);
                self.progress = Progress::Spoke { at: now };
                if has_grown {
                    self.gate.admit_waiting();
                }
            }
            Progress::Spoke { at } if is_last => self.gate.lock().concurrency.served(at, clock::now()),
            Progress::Spoke { .. } | Progress::Entered => {}
        }
        is_last
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.in_flight -= 1;
        if let Progress::Accepted { number, .. } = self.progress {
            state.backlog.left(number);
        }
        self.gate.note_room(&state);
        let is_awaited = !state.line.is_empty();
        drop(state);
        if is_awaited {
            self.gate.admit_waiting();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GatewayConfig;

    fn gates(pairs: &[(&str, usize)]) -> Gates {
        let flags: Vec<_> = pairs.iter().map(|(key, value)| (format!("admission.{key}"), value.to_string())).collect();
        let config = GatewayConfig::load(None, &flags).unwrap();
        Gates::new(&config.admission, config.turns.waiting_max, &Metrics::new("test"))
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    const BUDGET: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_waits_a_little_and_then_hears_when_to_come_back() {
        let gates = gates(&[("concurrency_start", 1), ("concurrency_min", 1), ("dwell_ms", 50)]);
        let gate = gates.of(DeliveryClass::Durable);
        let enter = |lane| async move { gate.enter(&tenant("demo"), lane, BUDGET).await };
        let first = enter(Lane::Interactive).await.ok().unwrap();
        let began = clock::now();
        let refused = enter(Lane::Interactive).await.err().unwrap();
        assert_eq!((refused.code, clock::since(began)), (Code::Overloaded, gate.dwell));
        assert!(refused.retry_after_ms.is_some_and(|ms| ms >= 500));
        assert!(
            gates.of(DeliveryClass::Fast).enter(&tenant("demo"), Lane::Batch, BUDGET).await.is_ok(),
            "another class"
        );
        let (batch, interactive, ()) = tokio::join!(enter(Lane::Batch), enter(Lane::Interactive), async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(first);
        });
        assert!(interactive.is_ok() && batch.is_err(), "whom somebody waits for goes first");
        drop(interactive);
        assert!(enter(Lane::Batch).await.is_ok(), "all of the room is back");
        assert_eq!(gate.lock().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn under_a_lasting_overload_the_refused_hear_at_once() {
        let gates = gates(&[("concurrency_start", 1), ("concurrency_min", 1)]);
        let gate = gates.of(DeliveryClass::Durable);
        let _first = gate.enter(&tenant("demo"), Lane::Interactive, BUDGET).await.ok().unwrap();
        let refused = (0..200).map(|n| async move {
            tokio::time::sleep(Duration::from_millis(n)).await;
            let began = clock::now();
            assert!(gate.enter(&tenant("demo"), Lane::Interactive, BUDGET).await.is_err());
            clock::since(began)
        });
        let took = futures::future::join_all(refused).await;
        assert!(took[..10].iter().all(|took| *took == gate.dwell));
        assert!(took[50..].iter().all(|took| *took <= gate.dwell / 2), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_in_line_or_afterwards_leaves_room() {
        let gates = gates(&[("concurrency_start", 1), ("concurrency_min", 1)]);
        let gate = gates.of(DeliveryClass::Durable);
        let mut first = gate.enter(&tenant("demo"), Lane::Interactive, BUDGET).await.ok().unwrap();
        first.accepted();
        let (name, hang_up) = (tenant("demo"), Duration::from_millis(5));
        let impatient = tokio::time::timeout(hang_up, gate.enter(&name, Lane::Interactive, BUDGET)).await;
        assert!(impatient.is_err());
        drop(first);
        assert!(gate.enter(&name, Lane::Interactive, BUDGET).await.is_ok());
        assert_eq!(gate.lock().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_does_not_move_lets_nobody_in() {
        let gates = gates(&[]);
        let gate = gates.of(DeliveryClass::Durable);
        let mut waiting = Vec::new();
        for _ in 0..10 {
            let mut permit = gate.enter(&tenant("demo"), Lane::Interactive, BUDGET).await.ok().unwrap();
            permit.accepted();
            waiting.push(permit);
        }
        tokio::time::sleep(BUDGET / 2 + Duration::from_secs(1)).await;
        let refused = gate.enter(&tenant("demo"), Lane::Interactive, BUDGET).await.err().unwrap();
        assert!(refused.message.contains("deadline") && refused.retry_after_ms >= Some(5_000), "{refused:?}");
        assert!(gate.enter(&tenant("demo"), Lane::Interactive, BUDGET * 2).await.is_ok(), "who has more time may");
        waiting.clear();
        assert!(gate.enter(&tenant("demo"), Lane::Interactive, BUDGET).await.is_ok());
    }
}
