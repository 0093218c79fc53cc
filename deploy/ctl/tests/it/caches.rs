//! Copies before the database: made once for the fleet, dropped by message, and no loss when Redis is gone.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use serde_json::json;
use talkfleet::engines::Engine;
use talkfleet_shared::{
    bus::Bus,
    chat::{HistoryReply, HistoryRequest},
    id::{ConversationId, TenantId},
    subject,
    telemetry::Trace,
    topology,
};

use crate::{
    harness::{Desk, until},
    queue::stranger,
};

/// What the workers have counted, by the line's name and labels, summed.
pub(crate) async fn counted(desk: &Desk, name: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for url in desk.fleet.worker_urls() {
        let text = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
        for line in text.lines().filter(|line| line.starts_with(name)) {
            let (labels, value) = line.rsplit_once(' ').unwrap();
            *sums.entry(labels.to_owned()).or_default() += value.parse::<f64>().unwrap();
        }
    }
    sums
}

/// The sum of a counter's lines that hold all of these labels.
pub(crate) async fn count(desk: &Desk, name: &str, labels: &[&str]) -> f64 {
    let lines = counted(desk, name).await;
    lines.iter().filter(|(line, _)| labels.iter().all(|label| line.contains(label))).map(|(_, value)| value).sum()
}

async fn database_loads(desk: &Desk) -> f64 {
    count(desk, "talkfleet_cache_loads_total", &["cache=\"history\"", "source=\"database\""]).await
}

/// Asks the archive role; one that refuses because it has its fill of calls is asked again.
pub(crate) async fn history(bus: &Bus, conversation: &str) -> HistoryReply {
    let tenant = TenantId::parse("demo").unwrap();
    let question = HistoryRequest { conversation: ConversationId::parse(conversation).unwrap(), turns_max: 50 };
    until("a history", || async {
        let trace = Trace::start(&mut rand::rng());
        bus.call(subject::history(&tenant), &question, trace, Duration::MAX).await.ok()
    })
    .await
}

/// Forgets every record, as the broker does after an hour.
pub(crate) async fn forget_records(desk: &Desk) {
    let jetstream = async_nats::jetstream::new(stranger(desk).await);
    jetstream.get_stream(topology::TURNS).await.unwrap().purge().await.unwrap();
}

/// A desk of two archive workers without copies, and a conversation in the database that no record is left of: what an
/// hour leaves of one.
async fn long_ago(conversation: &str) -> Desk {
    let mut desk = Desk::open().own_redis().start().await;
    let body = json!({ "text": "How long does delivery take?", "conversation": "now" });
    let (status, answer) = desk.post("/v1/chat", &body).await;
    assert_eq!(status, 200, "{answer}");
    let pool = sqlx::PgPool::connect(&desk.engines.database_url).await.unwrap();
    until("an archived turn", || async {
        let moved = sqlx::query("update turns set conversation = $1 where conversation = 'now'").bind(conversation);
        (moved.execute(&pool).await.unwrap().rows_affected() > 0).then_some(())
    })
    .await;
    desk.options.roles = vec!["archive".into()];
    for _ in 0..2 {
        desk.fleet.add_worker(&desk.options).await.unwrap();
    }
    desk.fleet.drain_worker(0).await;
    until("filled filters", || async {
        let known = counted(&desk, "talkfleet_cache_known").await;
        (!known.is_empty() && known.values().all(|held| *held >= 2.0)).then_some(())
    })
    .await;
    desk
}

#[tokio::test]
async fn a_stampede_costs_the_database_one_read_and_strangers_none() {
    let desk = long_ago("long-ago").await;
    let before = database_loads(&desk).await;
    let replies = join_all((0..500).map(|_| history(&desk.bus, "long-ago"))).await;
    assert!(replies.iter().all(|reply| reply.turns.len() == 1 && reply.turns[0].question.contains("delivery")));
    let stampede = database_loads(&desk).await - before;
    println!("500 reads of one cold key: {stampede} of the database; {:?}", counted(&desk, "talkfleet_cache_").await);
    assert!((1.0..=2.0).contains(&stampede), "{stampede}");

    let before = database_loads(&desk).await;
    for hundred in 0..10 {
        let names: Vec<_> = (0..100).map(|n| format!("never-{hundred}-{n}")).collect();
        let replies = join_all(names.iter().map(|name| history(&desk.bus, name))).await;
        assert!(replies.iter().all(|reply| reply.turns.is_empty()));
    }
    assert_eq!(database_loads(&desk).await - before, 0.0, "1,000 ids that never existed");
    let unknown = count(&desk, "talkfleet_cache_lookups_total", &["outcome=\"unknown\""]).await;
    assert!(unknown >= 1_000.0, "{unknown}");
}

#[tokio::test]
async fn a_turn_that_ended_is_in_the_history_and_copies_elsewhere_are_dropped() {
    let open = Desk::open().workers(2);
    let open = open.worker_set("cache.history_ttl_s", 2_000).worker_set("cache.history_local_ttl_s", 2_000);
    let desk = open.start().await;
    for (n, text) in ["How long does delivery take?", "退款多久到账", "How do I track my parcel?"].iter().enumerate()
    {
        let (status, answer) = desk.post("/v1/chat", &json!({ "text": text, "conversation": "growing" })).await;
        assert_eq!(status, 200, "{answer}");
        // At once, whichever worker answers, and whatever copies there are.
        for _ in 0..20 {
            let turns = history(&desk.bus, "growing").await.turns;
            assert_eq!(turns.len(), n + 1);
            assert_eq!(&turns[n].question, text);
        }
    }
    // What the archive alone holds reaches every copy, since whoever wrote it told the others.
    let pool = sqlx::PgPool::connect(&desk.engines.database_url).await.unwrap();
    until("three archived turns", || async {
        let rows: i64 = sqlx::query_scalar("select count(*) from turns").fetch_one(&pool).await.unwrap();
        (rows == 3).then_some(())
    })
    .await;
    forget_records(&desk).await;
    for _ in 0..40 {
        assert_eq!(history(&desk.bus, "growing").await.turns.len(), 3, "a copy that was not dropped");
    }
}

#[tokio::test]
async fn without_redis_copies_here_and_the_database_go_on() {
    let desk = long_ago("long-ago").await;
    desk.engines.kill(Engine::Redis).unwrap();
    for _ in 0..2 {
        let replies = join_all((0..200).map(|_| history(&desk.bus, "long-ago"))).await;
        assert!(replies.iter().all(|reply| reply.turns.len() == 1));
    }
    let loads = database_loads(&desk).await;
    assert!((1.0..=2.0).contains(&loads), "one for each worker, since nothing is shared: {loads}");
}
