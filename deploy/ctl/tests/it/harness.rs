//! A fleet of its own for each test: a NATS of its own, and of the shared Redis and PostgreSQL a database of its own; the demo
//! is loaded once.

use std::{
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use talkfleet::{
    connect::{Connect, nats_config},
    engines::{
        EngineOptions, Engines, RedisNode, RedisPlaceOnDisk, RedisProgram, Silent, Sources, fetch_encoder,
        fetch_transformer,
    },
    up::{
        DEMO_TENANT, demo,
        fleet::{Fleet, FleetOptions},
    },
};
use talkfleet_shared::{
    admin::Health,
    bus::Bus,
    chat::Frame,
    id::TenantId,
    keys::{self, KeyRecord},
    metrics::Metrics,
    topology::{self, Scale},
};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

/// How long anything that should happen may take on a busy machine before a test says that it does not: thrice as long as the
/// broker waits for an acknowledgement before what was lost on the way, or held when a backup was taken, comes again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How many databases the shared Redis has: more than there are tests.
const REDIS_DATABASES: u32 = 4_096;

/// Redis, PostgreSQL and a broker with the demo in it, shared by the whole binary.
struct Base {
    redis: String,
    database: String,
    nats: String,
    encoder: PathBuf,
    transformer: Option<PathBuf>,
    site: PathBuf,
}

static BASE: OnceCell<Base> = OnceCell::const_new();

/// Starts the shared engines on a thread of their own: they outlive the runtime of the test that came first.
async fn base() -> &'static Base {
    BASE.get_or_init(|| async {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let data = tempfile::tempdir().unwrap();
                let sources = Sources::from_environment();
                let mut options = EngineOptions::new(data.path().join("engines"), sources.clone());
                let program = RedisProgram::find(&options, &Silent).await.unwrap();
                let settings = |_: &RedisPlaceOnDisk<'_>| format!("databases {REDIS_DATABASES}\n");
                let redis = RedisNode::start(&program, &data.path().join("redis"), None, settings).await.unwrap();
                options.redis = Some(format!("redis://:{}@127.0.0.1:{}", redis.password(), redis.port));
                let engines = Engines::start(options, &Silent).await.unwrap();
                let encoder = fetch_encoder(&sources, &Silent).await.unwrap();
                let transformer = fetch_transformer(&sources, &Silent).await.unwrap();
                let base = Base {
                    redis: engines.redis_url.clone(),
                    database: engines.database_url.clone(),
                    nats: engines.nats_url.clone(),
                    encoder,
                    transformer,
                    site: data.path().join("site"),
                };
                load_demo(&base).await;
                sender.send(base).unwrap();
                // The engines end with this process: each child follows its parent.
                std::future::pending::<()>().await;
            });
        });
        tokio::task::spawn_blocking(move || receiver.recv().unwrap()).await.unwrap()
    })
    .await
}

impl Base {
    /// A database of the shared Redis, and one of the shared PostgreSQL with the demo in it, in which nobody else looks.
    async fn rooms(&self) -> (String, String) {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        let number = TAKEN.fetch_add(1, Ordering::Relaxed);
        assert!(number < REDIS_DATABASES, "more rooms than Redis has databases");
        let (server, template) = self.database.rsplit_once('/').unwrap();
        let name = format!("{template}_{number}");
        let mut operator = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
        let create = format!("create database {name} template {template}");
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut operator).await.unwrap();
        operator.close().await.unwrap();
        (format!("{}/{number}", self.redis), format!("{server}/{name}"))
    }
}

/// A nats-server and no other engine, with nothing on it.
pub(crate) async fn nats_alone(data: &TempDir) -> Engines {
    let elsewhere = Some("elsewhere".to_owned());
    let options = EngineOptions {
        redis: elsewhere.clone(),
        database: elsewhere,
        ..EngineOptions::new(data.path(), Sources::from_environment())
    };
    Engines::start(options, &Silent).await.unwrap()
}

async fn load_demo(base: &Base) {
    let connect = connect(&base.nats, &base.database);
    let (bus, store) = (connect.bus().await.unwrap(), connect.store().await.unwrap());
    bus.topology_apply(Scale::default()).await.unwrap();
    store.migrate().await.unwrap();
    let tenant = TenantId::parse(DEMO_TENANT).unwrap();
    let target = demo::Target {
        bus: &bus,
        store: &store,
        tenant: &tenant,
        encoder: &base.encoder,
        transformer: base.transformer.as_deref(),
        site: &base.site,
    };
    demo::load(&target, &Silent).await.unwrap();
    store.close().await;
}

fn connect(nats: &str, database: &str) -> Connect {
    Connect { nats: Some(nats.into()), database: Some(database.into()), shards: 4, replicas: 1, ..Connect::default() }
}

/// What a test wants of its fleet.
pub(crate) struct Open {
    gateways: u16,
    workers: u16,
    roles: Vec<String>,
    gateway_set: Vec<(String, String)>,
    worker_set: Vec<(String, String)>,
    own_redis: bool,
    own_database: bool,
    redis: Option<String>,
}

/// A running fleet with a key of the demo's tenant.
pub(crate) struct Desk {
    pub(crate) fleet: Fleet,
    pub(crate) options: FleetOptions,
    pub(crate) engines: Engines,
    pub(crate) bus: Bus,
    pub(crate) key: String,
    pub(crate) data: TempDir,
}

impl Open {
    pub(crate) fn gateways(self, gateways: u16) -> Self {
        Self { gateways, ..self }
    }

    pub(crate) fn workers(self, workers: u16) -> Self {
        Self { workers, ..self }
    }

    pub(crate) fn roles(self, roles: &[&str]) -> Self {
        Self { roles: roles.iter().map(|role| (*role).to_owned()).collect(), ..self }
    }

    pub(crate) fn gateway_set(mut self, key: &str, value: impl ToString) -> Self {
        self.gateway_set.push((key.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn worker_set(mut self, key: &str, value: impl ToString) -> Self {
        self.worker_set.push((key.to_owned(), value.to_string()));
        self
    }

    /// A Redis of its own, to be killed.
    pub(crate) fn own_redis(self) -> Self {
        Self { own_redis: true, ..self }
    }

    /// A Redis that the test looks after.
    pub(crate) fn redis(self, url: &str) -> Self {
        Self { redis: Some(url.to_owned()), ..self }
    }

    /// A PostgreSQL of its own, to be killed; the demo is loaded into it.
    pub(crate) fn own_database(self) -> Self {
        Self { own_database: true, ..self }
    }

    pub(crate) async fn start(self) -> Desk {
        let base = base().await;
        let data = tempfile::tempdir().unwrap();
        let (redis, database) = base.rooms().await;
        let options = EngineOptions {
            redis: self.redis.clone().or_else(|| (!self.own_redis).then_some(redis)),
            database: (!self.own_database).then_some(database),
            ..EngineOptions::new(data.path(), Sources::from_environment())
        };
        let engines = Engines::start(options, &Silent).await.unwrap();
        let bus = Bus::connect(&nats_config(&engines.nats_url, 4, 1), "test", Metrics::new("test"), Health::new())
            .await
            .unwrap();
        bus.topology_apply(Scale::default()).await.unwrap();
        copy_demo(&base.nats, &bus).await;
        if self.own_database {
            let own = Base {
                redis: String::new(),
                database: engines.database_url.clone(),
                nats: engines.nats_url.clone(),
                encoder: base.encoder.clone(),
                transformer: base.transformer.clone(),
                site: base.site.clone(),
            };
            load_demo(&own).await;
        }
        let key = create_key(&bus, DEMO_TENANT).await;
        let options = FleetOptions {
            nats: engines.nats_url.clone(),
            redis: engines.redis_url.clone(),
            database: engines.database_url.clone(),
            encoder: base.encoder.clone(),
            transformer: base.transformer.clone(),
            gateways: self.gateways,
            workers: self.workers,
            roles: self.roles,
            port: Some(0),
            gateway_set: self.gateway_set,
            worker_set: self.worker_set,
            site: Some(base.site.clone()),
        };
        let fleet = Fleet::start(&options).await.unwrap();
        fleet.ready(PATIENCE).await.unwrap();
        Desk { fleet, options, engines, bus, key, data }
    }
}

/// Copies the demo's pointers and models, so that each broker need not train anew.
async fn copy_demo(from: &str, to: &Bus) {
    let from = Bus::connect(&nats_config(from, 4, 1), "test", Metrics::new("test"), Health::new()).await.unwrap();
    for name in from.object_names(topology::MODELS).await.unwrap() {
        to.put_object(topology::MODELS, &name, &from.get_object(topology::MODELS, &name).await.unwrap()).await.unwrap();
    }
    for entry in from.entries(topology::CATALOG).await.unwrap() {
        to.put(topology::CATALOG, &entry.key, entry.value.unwrap()).await.unwrap();
    }
}

/// Options for a fleet on a broker of a test's own, on which the demo is put; nothing runs yet.
pub(crate) async fn fleet_on(operator: &Bus, nats: &str) -> FleetOptions {
    let base = base().await;
    let (redis, database) = base.rooms().await;
    operator.topology_apply(Scale::default()).await.unwrap();
    copy_demo(&base.nats, operator).await;
    FleetOptions {
        nats: nats.to_owned(),
        redis,
        database,
        encoder: base.encoder.clone(),
        transformer: base.transformer.clone(),
        gateways: 0,
        workers: 0,
        roles: Vec::new(),
        port: Some(0),
        gateway_set: Vec::new(),
        worker_set: Vec::new(),
        site: None,
    }
}

/// A key for a tenant, stored as `talkfleet keys create` stores it.
pub(crate) async fn create_key(bus: &Bus, tenant: &str) -> String {
    let key = keys::create(&mut rand::rng());
    let record = KeyRecord { tenant: TenantId::parse(tenant).unwrap(), name: "test".into(), created_at_ms: 0 };
    bus.put(topology::KEYS, &keys::hash(&key), serde_json::to_vec(&record).unwrap().into()).await.unwrap();
    key
}

impl Desk {
    /// One gateway and one worker with every role, unless more is said.
    pub(crate) fn open() -> Open {
        Open {
            gateways: 1,
            workers: 1,
            roles: ["intent", "retrieval", "response", "archive"].map(str::to_owned).to_vec(),
            gateway_set: Vec::new(),
            worker_set: Vec::new(),
            own_redis: false,
            own_database: false,
            redis: None,
        }
    }

    /// The address of a path at the first gateway.
    pub(crate) fn url(&self, path: &str) -> String {
        self.url_of(0, path)
    }

    /// The address of a path at a gateway.
    pub(crate) fn url_of(&self, gateway: usize, path: &str) -> String {
        format!("{}{path}", self.fleet.gateway_urls()[gateway])
    }

    /// Posts JSON with the demo's key; status and body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_as(&self.key, path, body).await
    }

    /// Posts JSON with some key; status and body.
    pub(crate) async fn post_as(&self, key: &str, path: &str, body: &Value) -> (u16, Value) {
        let sent = reqwest::Client::new().post(self.url(path)).bearer_auth(key).json(body).send().await.unwrap();
        (sent.status().as_u16(), sent.json().await.unwrap_or_default())
    }

    /// Gets JSON with the demo's key; status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let sent = reqwest::Client::new().get(self.url(path)).bearer_auth(&self.key).send().await.unwrap();
        (sent.status().as_u16(), sent.json().await.unwrap_or_default())
    }

    /// Asks and gets the answer.
    pub(crate) async fn ask(&self, text: &str) -> Value {
        let (status, answer) = self.post("/v1/chat", &json!({ "text": text })).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Asks for frames at a gateway; they come over SSE.
    pub(crate) async fn stream(&self, gateway: usize, body: &Value) -> Frames {
        let sent = reqwest::Client::new().post(self.url_of(gateway, "/v1/chat")).bearer_auth(&self.key);
        Frames::read(sent.header("accept", "text/event-stream").json(body)).await
    }

    /// Resumes a request's frames at a gateway.
    pub(crate) async fn resume(&self, gateway: usize, request: &str, after: &str) -> Frames {
        let url = self.url_of(gateway, &format!("/v1/chat/{request}/stream?after={after}"));
        Frames::read(reqwest::Client::new().get(url).bearer_auth(&self.key)).await
    }
}

/// Frames of one answer over SSE.
pub(crate) struct Frames(std::pin::Pin<Box<dyn futures::Stream<Item = Frame> + Send>>);

impl Frames {
    pub(crate) async fn read(request: reqwest::RequestBuilder) -> Self {
        use eventsource_stream::Eventsource;
        use futures::StreamExt;
        let response = request.send().await.unwrap();
        let status = response.status();
        if !status.is_success() {
            panic!("{status}: {}", response.text().await.unwrap());
        }
        let events = response.bytes_stream().eventsource();
        Self(Box::pin(events.map(|event| {
            let event = event.unwrap();
            let frame: Frame = serde_json::from_str(&event.data).unwrap();
            assert_eq!(event.id, frame.position().to_string());
            assert_eq!(event.event, frame.body.name());
            frame
        })))
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        use futures::StreamExt;
        tokio::time::timeout(PATIENCE, self.0.next()).await.expect("no frame came in time")
    }

    /// All the rest.
    pub(crate) async fn rest(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

/// Makes sure of the gateway's and the worker's programs. `cargo test` builds them because their packages have a test of
/// them; when only this package was asked for, they are built here, in the same way, so that nothing is compiled twice.
pub(crate) fn built() {
    static BUILT: LazyLock<()> = LazyLock::new(|| {
        let profile: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
        let mut build = std::process::Command::new(env!("CARGO"));
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        assert!(build.args(["test", "--no-run", "--quiet"]).args(profile).status().unwrap().success());
    });
    LazyLock::force(&BUILT);
}

/// One client on a WebSocket.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

impl Socket {
    /// Connects to a gateway and says who it is.
    pub(crate) async fn open(desk: &Desk, gateway: usize) -> Self {
        Self::at(&desk.url_of(gateway, ""), &desk.key).await
    }

    /// The same for a gateway that is not of the fleet.
    pub(crate) async fn at(gateway: &str, key: &str) -> Self {
        let url = format!("{gateway}/v1/ws").replace("http://", "ws://");
        let mut socket = Self(tokio_tungstenite::connect_async(url).await.unwrap().0);
        socket.say(&json!({ "type": "auth", "token": key })).await;
        assert_eq!(socket.next().await["type"], "ready");
        socket
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        use futures::SinkExt;
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Asks under a name of the client's own.
    pub(crate) async fn ask(&mut self, reference: &str, mut body: Value) {
        body["type"] = "ask".into();
        body["ref"] = reference.into();
        self.say(&body).await;
    }

    /// What is told next.
    pub(crate) async fn next(&mut self) -> Value {
        use futures::StreamExt;
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("nothing was told in time");
            if let Message::Text(text) = message.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The next frame of an ask; another's, or a problem, is a failure.
    pub(crate) async fn frame(&mut self, reference: &str) -> Frame {
        let told = self.next().await;
        assert_eq!((&told["type"], &told["ref"]), (&json!("frame"), &json!(reference)), "{told}");
        serde_json::from_value(told).unwrap()
    }

    /// Every further frame of an ask, up to its last one.
    pub(crate) async fn rest(&mut self, reference: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        while frames.last().is_none_or(|frame: &Frame| !frame.body.is_last()) {
            frames.push(self.frame(reference).await);
        }
        frames
    }
}

/// Waits until something is so, at most [`PATIENCE`].
pub(crate) async fn until<F, T>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let give_up = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < give_up, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Runs one of `tests/clients` under Python with some packages; its output is shown when it fails.
pub(crate) async fn python(packages: &[&str], script: &str, args: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let out = python_command(packages).await.arg(path).args(args).output().await.unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{text}");
}

/// Starts the example worker in Python; it ends when the handle is dropped.
pub(crate) async fn python_worker(packages: &[&str], args: &[&str]) -> tokio::process::Child {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../workers/python/retrieve.py");
    python_command(packages).await.arg(path).args(args).kill_on_drop(true).spawn().unwrap()
}

/// Python with packages in a folder of their own under the cache, installed once.
async fn python_command(packages: &[&str]) -> tokio::process::Command {
    let folder = Sources::from_environment().cache.join("tests").join(packages.join("_").replace(['=', '.'], "-"));
    if !folder.join("whole").exists() {
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
            "--upgrade",
            "--target",
        ];
        let status =
            tokio::process::Command::new("python3").args(pip).arg(&folder).args(packages).status().await.unwrap();
        assert!(status.success(), "pip could not install {packages:?}");
        std::fs::write(folder.join("whole"), "").unwrap();
    }
    let mut command = tokio::process::Command::new("python3");
    command.env("PYTHONPATH", folder);
    command
}

/// Runs the operator's command against a desk; what it printed, as JSON where it is.
pub(crate) async fn cli(desk: &Desk, args: &[&str]) -> Value {
    let (succeeded, printed, complaint) = command(desk, args).await;
    assert!(succeeded, "{args:?}: {complaint}");
    printed
}

/// Runs the operator's command, which may fail: whether it did not, what it printed, and what it complained about.
pub(crate) async fn command(desk: &Desk, args: &[&str]) -> (bool, Value, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_talkfleet"));
    command
        .args(args)
        .stdin(std::process::Stdio::null())
        .env("TALKFLEET_NATS__URL", &desk.engines.nats_url)
        .env("TALKFLEET_DATABASE__URL", &desk.engines.database_url)
        .env("TALKFLEET_REDIS__URL", &desk.engines.redis_url);
    if let Some(shadow) = &desk.engines.nats_shadow_url {
        command.env("TALKFLEET_NATS_SHADOW", shadow);
    }
    let out = command.output().await.unwrap();
    let complaint = String::from_utf8_lossy(&out.stderr).into_owned();
    (out.status.success(), serde_json::from_slice(&out.stdout).unwrap_or_default(), complaint)
}
