//! A fleet in one process: gateways and workers as they are, a model of the broker, customers, and a schedule of faults.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use talkfleet_gateway::{config::GatewayConfig, desk::Desk};
use talkfleet_shared::{
    admin::Health,
    bus::{
        Bus, Offer,
        model::{Faults, Law, Link, Model},
    },
    chance,
    chat::{IntentReply, Language, Passage, RetrieveReply},
    clock,
    id::{ChannelId, ConversationId},
    lifecycle::Shutdown,
    metrics::Metrics,
};
use talkfleet_worker::config::WorkerConfig;

use crate::{
    customer::{Manner, Told},
    laws,
};

/// How long faults go on.
const FAULTS_FOR: Duration = Duration::from_secs(45);

/// How long all of it may take; the budget of a turn, its redeliveries, and customers who come back.
const OVER_AFTER: Duration = Duration::from_secs(300);

/// What still runs when every customer has what they came for: a worker that has told the last frame acknowledges.
const SETTLES_WITHIN: Duration = Duration::from_secs(70);

/// Messages that a conversation's later ones may be asked before.
const MESSAGES_MAX: u64 = 4;

/// A channel for each policy, called like it; most conversations are on the first.
const CHANNELS: [&str; 4] = ["queue", "interrupt", "reject", "merge"];

static GATEWAY: LazyLock<GatewayConfig> = LazyLock::new(|| {
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut settings = vec![set("limits.user_per_minute", "0"), set("limits.tenant_per_minute", "0")];
    // The machine's own load is no part of what a seed says.
    settings.push(set("admission.cpu_percent_max", "0"));
    settings.extend(CHANNELS.map(|burst| set(&format!("channels.{burst}.burst"), &format!("\"{burst}\""))));
    GatewayConfig::load(None, &settings).unwrap()
});
static WORKER: LazyLock<WorkerConfig> = LazyLock::new(|| WorkerConfig::load(None, &[]).unwrap());
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(|| Metrics::new("simulation"));

/// What a seed plays.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub gateways: usize,
    pub workers: usize,
    pub conversations: u64,
    pub faults: Faults,
    /// The faults never end: only safety can be asked for.
    pub heals: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Played {
    pub violations: Vec<String>,
    pub story: Vec<String>,
    pub messages: u64,
    pub answered: u64,
    pub cancelled: u64,
    pub expired: u64,
    pub restarts: u64,
    pub kills: u64,
}

/// Everything that customers and faults share.
pub struct World {
    pub model: Model,
    began: Instant,
    gateways: Mutex<Vec<Gateway>>,
    workers: Mutex<Vec<Worker>>,
    events: AtomicU64,
    kills: AtomicU64,
    story: Mutex<Vec<String>>,
}

#[derive(Clone)]
pub struct Gateway {
    pub link: Link,
    pub desk: Arc<Desk>,
    doors: Shutdown,
}

#[derive(Clone)]
struct Worker {
    link: Link,
    doors: Shutdown,
}

impl Shape {
    pub fn draw() -> Self {
        let one_in = |often: &[u32]| often[chance::between(0, often.len() - 1)];
        Self {
            gateways: chance::between(1, 3),
            workers: chance::between(1, 3),
            conversations: chance::between(1, 4),
            faults: Faults {
                lost_one_in: one_in(&[0, 100, 20, 5]),
                unheard_one_in: one_in(&[0, 200, 50, 15]),
                unanswered_one_in: one_in(&[0, 200, 50, 15]),
                again_one_in: one_in(&[0, 500, 100, 20]),
            },
            heals: chance::between(0, 3) > 0,
        }
    }
}

impl Played {
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.answered += other.answered;
        self.cancelled += other.cancelled;
        self.expired += other.expired;
        self.restarts += other.restarts;
        self.kills += other.kills;
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, answered, cancelled, expired, restarts, kills, .. } = self;
        write!(f, "{messages} messages: {answered} answered, {cancelled} cancelled, {expired} expired; ")?;
        write!(f, "{restarts} restarts seen, {kills} processes killed")
    }
}

impl World {
    /// Numbers what happens, so that before and after can be told.
    pub fn event(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed)
    }

    pub fn tell(&self, what: String) {
        let ms = clock::since(self.began).as_millis();
        self.story.lock().unwrap().push(format!("{ms:>7} ms  {what}"));
    }

    /// Some gateway, as a balancer chooses one that is there.
    pub fn gateway(&self) -> Gateway {
        let gateways = self.gateways.lock().unwrap();
        gateways[chance::between(0, gateways.len() - 1)].clone()
    }

    fn bus(&self, link: &Link, name: &str) -> Bus {
        Bus::simulated(link.clone(), &GATEWAY.nats, name, METRICS.clone(), Health::new())
    }

    fn link(&self) -> Link {
        self.model.link(Duration::from_millis(GATEWAY.nats.publish_timeout_ms))
    }

    fn open_gateway(&self) -> Gateway {
        let (link, doors) = (self.link(), Shutdown::new());
        let desk = Desk::open(self.bus(&link, "gateway"), GATEWAY.clone(), None, doors.clone(), &Shutdown::new());
        Gateway { link, desk, doors }
    }

    fn open_worker(self: &Arc<Self>) -> Worker {
        let (link, doors) = (self.link(), Shutdown::new());
        let worker = Worker { link, doors };
        let (bus, doors) = (self.bus(&worker.link, "worker"), worker.doors.clone());
        tokio::spawn(async move { talkfleet_worker::respond(&WORKER, bus, &doors).await.unwrap() });
        worker
    }

    /// Plays the intent and the retrieval role; each answer differs from every other, so that none passes for another.
    fn open_roles(self: &Arc<Self>) {
        let bus = self.bus(&self.link(), "roles");
        let offer = |what| Offer { what, description: "", metadata: HashMap::new(), calls_max: 1_000 };
        let until = Shutdown::new();
        tokio::spawn({
            let (bus, until) = (bus.clone(), until.clone());
            async move {
                let reply = IntentReply {
                    name: "question".into(),
                    confidence: 0.95,
                    kind: "question".into(),
                    language: Language::English,
                    entities: Vec::new(),
                    reply: None,
                    version: String::new(),
                };
                let answer = |call: talkfleet_shared::bus::ServiceCall| {
                    let reply = reply.clone();
                    async move { call.answer(&reply).await }
                };
                bus.serve(offer("intent"), &until, answer).await;
            }
        });
        let world = self.clone();
        tokio::spawn(async move {
            let answer = |call: talkfleet_shared::bus::ServiceCall| {
                let number = world.event();
                async move { call.answer(&passages(number)).await }
            };
            bus.serve(offer("retrieve"), &until, answer).await;
        });
    }

    /// Something happens.
    async fn strike(self: &Arc<Self>) {
        let some = |count: usize| chance::between(0, count - 1);
        let worker = {
            let workers = self.workers.lock().unwrap();
            some(workers.len())
        };
        let gateway = {
            let gateways = self.gateways.lock().unwrap();
            some(gateways.len())
        };
        match chance::between(0, 9) {
            0..=2 => self.kill_worker(worker),
            3 => self.drain_worker(worker),
            4 => self.kill_gateway(gateway),
            5 => self.drain_gateway(gateway),
            6 => {
                let takes = Duration::from_millis(chance::between(1_000, 25_000));
                self.tell(format!("a process is stalled for {takes:?}"));
                self.some_link(worker, gateway).stall(takes);
            }
            7 => {
                let takes = Duration::from_millis(chance::between(300, 8_000));
                self.tell(format!("a process is cut off for {takes:?}"));
                self.some_link(worker, gateway).cut(takes);
            }
            8 => {
                let takes = Duration::from_millis(chance::between(4_000, 9_000));
                self.tell(format!("the streams elect their leaders for {takes:?}"));
                self.model.elect(takes);
            }
            _ => {}
        }
    }

    fn some_link(&self, worker: usize, gateway: usize) -> Link {
        match chance::between(0, 1) {
            0 => self.workers.lock().unwrap()[worker].link.clone(),
            _ => self.gateways.lock().unwrap()[gateway].link.clone(),
        }
    }

    /// Kills a process at one of its next steps, or a while later when it takes none; another comes in its place.
    fn kill(self: &Arc<Self>, link: Link, replace: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let world = self.clone();
        self.kills.fetch_add(1, Ordering::Relaxed);
        link.kill_after(chance::between(1, 60));
        tokio::spawn(async move {
            let _ = tokio::time::timeout(Duration::from_secs(3), link.killed()).await;
            link.kill();
            world.tell("a process is dead".into());
            tokio::time::sleep(Duration::from_millis(chance::between(0, 4_000))).await;
            replace(&world);
        });
    }

    fn kill_worker(self: &Arc<Self>, place: usize) {
        self.tell(format!("worker {place} will be killed"));
        let link = self.workers.lock().unwrap()[place].link.clone();
        self.kill(link, move |world| {
            let fresh = world.open_worker();
            world.workers.lock().unwrap()[place] = fresh;
        });
    }

    fn kill_gateway(self: &Arc<Self>, place: usize) {
        self.tell(format!("gateway {place} will be killed"));
        let link = self.gateways.lock().unwrap()[place].link.clone();
        self.kill(link, move |world| {
            let fresh = world.open_gateway();
            world.gateways.lock().unwrap()[place] = fresh;
        });
    }

    fn drain_worker(self: &Arc<Self>, place: usize) {
        self.tell(format!("worker {place} drains"));
        let fresh = self.open_worker();
        let old = std::mem::replace(&mut self.workers.lock().unwrap()[place], fresh);
        tokio::spawn(async move {
            old.doors.ask();
            old.doors.drained(Duration::from_secs(30)).await;
            old.link.kill();
        });
    }

    fn drain_gateway(self: &Arc<Self>, place: usize) {
        self.tell(format!("gateway {place} drains"));
        let fresh = self.open_gateway();
        let old = std::mem::replace(&mut self.gateways.lock().unwrap()[place], fresh);
        tokio::spawn(async move {
            old.doors.ask();
            tokio::time::sleep(Duration::from_secs(5)).await;
            old.link.kill();
        });
    }

    /// A conversation: its messages one after the other, or on top of one another.
    async fn converse(self: Arc<Self>, number: u64) -> Vec<Told> {
        let conversation = ConversationId::parse(&format!("c{number}")).unwrap();
        let channel = CHANNELS[chance::between(0, 2 * CHANNELS.len() - 1).saturating_sub(CHANNELS.len())];
        let mut told = Vec::new();
        let mut open = Vec::new();
        for message in 0..chance::between(1, MESSAGES_MAX) {
            tokio::time::sleep(Duration::from_millis(chance::between(0, 9_000))).await;
            let manner = match chance::between(0, 9) {
                0 => Manner::Cancels,
                1..=2 => Manner::HangsUp,
                _ => Manner::Patient,
            };
            let mut begun = Told::new(&self, format!("c{number}-{message}"), conversation.clone());
            begun.channel = ChannelId::parse(channel).unwrap();
            let is_waited_for = chance::between(0, 2) > 0;
            begun.alone = is_waited_for && open.is_empty();
            let asking = tokio::spawn({
                let world = self.clone();
                async move { begun.ask(&world, manner).await }
            });
            if !is_waited_for {
                open.push(asking);
                continue;
            }
            let answered = asking.await.unwrap();
            told.extend(self.overheard(&answered).await);
            told.push(answered);
        }
        told.extend(join_all(open).await.into_iter().map(Result::unwrap));
        told
    }

    /// The same customer's other tab looks at the request once more.
    async fn overheard(&self, told: &Told) -> Option<Told> {
        let request = told.request.clone().filter(|_| told.last.is_some() && chance::between(0, 3) == 0)?;
        let mut again = Told::new(self, format!("{}, looked at again", told.key), told.conversation.clone());
        again.sent_no = told.sent_no;
        Some(again.overhear(self, request).await)
    }
}

fn passages(number: u64) -> RetrieveReply {
    let text = format!(
        "Answer {number} begins here. It goes on with {number}. Then {number} comes to its point. So much for it."
    );
    let passage = Passage {
        id: "p".into(),
        document: "d".into(),
        title: "Title".into(),
        url: "/d".into(),
        text: text.clone(),
        language: Language::English,
        score: 0.95,
    };
    RetrieveReply { passages: vec![passage], extract: Some(text), answerable: 0.95, version: String::new() }
}

/// Plays a world from its beginning to its end.
pub async fn play(shape: Shape, broken: Option<Law>) -> Played {
    let model = Model::new(shape.faults);
    if let Some(law) = broken {
        model.break_law(law);
    }
    let world = Arc::new(World {
        model,
        began: clock::now(),
        gateways: Mutex::default(),
        workers: Mutex::default(),
        events: AtomicU64::new(0),
        kills: AtomicU64::new(0),
        story: Mutex::default(),
    });
    world.tell(format!("{shape:?}"));
    world.open_roles();
    *world.gateways.lock().unwrap() = (0..shape.gateways).map(|_| world.open_gateway()).collect();
    *world.workers.lock().unwrap() = (0..shape.workers).map(|_| world.open_worker()).collect();

    let faults = tokio::spawn({
        let world = world.clone();
        async move {
            while !shape.heals || clock::since(world.began) < FAULTS_FOR {
                tokio::time::sleep(Duration::from_millis(chance::between(300, 6_000))).await;
                world.strike().await;
            }
            world.tell("the faults are over".into());
            world.model.deal(Faults::default());
        }
    });
    let customers = join_all((0..shape.conversations).map(|number| tokio::spawn(world.clone().converse(number))));
    let ended = tokio::time::timeout(OVER_AFTER, customers).await;
    let told: Option<Vec<Told>> = ended.ok().map(|told| told.into_iter().flat_map(Result::unwrap).collect());
    let mut violations = Vec::new();
    match &told {
        None if shape.heals => violations.push(format!("some customers wait even after {OVER_AFTER:?}")),
        None => {}
        Some(told) => {
            violations.extend(laws::safety(&world.model, told));
            if shape.heals {
                faults.await.unwrap();
                tokio::time::sleep(SETTLES_WITHIN).await;
                violations.extend(laws::safety(&world.model, told));
                violations.extend(laws::liveness(&world.model, told));
            }
        }
    }
    let told = told.unwrap_or_default();
    let ended =
        |name| told.iter().filter(|told| told.last.as_ref().is_some_and(|last| last.name() == name)).count() as u64;
    Played {
        violations,
        messages: told.len() as u64,
        answered: ended("done"),
        cancelled: ended("cancelled"),
        expired: ended("expired"),
        restarts: told.iter().map(|told| told.restarts).sum(),
        kills: world.kills.load(Ordering::Relaxed),
        story: std::mem::take(&mut world.story.lock().unwrap()),
    }
}
