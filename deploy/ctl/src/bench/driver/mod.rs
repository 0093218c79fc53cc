//! The load generator: one thread that sends when a message is due and never waits for an answer before it sends the next.

mod clock; // waiting to the microsecond

/// PURE: how each face is asked.
mod face;

/// PURE: HTTP/1.1 responses.
mod http1;

/// PURE: server-sent events.
mod events;

/// PURE: WebSocket frames.
mod ws;

/// PURE: the NATS client protocol.
mod nats;

/// PURE: what statuses and codes mean.
mod verdict;

mod lane; // one connection
mod room; // connections that wait, messages that wait for one

/// The process that drives: orders in, a tally out.
pub(super) mod client;

#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Result;
use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

pub(super) use self::face::{Asker, Face};
use self::{clock::Clock, room::Room};
use super::{schedule::Schedule, tally::Tally, traffic::Manners};

/// Messages that are sent in one go when they are overdue, before answers are looked at again.
const BURST_MAX: usize = 32;

/// Connections that are opened before the first message, unless all of them are held open.
const OPEN_FIRST: usize = 16;

/// What is driven.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Load {
    /// Sent when they are due.
    Open(Schedule),
    /// So many at once, each of which is followed by the next: how much the far side can do, not how it is for customers.
    Closed { at_once: usize, seconds: f64 },
}

/// One sender's share of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) asker: Asker,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) manners: Manners,
    pub(super) warm_up: Option<Load>,
    pub(super) load: Load,
    /// Of how many senders this is which.
    pub(super) place: usize,
    pub(super) of: usize,
    /// Connections at most.
    pub(super) connections_max: usize,
    /// Open all of them first, and use them in turn.
    pub(super) holds_connections: bool,
    /// When an answer comes too late.
    pub(super) deadline_ms: u64,
    /// How long after the last message answers are waited for.
    pub(super) grace_ms: u64,
    pub(super) window_s: f64,
    pub(super) seed: u64,
}

impl Load {
    pub(super) fn seconds(&self) -> f64 {
        match self {
            Self::Open(schedule) => schedule.seconds,
            Self::Closed { seconds, .. } => *seconds,
        }
    }
}

/// A sender with its open connections.
struct Driver {
    room: Rc<Room>,
    order: Order,
    clock: Clock,
}

impl Driver {
    /// Opens the connections that are there from the beginning.
    async fn open(order: Order) -> Result<Self> {
        let room = Rc::new(Room::new(&order));
        let first = if order.holds_connections { order.connections_max } else { OPEN_FIRST.min(order.connections_max) };
        room.open(first).await;
        Ok(Self { room, order, clock: Clock::new()? })
    }

    async fn drive(&self, load: Load, seed: u64) -> Result<Tally> {
        let began = Instant::now();
        self.room.begin(began, Duration::from_secs_f64(load.seconds()), self.order.window_s);
        match load {
            Load::Open(schedule) => {
                let rng = StdRng::seed_from_u64(seed ^ (self.order.place as u64) << 32);
                let mut at_once = 0;
                for at_s in schedule.arrivals(self.order.place, self.order.of, rng) {
                    let due = began + Duration::from_secs_f64(at_s);
                    at_once = if Instant::now() < due { 0 } else { at_once + 1 };
                    if at_once > BURST_MAX {
                        at_once = 0;
                        tokio::task::yield_now().await;
                    }
                    self.clock.until(due).await?;
                    self.room.issue(due);
                }
                self.clock.until(began + Duration::from_secs_f64(schedule.seconds)).await?;
            }
            Load::Closed { at_once, seconds } => {
                let until = began + Duration::from_secs_f64(seconds);
                self.room.go_on_until(until);
                let own = at_once / self.order.of + usize::from(self.order.place < at_once % self.order.of);
                (0..own).for_each(|_| self.room.issue(Instant::now()));
                self.clock.until(until).await?;
            }
        }
        let until = Instant::now() + Duration::from_millis(self.order.grace_ms);
        while self.room.is_waiting() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(self.room.end(began.elapsed()))
    }
}
