//! The whole desk in processes, in small what production is: three nats-servers, two gateways, several workers of each
//! role, Redis and PostgreSQL, with every link between them in our hands.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use talkfleet_shared::{bus::Bus, config::Url, id::TenantId, topology::Scale};
use talkfleet_worker::store::Store;
use tokio::sync::mpsc;

use super::{
    link::Link,
    model::{Model, Mood},
};
use crate::{
    connect::Connect,
    engines::{EngineOptions, Engines, NatsCluster, Progress, Sources, fetch_encoder},
    keys,
    members::{Member, Members, Part, beside_us, ports},
    up::{DEMO_TENANT, demo},
};

/// A majority of three survives the loss of one.
pub(super) const NODES: usize = 3;

const GATEWAYS: usize = 2;
const RESPONDERS: usize = 3;
const THINKERS: usize = 2;
const ARCHIVISTS: usize = 2;

/// Turns that a responder answers at once, so that one of three may hold fifty of them when it dies.
const RESPONSE_CONCURRENCY: usize = 128;

/// How long an election, the start of every process and the loading of the demo may take before nothing comes of it.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// Which ways lead from whom to whom.
pub(super) struct Links {
    /// From the gateways to each nats-server.
    pub(super) gateways_nats: Vec<Link>,
    /// From the workers to each nats-server.
    pub(super) workers_nats: Vec<Link>,
    /// Between nats-servers: `routes[i][j]` from i to j; None from one to itself.
    pub(super) routes: Vec<Vec<Option<Link>>>,
    pub(super) redis: Link,
    pub(super) database: Link,
}

/// Everything that runs, and our own way to it, which no fault touches.
pub(super) struct Fleet {
    pub(super) members: Members,
    pub(super) cluster: NatsCluster,
    pub(super) engines: Engines,
    pub(super) links: Links,
    pub(super) model: Model,
    pub(super) bus: Bus,
    pub(super) store: Store,
    pub(super) tenant: TenantId,
    pub(super) key: String,
    pub(super) gateways: Vec<String>,
    http: reqwest::Client,
}

/// What is special about a fleet.
#[derive(Debug, Clone, Default)]
pub(super) struct Ground {
    /// JetStream syncs every message before it acknowledges.
    pub(super) sync_always: bool,
    /// Variables for the responders alone, such as a library that turns their clock.
    pub(super) responders: Vec<(String, String)>,
}

impl Fleet {
    /// Starts everything in `data` and waits until every process is ready.
    pub(super) async fn start(
        data: &Path,
        mut cluster: NatsCluster,
        ground: &Ground,
        progress: &dyn Progress,
    ) -> Result<Arc<Self>> {
        let sources = Sources::from_environment();
        let encoder = fetch_encoder(&sources, progress).await?;
        let routes = open_routes(&cluster).await?;
        cluster.start(&route_ports(&routes)).await?;
        let direct: Vec<u16> = cluster.ports().iter().map(|ports| ports.client).collect();
        let nats = cluster.operator_url(&direct);
        let options = EngineOptions { nats: Some(nats.clone()), ..EngineOptions::new(data, sources) };
        let engines = Engines::start(options, progress).await?;
        let connect = Connect {
            nats: Some(nats),
            database: Some(engines.database_url.clone()),
            shards: 4,
            replicas: NODES,
            ..Connect::default()
        };
        let bus = connect.bus().await?;
        apply_topology(&bus).await?;
        let store = connect.store().await?;
        store.migrate().await?;
        let (tenant, key) = (TenantId::parse(DEMO_TENANT)?, talkfleet_shared::keys::create(&mut rand::rng()));
        keys::put(&bus, &key, tenant.clone(), "chaos").await?;
        let site = data.join("site");
        // Faults are not about what is recognised: the cheaper tiers do.
        let (encoder, transformer) = (encoder.as_path(), None);
        let target = demo::Target { bus: &bus, store: &store, tenant: &tenant, encoder, transformer, site: &site };
        demo::load(&target, progress).await?;

        let links = open_links(&direct, &engines, routes).await?;
        let (doomed, mut dooms) = mpsc::unbounded_channel::<String>();
        let model = Model::open(Mood::Well(Duration::from_millis(20)), doomed).await?;
        let plan = Plan { data, encoder, cluster: &cluster, links: &links, engines: &engines, model: &model };
        let (members, gateways) = plan.members(ground).await?;
        let fleet = Arc::new(Self {
            members: Members::start(members),
            cluster,
            engines,
            links,
            model,
            bus,
            store,
            tenant,
            key,
            gateways,
            http: reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?,
        });
        let killer = Arc::downgrade(&fleet);
        tokio::spawn(async move {
            while let Some(name) = dooms.recv().await {
                let Some(fleet) = killer.upgrade() else { return };
                if let Some(member) = fleet.members.named(&name) {
                    member.kill();
                }
            }
        });
        fleet.healthy(READY_WITHIN).await?;
        Ok(fleet)
    }

    /// Waits until every process says that it is ready and the queue takes messages.
    pub(super) async fn healthy(&self, within: Duration) -> Result<()> {
        self.members.until_ready(&self.http, within).await
    }

    /// What a process says of its readiness; None when it cannot be asked.
    pub(super) async fn readiness(&self, member: &Member) -> Option<(bool, String)> {
        member.readiness(&self.http).await
    }

    /// The name of the server that leads a consumer, as the servers' own monitoring tells it.
    pub(super) async fn consumer_leader(&self, stream: &str, consumer: &str) -> Option<String> {
        for ports in self.cluster.ports() {
            let url = format!("http://127.0.0.1:{}/jsz?consumers=true", ports.monitor);
            let Ok(answered) = self.http.get(url).send().await else { continue };
            let told = answered.text().await.ok().and_then(|text| serde_json::from_str(&text).ok());
            if let Some(leader) = told.and_then(|told| leader_in(&told, stream, consumer)) {
                return Some(leader);
            }
        }
        None
    }
}

/// A consumer's leader in what a server tells of its streams.
fn leader_in(told: &Value, stream: &str, consumer: &str) -> Option<String> {
    let accounts = told["account_details"].as_array()?;
    let streams = accounts.iter().filter_map(|account| account["stream_detail"].as_array()).flatten();
    let consumers = streams.filter(|one| one["name"] == stream).filter_map(|one| one["consumer_detail"].as_array());
    let leaders = consumers.flatten().filter(|one| one["name"] == consumer).map(|one| &one["cluster"]["leader"]);
    leaders.filter_map(Value::as_str).map(str::to_owned).find(|leader| !leader.is_empty())
}

/// Streams need a leader of the cluster first; that is elected within seconds.
async fn apply_topology(bus: &Bus) -> Result<()> {
    let until = tokio::time::Instant::now() + READY_WITHIN;
    let scale = Scale { replicas: NODES, ..Scale::default() };
    loop {
        match bus.topology_apply(scale).await {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > until => {
                return Err(error).context("the cluster has no leader");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

type Routes = Vec<Vec<Option<Link>>>;

/// One link for every ordered pair of servers.
async fn open_routes(cluster: &NatsCluster) -> Result<Routes> {
    let ports = cluster.ports();
    let mut routes = Routes::new();
    for from in 0..ports.len() {
        let mut to = Vec::new();
        for (other, ports) in ports.iter().enumerate() {
            to.push(if from == other { None } else { Some(Link::open(local(ports.route)).await?) });
        }
        routes.push(to);
    }
    Ok(routes)
}

fn route_ports(routes: &Routes) -> Vec<Vec<u16>> {
    let port = |link: &Option<Link>| link.as_ref().map_or(0, |link| link.port);
    routes.iter().map(|from| from.iter().map(port).collect()).collect()
}

async fn open_links(nodes: &[u16], engines: &Engines, routes: Routes) -> Result<Links> {
    let each = || futures::future::try_join_all(nodes.iter().map(|port| Link::open(local(*port))));
    Ok(Links {
        gateways_nats: each().await?,
        workers_nats: each().await?,
        routes,
        redis: Link::open(local(port_of(&engines.redis_url)?)).await?,
        database: Link::open(local(port_of(&engines.database_url)?)).await?,
    })
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn port_of(url: &str) -> Result<u16> {
    let url = reqwest::Url::parse(url)?;
    url.port().with_context(|| format!("{} names no port", Url::new(url.as_str())))
}

/// The same address by way of a link.
fn through(url: &str, link: &Link) -> Result<String> {
    let mut url = reqwest::Url::parse(url)?;
    if url.set_port(Some(link.port)).is_err() {
        bail!("{} takes no port", Url::new(url.as_str()));
    }
    Ok(url.to_string())
}

/// What the processes of a fleet are told.
struct Plan<'a> {
    data: &'a Path,
    encoder: &'a Path,
    cluster: &'a NatsCluster,
    links: &'a Links,
    engines: &'a Engines,
    model: &'a Model,
}

impl Plan<'_> {
    async fn members(&self, ground: &Ground) -> Result<(Vec<Member>, Vec<String>)> {
        let (mut members, mut gateways) = (Vec::new(), Vec::new());
        for number in 1..=GATEWAYS {
            let http = ports::free().await?;
            members.push(self.gateway(&format!("gateway-{number}"), http).await?);
            gateways.push(format!("http://127.0.0.1:{http}"));
        }
        for number in 1..=RESPONDERS {
            let member = self.worker(&format!("responder-{number}"), Part::Responder, "response").await?;
            members.push(member.environment(&ground.responders));
        }
        for number in 1..=THINKERS {
            members.push(self.worker(&format!("thinker-{number}"), Part::Thinker, "intent,retrieval").await?);
        }
        for number in 1..=ARCHIVISTS {
            members.push(self.worker(&format!("archivist-{number}"), Part::Archivist, "archive").await?);
        }
        Ok((members, gateways))
    }

    async fn gateway(&self, name: &str, http: u16) -> Result<Member> {
        let set = [
            ("http.listen", format!("127.0.0.1:{http}")),
            ("sse.keep_alive_ms", "2000".into()),
            ("redis.url", through(&self.engines.redis_url, &self.links.redis)?),
        ];
        self.member(name, Part::Gateway, "talkfleet-gateway", &[], &set, &self.links.gateways_nats).await
    }

    async fn worker(&self, name: &str, part: Part, roles: &str) -> Result<Member> {
        let set = [
            ("redis.url", through(&self.engines.redis_url, &self.links.redis)?),
            ("database.url", through(&self.engines.database_url, &self.links.database)?),
            ("models.encoder_dir", self.encoder.display().to_string()),
            ("roles.response_concurrency", RESPONSE_CONCURRENCY.to_string()),
            // Every turn asks the model: its faults are what is looked at.
            ("plan.answer_cache_entries", "0".to_owned()),
            ("model.base_url", format!("http://127.0.0.1:{}/{name}/v1", self.model.port)),
            ("model.api_key", "\"not-a-real-key\"".into()),
            ("model.concurrency", RESPONSE_CONCURRENCY.to_string()),
        ];
        self.member(name, part, "talkfleet-worker", &["--roles", roles], &set, &self.links.workers_nats).await
    }

    async fn member(
        &self,
        name: &str,
        part: Part,
        program: &str,
        args: &[&str],
        set: &[(&str, String)],
        nats: &[Link],
    ) -> Result<Member> {
        let admin = format!("127.0.0.1:{}", ports::free().await?);
        let links: Vec<u16> = nats.iter().map(|link| link.port).collect();
        let usual = [
            ("nats.url", self.cluster.url(&links)),
            ("nats.replicas", NODES.to_string()),
            ("admin.listen", admin.clone()),
        ];
        let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        for (key, value) in usual.iter().chain(set) {
            all.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        let log = self.data.join("logs").join(format!("{name}.log"));
        Ok(Member::new(name, part, admin, beside_us(program)?, all, log))
    }
}
