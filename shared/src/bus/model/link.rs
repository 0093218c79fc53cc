//! One process's connection to the model: slow, lossy, stalled or cut as dealt, and dead to the world once it was killed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::{
    super::{
        BusError, CallError, Entry,
        wire::{Kept, StoreError, Stored},
    },
    Ear, Listener, Model, Puller, State, Storing, Watcher, latency, message, strikes,
};
use crate::clock;

/// A connection; cheap to clone.
#[derive(Clone)]
pub struct Link {
    pub(super) model: Model,
    pub(super) number: usize,
    timeout: Duration,
}

impl Link {
    pub(super) fn new(model: Model, number: usize, timeout: Duration) -> Self {
        Self { model, number, timeout }
    }

    /// `kill -9`: whatever this process still does reaches nobody, and whatever it waits for never comes.
    pub fn kill(&self) {
        self.model.lock().forget(self.number);
        self.model.changed.notify_waiters();
    }

    /// Kills the process at one of its next calls, whichever that is: before it has arrived, or before its answer has.
    pub fn kill_after(&self, calls: u32) {
        self.model.lock().links[self.number].calls_left = Some(calls);
    }

    /// Waits until the process was killed.
    pub async fn killed(&self) {
        let gone = self.model.lock().links[self.number].gone.clone();
        gone.cancelled().await;
    }

    pub fn is_killed(&self) -> bool {
        self.model.lock().links[self.number].gone.is_cancelled()
    }

    /// Nothing comes or goes for so long; all of it does afterwards.
    pub fn stall(&self, takes: Duration) {
        self.model.lock().links[self.number].stalled_until = self.model.now() + takes;
    }

    /// The connection is gone for so long; what others say meanwhile is not heard.
    pub fn cut(&self, takes: Duration) {
        self.model.lock().links[self.number].away_until = self.model.now() + takes;
    }

    pub(in super::super) fn is_connected(&self) -> bool {
        self.model.lock().links[self.number].away_until <= self.model.now()
    }

    pub(in super::super) async fn flush(&self) -> Result<(), BusError> {
        self.call(false, |_, _| ()).await
    }

    pub(in super::super) async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), BusError> {
        self.breathe().await;
        let now = clock::now();
        let since = self.model.now();
        self.model.lock().tell(&message(&subject, headers, body, None), now, since);
        Ok(())
    }

    pub(in super::super) async fn subscribe(&self, filter: &str, group: Option<&str>) -> Ear {
        self.breathe().await;
        self.listen(filter.to_owned(), group.map(str::to_owned))
    }

    fn listen(&self, filter: String, group: Option<String>) -> Ear {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.model.lock();
        state.inboxes += 1;
        let number = state.inboxes;
        state.ears.push(Listener { number, link: self.number, filter, group, sender, last_at: clock::now() });
        Ear::new(self.clone(), number, receiver)
    }

    pub(in super::super) async fn request(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Bytes,
        within: Duration,
    ) -> Result<Message, CallError> {
        self.breathe().await;
        let inbox = format!("_INBOX.{}", {
            let mut state = self.model.lock();
            state.inboxes += 1;
            state.inboxes
        });
        let mut ear = self.listen(inbox.clone(), None);
        let asked = message(&subject, headers, body, Some(Subject::from(inbox)));
        let (now, since) = (clock::now(), self.model.now());
        if self.model.lock().tell(&asked, now, since) == 0 {
            tokio::time::sleep(latency()).await;
            return Err(CallError::Nobody);
        }
        match tokio::time::timeout(within, ear.next()).await {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(BusError::Away.into()),
            Err(_) => Err(CallError::Timeout),
        }
    }

    pub(in super::super) async fn store(
        &self,
        subject: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Stored, StoreError> {
        let moment = self.model.clone();
        let stored = self.call(true, |state, now| {
            let told = message(subject, headers.clone(), body.clone(), None);
            state.tell(&told, moment.moment(now), now);
            state.store(subject, headers, body, now)
        });
        let stored = stored.await.map_err(StoreError::Failed)?;
        let missing = || BusError::Missing("stream for this subject".into());
        match stored.ok_or_else(|| StoreError::Failed(missing()))? {
            Storing::Stored(sequence) => Ok(Stored { sequence, duplicate: false }),
            Storing::Duplicate(sequence) => Ok(Stored { sequence, duplicate: true }),
            Storing::NotFirst => Err(StoreError::NotFirst),
            Storing::Refused(why) => Err(StoreError::Failed(BusError::Refused(why.into()))),
        }
    }

    pub(in super::super) async fn last(&self, stream: &str, filter: &str) -> Result<Option<Kept>, BusError> {
        let model = self.model.clone();
        self.call(true, |state, now| {
            let (sequence, entry) = state.stream(stream)?.last(filter, now)?;
            Some(model.kept(sequence, entry))
        })
        .await
    }

    pub(in super::super) async fn kept(&self, stream: &str, sequence: u64) -> Result<Option<Kept>, BusError> {
        let model = self.model.clone();
        self.call(true, |state, _| Some(model.kept(sequence, state.stream(stream)?.get(sequence)?))).await
    }

    pub(in super::super) async fn delete(&self, stream: &str, sequence: u64) -> Result<(), BusError> {
        let deleted = self.call(true, |state, _| state.stream(stream).is_some_and(|stream| stream.delete(sequence)));
        if deleted.await? { Ok(()) } else { Err(BusError::Refused("no message found".into())) }
    }

    pub(in super::super) async fn consumer(&self, stream: &str, name: &str) -> Result<Puller, BusError> {
        let known = self.call(true, |state, _| {
            state.consumers.iter().any(|consumer| consumer.name == name && consumer.stream == stream)
        });
        match known.await? {
            true => Ok(Puller { link: self.clone(), name: name.into() }),
            false => Err(BusError::Missing(format!("consumer '{name}'"))),
        }
    }

    /// The broker's clock.
    pub(in super::super) async fn time(&self) -> Result<OffsetDateTime, BusError> {
        self.call(true, |_, now| now).await.map(|now| self.model.time(now))
    }

    pub(in super::super) async fn entry(&self, bucket: &str, key: &str) -> Result<Option<Entry>, BusError> {
        self.call(true, |state, _| {
            let (value, revision) = state.buckets.get(bucket)?.get(key)?;
            value.map(|value| Entry { key: key.to_owned(), value: Some(value), revision, pending: 0 })
        })
        .await
    }

    /// Sets or deletes a value; None when it was to be new and is not.
    pub(in super::super) async fn set(
        &self,
        bucket: &str,
        key: &str,
        value: Option<Bytes>,
        new: bool,
    ) -> Result<Option<u64>, BusError> {
        let model = self.model.clone();
        self.call(true, |state, now| {
            let values = state.buckets.get_mut(bucket)?;
            if new && values.get(key).is_some_and(|(value, _)| value.is_some()) {
                return None;
            }
            let revision = values.set(key, value.clone());
            let entry = Entry { key: key.to_owned(), value, revision, pending: 0 };
            state.changed(bucket, &entry, model.moment(now));
            Some(revision)
        })
        .await
    }

    pub(in super::super) async fn is_empty(&self, bucket: &str) -> Result<bool, BusError> {
        self.call(true, |state, _| state.buckets.get(bucket).is_none_or(|bucket| bucket.entries().is_empty())).await
    }

    /// The entries of a bucket, then every change.
    pub(in super::super) async fn watch(
        &self,
        bucket: &str,
    ) -> Result<mpsc::UnboundedReceiver<(Instant, Entry)>, BusError> {
        let model = self.model.clone();
        self.call(true, |state, now| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let entries = state.buckets.get(bucket).map(|bucket| bucket.entries()).unwrap_or_default();
            let last_at = model.moment(now) + latency();
            let after = (0..entries.len() as u64).rev();
            for ((key, value, revision), pending) in entries.into_iter().zip(after) {
                let _ = sender.send((last_at, Entry { key, value, revision, pending }));
            }
            state.watchers.push(Watcher { link: self.number, bucket: bucket.to_owned(), sender, last_at });
            receiver
        })
        .await
    }

    /// Calls the broker and waits for its answer; what is asked of a stream is not heard while it elects its leader.
    pub(super) async fn call<T>(
        &self,
        of_a_stream: bool,
        effect: impl FnOnce(&mut State, Duration) -> T,
    ) -> Result<T, BusError> {
        self.breathe().await;
        if !self.is_connected() {
            return Err(BusError::Away);
        }
        tokio::time::sleep(latency()).await;
        self.alive().await;
        let answer = self.effect(of_a_stream, effect);
        tokio::time::sleep(if answer.is_some() { latency() } else { self.timeout }).await;
        self.breathe().await;
        answer.ok_or(BusError::Timeout)
    }

    /// The call arrives, unless it does not; None when no answer will come.
    fn effect<T>(&self, of_a_stream: bool, effect: impl FnOnce(&mut State, Duration) -> T) -> Option<T> {
        let mut state = self.model.lock();
        let (now, faults) = (self.model.now(), state.faults);
        let electing = of_a_stream && state.electing_until > now;
        if electing || strikes(faults.unheard_one_in) {
            return None;
        }
        let answer = effect(&mut state, now);
        drop(state);
        self.model.changed.notify_waiters();
        (!strikes(faults.unanswered_one_in)).then_some(answer)
    }

    /// A step of this process into the world: each may be its last.
    pub(super) async fn breathe(&self) {
        let last = {
            let mut state = self.model.lock();
            let link = &mut state.links[self.number];
            if let Some(left) = &mut link.calls_left {
                *left = left.saturating_sub(1);
            }
            link.calls_left == Some(0)
        };
        if last {
            self.kill();
        }
        self.alive().await;
    }

    /// Waits while the connection is stalled; for ever, once the process was killed.
    pub(super) async fn alive(&self) {
        loop {
            let until = {
                let state = self.model.lock();
                let link = &state.links[self.number];
                (!link.gone.is_cancelled()).then(|| self.model.moment(link.stalled_until))
            };
            match until {
                None => std::future::pending().await,
                Some(until) if until > clock::now() => tokio::time::sleep_until(until.into()).await,
                Some(_) => return,
            }
        }
    }

    pub(super) fn changes(&self) -> Arc<tokio::sync::Notify> {
        self.model.changed.clone()
    }
}

/// The entries of a watch, each when it arrives.
pub(in super::super) fn entries(
    receiver: mpsc::UnboundedReceiver<(Instant, Entry)>,
) -> impl futures::Stream<Item = Entry> + Send {
    futures::stream::unfold(receiver, |mut receiver| async {
        let (at, entry) = receiver.recv().await?;
        tokio::time::sleep_until(at.into()).await;
        Some((entry, receiver))
    })
}

impl Model {
    fn kept(&self, sequence: u64, entry: &super::stream::Entry) -> Kept {
        Kept {
            sequence,
            subject: Subject::from(entry.subject.clone()),
            headers: entry.headers.clone(),
            body: entry.body.clone(),
            stored_at: self.time(entry.stored_at),
        }
    }
}
