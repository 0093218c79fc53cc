//! Buckets that all gateways share: one script draws from those that lie together, in lanes that do not wait for one another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use talkfleet_shared::{
    admin::Health,
    clock,
    lifecycle::Shutdown,
    metrics::Metrics,
    redis_door::{Program, RedisLink, SLOTS, slot_of},
};
use tokio::sync::{mpsc, oneshot};

use super::drawer::{Call, Drawer};
use crate::admit::bucket::{Draw, Verdict, Wish};

/// Requests that may wait to be drawn for in a lane; above it the buckets of this process decide.
const CALLS_WAITING_MAX: usize = 10_000;

/// Lanes in a cluster, each of 1,024 slots in a row: a node that is away has a part of them, and the others go on.
const CLUSTER_LANES: usize = 16;

/// The way to the buckets in Redis.
#[derive(Clone)]
pub(crate) struct SharedBuckets {
    /// One with one server.
    lanes: Arc<[Lane]>,
}

/// Buckets that are drawn from one batch after another.
struct Lane {
    calls: mpsc::Sender<Call>,
    is_away: Arc<AtomicBool>,
}

impl SharedBuckets {
    pub(super) fn open(
        redis: RedisLink,
        timeout: Duration,
        (metrics, health): (Arc<Metrics>, Health),
        shutdown: &Shutdown,
    ) -> Self {
        let lanes = if redis.is_cluster() { CLUSTER_LANES } else { 1 };
        let script = Arc::new(Program::new(include_str!("limits.lua")));
        let away = Arc::new(AtomicUsize::new(0));
        let lane = |_| {
            let (calls, waiting) = mpsc::channel(CALLS_WAITING_MAX);
            let is_away = Arc::new(AtomicBool::new(false));
            let drawer = Drawer {
                redis: redis.clone(),
                timeout,
                script: script.clone(),
                is_away: is_away.clone(),
                away: away.clone(),
                metrics: metrics.clone(),
                health: health.clone(),
            };
            shutdown.spawn(drawer.run(waiting, shutdown.clone()));
            Lane { calls, is_away }
        };
        Self { lanes: (0..lanes).map(lane).collect() }
    }

    /// Draws from all buckets or from none; None when Redis does not say within its time.
    ///
    /// In a cluster an address's bucket lies apart from those of the tenant. It is drawn from first, so that whom it refuses never
    /// touches what others share, and given back when these refuse: never is more let in than allowed, and for the moment
    /// between, a neighbour may find the bucket one lower than it is.
    pub(crate) async fn draw(&self, draws: Arc<[Draw]>, receipt: Option<String>) -> Option<Verdict> {
        let Some((together, apart)) = self.split(&draws) else { return self.lane(&draws)?.draw(draws, receipt).await };
        let pick = |places: &[usize]| places.iter().map(|place| draws[*place].clone()).collect::<Arc<[Draw]>>();
        let first = pick(&apart);
        let from_full_apart = match self.lane(&first)?.draw(first.clone(), None).await? {
            Verdict::Drawn(from_full) => from_full,
            Verdict::Refused { at, wait } => return Some(Verdict::Refused { at: *apart.get(at)?, wait }),
        };
        let rest = pick(&together);
        match self.lane(&rest)?.draw(rest, receipt).await? {
            Verdict::Drawn(from_full) => {
                let mut drawn = vec![Duration::ZERO; draws.len()];
                let places = apart.iter().zip(from_full_apart).chain(together.iter().zip(from_full));
                places.for_each(|(place, from_full)| drawn[*place] = from_full);
                Some(Verdict::Drawn(drawn))
            }
            Verdict::Refused { at, wait } => {
                self.give_back(&first);
                Some(Verdict::Refused { at: *together.get(at)?, wait })
            }
        }
    }

    /// Places of the buckets that lie with the first one, and of the others; None when all lie together.
    fn split(&self, draws: &[Draw]) -> Option<(Vec<usize>, Vec<usize>)> {
        let slot = (self.lanes.len() > 1).then(|| draws.first().map(|draw| slot_of(&draw.key)))??;
        let (together, apart): (Vec<_>, Vec<_>) =
            (0..draws.len()).partition(|place| slot_of(&draws[*place].key) == slot);
        (!apart.is_empty()).then_some((together, apart))
    }

    fn lane(&self, draws: &[Draw]) -> Option<&Lane> {
        if self.lanes.len() == 1 {
            return self.lanes.first();
        }
        let slot = draws.first().map_or(0, |draw| slot_of(&draw.key));
        self.lanes.get(usize::from(slot) * self.lanes.len() / usize::from(SLOTS))
    }

    fn give_back(&self, draws: &[Draw]) {
        let back = |draw: &Draw| Draw { wish: Wish::Return(draw.wish.takes()), ..draw.clone() };
        let back: Arc<[Draw]> = draws.iter().map(back).collect();
        if let Some(lane) = self.lane(&back) {
            // Nobody waits for it; what is lost with a server costs this address one request.
            lane.ask(back, None);
        }
    }
}

impl Lane {
    async fn draw(&self, draws: Arc<[Draw]>, receipt: Option<String>) -> Option<Verdict> {
        self.ask(draws, receipt)?.await.ok()
    }

    fn ask(&self, draws: Arc<[Draw]>, receipt: Option<String>) -> Option<oneshot::Receiver<Verdict>> {
        if self.is_away.load(Ordering::Relaxed) {
            return None;
        }
        let (reply, verdict) = oneshot::channel();
        self.calls.try_send(Call { draws, receipt, came: clock::now(), reply }).ok()?;
        Some(verdict)
    }
}
