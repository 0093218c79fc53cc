//! What cannot be processed is set aside with all that is known of it, and people list, mend, redrive and drop it.

use std::{sync::Arc, time::Duration};

use async_nats::HeaderMap;
use serde_json::{Value, json};
use talkfleet_shared::{
    bus::{AskHeaders, DeadLetter, Settle},
    chat::{Ask, MessageText, Outcome, TurnRecord},
    dead::{Cause, History, Why},
    envelope::{Format, encode},
    header,
    id::{ConversationId, GatewayId, RequestId, TenantId},
    lifecycle::Shutdown,
    subject,
    telemetry::Trace,
    topology,
};

use crate::harness::{Desk, cli, command, until};

fn demo() -> TenantId {
    TenantId::parse("demo").unwrap()
}

fn talk(name: &str) -> ConversationId {
    ConversationId::parse(name).unwrap()
}

fn ask(text: &str) -> Ask {
    Ask::new(MessageText::parse(text).unwrap())
}

/// Publishes a body onto the queue, as a stranger would.
pub(crate) async fn publish(desk: &Desk, conversation: &str, headers: &[(&'static str, &str)], body: &str) {
    let server: async_nats::ServerAddr = desk.engines.nats_url.parse().unwrap();
    let (user, password) = (server.username().unwrap().to_owned(), server.password().unwrap().to_owned());
    let client = async_nats::ConnectOptions::with_user_and_password(user, password).connect(server).await.unwrap();
    let mut map = HeaderMap::new();
    map.insert(header::MESSAGE_ID, format!("of-{conversation}"));
    headers.iter().for_each(|(name, value)| map.insert(*name, *value));
    let subject = subject::ask(0, &demo(), &talk(conversation));
    let jetstream = async_nats::jetstream::new(client);
    jetstream.publish_with_headers(subject, map, body.to_owned().into()).await.unwrap().await.unwrap();
}

/// Sets an ask aside, as a worker would.
async fn set_aside(desk: &Desk, conversation: &str, text: &str, redrive_of: Option<u64>) {
    let mut headers = HeaderMap::new();
    headers.insert(header::REQUEST, format!("of-{conversation}"));
    redrive_of.into_iter().for_each(|of| headers.insert(header::REDRIVE_OF, of.to_string()));
    let dead = DeadLetter {
        origin: &subject::ask(0, &demo(), &talk(conversation)),
        headers: Some(&headers),
        body: &encode(&ask(text), Format::MessagePack).unwrap(),
        why: &Why::new(Cause::Killed, "a test says so"),
        history: History::default(),
        attempt: 4,
    };
    desk.bus.set_aside(&dead).await.unwrap();
}

async fn dead(desk: &Desk) -> Vec<Value> {
    cli(desk, &["dead", "list", "--all", "--json"]).await.as_array().unwrap().clone()
}

async fn dead_letters(desk: &Desk, count: usize) -> Vec<Value> {
    until("so many dead letters", || async { Some(dead(desk).await).filter(|dead| dead.len() == count) }).await
}

async fn records(desk: &Desk, conversation: &str) -> Vec<TurnRecord> {
    desk.bus.records_of(&demo(), &talk(conversation)).await.unwrap()
}

fn outcomes(told: &Value) -> Vec<&str> {
    told["letters"].as_array().unwrap().iter().map(|letter| letter["outcome"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn letters_of_one_cause_are_one_group_and_quote_nobody() {
    let desk = Desk::open().start().await;
    for (number, body) in ["{}", "{\"txet\":\"my secret\"}", "{\"user\":\"u\"}"].iter().enumerate() {
        publish(&desk, &format!("no-text-{number}"), &[], body).await;
    }
    for version in ["9", "1000"] {
        publish(&desk, &format!("newer-{version}"), &[(header::SCHEMA, version)], "{\"text\":\"a\"}").await;
    }
    publish(&desk, "quoting", &[], "{\"text\":\"a\",\"history\":\"my secret\"}").await;
    dead_letters(&desk, 6).await;
    let groups = cli(&desk, &["dead", "list", "--json"]).await;
    let told: Vec<_> = groups.as_array().unwrap().iter().map(|group| (&group["count"], &group["reason"])).collect();
    assert_eq!(told.iter().map(|(count, _)| count.as_u64().unwrap()).collect::<Vec<_>>(), [3, 2, 1], "{groups}");
    assert!(told[0].1.as_str().unwrap().contains("missing field `text`"), "{groups}");
    assert!(told[1].1.as_str().unwrap().contains("schema"), "{groups}");
    for group in groups.as_array().unwrap() {
        let letter = cli(&desk, &["dead", "show", &group["example"].to_string(), "--json"]).await;
        assert_eq!(letter["fingerprint"], group["fingerprint"]);
        assert_eq!((&letter["attempt"], &letter["chain"][0]), (&json!("1"), &group["reason"]));
        assert!(letter["worker"].as_str().unwrap().starts_with("talkfleet-worker/"), "{letter}");
        assert!(letter["history"]["stored_at_ms"].as_u64().unwrap() > 1_700_000_000_000, "{letter}");
        assert!(letter["headers"][header::REQUEST].as_str().unwrap().starts_with("of-"), "{letter}");
        assert!(!letter["headers"].to_string().contains("secret"), "{letter}");
    }
    assert_eq!(cli(&desk, &["dead", "list", "--json", "--tenant", "other"]).await, json!([]));
}

#[tokio::test]
async fn a_mended_letter_is_answered_once_and_removed() {
    let desk = Desk::open().start().await;
    publish(&desk, "mend", &[], "{\"txet\":\"How long does delivery take?\"}").await;
    let id = dead_letters(&desk, 1).await[0]["id"].to_string();
    for (nonsense, why) in [("text=", "field `text`"), ("user=a b", "field `user`"), ("user=b", "missing field `text`")]
    {
        let (edited, _, complaint) = command(&desk, &["dead", "edit", &id, "--set", nonsense]).await;
        assert!(!edited && complaint.contains(why), "{complaint}");
    }
    let (redriven, told, _) = command(&desk, &["dead", "redrive", &id, "--json"]).await;
    assert!(!redriven && told["letters"][0]["why"].as_str().unwrap().contains("dead edit"), "{told}");
    assert_eq!(dead(&desk).await[0]["id"].to_string(), id, "nothing has changed so far");

    let set = "text=How long does delivery take?";
    let mended = cli(&desk, &["dead", "edit", &id, "--set", set, "--json"]).await["id"].to_string();
    let letters = dead(&desk).await;
    assert_eq!((letters.len(), letters[0]["id"].to_string()), (1, mended.clone()));
    let dry = cli(&desk, &["dead", "redrive", &mended, "--dry-run", "--json"]).await;
    assert_eq!(outcomes(&dry), ["would_ask"]);
    assert_eq!((dead(&desk).await.len(), records(&desk, "mend").await.len()), (1, 1));

    let told = cli(&desk, &["dead", "redrive", &mended, "--json"]).await;
    assert_eq!(outcomes(&told), ["answered"], "{told}");
    assert_eq!(told["letters"][0]["request"], dry["letters"][0]["request"]);
    let again = cli(&desk, &["dead", "redrive", &mended, "--json"]).await;
    assert_eq!(outcomes(&again), ["gone"], "{again}");
    assert!(dead(&desk).await.is_empty());
    let records = records(&desk, "mend").await;
    assert!(matches!(records[0].outcome, Outcome::Failed { .. }) && records[0].request.as_str() == "of-mend");
    assert!(matches!(records[1].outcome, Outcome::Answered { .. }) && records.len() == 2, "{records:?}");
}

#[tokio::test]
async fn what_kills_its_workers_is_set_aside_and_redriven_once_by_two_operators() {
    let mut desk = Desk::open().workers(0).start().await;
    publish(&desk, "killer", &[], "{\"text\":\"How do I return an item?\"}").await;
    let (permits, never) = (Arc::new(tokio::sync::Semaphore::new(1)), Shutdown::new());
    let mut taken = desk.bus.deliveries(topology::ASK, topology::RESPONSE, permits, &never).await.unwrap();
    for attempt in 1..=topology::DELIVERIES_MAX {
        let delivery = taken.next(&never).await.unwrap();
        assert_eq!(i64::from(delivery.attempt()), attempt);
        delivery.settle(Settle::Again(Duration::ZERO)).await.unwrap();
    }
    drop(taken);
    desk.fleet.add_worker(&desk.options).await.unwrap();
    let letters = dead_letters(&desk, 1).await;
    let id = letters[0]["id"].to_string();
    let letter = cli(&desk, &["dead", "show", &id, "--json"]).await;
    assert_eq!(letter["attempt"], topology::DELIVERIES_MAX.to_string(), "{letter}");
    assert_eq!(letter["body"], json!({ "text": "How do I return an item?" }));

    let redrive = ["dead", "redrive", "--fingerprint", letter["fingerprint"].as_str().unwrap(), "--json"];
    let (asked, _, complaint) = command(&desk, &redrive).await;
    assert!(!asked && complaint.contains("--yes"), "{complaint}");
    let one = ["dead", "redrive", &id, "--json"];
    let (first, second) = tokio::join!(cli(&desk, &one), cli(&desk, &one));
    for told in [&first, &second] {
        assert!(["answered", "gone"].contains(&outcomes(told)[0]), "{told}");
    }
    let records = records(&desk, "killer").await;
    assert_eq!(records.iter().map(|record| record.outcome.name()).collect::<Vec<_>>(), ["failed", "answered"]);
    assert!(dead(&desk).await.is_empty());
}

#[tokio::test]
async fn what_killed_its_worker_leaves_a_letter_though_its_time_was_up() {
    let mut desk = Desk::open().workers(0).start().await;
    publish(&desk, "hasty", &[(header::BUDGET_MS, "500")], "{\"text\":\"How do I return an item?\"}").await;
    let (permits, never) = (Arc::new(tokio::sync::Semaphore::new(1)), Shutdown::new());
    let mut taken = desk.bus.deliveries(topology::ASK, topology::RESPONSE, permits, &never).await.unwrap();
    let delivery = taken.next(&never).await.unwrap();
    // It comes again as after the death of its worker, only sooner.
    delivery.settle(Settle::Again(Duration::from_secs(1))).await.unwrap();
    drop(taken);
    desk.fleet.add_worker(&desk.options).await.unwrap();
    let letters = dead_letters(&desk, 1).await;
    let letter = cli(&desk, &["dead", "show", &letters[0]["id"].to_string(), "--json"]).await;
    assert_eq!((&letter["attempt"], &letter["body"]["text"]), (&json!("2"), &json!("How do I return an item?")));
    let ended = || async { records(&desk, "hasty").await.first().map(|record| record.outcome.name()) };
    assert_eq!(until("its outcome", ended).await, "expired");
}

#[tokio::test]
async fn a_redrive_stops_at_the_first_error_and_letters_are_dropped() {
    let desk = Desk::open().workers(0).start().await;
    let with = AskHeaders {
        request: RequestId::new(),
        reply_to: subject::reply(&GatewayId::new(), &RequestId::new()),
        budget: Duration::from_secs(60),
        trace: Trace::start(&mut rand::rng()),
        last_only: false,
        opening: false,
    };
    // Its customer is asking something else, and nobody answers.
    let busy = talk("busy");
    desk.bus.submit(&demo(), &busy, &ask("first"), &with).await.unwrap();
    let origin = subject::ask((busy.spread() % 4) as u32, &demo(), &busy);
    let dead_letter = DeadLetter {
        origin: &origin,
        headers: None,
        body: &encode(&ask("second"), Format::MessagePack).unwrap(),
        why: &Why::new(Cause::Killed, "a test says so"),
        history: History::default(),
        attempt: 4,
    };
    desk.bus.set_aside(&dead_letter).await.unwrap();
    set_aside(&desk, "free", "third", None).await;
    let journal = DeadLetter { origin: "chat.v1.journal.demo", ..dead_letter };
    desk.bus.set_aside(&journal).await.unwrap();

    let all = ["dead", "redrive", "--all", "--yes", "--stop-on-error", "--deadline-ms", "500", "--json"];
    let (succeeded, told, _) = command(&desk, &all).await;
    assert_eq!((succeeded, outcomes(&told)), (false, vec!["refused", "untried", "untried"]), "{told}");
    let (_, told, _) = command(&desk, &["dead", "redrive", "3", "--json"]).await;
    assert_eq!(outcomes(&told), ["skipped"], "{told}");
    assert_eq!(dead(&desk).await.len(), 3);

    let (dropped, _, complaint) = command(&desk, &["dead", "drop", "--all"]).await;
    assert!(!dropped && complaint.contains("--yes"), "{complaint}");
    assert_eq!(cli(&desk, &["dead", "drop", "1", "9", "--yes", "--json"]).await, json!({ "dropped": 1, "gone": 1 }));
    assert_eq!(cli(&desk, &["dead", "drop", "--all", "--yes", "--json"]).await, json!({ "dropped": 2, "gone": 0 }));
    assert!(dead(&desk).await.is_empty());
}

#[tokio::test]
async fn a_redrive_that_was_set_aside_itself_is_not_asked_beside_its_letter() {
    let desk = Desk::open().start().await;
    set_aside(&desk, "twice", "How long does delivery take?", None).await;
    set_aside(&desk, "twice", "How long does delivery take?", Some(1)).await;
    let told = cli(&desk, &["dead", "redrive", "--all", "--yes", "--json"]).await;
    assert_eq!(outcomes(&told), ["answered", "went_along"], "{told}");
    assert_eq!(records(&desk, "twice").await.len(), 1);
    assert!(dead(&desk).await.is_empty());
}

#[tokio::test]
async fn a_verdict_goes_back_to_the_journal() {
    let desk = Desk::open().roles(&["intent", "retrieval", "response"]).start().await;
    let dead_letter = DeadLetter {
        origin: &subject::feedback(&demo()),
        headers: None,
        body: &"{}".into(),
        why: &Why::new(Cause::Unarchived, "a test says so"),
        history: History::default(),
        attempt: 1,
    };
    desk.bus.set_aside(&dead_letter).await.unwrap();
    let told = cli(&desk, &["dead", "redrive", "1", "--json"]).await;
    assert_eq!(outcomes(&told), ["returned"], "{told}");
    assert!(dead(&desk).await.is_empty());
}
