//! One lane of the buckets that all gateways share: what comes while one script runs is drawn by the next one, in its order.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use redis::RedisError;
use talkfleet_shared::{
    admin::Health,
    clock,
    lifecycle::Shutdown,
    metrics::Metrics,
    redis_door::{Program, RedisLink, argument, is_moving, slot_of},
};
use tokio::sync::{mpsc, oneshot};

use crate::admit::bucket::{Draw, Rate, Verdict, Wish};

/// Requests that one script draws for: it holds up every other user of Redis for about 100 µs.
pub(super) const CALLS_AT_ONCE: usize = 64;

/// How often a Redis that failed is asked whether it is back.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What `/readyz` calls them.
const PART: &str = "limits";

/// One request's draws, all of keys that lie together.
pub(super) struct Call {
    pub(super) draws: Arc<[Draw]>,
    /// Where it is noted that they were made; they are not made again.
    pub(super) receipt: Option<String>,
    pub(super) came: Instant,
    pub(super) reply: oneshot::Sender<Verdict>,
}

/// Makes the draws of a lane, one script at a time for each slot.
#[derive(Clone)]
pub(super) struct Drawer {
    pub(super) redis: RedisLink,
    pub(super) timeout: Duration,
    pub(super) script: Arc<Program>,
    pub(super) is_away: Arc<AtomicBool>,
    /// Lanes that are away, of all.
    pub(super) away: Arc<AtomicUsize>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Health,
}

/// Why a script did not draw.
enum Failed {
    /// Its keys move from one node to another: these calls alone are decided here.
    Moving,
    Away(String),
}

impl Drawer {
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Call>, shutdown: Shutdown) {
        let mut batch = Vec::with_capacity(CALLS_AT_ONCE);
        loop {
            tokio::select! {
                () = shutdown.asked() => return,
                n = waiting.recv_many(&mut batch, CALLS_AT_ONCE) => if n == 0 { return },
            }
            // Whoever waits for what fails is told at once: a reply that is dropped says that Redis does not know.
            let Err((why, key)) = self.draw(&mut batch).await else { continue };
            self.note_away(&why);
            while waiting.try_recv().is_ok() {}
            tokio::select! {
                () = shutdown.asked() => return,
                () = self.until_back(&key) => {}
            }
        }
    }

    /// All of a batch; why and by which key it failed, if it did.
    async fn draw(&self, batch: &mut Vec<Call>) -> Result<(), (String, String)> {
        if !self.redis.is_cluster() {
            let calls = std::mem::take(batch);
            let drawn = self.draw_together(calls).await;
            return drawn.or_else(blamed);
        }
        let mut slots = BTreeMap::<u16, Vec<Call>>::new();
        for call in batch.drain(..) {
            slots.entry(call.draws.first().map_or(0, |draw| slot_of(&draw.key))).or_default().push(call);
        }
        let drawn = join_all(slots.into_values().map(|calls| self.draw_together(calls))).await;
        drawn.into_iter().try_for_each(|drawn| drawn.or_else(blamed))
    }

    /// One round trip for all of them; nobody among them has waited longer than the timeout when it fails.
    async fn draw_together(&self, calls: Vec<Call>) -> Result<(), (Failed, String)> {
        let key = calls.first().and_then(|call| call.draws.first()).map(|draw| draw.key.clone()).unwrap_or_default();
        self.draw_slot(calls).await.map_err(|failed| (failed, key))
    }

    async fn draw_slot(&self, calls: Vec<Call>) -> Result<(), Failed> {
        let (keys, arguments) = question(&calls);
        let answered_by = calls.first().map_or_else(clock::now, |oldest| oldest.came) + self.timeout;
        let asked = self.redis.run::<Vec<i64>>(&self.script, &keys, &arguments);
        let away = |why: &str| Failed::Away(why.to_owned());
        let numbers = tokio::time::timeout_at(answered_by.into(), asked).await;
        let numbers = numbers.map_err(|_| away("it did not answer in time"))?.map_err(Failed::from)?;
        self.metrics.limit_scripts.inc();
        let mut numbers = numbers.into_iter();
        drop(keys);
        for call in calls {
            let verdict = read(&mut numbers, call.draws.len()).ok_or_else(|| away("its answer is too short"))?;
            let _ = call.reply.send(verdict);
        }
        Ok(())
    }

    fn note_away(&self, why: &str) {
        self.is_away.store(true, Ordering::Relaxed);
        if self.away.fetch_add(1, Ordering::Relaxed) > 0 {
            return;
        }
        self.metrics.limits_local.set(1);
        self.health.lacks(PART, "Redis does not answer; each gateway counts alone");
        tracing::warn!(why, "limits are counted by this gateway alone");
    }

    async fn until_back(&self, key: &str) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let mut question = redis::cmd("GET");
            question.arg(key);
            let asked = self.redis.ask::<Option<String>>(&question);
            if matches!(tokio::time::timeout(LOOK_EVERY, asked).await, Ok(Ok(_))) {
                break;
            }
        }
        self.is_away.store(false, Ordering::Relaxed);
        if self.away.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        self.metrics.limits_local.set(0);
        self.health.up(PART);
        tracing::info!("limits are counted by all gateways together again");
    }
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Self {
        if is_moving(&error) { Self::Moving } else { Self::Away(error.to_string()) }
    }
}

/// Keys that move blame nobody.
fn blamed((failed, key): (Failed, String)) -> Result<(), (String, String)> {
    match failed {
        Failed::Moving => Ok(()),
        Failed::Away(why) => Err((why, key)),
    }
}

/// What the script is asked; the same needs of many requests are named once.
fn question(calls: &[Call]) -> (Vec<&str>, Vec<Vec<u8>>) {
    let (mut keys, mut shapes, mut requests) = (Vec::new(), Shapes::default(), Vec::new());
    for call in calls {
        keys.extend(call.receipt.as_deref());
        let mut request = vec![u8::from(call.receipt.is_some())];
        for draw in call.draws.iter() {
            keys.push(draw.key.as_str());
            request.extend(shapes.number(draw).to_be_bytes());
        }
        requests.push(request);
    }
    let mut arguments = argument(shapes.listed.len());
    arguments.extend(shapes.listed.iter().flat_map(argument));
    arguments.extend(requests);
    (keys, arguments)
}

/// What is wanted of buckets, each shape once.
#[derive(Default)]
struct Shapes {
    numbers: HashMap<(Wish, Rate), u16>,
    /// Needed, taken and held, in microseconds.
    listed: Vec<[f64; 3]>,
}

impl Shapes {
    /// A batch has a few hundred at most.
    fn number(&mut self, Draw { rate, wish, .. }: &Draw) -> u16 {
        *self.numbers.entry((*wish, *rate)).or_insert_with(|| {
            let needed = wish.needs().map_or(-1.0, |units| micros(rate.time_for(units)));
            let taken = micros(rate.time_for(wish.takes())) - micros(rate.time_for(wish.gives()));
            self.listed.push([needed, taken, micros(rate.depth())]);
            self.listed.len() as u16
        })
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1_000.0
}

/// The script's answer to one request.
fn read(numbers: &mut impl Iterator<Item = i64>, buckets: usize) -> Option<Verdict> {
    let micros = |number: i64| Duration::from_micros(number.max(0).unsigned_abs());
    match numbers.next()? {
        0 => {
            let from_full: Vec<_> = numbers.take(buckets).map(micros).collect();
            (from_full.len() == buckets).then_some(Verdict::Drawn(from_full))
        }
        place => Some(Verdict::Refused { at: usize::try_from(place - 1).ok()?, wait: micros(numbers.next()?) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_request_by_request() {
        let mut numbers = [0, 5, 7, 2, 900, 0].into_iter();
        let micros = Duration::from_micros;
        assert_eq!(read(&mut numbers, 2), Some(Verdict::Drawn(vec![micros(5), micros(7)])));
        assert_eq!(read(&mut numbers, 3), Some(Verdict::Refused { at: 1, wait: micros(900) }));
        assert_eq!(read(&mut numbers, 1), None, "it was cut off");
    }
}
