//! What a connection to the model hears and is given: subscriptions, pulls, and deliveries to be acknowledged.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{Message, jetstream::AckKind};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::{super::BusError, Link, State, Taking, latency, message, strikes};
use crate::clock;

/// A subscription; what is said arrives a little later, in order.
pub struct Ear {
    link: Link,
    number: u64,
    messages: mpsc::UnboundedReceiver<(Instant, Message)>,
}

/// A consumer as one connection knows it.
pub struct Puller {
    pub(super) link: Link,
    pub(super) name: Arc<str>,
}

/// An open pull.
pub struct Pull {
    link: Link,
    name: Arc<str>,
    left: usize,
    over_at: Instant,
}

/// A delivery.
pub struct Taken {
    pub(in super::super) message: Message,
    pub(in super::super) delivered: u32,
    pub(in super::super) stored_at: OffsetDateTime,
    link: Link,
    name: Arc<str>,
    sequence: u64,
}

impl Ear {
    pub(super) fn new(link: Link, number: u64, messages: mpsc::UnboundedReceiver<(Instant, Message)>) -> Self {
        Self { link, number, messages }
    }

    pub(in super::super) async fn next(&mut self) -> Option<Message> {
        let (at, message) = match self.messages.recv().await {
            Some(heard) => heard,
            None if self.link.is_killed() => std::future::pending().await,
            None => return None,
        };
        tokio::time::sleep_until(at.into()).await;
        self.link.alive().await;
        Some(message)
    }

    /// Hears no more from here on; what is under way still comes.
    pub(in super::super) fn close(&mut self) {
        self.link.model.lock().ears.retain(|ear| ear.number != self.number);
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.close();
    }
}

impl Puller {
    pub(in super::super) async fn pull(&self, messages_max: usize, expires: Duration) -> Result<Pull, BusError> {
        self.link.breathe().await;
        if !self.link.is_connected() {
            return Err(BusError::Away);
        }
        Ok(Pull {
            link: self.link.clone(),
            name: self.name.clone(),
            left: messages_max,
            over_at: clock::now() + expires,
        })
    }

    pub(in super::super) async fn waiting(&self) -> Result<u64, BusError> {
        let name = self.name.clone();
        let waiting = self.link.call(true, |state, _| {
            let State { consumers, streams, .. } = state;
            let consumer = consumers.iter().find(|consumer| *consumer.name == *name)?;
            let stream = streams.iter().find(|stream| stream.config.name == consumer.stream)?;
            Some(consumer.waiting(stream))
        });
        Ok(waiting.await?.unwrap_or_default())
    }
}

impl Pull {
    pub(in super::super) async fn next(&mut self) -> Option<Taken> {
        let changes = self.link.changes();
        while self.left > 0 && clock::now() < self.over_at {
            self.link.alive().await;
            let changed = changes.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (taking, look_at) = self.look();
            match taking {
                Taking::Message(taken) => {
                    self.left -= 1;
                    if let Some(taken) = self.receive(*taken).await {
                        return Some(taken);
                    }
                }
                Taking::Nothing(_) => {
                    let until = look_at.unwrap_or(self.over_at).min(self.over_at);
                    let _ = tokio::time::timeout_at(until.into(), changed).await;
                }
            }
        }
        None
    }

    /// What there is now, and when to look again at the latest.
    fn look(&self) -> (Taking, Option<Instant>) {
        let model = &self.link.model;
        let mut state = model.lock();
        let now = model.now();
        let blind_until = state.electing_until.max(state.links[self.link.number].away_until);
        if blind_until > now {
            return (Taking::Nothing(None), Some(model.moment(blind_until)));
        }
        let taking = state.take(&self.name, now);
        let due = match &taking {
            Taking::Nothing(Some(due)) => Some(model.moment(*due)),
            Taking::Nothing(None) | Taking::Message(_) => None,
        };
        drop(state);
        if matches!(taking, Taking::Message(_)) {
            // An advisory may have been stored on the way.
            model.changed.notify_waiters();
        }
        (taking, due)
    }

    /// A delivery on its way; one that finds nobody comes again when its ack is overdue.
    async fn receive(&self, (sequence, delivered, entry): (u64, u32, super::stream::Entry)) -> Option<Taken> {
        tokio::time::sleep(latency()).await;
        self.link.breathe().await;
        if !self.link.is_connected() {
            return None;
        }
        let stored_at = self.link.model.time(entry.stored_at);
        let message = message(&entry.subject, entry.headers, entry.body, None);
        Some(Taken { message, delivered, stored_at, link: self.link.clone(), name: self.name.clone(), sequence })
    }
}

impl Taken {
    pub(in super::super) async fn ack(&self, kind: AckKind) -> Result<(), BusError> {
        self.link.breathe().await;
        self.tell(kind);
        Ok(())
    }

    /// Nobody waits to hear whether it arrives.
    fn tell(&self, kind: AckKind) {
        let model = &self.link.model;
        let mut state = model.lock();
        let now = model.now();
        let lost = strikes(state.faults.lost_one_in) || state.electing_until > now;
        if !lost && state.links[self.link.number].away_until <= now {
            state.settle(&self.name, self.sequence, kind, now);
        }
        drop(state);
        model.changed.notify_waiters();
    }

    pub(in super::super) async fn ack_confirmed(&self, kind: AckKind) -> Result<(), BusError> {
        self.link.call(true, |state, now| state.settle(&self.name, self.sequence, kind, now)).await
    }
}

impl State {
    fn settle(&mut self, consumer: &str, sequence: u64, kind: AckKind, now: Duration) {
        let Self { consumers, streams, .. } = self;
        let Some(consumer) = consumers.iter_mut().find(|found| found.name == consumer) else { return };
        match kind {
            AckKind::Nak(_) => consumer.nak(sequence, now),
            AckKind::Progress => consumer.progress(sequence, now),
            AckKind::Ack | AckKind::Next | AckKind::Term => {
                consumer.acked(sequence);
                let stream = consumer.stream;
                if let Some(stream) = streams.iter_mut().find(|found| found.config.name == stream) {
                    stream.settled(sequence);
                }
            }
        }
    }
}
