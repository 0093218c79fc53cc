//! The queue as a public interface: plain NATS tools, strange producers, strange roles, discovery.

use std::{collections::HashMap, sync::Arc};

use async_nats::HeaderMap;
use futures::StreamExt;
use serde_json::{Value, json};
use talkfleet::connect::nats_config;
use talkfleet_shared::{
    admin::Health,
    bus::{Bus, CallError, Offer},
    error::Code,
    header,
    id::{GatewayId, RequestId, TenantId},
    lifecycle::Shutdown,
    metrics::Metrics,
    subject, telemetry, topology,
};
use tokio::sync::{Notify, Semaphore};

use crate::harness::{Desk, PATIENCE, nats_alone, python_worker, until};

/// A client as a stranger would have one.
pub(crate) async fn stranger(desk: &Desk) -> async_nats::Client {
    stranger_at(&desk.engines.nats_url).await
}

/// The same at one server's address.
pub(crate) async fn stranger_at(url: &str) -> async_nats::Client {
    let server: async_nats::ServerAddr = url.parse().unwrap();
    let (user, password) = (server.username().unwrap().to_owned(), server.password().unwrap().to_owned());
    async_nats::ConnectOptions::with_user_and_password(user, password).connect(server).await.unwrap()
}

async fn request(client: &async_nats::Client, subject: &str, body: &str) -> Value {
    let reply = tokio::time::timeout(PATIENCE, client.request(subject.to_owned(), body.to_owned().into())).await;
    serde_json::from_slice(&reply.unwrap().unwrap().payload).unwrap()
}

#[tokio::test]
async fn a_plain_request_gets_the_final_answer_as_json() {
    let desk = Desk::open().start().await;
    let client = stranger(&desk).await;
    let answer = request(&client, "chat.v1.chat.demo", r#"{"text":"Where is my parcel?"}"#).await;
    assert_eq!(answer["kind"], "answer", "{answer}");
    assert!(!answer["citations"].as_array().unwrap().is_empty());
    let problem = request(&client, "chat.v1.chat.demo", r#"{"text":""}"#).await;
    assert_eq!(problem["code"], "bad_text", "{problem}");
}

#[tokio::test]
async fn a_header_asks_for_every_frame() {
    let desk = Desk::open().start().await;
    let client = stranger(&desk).await;
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::STREAM, "frames");
    let body = r#"{"text":"How do I track my order?"}"#.into();
    client.publish_with_reply_and_headers("chat.v1.chat.demo", inbox, headers, body).await.unwrap();
    let mut names = Vec::new();
    while names.last().is_none_or(|name| name != "done") {
        let message = tokio::time::timeout(PATIENCE, replies.next()).await.unwrap().unwrap();
        let frame: Value = serde_json::from_slice(&message.payload).unwrap();
        names.push(frame["body"]["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(names[..3], ["accepted", "intent", "sources"]);
}

#[tokio::test]
async fn a_producer_publishes_to_ask_by_the_documented_contract() {
    let desk = Desk::open().start().await;
    let client = stranger(&desk).await;
    let (me, id) = (GatewayId::parse("stranger").unwrap(), RequestId::parse("my-request-1").unwrap());
    let mut replies = client.subscribe(subject::replies(&me)).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::MESSAGE_ID, id.as_str());
    headers.insert(header::CONTENT_TYPE, "application/json");
    headers.insert(header::BUDGET_MS, "20000");
    headers.insert(header::REPLY_TO, subject::reply(&me, &id));
    let body = r#"{"text":"Do you ship to Germany?","a_field_of_tomorrow":1}"#.into();
    client.publish_with_headers("chat.v1.ask.0.demo.stranger-1", headers, body).await.unwrap();
    let last = loop {
        let message = tokio::time::timeout(PATIENCE, replies.next()).await.unwrap().unwrap();
        let frame: Value = rmp_serde::from_slice(&message.payload).unwrap();
        if frame["body"]["type"] == "done" {
            break frame;
        }
    };
    assert_eq!(last["body"]["answer"]["citations"][0]["url"], "/help/international-delivery", "{last}");
}

#[tokio::test]
async fn payloads_that_are_no_ask_become_dead_letters_and_block_nobody() {
    let desk = Desk::open().start().await;
    let client = stranger(&desk).await;
    let jetstream = async_nats::jetstream::new(client.clone());
    let deep = [b"\x81\xa8metadata".as_slice(), &[0x81, 0xa1, b'a'].repeat(500)].concat();
    let bodies: [&[u8]; 6] = [b"", b"\xc1\xff", b"\x92\xa1a\xa1b", b"{\"text\":", &deep, b"{\"text\":\"\"}"];
    for (number, body) in bodies.iter().enumerate() {
        let mut headers = HeaderMap::new();
        headers.insert(header::MESSAGE_ID, format!("bad-{number}"));
        let ack = jetstream
            .publish_with_headers(format!("chat.v1.ask.0.demo.bad{number}"), headers, body.to_vec().into())
            .await
            .unwrap();
        ack.await.unwrap();
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::SCHEMA, "99");
    headers.insert(header::MESSAGE_ID, "newer");
    jetstream
        .publish_with_headers("chat.v1.ask.0.demo.newer", headers, "{\"text\":\"a\"}".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let dead = until("seven dead letters", || async {
        let stream = jetstream.get_stream("DEAD").await.unwrap();
        (stream.cached_info().state.messages == 7).then_some(stream)
    })
    .await;
    let newest = dead.get_last_raw_message_by_subject("chat.v1.dead.demo").await.unwrap();
    assert!(newest.headers.get(header::REASON).is_some());
    let waiting = until("an empty queue", || async {
        let state = jetstream.get_stream("ASK").await.unwrap().cached_info().state.messages;
        (state == 0).then_some(state)
    });
    waiting.await;
    assert_eq!(desk.ask("How do I track my parcel?").await["kind"], "answer");
}

#[tokio::test]
async fn roles_are_discovered_and_counted_by_the_services_protocol() {
    let desk = Desk::open().workers(2).start().await;
    let client = stranger(&desk).await;
    for role in ["intent", "retrieve", "history"] {
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await.unwrap();
        client.publish_with_reply(format!("$SRV.PING.talkfleet-{role}"), inbox, "".into()).await.unwrap();
        for _ in 0..2 {
            let pong = tokio::time::timeout(PATIENCE, replies.next()).await.unwrap().unwrap();
            let pong: Value = serde_json::from_slice(&pong.payload).unwrap();
            assert_eq!(pong["name"], format!("talkfleet-{role}"));
        }
    }
    let found = request(&client, "chat.v1.intent.demo", r#"{"text":"where is my parcel"}"#).await;
    assert_eq!(found["name"], "order_status", "{found}");
    let found = request(&client, "chat.v1.retrieve.demo", r#"{"text":"怎么退货","passages_max":3}"#).await;
    assert_eq!(found["passages"][0]["url"], "/zh/help/start-a-return", "{found}");
    let info = request(&client, "$SRV.STATS.talkfleet-intent", "").await;
    assert!(info["endpoints"][0]["subject"].as_str().unwrap().starts_with("chat.v1.intent"), "{info}");
}

#[tokio::test]
async fn roles_apart_work_as_roles_at_home() {
    let mut desk = Desk::open().workers(1).roles(&["response"]).start().await;
    let degraded = desk.ask("How long does delivery take?").await;
    assert_eq!(degraded["degraded"], json!(["intent", "retrieval"]), "{degraded}");
    for role in ["intent", "retrieval", "archive"] {
        let options = talkfleet::up::fleet::FleetOptions { roles: vec![role.into()], ..desk.options.clone() };
        desk.fleet.add_worker(&options).await.unwrap();
    }
    desk.fleet.ready(PATIENCE).await.unwrap();
    let answer = desk.ask("How long does delivery take?").await;
    assert_eq!((&answer["kind"], &answer["degraded"]), (&json!("answer"), &json!([])), "{answer}");
}

#[tokio::test]
async fn a_worker_in_python_takes_the_retrieval_role() {
    let desk = Desk::open().roles(&["intent", "response", "archive"]).start().await;
    let passages = desk.data.path().join("passages");
    std::fs::create_dir(&passages).unwrap();
    let line = json!({ "id": "p1", "document": "d1", "title": "Tea in the shops", "url": "/help/tea", "text": "Every Harbor Lane shop serves free jasmine tea to visitors.", "language": "en" });
    std::fs::write(passages.join("demo.jsonl"), format!("{line}\n")).unwrap();
    let worker = python_worker(
        &["nats-py==2.16.0", "msgpack==1.2.4"],
        &["--nats", &desk.engines.nats_url, passages.to_str().unwrap()],
    )
    .await;
    let answer = until("an answer by the Python worker", || async {
        let answer = desk.ask("Do your shops serve jasmine tea to visitors?").await;
        (answer["citations"][0]["url"] == "/help/tea").then_some(answer)
    })
    .await;
    assert!(answer["text"].as_str().unwrap().contains("jasmine tea"), "{answer}");
    drop(worker);
}

#[tokio::test]
async fn a_full_service_refuses_at_once_and_serves_on() {
    let desk = Desk::open().workers(0).start().await;
    let (shutdown, begun, gate) = (Shutdown::new(), Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let offer = Offer { what: "retrieve", description: "slow", metadata: HashMap::new(), calls_max: 1 };
    let serving = tokio::spawn({
        let (bus, shutdown, begun, gate) = (desk.bus.clone(), shutdown.clone(), begun.clone(), gate.clone());
        let answer = move |call: talkfleet_shared::bus::ServiceCall| {
            let (begun, gate) = (begun.clone(), gate.clone());
            async move {
                begun.notify_one();
                gate.acquire().await.unwrap().forget();
                call.answer(&json!("late")).await
            }
        };
        async move { bus.serve(offer, &shutdown, answer).await }
    });
    let call = || {
        let (bus, tenant) = (desk.bus.clone(), TenantId::parse("demo").unwrap());
        let trace = telemetry::Trace::follow(None, &mut rand::rng());
        async move { bus.call::<_, Value>(subject::retrieve(&tenant), &json!({}), trace, PATIENCE).await }
    };
    let first = until("the service", || async {
        let asked = tokio::spawn(call());
        tokio::select! {
            () = begun.notified() => Some(asked),
            _ = tokio::time::sleep(std::time::Duration::from_millis(500)) => None,
        }
    })
    .await;
    let Err(CallError::Problem(problem)) = call().await else { panic!("there was no place") };
    assert_eq!(problem.code, Code::Overloaded);
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap(), "late");
    assert_eq!(call().await.unwrap(), "late");
    shutdown.ask();
    serving.await.unwrap();
}

#[tokio::test]
async fn what_the_broker_lacks_is_named_until_it_is_there() {
    let data = tempfile::tempdir().unwrap();
    let engines = nats_alone(&data).await;
    let (config, health) = (nats_config(&engines.nats_url, 4, 1), Health::new());
    let bus = Bus::connect(&config, "test", Metrics::new("test"), health.clone()).await.unwrap();
    let taking = tokio::spawn({
        let bus = bus.clone();
        async move {
            let permits = Arc::new(Semaphore::new(1));
            bus.deliveries(topology::ASK, topology::RESPONSE, permits, &Shutdown::new()).await.is_some()
        }
    });
    until("its name", || async { health.missing().contains_key(topology::RESPONSE).then_some(()) }).await;
    assert!(!health.is_ready());
    bus.topology_apply(topology::Scale::default()).await.unwrap();
    assert!(taking.await.unwrap());
    assert!(health.is_ready(), "{:?}", health.missing());
}
