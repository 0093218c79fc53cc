//! Redis as it is locked in production: a user for each role who may do what its code does and nothing else, and TLS.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use serde_json::{Value, json};
use talkfleet::engines::{EngineError, EngineOptions, Programs, RedisNode, RedisProgram, Resp, Silent, Sources};

use crate::{
    certificates::Authority,
    harness::{Desk, command, until},
    model::Model,
};

/// The file that is shipped.
const USERS: &str = include_str!("../../../redis/users.acl");

/// What is allowed and not seen here: in a cluster alone, or when a second worker looks for what the first has made.
const ELSEWHERE: [&str; 3] = ["asking", "cluster|slots", "pttl"];

/// The program that the fleet would take, or one in a folder of tools that speaks TLS.
async fn program(named: Option<&Path>) -> RedisProgram {
    let programs = Programs { redis_server: named.map(Path::to_owned), ..Programs::default() };
    let options = EngineOptions { programs, ..EngineOptions::new("unused", Sources::from_environment()) };
    RedisProgram::find(&options, &Silent).await.unwrap()
}

/// A server with the shipped users, each with its own name as password, and a `default` for the test alone.
async fn locked(data: &Path) -> RedisNode {
    let settings = |place: &talkfleet::engines::RedisPlaceOnDisk<'_>| {
        let mut users = USERS.replace("user default off", &format!("user default on >{} ~* &* +@all", place.password));
        for user in ["gateway", "response", "archive", "worker", "operator"] {
            users = users.replace(&format!("${{{}_PASSWORD}}", user.to_uppercase()), user);
        }
        assert!(!users.contains('$'), "{users}");
        fs::write(place.folder.join("users.acl"), users).unwrap();
        "aclfile users.acl\n".to_owned()
    };
    RedisNode::start(&program(None).await, data, None, settings).await.unwrap()
}

fn as_user(node: &RedisNode, user: &str) -> String {
    format!("redis://{user}:{user}@127.0.0.1:{}", node.port)
}

#[tokio::test]
async fn every_role_does_its_work_as_its_own_user_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let node = locked(data.path()).await;
    let model = Model::start(false).await;
    let open = Desk::open()
        .gateways(2)
        .redis(&as_user(&node, "gateway"))
        .roles(&["intent", "retrieval", "response"])
        .worker_set("redis.url", as_user(&node, "response"))
        .gateway_set("limits.user_per_minute", 600)
        .gateway_set("limits.tenant_tokens_per_day", 1_000_000)
        .gateway_set("limits.address_per_minute", 6_000)
        .gateway_set("limits.address_burst", 1_000);
    let mut desk = model.speaks_for(open).worker_set("plan.answer_cache_entries", 100).start().await;
    desk.options.roles = vec!["archive".into()];
    desk.options.worker_set.push(("redis.url".into(), as_user(&node, "archive")));
    desk.fleet.add_worker(&desk.options).await.unwrap();
    let client = reqwest::Client::new();
    let ask = async |gateway: usize, conversation: &str, key: &str| {
        model.answer();
        let body = json!({ "text": "How do I reset my password?", "user": "ann", "conversation": conversation });
        let request = client.post(desk.url_of(gateway, "/v1/chat")).bearer_auth(&desk.key).json(&body);
        let answer: Value = request.header("Idempotency-Key", key).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["degraded"], json!([]), "{answer}");
    };
    // Memory, answers that are kept, limits, purses, notes of idempotency keys; then histories.
    // The second message of a round repeats its key: it is told the first one's answer, and is no turn.
    for (turns, round) in [(1, "one"), (2, "two")] {
        for (gateway, conversation) in [(0, "a"), (1, "b"), (0, "a")] {
            ask(gateway, conversation, &format!("{round}-{gateway}-{conversation}")).await;
        }
        until("a history", || async {
            let (_, told) = desk.get("/v1/conversations/a").await;
            (told["turns"].as_array().map(Vec::len)? == turns).then_some(())
        })
        .await;
    }
    // An operator forgets a customer; whether all of them is gone is another test's.
    let (redis, receipts) = (as_user(&node, "operator"), desk.data.path().join("receipts").display().to_string());
    let forget = ["forget", "--tenant", "demo", "--user", "ann", "--redis", &redis, "--receipts", &receipts];
    let (_, _, said) = command(&desk, &forget).await;
    println!("{said}");
    let denied = node.ask(&["ACL", "LOG"]).await.unwrap().text();
    assert_eq!(denied, "", "somebody was denied what they need");
    // What is allowed is used: nobody may do more than the code does.
    let stats = node.ask(&["INFO", "commandstats"]).await.unwrap().text();
    let used: BTreeSet<&str> =
        stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next()).collect();
    let allowed = USERS.split_whitespace().filter_map(|word| word.strip_prefix('+')).filter(|c| !c.starts_with('@'));
    let idle: BTreeSet<&str> = allowed.filter(|name| !used.contains(name) && !ELSEWHERE.contains(name)).collect();
    assert_eq!(idle, BTreeSet::new(), "allowed to somebody, and used by nobody");
}

#[tokio::test]
async fn nobody_reads_another_roles_keys_or_looks_around() {
    let data = tempfile::tempdir().unwrap();
    let node = locked(data.path()).await;
    let (mine, others) = (
        [
            ("gateway", "tf:demo:req:r1"),
            ("gateway", "tf:{demo}:limit:user:memory"),
            ("gateway", "tf:{demo}:paid:r1"),
            ("gateway", "tf:limit:address:192.0.2.1"),
            ("response", "tf:{demo:c1}:answer:1"),
            ("archive", "tf:{demo:c1}:history:1"),
            ("archive", "tf:{demo:c1}:history:1:lease"),
            ("worker", "tf:{demo:c1}:history:1"),
        ],
        [
            ("gateway", "tf:{demo:c1}:memory"),
            ("gateway", "tf:{demo:c1}:history:1"),
            ("response", "tf:{demo:c1}:history:1"),
            ("response", "tf:{demo}:limit:user:memory"),
            ("archive", "tf:{demo:c1}:memory"),
            ("archive", "tf:demo:req:r1"),
            ("worker", "tf:{demo}:limit:tenant"),
            ("worker", "session"),
        ],
    );
    let resp = async |user: &str| Resp::connect(node.port, user, user).await.unwrap();
    for (user, key) in mine {
        resp(user).await.ask(&["SET", key, "1"]).await.unwrap();
    }
    let refused = async |user: &str, command: &[&str]| {
        let why = resp(user).await.ask(command).await.unwrap_err().to_string();
        assert!(why.starts_with("NOPERM"), "{user} {command:?}: {why}");
    };
    for (user, key) in others {
        refused(user, &["GET", key]).await;
        refused(user, &["EVAL", "return redis.call('GET', KEYS[1])", "1", key]).await;
    }
    for user in ["gateway", "response", "archive", "worker"] {
        for command in [
            &["KEYS", "*"][..],
            &["SCAN", "0"],
            &["FLUSHALL"],
            &["CONFIG", "GET", "*"],
            &["ACL", "LIST"],
            &["SHUTDOWN"],
            &["MONITOR"],
            &["CLUSTER", "NODES"],
            &["SUBSCRIBE", "x"],
            &["REPLICAOF", "NO", "ONE"],
        ] {
            refused(user, command).await;
        }
    }
    assert!(Resp::connect(node.port, "gateway", "wrong").await.is_err());
}

/// A server over TLS that asks its clients for certificates; None where the program knows no TLS.
async fn over_tls(data: &Path, authority: &Authority) -> Option<RedisNode> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ci-tools/redis/redis-server");
    let program = program(tools.is_file().then_some(tools.as_path())).await;
    let server = authority.vouch("redis");
    let started = RedisNode::start(&program, data, None, |place| {
        for (name, pem) in [("server.crt", &server.cert), ("server.key", &server.key), ("ca.crt", &authority.pem)] {
            fs::write(place.folder.join(name), pem).unwrap();
        }
        format!(
            "tls-port {}\ntls-cert-file server.crt\ntls-key-file server.key\ntls-ca-cert-file ca.crt\ntls-auth-clients yes\n",
            place.bus
        )
    });
    match started.await {
        Ok(node) => Some(node),
        Err(EngineError::Failed { gist, .. }) if gist.to_lowercase().contains("tls") => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn over_tls_certificates_are_checked_on_both_sides_and_new_ones_are_taken() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [first, second] = ["first", "second"].map(Authority::new);
    let Some(node) = over_tls(data.path(), &first).await else {
        eprintln!("skipped: this Redis knows no TLS; deploy/check/redis_tls.sh fetches one that does");
        return;
    };
    let write = |authority: &Authority| {
        let own = authority.vouch("talkfleet");
        for (name, pem) in [("ca.pem", &authority.pem), ("own.pem", &own.cert), ("own.key", &own.key)] {
            fs::write(files.path().join(name), pem).unwrap();
        }
    };
    write(&first);
    let file = |name: &str| files.path().join(name).display().to_string();
    let url = format!("rediss://:{}@127.0.0.1:{}", node.password(), node.bus);
    let mut open = Desk::open().redis(&url).gateway_set("limits.user_per_minute", 600);
    for (key, name) in [("redis.ca_file", "ca.pem"), ("redis.cert_file", "own.pem"), ("redis.key_file", "own.key")] {
        open = open.gateway_set(key, file(name)).worker_set(key, file(name));
    }
    let desk = open.start().await;
    let body = json!({ "text": "How long does delivery take?", "conversation": "secret-talk", "user": "tls-ann" });
    let well = async || desk.post("/v1/chat", &body).await.1["degraded"] == json!([]);
    assert!(well().await && well().await);
    let remembered = async || node.ask(&["ZCARD", "tf:{demo:secret-talk}:memory"]).await.unwrap().text();
    assert_eq!(remembered().await, "2", "what was remembered went over TLS");
    // An operator comes the same way.
    let (ca, cert, key) = (file("ca.pem"), file("own.pem"), file("own.key"));
    let receipts = desk.data.path().join("receipts").display().to_string();
    let forget =
        ["forget", "--json", "--tenant", "demo", "--user", "tls-ann", "--receipts", &receipts, "--redis", &url];
    let (ok, _, complaint) = command(&desk, &[&forget[..], &["--redis-ca-file", &ca]].concat()).await;
    assert!(!ok && !complaint.contains(node.password()), "it shows no certificate: {complaint}");
    let files_of_ours = ["--redis-ca-file", &ca, "--redis-cert-file", &cert, "--redis-key-file", &key];
    let (ok, report, complaint) = command(&desk, &[&forget[..], &files_of_ours].concat()).await;
    assert!(ok, "{report} {complaint}");
    assert_eq!(remembered().await, "0");
    // And with the address from a file, as its password is a secret.
    fs::write(files.path().join("url"), &url).unwrap();
    let mut by_file = tokio::process::Command::new(env!("CARGO_BIN_EXE_talkfleet"));
    by_file
        .args(["forget", "--tenant", "demo", "--user", "tls-ann", "--dry-run"])
        .args(files_of_ours)
        .env("TALKFLEET_NATS__URL", &desk.engines.nats_url)
        .env("TALKFLEET_DATABASE__URL", &desk.engines.database_url)
        .env("TALKFLEET_REDIS__URL_FILE", file("url"))
        .env("TALKFLEET_DATA", files.path());
    let out = by_file.output().await.unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));

    // The server shows a certificate of another authority: it is not believed.
    let server = second.vouch("redis");
    for (name, pem) in [("new.crt", &server.cert), ("new.key", &server.key), ("new-ca.crt", &second.pem)] {
        fs::write(node.folder().join(name), pem).unwrap();
    }
    let set =
        ["CONFIG", "SET", "tls-cert-file", "new.crt", "tls-key-file", "new.key", "tls-ca-cert-file", "new-ca.crt"];
    node.ask(&set).await.unwrap();
    node.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    until("nobody is let in with the old certificates", || async { (!well().await).then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!well().await);
    // Its new authority and a certificate of theirs are put into the files: everybody comes back, without a restart.
    write(&second);
    until("the new certificates are taken", || async { well().await.then_some(()) }).await;
    until("gateways too", || async {
        let told =
            reqwest::get(format!("{}/readyz", desk.fleet.admin_urls()[0])).await.ok()?.json::<Value>().await.ok()?;
        told["missing"]["redis"].is_null().then_some(())
    })
    .await;
}
