//! Pulling from a durable consumer: never more than there are permits, rebuilt when a pull is lost or stalls.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::AckKind;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    Bus, BusError, Delivery, JOIN_FIRST, JOIN_LONGEST,
    wire::{self, Consumer},
};
use crate::{lifecycle::Shutdown, retry::Delays};

/// How long a pull stays open at the broker before it is renewed: what is lost of it when a broker dies costs as much.
const PULL_EXPIRES: Duration = Duration::from_secs(2);

/// A pull that has not ended this long after it should have was lost together with the broker that held it.
const PULL_GRACE: Duration = Duration::from_secs(1);

/// When nothing was delivered for this long, the broker is asked whether something waits; three of its heartbeats, say,
/// since clients of this kind are on record for stalls after a change of leaders.
const STALL_AFTER: Duration = Duration::from_secs(9);

/// What is waited before a pull is rebuilt: a broker that goes away closes pulls first.
const REBUILD_PAUSE: Duration = Duration::from_millis(250);

/// When nothing comes for this long, the open pull has brought everything that was on its way.
const HAND_BACK_LULL: Duration = Duration::from_millis(5);

/// Pulls messages as long as there are permits.
pub struct Deliveries {
    bus: Bus,
    consumer: Consumer,
    names: (&'static str, &'static str),
    permits: Arc<Semaphore>,
    batch: Option<Pull>,
    held: Vec<OwnedSemaphorePermit>,
    batch_max: usize,
    /// When something was last delivered, or the broker last said that nothing waits.
    alive_at: Instant,
    /// Whether health was told that nothing can be taken.
    is_down: bool,
}

/// A pull that is open at the broker.
struct Pull {
    messages: wire::Pull,
    over_at: Instant,
}

impl Bus {
    /// Starts taking messages from a durable consumer, at most as many at once as there are permits. As long as the
    /// broker lacks it, health says so; None when shutdown came first.
    pub async fn deliveries(
        &self,
        stream: &'static str,
        consumer: &'static str,
        permits: Arc<Semaphore>,
        until: &Shutdown,
    ) -> Option<Deliveries> {
        let mut delays = Delays::new(JOIN_FIRST, JOIN_LONGEST);
        while !until.is_asked() {
            match self.open(stream, consumer, permits.clone()).await {
                Ok(deliveries) => {
                    self.health.up(consumer);
                    return Some(deliveries);
                }
                Err(error) => {
                    self.health.down(consumer, error.to_string());
                    tracing::warn!(%error, consumer, "nothing can be taken; trying again");
                }
            }
            tokio::select! {
                biased;
                () = until.asked() => {}
                () = tokio::time::sleep(delays.next_delay()) => {}
            }
        }
        None
    }

    async fn open(
        &self,
        stream: &'static str,
        consumer: &'static str,
        permits: Arc<Semaphore>,
    ) -> Result<Deliveries, BusError> {
        let names = (stream, consumer);
        let consumer = self.wire.consumer(&self.lane.stream(stream), consumer).await?;
        // One pull asks for at most this much, so that a worker with many permits leaves something to the others.
        let batch_max = permits.available_permits().clamp(1, 256);
        let alive_at = Instant::now();
        let (bus, batch, held, is_down) = (self.clone(), None, Vec::new(), false);
        Ok(Deliveries { bus, consumer, names, permits, batch, held, batch_max, alive_at, is_down })
    }
}

impl Deliveries {
    /// The next message; None once shutdown was asked.
    pub async fn next(&mut self, shutdown: &Shutdown) -> Option<Delivery> {
        loop {
            tokio::select! {
                biased;
                () = shutdown.asked() => return None,
                delivery = self.pull() => if let Some(delivery) = delivery { return Some(delivery) },
            }
        }
    }

    /// One step: the next message of the open pull, or a new pull for as many as there are permits.
    async fn pull(&mut self) -> Option<Delivery> {
        if self.batch.is_none() {
            self.open().await?;
        }
        let pull = self.batch.as_mut()?;
        match tokio::time::timeout_at(pull.over_at, pull.messages.next()).await {
            Ok(Some(Ok(taken))) => {
                let permit = self.held.pop()?;
                if self.held.is_empty() {
                    self.batch = None;
                }
                self.alive_at = Instant::now();
                self.is_well();
                Some(Delivery::new(taken, self.bus.clone(), permit))
            }
            Ok(Some(Err(error))) => {
                tracing::warn!(%error, consumer = self.names.1, "a pull failed");
                self.rebuild().await;
                None
            }
            Ok(None) => {
                self.batch = None;
                self.held.clear();
                self.is_well();
                self.look_for_a_stall().await;
                None
            }
            Err(_) => {
                tracing::warn!(consumer = self.names.1, "a pull was lost with the broker that held it");
                self.rebuild().await;
                None
            }
        }
    }

    async fn open(&mut self) -> Option<()> {
        if self.held.is_empty() {
            self.held.push(self.permits.clone().acquire_owned().await.ok()?);
            while self.held.len() < self.batch_max {
                let Ok(permit) = self.permits.clone().try_acquire_owned() else { break };
                self.held.push(permit);
            }
        }
        match self.consumer.pull(self.held.len(), PULL_EXPIRES).await {
            Ok(messages) => self.batch = Some(Pull { messages, over_at: Instant::now() + PULL_EXPIRES + PULL_GRACE }),
            Err(error) => {
                tracing::warn!(%error, consumer = self.names.1, "a pull could not be opened");
                self.rebuild().await;
            }
        }
        Some(())
    }

    /// The watchdog: pulls end as they should and bring nothing; when something waits nevertheless, they are rebuilt.
    async fn look_for_a_stall(&mut self) {
        if self.alive_at.elapsed() < STALL_AFTER {
            return;
        }
        self.alive_at = Instant::now();
        let waiting = match self.consumer.waiting().await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::warn!(%error, consumer = self.names.1, "the broker cannot say whether something waits");
                self.rebuild().await;
                return;
            }
        };
        if waiting > 0 {
            tracing::warn!(waiting, consumer = self.names.1, "something waits and nothing comes; the pull is rebuilt");
            self.bus.metrics.pull_stalls.inc();
            self.rebuild().await;
        }
    }

    /// Lets go of everything, waits a little, since the broker may be away, and joins again. What an operator deleted
    /// comes back from the topology, when this process may do that.
    async fn rebuild(&mut self) {
        self.batch = None;
        self.held.clear();
        self.bus.metrics.pull_rebuilds.inc();
        tokio::time::sleep(REBUILD_PAUSE).await;
        let (stream, consumer) = self.names;
        let joined = match self.bus.wire.consumer(&self.bus.lane.stream(stream), consumer).await {
            Err(BusError::Missing(_)) => self.bus.restore(stream, Some(consumer)).await,
            joined => joined.map(Some),
        };
        match joined {
            Ok(Some(joined)) => self.consumer = joined,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, consumer, "nothing can be taken; trying again");
                self.bus.health.down(consumer, error.to_string());
                self.is_down = true;
            }
        }
    }

    /// A pull brought something, or ended as it should.
    fn is_well(&mut self) {
        if std::mem::take(&mut self.is_down) {
            self.bus.health.up(self.names.1);
        }
    }

    /// Hands back what the open pull had already brought; called after the last `next`.
    ///
    /// The pull is closed before anything is handed back: while it is open, the broker would deliver it here again, and
    /// each time would count as an attempt.
    pub async fn hand_back(mut self) {
        let Some(mut pull) = self.batch.take() else { return };
        let mut brought = Vec::new();
        while let Ok(Some(Ok(message))) = tokio::time::timeout(HAND_BACK_LULL, pull.messages.next()).await {
            brought.push(message);
        }
        drop(pull);
        let _ = self.bus.flush().await;
        for taken in brought {
            let _ = taken.ack(AckKind::Nak(None)).await;
        }
    }
}
