//! A backup of a desk that works, put back onto fresh engines: nothing is lacking, nothing is answered twice, nothing is half.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use talkfleet::{
    connect::nats_config,
    engines::{Engine, EngineOptions, Engines, NatsCluster, Silent, Sources},
    up::fleet::Fleet,
};
use talkfleet_shared::{
    admin::Health,
    bus::Bus,
    id::{RequestId, TenantId},
    metrics::Metrics,
    topology,
};
use tempfile::TempDir;

use crate::{
    harness::{Desk, PATIENCE, cli, until},
    queue::stranger_at,
};

/// Engines on which nothing is.
struct Fresh {
    engines: Engines,
    data: TempDir,
}

impl Fresh {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let options = EngineOptions::new(data.path(), Sources::from_environment());
        Self { engines: Engines::start(options, &Silent).await.unwrap(), data }
    }

    async fn bus(&self) -> Bus {
        let config = nats_config(&self.engines.nats_url, 4, 1);
        Bus::connect(&config, "test", Metrics::new("test"), Health::new()).await.unwrap()
    }

    async fn restore(&self, args: &[&str]) -> (bool, Value, String) {
        self.restore_to(&self.engines.nats_url, args).await
    }

    async fn restore_to(&self, nats: &str, args: &[&str]) -> (bool, Value, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_talkfleet"));
        command.args(["restore", "--json"]).args(args).env("TALKFLEET_NATS__URL", nats);
        command.env("TALKFLEET_DATABASE__URL", &self.engines.database_url);
        let out = command.env("TALKFLEET_REDIS__URL", &self.engines.redis_url).output().await.unwrap();
        let complaint = String::from_utf8_lossy(&out.stderr).into_owned();
        (out.status.success(), serde_json::from_slice(&out.stdout).unwrap_or_default(), complaint)
    }

    /// Nothing was put back: neither a stream nor a row.
    async fn is_untouched(&self) {
        assert_eq!(self.bus().await.streams_named("").await.unwrap(), Vec::<String>::new());
        let pool = sqlx::PgPool::connect(&self.engines.database_url).await.unwrap();
        let tables: i64 =
            sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public' and tablename = 'turns'")
                .fetch_one(&pool)
                .await
                .unwrap();
        if tables > 0 {
            assert_eq!(contents(&self.engines.database_url).await["turns"].0, 0);
        }
    }
}

/// Rows of each table, and a digest of all that stands in them.
async fn contents(url: &str) -> BTreeMap<&'static str, (i64, Option<String>)> {
    let pool = sqlx::PgPool::connect(url).await.unwrap();
    let mut found = BTreeMap::new();
    for table in ["knowledge", "documents", "passages", "turns", "feedback", "usage"] {
        let sql = format!("select count(*), md5(string_agg(t::text, '|' order by t::text)) from {table} as t");
        let row = sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(&pool).await.unwrap();
        found.insert(table, row);
    }
    found
}

fn count(list: &Value, name: &str, of: &str, what: &str) -> u64 {
    let found = list.as_array().unwrap().iter().find(|one| one[name] == of);
    found.unwrap_or_else(|| panic!("{of}: {list}"))[what].as_u64().unwrap()
}

async fn archived(url: &str) -> i64 {
    let pool = sqlx::PgPool::connect(url).await.unwrap();
    sqlx::query_scalar("select count(*) from turns").fetch_one(&pool).await.unwrap()
}

async fn say(desk: &Desk, user: &str, conversation: &str, text: &str) {
    let body = json!({ "text": text, "conversation": conversation, "user": user });
    let (status, answer) = desk.post("/v1/chat", &body).await;
    assert_eq!(status, 200, "{answer}");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_desk_is_put_back_onto_fresh_engines_as_it_was() {
    let desk = Desk::open().start().await;
    for n in 0..20 {
        say(&desk, &format!("user-{n}"), &format!("talk-{n}"), "How long does delivery take?").await;
    }
    say(&desk, "customer-ann-1", "ann-talk-1", "My parcel for Elm Street 5 in Springfield never came").await;
    cli(&desk, &["conversation", "take", "talk-3", "--name", "Joe", "--json"]).await;
    until("archived turns", || async { (archived(&desk.engines.database_url).await == 21).then_some(()) }).await;

    // While it works.
    let folder = desk.data.path().join("backup");
    let traffic = async {
        for n in 0..20 {
            say(&desk, "busy", &format!("busy-{n}"), "退款多久到账").await;
        }
    };
    let command = ["backup", "--json", "--to", folder.to_str().unwrap()];
    let ((), kept) = tokio::join!(traffic, cli(&desk, &command));
    let verified = cli(&desk, &["backup", "verify", folder.to_str().unwrap(), "--json"]).await;
    assert_eq!(verified["streams"], kept["streams"]);
    let rows = |table: &str| count(&kept["tables"], "table", table, "rows");
    let journal = count(&kept["streams"], "stream", "JOURNAL", "messages");
    assert!((21..=41).contains(&rows("turns")) && (21..=41).contains(&journal), "{kept}");
    assert!(count(&kept["streams"], "stream", "TURNS", "last_sequence") >= journal, "the journal is not ahead: {kept}");

    // Somebody is forgotten after it was taken; then all is lost.
    let receipts = desk.data.path().join("receipts");
    let forget =
        ["forget", "--json", "--tenant", "demo", "--user", "customer-ann-1", "--receipts", receipts.to_str().unwrap()];
    cli(&desk, &forget).await;
    let knowledge = contents(&desk.engines.database_url).await;
    let (key, mut options) = (desk.key.clone(), desk.options.clone());
    let Desk { fleet, engines, data: lost, .. } = desk;
    let saved = tempfile::tempdir().unwrap();
    copy_folder(&folder, saved.path());
    let kept_receipts = saved.path().join("receipts");
    copy_folder(&receipts, &kept_receipts);
    fleet.drain().await;
    engines.stop().await;
    drop(lost);

    let fresh = Fresh::start().await;
    let (ok, report, complaint) =
        fresh.restore(&["--from", saved.path().to_str().unwrap(), "--receipts", kept_receipts.to_str().unwrap()]).await;
    assert!(ok, "{complaint}");
    assert!(report["forgotten_again"].as_u64().unwrap() >= 3, "record, journal, row: {report}");
    // What was put back lies on the disk.
    fresh.engines.kill(Engine::Nats).unwrap();
    fresh.engines.revive(Engine::Nats).await.unwrap();
    let restored = contents(&fresh.engines.database_url).await;
    for table in ["knowledge", "documents", "passages"] {
        assert_eq!(restored[table], knowledge[table], "{table}");
    }
    assert_eq!(restored["turns"].0 as u64, rows("turns") - 1);
    let bus = fresh.bus().await;
    // The journal goes on taking from the turns where it was: what came while the backup was taken, and nothing twice.
    let turns = count(&kept["streams"], "stream", "TURNS", "last_sequence");
    until("the journal to have every turn but the forgotten one", || async {
        (bus.stream_messages(topology::JOURNAL).await.unwrap() == turns - 1).then_some(())
    })
    .await;
    assert_eq!(bus.asks_waiting().await.unwrap(), 0);
    let (again, _, complaint) = fresh.restore(&["--from", saved.path().to_str().unwrap()]).await;
    assert!(!again && complaint.contains("not empty") && complaint.contains("--replace"), "{complaint}");

    options.nats = fresh.engines.nats_url.clone();
    options.redis = fresh.engines.redis_url.clone();
    options.database = fresh.engines.database_url.clone();
    let fleet = Fleet::start(&options).await.unwrap();
    fleet.ready(PATIENCE).await.unwrap();
    let desk = Desk { fleet, options, engines: fresh.engines, bus, key, data: fresh.data };
    // What the journal was ahead of the archive is made up for, each turn once.
    let before = (turns - 1) as i64;
    until("the archive to catch up", || async { (archived(&desk.engines.database_url).await == before).then_some(()) })
        .await;
    // The old key works, the articles and the intents are there, the old conversation is read and goes on.
    let (status, history) = desk.get("/v1/conversations/talk-7").await;
    assert_eq!((status, history["turns"].as_array().unwrap().len()), (200, 1), "{history}");
    let body = json!({ "text": "How long does delivery take?", "conversation": "talk-7", "user": "user-7" });
    let (status, answer) = desk.post("/v1/chat", &body).await;
    assert_eq!(
        (status, &answer["kind"], &answer["intent"]["name"]),
        (200, &json!("answer"), &json!("delivery_time")),
        "{answer}"
    );
    until("the new turn in the journal and the archive", || async {
        (archived(&desk.engines.database_url).await == before + 1).then_some(())
    })
    .await;
    assert_eq!(desk.bus.stream_messages(topology::JOURNAL).await.unwrap(), turns, "each turn once");
    let owner = cli(&desk, &["conversation", "owner", "talk-3", "--json"]).await;
    assert_eq!(owner["owner"]["human"]["name"], "Joe");
    assert_eq!(desk.get("/v1/conversations/ann-talk-1").await.0, 404);
    // Whoever restores under a running fleet is stopped.
    let mut args = vec!["restore", "--replace", "--from"];
    args.push(saved.path().to_str().unwrap());
    let (ok, _, complaint) = crate::harness::command(&desk, &args).await;
    assert!(!ok && complaint.contains("workers are at work"), "{complaint}");
}

#[tokio::test]
async fn what_one_broker_held_is_put_back_onto_three() {
    let desk = Desk::open().start().await;
    let body = json!({ "text": "How long does delivery take?", "conversation": "talk-1" });
    let (_, answer) = desk.post("/v1/chat", &body).await;
    let request = RequestId::parse(answer["id"].as_str().unwrap()).unwrap();
    until("an archived turn", || async { (archived(&desk.engines.database_url).await == 1).then_some(()) }).await;
    let folder = desk.data.path().join("backup");
    let kept = cli(&desk, &["backup", "--json", "--to", folder.to_str().unwrap()]).await;

    let data = tempfile::tempdir().unwrap();
    let options = EngineOptions::new(data.path(), Sources::from_environment());
    let mut cluster = NatsCluster::prepare(&options, 3, &Silent).await.unwrap();
    let ports = cluster.ports();
    let routes: Vec<u16> = ports.iter().map(|ports| ports.route).collect();
    cluster.start(&vec![routes; 3]).await.unwrap();
    let url = cluster.url(&ports.iter().map(|ports| ports.client).collect::<Vec<_>>());
    let fresh = Fresh::start().await;
    let args = ["--replicas", "3", "--from", folder.to_str().unwrap()];
    // A cluster that has just begun has no leader yet.
    until("a restore onto three brokers", || async {
        let (ok, _, complaint) = fresh.restore_to(&url, &args).await;
        eprintln!("{complaint}");
        ok.then_some(())
    })
    .await;
    let config = nats_config(&url, 4, 3);
    let bus = Bus::connect(&config, "test", Metrics::new("test"), Health::new()).await.unwrap();
    let jetstream = async_nats::jetstream::new(stranger_at(url.split(',').next_back().unwrap()).await);
    for stream in kept["streams"].as_array().unwrap() {
        let name = stream["stream"].as_str().unwrap();
        until("two copies beside the leader's", || async {
            let cluster = jetstream.get_stream(name).await.ok()?.cached_info().cluster.clone()?;
            (cluster.replicas.iter().filter(|copy| copy.current).count() == 2).then_some(())
        })
        .await;
    }
    // With one of them gone the rest know all of it.
    cluster.kill(0);
    let tenant = TenantId::parse("demo").unwrap();
    let record = until("the record", || async { bus.read_record(&tenant, None, &request).await.ok()? }).await;
    assert_eq!(record.conversation.as_str(), "talk-1");
    assert_eq!(archived(&fresh.engines.database_url).await, 1);
}

#[tokio::test]
async fn a_damaged_backup_is_named_and_nothing_is_put_back() {
    let desk = Desk::open().start().await;
    say(&desk, "user-1", "talk-1", "How long does delivery take?").await;
    until("an archived turn", || async { (archived(&desk.engines.database_url).await == 1).then_some(()) }).await;
    let whole = desk.data.path().join("whole");
    cli(&desk, &["backup", "--json", "--to", whole.to_str().unwrap()]).await;
    let (ok, _, complaint) = crate::harness::command(&desk, &["backup", "--to", whole.to_str().unwrap()]).await;
    assert!(!ok && complaint.contains("not empty"), "{complaint}");
    let fresh = Fresh::start().await;
    let broken = |name: &str, harm: &dyn Fn(&Path)| {
        let folder = desk.data.path().join(name);
        copy_folder(&whole, &folder);
        harm(&folder);
        folder
    };
    let turns = |folder: &Path| folder.join("streams/TURNS.tar.s2");
    let flipped = broken("flipped", &|folder| {
        let mut bytes = fs::read(turns(folder)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(turns(folder), bytes).unwrap();
    });
    let short = broken("short", &|folder| {
        let bytes = fs::read(turns(folder)).unwrap();
        fs::write(turns(folder), &bytes[..bytes.len() - 9]).unwrap();
    });
    let without = broken("without", &|folder| fs::remove_file(folder.join("tables/turns.copy.gz")).unwrap());
    let unfinished = broken("unfinished", &|folder| fs::remove_file(folder.join("manifest.json")).unwrap());
    // Whole by its manifest, which somebody has mended: the broker itself refuses it, and rows are not left behind.
    let forged = broken("forged", &|folder| {
        let bytes = vec![7; 2_000];
        let path = folder.join("manifest.json");
        let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let stream = manifest["streams"].as_array_mut().unwrap().iter_mut().find(|s| s["stream"] == "JOURNAL").unwrap();
        stream["bytes"] = json!(bytes.len());
        stream["sha256"] = json!(digest(&bytes));
        fs::write(path, manifest.to_string()).unwrap();
        fs::write(folder.join("streams/JOURNAL.tar.s2"), bytes).unwrap();
    });
    for (folder, part) in [
        (&flipped, "TURNS.tar.s2 is not what was written"),
        (&short, "TURNS.tar.s2 has"),
        (&without, "turns.copy.gz cannot be read"),
        (&unfinished, "not finished"),
        (&forged, "stream JOURNAL could not be built"),
    ] {
        let (ok, _, complaint) = fresh.restore(&["--from", folder.to_str().unwrap()]).await;
        assert!(!ok && complaint.contains(part), "{part}: {complaint}");
        fresh.is_untouched().await;
    }
    let (ok, _, complaint) = fresh.restore(&["--from", whole.to_str().unwrap()]).await;
    assert!(ok, "{complaint}");
    assert_eq!(archived(&fresh.engines.database_url).await, 1);
}

fn digest(bytes: &[u8]) -> String {
    talkfleet_shared::bus::digest(bytes)
}
