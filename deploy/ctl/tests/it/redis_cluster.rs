//! Redis as a cluster of three masters with a replica each: under load its slots move and a master dies, and nobody notices.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use futures::future::join_all;
use serde_json::{Value, json};
use talkfleet::engines::{EngineOptions, RedisCluster, Silent, Sources};
use talkfleet_shared::redis_door::slot_of;

use crate::harness::{Desk, Open, PATIENCE, command, until};

const MASTERS: usize = 3;

/// Conversations that are held at once, each message after the answer to the one before.
const CONVERSATIONS: usize = 6;

/// What a customer waits between two messages: the faults are to be seen, and not what this machine bears.
const PAUSE: Duration = Duration::from_millis(100);

async fn cluster(data: &tempfile::TempDir) -> RedisCluster {
    let options = EngineOptions::new(data.path(), Sources::from_environment());
    RedisCluster::start(&options, MASTERS, &Silent).await.unwrap()
}

fn open(cluster: &RedisCluster) -> Open {
    let open = Desk::open().gateways(2).workers(2).redis(&cluster.url());
    open.gateway_set("redis.cluster", true).worker_set("redis.cluster", true)
}

fn memory_of(conversation: &str) -> String {
    format!("tf:{{demo:{conversation}}}:memory")
}

/// Holds one conversation until `done`; how many messages were answered, each with 200.
async fn converse(desk: &Desk, number: usize, done: &AtomicBool, degraded: &AtomicUsize) -> usize {
    let (mut answered, client) = (0, reqwest::Client::new());
    while !done.load(Ordering::Relaxed) {
        let body = json!({ "text": "How long does delivery take?", "conversation": format!("c{number}"),
            "user": format!("u{number}") });
        let sent = client.post(desk.url_of(number % 2, "/v1/chat")).bearer_auth(&desk.key).json(&body).send();
        let sent = sent.await.unwrap();
        let (status, answer) = (sent.status().as_u16(), sent.json::<Value>().await.unwrap());
        assert_eq!((status, &answer["kind"]), (200, &json!("answer")), "{answer}");
        answered += 1;
        tokio::time::sleep(PAUSE).await;
        if answer["degraded"] == json!(["memory"]) {
            degraded.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_eq!(answer["degraded"], json!([]), "{answer}");
        }
    }
    answered
}

/// What the cluster remembers of a conversation, asked at the master that has it.
async fn remembered(cluster: &RedisCluster, conversation: &str) -> Vec<Value> {
    let key = memory_of(conversation);
    let owner = cluster.owner(slot_of(&key).into()).await.unwrap();
    let members = cluster.nodes()[owner].ask(&["ZRANGE", &key, "0", "-1"]).await.unwrap().text();
    members.lines().map(|member| serde_json::from_str(member).unwrap()).collect()
}

#[tokio::test]
async fn slots_move_and_a_master_dies_and_every_message_is_answered() {
    let data = tempfile::tempdir().unwrap();
    let cluster = cluster(&data).await;
    let desk = open(&cluster).start().await;
    let (done, degraded) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = join_all((0..CONVERSATIONS).map(|number| converse(&desk, number, &done, &degraded)));
    let faults = async {
        let conversations: Vec<_> = (0..CONVERSATIONS).map(|number| format!("c{number}")).collect();
        // Once all have been remembered.
        until("memories", || async {
            let all = join_all(conversations.iter().map(|name| remembered(&cluster, name))).await;
            all.iter().all(|members| !members.is_empty()).then_some(())
        })
        .await;
        // Every conversation's slot goes to the next master, with what lies in it, and some slots around it.
        let mut keys_moved = 0;
        for name in &conversations {
            let slot = usize::from(slot_of(&memory_of(name)));
            let to = (cluster.owner(slot).await.unwrap() + 1) % MASTERS;
            keys_moved += cluster.move_slots(slot..(slot + 5).min(16_384), to).await.unwrap();
        }
        assert!(keys_moved >= CONVERSATIONS, "{keys_moved} keys");
        let moved = degraded.load(Ordering::Relaxed);
        // A master dies; its replica takes over.
        let slot = usize::from(slot_of(&memory_of("c0")));
        let owner = cluster.owner(slot).await.unwrap();
        cluster.nodes()[owner].kill();
        cluster.until_whole().await.unwrap();
        assert_ne!(cluster.owner(slot).await.unwrap(), owner);
        let failed_over = degraded.load(Ordering::Relaxed);
        until("the memory is there again", || async {
            let body = json!({ "text": "How long does delivery take?", "conversation": "c0-after" });
            (desk.post("/v1/chat", &body).await.1["degraded"] == json!([])).then_some(())
        })
        .await;
        cluster.nodes()[owner].revive().await.unwrap();
        cluster.until_whole().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let calm = degraded.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(degraded.load(Ordering::Relaxed), calm, "all is well again");
        done.store(true, Ordering::Relaxed);
        (keys_moved, moved, failed_over)
    };
    let (answered, (keys, moved, failed_over)) = tokio::join!(load, faults);
    println!(
        "{} messages answered, {keys} keys moved; without memory: {moved} while slots moved, {failed_over} until the replica had \
         taken over",
        answered.iter().sum::<usize>()
    );
    for (number, answered) in answered.iter().enumerate() {
        assert!(*answered >= 3, "{answered} answers in conversation {number}");
        // Nobody's history but one's own, and no turn of it twice.
        let members = remembered(&cluster, &format!("c{number}")).await;
        let users: BTreeSet<_> = members.iter().map(|member| member["user"].as_str().unwrap()).collect();
        assert_eq!(users, BTreeSet::from([format!("u{number}").as_str()]));
        let requests: BTreeSet<_> = members.iter().map(|member| member["request"].to_string()).collect();
        assert_eq!(requests.len(), members.len());
    }
}

#[tokio::test]
async fn a_customer_is_forgotten_on_every_master() {
    let data = tempfile::tempdir().unwrap();
    let cluster = cluster(&data).await;
    let desk = open(&cluster).start().await;
    let talks: Vec<_> = (0..CONVERSATIONS).map(|number| format!("forgotten-{number}")).collect();
    for conversation in &talks {
        for user in ["cluster-ann", "cluster-eve"] {
            let body = json!({ "text": "How do I track my parcel?", "conversation": format!("{conversation}-{user}"), "user": user });
            assert_eq!(desk.post("/v1/chat", &body).await.1["degraded"], json!([]));
        }
    }
    let of = |user: &str| talks.iter().map(|name| format!("{name}-{user}")).collect::<Vec<_>>();
    let (hers, others) = (of("cluster-ann"), of("cluster-eve"));
    let mut owners = BTreeSet::new();
    for conversation in &hers {
        until("a memory", || async { (!remembered(&cluster, conversation).await.is_empty()).then_some(()) }).await;
        owners.insert(cluster.owner(slot_of(&memory_of(conversation)).into()).await.unwrap());
    }
    assert!(owners.len() > 1, "on several masters: {owners:?}");
    let masters = cluster.url();
    let masters = masters.split(',').take(MASTERS).collect::<Vec<_>>().join(",");
    let receipts = desk.data.path().join("receipts").display().to_string();
    let whom = ["forget", "--json", "--tenant", "demo", "--user", "cluster-ann", "--receipts", &receipts];
    let (ok, report, complaint) = command(&desk, &[&whom[..], &["--redis", &masters]].concat()).await;
    assert!(ok, "{report} {complaint}");
    for conversation in &hers {
        assert_eq!(remembered(&cluster, conversation).await, Vec::<Value>::new());
    }
    for conversation in &others {
        assert_eq!(remembered(&cluster, conversation).await.len(), 1, "{conversation} is another's");
    }
    for node in cluster.nodes() {
        let keys = node.ask(&["KEYS", "*"]).await.unwrap().text();
        assert!(!keys.contains("cluster-ann"), "{keys}");
    }
}

/// Asks so many times at once from an address over both gateways; every status.
async fn burst(desk: &Desk, (user, address): (&str, &str), asks: usize) -> Vec<u16> {
    let client = reqwest::Client::new();
    let asked = (0..asks).map(|number| {
        let body = json!({ "text": "hello", "user": user });
        let request = client.post(desk.url_of(number % 2, "/v1/chat")).bearer_auth(&desk.key).json(&body);
        async move { request.header("x-forwarded-for", address).send().await.unwrap().status().as_u16() }
    });
    join_all(asked).await
}

fn let_in(heard: &[u16]) -> usize {
    assert!(heard.iter().all(|status| matches!(status, 200 | 429)), "{heard:?}");
    heard.iter().filter(|status| **status == 200).count()
}

async fn counts_alone(desk: &Desk) -> bool {
    let told = reqwest::get(format!("{}/readyz", desk.fleet.admin_urls()[0])).await.unwrap();
    told.json::<Value>().await.unwrap()["missing"]["limits"].is_string()
}

#[tokio::test]
async fn limits_are_exact_over_a_cluster_and_hold_per_process_while_it_cannot_tell() {
    const BURST: usize = 12;
    const HERE: &str = "198.51.100.9";
    let data = tempfile::tempdir().unwrap();
    let cluster = cluster(&data).await;
    let desk = open(&cluster)
        .gateway_set("limits.user_per_minute", 1)
        .gateway_set("limits.user_burst", BURST)
        .gateway_set("limits.address_per_minute", 1)
        .gateway_set("limits.address_burst", BURST * 2)
        .gateway_set("http.trusted_proxies", "[\"127.0.0.1\"]")
        // A machine that builds beside is no cluster that cannot tell.
        .gateway_set("redis.timeout_ms", 2_000)
        .start()
        .await;
    // The address lies on another server than the tenant's users. Whom these refuse costs it nothing: of 36 asks it has let in
    // 12, and has room for another 12.
    assert_eq!(let_in(&burst(&desk, ("ann", HERE), BURST * 3).await), BURST);
    assert_eq!(let_in(&burst(&desk, ("bob", HERE), BURST).await), BURST);
    assert_eq!(let_in(&burst(&desk, ("cid", HERE), BURST).await), 0, "the address has had its fill");

    // The tenant's slot moves with its buckets: what was drawn stays drawn.
    let slot = usize::from(slot_of("tf:{demo}:limit:user:ann"));
    let to = (cluster.owner(slot).await.unwrap() + 1) % MASTERS;
    assert!(cluster.move_slots(slot..slot + 1, to).await.unwrap() >= 2);
    assert_eq!(let_in(&burst(&desk, ("ann", HERE), BURST).await), 0);

    // Its master dies: nobody hears an error, and each gateway counts by itself until the replica has taken over.
    cluster.nodes()[to].kill();
    let heard = burst(&desk, ("dan", "198.51.100.10"), BURST * 4).await;
    assert!((BURST..=BURST * 2).contains(&let_in(&heard)), "{heard:?}");
    cluster.until_whole().await.unwrap();
    let give_up = tokio::time::Instant::now() + PATIENCE;
    while counts_alone(&desk).await {
        assert!(tokio::time::Instant::now() < give_up, "limits are still counted alone");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(let_in(&burst(&desk, ("ann", HERE), BURST).await), 0, "the replica knows what was drawn");
}
