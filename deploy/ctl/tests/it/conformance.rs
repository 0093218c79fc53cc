//! What simulations believe of the broker is what nats-server does: the same questions, asked of both.

use std::{collections::HashMap, sync::Arc, time::Duration};

use talkfleet::{connect::nats_config, engines::Engines};
use talkfleet_shared::{
    admin::Health,
    bus::{
        AskHeaders, Bus, CallError, Deliveries, Delivery, Offer, ResumeRequest, ServiceCall, Settle, SubmitError,
        Written,
        model::{Faults, Model},
    },
    chat::{Ask, Frame, FrameBody, IntentReply, IntentRequest, Language, MessageText, Outcome, Position, TurnRecord},
    chat::{Problem, Unanswered, Versions},
    clock,
    error::Code,
    id::{ConversationId, GatewayId, RequestId, TenantId, UserId},
    lifecycle::Shutdown,
    metrics::Metrics,
    release::{Rule, Share},
    subject,
    telemetry::Trace,
    topology::{ADVISORIES, ASK, DELIVERIES_MAX, OWNERS, REAPER, REDELIVERY_WAITS, RESPONSE, RESPONSE_NEXT, Scale},
};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::harness::{nats_alone, until};

/// How long something may take that is to happen at once.
const SOON: Duration = Duration::from_secs(3);

/// How long something is waited for that must not happen.
const NEVER: Duration = Duration::from_millis(700);

/// How far a redelivery may be from its time.
const ABOUT: Duration = Duration::from_millis(900);

/// A broker to be asked: nats-server, or its model.
enum Broker {
    Nats { engines: Engines, _data: TempDir },
    Model(Model),
}

impl Broker {
    async fn nats() -> Self {
        let data = tempfile::tempdir().unwrap();
        let broker = Self::Nats { engines: nats_alone(&data).await, _data: data };
        broker.bus().await.topology_apply(Scale::default()).await.unwrap();
        broker
    }

    fn model() -> Self {
        Self::Model(Model::new(Faults::default()))
    }

    /// A connection of its own.
    async fn bus(&self) -> Bus {
        let (metrics, health) = (Metrics::new("test"), Health::new());
        match self {
            Self::Nats { engines, .. } => {
                Bus::connect(&nats_config(&engines.nats_url, 4, 1), "test", metrics, health).await.unwrap()
            }
            Self::Model(model) => {
                let config = nats_config("nats://model", 4, 1);
                let link = model.link(Duration::from_millis(config.publish_timeout_ms));
                Bus::simulated(link, &config, "test", metrics, health)
            }
        }
    }
}

fn tenant() -> TenantId {
    TenantId::parse("demo").unwrap()
}

fn conversation(name: &str) -> ConversationId {
    ConversationId::parse(name).unwrap()
}

fn request(name: &str) -> RequestId {
    RequestId::parse(name).unwrap()
}

fn ask(text: &str) -> Ask {
    Ask::new(MessageText::parse(text).unwrap())
}

/// `Ok(duplicate)` when it was accepted.
async fn submit(bus: &Bus, talk: &str, id: &str) -> Result<bool, SubmitError> {
    let headers = AskHeaders {
        request: request(id),
        reply_to: subject::reply(&GatewayId::parse("g1").unwrap(), &request(id)),
        budget: Duration::from_secs(30),
        trace: Trace::start(&mut rand::rng()),
        last_only: false,
        opening: false,
    };
    bus.submit(&tenant(), &conversation(talk), &ask(id), &headers).await.map(|accepted| accepted.duplicate)
}

async fn taking(bus: &Bus, stream: &'static str, consumer: &'static str, permits: usize) -> Deliveries {
    bus.deliveries(stream, consumer, Arc::new(Semaphore::new(permits)), &Shutdown::new()).await.unwrap()
}

async fn asks(bus: &Bus) -> Deliveries {
    taking(bus, ASK, RESPONSE, 10).await
}

async fn next(deliveries: &mut Deliveries, within: Duration) -> Option<Delivery> {
    tokio::time::timeout(within, deliveries.next(&Shutdown::new())).await.ok().flatten()
}

/// The next ask: whose it is, and which attempt.
async fn taken(deliveries: &mut Deliveries, within: Duration) -> (Delivery, String, u32) {
    let delivery = next(deliveries, within).await.expect("an ask comes");
    let ask = delivery.ask().unwrap();
    (delivery, ask.request.to_string(), ask.attempt)
}

#[track_caller]
fn about(took: Duration, expected: Duration) {
    assert!(took + ABOUT >= expected && took <= expected + ABOUT, "took {took:?}, expected {expected:?}");
}

fn record(talk: &str, id: &str, code: Code) -> TurnRecord {
    let unanswered = Unanswered {
        tenant: tenant(),
        conversation: conversation(talk),
        request: request(id),
        attempt: 1,
        ask: ask(id),
        ask_digest: String::new(),
        trace: None,
        asked_at_ms: 0,
    };
    unanswered.record(Outcome::Failed { problem: Problem::new(code) }, Versions::default(), 0)
}

fn frame(id: &str, seq: u32) -> Frame {
    Frame { request: request(id), attempt: 1, seq, body: FrameBody::Delta { text: seq.to_string() } }
}

async fn one_message_of_a_conversation_is_open(broker: Broker) {
    let bus = broker.bus().await;
    assert!(!submit(&bus, "c1", "r1").await.unwrap());
    assert!(matches!(submit(&bus, "c1", "r2").await, Err(SubmitError::Busy)));
    assert!(!submit(&bus, "c2", "r3").await.unwrap(), "another conversation does not wait");
    assert!(submit(&bus, "c1", "r1").await.unwrap(), "the same id is the same message");
    let open = bus.open_ask(&tenant(), &conversation("c1")).await.unwrap().unwrap();
    assert_eq!((open.request().unwrap(), open.ask().unwrap()), (request("r1"), ask("r1")));
    let mut deliveries = asks(&bus).await;
    let (first, id, attempt) = taken(&mut deliveries, SOON).await;
    assert_eq!((id.as_str(), attempt), ("r1", 1));
    assert!(matches!(submit(&bus, "c1", "r2").await, Err(SubmitError::Busy)), "it is still open");
    first.settle(Settle::Done).await.unwrap();
    assert!(submit(&bus, "c1", "r1").await.unwrap(), "remembered after it was settled");
    assert!(!submit(&bus, "c1", "r2").await.unwrap(), "let in at once");
    let (_, id, _) = taken(&mut deliveries, SOON).await;
    assert_eq!(id, "r3", "in the order in which they were stored");
    assert_eq!(taken(&mut deliveries, SOON).await.1, "r2");
    assert!(next(&mut deliveries, NEVER).await.is_none());
}

/// Two gateways know different rules for a moment: one publishes for the candidate, the other for the stable workers.
async fn a_conversation_has_one_open_message_whichever_release_answers(broker: Broker) {
    let (old, new, until) = (broker.bus().await, broker.bus().await, Shutdown::new());
    let (follower, stop) = (new.clone(), until.clone());
    tokio::spawn(async move { follower.follow_rule(&stop).await });
    new.write_rule(&Rule { share: Share::ALL, version: "2".into(), set_at_ms: 0 }).await.unwrap();
    tokio::time::timeout(SOON, new.rule().wait_for(Option::is_some)).await.unwrap().unwrap();

    assert!(!submit(&old, "c1", "r1").await.unwrap());
    assert!(matches!(submit(&new, "c1", "r2").await, Err(SubmitError::Busy)), "open at the stable workers");
    assert!(!submit(&new, "c2", "r3").await.unwrap());
    assert!(matches!(submit(&old, "c2", "r4").await, Err(SubmitError::Busy)), "open at the candidate's");
    assert!(submit(&new, "c1", "r1").await.unwrap(), "a retry of the same id is known on either");
    let open = old.open_ask(&tenant(), &conversation("c2")).await.unwrap().unwrap();
    assert_eq!(open.request(), Some(request("r3")));
    let (mut stable, mut candidate) = (asks(&old).await, taking(&new, ASK, RESPONSE_NEXT, 10).await);
    let (delivery, id, _) = taken(&mut stable, SOON).await;
    assert_eq!(id, "r1");
    assert!(next(&mut stable, NEVER).await.is_none(), "the candidate's asks are not theirs");
    assert_eq!(taken(&mut candidate, SOON).await.1, "r3");
    delivery.settle(Settle::Done).await.unwrap();
    assert!(!submit(&new, "c1", "r2").await.unwrap(), "it goes over once it is settled");
    assert_eq!(taken(&mut candidate, SOON).await.1, "r2");
    until.ask();
}

async fn an_ask_arrives_as_it_was_sent(broker: Broker) {
    let bus = broker.bus().await;
    submit(&bus, "c1", "r1").await.unwrap();
    let (seen, shown) = bus.time().await.unwrap();
    let delivery = next(&mut asks(&bus).await, SOON).await.unwrap();
    let asked = delivery.ask().unwrap();
    assert_eq!((asked.tenant, asked.conversation, asked.request), (tenant(), conversation("c1"), request("r1")));
    assert_eq!(asked.reply_to.as_deref(), Some("chat.v1.reply.g1.r1"));
    assert_eq!(asked.ask, ask("r1"));
    assert_eq!(asked.deadline, asked.asked_at + Duration::from_secs(30));
    let off = (shown + clock::since(seen) - asked.asked_at).abs();
    assert!(off < time::Duration::seconds(2), "the broker's clock is {off} off the time that it stamped");
}

async fn what_is_not_settled_comes_again(broker: Broker) {
    let (bus, other) = (broker.bus().await, broker.bus().await);
    submit(&bus, "c1", "r1").await.unwrap();
    let (mut deliveries, mut others) = (asks(&bus).await, asks(&other).await);
    let (first, ..) = taken(&mut deliveries, SOON).await;
    let began = clock::now();
    let (second, id, attempt) = tokio::select! {
        again = taken(&mut deliveries, REDELIVERY_WAITS[0] * 2) => again,
        again = taken(&mut others, REDELIVERY_WAITS[0] * 2) => again,
    };
    assert_eq!((id.as_str(), attempt), ("r1", 2));
    about(clock::since(began), REDELIVERY_WAITS[0]);
    // Whoever was thought dead may still settle it.
    first.settle(Settle::Done).await.unwrap();
    drop(second);
    assert!(bus.open_ask(&tenant(), &conversation("c1")).await.unwrap().is_none());
}

async fn work_that_goes_on_is_not_given_to_another(broker: Broker) {
    let bus = broker.bus().await;
    submit(&bus, "c1", "r1").await.unwrap();
    let mut deliveries = asks(&bus).await;
    let (first, ..) = taken(&mut deliveries, SOON).await;
    tokio::time::sleep(REDELIVERY_WAITS[0] / 2).await;
    first.keep_alive().await.unwrap();
    let began = clock::now();
    let (_, _, attempt) = taken(&mut deliveries, REDELIVERY_WAITS[0] * 2).await;
    assert_eq!(attempt, 2);
    about(clock::since(began), REDELIVERY_WAITS[0]);
}

async fn what_is_handed_back_comes_when_it_was_wished(broker: Broker) {
    let bus = broker.bus().await;
    submit(&bus, "c1", "r1").await.unwrap();
    let mut deliveries = asks(&bus).await;
    let (mut delivery, _, mut attempt) = taken(&mut deliveries, SOON).await;
    for wait in [Duration::from_secs(2), Duration::ZERO] {
        let (began, before) = (clock::now(), attempt);
        delivery.settle(Settle::Again(wait)).await.unwrap();
        (delivery, _, attempt) = taken(&mut deliveries, SOON).await;
        assert_eq!(attempt, before + 1);
        about(clock::since(began), wait);
    }
    delivery.settle(Settle::Done).await.unwrap();
    submit(&bus, "c1", "r2").await.unwrap();
    assert_eq!(taken(&mut deliveries, SOON).await.2, 1, "another message begins anew");
}

async fn what_is_delivered_too_often_is_told_and_stays(broker: Broker) {
    let bus = broker.bus().await;
    submit(&bus, "c1", "r1").await.unwrap();
    let mut deliveries = asks(&bus).await;
    for attempt in 1..=DELIVERIES_MAX as u32 {
        let (delivery, _, nth) = taken(&mut deliveries, SOON).await;
        assert_eq!(nth, attempt);
        delivery.settle(Settle::Again(Duration::ZERO)).await.unwrap();
    }
    assert!(next(&mut deliveries, NEVER).await.is_none(), "never a fifth time");
    let mut advisories = taking(&bus, ADVISORIES, REAPER, 1).await;
    let advisory = next(&mut advisories, SOON).await.expect("the broker tells of it");
    let said: serde_json::Value = serde_json::from_slice(advisory.body()).unwrap();
    assert_eq!(said["deliveries"], DELIVERIES_MAX);
    assert!(matches!(submit(&bus, "c1", "r2").await, Err(SubmitError::Busy)), "it blocks its conversation");
    let sequence = said["stream_seq"].as_u64().unwrap();
    let stored = bus.stored_ask(sequence).await.unwrap().unwrap();
    assert_eq!((stored.request().unwrap(), stored.subject.as_str().ends_with(".demo.c1")), (request("r1"), true));
    bus.delete_ask(sequence).await.unwrap();
    assert!(bus.stored_ask(sequence).await.unwrap().is_none());
    assert!(!submit(&bus, "c1", "r2").await.unwrap());
    advisory.settle(Settle::Done).await.unwrap();
    assert!(next(&mut advisories, NEVER).await.is_none(), "told once");
}

async fn what_is_set_aside_never_comes_again(broker: Broker) {
    let bus = broker.bus().await;
    submit(&bus, "c1", "r1").await.unwrap();
    let mut deliveries = asks(&bus).await;
    let (delivery, ..) = taken(&mut deliveries, SOON).await;
    delivery.settle(Settle::Aside).await.unwrap();
    assert!(bus.open_ask(&tenant(), &conversation("c1")).await.unwrap().is_none());
    assert!(next(&mut deliveries, NEVER).await.is_none());
}

async fn no_more_is_taken_than_there_are_permits(broker: Broker) {
    let bus = broker.bus().await;
    for talk in ["c1", "c2", "c3"] {
        submit(&bus, talk, &format!("{talk}-r")).await.unwrap();
    }
    let mut deliveries = taking(&bus, ASK, RESPONSE, 2).await;
    let (first, ..) = taken(&mut deliveries, SOON).await;
    let _second = taken(&mut deliveries, SOON).await;
    assert!(next(&mut deliveries, NEVER).await.is_none());
    first.settle(Settle::Done).await.unwrap();
    assert_eq!(taken(&mut deliveries, SOON).await.1, "c3-r");
}

async fn what_was_pulled_and_not_begun_is_handed_back(broker: Broker) {
    let (bus, other) = (broker.bus().await, broker.bus().await);
    for talk in ["c1", "c2"] {
        submit(&bus, talk, &format!("{talk}-r")).await.unwrap();
    }
    let mut leaving = asks(&bus).await;
    // Which of two conversations comes first is nobody's promise.
    let (_held, first, _) = taken(&mut leaving, SOON).await;
    let second = if first == "c1-r" { "c2-r" } else { "c1-r" };
    tokio::time::sleep(Duration::from_millis(300)).await;
    leaving.hand_back().await;
    let mut deliveries = asks(&other).await;
    assert_eq!(taken(&mut deliveries, SOON).await.1, second, "at once, not when its ack is overdue");
}

async fn the_first_record_is_the_record(broker: Broker) {
    let bus = broker.bus().await;
    let (first, second) = (record("c1", "r1", Code::Poison), record("c1", "r1", Code::TurnFailed));
    assert_eq!(bus.read_record(&tenant(), None, &request("r1")).await.unwrap(), None);
    assert_eq!(bus.write_record(&first).await.unwrap(), Written::First);
    assert_eq!(bus.write_record(&second).await.unwrap(), Written::Second(Box::new(first.clone())));
    assert_eq!(bus.read_record(&tenant(), None, &request("r1")).await.unwrap(), Some(first.clone()));
    let talk = conversation("c1");
    assert_eq!(bus.read_record(&tenant(), Some(&talk), &request("r1")).await.unwrap(), Some(first));
    assert_eq!(bus.read_record(&tenant(), Some(&conversation("c2")), &request("r1")).await.unwrap(), None);
    let racers = futures::future::join_all((0..20).map(|n| {
        let (bus, mut record) = (bus.clone(), record("c1", "r2", Code::Poison));
        record.asked_at_ms = n;
        async move { bus.write_record(&record).await.unwrap() }
    }));
    let firsts = racers.await.into_iter().filter(|written| *written == Written::First).count();
    assert_eq!(firsts, 1);
}

async fn a_wish_to_stop_is_heard_and_kept(broker: Broker) {
    let (bus, other) = (broker.bus().await, broker.bus().await);
    let (user, mut heard) = (UserId::parse("ann").unwrap(), other.cancels().await.unwrap());
    bus.cancel(&tenant(), &request("r1"), Some(&user)).await.unwrap();
    let wish = tokio::time::timeout(SOON, heard.next()).await.unwrap().unwrap();
    assert_eq!(wish, (tenant(), request("r1"), Some(user.clone())));
    assert_eq!(other.is_cancelled(&tenant(), &request("r1")).await.unwrap(), Some(Some(user)));
    assert_eq!(other.is_cancelled(&tenant(), &request("r2")).await.unwrap(), None);
}

async fn frames_reach_their_gateway_in_order(broker: Broker) {
    let (bus, other) = (broker.bus().await, broker.bus().await);
    let [one, two] = ["g1", "g2"].map(|name| GatewayId::parse(name).unwrap());
    let (mut mailbox, mut strange) = (bus.mailbox(&one).await.unwrap(), bus.mailbox(&two).await.unwrap());
    let reply_to = subject::reply(&one, &request("a1"));
    for seq in 1..=20 {
        other.emit(&reply_to, &frame("r1", seq)).await.unwrap();
    }
    for seq in 1..=20 {
        let told = tokio::time::timeout(SOON, mailbox.next_addressed()).await.unwrap();
        assert_eq!(told, Some((request("a1"), frame("r1", seq))));
    }
    assert!(tokio::time::timeout(NEVER, strange.next()).await.is_err());
}

async fn a_wish_to_resume_is_heard(broker: Broker) {
    let (bus, other) = (broker.bus().await, broker.bus().await);
    let mut heard = other.resumes().await.unwrap();
    let wish = ResumeRequest {
        tenant: tenant(),
        request: request("r1"),
        user: None,
        after: Position { attempt: 2, seq: 3 },
        reply_to: subject::reply(&GatewayId::parse("g1").unwrap(), &request("a1")),
    };
    bus.resume(&wish).await.unwrap();
    assert_eq!(tokio::time::timeout(SOON, heard.next()).await.unwrap(), Some(wish));
}

async fn a_role_is_played_by_one_of_those_who_play_it(broker: Broker) {
    let (bus, [one, two]) = (broker.bus().await, [broker.bus().await, broker.bus().await]);
    let question = IntentRequest { text: "Where is it?".into() };
    let call = || {
        let trace = Trace::start(&mut rand::rng());
        bus.call::<_, IntentReply>(subject::intent(&tenant()), &question, trace, SOON)
    };
    assert!(matches!(call().await, Err(CallError::Nobody)));
    let leaving = Shutdown::new();
    let calls = Arc::new(Semaphore::new(0));
    for player in [one, two] {
        let (leaving, calls) = (leaving.clone(), calls.clone());
        let offer = Offer { what: "intent", description: "for a test", metadata: HashMap::new(), calls_max: 10 };
        tokio::spawn(async move {
            let answer = |call: ServiceCall| {
                calls.add_permits(1);
                async move {
                    let asked: IntentRequest = call.question()?;
                    let reply = IntentReply {
                        name: asked.text,
                        confidence: 0.5,
                        kind: "question".into(),
                        language: Language::English,
                        entities: Vec::new(),
                        reply: None,
                        version: String::new(),
                    };
                    call.answer(&reply).await
                }
            };
            player.serve(offer, &leaving, answer).await;
        });
    }
    let answered = until("a player", || async { call().await.ok() }).await;
    assert_eq!(answered.name, "Where is it?");
    let before = calls.available_permits();
    for _ in 0..10 {
        call().await.unwrap();
    }
    assert_eq!(calls.available_permits() - before, 10, "each call is answered once");
    leaving.ask();
}

async fn a_bucket_is_told_as_it_stands_and_as_it_changes(broker: Broker) {
    let (bus, other) = (broker.bus().await, broker.bus().await);
    assert!(bus.is_empty(OWNERS).await.unwrap());
    bus.put(OWNERS, "a", "1".into()).await.unwrap();
    bus.put(OWNERS, "b", "1".into()).await.unwrap();
    let revision = bus.put(OWNERS, "a", "2".into()).await.unwrap();
    assert!(!bus.is_empty(OWNERS).await.unwrap());
    assert!(!bus.put_new(OWNERS, "a", "3".into()).await.unwrap());
    let entry = other.get(OWNERS, "a").await.unwrap().unwrap();
    assert_eq!((entry.value.as_deref(), entry.revision), (Some(&b"2"[..]), revision));
    let mut watch = other.watch(OWNERS).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..2 {
        let entry = tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap();
        told.push((entry.key, entry.pending));
    }
    assert_eq!(told, [("b".to_owned(), 1), ("a".to_owned(), 0)], "in the order of their last change");
    bus.remove(OWNERS, "a").await.unwrap();
    assert!(bus.put_new(OWNERS, "a", "4".into()).await.unwrap());
    let mut last = revision;
    for value in [None, Some(&b"4"[..])] {
        let entry = tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap();
        assert_eq!((entry.key.as_str(), entry.value.as_deref()), ("a", value));
        assert!(entry.revision > last, "{} after {last}", entry.revision);
        last = entry.revision;
    }
    assert_eq!(bus.get(OWNERS, "c").await.unwrap(), None);
}

async fn gateways_ask_one_another(broker: Broker) {
    let (bus, other) = (broker.bus().await, broker.bus().await);
    let (tenant, talk, wait) = (tenant(), conversation("c1"), Duration::from_millis(500));
    let asked = ask("r1");
    let hand = || bus.hand_over(&tenant, &talk, &asked, SOON, SOON);
    assert!(hand().await.unwrap().is_none(), "nobody gathers it");
    let mut gathered = other.hand_overs(&tenant, &talk).await.unwrap();
    let gathering = tokio::spawn(async move {
        let handed = gathered.next().await.unwrap();
        let text = handed.ask.text.as_str().to_owned();
        handed.accept(&frame("r9", 0)).await.unwrap();
        text
    });
    assert_eq!(hand().await.unwrap(), Some(frame("r9", 0)));
    assert_eq!(gathering.await.unwrap(), "r1");
    assert!(!bus.is_listened_to(&tenant, &request("r1"), wait).await.unwrap());
    let mut questions = other.listenings().await.unwrap();
    let answering = tokio::spawn(async move { questions.next().await.unwrap().yes().await.unwrap() });
    assert!(bus.is_listened_to(&tenant, &request("r1"), wait).await.unwrap());
    answering.await.unwrap();
}

/// Each question is asked of both.
macro_rules! both {
    ($($question:ident)*) => {
        mod nats {
            $(#[tokio::test]
            async fn $question() {
                super::$question(super::Broker::nats().await).await;
            })*
        }

        mod model {
            $(#[tokio::test(start_paused = true)]
            async fn $question() {
                super::$question(super::Broker::model()).await;
            })*
        }
    };
}

both! {
    one_message_of_a_conversation_is_open
    a_conversation_has_one_open_message_whichever_release_answers
    an_ask_arrives_as_it_was_sent
    what_is_not_settled_comes_again
    work_that_goes_on_is_not_given_to_another
    what_is_handed_back_comes_when_it_was_wished
    what_is_delivered_too_often_is_told_and_stays
    what_is_set_aside_never_comes_again
    no_more_is_taken_than_there_are_permits
    what_was_pulled_and_not_begun_is_handed_back
    the_first_record_is_the_record
    a_wish_to_stop_is_heard_and_kept
    frames_reach_their_gateway_in_order
    a_wish_to_resume_is_heard
    a_role_is_played_by_one_of_those_who_play_it
    a_bucket_is_told_as_it_stands_and_as_it_changes
    gateways_ask_one_another
}
