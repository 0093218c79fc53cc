//! One measured run: the load generator on one side, what it costs the far side beside it.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use talkfleet_shared::id::TenantId;

use super::{
    clients::Clients,
    cost::{Costs, Process, Watched},
    driver::{Asker, Face, Load, Order},
    schedule::{Schedule, Shape, Spacing},
    tally::Tally,
    traffic::Manners,
};

/// What is done later for a turn, such as writing it to the archive, counts as its cost: so long is waited for it.
const SETTLE: Duration = Duration::from_millis(500);

/// Points of a plot over time at most.
const WINDOWS_MAX: f64 = 600.0;

/// Whom the load is for.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) gateways: Vec<SocketAddr>,
    pub(super) key: String,
    pub(super) tenant: TenantId,
    /// For the face `nats`.
    pub(super) broker: Option<Broker>,
}

#[derive(Debug, Clone)]
pub(super) struct Broker {
    pub(super) address: SocketAddr,
    pub(super) user: Option<(String, String)>,
}

/// What of a run the person who asked for it chooses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) face: Face,
    pub(super) channel: Option<String>,
    pub(super) load: Load,
    pub(super) warm_up_s: f64,
    pub(super) manners: Manners,
    pub(super) clients: usize,
    pub(super) connections_max: usize,
    pub(super) holds_connections: bool,
    /// What is asked for, in the request.
    pub(super) asks_deadline_ms: Option<u64>,
    /// When an answer is late.
    pub(super) deadline_ms: u64,
    pub(super) seed: u64,
}

/// What it came to.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) tally: Tally,
    pub(super) costs: Costs,
    pub(super) load: Load,
}

impl Plan {
    /// The same for another load.
    pub(super) fn with(&self, load: Load) -> Self {
        Self { load, ..self.clone() }
    }

    /// Evenly loaded, for so long.
    pub(super) fn steady(&self, rate: f64, seconds: f64) -> Self {
        let spacing = match self.load {
            Load::Open(schedule) => schedule.spacing,
            Load::Closed { .. } => Spacing::Poisson,
        };
        self.with(Load::Open(Schedule { shape: Shape::Steady, spacing, rate, seconds }))
    }

    fn warm_up(&self) -> Option<Load> {
        let seconds = self.warm_up_s;
        let warm_up = match self.load {
            // A spike must meet a desk that does not expect it.
            Load::Open(schedule) => {
                let rate = schedule.rate_at(0.0).max(schedule.rate * 0.05);
                Load::Open(Schedule { shape: Shape::Steady, rate, seconds, ..schedule })
            }
            Load::Closed { at_once, .. } => Load::Closed { at_once, seconds },
        };
        (seconds > 0.0).then_some(warm_up)
    }

    fn order(&self, target: &Target) -> Result<Order> {
        let addresses = match (self.face, &target.broker) {
            (Face::Nats, Some(broker)) => vec![broker.address],
            (Face::Nats, None) => anyhow::bail!("--face nats asks the broker itself; give its address with --nats URL"),
            _ => target.gateways.clone(),
        };
        let asker = Asker {
            face: self.face,
            key: target.key.clone(),
            tenant: target.tenant.clone(),
            channel: self.channel.clone(),
            deadline_ms: self.asks_deadline_ms,
            nats_user: target.broker.as_ref().and_then(|broker| broker.user.clone()),
            run: format!("b{:08x}", rand::random::<u32>()),
        };
        Ok(Order {
            asker,
            addresses,
            manners: self.manners,
            warm_up: self.warm_up(),
            load: self.load,
            place: 0,
            of: 1,
            connections_max: self.connections_max,
            holds_connections: self.holds_connections,
            deadline_ms: self.deadline_ms,
            grace_ms: self.deadline_ms.min(30_000) + 1_000,
            window_s: (self.load.seconds() / WINDOWS_MAX).ceil().max(1.0),
            seed: self.seed,
        })
    }
}

impl Measured {
    /// Another run of the same kind, as if it had followed at once.
    pub(super) fn then(&mut self, other: &Self) {
        self.tally.append(&other.tally);
        self.costs.add(&other.costs);
        match (&mut self.load, &other.load) {
            (Load::Open(own), other) => own.seconds += other.seconds(),
            (Load::Closed { seconds, .. }, other) => *seconds += other.seconds(),
        }
    }
}

/// Runs a plan; `processes` are those whose cost is counted.
pub(super) async fn measure(target: &Target, plan: &Plan, processes: Vec<Process>) -> Result<Measured> {
    let clients = Clients::start(&plan.order(target)?, plan.clients).await?;
    let watched = Watched::begin(processes);
    let tally = clients.run().await?;
    tokio::time::sleep(SETTLE).await;
    let costs = watched.end().await;
    if !tally.is_whole() {
        anyhow::bail!("the load generator lost count of its messages; please report this");
    }
    Ok(Measured { tally, costs, load: plan.load })
}
