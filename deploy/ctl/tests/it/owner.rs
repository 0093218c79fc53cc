//! Whoever owns the conversation speaks: a person takes it over in mid-answer, and gives it back.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use talkfleet_shared::{
    chat::{FrameBody, Outcome, TAKEOVER},
    id::{ConversationId, TenantId},
    owner::{Owner, OwnerRecord, key},
    topology,
};

use crate::{
    harness::{Desk, cli, until},
    model::{Model, said},
};

const QUESTION: &str = "How long does delivery take?";

/// Within this time after a takeover no word leaves any more.
const SILENT_WITHIN: Duration = Duration::from_millis(200);

async fn desk(model: &Model) -> Desk {
    let open = Desk::open().workers(2).worker_set("model.base_url", &model.url);
    let open = open.worker_set("model.token_timeout_ms", 60_000).worker_set("turn.grace_ms", 500);
    open.worker_set("model.api_key", "\"not-a-real-key\"").start().await
}

async fn ask(desk: &Desk) -> Value {
    let (status, answer) = desk.post("/v1/chat", &json!({ "text": QUESTION, "conversation": "owned" })).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn a_takeover_stops_the_words_and_a_release_brings_them_back() {
    let model = Model::start(false).await;
    let desk = desk(&model).await;
    model.say(1);
    let mut frames = desk.stream(0, &json!({ "text": QUESTION, "conversation": "owned" })).await;
    let mut seen = Vec::new();
    while said(&seen).is_empty() {
        seen.push(frames.next().await.unwrap());
    }
    let (tenant, conversation) = (TenantId::parse("demo").unwrap(), ConversationId::parse("owned").unwrap());
    let since_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let record = OwnerRecord { owner: Owner::Human { name: "Ann".into() }, since_ms };
    let record = serde_json::to_vec(&record).unwrap();
    desk.bus.put(topology::OWNERS, &key(&tenant, &conversation), record.into()).await.unwrap();
    tokio::time::sleep(SILENT_WITHIN).await;
    model.say(5);
    let before = seen.len();
    seen.extend(frames.rest().await);
    let [last] = &seen[before..] else { panic!("nothing but the last frame may follow a takeover: {seen:?}") };
    let FrameBody::Cancelled { text, by } = &last.body else { panic!("{last:?}") };
    assert_eq!((text, by.as_deref()), (&said(&seen), Some(TAKEOVER)));
    assert!(text.starts_with("Standard delivery takes 3–5") && !text.contains("express"), "{text}");
    let stored = desk.bus.read_record(&tenant, Some(&conversation), &last.request).await.unwrap().unwrap();
    assert_eq!(stored.outcome, Outcome::Cancelled { text: text.clone(), by: by.clone() });
    assert_eq!(stored.frames(Default::default()).last().unwrap(), last);

    for _ in 0..6 {
        let answer = ask(&desk).await;
        assert_eq!((&answer["kind"], &answer["rung"]), (&json!("handover"), &json!("canned")), "{answer}");
        assert!(answer["text"].as_str().unwrap().starts_with("A colleague is with you"), "{answer}");
        assert_eq!(answer["intent"]["name"], "unknown", "nobody was asked what it means");
    }
    let owner = cli(&desk, &["conversation", "owner", "owned", "--json"]).await;
    assert_eq!(owner["owner"], json!({ "human": { "name": "Ann" } }));
    cli(&desk, &["conversation", "release", "owned"]).await;
    model.say(1_000);
    for _ in 0..4 {
        until("the bot again", || async { (ask(&desk).await["rung"] == "model").then_some(()) }).await;
    }
    assert_eq!(cli(&desk, &["conversation", "owner", "owned", "--json"]).await["owner"], "bot");
}

#[tokio::test]
async fn a_conversation_taken_by_command_is_a_persons_for_workers_that_come_later() {
    let mut desk = Desk::open().start().await;
    let wish = json!({ "text": "Let me talk to a human, mail ann@example.com", "conversation": "owned" });
    assert_eq!(desk.post("/v1/chat", &wish).await.1["kind"], "handover");
    let taken = cli(&desk, &["conversation", "take", "owned", "--name", "Ben", "--json"]).await;
    assert_eq!(taken["owner"]["human"]["name"], "Ben");
    let summary = taken["story"]["summary"].as_str().unwrap();
    assert!(summary.contains("talk to a human, mail [email]") && summary.contains("human_agent"), "{summary}");
    assert_eq!(taken["story"]["turns"][0]["customer"], wish["text"]);
    assert!(taken["revision"].as_u64().unwrap() > 0, "{taken}");
    desk.fleet.add_worker(&desk.options).await.unwrap();
    desk.fleet.drain_worker(0).await;
    assert_eq!(ask(&desk).await["kind"], "handover");
    let elsewhere = desk.ask(QUESTION).await;
    assert_eq!(elsewhere["kind"], "answer", "other conversations are the bot's");
}
