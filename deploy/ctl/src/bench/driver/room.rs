//! Connections that wait for a message, and messages that wait for a connection.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::{Notify, Semaphore};

use super::{
    Order,
    face::Asker,
    lane::{Answer, Broken, Lane},
};
use crate::bench::{
    tally::{Ended, Tally, Verdict},
    traffic::{Customers, Message},
};

/// Connections that are being opened at once: a listener's backlog holds some hundred.
const OPENING_MAX: usize = 64;

/// How long a connection rests after a failure when nothing else paces it.
const REST: Duration = Duration::from_millis(10);

/// A message that is to be sent.
#[derive(Clone, Copy)]
struct Job {
    message: Message,
    due: Instant,
    /// Ends of an earlier run count no more.
    run: u64,
}

/// Where a connection waits for its next message.
#[derive(Default)]
struct Slot {
    job: Cell<Option<Job>>,
    filled: Notify,
}

/// Everything of one sender; one thread, so nothing is locked.
pub(super) struct Room {
    asker: Asker,
    addresses: Vec<SocketAddr>,
    connections_max: usize,
    in_turn: bool,
    deadline_us: u64,
    customers: RefCell<Customers>,
    rng: RefCell<StdRng>,
    tally: RefCell<Tally>,
    began: Cell<Instant>,
    ends: Cell<Instant>,
    run: Cell<u64>,
    go_on_until: Cell<Option<Instant>>,
    under_way: Cell<usize>,
    waiting: RefCell<VecDeque<Job>>,
    idle: RefCell<VecDeque<Rc<Slot>>>,
    lanes: Cell<usize>,
}

impl Room {
    pub(super) fn new(order: &Order) -> Self {
        let Order { asker, addresses, manners, place, of, .. } = order.clone();
        Self {
            asker,
            addresses,
            connections_max: order.connections_max.max(1),
            in_turn: order.holds_connections,
            deadline_us: order.deadline_ms * 1_000,
            customers: RefCell::new(Customers::new(manners, place, of)),
            rng: RefCell::new(StdRng::seed_from_u64(order.seed ^ place as u64)),
            tally: RefCell::default(),
            began: Cell::new(Instant::now()),
            ends: Cell::new(Instant::now()),
            run: Cell::new(0),
            go_on_until: Cell::new(None),
            under_way: Cell::new(0),
            waiting: RefCell::default(),
            idle: RefCell::default(),
            lanes: Cell::new(0),
        }
    }

    /// Opens so many connections; those that fail are tried again with their first message.
    pub(super) async fn open(self: &Rc<Self>, connections: usize) {
        let opening = Rc::new(Semaphore::new(OPENING_MAX));
        let opened = (0..connections).map(|_| {
            let (room, opening) = (self.clone(), opening.clone());
            let number = room.lanes.get();
            room.lanes.set(number + 1);
            async move {
                let permit = opening.acquire().await;
                let lane = room.connect(number).await.ok();
                drop(permit);
                tokio::task::spawn_local(run_lane(room, number, lane, None));
            }
        });
        futures::future::join_all(opened).await;
    }

    pub(super) fn begin(&self, began: Instant, lasts: Duration, window_s: f64) {
        self.began.set(began);
        self.ends.set(began + lasts);
        self.run.set(self.run.get() + 1);
        self.under_way.set(0);
        self.go_on_until.set(None);
        self.waiting.borrow_mut().clear();
        self.tally.replace(Tally::new(window_s));
    }

    pub(super) fn end(&self, lasted: Duration) -> Tally {
        let mut tally = self.tally.take();
        tally.connections = self.lanes.get() as u64;
        tally.close(lasted.as_secs_f64());
        self.run.set(self.run.get() + 1);
        tally
    }

    pub(super) fn go_on_until(&self, until: Instant) {
        self.go_on_until.set(Some(until));
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.under_way.get() > 0
    }

    /// Sends a message that is due on a connection that waits, a new one, or the next that is free.
    pub(super) fn issue(self: &Rc<Self>, due: Instant) {
        let job = self.job(due);
        let idle = match self.in_turn {
            true => self.idle.borrow_mut().pop_front(),
            // The one that was used last is the warmest.
            false => self.idle.borrow_mut().pop_back(),
        };
        if let Some(slot) = idle {
            slot.job.set(Some(job));
            slot.filled.notify_one();
        } else if self.lanes.get() < self.connections_max {
            let number = self.lanes.get();
            self.lanes.set(number + 1);
            tokio::task::spawn_local(run_lane(self.clone(), number, None, Some(job)));
        } else {
            self.waiting.borrow_mut().push_back(job);
        }
    }

    fn job(&self, due: Instant) -> Job {
        let message = self.customers.borrow_mut().next(self.us_since_beginning(due), &mut *self.rng.borrow_mut());
        let window = self.window(due);
        self.tally.borrow_mut().issued(window);
        self.under_way.set(self.under_way.get() + 1);
        Job { message, due, run: self.run.get() }
    }

    fn ended(&self, job: Job, answer: Answer) {
        if job.run != self.run.get() {
            return;
        }
        self.under_way.set(self.under_way.get().saturating_sub(1));
        let now = Instant::now();
        let since = |at: Instant| at.saturating_duration_since(job.due).as_micros() as u64;
        if answer.verdict == Verdict::Answered {
            let now_us = self.us_since_beginning(now);
            self.customers.borrow_mut().answered(job.message, now_us, &mut *self.rng.borrow_mut());
        }
        let ended = Ended {
            verdict: answer.verdict,
            took_us: since(now),
            first_frame_us: answer.first_frame.map(since),
            first_text_us: answer.first_text.map(since),
            window: self.window(now),
            is_within: now <= self.ends.get(),
        };
        self.tally.borrow_mut().ended(ended, self.deadline_us);
    }

    fn us_since_beginning(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.began.get()).as_micros() as u64
    }

    fn window(&self, at: Instant) -> usize {
        let window_s = self.tally.borrow().window_s.max(0.001);
        (at.saturating_duration_since(self.began.get()).as_secs_f64() / window_s) as usize
    }

    async fn connect(&self, number: usize) -> Result<Lane, Broken> {
        let address = self.addresses.get(number % self.addresses.len().max(1));
        let address = address.ok_or(Broken::Unreachable(std::io::ErrorKind::NotFound))?;
        let inbox = format!("_INBOX.{}.{}.{number}", self.asker.run, std::process::id());
        Lane::open(&self.asker, *address, inbox).await
    }

    /// A message on a connection, which is opened when there is none, and once more when it turns out to be gone.
    async fn ask(&self, lane: &mut Option<Lane>, number: usize, message: Message) -> Result<Answer, Broken> {
        let text = self.customers.borrow().text(message).to_owned();
        // One that rested may have been closed meanwhile, as a server does with those that rest for long.
        let has_rested = lane.is_some();
        let own = match lane {
            Some(own) => own,
            None => lane.insert(self.connect(number).await?),
        };
        match own.ask(&self.asker, message, &text).await {
            Err(Broken::Silent(_)) if has_rested => {
                self.tally.borrow_mut().reconnects += 1;
                *own = self.connect(number).await?;
                own.ask(&self.asker, message, &text).await
            }
            asked => asked,
        }
    }

    /// The message that a connection goes on with at once.
    fn next_job(&self) -> Option<Job> {
        let now = Instant::now();
        if self.go_on_until.get().is_some_and(|until| now < until) {
            return Some(self.job(now));
        }
        self.waiting.borrow_mut().pop_front()
    }
}

/// A connection's life: a message, its answer, the next.
async fn run_lane(room: Rc<Room>, number: usize, mut lane: Option<Lane>, mut next: Option<Job>) {
    let slot = Rc::new(Slot::default());
    // Messages may have come since it was opened.
    next = next.or_else(|| room.waiting.borrow_mut().pop_front());
    loop {
        let job = match next.take() {
            Some(job) => job,
            None => {
                room.idle.borrow_mut().push_back(slot.clone());
                slot.filled.notified().await;
                let Some(job) = slot.job.take() else { continue };
                job
            }
        };
        if job.run == room.run.get() {
            room.tally.borrow_mut().send_lag.record(job.due.elapsed().as_micros() as u64);
        }
        let answer = room.ask(&mut lane, number, job.message).await.unwrap_or_else(|broken| {
            lane = None;
            let verdict = Verdict::Failed(broken.to_string());
            Answer { verdict, first_frame: None, first_text: None, is_reusable: false }
        });
        if !answer.is_reusable {
            lane = None;
        }
        let rests = matches!(answer.verdict, Verdict::Failed(_)) && room.go_on_until.get().is_some();
        room.ended(job, answer);
        if rests {
            tokio::time::sleep(REST).await;
        }
        next = room.next_job();
    }
}
