//! A fleet of its own for a bench: engines, gateways and workers as processes on free ports, with the demo loaded.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use talkfleet_gateway::config::GatewayConfig;
use talkfleet_shared::{
    config::{self, GATEWAY_DEFAULTS},
    id::TenantId,
    topology::Scale,
};

use super::{
    cost::Process,
    measure::{Broker, Target},
};
use crate::{
    connect::Connect,
    engines::{Engine, EngineOptions, Engines, Progress, Sources, fetch_encoder},
    keys,
    members::{Member, Members, Part, beside_us, ports},
    up::{DEMO_TENANT, demo},
};

/// How long every process may take to start.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// The channels that have a delivery of their own, by the name of both.
pub(super) const DELIVERIES: [&str; 2] = ["journaled", "fast"];

/// Which processes play which roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Every worker plays every role.
    Together,
    /// Three kinds of workers: intent and retrieval, response, archive.
    Apart,
    /// Both kinds are there, and one of them is held down.
    Either,
}

/// What is started.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ground {
    pub(super) gateways: usize,
    pub(super) workers: usize,
    pub(super) layout: Layout,
    pub(super) gateway_set: Vec<(String, String)>,
    pub(super) worker_set: Vec<(String, String)>,
}

pub(super) struct Fleet {
    pub(super) ground: Ground,
    pub(super) engines: Engines,
    members: Members,
    target: Target,
    http: reqwest::Client,
}

/// Whether this build knows delivery classes, which `journaled` and `fast` need.
pub(super) fn knows_deliveries() -> bool {
    config::load::<GatewayConfig>(GATEWAY_DEFAULTS, None, &deliveries()).is_ok()
}

fn deliveries() -> Vec<(String, String)> {
    DELIVERIES.map(|name| (format!("channels.{name}.delivery"), name.to_owned())).to_vec()
}

impl Fleet {
    /// Starts everything in `data` and waits until every process is ready.
    pub(super) async fn start(data: &Path, ground: Ground, progress: &dyn Progress) -> Result<Self> {
        progress.line(&format!("starting NATS, Redis, PostgreSQL, {ground}"));
        let sources = Sources::from_environment();
        let encoder = fetch_encoder(&sources, progress).await?;
        let engines = Engines::start(EngineOptions::new(data, sources), progress).await?;
        let connect = Connect {
            nats: Some(engines.nats_url.clone()),
            database: Some(engines.database_url.clone()),
            shards: 4,
            replicas: 1,
            ..Connect::default()
        };
        let (bus, store) = (connect.bus().await?, connect.store().await?);
        bus.topology_apply(Scale::default()).await?;
        store.migrate().await?;
        let (tenant, key) = (TenantId::parse(DEMO_TENANT)?, talkfleet_shared::keys::create(&mut rand::rng()));
        keys::put(&bus, &key, tenant.clone(), "bench").await?;
        let site = data.join("site");
        // What understands is measured elsewhere; the transformer would be most of what a turn costs.
        let (encoder, transformer) = (encoder.as_path(), None);
        let demo = demo::Target { bus: &bus, store: &store, tenant: &tenant, encoder, transformer, site: &site };
        demo::load(&demo, progress).await?;
        bus.close(Duration::from_secs(1)).await;

        let plan = Plan { data, encoder, engines: &engines, ground: &ground };
        let (members, gateways) = plan.members().await?;
        let broker = Some(broker(&engines.nats_url).await?);
        let fleet = Self {
            target: Target { gateways, key, tenant, broker },
            members: Members::start(members),
            http: reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?,
            engines,
            ground,
        };
        if fleet.ground.layout == Layout::Either {
            fleet.switch(Layout::Together).await?;
        }
        fleet.until_ready().await?;
        Ok(fleet)
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) async fn until_ready(&self) -> Result<()> {
        self.members.until_ready(&self.http, READY_WITHIN).await
    }

    /// Of both kinds of workers, leaves one running.
    pub(super) async fn switch(&self, layout: Layout) -> Result<()> {
        for member in self.members.all().iter().filter(|member| member.part != Part::Gateway) {
            match (member.part == Part::Worker) == (layout == Layout::Together) {
                true => member.release(),
                false => member.hold_down(),
            }
        }
        // The supervisor looks twenty times a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.until_ready().await
    }

    /// How many processes of ours have died since the beginning.
    pub(super) fn deaths(&self) -> u32 {
        self.members.all().iter().map(Member::deaths).sum()
    }

    /// Whatever runs now.
    pub(super) fn processes(&self) -> Vec<Process> {
        let engine = |(engine, pid): (Engine, u32)| Process {
            name: engine.key().to_owned(),
            pid,
            with_children: engine == Engine::Postgres,
        };
        let members = self.members.all().iter().filter_map(|member| Some(Process::new(&member.name, member.pid()?)));
        self.engines.pids().into_iter().map(engine).chain(members).collect()
    }

    pub(super) async fn stop(self) {
        drop(self.members);
        self.engines.stop().await;
    }
}

impl std::fmt::Display for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let workers = match self.layout {
            Layout::Together => plural(self.workers, "worker"),
            Layout::Apart => "three role processes".to_owned(),
            Layout::Either => "a worker, and three role processes that take turns with it".to_owned(),
        };
        write!(f, "{} and {workers}", plural(self.gateways, "gateway"))
    }
}

/// Where a broker is, and as whom to speak to it.
pub(super) async fn broker(url: &str) -> Result<Broker> {
    let parsed =
        reqwest::Url::parse(url).context("the broker's address is no URL; give nats://user:password@host:port")?;
    let host = parsed.host_str().unwrap_or("127.0.0.1").to_owned();
    let address = address_of(&host, parsed.port().unwrap_or(4222)).await?;
    let user = (!parsed.username().is_empty())
        .then(|| (parsed.username().to_owned(), parsed.password().unwrap_or_default().to_owned()));
    Ok(Broker { address, user })
}

/// The first address of a host.
pub(super) async fn address_of(host: &str, port: u16) -> Result<SocketAddr> {
    let mut found = tokio::net::lookup_host((host, port)).await.with_context(|| format!("{host} is not known"))?;
    found.next().with_context(|| format!("{host} has no address"))
}

/// What the processes are told.
struct Plan<'a> {
    data: &'a Path,
    encoder: &'a Path,
    engines: &'a Engines,
    ground: &'a Ground,
}

/// A kind of worker: its name, its part, its roles.
type Kind = (&'static str, Part, &'static str);

const TOGETHER: [Kind; 1] = [("worker", Part::Worker, "intent,retrieval,response,archive")];
const APART: [Kind; 3] = [
    ("intent-retrieval", Part::Thinker, "intent,retrieval"),
    ("response", Part::Responder, "response"),
    ("archive", Part::Archivist, "archive"),
];

impl Plan<'_> {
    async fn members(&self) -> Result<(Vec<Member>, Vec<SocketAddr>)> {
        let (mut members, mut gateways) = (Vec::new(), Vec::new());
        for number in 1..=self.ground.gateways {
            let http = ports::free().await?;
            members.push(self.gateway(&format!("gateway-{number}"), http).await?);
            gateways.push(SocketAddr::from(([127, 0, 0, 1], http)));
        }
        let kinds = match self.ground.layout {
            Layout::Together => TOGETHER.to_vec(),
            Layout::Apart => APART.to_vec(),
            Layout::Either => [&TOGETHER[..], &APART].concat(),
        };
        for (name, part, roles) in kinds {
            for number in 1..=self.ground.workers {
                members.push(self.worker(&format!("{name}-{number}"), part, roles).await?);
            }
        }
        Ok((members, gateways))
    }

    async fn gateway(&self, name: &str, http: u16) -> Result<Member> {
        let mut set = vec![("http.listen".to_owned(), format!("127.0.0.1:{http}"))];
        if knows_deliveries() {
            set.extend(deliveries());
        }
        set.extend(self.ground.gateway_set.iter().cloned());
        self.member(name, Part::Gateway, "talkfleet-gateway", &[], set).await
    }

    async fn worker(&self, name: &str, part: Part, roles: &str) -> Result<Member> {
        let mut set = vec![
            ("database.url".to_owned(), self.engines.database_url.clone()),
            ("models.encoder_dir".to_owned(), self.encoder.display().to_string()),
            ("models.transformer".to_owned(), "off".to_owned()),
        ];
        set.extend(self.ground.worker_set.iter().cloned());
        self.member(name, part, "talkfleet-worker", &["--roles", roles], set).await
    }

    async fn member(
        &self,
        name: &str,
        part: Part,
        program: &str,
        args: &[&str],
        set: Vec<(String, String)>,
    ) -> Result<Member> {
        let admin = format!("127.0.0.1:{}", ports::free().await?);
        let usual = [
            ("nats.url".to_owned(), self.engines.nats_url.clone()),
            ("redis.url".to_owned(), self.engines.redis_url.clone()),
            ("admin.listen".to_owned(), admin.clone()),
            ("log.filter".to_owned(), "warn".to_owned()),
        ];
        let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        for (key, value) in usual.into_iter().chain(set) {
            all.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        Ok(Member::new(name, part, admin, beside_us(program)?, all, self.log(name)))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.data.join("logs").join(format!("{name}.log"))
    }
}
