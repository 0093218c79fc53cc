//! A customer is forgotten everywhere, others are left as they were, and nothing that is under way brings anybody back.

use std::time::Duration;

use async_nats::HeaderMap;
use futures::StreamExt;
use serde_json::{Value, json};
use talkfleet_shared::{
    bus::DeadLetter,
    chat::{Ask, FrameBody, MessageText, TurnRecord},
    dead::{Cause, History, Why},
    envelope::{Format, encode},
    header,
    id::{ConversationId, RequestId, TenantId, UserId},
    subject, topology,
};

use crate::{
    caches::{count, history},
    harness::{Desk, cli, command, until},
    model::{Model, said},
    queue::stranger,
};

/// What only Ann has said.
const SECRET: &str = "My parcel for Elm Street 5 in Springfield never came";
const ANN: &str = "customer-ann-1";
const EVE: &str = "customer-eve-2";

fn demo() -> TenantId {
    TenantId::parse("demo").unwrap()
}

fn talk(name: &str) -> ConversationId {
    ConversationId::parse(name).unwrap()
}

async fn ask(desk: &Desk, user: Option<&str>, conversation: &str, text: &str) -> Value {
    let mut body = json!({ "text": text, "conversation": conversation });
    if let Some(user) = user {
        body["user"] = user.into();
    }
    let (status, answer) = desk.post("/v1/chat", &body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn pool(desk: &Desk) -> sqlx::PgPool {
    sqlx::PgPool::connect(&desk.engines.database_url).await.unwrap()
}

async fn rows(pool: &sqlx::PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// Every byte of every message of every stream that there is, as a stranger reads it.
async fn everything(desk: &Desk) -> Vec<(String, Vec<u8>)> {
    let jetstream = async_nats::jetstream::new(stranger(desk).await);
    let (mut names, mut found) = (jetstream.stream_names(), Vec::new());
    while let Some(name) = names.next().await {
        let stream = jetstream.get_stream(name.unwrap()).await.unwrap();
        let (info, name) = (stream.cached_info().state.clone(), stream.cached_info().config.name.clone());
        for sequence in info.first_sequence..=info.last_sequence {
            if let Ok(message) = stream.get_raw_message(sequence).await {
                let headers = format!("{:?}", message.headers);
                found.push((name.clone(), [message.subject.as_bytes(), headers.as_bytes(), &message.payload].concat()));
            }
        }
    }
    found
}

async fn places_with(desk: &Desk, text: &str) -> Vec<String> {
    let with = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let mut places: Vec<String> =
        everything(desk).await.into_iter().filter(|(_, bytes)| with(bytes)).map(|(name, _)| name).collect();
    places.sort_unstable();
    places.dedup();
    places
}

fn of<'a>(report: &'a Value, place: &str) -> &'a Value {
    let places = report["places"].as_array().unwrap().iter();
    places.clone().find(|found| found["name"] == place).unwrap_or_else(|| panic!("{place}: {report}"))
}

async fn forget(desk: &Desk, args: &[&str]) -> (bool, Value, String) {
    let receipts = desk.data.path().join("receipts");
    let all = ["forget", "--json", "--receipts", receipts.to_str().unwrap()];
    command(desk, &[&all, args].concat()).await
}

#[tokio::test]
async fn a_customer_is_forgotten_everywhere_and_nobody_else_is() {
    // Copies in workers outlast the test, unless they hear of it.
    let open = Desk::open().workers(2).worker_set("cache.history_ttl_s", 2_000);
    let desk = open.worker_set("cache.history_local_ttl_s", 2_000).start().await;
    let common = "How long does delivery take?";
    let first = ask(&desk, Some(ANN), "ann-talk-1", SECRET).await;
    ask(&desk, Some(ANN), "ann-talk-1", common).await;
    ask(&desk, None, "ann-talk-1", "And the gift that was in it for my aunt Amelia?").await;
    ask(&desk, Some(ANN), "shared-talk", "Can I pay in instalments, says Ann of Springfield?").await;
    ask(&desk, Some(EVE), "shared-talk", "Can I pay by invoice?").await;
    let human = ask(&desk, Some(EVE), "shared-talk", "I want to speak to a human").await;
    assert_eq!(human["kind"], "handover", "{human}");
    ask(&desk, Some(EVE), "eve-talk-9", common).await;
    let request = first["id"].as_str().unwrap();
    let verdict = json!({ "id": request, "verdict": "down", "reason": "Elm Street has two fives" });
    assert_eq!(desk.post("/v1/feedback", &verdict).await.0, 202);
    cli(&desk, &["conversation", "take", "ann-talk-1", "--name", "Joe", "--json"]).await;
    desk.bus.cancel(&demo(), &RequestId::parse(request).unwrap(), None).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::REQUEST, "of-a-dead-letter");
    let mut dead = Ask::new(MessageText::parse(SECRET).unwrap());
    dead.user = Some(UserId::parse(ANN).unwrap());
    for body in [encode(&dead, Format::MessagePack).unwrap(), format!("{{\"txet\":\"{SECRET}\"}}").into()] {
        let letter = DeadLetter {
            origin: &subject::ask(0, &demo(), &talk("ann-talk-2")),
            headers: Some(&headers),
            body: &body,
            why: &Why::new(Cause::Killed, "a test says so"),
            history: History::default(),
            attempt: 4,
        };
        desk.bus.set_aside(&letter).await.unwrap();
    }
    let pool = pool(&desk).await;
    until("archived turns", || async {
        let all = rows(&pool, "select count(*) from turns").await == 7
            && rows(&pool, "select count(*) from feedback").await == 1;
        all.then_some(())
    })
    .await;
    // Copies in Redis and in whichever worker answers.
    for conversation in ["ann-talk-1", "shared-talk", "eve-talk-9"] {
        for _ in 0..10 {
            history(&desk.bus, conversation).await;
        }
    }
    let held = places_with(&desk, SECRET).await;
    assert_eq!(held, ["DEAD", "JOURNAL", "TURNS"], "the test looks where they are");

    let whom = ["--tenant", "demo", "--user", ANN];
    let (ok, would, _) = forget(&desk, &[&whom[..], &["--dry-run"]].concat()).await;
    assert!(ok);
    let theirs = |report: &Value, place: &str| of(report, place)["theirs"].as_u64().unwrap();
    assert_eq!(
        theirs(&would, "archive: turns"),
        4,
        "three of hers and the one without a name in her conversation: {would}"
    );
    assert_eq!((theirs(&would, "JOURNAL"), theirs(&would, "TURNS"), theirs(&would, "DEAD")), (5, 4, 2), "{would}");
    let retold = ["TURNS", "JOURNAL", "archive: turns"].map(|place| of(&would, place)["retold"].as_u64().unwrap());
    assert_eq!(retold, [1; 3], "who takes over from Eve would read what Ann asked: {would}");
    assert!(
        theirs(&would, "Redis") >= 6 && theirs(&would, "KV_OWNERS") == 1 && theirs(&would, "CANCELS") == 1,
        "{would}"
    );
    assert_eq!(rows(&pool, "select count(*) from turns").await, 7, "nothing went");
    assert!(!desk.data.path().join("receipts").exists());

    let (ok, report, complaint) = forget(&desk, &whom).await;
    assert!(ok && report["clean"] == true, "{report} {complaint}");
    assert_eq!(of(&report, "archive: turns")["erased"], 4);
    for place in report["places"].as_array().unwrap() {
        assert_eq!(
            (&place["theirs"], &place["retold"], &place["mentions"]),
            (&json!(0), &json!(0), &json!(0)),
            "{place}"
        );
    }
    // Looked at by other means than its own.
    for text in [SECRET, ANN, request, "Amelia", "Elm Street has two fives", "says Ann"] {
        assert_eq!(places_with(&desk, text).await, Vec::<String>::new(), "{text}");
    }
    assert_eq!(
        places_with(&desk, "ann-talk-1").await,
        ["AUDIT"],
        "which conversation Joe took; nothing leaves that log"
    );
    let of_ann = "select count(*) from turns where user_id = 'customer-ann-1' or conversation = 'ann-talk-1'
        or position('Elm Street'::bytea in body) > 0 or position('says Ann'::bytea in body) > 0";
    assert_eq!(rows(&pool, of_ann).await, 0);
    assert_eq!(rows(&pool, "select count(*) from feedback").await, 0);
    let (ok, again, _) = forget(&desk, &whom).await;
    assert!(ok && again["places"].as_array().unwrap().iter().all(|place| place["erased"] == 0), "{again}");
    // Ten in a row, whichever worker answers: each drops its copies when it hears of it.
    until("her conversation to be gone from every worker", || async {
        for _ in 0..10 {
            if desk.get("/v1/conversations/ann-talk-1").await.0 != 404 {
                return None;
            }
        }
        Some(())
    })
    .await;
    until("the shared conversation to be Eve's in every worker", || async {
        for _ in 0..10 {
            let shared = history(&desk.bus, "shared-talk").await.turns;
            let questions: Vec<_> = shared.iter().map(|turn| turn.question.as_str()).collect();
            if questions != ["Can I pay by invoice?", "I want to speak to a human"] {
                return None;
            }
        }
        Some(())
    })
    .await;
    assert_eq!(history(&desk.bus, "eve-talk-9").await.turns.len(), 1, "she asked the same, and it is hers");
    let owner = cli(&desk, &["conversation", "owner", "ann-talk-1", "--json"]).await;
    assert_eq!(owner["owner"], "bot");

    let receipt = std::fs::read_to_string(report["receipt"].as_str().unwrap()).unwrap();
    for text in [ANN, "ann-talk", request, "Elm"] {
        assert!(!receipt.contains(text), "{receipt}");
    }
}

#[tokio::test]
async fn what_is_under_way_brings_nobody_back_and_who_returns_is_somebody_new() {
    let model = Model::start(false).await;
    let desk = model.speaks_for(Desk::open().workers(1)).start().await;
    model.say(1);
    let question = "How long does delivery take to Elm Street 5 in Springfield?";
    let body = json!({ "text": question, "conversation": "ann-talk-1", "user": ANN });
    let mut frames = desk.stream(0, &body).await;
    let mut seen = vec![frames.next().await.unwrap()];
    while said(&seen).is_empty() {
        seen.push(frames.next().await.unwrap());
    }
    let began = std::time::Instant::now();
    let (ok, report, complaint) = forget(&desk, &["--tenant", "demo", "--user", ANN]).await;
    assert!(ok, "{report} {complaint}");
    let last = frames.rest().await.pop().unwrap();
    assert!(matches!(last.body, FrameBody::Cancelled { .. }), "{last:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "the turn was stopped, and not waited for");
    assert_eq!(places_with(&desk, "Elm Street").await, Vec::<String>::new());

    // A straggler: a worker that was frozen since before writes its record now.
    let pool = pool(&desk).await;
    model.answer();
    let answer = ask(&desk, Some(EVE), "eve-talk-9", "How long does delivery take?").await;
    let record = desk.bus.read_record(&demo(), None, &RequestId::parse(answer["id"].as_str().unwrap()).unwrap()).await;
    let mut late: TurnRecord = record.unwrap().unwrap();
    late.request = RequestId::new();
    late.conversation = talk("ann-talk-1");
    late.ask = Ask { user: Some(UserId::parse(ANN).unwrap()), ..Ask::new(MessageText::parse(question).unwrap()) };
    late.asked_at_ms -= 60_000;
    desk.bus.write_record(&late).await.unwrap();
    until("what the archive left out", || async {
        (count(&desk, "talkfleet_forgotten_entries_total", &[]).await >= 1.0).then_some(())
    })
    .await;
    assert_eq!(rows(&pool, "select count(*) from turns where user_id = 'customer-ann-1'").await, 0);
    assert_eq!(places_with(&desk, "Elm Street").await, ["JOURNAL", "TURNS"]);

    // She comes again.
    model.answer();
    let fresh = ask(&desk, Some(ANN), "ann-talk-3", "How do I track my parcel?").await;
    until("her new turn", || async {
        let archived = rows(&pool, "select count(*) from turns where user_id = 'customer-ann-1'").await;
        (archived == 1).then_some(())
    })
    .await;
    let (ok, report, _) = forget(&desk, &["--listed"]).await;
    assert!(ok && report["clean"] == true, "{report}");
    assert_eq!(
        (&of(&report, "TURNS")["erased"], &of(&report, "JOURNAL")["erased"]),
        (&json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!(places_with(&desk, "Elm Street").await, Vec::<String>::new());
    assert_eq!(rows(&pool, "select count(*) from turns where user_id = 'customer-ann-1'").await, 1);
    let kept = desk.bus.read_record(&demo(), None, &RequestId::parse(fresh["id"].as_str().unwrap()).unwrap()).await;
    assert_eq!(kept.unwrap().unwrap().ask.user, Some(UserId::parse(ANN).unwrap()));
}

#[tokio::test]
async fn a_waiting_message_goes_and_whoever_waits_is_told() {
    let mut desk = Desk::open().start().await;
    desk.fleet.drain_worker(0).await;
    let mut frames = desk.stream(0, &json!({ "text": SECRET, "conversation": "ann-talk-1", "user": ANN })).await;
    until("a message on the queue", || async { (desk.bus.asks_waiting().await.unwrap() == 1).then_some(()) }).await;
    let (ok, report, complaint) = forget(&desk, &["--tenant", "demo", "--conversation", "ann-talk-1"]).await;
    assert!(ok && of(&report, topology::ASK)["erased"] == 1, "{report} {complaint}");
    let last = loop {
        let frame = frames.next().await.unwrap();
        if frame.body.is_last() {
            break frame;
        }
    };
    assert!(matches!(last.body, FrameBody::Cancelled { .. }), "{last:?}");
    assert_eq!(desk.bus.asks_waiting().await.unwrap(), 0);
    assert_eq!(places_with(&desk, "Elm Street").await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_older_than_the_archive_keeps_goes_by_itself() {
    let open = Desk::open().workers(2);
    let open = open.worker_set("archive.retention_days", 30).worker_set("archive.retention_batch_rows", 2);
    let desk = open.worker_set("archive.retention_look_s", 1).start().await;
    for n in 0..6 {
        ask(&desk, None, &format!("c{n}"), "How long does delivery take?").await;
    }
    let pool = pool(&desk).await;
    until("archived turns", || async { (rows(&pool, "select count(*) from turns").await == 6).then_some(()) }).await;
    let age = "update turns set asked_at = now() - interval '31 days' where conversation <> 'c5'";
    assert_eq!(sqlx::query(age).execute(&pool).await.unwrap().rows_affected(), 5);
    let old = "insert into feedback values ('demo', 'r-old', 'up', null, null, now() - interval '31 days'),
        ('demo', 'r-new', 'up', null, null, now())";
    sqlx::query(old).execute(&pool).await.unwrap();
    until("what is young alone", || async { (rows(&pool, "select count(*) from turns").await == 1).then_some(()) })
        .await;
    until("young feedback alone", || async { (rows(&pool, "select count(*) from feedback").await == 1).then_some(()) })
        .await;
    assert_eq!(rows(&pool, "select count(*) from turns where conversation = 'c5'").await, 1);
    assert_eq!(count(&desk, "talkfleet_archive_expired_total", &["table=\"turns\""]).await, 5.0);
}
