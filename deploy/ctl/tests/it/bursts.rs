//! Bursts of messages and clients that hang up: what each channel's policy makes of them.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use talkfleet_shared::{
    chat::{FrameBody, Outcome, TurnRecord},
    id::{ConversationId, RequestId, TenantId},
};

use crate::{
    harness::{Desk, Open, Socket, until},
    model::{Model, said},
};

/// Long enough for a busy machine to bring three messages in one burst, short enough to wait for.
const QUIET_MS: u64 = 1_000;

const QUESTION: &str = "How long does delivery take?";

fn demo() -> TenantId {
    TenantId::parse("demo").unwrap()
}

fn policy(burst: &str) -> Open {
    Desk::open().gateway_set("channels.chat.burst", burst).gateway_set("channels.chat.quiet_ms", QUIET_MS)
}

fn message(text: &str, conversation: &str) -> Value {
    json!({ "text": text, "conversation": conversation, "channel": "chat" })
}

async fn post(desk: &Desk, gateway: usize, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new().post(desk.url_of(gateway, "/v1/chat")).bearer_auth(&desk.key).json(body);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// The records of a conversation once there are so many, oldest first.
async fn records(desk: &Desk, conversation: &str, count: usize) -> Vec<TurnRecord> {
    let conversation = ConversationId::parse(conversation).unwrap();
    until("the records", || async {
        let records = desk.bus.records_of(&demo(), &conversation).await.unwrap();
        (records.len() >= count).then_some(records)
    })
    .await
}

async fn record(desk: &Desk, request: &RequestId) -> TurnRecord {
    until("the record", || async { desk.bus.read_record(&demo(), None, request).await.unwrap() }).await
}

/// How many turns a process counts as saved.
async fn saved(process: &[String], reason: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", process[0])).await.unwrap().text().await.unwrap();
    let line = format!("talkfleet_saved_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn a_burst_is_one_generation_and_every_sender_is_told_its_answer() {
    let model = Model::start(false).await;
    let desk = model.speaks_for(policy("merge")).start().await;
    let texts = ["Hello, a question.", "How long does delivery take", "with standard shipping?"];
    let asks = texts.iter().zip(0..).map(|(text, number)| {
        let (desk, mut body) = (&desk, message(text, "burst"));
        body["metadata"] = json!({ "page": format!("/{number}"), format!("n{number}"): "x" });
        async move {
            tokio::time::sleep(Duration::from_millis(100 * number)).await;
            post(desk, 0, &body).await
        }
    });
    model.answer();
    let answers = join_all(asks).await;
    assert!(answers.iter().all(|(status, answer)| *status == 200 && *answer == answers[0].1), "{answers:?}");
    assert_eq!(answers[0].1["rung"], "model");
    assert_eq!(model.calls(), 1, "one generation for the burst");
    let told = records(&desk, "burst", 1).await;
    assert_eq!((told.len(), told[0].ask.text.as_str()), (1, texts.join("\n").as_str()));
    let metadata: Vec<_> = told[0].ask.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(metadata, ["n0=x", "n1=x", "n2=x", "page=/2"]);
}

#[tokio::test]
async fn over_websocket_a_burst_is_told_once_to_each_and_what_comes_later_is_the_next() {
    let model = Model::start(false).await;
    let desk = model.speaks_for(policy("merge")).start().await;
    let (mut phone, mut tab) = (Socket::open(&desk, 0).await, Socket::open(&desk, 0).await);
    phone.ask("p", message(QUESTION, "talk")).await;
    tab.ask("t", message("I mean standard delivery.", "talk")).await;
    let (accepted, same) = (phone.frame("p").await, tab.frame("t").await);
    assert!(matches!(accepted.body, FrameBody::Accepted { .. }));
    assert_eq!((&accepted.request, accepted.position()), (&same.request, same.position()));
    model.called(1).await;
    // The burst is being answered: this one waits for its turn.
    let mut late = Socket::open(&desk, 0).await;
    late.ask("l", message("How do I return an item?", "talk")).await;
    tokio::time::sleep(Duration::from_millis(QUIET_MS + 500)).await;
    model.answer();
    let (to_phone, to_tab) = (phone.rest("p").await, tab.rest("t").await);
    assert_eq!(to_phone, to_tab);
    let FrameBody::Done { answer } = &to_phone.last().unwrap().body else { panic!("{to_phone:?}") };
    assert_eq!(said(&to_phone), answer.text);
    model.answer();
    let to_late = late.rest("l").await;
    assert!(matches!(to_late.last().unwrap().body, FrameBody::Done { .. }), "{to_late:?}");
    assert_ne!(to_late[0].request, accepted.request);
    let told = records(&desk, "talk", 2).await;
    assert_eq!(model.calls(), 2);
    assert!(told[1].asked_at_ms >= told[0].ended_at_ms, "the turns overlapped");
    // Each was told one last frame, and nothing after it.
    for mut socket in [phone, tab, late] {
        socket.say(&json!({ "type": "ping" })).await;
        assert_eq!(socket.next().await, json!({ "type": "pong" }));
    }
}

#[tokio::test]
async fn a_burst_that_came_in_by_two_gateways_is_one_ask() {
    let model = Model::start(false).await;
    let desk = model.speaks_for(policy("merge").gateways(2)).start().await;
    let mut here = Socket::open(&desk, 0).await;
    here.ask("h", message(QUESTION, "both")).await;
    tokio::time::sleep(Duration::from_millis(QUIET_MS / 4)).await;
    let mut there = desk.stream(1, &message("I mean standard delivery.", "both")).await;
    let (accepted, same) = (here.frame("h").await, there.next().await.unwrap());
    assert_eq!(accepted.request, same.request);
    model.called(1).await;
    model.answer();
    let (to_here, to_there) = (here.rest("h").await, there.rest().await);
    let FrameBody::Done { answer } = &to_here.last().unwrap().body else { panic!("{to_here:?}") };
    assert_eq!((said(&to_here), said(&to_there)), (answer.text.clone(), answer.text.clone()));
    assert_eq!(to_here.last(), to_there.last());
    // What comes while nobody gathers begins a burst of its own.
    model.answer();
    let (status, next) = post(&desk, 1, &message("How do I return an item?", "both")).await;
    assert_eq!(status, 200, "{next}");
    let told = records(&desk, "both", 2).await;
    let texts: Vec<_> = told.iter().map(|record| record.ask.text.as_str()).collect();
    assert_eq!(texts, [&format!("{QUESTION}\nI mean standard delivery."), "How do I return an item?"]);
    assert_eq!(model.calls(), 2);
}

#[tokio::test]
async fn a_retry_under_its_key_neither_interrupts_nor_is_rejected() {
    let model = Model::start(false).await;
    for burst in ["interrupt", "reject", "merge"] {
        let desk = model.speaks_for(policy(burst).gateways(2)).start().await;
        let calls = model.calls();
        let ask = |gateway: usize| {
            let request = reqwest::Client::new().post(desk.url_of(gateway, "/v1/chat")).bearer_auth(&desk.key);
            let request = request.header("idempotency-key", burst).json(&message(QUESTION, "again"));
            async move { request.send().await.unwrap().json::<Value>().await.unwrap() }
        };
        let (first, second, third, ()) = tokio::join!(
            ask(0),
            async {
                model.called(calls + 1).await;
                ask(1).await
            },
            async {
                model.called(calls + 1).await;
                ask(0).await
            },
            async {
                model.called(calls + 1).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
                model.answer();
            }
        );
        assert_eq!(first["kind"], "answer", "{burst}: {first}");
        assert_eq!((&first, &first), (&second, &third), "{burst}");
        assert_eq!(model.calls(), calls + 1, "{burst}");
    }
}

#[tokio::test]
async fn a_burst_goes_on_when_its_first_sender_hangs_up_and_a_key_has_an_outcome_of_its_own() {
    let desk = policy("merge").start().await;
    let mut first = Socket::open(&desk, 0).await;
    first.ask("a", message(QUESTION, "gone")).await;
    tokio::time::sleep(Duration::from_millis(QUIET_MS / 3)).await;
    let (second, (), keyed) = tokio::join!(
        async { post(&desk, 0, &message("I mean standard delivery.", "gone")).await },
        async {
            tokio::time::sleep(Duration::from_millis(QUIET_MS / 4)).await;
            drop(first);
        },
        async {
            tokio::time::sleep(Duration::from_millis(QUIET_MS / 2)).await;
            let request = reqwest::Client::new().post(desk.url("/v1/chat")).bearer_auth(&desk.key);
            let request = request.header("idempotency-key", "mine").json(&message("How do I use a coupon?", "gone"));
            request.send().await.unwrap().json::<Value>().await.unwrap()
        },
    );
    assert_eq!(second.0, 200, "{second:?}");
    assert_ne!(second.1["id"], keyed["id"]);
    let told = records(&desk, "gone", 2).await;
    let texts: Vec<_> = told.iter().map(|record| record.ask.text.as_str()).collect();
    assert_eq!(texts, [&format!("{QUESTION}\nI mean standard delivery."), "How do I use a coupon?"]);
}

#[tokio::test]
async fn a_burst_whose_senders_have_all_hung_up_is_asked_unless_the_channel_says_cancel() {
    let model = Model::start(false).await;
    let open = policy("merge").gateway_set("channels.phone.burst", "merge");
    let desk = model.speaks_for(open.gateway_set("channels.phone.on_disconnect", "cancel")).start().await;
    for channel in ["phone", "chat"] {
        let mut socket = Socket::open(&desk, 0).await;
        for reference in ["a", "b"] {
            let mut body = message(QUESTION, channel);
            body["channel"] = channel.into();
            socket.ask(reference, body).await;
        }
        tokio::time::sleep(Duration::from_millis(QUIET_MS / 4)).await;
        drop(socket);
    }
    model.answer();
    let told = records(&desk, "chat", 1).await;
    assert!(matches!(told[0].outcome, Outcome::Answered { .. }), "{:?}", told[0].outcome);
    let gateways = desk.fleet.admin_urls();
    until("the saving", || async { (saved(&gateways, "left").await == 1).then_some(()) }).await;
    assert_eq!(model.calls(), 1);
}

#[tokio::test]
async fn a_new_message_interrupts_the_answer_that_another_gateway_took() {
    let model = Model::start(false).await;
    let desk = model.speaks_for(policy("interrupt").gateways(2)).start().await;
    model.say(2);
    let mut first = desk.stream(0, &message(QUESTION, "cut")).await;
    let mut seen = Vec::new();
    while said(&seen).is_empty() {
        seen.push(first.next().await.unwrap());
    }
    let second = tokio::spawn({
        let (url, key) = (desk.url_of(1, "/v1/chat"), desk.key.clone());
        let body = message("How do I return an item?", "cut");
        async move { reqwest::Client::new().post(url).bearer_auth(key).json(&body).send().await.unwrap() }
    });
    seen.extend(first.rest().await);
    let lasts = seen.iter().filter(|frame| frame.body.is_last()).count();
    let FrameBody::Cancelled { text, .. } = &seen.last().unwrap().body else { panic!("{seen:?}") };
    assert_eq!((lasts, text), (1, &said(&seen)));
    model.called(2).await;
    model.answer();
    let answer: Value = second.await.unwrap().json().await.unwrap();
    assert_eq!(answer["rung"], "model", "{answer}");
    let told = records(&desk, "cut", 2).await;
    assert_eq!(told[0].outcome, Outcome::Cancelled { text: text.clone(), by: None });
    assert!(told[1].asked_at_ms >= told[0].ended_at_ms, "the turns overlapped");
}

#[tokio::test]
async fn a_visitor_interrupts_nobody_but_themselves() {
    let model = Model::start(false).await;
    let desk = model.speaks_for(policy("interrupt")).start().await;
    let visitors = reqwest::Client::new().post(desk.url("/v1/visitors")).header("origin", desk.url(""));
    let visitor: Value = visitors.send().await.unwrap().json().await.unwrap();
    let token = visitor["token"].as_str().unwrap();
    let ask = |text: &str, conversation: &Value| {
        let mut body = message(text, "x");
        body["conversation"] = conversation.clone();
        let request = reqwest::Client::new().post(desk.url("/v1/chat")).bearer_auth(token).json(&body);
        async move { request.send().await.unwrap().json::<Value>().await.unwrap() }
    };
    model.answer();
    let begun = ask(QUESTION, &Value::Null).await["conversation"].clone();
    // The company itself asks in the visitor's conversation, in its own name.
    let mut theirs = message(QUESTION, begun.as_str().unwrap());
    theirs["user"] = "agent".into();
    let mut stream = desk.stream(0, &theirs).await;
    let accepted = stream.next().await.unwrap();
    model.called(2).await;
    let (mine, rest) = tokio::join!(ask("How do I return an item?", &begun), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        model.answer();
        let rest = stream.rest().await;
        model.answer();
        rest
    });
    assert!(matches!(rest.last().unwrap().body, FrameBody::Done { .. }), "{:?}: {rest:?}", accepted.request);
    assert_eq!(mine["kind"], "answer", "{mine}");
}

#[tokio::test]
async fn a_message_is_rejected_while_another_is_open_and_never_after_its_answer() {
    let model = Model::start(false).await;
    let desk = model.speaks_for(policy("reject").gateways(2)).start().await;
    let mut open = desk.stream(0, &message(QUESTION, "one")).await;
    open.next().await.unwrap();
    for gateway in [0, 1] {
        let since = Instant::now();
        let (status, problem) = post(&desk, gateway, &message("And this?", "one")).await;
        assert_eq!((status, &problem["code"]), (409, &json!("conversation_busy")), "{problem}");
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    }
    model.answer();
    open.rest().await;
    // The answer is read a moment before the broker lets the next message in.
    for number in 0..20 {
        let (status, answer) = post(&desk, number % 2, &message("thanks, bye", "one")).await;
        assert_eq!(status, 200, "{answer}");
    }
}

#[tokio::test]
async fn messages_queue_over_two_gateways_and_are_answered_in_order() {
    let model = Model::start(false).await;
    let desk = model.speaks_for(policy("queue").gateways(2)).start().await;
    let first = desk.stream(0, &message(QUESTION, "line")).await;
    model.called(1).await;
    let later = message("How do I return an item?", "line");
    let (second, rest) = tokio::join!(post(&desk, 1, &later), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        model.answer();
        let rest = first.rest().await;
        model.answer();
        rest
    });
    assert!(matches!(rest.last().unwrap().body, FrameBody::Done { .. }), "{rest:?}");
    assert_eq!(second.0, 200, "{second:?}");
    let told = records(&desk, "line", 2).await;
    assert_eq!(told[0].ask.text.as_str(), QUESTION);
    assert!(told[1].asked_at_ms >= told[0].ended_at_ms, "the turns overlapped");
}

#[tokio::test]
async fn hanging_up_stops_nothing_unless_the_channel_says_so() {
    let model = Model::start(false).await;
    let open = policy("queue").gateway_set("channels.phone.on_disconnect", "cancel");
    let desk = model.speaks_for(open).start().await;
    for (channel, stopped) in [("chat", false), ("phone", true)] {
        let mut body = message(QUESTION, channel);
        body["channel"] = channel.into();
        let calls = model.calls();
        let mut frames = desk.stream(0, &body).await;
        let request = frames.next().await.unwrap().request;
        model.called(calls + 1).await;
        drop(frames);
        if !stopped {
            tokio::time::sleep(Duration::from_millis(3_000)).await;
            model.answer();
        }
        let outcome = record(&desk, &request).await.outcome;
        assert_eq!(matches!(outcome, Outcome::Cancelled { .. }), stopped, "{channel}: {outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Answered { .. }), !stopped, "{channel}: {outcome:?}");
    }
    // Nothing had been said, but the model had been asked: that is no saving.
    assert_eq!(saved(&desk.fleet.worker_urls(), "cancelled").await, 0);
}

#[tokio::test]
async fn as_long_as_somebody_listens_on_any_gateway_the_answer_goes_on() {
    let model = Model::start(false).await;
    let open = policy("queue").gateways(2).gateway_set("channels.chat.on_disconnect", "cancel");
    let desk = model.speaks_for(open).start().await;
    let mut socket = Socket::open(&desk, 0).await;
    socket.ask("a", message(QUESTION, "back")).await;
    let request = socket.frame("a").await.request;
    model.called(1).await;
    let goes_on = async |why: &str| {
        tokio::time::sleep(Duration::from_millis(3_200)).await;
        assert!(desk.bus.read_record(&demo(), None, &request).await.unwrap().is_none(), "{why}");
    };
    let tab = desk.resume(1, request.as_str(), "0").await;
    drop(tab);
    goes_on("stopped while the first client listens").await;
    drop(socket);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let back = desk.resume(1, request.as_str(), "0").await;
    goes_on("stopped though somebody came back").await;
    // The second gateway knows the channel as well.
    drop(back);
    let outcome = record(&desk, &request).await.outcome;
    assert!(matches!(outcome, Outcome::Cancelled { .. }), "{outcome:?}");
}

#[tokio::test]
async fn what_nobody_waits_for_costs_no_call_and_is_counted() {
    let model = Model::start(false).await;
    let open = policy("queue").gateway_set("channels.chat.on_disconnect", "cancel");
    let desk = model.speaks_for(open).worker_set("roles.response_concurrency", 1).start().await;
    let busy = desk.stream(0, &json!({ "text": QUESTION })).await;
    model.called(1).await;
    // Neither is taken while the only place is: one client hangs up, the other's deadline passes.
    let left = tokio::spawn({
        let (url, key, body) = (desk.url("/v1/chat"), desk.key.clone(), message(QUESTION, "left"));
        async move { reqwest::Client::new().post(url).bearer_auth(key).json(&body).send().await }
    });
    let (status, problem) = post(&desk, 0, &json!({ "text": QUESTION, "deadline_ms": 600 })).await;
    assert_eq!((status, &problem["code"]), (504, &json!("expired")), "{problem}");
    let conversation = ConversationId::parse("left").unwrap();
    let request = desk.bus.open_ask(&demo(), &conversation).await.unwrap().unwrap().request().unwrap();
    left.abort();
    until("the wish to stop", || async { desk.bus.is_cancelled(&demo(), &request).await.unwrap() }).await;
    model.answer();
    busy.rest().await;
    let outcome = records(&desk, "left", 1).await.remove(0).outcome;
    assert_eq!(outcome, Outcome::Cancelled { text: String::new(), by: None });
    let workers = desk.fleet.worker_urls();
    until("both savings", || async {
        (saved(&workers, "cancelled").await == 1 && saved(&workers, "deadline").await == 1).then_some(())
    })
    .await;
    assert_eq!(model.calls(), 1, "a call that nobody could use");
}
