//! Scratch.
#![allow(clippy::all, clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::allow_attributes, clippy::allow_attributes_without_reason)]
use std::{collections::HashMap, sync::Arc, time::{Duration, Instant}};
use talkfleet_shared::{admin::Health, bus::*, chat::*, config::*, id::*, lifecycle::Shutdown, metrics::Metrics, subject, telemetry::Trace, topology::{self, Scale}};
use talkfleet_worker::{Worker, config::WorkerConfig};

fn ask(text: &str) -> Ask { Ask::new(MessageText::parse(text).unwrap()) }

async fn next(mailbox: &mut Mailbox, within: u64) -> Option<Frame> {
    tokio::time::timeout(Duration::from_millis(within), mailbox.next()).await.ok().flatten()
}

async fn story(mailbox: &mut Mailbox) -> Vec<Frame> {
    let mut frames = vec![];
    while let Some(frame) = next(mailbox, 60000).await {
        let last = frame.body.is_last();
        frames.push(frame);
        if last { break }
    }
    frames
}

fn show(frames: &[Frame]) -> String {
    frames.iter().map(|f| format!("{}.{} {}", f.attempt, f.seq, f.body.name())).collect::<Vec<_>>().join(" | ")
}

async fn roles(bus: Bus) {
    let mut intent = bus.serve("intent", "stub", HashMap::new()).await.unwrap();
    let mut retrieve = bus.serve("retrieve", "stub", HashMap::new()).await.unwrap();
    loop {
        tokio::select! {
            call = intent.next() => { let call = call.unwrap(); let q: IntentRequest = call.question().unwrap();
                tokio::spawn(async move {
                if q.text.contains("slow") { tokio::time::sleep(Duration::from_secs(3)).await; }
                call.answer(&IntentReply { name: "track".into(), confidence: 0.9, kind: if q.text == "hello" { "small_talk" } else { "question" }.into(), language: Language::English, entities: vec![], reply: Some("Hi!".into()), version: "i1".into() }).await.unwrap(); }); }
            call = retrieve.next() => { let call = call.unwrap(); let q: RetrieveRequest = call.question().unwrap();
                let good = if q.text == "hello" { 0.1 } else { 0.9 };
                call.answer(&RetrieveReply { passages: vec![Passage { id: "p".into(), document: "d".into(), title: "Parcels".into(), url: "/p".into(), text: "It takes two days. Then it is there. Bye now.".into(), language: Language::English, score: good }], extract: Some("It takes two days. Then it is there.".into()), answerable: good, version: "k1".into() }).await.unwrap(); }
        }
    }
}

#[tokio::main]
async fn main() {
    let nats = std::env::args().nth(1).unwrap();
    let redis = std::env::args().nth(2).unwrap();
    tracing_subscriber_init();
    let flags = |more: &[(&str, &str)]| {
        let mut f = vec![("nats.url".to_string(), nats.clone()), ("redis.url".into(), redis.clone()), ("admin.listen".into(), "127.0.0.1:0".into()), ("roles.enabled".into(), "[\"response\"]".into())];
        f.extend(more.iter().map(|(a, b)| (a.to_string(), b.to_string())));
        f
    };
    let config = WorkerConfig::load(None, &flags(&[])).unwrap();
    let bus = Bus::connect(&config.nats, "hand", Metrics::new("gateway"), Health::new()).await.unwrap();
    let scale = Scale::default();
    println!("topology: {} changes", bus.topology_apply(scale).await.unwrap().len());
    tokio::spawn(roles(bus.clone()));
    let gateway = GatewayId::new();
    let mut mailbox = bus.mailbox(&gateway).await.unwrap();
    let tenant = TenantId::parse("demo").unwrap();
    let submit = |conversation: ConversationId, a: Ask, budget: u64| {
        let (bus, gateway, tenant) = (bus.clone(), gateway.clone(), tenant.clone());
        async move {
            let request = RequestId::new();
            let with = AskHeaders { request: request.clone(), reply_to: subject::reply(&gateway, &request), budget: Duration::from_millis(budget), trace: Trace::start(&mut rand::rng()) };
            let r = bus.submit(&tenant, &conversation, &a, &with).await;
            if let Err(e) = &r { println!("submit: {e}"); }
            request
        }
    };
    let shutdown = Shutdown::new();
    let worker = Worker::start(config.clone(), shutdown.clone()).await.unwrap();
    let c = ConversationId::new();
    // 1 plain
    let t = Instant::now();
    let r = submit(c.clone(), ask("where is my parcel"), 30000).await;
    let frames = story(&mut mailbox).await;
    println!("1 answer {:?}: {}", t.elapsed(), show(&frames));
    let record = bus.read_record(&tenant, Some(&c), &r).await.unwrap().unwrap();
    assert_eq!(record.frames(Position::default()), frames);
    if let FrameBody::Done { answer } = &frames.last().unwrap().body { println!("  {:?} {:?} degraded {:?} {:?}", answer.text, answer.rung, answer.degraded, answer.timings); }
    // at once the next turn
    let mut refused = 0;
    let t = Instant::now();
    for _ in 0..200 {
        loop {
            let request = RequestId::new();
            let with = AskHeaders { request: request.clone(), reply_to: subject::reply(&gateway, &request), budget: Duration::from_secs(30), trace: Trace::start(&mut rand::rng()) };
            if bus.submit(&tenant, &c, &ask("hello"), &with).await.is_ok() { break }
            refused += 1;
        }
        story(&mut mailbox).await;
    }
    println!("2 200 turns in one conversation {:?}, refused at first try {refused}", t.elapsed());
    // 3 many conversations
    let t = Instant::now();
    let n = 2000;
    let subs = (0..n).map(|_| submit(ConversationId::new(), ask("where is my parcel"), 30000));
    let feeder = futures::future::join_all(subs);
    let mut done = 0;
    tokio::pin!(feeder);
    let mut fed = false;
    while done < n {
        tokio::select! {
            _ = &mut feeder, if !fed => fed = true,
            f = mailbox.next() => if f.unwrap().body.is_last() { done += 1 },
        }
    }
    println!("3 {n} turns {:?}: {:.0}/s", t.elapsed(), n as f64 / t.elapsed().as_secs_f64());
    // 4 cancel while running; wrong user first
    let mut a = ask("slow please");
    a.user = UserId::parse("ann").ok();
    let c4 = ConversationId::new();
    let r = submit(c4.clone(), a.clone(), 30000).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    bus.cancel(&tenant, &r, UserId::parse("eve").ok().as_ref()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let t = Instant::now();
    bus.cancel(&tenant, &r, a.user.as_ref()).await.unwrap();
    println!("4 cancelled: {} after {:?}", show(&story(&mut mailbox).await), t.elapsed());
    // 5 resume by another
    let r = submit(ConversationId::new(), a.clone(), 30000).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let other = GatewayId::new();
    let mut second = bus.mailbox(&other).await.unwrap();
    for user in ["eve", "ann"] {
        bus.resume(&ResumeRequest { tenant: tenant.clone(), request: r.clone(), user: UserId::parse(user).ok(), after: Position::default(), reply_to: subject::reply(&other, &r) }).await.unwrap();
    }
    let (one, two) = (story(&mut mailbox).await, story(&mut second).await);
    assert_eq!(one, two);
    if let FrameBody::Done { answer } = &one.last().unwrap().body { println!("5 resumed: {} degraded {:?}", show(&two), answer.degraded); }
    // 6 deadline
    let t = Instant::now();
    let r = submit(ConversationId::new(), ask("slow please"), 1000).await;
    let _ = r;
    let frames = story(&mut mailbox).await;
    println!("6 short budget: {} after {:?}", show(&frames), t.elapsed());
    // 7 drain while running, then another takes it
    let t = Instant::now();
    let config_short = WorkerConfig::load(None, &flags(&[("turn.grace_ms", "100")])).unwrap();
    let s2 = Shutdown::new();
    shutdown.ask();
    worker.finished().await;
    println!("7 drained in {:?}", t.elapsed());
    let w2 = Worker::start(config_short, s2.clone()).await.unwrap();
    submit(ConversationId::new(), ask("slow please"), 30000).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    s2.ask();
    let t = Instant::now();
    w2.finished().await;
    println!("7 drained with a turn in {:?}", t.elapsed());
    let (s3, t) = (Shutdown::new(), Instant::now());
    let w3 = Worker::start(config.clone(), s3.clone()).await.unwrap();
    println!("7 handed back: {} after {:?}", show(&story(&mut mailbox).await), t.elapsed());
    // 8 nonsense body
    s3.ask();
    w3.finished().await;
    // expired on the queue, cancelled on the queue
    submit(ConversationId::new(), ask("where"), 500).await;
    let r = submit(ConversationId::new(), ask("where"), 30000).await;
    bus.cancel(&tenant, &r, None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let s4 = Shutdown::new();
    let w4 = Worker::start(config.clone(), s4.clone()).await.unwrap();
    println!("8 expired/cancelled on the queue: {} // {}", show(&story(&mut mailbox).await), show(&story(&mut mailbox).await));
    s4.ask();
    w4.finished().await;
    // 9 reaper: a worker that never ends it
    let t = Instant::now();
    let c9 = ConversationId::new();
    let r = submit(c9.clone(), ask("poison"), 100000).await;
    let permits = Arc::new(tokio::sync::Semaphore::new(100));
    let mut deliveries = bus.deliveries(topology::ASK, topology::RESPONSE, permits).await.unwrap();
    let quiet = Shutdown::new();
    for _ in 0..4 { let d = deliveries.next(&quiet).await.unwrap(); println!("  delivery {} after {:?}", d.attempt(), t.elapsed()); }
    drop(deliveries);
    let s5 = Shutdown::new();
    let w5 = Worker::start(config.clone(), s5.clone()).await.unwrap();
    println!("9 reaped: {} after {:?}", show(&story(&mut mailbox).await), t.elapsed());
    tokio::time::sleep(Duration::from_millis(200)).await;
    submit(c9, ask("hello"), 30000).await;
    println!("9 free again: {}", show(&story(&mut mailbox).await));
    println!("{:?}", bus.read_record(&tenant, None, &r).await.unwrap().unwrap().outcome);
    let text = ureq(w5.admin).await;
    for line in text.lines().filter(|l| l.contains("turns_total") || l.contains("saved") || l.contains("dead_") || l.contains("redeliv") || l.contains("running{") || l.contains("clock_skew") || l.contains("permits{")) { println!("  {line}"); }
    s5.ask();
    w5.finished().await;
}

async fn ureq(admin: std::net::SocketAddr) -> String {
    reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap()
}

fn tracing_subscriber_init() {
    let _ = talkfleet_shared::telemetry::init(&talkfleet_shared::telemetry::LogConfig { format: Default::default(), filter: std::env::var("RUST_LOG").unwrap_or("warn".into()) });
}
