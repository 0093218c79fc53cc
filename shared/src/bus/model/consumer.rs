//! One durable consumer of the model: what is delivered next, how often, and when it comes again.

use std::{collections::BTreeMap, time::Duration};

use async_nats::jetstream::consumer::pull::Config;

use super::stream::Stream;

/// A consumer with explicit acks; moments are times since the model began.
pub struct Consumer {
    pub name: String,
    pub stream: &'static str,
    config: Config,
    /// The first sequence that was never delivered.
    next: u64,
    /// What was delivered and not acknowledged.
    pending: BTreeMap<u64, Pending>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    deliveries: u32,
    due: Duration,
    /// It will not be delivered again; said once.
    exhausted: bool,
}

/// What a pull gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Message {
        sequence: u64,
        deliveries: u32,
    },
    /// A message was delivered as often as may be, and was not acknowledged.
    Exhausted {
        sequence: u64,
        deliveries: u32,
    },
    /// Nothing until then; None until something is stored.
    Nothing(Option<Duration>),
}

impl Consumer {
    pub fn new(stream: &'static str, config: Config) -> Self {
        let name = config.durable_name.clone().unwrap_or_default();
        Self { name, stream, config, next: 1, pending: BTreeMap::new() }
    }

    /// The next message to deliver: first what comes again, then what is new.
    pub fn next(&mut self, stream: &Stream, now: Duration) -> Next {
        self.pending.retain(|sequence, _| stream.get(*sequence).is_some());
        let due = self.pending.iter_mut().find(|(_, pending)| pending.due <= now && !pending.exhausted);
        if let Some((sequence, pending)) = due {
            if self.config.max_deliver > 0 && i64::from(pending.deliveries) >= self.config.max_deliver {
                pending.exhausted = true;
                return Next::Exhausted { sequence: *sequence, deliveries: pending.deliveries };
            }
            let sequence = *sequence;
            return self.deliver(sequence, now);
        }
        let room = self.config.max_ack_pending <= 0 || (self.pending.len() as i64) < self.config.max_ack_pending;
        let fresh = stream.from(self.next, &self.config.filter_subject).next();
        match fresh.filter(|_| room) {
            Some(sequence) => {
                self.next = sequence + 1;
                self.deliver(sequence, now)
            }
            None => {
                let open = self.pending.values().filter(|pending| !pending.exhausted);
                Next::Nothing(open.map(|pending| pending.due).min())
            }
        }
    }

    fn deliver(&mut self, sequence: u64, now: Duration) -> Next {
        let deliveries = self.pending.get(&sequence).map_or(0, |pending| pending.deliveries) + 1;
        let due = now + self.wait(deliveries);
        self.pending.insert(sequence, Pending { deliveries, due, exhausted: false });
        Next::Message { sequence, deliveries }
    }

    /// How long an ack is waited for; the backoff takes the place of the ack wait.
    fn wait(&self, deliveries: u32) -> Duration {
        let nth = (deliveries as usize).saturating_sub(1);
        let backoff = self.config.backoff.get(nth).or(self.config.backoff.last());
        backoff.copied().unwrap_or(self.config.ack_wait)
    }

    /// Whether it was still to be acknowledged.
    pub fn acked(&mut self, sequence: u64) -> bool {
        self.pending.remove(&sequence).is_some()
    }

    /// It shall come again.
    pub fn nak(&mut self, sequence: u64, now: Duration) {
        if let Some(pending) = self.pending.get_mut(&sequence) {
            pending.due = now;
        }
    }

    /// It will not come again, although it is neither acknowledged nor was delivered too often.
    pub fn forget(&mut self, sequence: u64) {
        if let Some(pending) = self.pending.get_mut(&sequence) {
            pending.exhausted = true;
        }
    }

    /// Work on it goes on.
    pub fn progress(&mut self, sequence: u64, now: Duration) {
        if let Some(deliveries) = self.pending.get(&sequence).map(|pending| pending.deliveries) {
            let due = now + self.wait(deliveries);
            self.pending.entry(sequence).and_modify(|pending| pending.due = due);
        }
    }

    /// How many messages were never delivered.
    pub fn waiting(&self, stream: &Stream) -> u64 {
        stream.from(self.next, &self.config.filter_subject).count() as u64
    }

    /// Makes something come again at once though its worker is at work, as a broker does whose leader forgot a progress.
    pub fn forget_one(&mut self, nth: usize, now: Duration) {
        let open = self.pending.values_mut().filter(|pending| !pending.exhausted);
        if let Some(pending) = open.collect::<Vec<_>>().into_iter().nth(nth) {
            pending.due = now;
        }
    }
}
