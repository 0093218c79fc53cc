//! Knowledge, intents and keys change while the fleet runs.

use std::time::{Duration, Instant};

use serde_json::json;
use talkfleet::connect::nats_config;
use talkfleet_shared::{admin::Health, bus::Bus, id::TenantId, metrics::Metrics, topology::Scale};
use talkfleet_worker::{
    catalog::{self, INTENTS_VERSIONS_MAX, IntentsArtefact},
    encoder::Encoders,
    intent,
};

use crate::harness::{Desk, cli, create_key, nats_alone, until};

/// A change is visible everywhere within two seconds; the rest is a busy machine's.
const VISIBLE_WITHIN: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second() {
    let desk = Desk::open().gateways(2).start().await;
    let key = create_key(&desk.bus, "demo").await;
    let status = |gateway: usize| {
        let sent = reqwest::Client::new().get(desk.url_of(gateway, "/v1/models")).bearer_auth(&key).send();
        async move { sent.await.unwrap().status().as_u16() }
    };
    for gateway in 0..2 {
        until("the new key", || async { (status(gateway).await == 200).then_some(()) }).await;
    }
    let since = Instant::now();
    cli(&desk, &["keys", "revoke", &key]).await;
    for gateway in 0..2 {
        until("the revocation", || async { (status(gateway).await == 401).then_some(()) }).await;
    }
    assert!(since.elapsed() < VISIBLE_WITHIN, "{:?}", since.elapsed());
}

#[tokio::test]
async fn new_knowledge_is_answered_from_and_removed_knowledge_is_not() {
    let desk = Desk::open().start().await;
    let folder = desk.data.path().join("more");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("drones.md"), "---\ntitle: Do you deliver by drone?\nurl: /help/drones\n---\nHarbor Lane delivers by drone to three islands every Tuesday.\n").unwrap();
    std::fs::write(folder.join("empty.md"), "").unwrap();
    std::fs::write(folder.join("broken.pdf"), b"%PDF-1.7 nothing").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("passwd.txt")).unwrap();
    let added = cli(&desk, &["knowledge", "add", folder.to_str().unwrap(), "--json"]).await;
    assert_eq!(added["added"], 1, "{added}");
    assert_eq!(added["skipped"].as_array().unwrap().len(), 3, "{added}");
    let since = Instant::now();
    let question = "Do you deliver to islands by drone?";
    until("the new article", || async {
        (desk.ask(question).await["citations"][0]["url"] == "/help/drones").then_some(())
    })
    .await;
    assert!(since.elapsed() < VISIBLE_WITHIN, "{:?}", since.elapsed());
    let again = cli(&desk, &["knowledge", "add", folder.to_str().unwrap(), "--json"]).await;
    assert_eq!((&again["added"], &again["unchanged"]), (&json!(0), &json!(1)), "{again}");
    let listed = cli(&desk, &["knowledge", "list", "--json"]).await;
    let article = listed.as_array().unwrap().iter().find(|article| article["url"] == "/help/drones").unwrap();
    cli(&desk, &["knowledge", "remove", article["id"].as_str().unwrap()]).await;
    until("the article's absence", || async {
        let answer = desk.ask(question).await;
        answer["citations"].as_array().unwrap().iter().all(|c| c["url"] != "/help/drones").then_some(())
    })
    .await;
}

#[tokio::test]
async fn newly_trained_intents_take_over_without_a_restart() {
    let desk = Desk::open().start().await;
    let file = desk.data.path().join("intents.jsonl");
    let lines: String = (0..12)
        .flat_map(|n| {
            [("moon_travel", "fly me to the moon number"), ("tea_ceremony", "pour some green tea in cup")]
                .map(|(i, t)| json!({ "text": format!("{t} {n}"), "intent": i }).to_string() + "\n")
        })
        .collect();
    std::fs::write(&file, lines).unwrap();
    let trained = cli(&desk, &["intents", "train", file.to_str().unwrap(), "--json"]).await;
    assert_eq!(trained["intents"], 2, "{trained}");
    until("the new intents", || async {
        (desk.ask("please fly me to the moon").await["intent"]["name"] == "moon_travel").then_some(())
    })
    .await;
    let listed = cli(&desk, &["intents", "list", "--json"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let earlier = listed.as_array().unwrap().iter().find(|v| v["current"] == false).unwrap()["version"]
        .as_str()
        .unwrap()
        .to_owned();
    cli(&desk, &["intents", "rollback", &earlier]).await;
    until("the earlier intents", || async {
        (desk.ask("where is my parcel").await["intent"]["name"] == "order_status").then_some(())
    })
    .await;
}

#[tokio::test]
async fn old_versions_of_the_intents_are_deleted_and_the_newest_can_be_gone_back_to() {
    let data = tempfile::tempdir().unwrap();
    let engines = nats_alone(&data).await;
    let config = nats_config(&engines.nats_url, 4, 1);
    let bus = Bus::connect(&config, "test", Metrics::new("test"), Health::new()).await.unwrap();
    bus.topology_apply(Scale::default()).await.unwrap();
    let set = intent::parse("version: 1\nintents:\n  - name: refund\n    examples:\n      en: [\"refund\", \"money back\", \"pay me\"]\n  - name: hello\n    examples:\n      en: [\"hi\", \"hello\", \"good day\"]\n").unwrap();
    let artefact =
        IntentsArtefact::new(&set, &intent::train(&set, &Encoders::default(), &mut |_| {}).unwrap()).unwrap();
    let tenant = TenantId::parse("demo").unwrap();
    let mut published = Vec::new();
    for _ in 0..INTENTS_VERSIONS_MAX + 3 {
        published.push(catalog::publish_intents(&bus, &tenant, &artefact).await.unwrap());
        // Versions are named by the millisecond.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let kept = catalog::intents_versions(&bus, &tenant).await.unwrap();
    let newest: Vec<String> = published.into_iter().rev().take(INTENTS_VERSIONS_MAX).collect();
    assert_eq!((kept.current.as_ref(), &kept.versions), (newest.first(), &newest));
    catalog::roll_back_intents(&bus, &tenant, &newest[INTENTS_VERSIONS_MAX - 1]).await.unwrap();
    assert!(catalog::current_intents(&bus, &tenant).await.unwrap().is_some());
    engines.stop().await;
}
