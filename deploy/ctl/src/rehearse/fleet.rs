//! The fleet of a rehearsal: engines, a gateway, a worker with the other roles, and response workers that come and go.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use talkfleet_shared::{
    bus::{Bus, Teller},
    id::TenantId,
    release::Release,
    topology::{self, Scale},
};
use tokio::sync::mpsc;

use super::{
    replicas::Pod,
    wish::{Lag, Reading},
};
use crate::{
    chaos::model::{Model, Mood},
    connect::Connect,
    engines::{EngineOptions, Engines, Progress, Sources, fetch_encoder},
    keys,
    members::{Member, Members, Part, beside_us, ports},
    up::{DEMO_TENANT, demo},
};

/// How long the engines' neighbours may take to start.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// Pieces in which the stand-in model says its sentence.
const PIECES: usize = 4;

/// What the response role's settings are made of; times are this machine's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground {
    pub(super) workers_max: usize,
    pub(super) concurrency: u32,
    /// How long the stand-in model takes for an answer.
    pub(super) service: Duration,
    /// From the wish for a pod until its process begins.
    pub(super) pod_start: Duration,
    /// From SIGTERM until SIGKILL.
    pub(super) grace: Duration,
}

pub(super) struct Fleet {
    pub(super) gateway: String,
    pub(super) key: String,
    engines: Engines,
    members: Members,
    bus: Bus,
    http: reqwest::Client,
    ground: Ground,
    _model: Model,
    /// Of those that shall run, youngest last: what is taken away first.
    shall_run: Vec<Pending>,
    /// Those that were told to stop, and when.
    leaving: Vec<(String, Instant)>,
    /// CPU time as it was read last.
    used: HashMap<String, (Instant, f64)>,
}

/// A worker that was wished for.
struct Pending {
    name: String,
    since: Instant,
    started: bool,
    ready: bool,
}

impl Fleet {
    /// Starts everything but the response workers.
    pub(super) async fn start(data: &Path, ground: Ground, progress: &dyn Progress) -> Result<Self> {
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
        keys::put(&bus, &key, tenant.clone(), "rehearsal").await?;
        let site = data.join("site");
        let target = demo::Target {
            bus: &bus,
            store: &store,
            tenant: &tenant,
            encoder: &encoder,
            transformer: None,
            site: &site,
        };
        demo::load(&target, progress).await?;

        // Nobody is killed at a word of this model.
        let (doomed, _) = mpsc::unbounded_channel();
        let mood = Mood::Talks { pieces: PIECES, gap: ground.service / PIECES as u32 };
        let model = Model::open(mood, doomed).await?;
        let plan = Plan { data, encoder: &encoder, engines: &engines, model: &model, ground };
        let (members, gateway) = plan.members().await?;
        let fleet = Self {
            gateway,
            key,
            members: Members::start(members),
            bus,
            http: reqwest::Client::builder().timeout(Duration::from_secs(1)).build()?,
            ground,
            _model: model,
            shall_run: Vec::new(),
            leaving: Vec::new(),
            used: HashMap::new(),
            engines,
        };
        fleet.members.until_ready(&fleet.http, READY_WITHIN).await?;
        Ok(fleet)
    }

    /// Begins or ends workers until there are so many; as a ReplicaSet does, those that are not ready go first, then the
    /// youngest.
    pub(super) fn scale_to(&mut self, replicas: usize) {
        while self.shall_run.len() > replicas {
            let at = self.shall_run.iter().rposition(|worker| !worker.ready).unwrap_or(self.shall_run.len() - 1);
            let worker = self.shall_run.remove(at);
            if let Some(member) = self.members.named(&worker.name).filter(|_| worker.started) {
                member.retire();
                self.leaving.push((worker.name, Instant::now()));
            }
        }
        while self.shall_run.len() < replicas {
            let Some(name) = self.free_name() else { break };
            self.shall_run.push(Pending { name, since: Instant::now(), started: false, ready: false });
        }
    }

    /// A place whose last worker has gone.
    fn free_name(&self) -> Option<String> {
        let taken = |name: &str| {
            self.shall_run.iter().any(|worker| worker.name == name) || self.leaving.iter().any(|(left, _)| left == name)
        };
        let free = self.members.of(Part::Responder).into_iter().find(|member| !taken(&member.name));
        free.map(|member| member.name.clone())
    }

    /// Starts those whose pod would be there by now, ends those whose grace is over, and looks who is ready.
    pub(super) async fn tend(&mut self) {
        for worker in self.shall_run.iter_mut() {
            let Some(member) = self.members.named(&worker.name) else { continue };
            if !worker.started && worker.since.elapsed() >= self.ground.pod_start {
                member.release();
                worker.started = true;
            }
            if worker.started && !worker.ready {
                worker.ready = matches!(member.readiness(&self.http).await, Some((true, _)));
            }
        }
        let (members, grace) = (&self.members, self.ground.grace);
        self.leaving.retain(|(name, since)| {
            let Some(member) = members.named(name) else { return false };
            if since.elapsed() > grace {
                member.kill();
            }
            member.pid().is_some()
        });
    }

    /// Workers that shall run, and those that are ready.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.shall_run.len() as u32, self.shall_run.iter().filter(|worker| worker.ready).count() as u32)
    }

    /// What KEDA and Prometheus would read; `speedup` makes the cluster's time of this machine's.
    pub(super) async fn read(&mut self, speedup: f64) -> Reading {
        let lag = self.lag(speedup).await;
        let lag =
            lag.inspect_err(|error| tracing::warn!("the lag cannot be read, so the fallback counts: {error:#}")).ok();
        let running = lag.map(|lag| lag.running as f64).unwrap_or_default();
        let pods = self.pods(speedup);
        let (_, ready) = self.counts();
        Reading { lag, running, permits: f64::from(ready * self.ground.concurrency), pods }
    }

    /// What each pod uses, in cores of the cluster, whose seconds are shorter than ours.
    fn pods(&mut self, speedup: f64) -> Vec<Pod> {
        let mut pods = Vec::new();
        for worker in &self.shall_run {
            let cpu_s = self.members.named(&worker.name).and_then(Member::cpu_s);
            let now = Instant::now();
            let before = cpu_s.and_then(|cpu_s| self.used.insert(worker.name.clone(), (now, cpu_s)));
            pods.push(match (worker.ready, before, cpu_s) {
                (false, ..) => Pod::Unready,
                (true, Some((at, before_s)), Some(cpu_s)) if cpu_s >= before_s => {
                    Pod::Says((cpu_s - before_s) / (now - at).as_secs_f64().max(1e-3) / speedup)
                }
                _ => Pod::Missing,
            });
        }
        pods
    }

    async fn lag(&self, speedup: f64) -> Result<Lag> {
        let (lag, queue) = tokio::try_join!(
            self.bus.lag_of(Release::Stable),
            self.bus.queue(topology::ASK, topology::RESPONSE, Teller::Gateway)
        )?;
        let age = queue.oldest.unwrap_or_default().as_secs_f64();
        Ok(Lag { waiting: lag.waiting, running: lag.running, oldest_s: age * speedup })
    }

    /// Messages on the queue, those that are being answered included.
    pub(super) async fn queued(&self) -> Result<u64> {
        Ok(self.bus.asks_waiting().await?)
    }

    pub(super) async fn stop(self) {
        drop(self.members);
        self.engines.stop().await;
    }
}

/// What the processes are told.
struct Plan<'a> {
    data: &'a Path,
    encoder: &'a Path,
    engines: &'a Engines,
    model: &'a Model,
    ground: Ground,
}

impl Plan<'_> {
    async fn members(&self) -> Result<(Vec<Member>, String)> {
        let http = ports::free().await?;
        let gateway = [
            ("http.listen", format!("127.0.0.1:{http}")),
            // What waits for workers shall wait on the queue, where the autoscaler sees it.
            ("admission.concurrency_min", "4000".into()),
            ("turns.waiting_max", "4000".into()),
            ("admission.cpu_percent_max", "0".into()),
        ];
        let mut members = vec![self.member("gateway", Part::Gateway, "talkfleet-gateway", &[], &gateway).await?];
        let others = ["--roles", "intent,retrieval,archive"];
        members.push(self.worker("others", Part::Thinker, &others).await?);
        for number in 1..=self.ground.workers_max {
            let worker = self.worker(&format!("response-{number}"), Part::Responder, &["--roles", "response"]).await?;
            members.push(worker.resting());
        }
        Ok((members, format!("http://127.0.0.1:{http}")))
    }

    async fn worker(&self, name: &str, part: Part, args: &[&str]) -> Result<Member> {
        let concurrency = self.ground.concurrency.to_string();
        let never = "100000000";
        let set = [
            ("database.url", self.engines.database_url.clone()),
            ("models.encoder_dir", self.encoder.display().to_string()),
            ("models.transformer", "off".into()),
            ("roles.response_concurrency", concurrency.clone()),
            ("roles.response_concurrency_min", concurrency.clone()),
            // Every turn asks the model, and none is answered more cheaply since it waited: who waits shall show.
            ("plan.answer_cache_entries", "0".into()),
            ("plan.lag_small_ms", never.into()),
            ("plan.lag_extract_ms", never.into()),
            ("plan.lag_approved_ms", never.into()),
            ("model.base_url", format!("http://127.0.0.1:{}/{name}/v1", self.model.port)),
            ("model.api_key", "\"not-a-real-key\"".into()),
            ("model.concurrency", concurrency),
            ("turn.grace_ms", self.ground.grace.as_millis().clamp(500, 22_000).to_string()),
        ];
        self.member(name, part, "talkfleet-worker", args, &set).await
    }

    async fn member(
        &self,
        name: &str,
        part: Part,
        program: &str,
        args: &[&str],
        set: &[(&str, String)],
    ) -> Result<Member> {
        let admin = format!("127.0.0.1:{}", ports::free().await?);
        let usual = [
            ("nats.url", self.engines.nats_url.clone()),
            ("redis.url", self.engines.redis_url.clone()),
            ("admin.listen", admin.clone()),
            ("log.filter", "warn".into()),
        ];
        let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        for (key, value) in usual.iter().chain(set) {
            all.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        let log = self.data.join("logs").join(format!("{name}.log"));
        let program = beside_us(program).context("the fleet's programs")?;
        // Many processes share few cores here.
        let slim = [("TOKIO_WORKER_THREADS".to_owned(), "1".to_owned())];
        Ok(Member::new(name, part, admin, program, all, log).environment(&slim))
    }
}
