//! What an operator sees: what waits and for how long, whatever role is away.

use std::time::Duration;

use serde_json::json;
use talkfleet::engines::Engine;
use talkfleet_shared::topology;

use crate::{
    harness::{Desk, until},
    queue::stranger,
};

/// A scrape of an admin port.
pub(crate) async fn scrape(admin: &str) -> String {
    reqwest::get(format!("{admin}/metrics")).await.unwrap().text().await.unwrap()
}

/// A series' value in a scrape, as `name{label="value"}` names it.
pub(crate) fn value(scraped: &str, series: &str) -> Option<f64> {
    scraped.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn pending(scraped: &str, consumer: &str) -> Option<f64> {
    value(scraped, &format!("talkfleet_queue_pending{{consumer=\"{consumer}\"}}"))
}

fn age(scraped: &str, consumer: &str) -> Option<f64> {
    value(scraped, &format!("talkfleet_queue_oldest_age_seconds{{consumer=\"{consumer}\"}}"))
}

#[tokio::test]
async fn what_waits_is_told_whatever_role_is_away() {
    let mut desk = Desk::open().own_database().start().await;
    let (gateway, worker) = (desk.fleet.admin_urls()[0].clone(), desk.fleet.worker_urls()[0].clone());
    until("nothing to do", || async {
        let idle = scrape(&gateway).await;
        let all = [topology::RESPONSE, topology::ARCHIVE, topology::REAPER];
        all.iter()
            .all(|consumer| pending(&idle, consumer) == Some(0.0) && age(&idle, consumer) == Some(0.0))
            .then_some(())
    })
    .await;

    desk.engines.kill(Engine::Postgres).unwrap();
    desk.ask("How long does delivery take?").await;
    until("the archive's lag and its age", || async {
        let told = scrape(&worker).await;
        (pending(&told, topology::ARCHIVE) == Some(1.0) && age(&told, topology::ARCHIVE)? > 3.0).then_some(())
    })
    .await;
    until("the archive's lag, by a gateway that may not read the journal", || async {
        let told = scrape(&gateway).await;
        (pending(&told, topology::ARCHIVE) == Some(1.0) && age(&told, topology::ARCHIVE).is_none()).then_some(())
    })
    .await;

    desk.fleet.drain_worker(0).await;
    let asked = json!({ "text": "How long does delivery take?", "deadline_ms": 60_000 });
    let _asked = desk.stream(0, &asked).await;
    until("an ask that nobody takes", || async {
        let told = scrape(&gateway).await;
        (pending(&told, topology::RESPONSE) == Some(1.0) && age(&told, topology::RESPONSE)? > 3.0).then_some(())
    })
    .await;

    let jetstream = async_nats::jetstream::new(stranger(&desk).await);
    jetstream.get_stream(topology::ADVISORIES).await.unwrap().delete_consumer(topology::REAPER).await.unwrap();
    until("no figure of what the broker does not have", || async {
        pending(&scrape(&gateway).await, topology::REAPER).is_none().then_some(())
    })
    .await;
    desk.engines.kill(Engine::Nats).unwrap();
    until("no old figures", || async { pending(&scrape(&gateway).await, topology::RESPONSE).is_none().then_some(()) })
        .await;
    tokio::time::timeout(Duration::from_secs(1), scrape(&gateway)).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_and_what_customers_think_is_counted() {
    let desk = Desk::open().start().await;
    let answer = desk.ask("How long does delivery take?").await;
    let feedback = json!({ "id": answer["id"], "verdict": "down" });
    assert_eq!(desk.post("/v1/feedback", &feedback).await.0, 202);
    let (gateway, worker) = (scrape(&desk.fleet.admin_urls()[0]).await, scrape(&desk.fleet.worker_urls()[0]).await);
    assert_eq!(value(&gateway, "talkfleet_feedback_total{verdict=\"down\",kind=\"answer\"}"), Some(1.0), "{gateway}");
    assert_eq!(value(&gateway, "talkfleet_part_missing{part=\"nats\"}"), Some(0.0), "{gateway}");
    assert_eq!(value(&worker, "talkfleet_intent_confidence_count"), Some(1.0), "{worker}");
    let sure = answer["intent"]["confidence"].as_f64().unwrap();
    let sum = value(&worker, "talkfleet_intent_confidence_sum").unwrap();
    assert!((sum - sure).abs() < 1e-3, "{sum} {sure}");
}
