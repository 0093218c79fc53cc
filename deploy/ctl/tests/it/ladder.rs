//! What is away is left alone and tried again; turns wait for a model in line, on the stream that they are asked on.

use std::time::Duration;

use serde_json::{Value, json};
use talkfleet::engines::Engine;
use talkfleet_shared::chat::{Answer, Frame, FrameBody, Kind, Rung, RungReason};

use crate::{
    harness::{Desk, Frames, until},
    model::Model,
};

const QUESTION: &str = "How long does delivery take?";

/// A sample of the worker's metrics, 0 when there is none.
async fn metric(desk: &Desk, sample: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", desk.fleet.worker_urls()[0])).await.unwrap().text().await.unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok());
    found.unwrap_or_default()
}

async fn breaker(desk: &Desk, target: &str) -> u64 {
    metric(desk, &format!("talkfleet_breaker_state{{target=\"{target}\"}}")).await
}

async fn refused(desk: &Desk, target: &str) -> u64 {
    metric(desk, &format!("talkfleet_breaker_refusals_total{{target=\"{target}\"}}")).await
}

#[tokio::test]
async fn dead_engines_are_left_alone_and_called_again_within_the_pause() {
    let open = Desk::open().own_redis().own_database();
    let open = open.worker_set("redis.breaker_failures", 2).worker_set("redis.breaker_open_ms", 1_000);
    let open = open.worker_set("database.breaker_failures", 2).worker_set("database.breaker_open_ms", 1_000);
    let desk = open.start().await;
    let first = desk.ask(QUESTION).await;
    // Of one that the archive holds, histories are read there when the memory is away.
    let on = json!({ "text": QUESTION, "conversation": first["conversation"] });
    until("the first turn is archived", || async {
        (metric(&desk, "talkfleet_archived_total{table=\"turns\"}").await > 0).then_some(())
    })
    .await;
    assert_eq!([breaker(&desk, "redis").await, breaker(&desk, "archive").await], [0, 0]);
    for engine in [Engine::Redis, Engine::Postgres] {
        desk.engines.kill(engine).unwrap();
    }
    for target in ["redis", "archive", "history"] {
        until(&format!("{target} is left alone"), || async {
            desk.post("/v1/chat", &on).await;
            (breaker(&desk, target).await == 2).then_some(())
        })
        .await;
        let refused_before = refused(&desk, target).await;
        until(&format!("calls of {target} are refused"), || async {
            desk.post("/v1/chat", &on).await;
            (refused(&desk, target).await > refused_before).then_some(())
        })
        .await;
    }
    for engine in [Engine::Redis, Engine::Postgres] {
        desk.engines.revive(engine).await.unwrap();
    }
    let back = tokio::time::Instant::now();
    for target in ["redis", "archive"] {
        until(&format!("{target} is called again"), || async {
            desk.post("/v1/chat", &on).await;
            (breaker(&desk, target).await == 0).then_some(())
        })
        .await;
    }
    // A pause, what was left of a connection's timeout, and a machine that does other things.
    assert!(back.elapsed() < Duration::from_secs(8), "{:?}", back.elapsed());
}

/// A desk whose model fails, which one question has found out; no quotation is good enough for it.
async fn desk_without(model: &Model, breaker_open_ms: u64) -> Desk {
    let open = model.speaks_for(Desk::open().gateways(2)).worker_set("plan.park_below", 1.0);
    let open = open.worker_set("model.breaker_failures", 1).worker_set("model.breaker_open_ms", breaker_open_ms);
    // One place: a turn that waits must not hold it.
    let open = open.worker_set("roles.response_concurrency", 1);
    let desk = open.start().await;
    let answer = desk.ask(QUESTION).await;
    assert_eq!((&answer["rung"], &answer["rung_reason"]), (&json!("extract"), &json!("failed")), "{answer}");
    assert_eq!(breaker(&desk, "model").await, 2);
    desk
}

/// Reads until the turn is parked.
async fn parked(frames: &mut Frames) -> Vec<Frame> {
    let mut seen = Vec::new();
    while !seen.last().is_some_and(|frame: &Frame| matches!(frame.body, FrameBody::Parked(_))) {
        seen.push(frames.next().await.unwrap());
    }
    seen
}

fn answer(frames: &[Frame]) -> &Answer {
    match &frames.last().unwrap().body {
        FrameBody::Done { answer } => answer,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_turn_waits_for_the_model_and_is_answered_on_the_same_stream() {
    let model = Model::start(true).await;
    let desk = desk_without(&model, 1_500).await;
    let mut frames = desk.stream(0, &json!({ "text": QUESTION })).await;
    let mut seen = parked(&mut frames).await;
    let FrameBody::Parked(told) = seen.last().unwrap().body.clone() else { panic!("{seen:?}") };
    assert_eq!(told.place, 1);
    assert_eq!(metric(&desk, "talkfleet_parked").await, 1);
    assert_eq!(desk.ask("Hello!").await["kind"], "small_talk", "others are served meanwhile");
    let request = seen[0].request.clone();
    let resumed = desk.resume(1, request.as_str(), "0").await;
    model.mend();
    model.answer();
    seen.extend(frames.rest().await);
    let answer = answer(&seen);
    assert_eq!((answer.rung, answer.kind, answer.rung_reason), (Rung::Model, Kind::Answer, None));
    let names: Vec<_> = seen.iter().map(|frame| frame.body.name()).collect();
    assert_eq!(names[..5], ["accepted", "intent", "parked", "sources", "delta"]);
    // Whoever joined while it waited, and whoever comes when it is over, hears the same.
    for later in [resumed, desk.resume(1, request.as_str(), "0").await] {
        let again: Vec<_> = later.rest().await.into_iter().filter(|frame| frame.seq > 0).collect();
        assert_eq!(again, seen[1..]);
    }
    assert_eq!(metric(&desk, "talkfleet_parked_turns_total{reason=\"answered\"}").await, 1);
}

#[tokio::test]
async fn who_waits_in_vain_hears_so_before_the_deadline_and_may_stop_before() {
    let model = Model::start(true).await;
    let desk = desk_without(&model, 60_000).await;
    let mut frames = desk.stream(0, &json!({ "text": QUESTION, "deadline_ms": 3_000 })).await;
    parked(&mut frames).await;
    let rest = frames.rest().await;
    let answer = answer(&rest);
    assert_eq!((answer.kind, answer.rung_reason), (Kind::Handover, Some(RungReason::Breaker)));
    assert_eq!(metric(&desk, "talkfleet_parked_turns_total{reason=\"in_vain\"}").await, 1);

    let mut frames = desk.stream(0, &json!({ "text": QUESTION })).await;
    let request = parked(&mut frames).await[0].request.clone();
    let (status, _): (u16, Value) = desk.post(&format!("/v1/chat/{request}/cancel"), &json!({})).await;
    assert_eq!(status, 202);
    assert!(matches!(frames.rest().await.last().unwrap().body, FrameBody::Cancelled { .. }));
    until("its place is free", || async { (metric(&desk, "talkfleet_parked").await == 0).then_some(()) }).await;
}
