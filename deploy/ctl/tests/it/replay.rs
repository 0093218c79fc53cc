//! Recorded traffic is asked again in lanes of its own: compared, resumed, fenced off; and what went wrong, at the live fleet.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};

use futures::{StreamExt, future::join_all};
use serde_json::{Value, json};
use talkfleet::up::fleet::{Fleet, FleetOptions};
use talkfleet_shared::{
    bus::{Bus, BusError, Start, StoredRecord},
    chat::{Outcome, Problem, TurnRecord},
    envelope::{self, Format},
    error::Code,
    id::{ConversationId, RequestId, TenantId},
    metrics::Metrics,
    topology,
};
use talkfleet_worker::store::Journaled;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    harness::{Desk, PATIENCE, cli, until},
    model::Model,
};

const QUESTIONS: [[&str; 2]; 4] = [
    ["How long does delivery take?", "And how much does it cost?"],
    ["退款多久到账？", "需要付运费吗？"],
    ["Can I pay in instalments?", "thanks"],
    ["hello", "How do I cancel my order?"],
];

/// Asks in conversations of their own, side by side; the turns of each in order.
async fn record(desk: &Desk, conversations: &[(String, Vec<String>)], mark: &str) {
    let talk = |(conversation, questions): &(String, Vec<String>)| {
        let (conversation, questions) = (conversation.clone(), questions.clone());
        async move {
            for text in questions {
                let body = json!({ "text": text, "conversation": conversation, "metadata": { "mark": mark } });
                let (status, answer) = desk.post("/v1/chat", &body).await;
                assert_eq!(status, 200, "{answer}");
            }
        }
    };
    join_all(conversations.iter().map(talk)).await;
    let turns = conversations.iter().map(|(_, questions)| questions.len()).sum::<usize>() as u64;
    until("the journal to hold every turn", || async {
        (desk.bus.journal_state().await.unwrap().last_sequence >= turns).then_some(())
    })
    .await;
}

/// Conversations that no other test of this database has had.
fn talks(count: usize) -> Vec<(String, Vec<String>)> {
    let mark = RequestId::new();
    let of = |n: usize| QUESTIONS[n % QUESTIONS.len()].map(str::to_owned).to_vec();
    (0..count).map(|n| (format!("{mark}-{n}"), of(n))).collect()
}

/// Replays, and what came of it whatever the gate says: the run, the report, whether it passed.
async fn judged(desk: &Desk, args: &[&str]) -> (Value, Value, bool) {
    let out = command(desk).args(args).output().await.unwrap();
    let told: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|_| panic!("{args:?}: {}", String::from_utf8_lossy(&out.stderr)));
    (told["run"].clone(), told["report"].clone(), out.status.success())
}

/// How many turns changed in a stage, and in how many the baseline differs from itself.
fn stage(report: &Value, name: &str) -> (u64, u64) {
    let row = report["stages"].as_array().unwrap().iter().find(|row| row["stage"] == name);
    let row = row.unwrap_or_else(|| panic!("no stage {name}: {report}"));
    (row["changed"].as_u64().unwrap(), row["noise"].as_u64().unwrap())
}

fn sentences(report: &Value) -> Vec<String> {
    report["changes"].as_array().unwrap().iter().map(|change| change["sentence"].to_string()).collect()
}

fn command(desk: &Desk) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_talkfleet"));
    command
        .env("TALKFLEET_NATS__URL", &desk.engines.nats_url)
        .env("TALKFLEET_NATS_SHADOW", desk.engines.nats_shadow_url.as_ref().unwrap())
        .env("TALKFLEET_DATABASE__URL", &desk.engines.database_url)
        .kill_on_drop(true);
    command
}

fn folder(desk: &Desk) -> String {
    desk.data.path().join("run").display().to_string()
}

/// The lines of a side's file, by the original's id.
fn answers(folder: &str, side: &str) -> Vec<(String, TurnRecord)> {
    let text = std::fs::read_to_string(Path::new(folder).join(format!("{side}.jsonl"))).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["original"].as_str().unwrap().to_owned(), serde_json::from_value(line["record"].clone()).unwrap())
    };
    whole.lines().map(parse).collect()
}

/// How many messages each stream has ever had, and how many consumers, by its name.
async fn streams(desk: &Desk) -> Vec<(String, u64)> {
    let client = client(&desk.engines.nats_url, async_nats::ConnectOptions::new()).await;
    let mut names = async_nats::jetstream::new(client).streams();
    let mut found = Vec::new();
    while let Some(stream) = names.next().await {
        let stream = stream.unwrap();
        found.push((stream.config.name, stream.state.last_sequence));
    }
    found.sort();
    found
}

/// The calls that this Redis has had, of those commands with which the memory reads and writes.
async fn memory_calls(desk: &Desk) -> BTreeSet<String> {
    let rest = desk.engines.redis_url.strip_prefix("redis://").unwrap();
    let (user, address) = rest.rsplit_once('@').unwrap();
    let password = user.rsplit_once(':').unwrap().1;
    let mut socket = tokio::net::TcpStream::connect(address.split('/').next().unwrap()).await.unwrap();
    let commands = format!("AUTH {password}\r\nINFO commandstats\r\nECHO the-end\r\n");
    socket.write_all(commands.as_bytes()).await.unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains("the-end") {
        let read = socket.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let calls = |line: &str| line.split(',').next().unwrap().to_owned();
    text.lines().filter(|line| line.starts_with("cmdstat_z")).map(calls).collect()
}

async fn archived(desk: &Desk, mark: &str) -> i64 {
    let pool = sqlx::PgPool::connect(&desk.engines.database_url).await.unwrap();
    let sql = "select count(*) from turns where position(convert_to($1, 'UTF8') in body) > 0";
    sqlx::query_scalar(sql).bind(mark).fetch_one(&pool).await.unwrap()
}

/// What the live worker has counted of its turns.
async fn counted(desk: &Desk) -> Vec<String> {
    let url = format!("{}/metrics", desk.fleet.worker_urls()[0]);
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    text.lines().filter(|line| line.starts_with("talkfleet_turns_total")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_same_build_answers_alike_and_the_live_fleet_notices_nothing() {
    let desk = Desk::open().own_redis().start().await;
    let mark = RequestId::new().to_string();
    record(&desk, &talks(24), &mark).await;
    until("every turn to be archived", || async { (archived(&desk, &mark).await == 48).then_some(()) }).await;
    let before = (streams(&desk).await, memory_calls(&desk).await, counted(&desk).await);
    let out = folder(&desk);
    let args = ["replay", "--from", "seq:1", "--candidate-set", "log.filter=info", "--report", &out, "--json"];
    let (facts, report, passed) = judged(&desk, &args).await;
    assert_eq!((&facts["turns"], &facts["conversations"]), (&json!(48), &json!(24)), "{facts}");
    assert_eq!((stage(&report, "intent"), &facts["missing"]["candidate"]), ((0, 0), &json!(0)), "{facts}");
    assert_eq!(facts["read"]["messages"], 48, "{facts}");
    for side in ["baseline_a", "baseline_b", "candidate"] {
        let (own, all) = (&facts["sides_per_second"][side], &facts["answers_per_second"]);
        assert!(own.as_f64().unwrap() > 0.0 && all.as_f64() >= own.as_f64(), "{facts}");
    }
    assert!(sentences(&report).is_empty(), "{report:#}");
    assert!(passed || report["verdict"]["checks"].to_string().contains("latency"), "{report:#}");
    let after = (streams(&desk).await, memory_calls(&desk).await, counted(&desk).await);
    assert_eq!(before, after);
    assert_eq!(archived(&desk, &mark).await, 48);
    // With the memory that they had: the second message of a conversation was answered the same way.
    let originals: Vec<Value> = std::fs::read_to_string(Path::new(&out).join("turns.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let histories: Vec<_> = originals.iter().map(|turn| turn["ask"]["history"].as_array().unwrap().len()).collect();
    assert_eq!(histories.iter().filter(|length| **length == 1).count(), 24, "{histories:?}");
    for (original, answer) in answers(&out, "candidate") {
        let then = originals.iter().find(|turn| turn["original"]["request"] == original.as_str()).unwrap();
        let then: TurnRecord = serde_json::from_value(then["original"].clone()).unwrap();
        assert_eq!((said(&then), &then.intent.name), (said(&answer), &answer.intent.name));
    }
}

fn said(record: &TurnRecord) -> &str {
    match &record.outcome {
        Outcome::Answered { answer } => &answer.text,
        other => panic!("{other:?}"),
    }
}

/// Trains a small set of intents for a tenant, with a name of its own for what is asked about tea.
async fn train(desk: &Desk, tenant: &str, tea: &str) {
    let file = desk.data.path().join(format!("{tenant}.jsonl"));
    let sets = [("moon_travel", "fly me to the moon number"), (tea, "pour some green tea in cup")];
    let line =
        |n: u32| sets.map(|(intent, text)| json!({ "text": format!("{text} {n}"), "intent": intent }).to_string());
    let lines: Vec<String> = (0..12).flat_map(line).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    cli(desk, &["intents", "train", "--tenant", tenant, file.to_str().unwrap()]).await;
}

#[tokio::test]
async fn a_renamed_intent_flips_exactly_its_own_turns() {
    let desk = Desk::open().start().await;
    train(&desk, "demo-now", "tea_ceremony").await;
    train(&desk, "demo-next", "tea_service").await;
    let texts = ["fly me to the moon number 3", "pour some green tea in cup 7"];
    let talks: Vec<_> =
        (0..20).map(|n| (format!("renamed-{n}"), vec![texts[usize::from(n % 3 == 0)].to_owned()])).collect();
    record(&desk, &talks, "flips").await;
    let out = folder(&desk);
    let sets = ["--baseline-set", "shadow.intents_of=demo-now", "--candidate-set", "shadow.intents_of=demo-next"];
    let args = [&["replay", "--from", "seq:1", "--report", &out, "--json"][..], &sets].concat();
    let (_, report, passed) = judged(&desk, &args).await;
    assert_eq!(stage(&report, "intent"), (7, 0), "{report:#}");
    assert!(!passed, "a third of the intents is more than the gate lets through");
    let told = sentences(&report);
    assert!(told.len() == 1 && told[0].contains("tea_ceremony") && told[0].contains("tea_service"), "{told:?}");
    assert!(Path::new(&out).join("index.html").is_file());
    for (_, answer) in answers(&out, "candidate") {
        let tea = answer.ask.text.as_str().contains("tea");
        assert_eq!(answer.intent.name, if tea { "tea_service" } else { "moon_travel" });
    }
}

#[tokio::test]
async fn an_interrupted_run_goes_on_where_it_stopped() {
    let desk = Desk::open().start().await;
    record(&desk, &talks(20), "resume").await;
    let out = folder(&desk);
    let args = [
        "replay",
        "--from",
        "seq:1",
        "--to",
        "seq:40",
        "--candidate-set",
        "log.filter=info",
        "--report",
        &out,
        "--json",
    ];
    let mut first = tokio::process::Command::new(env!("CARGO_BIN_EXE_talkfleet"))
        // What was asked within a second is asked within minutes: it cannot have ended when it is killed.
        .args(args)
        .args(["--speed", "0.002x"])
        .env("TALKFLEET_NATS__URL", &desk.engines.nats_url)
        .env("TALKFLEET_NATS_SHADOW", desk.engines.nats_shadow_url.as_ref().unwrap())
        .env("TALKFLEET_DATABASE__URL", &desk.engines.database_url)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("the first answers", || async { (!answers(&out, "candidate").is_empty()).then_some(()) }).await;
    first.kill().await.unwrap();
    let before = answers(&out, "candidate");
    assert!((1..40).contains(&before.len()), "{}", before.len());
    let (facts, ..) = judged(&desk, &args).await;
    assert_eq!((&facts["turns"], &facts["missing"]["candidate"]), (&json!(40), &json!(0)), "{facts}");
    assert!(facts["resumed"].as_u64().unwrap() > 0, "{facts}");
    for side in ["baseline_a", "baseline_b", "candidate"] {
        let all = answers(&out, side);
        let requests: BTreeSet<_> = all.iter().map(|(original, _)| original.clone()).collect();
        assert_eq!((all.len(), requests.len()), (40, 40), "{side}");
    }
    assert_eq!(answers(&out, "candidate")[..before.len()], before);
    let other = refusal(&desk, &[&args[..], &["--tenant", "demo"]].concat()).await;
    assert!(other.contains("holds another run (it differs in tenant)"), "{other}");
    let nobody =
        refusal(&desk, &["replay", "--from", "seq:1", "--candidate", "empty", "--report", &format!("{out}2")]).await;
    assert!(nobody.contains("nobody listens in the lane 'empty'"), "{nobody}");
}

/// A stranger's client under the user that stands in the address.
async fn client(url: &str, options: async_nats::ConnectOptions) -> async_nats::Client {
    let (user, address) = url.strip_prefix("nats://").unwrap().split_once('@').unwrap();
    let (user, password) = user.split_once(':').unwrap();
    options.user_and_password(user.into(), password.into()).connect(address).await.unwrap()
}

/// What a command that fails says.
async fn refusal(desk: &Desk, args: &[&str]) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_talkfleet"));
    let command = command.args(args).env("TALKFLEET_NATS__URL", &desk.engines.nats_url).stdin(Stdio::null());
    let out = command.env("TALKFLEET_DATABASE__URL", &desk.engines.database_url).output().await.unwrap();
    assert!(!out.status.success(), "{args:?}");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// A plain client under the user of a replay's workers; what the broker refuses it comes through the channel.
async fn shadow(desk: &Desk) -> (async_nats::Client, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (sender, refusals) = tokio::sync::mpsc::unbounded_channel();
    let heard = move |event: async_nats::Event| {
        let _ = sender.send(event.to_string());
        std::future::ready(())
    };
    let options = async_nats::ConnectOptions::new().event_callback(heard);
    let client = client(desk.engines.nats_shadow_url.as_ref().unwrap(), options).await;
    (client, refusals)
}

#[tokio::test]
async fn the_broker_keeps_a_replays_workers_in_their_lane() {
    let desk = Desk::open().workers(0).start().await;
    let live = client(&desk.engines.nats_url, async_nats::ConnectOptions::new()).await;
    let mut everything = live.subscribe(">").await.unwrap();
    live.flush().await.unwrap();
    let (client, mut refusals) = shadow(&desk).await;
    let forbidden = [
        "chat.v1.ask.0.demo.c1",
        "chat.v1.turn.demo.c1.r1",
        "chat.v1.journal.demo",
        "chat.v1.feedback.demo",
        "chat.v1.reply.g1.r1",
        "$KV.CATALOG.intents.demo",
        "$KV.KEYS.k",
        "$JS.API.STREAM.CREATE.COPY",
        "$JS.API.STREAM.DELETE.ASK",
        "$JS.API.STREAM.MSG.DELETE.ASK",
        "$JS.API.CONSUMER.MSG.NEXT.ASK.response",
        "$JS.API.CONSUMER.CREATE.ASK.mine",
        "$JS.API.DIRECT.GET.TURNS.chat.v1.turn.demo.c1.r1",
        "$JS.API.DIRECT.GET.KV_KEYS.$KV.KEYS.k",
        "$JS.ACK.ASK.response.1.1.1.1.1",
    ];
    for subject in forbidden {
        client.publish(subject, "{}".into()).await.unwrap();
        client.flush().await.unwrap();
        let refusal = loop {
            let event = tokio::time::timeout(PATIENCE, refusals.recv()).await.unwrap().unwrap();
            if event.to_lowercase().contains("permissions violation") {
                break event;
            }
        };
        assert!(refusal.contains(subject), "{refusal}");
    }
    let mut customers = client.subscribe("chat.v1.>").await.unwrap();
    client.flush().await.unwrap();
    client.publish("shadow.lane.turn.demo.c1.r1", "mine".into()).await.unwrap();
    client.flush().await.unwrap();
    let seen = loop {
        let message = tokio::time::timeout(PATIENCE, everything.next()).await.unwrap().unwrap();
        assert!(!forbidden.contains(&message.subject.as_str()), "{}", message.subject);
        if message.subject.starts_with("shadow.") {
            break message;
        }
    };
    assert_eq!(seen.payload, "mine");
    live.publish("chat.v1.feedback.demo", "heard by nobody in a lane".into()).await.unwrap();
    live.flush().await.unwrap();
    client.flush().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), customers.next()).await.is_err());
}

#[tokio::test]
async fn a_process_in_a_lane_changes_nothing_that_is_live() {
    let desk = Desk::open().workers(0).start().await;
    let config = talkfleet::connect::nats_config(&desk.engines.nats_url, 4, 1);
    let config = talkfleet_shared::config::NatsConfig { lane: "mine".into(), ..config };
    let bus =
        Bus::connect(&config, "test", Metrics::new("test"), talkfleet_shared::admin::Health::new()).await.unwrap();
    let put = bus.put(topology::CATALOG, "intents.demo", "{}".into()).await;
    assert!(matches!(put, Err(BusError::Fenced(_))), "{put:?}");
    assert!(bus.entries(topology::CATALOG).await.unwrap().len() > 1);
    bus.topology_apply(topology::Scale::default()).await.unwrap();
    assert!(bus.topology_diff(topology::Scale::default()).await.unwrap().is_empty());
    assert!(streams(&desk).await.iter().any(|(name, _)| name == "SHADOW_MINE_ASK"));
    bus.topology_remove().await.unwrap();
    assert!(!streams(&desk).await.iter().any(|(name, _)| name.starts_with("SHADOW")));
    assert!(desk.bus.topology_remove().await.is_err());
    assert!(desk.bus.topology_diff(topology::Scale::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_went_wrong_is_asked_again_once() {
    let desk = Desk::open().start().await;
    record(&desk, &[("fine".into(), vec!["hello".into()])], "again").await;
    let (tenant, fine) = (TenantId::parse("demo").unwrap(), ConversationId::parse("fine").unwrap());
    let good = desk.bus.records_of(&tenant, &fine).await.unwrap().remove(0);
    for n in 0..3 {
        let failed = TurnRecord {
            conversation: ConversationId::parse(&format!("failed-{n}")).unwrap(),
            request: RequestId::new(),
            outcome: Outcome::Failed { problem: Problem::new(Code::TurnFailed) },
            ..good.clone()
        };
        desk.bus.write_record(&failed).await.unwrap();
    }
    until("the journal", || async { (desk.bus.journal_state().await.unwrap().last_sequence >= 4).then_some(()) }).await;
    let args = ["replay", "--live", "--from", "seq:1", "--json"];
    let unasked = refusal(&desk, &args).await;
    assert!(unasked.contains("3 turns would be asked again at the live fleet; give --yes"), "{unasked}");
    let yes = [&args[..], &["--yes"]].concat();
    // Two at once and one later: each turn is asked again once.
    let (first, second) = tokio::join!(cli(&desk, &yes), cli(&desk, &yes));
    assert_eq!(
        (&first["found"], &first["missing"], &second["missing"]),
        (&json!(3), &json!(0), &json!(0)),
        "{first} {second}"
    );
    until("the journal", || async { (desk.bus.journal_state().await.unwrap().last_sequence >= 7).then_some(()) }).await;
    let third = cli(&desk, &yes).await;
    assert_eq!((&third["found"], &third["already"], &third["outcomes"]), (&json!(3), &json!(3), &json!({})), "{third}");
    for n in 0..3 {
        let conversation = ConversationId::parse(&format!("failed-{n}")).unwrap();
        let outcomes: Vec<_> = desk.bus.records_of(&tenant, &conversation).await.unwrap();
        let outcomes: Vec<_> = outcomes.iter().map(|record| record.outcome.name()).collect();
        assert_eq!(outcomes, ["failed", "answered"]);
    }
}

#[tokio::test]
async fn a_model_is_paid_once_and_says_the_same_again() {
    let model = Model::start(false).await;
    let desk = Desk::open().worker_set("model.base_url", &model.url).start().await;
    model.say(60);
    let texts = ["How long does delivery take?", "How do I cancel my order?", "Can I pay in instalments?"];
    let talks: Vec<_> = (0..6).map(|n| (format!("cassette-{n}"), vec![texts[n % 3].to_owned()])).collect();
    record(&desk, &talks, "cassettes").await;
    let out = folder(&desk);
    // The workers of the replay know no address of a model at all.
    let args = ["replay", "--from", "seq:1", "--candidate-set", "model.temperature=0.9", "--report", &out, "--json"];
    let (facts, ..) = judged(&desk, &args).await;
    assert_eq!((&facts["model"], &facts["recordings"]["kept"]), (&json!("recorded"), &json!(6)), "{facts}");
    let missed = &facts["recordings"]["missed"];
    assert_eq!((&missed["baseline_a"], &missed["candidate"]), (&json!(0), &json!(6)), "{facts}");
    for (_, answer) in answers(&out, "baseline_b") {
        assert!(answer.model_call.is_some(), "{answer:?}");
        assert_eq!(answer.usage.unwrap().prompt_tokens, 321);
    }
    // To another prompt it might have said something else: the knowledge is quoted, and the answer says why.
    for (_, answer) in answers(&out, "candidate") {
        assert_eq!((answer.model_call, answer.usage), (None, None));
    }
}

#[tokio::test]
async fn what_the_journal_forgot_comes_from_the_archive() {
    let desk = Desk::open().start().await;
    let mark = RequestId::new().to_string();
    let tenant = format!("older-{}", mark.to_ascii_lowercase());
    record(&desk, &[("old".into(), vec!["hello".into()])], &mark).await;
    let demo = TenantId::parse("demo").unwrap();
    let old = desk.bus.records_of(&demo, &ConversationId::parse("old").unwrap()).await.unwrap().remove(0);
    let (day_ms, mut turns) = (86_400_000, Vec::new());
    for n in 0..3 {
        let record = TurnRecord {
            tenant: TenantId::parse(&tenant).unwrap(),
            request: RequestId::new(),
            asked_at_ms: old.asked_at_ms - day_ms + n,
            ..old.clone()
        };
        let body = envelope::encode(&record, Format::MessagePack).unwrap();
        turns.push(Journaled { record, body });
    }
    let url = talkfleet_shared::config::Url::new(&desk.engines.database_url);
    let store = talkfleet_worker::store::Store::connect(&url, 1);
    store.await.unwrap().write_archive(&turns, &[]).await.unwrap();
    let counted = cli(&desk, &["replay", "--count", "--from", "2d", "--tenant", &tenant, "--json"]).await;
    assert_eq!((&counted["turns"], &counted["conversations"]), (&json!(3), &json!(1)), "{counted}");
}

/// Workers of somebody else in a lane: a fleet of their own, whose settings the replay does not know.
async fn outsiders(desk: &Desk, lane: &str, set: &[(&str, &str)]) -> Fleet {
    let set = [&[("nats.lane", lane)][..], set].concat();
    let options = FleetOptions {
        nats: desk.engines.nats_shadow_url.clone().unwrap(),
        gateways: 0,
        workers: 2,
        roles: ["intent", "retrieval", "response"].map(str::to_owned).to_vec(),
        worker_set: set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..desk.options.clone()
    };
    Fleet::start(&options).await.unwrap()
}

/// The operator's connection in a lane, whose streams are made.
async fn lane(desk: &Desk, lane: &str, scale: topology::Scale) -> Bus {
    let config = talkfleet::connect::nats_config(&desk.engines.nats_url, 4, 1);
    let config = talkfleet_shared::config::NatsConfig { lane: lane.into(), ..config };
    let bus =
        Bus::connect(&config, "test", Metrics::new("test"), talkfleet_shared::admin::Health::new()).await.unwrap();
    bus.topology_apply(scale).await.unwrap();
    bus
}

#[tokio::test]
async fn workers_of_others_answer_in_the_lanes_that_are_named() {
    let desk = Desk::open().start().await;
    train(&desk, "demo-now", "tea_ceremony").await;
    train(&desk, "demo-next", "tea_service").await;
    let talks: Vec<_> =
        (0..8).map(|n| (format!("named-{n}"), vec![format!("pour some green tea in cup {n}")])).collect();
    record(&desk, &talks, "named").await;
    let scale = topology::Scale::default();
    let (now, next) = (lane(&desk, "now", scale).await, lane(&desk, "next", scale).await);
    let teams = [
        outsiders(&desk, "now", &[("shadow.intents_of", "demo-now")]).await,
        outsiders(&desk, "next", &[("shadow.intents_of", "demo-next")]).await,
    ];
    for team in &teams {
        team.ready(PATIENCE).await.unwrap();
    }
    // Twice: what lies in the lanes from the first run is not taken for an answer of the second.
    for round in 0..2 {
        let out = format!("{}-{round}", folder(&desk));
        let args =
            ["replay", "--from", "seq:1", "--baseline", "now", "--candidate", "next", "--report", &out, "--json"];
        let (facts, report, passed) = judged(&desk, &args).await;
        assert_eq!(
            (&facts["missing"]["baseline_b"], &facts["missing"]["candidate"]),
            (&json!(0), &json!(0)),
            "{facts}"
        );
        assert_eq!((stage(&report, "intent"), passed), ((8, 0), false), "{report:#}");
        for (side, intent) in
            [("baseline_a", "tea_ceremony"), ("baseline_b", "tea_ceremony"), ("candidate", "tea_service")]
        {
            let all = answers(&out, side);
            assert_eq!(all.len(), 8, "{side}");
            assert!(all.iter().all(|(_, answer)| answer.intent.name == intent), "{side}: {all:?}");
        }
        // The lanes are not the run's own: they stay, and their workers go on listening.
        for bus in [&now, &next] {
            assert!(bus.lag().await.unwrap().pulls > 0);
        }
    }
    for team in teams {
        team.drain().await;
    }
}

#[tokio::test]
async fn a_replay_waits_while_the_live_fleet_has_much_to_do() {
    use talkfleet_shared::{bus::AskHeaders, chat::Ask, chat::MessageText, telemetry::Trace};
    // Nobody answers at the live fleet: what is asked there stays.
    let desk = Desk::open().workers(0).start().await;
    let golden = include_str!("../../../../schemas/wire/golden/v1/turn_record.full.json");
    let recorded: TurnRecord = serde_json::from_str(golden).unwrap();
    desk.bus.write_record(&recorded).await.unwrap();
    until("the journal", || async { (desk.bus.journal_state().await.unwrap().last_sequence == 1).then_some(()) }).await;
    let tenant = TenantId::parse("demo").unwrap();
    for n in 0..3 {
        let conversation = ConversationId::parse(&format!("waits-{n}")).unwrap();
        let (request, trace) = (RequestId::new(), Trace::start(&mut rand::rng()));
        let headers =
            AskHeaders { request, reply_to: String::new(), budget: PATIENCE, trace, last_only: false, opening: false };
        let ask = Ask::new(MessageText::parse("hello").unwrap());
        desk.bus.submit(&tenant, &conversation, &ask, &headers).await.unwrap();
    }
    let out = folder(&desk);
    let set = ["--candidate-set", "log.filter=info", "--live-lag-max", "2"];
    let args = [&["replay", "--from", "seq:1", "--report", &out, "--json"][..], &set].concat();
    let mut replay = command(&desk).args(args).stdout(Stdio::null()).spawn().unwrap();
    let client = client(&desk.engines.nats_url, async_nats::ConnectOptions::new()).await;
    let jetstream = async_nats::jetstream::new(client);
    let lanes = || async {
        let streams: Vec<_> = jetstream.streams().map(Result::unwrap).collect().await;
        let named = |end: &str| {
            let ours = streams.iter().filter(|one| one.config.name.starts_with("SHADOW_"));
            ours.filter(|one| one.config.name.ends_with(end)).cloned().collect::<Vec<_>>()
        };
        (named("_ASK"), named("_TURNS"))
    };
    // It follows the outcomes of both lanes before it asks there.
    until("the replay to listen", || async {
        let (_, turns) = lanes().await;
        (turns.len() == 2 && turns.iter().all(|stream| stream.state.consumer_count > 0)).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (asks, _) = lanes().await;
    assert!(asks.iter().all(|stream| stream.state.last_sequence == 0), "{asks:?}");
    assert!(replay.try_wait().unwrap().is_none());
    jetstream.get_stream(topology::ASK).await.unwrap().purge().await.unwrap();
    tokio::time::timeout(PATIENCE, replay.wait()).await.expect("the replay did not go on").unwrap();
    for side in ["baseline_a", "baseline_b", "candidate"] {
        assert_eq!(answers(&out, side).len(), 1, "{side}");
    }
}

/// Not a test but a measurement: `cargo test --release --test it figures -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn figures_of_reading_and_publishing() {
    let turns: u64 = std::env::var("TURNS").map_or(20_000, |turns| turns.parse().unwrap());
    let desk = Desk::open().start().await;
    record(&desk, &[("fine".into(), vec!["How long does delivery take?".into()])], "figures").await;
    let (tenant, fine) = (TenantId::parse("demo").unwrap(), ConversationId::parse("fine").unwrap());
    let good = desk.bus.records_of(&tenant, &fine).await.unwrap().remove(0);
    let numbers = futures::stream::iter(0..turns);
    let write = |n: u64| {
        let (bus, good) = (desk.bus.clone(), good.clone());
        async move {
            let conversation = ConversationId::parse(&format!("c{n}")).unwrap();
            bus.write_record(&TurnRecord { conversation, request: RequestId::new(), ..good }).await.unwrap();
        }
    };
    numbers.map(write).buffer_unordered(512).for_each(|()| async {}).await;
    until("the journal", || async { (desk.bus.journal_state().await.unwrap().last_sequence > turns).then_some(()) })
        .await;
    for _ in 0..3 {
        let (bus, started) = (desk.bus.clone(), std::time::Instant::now());
        let reading = tokio::spawn(async move {
            let mut records = bus.journal(Start::Sequence(1), None).await.unwrap();
            let mut read = 0u64;
            while let Some(record) = records.next().await {
                record.unwrap();
                read += 1;
            }
            read
        });
        println!("read, not decoded: {:.0}/s", reading.await.unwrap() as f64 / started.elapsed().as_secs_f64());
        let counted = cli(&desk, &["replay", "--count", "--from", "seq:1", "--json"]).await;
        println!("read and decoded: {counted}");
    }
    for round in 0..3 {
        publish_all(&desk, &format!("figures-{round}")).await;
    }
}

/// Reads the journal and publishes each message into a lane, as a replay does, without waiting for answers.
async fn publish_all(desk: &Desk, name: &str) {
    use talkfleet_shared::{
        bus::AskHeaders,
        chat::{Ask, TurnHead},
        telemetry::Trace,
    };
    // Nobody takes anything from it, and it has to hold all.
    let scale = topology::Scale { asks_max: i64::MAX, ..topology::Scale::default() };
    let bus = lane(desk, name, scale).await;
    let (live, started) = (desk.bus.clone(), std::time::Instant::now());
    let (sender, receiver) = tokio::sync::mpsc::channel(2_000);
    tokio::spawn(async move {
        let mut records = live.journal(Start::Sequence(1), None).await.unwrap();
        while let Some(stored) = records.next().await {
            sender.send(stored.unwrap()).await.unwrap();
        }
    });
    let read = futures::stream::unfold(receiver, async |mut read| Some((read.recv().await?, read)));
    let target = bus.clone();
    let publish = move |stored: StoredRecord| {
        let bus = target.clone();
        tokio::spawn(async move {
            let TurnHead { tenant, conversation, ask, .. } = stored.head().unwrap();
            let (request, trace) = (RequestId::new(), Trace::start(&mut rand::rng()));
            let headers = AskHeaders {
                request,
                reply_to: String::new(),
                budget: PATIENCE,
                trace,
                last_only: false,
                opening: false,
            };
            let ask = Ask { history: Some(Vec::new()), ..ask };
            bus.submit(&tenant, &conversation, &ask, &headers).await.unwrap();
        })
    };
    let published = read.map(publish).buffer_unordered(2_000).map(Result::unwrap).count();
    let published = tokio::spawn(published).await.unwrap();
    println!("read and published again: {published}, {:.0}/s", published as f64 / started.elapsed().as_secs_f64());
    bus.topology_remove().await.unwrap();
}

/// Not a test but a measurement, and the bound that it has to keep: see above for how it is run.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn figures_of_a_replay_beside_the_live_fleet() {
    let turns: usize = std::env::var("TURNS").map_or(6_000, |turns| turns.parse().unwrap());
    let desk = Desk::open().start().await;
    let questions: Vec<Value> = include_str!("../../../../schemas/demo/questions.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let line = |n: usize| json!({ "text": questions[n % questions.len()]["text"] }).to_string();
    let file = desk.data.path().join("questions.jsonl");
    std::fs::write(&file, (0..turns).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let publish = ["publish", file.to_str().unwrap(), "--rate", "100000", "--json"];
    // Cold and warm: a worker keeps what it has worked out of a text, and those of a replay begin with nothing.
    let (cold, warm) = (cli(&desk, &publish).await, cli(&desk, &publish).await);
    until("the journal", || async {
        (desk.bus.journal_state().await.unwrap().last_sequence >= 2 * turns as u64).then_some(())
    })
    .await;
    let (out, to) = (folder(&desk), format!("seq:{turns}"));
    let args =
        ["replay", "--from", "seq:1", "--to", &to, "--candidate-set", "log.filter=info", "--report", &out, "--json"];
    let (facts, ..) = judged(&desk, &args).await;
    let live = |told: &Value| told["answered_per_s"].as_f64().unwrap();
    let replayed = facts["answers_per_second"].as_f64().unwrap();
    println!("live: {:.0} answers/s at first, {:.0} once more", live(&cold), live(&warm));
    println!("replay: {facts}");
    println!(
        "replay at max: {:.2} of live at first, {:.2} of live once more",
        replayed / live(&cold),
        replayed / live(&warm)
    );
    assert!(replayed >= live(&cold) / 2.0, "{facts}");
}
