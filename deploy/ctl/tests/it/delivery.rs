//! Delivery classes: what each promises of a message, and what it leaves behind.

use std::time::Duration;

use serde_json::{Value, json};
use talkfleet_shared::{
    chat::{DeliveryClass, FrameBody},
    id::{RequestId, TenantId},
};

use crate::harness::{Desk, until};

const QUESTION: &str = "How long does delivery take?";

async fn desk() -> Desk {
    let open = Desk::open().gateway_set("channels.journaled.delivery", "journaled");
    open.gateway_set("channels.fast.delivery", "fast").start().await
}

async fn record(desk: &Desk, request: &str) -> bool {
    let (tenant, request) = (TenantId::parse("demo").unwrap(), RequestId::parse(request).unwrap());
    desk.bus.read_record(&tenant, None, &request).await.unwrap().is_some()
}

#[tokio::test]
async fn every_class_answers_alike_and_says_which_it_is() {
    let desk = desk().await;
    let durable = desk.ask(QUESTION).await;
    for (channel, class) in [("journaled", DeliveryClass::Journaled), ("fast", DeliveryClass::Fast)] {
        let (status, answer) = desk.post("/v1/chat", &json!({ "text": QUESTION, "channel": channel })).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!((&answer["text"], &answer["citations"]), (&durable["text"], &durable["citations"]));
        let frames = desk.stream(0, &json!({ "text": QUESTION, "channel": channel })).await.rest().await;
        let seqs: Vec<_> = frames.iter().map(|frame| frame.seq).collect();
        assert_eq!(seqs, (0..frames.len() as u32).collect::<Vec<_>>());
        let FrameBody::Accepted { delivery, .. } = &frames[0].body else { panic!("{frames:?}") };
        assert_eq!(*delivery, class);
        assert!(matches!(frames.last().unwrap().body, FrameBody::Done { .. }), "{frames:?}");
    }
}

#[tokio::test]
async fn journaled_turns_are_kept_and_fast_ones_are_not() {
    let desk = desk().await;
    let ask = async |channel: &str| -> String {
        let (_, answer) = desk.post("/v1/chat", &json!({ "text": QUESTION, "channel": channel })).await;
        answer["id"].as_str().unwrap().to_owned()
    };
    let (journaled, fast) = (ask("journaled").await, ask("fast").await);
    until("the journaled turn's record", async || record(&desk, &journaled).await.then_some(())).await;
    assert!(!record(&desk, &fast).await);
    let rest = desk.resume(0, &journaled, "0").await.rest().await;
    assert!(matches!(rest.last().unwrap().body, FrameBody::Done { .. }), "{rest:?}");
}

#[tokio::test]
async fn a_journaled_conversation_is_remembered() {
    let desk = desk().await;
    let say = async |text: &str, conversation: Option<&Value>| -> Value {
        let mut body = json!({ "text": text, "channel": "journaled" });
        if let Some(conversation) = conversation {
            body["conversation"] = conversation.clone();
        }
        let (status, answer) = desk.post("/v1/chat", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let first = say("do you deliver to Australia", None).await;
    let second = say("how long does that take?", Some(&first["conversation"])).await;
    let alone = say("how long does that take?", None).await;
    let cited = |answer: &Value| answer["citations"][0]["url"] == "/help/international-delivery";
    assert!(cited(&second) && !cited(&alone), "the question leans on the one before: {second} {alone}");
}

#[tokio::test]
async fn without_a_worker_the_client_hears_so_at_once() {
    let open = Desk::open().gateway_set("channels.fast.delivery", "fast").roles(&["intent", "retrieval"]);
    let desk = open.start().await;
    let began = std::time::Instant::now();
    let (status, problem) = desk.post("/v1/chat", &json!({ "text": QUESTION, "channel": "fast" })).await;
    assert_eq!((status, &problem["code"]), (503, &json!("worker_away")), "{problem}");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_worker_without_room_says_so_and_nothing_waits() {
    let open = Desk::open().gateway_set("channels.fast.delivery", "fast").worker_set("roles.direct_concurrency", 1);
    let desk = open.start().await;
    let body = json!({ "text": QUESTION, "channel": "fast" });
    let asked = futures::future::join_all((0..40).map(|_| desk.post("/v1/chat", &body))).await;
    let statuses: Vec<_> = asked.iter().map(|(status, _)| *status).collect();
    assert!(statuses.contains(&200) && statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    let refused = asked.iter().filter(|(status, _)| *status == 503);
    assert!(refused.clone().all(|(_, problem)| problem["code"] == "overloaded"), "{asked:?}");
    assert_eq!(desk.post("/v1/chat", &body).await.0, 200, "it is over at once");
}

#[tokio::test]
async fn a_worker_that_starts_takes_nothing_before_it_knows_what_there_is_to_know() {
    let mut desk = desk().await;
    desk.fleet.drain_worker(0).await;
    let ask = || json!({ "text": QUESTION, "channel": "fast" });
    let (key, url) = (desk.key.clone(), desk.url("/v1/chat"));
    let first_answer = async move {
        loop {
            let sent = reqwest::Client::new().post(&url).bearer_auth(&key).json(&ask()).send().await.unwrap();
            match sent.status().as_u16() {
                200 => return sent.json::<Value>().await.unwrap(),
                503 => tokio::time::sleep(Duration::from_millis(2)).await,
                status => panic!("{status}"),
            }
        }
    };
    let (answer, started) = tokio::join!(first_answer, desk.fleet.add_worker(&desk.options));
    started.unwrap();
    assert_eq!(answer["rung"], "extract", "{answer}");
}
