//! A broker that exists in memory alone, with the semantics that we rely on and the faults that a seed deals out.
//!
//! Simulations run gateways and workers against it, in one process and on a clock that stands still while nobody works.
//! What keeps it honest is the suite in `deploy/ctl/tests/it/conformance.rs`, which asks the same of it and of nats-server.

/// What a stream keeps; moments are arguments.
mod stream;

/// What a consumer delivers; moments are arguments.
mod consumer;

/// PURE: the values of a bucket.
mod bucket;

/// One process's connection.
mod link;

/// What a connection hears, pulls and watches.
mod ear;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

pub(super) use self::ear::{Ear, Pull, Puller, Taken};
pub use self::link::Link;
pub(super) use self::link::entries;
use self::{
    bucket::Bucket,
    consumer::{Consumer, Next},
    stream::{Storing, Stream, matches},
};
use crate::{
    chance, clock,
    topology::{self, Scale},
};

/// When a model's world began: any time does, as long as it is always the same.
const EPOCH_UNIX_S: i64 = 1_800_000_000;

/// One in so many messages is slow, and by how much at most.
const SLOW_ONE_IN: u32 = 20;
const SLOW_MS_MAX: u64 = 200;

/// How long an ordinary message is under way at most.
const USUAL_MS_MAX: u64 = 3;

/// How often what goes wrong: one in so many; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A message that nobody stores does not reach one of its subscribers.
    pub lost_one_in: u32,
    /// A call to the broker does not arrive.
    pub unheard_one_in: u32,
    /// A call arrives, and its answer does not.
    pub unanswered_one_in: u32,
    /// Something that is being worked on is delivered once more.
    pub again_one_in: u32,
}

/// A promise of the broker that a model may break on purpose, so that a simulation can show that it would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// Whoever expects to be the first on a subject is told when they are not.
    FirstWriterWins,
    /// A conversation has one open message.
    OneOpenMessage,
    /// What was delivered and not acknowledged comes again.
    AtLeastOnce,
}

/// The broker; cheap to clone.
#[derive(Clone)]
pub struct Model {
    state: Arc<Mutex<State>>,
    /// Something was stored, or will come again.
    changed: Arc<Notify>,
    began: Instant,
}

struct State {
    streams: Vec<Stream>,
    consumers: Vec<Consumer>,
    buckets: BTreeMap<String, Bucket>,
    ears: Vec<Listener>,
    watchers: Vec<Watcher>,
    links: Vec<LinkState>,
    faults: Faults,
    broken: Option<Law>,
    /// Until then no stream answers: they elect their leaders.
    electing_until: Duration,
    inboxes: u64,
}

/// What is known of a connection.
struct LinkState {
    /// Its process was killed.
    gone: CancellationToken,
    /// Calls until it is killed.
    calls_left: Option<u32>,
    stalled_until: Duration,
    away_until: Duration,
}

/// Somebody who hears a subject.
struct Listener {
    number: u64,
    link: usize,
    filter: String,
    group: Option<String>,
    sender: mpsc::UnboundedSender<(Instant, Message)>,
    /// When the message before it arrives: they stay in order.
    last_at: Instant,
}

/// Somebody who watches a bucket.
struct Watcher {
    link: usize,
    bucket: String,
    sender: mpsc::UnboundedSender<(Instant, super::Entry)>,
    last_at: Instant,
}

impl Model {
    /// A broker with the topology's streams, consumers and buckets, all of them empty.
    pub fn new(faults: Faults) -> Self {
        let scale = Scale::default();
        let state = State {
            streams: topology::streams(scale).into_iter().map(Stream::new).collect(),
            consumers: topology::consumers(scale).into_iter().map(|(of, config)| Consumer::new(of, config)).collect(),
            buckets: topology::buckets(scale).into_iter().map(|config| (config.bucket, Bucket::default())).collect(),
            ears: Vec::new(),
            watchers: Vec::new(),
            links: Vec::new(),
            faults,
            broken: None,
            electing_until: Duration::ZERO,
            inboxes: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default(), began: clock::now() }
    }

    /// A connection for one process, whose calls to the broker are waited for so long.
    pub fn link(&self, publish_timeout: Duration) -> Link {
        let mut state = self.lock();
        state.links.push(LinkState {
            gone: CancellationToken::new(),
            calls_left: None,
            stalled_until: Duration::ZERO,
            away_until: Duration::ZERO,
        });
        Link::new(self.clone(), state.links.len() - 1, publish_timeout)
    }

    /// From here on this goes wrong.
    pub fn deal(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Breaks a promise on purpose.
    pub fn break_law(&self, law: Law) {
        self.lock().broken = Some(law);
    }

    /// No stream answers for so long; what is not stored still flows.
    pub fn elect(&self, takes: Duration) {
        self.lock().electing_until = self.now() + takes;
    }

    /// What lies in a stream: subject and body, oldest first.
    pub fn stored(&self, stream: &str) -> Vec<(String, Bytes)> {
        let mut state = self.lock();
        let now = self.now();
        let Some(stream) = state.streams.iter_mut().find(|found| found.config.name == stream) else {
            return Vec::new();
        };
        stream.expire(now);
        stream.entries().map(|(_, entry)| (entry.subject.clone(), entry.body.clone())).collect()
    }

    /// Since the model began.
    fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.began)
    }

    fn moment(&self, at: Duration) -> Instant {
        self.began + at
    }

    /// The broker's clock.
    fn time(&self, at: Duration) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_secs(EPOCH_UNIX_S as u64) + at
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something that happens one time in `one_in` happens now.
fn strikes(one_in: u32) -> bool {
    one_in > 0 && chance::between(1, one_in) == 1
}

/// How long a message is under way.
fn latency() -> Duration {
    Duration::from_millis(match strikes(SLOW_ONE_IN) {
        true => chance::between(USUAL_MS_MAX, SLOW_MS_MAX),
        false => chance::between(0, USUAL_MS_MAX),
    })
}

impl State {
    fn stream(&mut self, name: &str) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.config.name == name)
    }

    /// Hands a message to everybody who hears its subject; how many that were.
    fn tell(&mut self, message: &Message, now: Instant, since: Duration) -> usize {
        let mut told: Vec<usize> = Vec::new();
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, ear) in self.ears.iter().enumerate().filter(|(_, ear)| matches(&ear.filter, &message.subject)) {
            match &ear.group {
                Some(group) => groups.entry(group).or_default().push(place),
                None => told.push(place),
            }
        }
        let members = groups.into_values().map(|members| members[chance::between(0, members.len() - 1)]);
        told.extend(members.collect::<Vec<_>>());
        for place in &told {
            let lost = strikes(self.faults.lost_one_in);
            let ear = &mut self.ears[*place];
            if lost || self.links[ear.link].away_until > since {
                continue;
            }
            ear.last_at = ear.last_at.max(now + latency());
            let _ = ear.sender.send((ear.last_at, message.clone()));
        }
        told.len()
    }

    /// Takes a message into the stream that captures its subject; None when there is none.
    fn store(&mut self, subject: &str, headers: HeaderMap, body: Bytes, now: Duration) -> Option<Storing> {
        let broken = self.broken;
        let stream = self.streams.iter_mut().find(|stream| stream.captures(subject))?;
        let mut headers = headers;
        if broken == Some(Law::FirstWriterWins) && stream.config.name == topology::TURNS {
            headers.insert(crate::header::EXPECTED_LAST_SUBJECT_SEQUENCE, "");
        }
        if broken == Some(Law::OneOpenMessage) && stream.config.name == topology::ASK {
            stream.config.max_messages_per_subject = 0;
            headers.insert(crate::header::EXPECTED_LAST_SUBJECT_SEQUENCE, "");
        }
        Some(stream.store(subject, headers, body, now))
    }

    /// What a consumer delivers next, with its message; what was delivered too often is told as nats-server tells it.
    fn take(&mut self, consumer: &str, now: Duration) -> Taking {
        loop {
            let again = strikes(self.faults.again_one_in).then(|| chance::between(0, 7));
            let Self { consumers, streams, broken, .. } = self;
            let Some(found) = consumers.iter_mut().find(|found| found.name == consumer) else {
                return Taking::Nothing(None);
            };
            let Some(stream) = streams.iter_mut().find(|stream| stream.config.name == found.stream) else {
                return Taking::Nothing(None);
            };
            stream.expire(now);
            if let Some(nth) = again {
                found.forget_one(nth, now);
            }
            match found.next(stream, now) {
                Next::Message { sequence, deliveries } => {
                    if *broken == Some(Law::AtLeastOnce) {
                        found.forget(sequence);
                    }
                    let Some(entry) = stream.get(sequence) else { continue };
                    return Taking::Message(Box::new((sequence, deliveries, entry.clone())));
                }
                Next::Exhausted { sequence, deliveries } => {
                    let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{}.{consumer}", found.stream);
                    let body = format!(r#"{{"stream_seq":{sequence},"deliveries":{deliveries}}}"#);
                    self.store(&subject, HeaderMap::new(), body.into(), now);
                }
                Next::Nothing(due) => return Taking::Nothing(due),
            }
        }
    }

    /// Deletes the connection of a killed process with all that it heard.
    fn forget(&mut self, link: usize) {
        self.links[link].gone.cancel();
        self.ears.retain(|ear| ear.link != link);
        self.watchers.retain(|watcher| watcher.link != link);
    }

    /// Tells the watchers of a bucket.
    fn changed(&mut self, bucket: &str, entry: &super::Entry, now: Instant) {
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.bucket == bucket) {
            watcher.last_at = watcher.last_at.max(now + latency());
            let _ = watcher.sender.send((watcher.last_at, entry.clone()));
        }
    }
}

enum Taking {
    Message(Box<(u64, u32, stream::Entry)>),
    Nothing(Option<Duration>),
}

/// A message as a client sees it.
fn message(subject: &str, headers: HeaderMap, body: Bytes, reply: Option<Subject>) -> Message {
    let (subject, length) = (Subject::from(subject.to_owned()), body.len());
    let headers = (!headers.is_empty()).then_some(headers);
    Message { subject, reply, payload: body, headers, status: None, description: None, length }
}
