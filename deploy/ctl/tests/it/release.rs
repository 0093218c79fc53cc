//! A candidate beside the stable workers: it answers its share, the gate keeps others out, and one command takes it back.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use talkfleet_shared::{
    id::{ConversationId, TenantId},
    lifecycle::Shutdown,
    release::{Release, Rule, Share},
    topology,
};
use talkfleet_worker::RESPONDER;
use tokio::sync::Semaphore;

use crate::harness::{Desk, cli, command, until};

const CANDIDATE: &str = "9.9.9";

/// A worker of the candidate in the fleet's own process.
async fn add_candidate(desk: &mut Desk) {
    let mut options = desk.options.clone();
    options.roles = ["intent", "retrieval", "response"].map(str::to_owned).to_vec();
    options.worker_set.push(("release.name".into(), "next".into()));
    options.worker_set.push(("release.version".into(), CANDIDATE.into()));
    desk.fleet.add_worker(&options).await.unwrap();
}

/// A replay's report as the gate reads it.
fn report(desk: &Desk, name: &str, version: &str, passed: bool) -> String {
    let folder = desk.data.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let report = json!({
        "facts": { "ended_at_ms": now_ms },
        "verdict": { "passed": passed },
        "versions": { "worker": { "candidate": [version] } },
    });
    std::fs::write(folder.join("report.json"), report.to_string()).unwrap();
    folder.display().to_string()
}

async fn say(desk: &Desk, gateway: usize, talk: &str, text: &str) -> Value {
    let body = json!({ "text": text, "conversation": talk });
    let sent = reqwest::Client::new().post(desk.url_of(gateway, "/v1/chat")).bearer_auth(&desk.key).json(&body);
    let sent = sent.send().await.unwrap();
    let (status, answer) = (sent.status(), sent.json::<Value>().await.unwrap());
    assert_eq!(status, 200, "{answer}");
    answer
}

fn rule(share: &str) -> Rule {
    Rule { share: Share::parse(share).unwrap(), version: CANDIDATE.into(), set_at_ms: 0 }
}

/// Conversations that a share of a half gives to the candidate, and as many that it does not.
fn talks(each: usize) -> Vec<(String, Release)> {
    let rule = rule("50%");
    let of = |release: Release| {
        let (named, rule) = ((0..).map(|n| format!("talk-{n}")), rule.clone());
        let theirs = named.filter(move |name| rule.release_of(&ConversationId::parse(name).unwrap()) == release);
        theirs.take(each).map(move |name| (name, release))
    };
    of(Release::Stable).chain(of(Release::Next)).collect()
}

#[tokio::test]
async fn a_candidate_answers_its_share_and_says_so() {
    let mut desk = Desk::open().gateways(2).start().await;
    let gate = report(&desk, "passed", CANDIDATE, true);
    let (ok, _, complaint) = command(&desk, &["release", "share", "50%", "--gate", &gate]).await;
    assert!(!ok && complaint.contains("no candidate is there"), "{complaint}");
    add_candidate(&mut desk).await;

    let (ok, _, complaint) = command(&desk, &["release", "share", "50%"]).await;
    assert!(!ok && complaint.contains("--gate"), "{complaint}");
    for (name, version, passed, expected) in
        [("failed", CANDIDATE, false, "did not pass"), ("another", "1.0.0", true, "answered by 1.0.0")]
    {
        let gate = report(&desk, name, version, passed);
        let (ok, _, complaint) = command(&desk, &["release", "share", "50%", "--gate", &gate]).await;
        assert!(!ok && complaint.contains(expected), "{complaint}");
    }
    let told = cli(&desk, &["release", "share", "50%", "--gate", &gate, "--json"]).await;
    assert_eq!((&told["rule"]["share"], &told["workers"]["next"][CANDIDATE]), (&json!(5_000), &json!(1)), "{told}");

    for (gateway, (talk, release)) in talks(4).iter().enumerate() {
        for turn in 0..2 {
            let answer = say(&desk, (gateway + turn) % 2, talk, "How long does delivery take?").await;
            let worker = answer["worker"].as_str().unwrap();
            let expected = if *release == Release::Next { "9.9.9/next" } else { env!("CARGO_PKG_VERSION") };
            assert_eq!(worker, expected, "{talk}: {answer}");
        }
    }
    let tenant = TenantId::parse("demo").unwrap();
    for (talk, release) in talks(4) {
        let records = desk.bus.records_of(&tenant, &ConversationId::parse(&talk).unwrap()).await.unwrap();
        assert!(records.iter().all(|record| record.versions.release == release.name()), "{talk}");
    }
    let metrics = reqwest::get(format!("{}/metrics", desk.fleet.worker_urls()[1])).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("release=\"next\"") && !metrics.contains("release=\"stable\""), "{metrics}");

    let (ok, _, complaint) = command(&desk, &["release", "promote"]).await;
    assert!(!ok && complaint.contains("the stable workers are not 9.9.9 yet"), "{complaint}");
    // Rolled to the candidate's version.
    let mut options = desk.options.clone();
    options.worker_set.push(("release.version".into(), CANDIDATE.into()));
    desk.fleet.add_worker(&options).await.unwrap();
    desk.fleet.drain_worker(0).await;
    let told = cli(&desk, &["release", "promote", "--json"]).await;
    assert_eq!((&told["rule"]["share"], &told["rule"]["version"]), (&json!(0), &json!(CANDIDATE)), "{told}");
    for (talk, _) in talks(2) {
        let answer = say(&desk, 0, &talk, "How long does delivery take?").await;
        assert_eq!(answer["worker"], CANDIDATE, "{answer}");
    }
}

/// The candidate takes what it can get and ends nothing, as one does that crashes on every turn.
#[tokio::test]
async fn a_bad_candidate_is_taken_back_and_nothing_is_lost() {
    let desk = Arc::new(Desk::open().gateways(2).start().await);
    let over = Shutdown::new();
    let (bus, until_over) = (desk.bus.clone(), over.clone());
    tokio::spawn(async move {
        bus.announce(RESPONDER, "a bad one", &[("release", "next"), ("version", CANDIDATE)], &until_over).await;
    });
    let (bus, until_over) = (desk.bus.clone(), over.clone());
    let bad = tokio::spawn(async move {
        let permits = Arc::new(Semaphore::new(2));
        let mut taken = bus.deliveries(topology::ASK, topology::RESPONSE_NEXT, permits, &until_over).await.unwrap();
        let mut swallowed = 0;
        while let Some(delivery) = taken.next(&until_over).await {
            swallowed += 1;
            drop(delivery);
        }
        swallowed
    });
    let gate = report(&desk, "passed", CANDIDATE, true);
    until("the candidate", || async {
        command(&desk, &["release", "share", "50%", "--gate", &gate]).await.0.then_some(())
    })
    .await;

    // Three messages in each of twelve conversations, on gateways in turn, each as soon as the one before is answered.
    let load: Vec<_> = talks(6)
        .into_iter()
        .map(|(talk, release)| {
            let desk = desk.clone();
            tokio::spawn(async move {
                let mut ids = Vec::new();
                for turn in 0..3 {
                    let text = format!("How long does delivery take? ({turn})");
                    ids.push(say(&desk, turn % 2, &talk, &text).await["id"].as_str().unwrap().to_owned());
                }
                (talk, release, ids)
            })
        })
        .collect();
    let stuck = || async {
        let lag = desk.bus.lag_of(Release::Next).await.unwrap();
        (lag.waiting + lag.running >= 6).then_some(())
    };
    until("the candidate to be stuck", stuck).await;
    let told = cli(&desk, &["release", "rollback", "--json"]).await;
    assert_eq!(told["rule"]["share"], 0, "{told}");
    // It does not even stop by itself.
    tokio::time::sleep(Duration::from_millis(500)).await;
    over.ask();
    assert!(bad.await.unwrap() > 0, "it had some");

    let tenant = TenantId::parse("demo").unwrap();
    let mut answered_by = BTreeMap::<String, usize>::new();
    for told in load {
        let (talk, _, ids) = told.await.unwrap();
        let records = desk.bus.records_of(&tenant, &ConversationId::parse(&talk).unwrap()).await.unwrap();
        let stored: Vec<_> = records.iter().map(|record| record.request.to_string()).collect();
        assert_eq!(stored, ids, "{talk}: one outcome each, in order");
        assert!(records.windows(2).all(|pair| pair[0].ended_at_ms <= pair[1].asked_at_ms), "{talk}: none overlap");
        for record in &records {
            assert_eq!(record.outcome.name(), "answered", "{record:?}");
            *answered_by.entry(record.versions.release.clone()).or_default() += 1;
        }
    }
    assert_eq!(answered_by, BTreeMap::from([("stable".to_owned(), 36)]));
    let left = desk.bus.lag_of(Release::Next).await.unwrap();
    assert_eq!(left.waiting + left.running, 0);
}
