//! The broker as an operator runs it: one user per role, let in by NKEYs, over TLS; what each may do, and nothing else.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use futures::StreamExt;
use serde_json::{Value, json};
use talkfleet::{
    connect::nats_config,
    engines::{Engine, EngineOptions, Engines, Silent, Sources, program},
    up::fleet::{Fleet, FleetOptions},
};
use talkfleet_shared::{
    admin::Health,
    bus::{Bus, BusError, DeadLetter},
    config::NatsConfig,
    dead::{Cause, History, Why},
    id::TenantId,
    metrics::Metrics,
    subject,
    topology::{self, Scale},
};
use tempfile::TempDir;

use crate::{
    harness::{Desk, PATIENCE, create_key, fleet_on, until},
    model::Model,
    tls::Certificates,
};

/// A nats-server with the users that `talkfleet topology` prints and the keys that it makes.
pub(crate) struct Broker {
    server: Child,
    pub(crate) dir: TempDir,
    pub(crate) url: String,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Runs `talkfleet`; what it printed.
async fn talkfleet(args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_talkfleet"));
    let out = command.args(args).envs(variables.iter().copied()).output().await.unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

impl Broker {
    /// With `members` as `talkfleet topology permissions` takes them, and more of a configuration.
    pub(crate) async fn start(members: &[&str], more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_str().unwrap();
        let permissions = talkfleet(&[&["topology", "permissions"], members].concat(), &[]).await;
        std::fs::write(dir.path().join("permissions.conf"), permissions).unwrap();
        talkfleet(&[&["topology", "keys", "--dir", at], members].concat(), &[]).await;
        let configuration = format!(
            "listen: \"127.0.0.1:-1\"\nports_file_dir: \"{at}\"\npid_file: \"{at}/pid\"\nlog_file: \"{at}/log\"\n\
             jetstream {{ store_dir: \"{at}/js\" }}\n\
             accounts {{ TALKFLEET {{ jetstream: enabled, include \"permissions.conf\" }}\nSYS {{ include \"system.conf\" }} }}\n\
             system_account: SYS\n{more}\n"
        );
        std::fs::write(dir.path().join("nats.conf"), configuration).unwrap();
        let nats_server = program(Engine::Nats, &Sources::from_environment(), &Silent).await.unwrap();
        let mut command = Command::new(nats_server);
        command.args(["-c", "nats.conf"]).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().unwrap();
        let mut broker = Self { server, dir, url: String::new() };
        broker.url = until("the broker's ports", || async { broker.ports() }).await;
        broker
    }

    fn ports(&self) -> Option<String> {
        let file = self.dir.path().join(format!("nats-server_{}.ports", self.server.id()));
        let ports: Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
        Some(ports["nats"][0].as_str()?.to_owned())
    }

    pub(crate) fn seed(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("{user}.nk"))
    }

    /// Reads the configuration anew, as an operator would have it do.
    pub(crate) fn reload(&self) {
        assert!(Command::new("kill").args(["-HUP", &self.server.id().to_string()]).status().unwrap().success());
    }

    pub(crate) fn config(&self, user: &str) -> NatsConfig {
        let nkey_file = self.seed(user).display().to_string();
        NatsConfig { user: user.to_owned(), nkey_file, ..nats_config(&self.url, 4, 1) }
    }

    pub(crate) async fn bus(&self, user: &str) -> Bus {
        Bus::connect(&self.config(user), "test", Metrics::new("test"), Health::new()).await.unwrap()
    }

    /// A plain client under a user, and what the broker forbade it.
    async fn client(&self, user: &str) -> (async_nats::Client, Arc<Mutex<Vec<String>>>) {
        let forbidden = Arc::new(Mutex::new(Vec::new()));
        let heard = forbidden.clone();
        let seed = std::fs::read_to_string(self.seed(user)).unwrap();
        let options = async_nats::ConnectOptions::new()
            .nkey(seed.trim().to_owned())
            .custom_inbox_prefix(format!("_INBOX.{user}"))
            .event_callback(move |event| {
                if let async_nats::Event::ServerError(error) = event {
                    heard.lock().unwrap().push(error.to_string());
                }
                std::future::ready(())
            });
        (options.connect(&self.url).await.unwrap(), forbidden)
    }

    /// What the broker refused so far, by its own log.
    fn refusals(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
    }
}

const YES: bool = true;
const NO: bool = false;

/// Who may publish on what.
#[rustfmt::skip]
const MAY_PUBLISH: &[(&str, &str, bool)] = &[
    ("gateway", "chat.v1.ask.0.demo.c1", YES), ("gateway", "chat.v1.direct.demo", YES),
    ("gateway", "chat.v1.history.demo", YES), ("gateway", "chat.v1.cancel.demo.r1", YES),
    ("gateway", "chat.v1.resume.demo.r1", YES), ("gateway", "chat.v1.feedback.demo", YES),
    ("gateway", "chat.v1.turn.demo.c1.r1", YES), ("gateway", "chat.v1.burst.demo.c1", YES),
    ("gateway", "chat.v1.listening.demo.r1", YES), ("gateway", "$KV.KEYS.visitor-secret", YES),
    ("gateway", "$JS.API.DIRECT.GET.TURNS.chat.v1.turn.demo.*.r1", YES), ("gateway", "$JS.API.DIRECT.GET.ASK.chat.v1.ask.0.demo.c1", YES),
    ("gateway", "$JS.API.CONSUMER.INFO.JOURNAL.archive", YES), ("gateway", "$JS.API.STREAM.INFO.ASK", YES),
    ("gateway", "chat.v1.ask_next.0.demo.c1", YES), ("gateway", "$JS.API.CONSUMER.CREATE.KV_RELEASE.mine", YES),
    ("gateway", "$KV.RELEASE.rule", NO), ("gateway", "$KV.FORGOTTEN.x", NO), ("response", "$JS.API.CONSUMER.MSG.NEXT.ASK.response_next", YES),
    ("response", "$KV.RELEASE.rule", NO), ("archive", "$KV.FORGOTTEN.x", NO), ("archive", "$JS.API.CONSUMER.MSG.NEXT.ASK.response_next", NO),
    ("gateway", "chat.v1.audit", NO), ("gateway", "$JS.API.STREAM.INFO.JOURNAL", NO), ("gateway", "$JS.API.DIRECT.GET.JOURNAL", NO),
    ("gateway", "_INBOX.somebody.1.2", YES), ("gateway", "_INBOX.gateway.1.2", YES),
    ("gateway", "_INBOX.response.1.2", NO), ("gateway", "_INBOX.operator.1.2", NO),
    ("gateway", "$KV.KEYS.0123", NO), ("gateway", "$KV.CATALOG.intents.demo", NO), ("gateway", "$KV.OWNERS.demo.c1", NO),
    ("gateway", "$JS.API.DIRECT.GET.JOURNAL.chat.v1.journal.demo", NO), ("gateway", "$JS.API.STREAM.MSG.GET.JOURNAL", NO),
    ("gateway", "$JS.API.CONSUMER.MSG.NEXT.JOURNAL.archive", NO), ("gateway", "$JS.API.CONSUMER.CREATE.JOURNAL.mine", NO),
    ("gateway", "$JS.API.CONSUMER.CREATE.TURNS.mine", NO), ("gateway", "$JS.API.CONSUMER.MSG.NEXT.ASK.response", NO),
    ("gateway", "$JS.API.STREAM.MSG.DELETE.ASK", NO), ("gateway", "$JS.API.STREAM.PURGE.TURNS", NO),
    ("gateway", "$JS.ACK.ASK.response.1.1.1.1.1", NO), ("gateway", "$JS.API.DIRECT.GET.DEAD.chat.v1.dead.demo", NO),
    ("gateway", "chat.v1.intent.demo", NO), ("gateway", "chat.v1.reply.g2.r1", NO), ("gateway", "chat.v1.dead.demo", NO),
    ("gateway", "chat.v1.journal.demo", NO), ("gateway", "chat.v1.changed.demo", NO), ("gateway", "shadow.a.ask.0.demo.c1", NO),
    ("intent", "_INBOX.response.1.2", YES), ("intent", "$JS.API.CONSUMER.CREATE.KV_CATALOG.mine.$KV.CATALOG.>", YES),
    ("intent", "$JS.API.STREAM.INFO.OBJ_MODELS", YES),
    ("intent", "_INBOX.gateway.1.2", NO), ("intent", "chat.v1.ask.0.demo.c2", NO), ("intent", "chat.v1.reply.g1.r1", NO),
    ("intent", "chat.v1.turn.demo.c2.r2", NO), ("intent", "$JS.API.CONSUMER.MSG.NEXT.ASK.response", NO),
    ("intent", "$JS.API.CONSUMER.MSG.NEXT.JOURNAL.archive", NO), ("intent", "$JS.API.DIRECT.GET.TURNS.chat.v1.turn.demo.*.r1", NO),
    ("intent", "$JS.API.STREAM.INFO.KV_KEYS", NO), ("intent", "$KV.CATALOG.intents.demo", NO), ("intent", "$O.MODELS.C.x", NO),
    ("retrieval", "_INBOX.worker.1.2", YES), ("retrieval", "$JS.API.STREAM.INFO.KV_CATALOG", YES),
    ("retrieval", "chat.v1.intent.demo", NO), ("retrieval", "$JS.API.STREAM.INFO.OBJ_MODELS", NO),
    ("retrieval", "$JS.API.CONSUMER.MSG.NEXT.ASK.response", NO), ("retrieval", "chat.v1.reply.g1.r1", NO),
    ("response", "$JS.API.CONSUMER.MSG.NEXT.ASK.response", YES), ("response", "$JS.API.CONSUMER.MSG.NEXT.ADVISORIES.reaper", YES),
    ("response", "$JS.ACK.ASK.response.1.1.1.1.1", YES), ("response", "$JS.ACK._.hash.ASK.response.1.1.1.1.1.x", YES),
    ("response", "$JS.API.STREAM.MSG.GET.ASK", YES), ("response", "$JS.API.STREAM.MSG.DELETE.ASK", YES),
    ("response", "chat.v1.reply.g1.r1", YES), ("response", "chat.v1.turn.demo.c3.r3", YES), ("response", "chat.v1.dead.demo", YES),
    ("response", "chat.v1.intent.demo", YES), ("response", "chat.v1.retrieve.demo", YES),
    ("response", "$JS.API.DIRECT.GET.CANCELS.chat.v1.cancel.demo.r1", YES),
    ("response", "chat.v1.ask.0.demo.c3", NO), ("response", "$JS.API.CONSUMER.MSG.NEXT.JOURNAL.archive", NO),
    ("response", "$JS.API.CONSUMER.CREATE.ASK.mine", NO), ("response", "$JS.API.CONSUMER.DELETE.ASK.response", NO),
    ("response", "$JS.API.STREAM.MSG.DELETE.TURNS", NO), ("response", "$JS.API.STREAM.PURGE.ASK", NO),
    ("response", "$JS.API.STREAM.INFO.KV_KEYS", NO), ("response", "$KV.OWNERS.demo.c1", NO), ("response", "_INBOX.gateway.1.2", NO),
    ("response", "chat.v1.journal.demo", NO), ("response", "chat.v1.feedback.demo", NO),
    ("archive", "$JS.API.CONSUMER.MSG.NEXT.JOURNAL.archive", YES), ("archive", "$JS.ACK.JOURNAL.archive.1.1.1.1.1", YES),
    ("archive", "chat.v1.changed.demo", YES), ("archive", "_INBOX.gateway.1.2", YES), ("archive", "chat.v1.dead.demo", YES),
    ("archive", "$JS.API.CONSUMER.CREATE.TURNS.mine.chat.v1.turn.demo.c1.*", YES),
    ("archive", "$JS.API.DIRECT.GET.JOURNAL", YES),
    ("archive", "$JS.API.CONSUMER.MSG.NEXT.ASK.response", NO), ("archive", "$JS.ACK.ASK.response.1.1.1.1.1", NO),
    ("archive", "chat.v1.turn.demo.c4.r4", NO), ("archive", "chat.v1.reply.g1.r1", NO), ("archive", "chat.v1.ask.0.demo.c4", NO),
    ("archive", "$JS.API.STREAM.DELETE.JOURNAL", NO), ("archive", "$JS.API.STREAM.INFO.KV_KEYS", NO),
    ("worker", "$JS.API.CONSUMER.MSG.NEXT.ASK.response", YES), ("worker", "$JS.API.CONSUMER.MSG.NEXT.JOURNAL.archive", YES),
    ("worker", "$JS.API.STREAM.CREATE.NEW", NO), ("worker", "$KV.KEYS.0123", NO), ("worker", "chat.v1.ask.0.demo.c5", NO),
    ("operator", "$JS.API.STREAM.CREATE.NEW", YES), ("operator", "$JS.API.STREAM.DELETE.NEW", YES),
    ("operator", "$JS.API.STREAM.PURGE.NEW", YES), ("operator", "$KV.CATALOG.nothing", YES), ("operator", "chat.v1.ask.0.demo.c6", YES),
    ("shadow", "shadow.a.ask.0.demo.c1", YES), ("shadow", "chat.v1.ask.0.demo.c7", NO), ("shadow", "_INBOX.gateway.1.2", NO),
    ("client-demo", "chat.v1.chat.demo", YES), ("client-demo", "chat.v1.chat.other", NO), ("client-demo", "chat.v1.ask.0.demo.c8", NO),
    ("client-demo", "$JS.API.STREAM.NAMES", NO),
];

/// Who may hear what.
#[rustfmt::skip]
const MAY_HEAR: &[(&str, &str, bool)] = &[
    ("gateway", "chat.v1.reply.g1.*", YES), ("gateway", "chat.v1.chat.*", YES), ("gateway", "_INBOX.gateway.>", YES),
    ("gateway", "$SRV.PING", YES),
    ("gateway", "_INBOX.>", NO), ("gateway", "_INBOX.response.>", NO), ("gateway", "chat.v1.>", NO), ("gateway", ">", NO),
    ("gateway", "chat.v1.ask.*.*.*", NO), ("gateway", "chat.v1.turn.*.*.*", NO), ("gateway", "chat.v1.journal.*", NO),
    ("gateway", "$KV.KEYS.>", NO), ("gateway", "$JS.EVENT.>", NO),
    ("intent", "chat.v1.intent.*", YES), ("intent", "chat.v1.retrieve.*", NO), ("intent", "chat.v1.ask.*.*.*", NO),
    ("intent", "chat.v1.reply.*.*", NO), ("intent", "_INBOX.response.>", NO), ("intent", "chat.v1.history.*", NO),
    ("retrieval", "chat.v1.retrieve.*", YES), ("retrieval", "chat.v1.intent.*", NO), ("retrieval", "chat.v1.direct.*", NO),
    ("response", "chat.v1.direct.*", YES), ("response", "chat.v1.cancel.*.*", YES), ("response", "chat.v1.resume.*.*", YES),
    ("response", "chat.v1.ask.*.*.*", NO), ("response", "chat.v1.reply.*.*", NO), ("response", "chat.v1.history.*", NO),
    ("archive", "chat.v1.history.*", YES), ("archive", "chat.v1.changed.*", YES), ("archive", "chat.v1.direct.*", NO),
    ("archive", "chat.v1.reply.*.*", NO), ("archive", "_INBOX.gateway.>", NO),
    ("operator", "chat.v1.>", YES), ("operator", "_INBOX.>", NO), ("operator", "_INBOX.gateway.>", NO),
    ("shadow", "shadow.>", YES), ("shadow", "chat.v1.>", NO), ("shadow", "_INBOX.gateway.>", NO),
    ("client-demo", "_INBOX.client-demo.>", YES), ("client-demo", "_INBOX.>", NO), ("client-demo", "chat.v1.reply.*.*", NO),
];

#[tokio::test]
async fn every_user_may_what_its_role_needs_and_nothing_else() {
    let broker = Broker::start(&["--client", "demo"], "").await;
    broker.bus("operator").await.topology_apply(Scale::default()).await.unwrap();
    let mut users: Vec<&str> = MAY_PUBLISH.iter().map(|(user, ..)| *user).collect();
    users.dedup();
    let mut wrong = Vec::new();
    for user in users {
        let (client, forbidden) = broker.client(user).await;
        let of_user = |rows: &'static [(&str, &str, bool)]| rows.iter().filter(move |row| row.0 == user);
        let rows =
            of_user(MAY_PUBLISH).map(|row| ("Publish", row)).chain(of_user(MAY_HEAR).map(|row| ("Subscription", row)));
        for (what, (_, subject, may)) in rows {
            forbidden.lock().unwrap().clear();
            let mut ears = Vec::new();
            match what {
                "Publish" => client.publish(*subject, "{}".into()).await.unwrap(),
                _ => ears.push(client.subscribe(*subject).await.unwrap()),
            }
            // Asked where nobody answers: by then the broker has dealt with all before.
            let _ = client.request(client.new_inbox(), "".into()).await;
            let said = forbidden.lock().unwrap().join("; ");
            let refused = said.contains(what) && said.contains(&format!("\"{subject}\""));
            if refused == *may || (*may && !said.is_empty()) {
                wrong.push(format!(
                    "{user} {what} {subject}: should be {}: {said}",
                    if *may { "allowed" } else { "refused" }
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn gateways_with_users_of_their_own_hear_nothing_of_one_another() {
    let broker = Broker::start(&["--gateway", "gateway-1", "--gateway", "gateway-2"], "").await;
    let (first, forbidden) = broker.client("gateway-1").await;
    let (second, _) = broker.client("gateway-2").await;
    let mut replies = first.subscribe("chat.v1.reply.gateway-1.*").await.unwrap();
    for strange in ["chat.v1.reply.gateway-2.*", "chat.v1.reply.*.*", "_INBOX.gateway-2.>"] {
        let _strange = first.subscribe(strange).await.unwrap();
        let _ = first.request(first.new_inbox(), "".into()).await;
        assert!(forbidden.lock().unwrap().iter().any(|said| said.contains(strange)), "{strange}");
    }
    let (response, _) = broker.client("response").await;
    response.publish("chat.v1.reply.gateway-1.r1", "mine".into()).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, replies.next()).await.unwrap().unwrap().payload, "mine");
    // They still answer one another.
    let mut asked = second.subscribe("chat.v1.listening.demo.r1").await.unwrap();
    let _ = second.request(second.new_inbox(), "".into()).await;
    let answering = async {
        let question = asked.next().await.unwrap();
        second.publish(question.reply.unwrap(), "yes".into()).await.unwrap();
        second.flush().await.unwrap();
    };
    let (answer, ()) = tokio::join!(first.request("chat.v1.listening.demo.r1", "".into()), answering);
    assert_eq!(answer.unwrap().payload, "yes");
}

/// A desk with a worker for each role and a gateway, each under its own user; the response role speaks through `model`.
async fn desk(broker: &Broker, model: &Model) -> Desk {
    let bus = broker.bus("operator").await;
    let options = fleet_on(&bus, &broker.url).await;
    let key = create_key(&bus, "demo").await;
    let nkey = |user: &str| ("nats.nkey_file".to_owned(), broker.seed(user).display().to_string());
    let mut fleet = Fleet::start(&options).await.unwrap();
    for role in ["intent", "retrieval", "response", "archive"] {
        let mut worker_set = vec![nkey(role)];
        if role == "response" {
            let speaks = [
                ("model.base_url", &*model.url),
                ("model.api_key", "not-a-real-key"),
                ("model.token_timeout_ms", "60000"),
                ("model.first_token_timeout_ms", "60000"),
                ("turn.grace_ms", "500"),
                ("plan.answer_cache_entries", "0"),
            ];
            worker_set.extend(speaks.map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
        fleet.add_worker(&FleetOptions { roles: vec![role.into()], worker_set, ..options.clone() }).await.unwrap();
    }
    fleet.add_gateway(&FleetOptions { gateway_set: vec![nkey("gateway")], ..options.clone() }, false).await.unwrap();
    fleet.ready(PATIENCE).await.unwrap();
    // All of its engines run elsewhere.
    let data = tempfile::tempdir().unwrap();
    let [nats, redis, database] = [&options.nats, &options.redis, &options.database].map(|url| Some(url.clone()));
    let engines =
        EngineOptions { nats, redis, database, ..EngineOptions::new(data.path(), Sources::from_environment()) };
    let engines = Engines::start(engines, &Silent).await.unwrap();
    Desk { fleet, options, engines, bus, key, data }
}

/// What its workers say that they lack.
async fn missing(desk: &Desk) -> String {
    let mut missing = String::new();
    for url in desk.fleet.worker_urls() {
        missing += &reqwest::get(format!("{url}/readyz")).await.unwrap().text().await.unwrap();
    }
    missing
}

/// The operator's command on this broker; what it printed.
async fn operate(broker: &Broker, desk: &Desk, args: &[&str]) -> String {
    let seed = broker.seed("operator").display().to_string();
    let database = desk.options.database.as_str();
    let variables = [
        ("TALKFLEET_NATS__URL", &*broker.url),
        ("TALKFLEET_NATS__NKEY_FILE", &seed),
        ("TALKFLEET_DATABASE__URL", database),
    ];
    talkfleet(args, &variables).await
}

#[tokio::test]
async fn a_whole_fleet_works_with_one_user_per_role() {
    let broker = Broker::start(&["--client", "demo"], "").await;
    let model = Model::start(false).await;
    let desk = desk(&broker, &model).await;

    // Asked, answered, judged, looked back at.
    model.answer();
    let (status, answer) =
        desk.post("/v1/chat", &json!({ "text": "How long does delivery take?", "conversation": "talk" })).await;
    assert_eq!((status, &answer["kind"], &answer["degraded"]), (200, &json!("answer"), &json!([])), "{answer}");
    let feedback = json!({ "id": answer["id"], "verdict": "up" });
    assert_eq!(desk.post("/v1/feedback", &feedback).await.0, 202);
    until("the archive", || async {
        let (_, history) = desk.get("/v1/conversations/talk").await;
        history["turns"].as_array().is_some_and(|turns| turns.len() == 1).then_some(())
    })
    .await;

    // Resumed in mid-answer, stopped in another.
    model.say(1);
    let mut frames =
        desk.stream(0, &json!({ "text": "How long does delivery take?", "conversation": "resumed" })).await;
    let begun = frames.next().await.unwrap();
    let resumed = desk.resume(0, begun.request.as_str(), "0").await;
    model.answer();
    assert_eq!(resumed.rest().await.last().unwrap().body.name(), "done");
    model.say(1);
    let mut frames =
        desk.stream(0, &json!({ "text": "How long does delivery take?", "conversation": "stopped" })).await;
    let begun = frames.next().await.unwrap();
    assert_eq!(desk.post(&format!("/v1/chat/{}/cancel", begun.request), &json!({})).await.0, 202);
    assert_eq!(frames.rest().await.last().unwrap().body.name(), "cancelled");
    model.answer();

    // By a plain client of the tenant's.
    model.answer();
    let (client, forbidden) = broker.client("client-demo").await;
    let asked = client.request("chat.v1.chat.demo", r#"{"text":"Where is my parcel?"}"#.into());
    let reply = tokio::time::timeout(PATIENCE, asked).await.unwrap().unwrap();
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert!(reply["kind"].is_string(), "{reply}");
    assert_eq!(forbidden.lock().unwrap().len(), 0);

    // What killed its workers is set aside by the response role.
    let response = broker.bus("response").await;
    let demo = TenantId::parse("demo").unwrap();
    assert!(response.stored_ask(1).await.unwrap().is_none());
    let poison = DeadLetter {
        origin: &subject::direct(&demo),
        headers: None,
        body: &"{}".into(),
        why: &Why::new(Cause::Unreadable, "a test"),
        history: History::default(),
        attempt: 1,
    };
    response.set_aside(&poison).await.unwrap();

    // What is current is changed by the operator's command, and heard by the roles. A tenant of its own: the database is
    // other tests' too.
    let folder = tempfile::tempdir().unwrap();
    let article =
        "---\ntitle: Do you deliver by drone?\nurl: /help/drones\n---\nWe deliver by drone to three islands.\n";
    std::fs::write(folder.path().join("drones.md"), article).unwrap();
    operate(&broker, &desk, &["knowledge", "add", "--tenant", "isles", folder.path().to_str().unwrap()]).await;
    assert!(operate(&broker, &desk, &["dead", "list"]).await.contains("a test"));
    operate(&broker, &desk, &["topology", "diff"]).await;
    let key = create_key(&desk.bus, "isles").await;
    until("the new article", || async {
        model.answer();
        let (_, answer) = desk.post_as(&key, "/v1/chat", &json!({ "text": "Do you deliver by drone?" })).await;
        (answer["citations"][0]["url"] == "/help/drones").then_some(())
    })
    .await;

    let refused = broker.refusals();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[tokio::test]
async fn a_stream_that_was_deleted_comes_back_by_the_operators_hand_alone() {
    let broker = Broker::start(&[], "").await;
    let desk = desk(&broker, &Model::start(true).await).await;
    assert_eq!(desk.ask("How long does delivery take?").await["kind"], "answer");
    desk.bus.delete_stream(topology::ASK).await.unwrap();
    until("a worker that says what is missing", || async {
        let missing = missing(&desk).await;
        (missing.contains("ASK") && missing.contains("talkfleet topology apply")).then_some(())
    })
    .await;
    assert!(desk.bus.asks_waiting().await.is_err(), "nobody of the fleet may make it again");
    let seed = broker.seed("operator").display().to_string();
    let mut keeper = tokio::process::Command::new(env!("CARGO_BIN_EXE_talkfleet"));
    keeper.args(["topology", "apply", "--every", "1"]).env("TALKFLEET_NATS__URL", &broker.url);
    let mut keeper =
        keeper.env("TALKFLEET_NATS__NKEY_FILE", seed).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    until("an answer", || async {
        let (status, answer) = desk.post("/v1/chat", &json!({ "text": "How long does delivery take?" })).await;
        (status == 200 && answer["kind"] == "answer").then_some(())
    })
    .await;
    desk.fleet.ready(PATIENCE).await.unwrap();
    assert!(Command::new("kill").args(["-TERM", &keeper.id().unwrap().to_string()]).status().unwrap().success());
    assert!(keeper.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_key_is_changed_while_the_fleet_runs() {
    let broker = Broker::start(&[], "").await;
    let health = Health::new();
    let operator = broker.bus("operator").await;
    operator.topology_apply(Scale::default()).await.unwrap();
    let bus = Bus::connect(&broker.config("response"), "test", Metrics::new("test"), health.clone()).await.unwrap();
    let before = std::fs::read(broker.seed("response")).unwrap();
    let at = broker.dir.path().to_str().unwrap();
    talkfleet(&["topology", "keys", "--dir", at, "--renew", "response"], &[]).await;
    assert_ne!(before, std::fs::read(broker.seed("response")).unwrap());
    broker.reload();
    // The broker lets go of whoever came with the old key; the new one is read for the new connection.
    until("a new connection", || async {
        bus.metrics().text().contains("talkfleet_bus_reconnects_total 2").then_some(())
    })
    .await;
    until("the broker's clock", || async { bus.time().await.ok() }).await;
    assert!(health.is_ready(), "{:?}", health.missing());

    // A seed that is no seed, and a user that is none, are said at the start.
    std::fs::write(broker.seed("archive"), "geheim").unwrap();
    let Err(BusError::Connect { why, .. }) =
        Bus::connect(&broker.config("archive"), "test", Metrics::new("test"), Health::new()).await
    else {
        panic!("it was let in")
    };
    assert!(why.contains("archive.nk holds no seed of an NKEY") && !why.contains("geheim"), "{why}");
    std::fs::write(broker.seed("archive"), before).unwrap();
    let Err(BusError::Connect { why, .. }) =
        Bus::connect(&broker.config("archive"), "test", Metrics::new("test"), Health::new()).await
    else {
        panic!("it was let in")
    };
    assert!(why.contains("it knows no such user"), "{why}");
}

/// The configuration that is shipped, as the server itself reads it.
#[tokio::test]
async fn the_shipped_configuration_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nats");
    for name in ["nats-server.conf", "permissions.conf"] {
        std::fs::copy(shipped.join(name), dir.path().join(name)).unwrap();
    }
    talkfleet(&["topology", "keys", "--dir", dir.path().to_str().unwrap()], &[]).await;
    Certificates::new("localhost").write(dir.path(), "server");
    let variables = [
        ("NATS_SERVER_NAME", "nats-0"),
        ("NATS_STORE_DIR", "/data"),
        ("NATS_STORE_BYTES_MAX", "20GB"),
        ("NATS_TLS_CERT", "server.pem"),
        ("NATS_TLS_KEY", "server.key"),
        ("NATS_TLS_CA", "ca.pem"),
        ("NATS_TLS_VERIFY", "false"),
        ("NATS_ROUTES", r#"["nats-route://nats-1:6222", "nats-route://nats-2:6222"]"#),
    ];
    let nats_server = program(Engine::Nats, &Sources::from_environment(), &Silent).await.unwrap();
    let mut command = Command::new(nats_server);
    let out = command.args(["-t", "-c", "nats-server.conf"]).current_dir(dir.path()).envs(variables).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("is valid"), "{said}");
}
