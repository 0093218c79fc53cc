//! What is accepted is answered once, in order, within its deadline, whatever dies.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use talkfleet_shared::{
    bus::{AskHeaders, SubmitError, Written},
    chat::{Ask, FrameBody, MessageText, Outcome},
    id::{ConversationId, GatewayId, RequestId, TenantId},
    subject,
    telemetry::Trace,
    topology,
};

use crate::harness::{Desk, PATIENCE, until};

fn demo() -> TenantId {
    TenantId::parse("demo").unwrap()
}

fn ask(text: &str) -> Ask {
    Ask::new(MessageText::parse(text).unwrap())
}

fn headers(gateway: &GatewayId, budget_ms: u64) -> AskHeaders {
    let request = RequestId::new();
    let reply_to = subject::reply(gateway, &request);
    AskHeaders {
        request,
        reply_to,
        budget: Duration::from_millis(budget_ms),
        trace: Trace::start(&mut rand::rng()),
        last_only: false,
        opening: false,
    }
}

#[tokio::test]
async fn the_broker_keeps_one_open_message_per_conversation() {
    let desk = Desk::open().workers(0).start().await;
    let (me, talk) = (GatewayId::new(), ConversationId::new());
    desk.bus.submit(&demo(), &talk, &ask("first"), &headers(&me, 5_000)).await.unwrap();
    let second = desk.bus.submit(&demo(), &talk, &ask("second"), &headers(&me, 5_000)).await;
    assert!(matches!(second, Err(SubmitError::Busy)), "{second:?}");
    let other = ConversationId::new();
    desk.bus.submit(&demo(), &other, &ask("elsewhere"), &headers(&me, 5_000)).await.unwrap();
}

#[tokio::test]
async fn a_retry_under_the_same_id_is_stored_once() {
    let desk = Desk::open().workers(0).start().await;
    let (talk, with) = (ConversationId::new(), headers(&GatewayId::new(), 5_000));
    let first = desk.bus.submit(&demo(), &talk, &ask("once"), &with).await.unwrap();
    let again = desk.bus.submit(&demo(), &talk, &ask("once"), &with).await.unwrap();
    assert_eq!((first.duplicate, again.duplicate, again.sequence), (false, true, first.sequence));
}

#[tokio::test]
async fn a_conversation_is_answered_in_order() {
    let desk = Desk::open().gateways(2).workers(3).start().await;
    let conversation = "in-order";
    let asks = (0..6).map(|number| {
        let desk = &desk;
        async move {
            // Each arrives a little after the one before, and long before its answer has been acknowledged.
            tokio::time::sleep(Duration::from_millis(number * 5)).await;
            let body =
                json!({ "text": format!("How long does delivery take? {number}"), "conversation": conversation });
            desk.post("/v1/chat", &body).await
        }
    });
    let answers = join_all(asks).await;
    let accepted = answers.iter().filter(|(status, _)| *status == 200).count();
    assert!(accepted >= 5, "{answers:?}");
    let records = desk.bus.records_of(&demo(), &ConversationId::parse(conversation).unwrap()).await.unwrap();
    assert_eq!(records.len(), accepted);
    let ended: Vec<_> = records.iter().map(|record| record.ended_at_ms).collect();
    let asked: Vec<_> = records.iter().map(|record| record.asked_at_ms).collect();
    assert!(ended.is_sorted() && asked.is_sorted(), "{asked:?} {ended:?}");
    for pair in records.windows(2) {
        assert!(pair[1].asked_at_ms >= pair[0].ended_at_ms, "turns overlapped");
    }
}

#[tokio::test]
async fn a_full_line_is_refused_with_a_wait() {
    let desk = Desk::open().workers(0).gateway_set("turns.conversation_waiting_max", 1).start().await;
    let body = json!({ "text": "hello", "conversation": "line", "deadline_ms": 4000 });
    let (first, second) = (desk.post("/v1/chat", &body), desk.post("/v1/chat", &body));
    let third = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        reqwest::Client::new().post(desk.url("/v1/chat")).bearer_auth(&desk.key).json(&body).send().await.unwrap()
    };
    let (_, _, refused) = tokio::join!(first, second, third);
    assert_eq!(refused.status(), 409);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "conversation_busy");
}

#[tokio::test]
async fn the_first_writer_of_an_outcome_wins() {
    let desk = Desk::open().start().await;
    let answer = desk.ask("What are the opening hours?").await;
    let request = RequestId::parse(answer["id"].as_str().unwrap()).unwrap();
    let truth = desk.bus.read_record(&demo(), None, &request).await.unwrap().unwrap();
    let mut late = truth.clone();
    late.outcome = Outcome::Cancelled { text: "too late".into(), by: None };
    let written = join_all((0..10).map(|_| desk.bus.write_record(&late))).await;
    for result in written {
        assert_eq!(result.unwrap(), Written::Second(Box::new(truth.clone())));
    }
}

#[tokio::test]
async fn a_turn_whose_worker_vanished_is_answered_by_another() {
    let mut desk = Desk::open().workers(0).start().await;
    let (me, talk) = (GatewayId::new(), ConversationId::new());
    let mut mailbox = desk.bus.mailbox(&me).await.unwrap();
    let with = headers(&me, 30_000);
    desk.bus.submit(&demo(), &talk, &ask("How do I reset my password?"), &with).await.unwrap();
    // A worker that takes the delivery and is never heard of again.
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let never = talkfleet_shared::lifecycle::Shutdown::new();
    let mut taken = desk.bus.deliveries(topology::ASK, topology::RESPONSE, permits, &never).await.unwrap();
    let lost = taken.next(&never).await.unwrap();
    assert_eq!(lost.attempt(), 1);
    let since = Instant::now();
    desk.fleet.add_worker(&desk.options).await.unwrap();
    let mut frames = Vec::new();
    while frames.last().is_none_or(|frame: &talkfleet_shared::chat::Frame| !frame.body.is_last()) {
        frames.push(tokio::time::timeout(PATIENCE, mailbox.next()).await.unwrap().unwrap());
    }
    assert!(since.elapsed() < Duration::from_secs(12), "{:?}", since.elapsed());
    assert_eq!((frames[0].attempt, &frames[0].body), (2, &FrameBody::Restart));
    assert!(matches!(frames.last().unwrap().body, FrameBody::Done { .. }));
    drop(lost);
}

#[tokio::test]
async fn an_expired_ask_is_written_down_and_not_run() {
    let mut desk = Desk::open().workers(0).start().await;
    let (talk, with) = (ConversationId::new(), headers(&GatewayId::new(), 1));
    desk.bus.submit(&demo(), &talk, &ask("too late"), &with).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    desk.fleet.add_worker(&desk.options).await.unwrap();
    let record =
        until("a record", || async { desk.bus.read_record(&demo(), Some(&talk), &with.request).await.unwrap() }).await;
    assert!(matches!(record.outcome, Outcome::Expired { .. }), "{:?}", record.outcome);
    assert!(record.passages.is_empty());
}

#[tokio::test]
async fn without_workers_the_deadline_still_ends_the_wait() {
    let desk = Desk::open().workers(0).start().await;
    let since = Instant::now();
    let (status, problem) = desk.post("/v1/chat", &json!({ "text": "anybody?", "deadline_ms": 1000 })).await;
    assert_eq!((status, &problem["code"]), (504, &json!("expired")), "{problem}");
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_queued_turn_is_cancelled_before_it_runs() {
    let mut desk = Desk::open().workers(0).start().await;
    let mut frames = desk.stream(0, &json!({ "text": "How do I use a coupon?" })).await;
    let accepted = frames.next().await.unwrap();
    let (status, _) = desk.post(&format!("/v1/chat/{}/cancel", accepted.request), &json!({})).await;
    assert_eq!(status, 202);
    desk.fleet.add_worker(&desk.options).await.unwrap();
    let rest = frames.rest().await;
    assert!(matches!(rest.last().unwrap().body, FrameBody::Cancelled { .. }), "{rest:?}");
}

#[tokio::test]
async fn the_memory_of_a_conversation_reaches_the_next_turn_and_survives_redis() {
    let desk = Desk::open().own_redis().start().await;
    let body = json!({ "text": "How long does delivery take?", "conversation": "remember" });
    assert_eq!(desk.post("/v1/chat", &body).await.1["degraded"], json!([]));
    desk.engines.kill(talkfleet::engines::Engine::Redis).unwrap();
    let (status, answer) = desk.post("/v1/chat", &body).await;
    assert_eq!((status, &answer["degraded"]), (200, &json!(["memory"])), "{answer}");
    until("the gateway names Redis and stays ready", || async {
        let told = reqwest::get(format!("{}/readyz", desk.fleet.admin_urls()[0])).await.unwrap();
        let status = told.status();
        let missing = told.json::<Value>().await.unwrap()["missing"]["redis"].is_string();
        (status == 200 && missing).then_some(())
    })
    .await;
    desk.engines.revive(talkfleet::engines::Engine::Redis).await.unwrap();
    until("memory again", || async {
        let (_, answer) = desk.post("/v1/chat", &body).await;
        (answer["degraded"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn draining_a_worker_under_load_loses_nothing() {
    let mut desk = Desk::open().workers(2).start().await;
    let asks = (0..200).map(|number| {
        let desk_url = desk.url("/v1/chat");
        let key = desk.key.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(number * 10)).await;
            let sent = reqwest::Client::new()
                .post(desk_url)
                .bearer_auth(key)
                .json(&json!({ "text": "How do I return an item?" }))
                .send()
                .await
                .unwrap();
            sent.status().as_u16()
        }
    });
    let load = tokio::spawn(join_all(asks));
    tokio::time::sleep(Duration::from_millis(700)).await;
    let since = Instant::now();
    desk.fleet.drain_worker(0).await;
    assert!(since.elapsed() < Duration::from_secs(25));
    let statuses = load.await.unwrap();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test]
async fn a_broker_that_is_away_is_told_at_once() {
    let desk = Desk::open().start().await;
    desk.engines.kill(talkfleet::engines::Engine::Nats).unwrap();
    let since = Instant::now();
    let (status, problem) = desk.post("/v1/chat", &json!({ "text": "hello?" })).await;
    assert_eq!((status, &problem["code"]), (503, &json!("broker_away")), "{problem}");
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    let ready = reqwest::get(format!("{}/readyz", desk.fleet.admin_urls()[0])).await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.json::<Value>().await.unwrap()["missing"]["nats"].is_string());
    desk.engines.revive(talkfleet::engines::Engine::Nats).await.unwrap();
    until("answers again", || async {
        let (status, answer) = desk.post("/v1/chat", &json!({ "text": "How long does delivery take?" })).await;
        (status == 200 && answer["kind"] == "answer").then_some(())
    })
    .await;
}
