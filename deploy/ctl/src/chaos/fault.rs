//! What can be done to a running fleet, each fault with its end: nothing stays broken when a scenario is over.

use std::{fs, io::Write as _, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use futures::StreamExt;
use rustix::process::Signal;
use talkfleet_shared::{subject, topology};

use super::{
    fleet::{Fleet, NODES},
    ledger::Takeover,
    link::Weather,
    model::Mood,
    people::{deaf_customers, deliver_twice, take_over},
};
use crate::{
    engines::Engine,
    members::{Member, Part},
};

/// How long a process may take to go when it was asked to.
const TERMINATE_WITHIN: Duration = Duration::from_secs(30);

/// Between two kills at a moment: they come back, and take up their work.
const KILL_AT_EVERY: Duration = Duration::from_millis(2_500);

/// Who is meant. A number picks one of several, whatever it is: it comes from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Responder(usize),
    Thinker(usize),
    Archivist(usize),
    Gateway(usize),
    EveryWorker,
    EveryResponder,
    EveryThinker,
    Node(usize),
    /// The server that leads a stream at that moment.
    Leader(&'static str),
    /// The server that leads the consumer from which workers take asks.
    QueueLeader,
    /// A majority.
    TwoNodes(usize),
    EveryNode,
    Redis,
    Postgres,
}

/// Which links are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    GatewaysToNats,
    WorkersToNats,
    /// One server from the other two, and from everybody who is connected to it.
    AroundNode(usize),
    ToRedis,
    ToPostgres,
}

/// A fault and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`; the supervisor brings a process back at once, an engine comes back after this long.
    Kill(Who, Duration),
    /// `kill -9`, and nobody brings it back for this long.
    HoldDown(Who, Duration),
    /// SIGSTOP, and SIGCONT after this long.
    Freeze(Who, Duration),
    /// SIGTERM to one process; it shall leave by itself.
    Terminate(Who),
    /// As an operator restarts a nats-server.
    Restart(Who),
    Weather(Where, Weather, Duration),
    Mood(Mood, Duration),
    /// Redis forgets everything.
    Flush,
    /// An operator deletes the queue's consumer.
    DeleteConsumer,
    /// An operator deletes the stream of records, with all that it holds.
    DeleteRecords,
    /// Workers may not write records any more: a reload with the wrong permissions, and the right ones after this long.
    ForbidRecords(Duration),
    /// All responders are killed when the next record is on its way, and again, so many times.
    KillAtRecord(usize),
    /// A gateway is killed when the next message is on its way to the queue, and again, so many times.
    KillAtAsk(usize),
    /// Somebody takes every message first and hands it back at once, so that each is delivered at least twice.
    DeliverTwice(Duration),
    /// A person takes every third conversation over in mid-answer, has it for a while, and gives it back.
    TakeOver(Duration),
    /// Customers who ask and never read: this many sockets.
    DeafCustomers(usize, Duration),
    /// The disk of every nats-server is full.
    FillDisks(Duration),
    /// Every nats-server loses its power: what was not synced is gone.
    PowerCut,
}

/// What came of a fault, beside its traces in the ledger.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    /// Processes that did not leave by themselves or not with exit code 0; what was not said as it should.
    pub(super) complaints: Vec<String>,
    /// How long each process took that was asked to leave and left with exit code 0.
    pub(super) exits: Vec<Duration>,
    /// Whose conversations were taken over, and when.
    pub(super) takeovers: Vec<Takeover>,
}

impl Fault {
    /// Strikes, lasts, and heals.
    pub(super) async fn strike(self, fleet: &Arc<Fleet>, ground: &dyn Disks) -> Result<Aftermath> {
        let mut aftermath = Aftermath::default();
        match self {
            Self::Kill(who, back_after) => kill(fleet, who, back_after).await?,
            Self::HoldDown(who, lasts) => {
                let members = members(fleet, who);
                members.iter().for_each(|member| member.hold_down());
                tokio::time::sleep(lasts).await;
                members.iter().for_each(|member| member.release());
            }
            Self::Freeze(who, lasts) => {
                signal(fleet, who, Signal::STOP).await?;
                tokio::time::sleep(lasts).await;
                signal(fleet, who, Signal::CONT).await?;
            }
            Self::Terminate(who) => {
                for member in members(fleet, who) {
                    match terminate(member).await {
                        Ok(took) => aftermath.exits.push(took),
                        Err(complaint) => aftermath.complaints.push(complaint),
                    }
                }
            }
            Self::Restart(who) => {
                for node in nodes(fleet, who).await? {
                    fleet.cluster.stop(node).await;
                    fleet.cluster.revive(node).await?;
                }
            }
            Self::Weather(at, weather, lasts) => {
                set_weather(fleet, at, weather);
                tokio::time::sleep(lasts).await;
                set_weather(fleet, at, Weather::Clear);
            }
            Self::Mood(mood, lasts) => {
                let before = fleet.model.set(mood);
                tokio::time::sleep(lasts).await;
                fleet.model.set(before);
            }
            Self::Flush => flush(fleet).await?,
            Self::DeleteConsumer => fleet.bus.delete_consumer(topology::ASK, topology::RESPONSE).await?,
            Self::DeleteRecords => fleet.bus.delete_stream(topology::TURNS).await?,
            Self::ForbidRecords(lasts) => {
                fleet.cluster.forbid(Some(&subject::every_turn().replace(".*.*.*", ".>")))?;
                tokio::time::sleep(lasts).await;
                let told = futures::future::join_all(
                    members(fleet, Who::EveryResponder).into_iter().map(|m| fleet.readiness(m)),
                );
                let told = told.await.into_iter().flatten().any(|(ready, said)| !ready && said.contains(".turn."));
                aftermath.complaints.extend((!told).then(|| "no /readyz names the forbidden subject".to_owned()));
                fleet.cluster.forbid(None)?;
            }
            Self::KillAtRecord(times) => kill_at(fleet, subject::every_turn(), times, |_| Who::EveryResponder).await?,
            Self::KillAtAsk(times) => kill_at(fleet, subject::every_ask(), times, Who::Gateway).await?,
            Self::DeliverTwice(lasts) => deliver_twice(fleet, lasts).await,
            Self::TakeOver(lasts) => aftermath.takeovers = take_over(fleet, lasts).await?,
            Self::DeafCustomers(sockets, lasts) => deaf_customers(fleet, sockets, lasts).await?,
            Self::FillDisks(lasts) => {
                let ballast = fill(&ground.folders())?;
                tokio::time::sleep(lasts).await;
                ballast.iter().try_for_each(fs::remove_file)?;
                // As an operator does it: room first, then the servers once more.
                for node in 0..NODES {
                    fleet.cluster.kill(node);
                    fleet.cluster.revive(node).await?;
                }
            }
            Self::PowerCut => {
                (0..NODES).for_each(|node| fleet.cluster.signal(node, Signal::STOP));
                ground.lose_what_was_not_synced(&|| (0..NODES).for_each(|node| fleet.cluster.kill(node)))?;
                // An operator's own files were not synced either; they come with the machine.
                fleet.cluster.forbid(None)?;
                futures::future::try_join_all((0..NODES).map(|node| fleet.cluster.revive(node))).await?;
            }
        }
        Ok(aftermath)
    }
}

/// Where the nats-servers keep their streams.
pub(super) trait Disks: Send + Sync {
    fn folders(&self) -> Vec<PathBuf>;

    /// Puts every disk into the state in which a loss of power would leave it; `stop` ends who writes to them.
    fn lose_what_was_not_synced(&self, stop: &dyn Fn()) -> Result<()>;
}

async fn kill(fleet: &Arc<Fleet>, who: Who, back_after: Duration) -> Result<()> {
    match who {
        Who::Redis | Who::Postgres => {
            let engine = if who == Who::Redis { Engine::Redis } else { Engine::Postgres };
            fleet.engines.kill(engine)?;
            tokio::time::sleep(back_after).await;
            fleet.engines.revive(engine).await?;
        }
        Who::Node(_) | Who::Leader(_) | Who::QueueLeader | Who::TwoNodes(_) | Who::EveryNode => {
            let nodes = nodes(fleet, who).await?;
            nodes.iter().for_each(|node| fleet.cluster.kill(*node));
            tokio::time::sleep(back_after).await;
            futures::future::try_join_all(nodes.iter().map(|node| fleet.cluster.revive(*node))).await?;
        }
        _ => members(fleet, who).into_iter().for_each(Member::kill),
    }
    Ok(())
}

/// Kills somebody at the very moment at which a message is published, before it can be acknowledged.
async fn kill_at(fleet: &Arc<Fleet>, subject: String, times: usize, who: impl Fn(usize) -> Who) -> Result<()> {
    for number in 0..times {
        let mut heard = pin!(fleet.bus.overhear(subject.clone()).await?);
        heard.next().await;
        kill(fleet, who(number), Duration::ZERO).await?;
        tokio::time::sleep(KILL_AT_EVERY).await;
    }
    Ok(())
}

async fn signal(fleet: &Arc<Fleet>, who: Who, signal: Signal) -> Result<()> {
    match who {
        Who::Redis => fleet.engines.signal(Engine::Redis, signal)?,
        Who::Postgres => fleet.engines.signal(Engine::Postgres, signal)?,
        Who::Node(_) | Who::Leader(_) | Who::QueueLeader | Who::TwoNodes(_) | Who::EveryNode => {
            nodes(fleet, who).await?.into_iter().for_each(|node| fleet.cluster.signal(node, signal));
        }
        _ => members(fleet, who).into_iter().for_each(|member| member.signal(signal)),
    }
    Ok(())
}

fn members(fleet: &Fleet, who: Who) -> Vec<&Member> {
    let pick = |part, number: usize| {
        let all = fleet.members.of(part);
        all.get(number % all.len().max(1)).copied().into_iter().collect()
    };
    match who {
        Who::Responder(number) => pick(Part::Responder, number),
        Who::Thinker(number) => pick(Part::Thinker, number),
        Who::Archivist(number) => pick(Part::Archivist, number),
        Who::Gateway(number) => pick(Part::Gateway, number),
        Who::EveryResponder => fleet.members.of(Part::Responder),
        Who::EveryThinker => fleet.members.of(Part::Thinker),
        Who::EveryWorker => fleet.members.all().iter().filter(|member| member.part != Part::Gateway).collect(),
        _ => Vec::new(),
    }
}

async fn nodes(fleet: &Fleet, who: Who) -> Result<Vec<usize>> {
    Ok(match who {
        Who::Node(number) => vec![number % NODES],
        Who::TwoNodes(number) => vec![number % NODES, (number + 1) % NODES],
        Who::EveryNode => (0..NODES).collect(),
        Who::Leader(stream) => vec![number_of(&fleet.bus.leader(stream).await?.unwrap_or_default())],
        Who::QueueLeader => {
            let leader = fleet.consumer_leader(topology::ASK, topology::RESPONSE).await;
            vec![number_of(&leader.context("no server tells who leads the queue's consumer")?)]
        }
        _ => Vec::new(),
    })
}

/// A server's name ends with its number.
fn number_of(server: &str) -> usize {
    server.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0) % NODES
}

/// Asks a process to leave and waits until it has: how long that took, or what is wrong with how it did.
async fn terminate(member: &Member) -> Result<Duration, String> {
    let before = member.deaths();
    let asked = tokio::time::Instant::now();
    member.signal(Signal::TERM);
    while member.deaths() == before {
        if asked.elapsed() > TERMINATE_WITHIN {
            member.kill();
            return Err(format!("{} did not leave within {} s", member.name, TERMINATE_WITHIN.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    match member.last_exit() {
        Some(exit) if !exit.success() => Err(format!("{} left with {exit}", member.name)),
        _ => Ok(asked.elapsed()),
    }
}

fn set_weather(fleet: &Fleet, at: Where, weather: Weather) {
    let links = &fleet.links;
    match at {
        Where::GatewaysToNats => links.gateways_nats.iter().for_each(|link| link.set(weather)),
        Where::WorkersToNats => links.workers_nats.iter().for_each(|link| link.set(weather)),
        Where::ToRedis => links.redis.set(weather),
        Where::ToPostgres => links.database.set(weather),
        Where::AroundNode(number) => {
            let node = number % NODES;
            let routes = links.routes.iter().enumerate().flat_map(|(from, to)| {
                let meant = move |to: usize| from == node || to == node;
                to.iter().enumerate().filter(move |(to, _)| meant(*to)).filter_map(|(_, link)| link.as_ref())
            });
            routes.chain([&links.gateways_nats[node], &links.workers_nats[node]]).for_each(|link| link.set(weather));
        }
    }
}

async fn flush(fleet: &Fleet) -> Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let url = reqwest::Url::parse(&fleet.engines.redis_url)?;
    let port = url.port().context("the address of Redis names no port")?;
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let said = format!("AUTH {}\r\nFLUSHALL\r\nQUIT\r\n", url.password().unwrap_or_default());
    socket.write_all(said.as_bytes()).await?;
    socket.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// Fills what is left of each disk; the files that take the room.
fn fill(folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut ballast = Vec::new();
    for folder in folders {
        let path = folder.join("ballast");
        let mut file = fs::File::create(&path)?;
        let (mut chunk, zeros) = (1 << 20, vec![0u8; 1 << 20]);
        while chunk > 0 {
            if file.write_all(&zeros[..chunk]).is_err() {
                chunk /= 2;
            }
        }
        ballast.push(path);
    }
    Ok(ballast)
}
