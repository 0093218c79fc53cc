//! Buckets that all gateways share: what comes while one script runs is drawn by the next one, together and in its order.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{Script, ScriptInvocation, aio::ConnectionManager};
use talkfleet_shared::{admin::Health, clock, lifecycle::Shutdown, metrics::Metrics};
use tokio::sync::{mpsc, oneshot};

use crate::admit::bucket::{Draw, Rate, Verdict, Wish};

/// Requests that may wait to be drawn for; above it the buckets of this process decide.
const CALLS_WAITING_MAX: usize = 10_000;

/// Requests that one script draws for: it holds up every other user of Redis for about 100 µs.
const CALLS_AT_ONCE: usize = 64;

/// How often a Redis that failed is asked whether it is back.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What `/readyz` calls them.
const PART: &str = "limits";

/// One request's draws.
struct Call {
    draws: Arc<[Draw]>,
    /// Where it is noted that they were made; they are not made again.
    receipt: Option<String>,
    came: Instant,
    reply: oneshot::Sender<Verdict>,
}

/// The way to the buckets in Redis.
#[derive(Clone)]
pub(crate) struct SharedBuckets {
    calls: mpsc::Sender<Call>,
    is_away: Arc<AtomicBool>,
}

impl SharedBuckets {
    pub(super) fn open(
        redis: ConnectionManager,
        timeout: Duration,
        (metrics, health): (Arc<Metrics>, Health),
        shutdown: &Shutdown,
    ) -> Self {
        let (calls, waiting) = mpsc::channel(CALLS_WAITING_MAX);
        let is_away = Arc::new(AtomicBool::new(false));
        let drawer = Drawer {
            redis,
            timeout,
            script: Script::new(include_str!("limits.lua")),
            is_away: is_away.clone(),
            metrics,
            health,
        };
        shutdown.spawn(drawer.run(waiting, shutdown.clone()));
        Self { calls, is_away }
    }

    /// Draws from all buckets or from none; None when Redis does not say within its time.
    pub(crate) async fn draw(&self, draws: Arc<[Draw]>, receipt: Option<String>) -> Option<Verdict> {
        if self.is_away.load(Ordering::Relaxed) {
            return None;
        }
        let (reply, verdict) = oneshot::channel();
        self.calls.try_send(Call { draws, receipt, came: clock::now(), reply }).ok()?;
        verdict.await.ok()
    }
}

/// Makes the draws, one script at a time.
struct Drawer {
    redis: ConnectionManager,
    timeout: Duration,
    script: Script,
    is_away: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    health: Health,
}

impl Drawer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Call>, shutdown: Shutdown) {
        let mut batch = Vec::with_capacity(CALLS_AT_ONCE);
        loop {
            tokio::select! {
                () = shutdown.asked() => return,
                n = waiting.recv_many(&mut batch, CALLS_AT_ONCE) => if n == 0 { return },
            }
            if let Err(why) = self.draw(&mut batch).await {
                self.note_away(&why);
                // Whoever waits is told at once: a reply that is dropped says that Redis does not know.
                batch.clear();
                while waiting.try_recv().is_ok() {}
                tokio::select! {
                    () = shutdown.asked() => return,
                    () = self.until_back() => {}
                }
            }
        }
    }

    /// One round trip for all of them; nobody among them has waited longer than the timeout when it fails.
    async fn draw(&mut self, batch: &mut Vec<Call>) -> Result<(), String> {
        let invocation = question(&self.script, batch);
        let answered_by = batch.first().map_or_else(clock::now, |oldest| oldest.came) + self.timeout;
        let asked = invocation.invoke_async::<Vec<i64>>(&mut self.redis);
        let numbers = tokio::time::timeout_at(answered_by.into(), asked).await;
        let numbers =
            numbers.map_err(|_| "it did not answer in time".to_owned())?.map_err(|error| error.to_string())?;
        self.metrics.limit_scripts.inc();
        let mut numbers = numbers.into_iter();
        for call in batch.drain(..) {
            let verdict = read(&mut numbers, call.draws.len()).ok_or("its answer is too short")?;
            let _ = call.reply.send(verdict);
        }
        Ok(())
    }

    fn note_away(&self, why: &str) {
        self.is_away.store(true, Ordering::Relaxed);
        self.metrics.limits_local.set(1);
        self.health.lacks(PART, "Redis does not answer; each gateway counts alone");
        tracing::warn!(why, "limits are counted by this gateway alone");
    }

    async fn until_back(&mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let asked = redis::cmd("PING").query_async::<()>(&mut self.redis).await;
            if asked.is_ok() {
                break;
            }
        }
        self.is_away.store(false, Ordering::Relaxed);
        self.metrics.limits_local.set(0);
        self.health.up(PART);
        tracing::info!("limits are counted by all gateways together again");
    }
}

/// What the script is asked; the same needs of many requests are named once.
fn question<'a>(script: &'a Script, batch: &[Call]) -> ScriptInvocation<'a> {
    let (mut invocation, mut shapes, mut requests) = (script.prepare_invoke(), Shapes::default(), Vec::new());
    for call in batch {
        if let Some(receipt) = &call.receipt {
            invocation.key(receipt);
        }
        let mut request = vec![u8::from(call.receipt.is_some())];
        for draw in call.draws.iter() {
            invocation.key(&draw.key);
            request.extend(shapes.number(draw).to_be_bytes());
        }
        requests.push(request);
    }
    invocation.arg(shapes.listed.len());
    shapes.listed.iter().for_each(|shape| {
        invocation.arg(shape);
    });
    requests.iter().for_each(|request| {
        invocation.arg(request.as_slice());
    });
    invocation
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
            self.listed.push([needed, micros(rate.time_for(wish.takes())), micros(rate.depth())]);
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
