//! What an operator or an election may do to the queue while workers read it: they notice, and go on.

use std::time::Duration;

use serde_json::json;
use talkfleet_shared::topology;

use crate::{
    harness::{Desk, until},
    queue::stranger,
};

async fn answers(desk: &Desk) {
    until("an answer", || async {
        let (status, answer) = desk.post("/v1/chat", &json!({ "text": "How long does delivery take?" })).await;
        (status == 200 && answer["kind"] == "answer").then_some(())
    })
    .await;
}

async fn metric(desk: &Desk, name: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", desk.fleet.worker_urls()[0])).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("{name} is not in {text}"))
}

#[tokio::test]
async fn a_consumer_that_is_deleted_comes_back_as_the_topology_says() {
    let desk = Desk::open().start().await;
    // Before it has joined, a worker waits for the operator.
    answers(&desk).await;
    desk.bus.delete_consumer(topology::ASK, topology::RESPONSE).await.unwrap();
    answers(&desk).await;
    assert!(desk.bus.topology_diff(topology::Scale::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stream_of_records_that_is_deleted_comes_back_as_the_topology_says() {
    let desk = Desk::open().start().await;
    answers(&desk).await;
    desk.bus.delete_stream(topology::TURNS).await.unwrap();
    answers(&desk).await;
    assert!(desk.bus.topology_diff(topology::Scale::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn something_that_waits_and_does_not_come_is_noticed() {
    let desk = Desk::open().start().await;
    answers(&desk).await;
    assert_eq!(metric(&desk, "talkfleet_pull_stalls_total").await, 0);
    // A paused consumer looks from outside like one that has stalled: pulls end as they should and bring nothing.
    let jetstream = async_nats::jetstream::new(stranger(&desk).await);
    let stream = jetstream.get_stream(topology::ASK).await.unwrap();
    let until_late = time::OffsetDateTime::now_utc() + Duration::from_secs(600);
    stream.pause_consumer(topology::RESPONSE, until_late).await.unwrap();
    let asked = desk.stream(0, &json!({ "text": "How long does delivery take?", "deadline_ms": 60_000 })).await;
    until("the watchdog's count", || async { (metric(&desk, "talkfleet_pull_stalls_total").await > 0).then_some(()) })
        .await;
    stream.resume_consumer(topology::RESPONSE).await.unwrap();
    let told = asked.rest().await;
    assert_eq!(told.last().unwrap().body.name(), "done");
}
