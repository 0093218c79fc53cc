//! One day: customers on one side, the autoscaler with its syncs on the other, each in the cluster's own time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{
    behavior::{Behavior, Memory},
    fleet::Fleet,
    load::Customers,
    manifest::Scaled,
    verdict::{Figures, Sample, Setting, Told},
    wish::wish,
};

/// `--horizontal-pod-autoscaler-sync-period`.
pub(super) const SYNC_S: f64 = 15.0;

/// How often between two syncs pods are looked after.
const LOOKS: u32 = 5;

/// How long the smallest fleet may take to be ready, on this machine's clock.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A day as it went.
pub(super) struct Lived {
    pub(super) told: Vec<Told>,
    pub(super) samples: Vec<Sample>,
    pub(super) figures: Figures,
}

/// What of the manifests this machine can follow.
pub(super) struct Plan<'a> {
    pub(super) scaled: &'a Scaled,
    pub(super) setting: Setting,
    /// What one worker here is of one in the manifests.
    pub(super) shrunk: f64,
    pub(super) workers_max: u32,
    pub(super) speedup: f64,
}

/// Lives a day. What of it may be compressed: sync period, windows, policies' periods, pod starts, deadlines and answers
/// are all shorter by the same factor, and the load is denser by it. What cannot: the CPU that a turn costs, and the
/// moment that a process needs to start, which both come out larger than in a cluster.
pub(super) async fn live(fleet: &mut Fleet, plan: &Plan<'_>, customers: Customers) -> Result<Lived> {
    let max = plan.scaled.behavior.max.min(plan.workers_max);
    let behavior = Behavior { max, min: plan.scaled.behavior.min.min(max), ..plan.scaled.behavior.clone() };
    settle(fleet, behavior.min).await?;
    let (day, day_s, speedup) = (customers.day, customers.day_s, plan.speedup);
    let mut memory = Memory::default();
    let (mut samples, began) = (Vec::new(), Instant::now());
    let mut customers = tokio::spawn(customers.live());
    let look = Duration::from_secs_f64(SYNC_S / speedup / f64::from(LOOKS));
    let mut looks = tokio::time::interval(look);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut synced_s = f64::NEG_INFINITY;
    let told = loop {
        tokio::select! {
            told = &mut customers => break told?,
            _ = looks.tick() => {}
        }
        fleet.tend().await;
        let at_s = began.elapsed().as_secs_f64() * speedup;
        if at_s - synced_s < SYNC_S {
            continue;
        }
        synced_s = at_s;
        let reading = fleet.read(speedup).await;
        let (replicas, ready) = fleet.counts();
        let wished = wish(plan.scaled, &reading, replicas, plan.shrunk);
        let decided = memory.decide(&behavior, replicas, wished, at_s);
        fleet.scale_to(decided as usize);
        let lag = reading.lag.map_or(0, |lag| lag.waiting + lag.running);
        let rate = day.rate(at_s / day_s * super::day::HOURS);
        samples.push(Sample { at_s, replicas: decided, ready, wished, lag, rate });
    };
    let left = fleet.queued().await?;
    let figures = Figures::of(&told, &samples, &plan.setting, left);
    Ok(Lived { told, samples, figures })
}

/// The smallest fleet, ready, before the first customer comes.
async fn settle(fleet: &mut Fleet, min: u32) -> Result<()> {
    let until = Instant::now() + READY_WITHIN;
    fleet.scale_to(min as usize);
    while fleet.counts().1 < min {
        if Instant::now() > until {
            bail!("the first {min} workers were not ready after {} s", READY_WITHIN.as_secs());
        }
        fleet.tend().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
