//! Reads go to a real streaming replica, and to the primary when it lacks what was written, lags, or is gone.

use serde_json::json;
use talkfleet::engines::{PostgresReplica, Silent, Sources};

use crate::{
    caches::{count, forget_records, history},
    harness::{Desk, until},
};

async fn reads(desk: &Desk, target: &str) -> f64 {
    count(desk, "talkfleet_database_reads_total", &[&format!("target=\"{target}\"")]).await
}

/// Asks in a conversation and waits until the database holds so many turns of it.
async fn archived(desk: &Desk, pool: &sqlx::PgPool, conversation: &str, turns: i64) {
    let body = json!({ "text": "How long does delivery take?", "conversation": conversation });
    let (status, answer) = desk.post("/v1/chat", &body).await;
    assert_eq!(status, 200, "{answer}");
    until("an archived turn", || async {
        let rows = sqlx::query_scalar("select count(*) from turns where conversation = $1").bind(conversation);
        let rows: i64 = rows.fetch_one(pool).await.unwrap();
        (rows == turns).then_some(())
    })
    .await;
}

/// Reads a conversation until a read went to this target; every reply holds so many turns.
async fn until_read(desk: &Desk, target: &str, conversation: &str, turns: usize) {
    let before = reads(desk, target).await;
    until(target, || async {
        assert_eq!(history(&desk.bus, conversation).await.turns.len(), turns, "{conversation}");
        (reads(desk, target).await > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn reads_follow_a_replica_as_far_as_it_has_come() {
    let mut desk = Desk::open().own_database().start().await;
    let folder = tempfile::tempdir().unwrap();
    let (primary, sources) = (&desk.engines.database_url, Sources::from_environment());
    let replica = PostgresReplica::follow(desk.data.path(), primary, folder.path(), &sources, &Silent).await.unwrap();
    // Every history is read from the database, and from the archive's rows alone.
    for (key, value) in [("cache.history_bytes_max", "0"), ("database.replica_lag_max_ms", "3000")] {
        desk.options.worker_set.push((key.into(), value.into()));
    }
    desk.options.worker_set.push(("database.replica_urls".into(), format!("[\"{}\"]", replica.url)));
    desk.fleet.add_worker(&desk.options).await.unwrap();
    desk.fleet.drain_worker(0).await;
    let pool = sqlx::PgPool::connect(primary).await.unwrap();
    let on_replica = sqlx::PgPool::connect(&replica.url).await.unwrap();
    archived(&desk, &pool, "quiet", 1).await;
    archived(&desk, &pool, "busy", 1).await;
    forget_records(&desk).await;
    until_read(&desk, "replica", "quiet", 1).await;
    until_read(&desk, "replica", "busy", 1).await;

    // It stands still: what was written since is read from the primary at once.
    sqlx::query("select pg_wal_replay_pause()").execute(&on_replica).await.unwrap();
    archived(&desk, &pool, "busy", 2).await;
    forget_records(&desk).await;
    let before = reads(&desk, "fallback").await;
    for _ in 0..20 {
        assert_eq!(history(&desk.bus, "busy").await.turns.len(), 2, "a customer's own last turn");
    }
    assert_eq!(reads(&desk, "fallback").await - before, 20.0);
    // And after a while everything is.
    until_read(&desk, "fallback", "quiet", 1).await;
    assert!(count(&desk, "talkfleet_replica_lag_seconds", &[]).await > 1.0);

    // It catches up and is read again.
    sqlx::query("select pg_wal_replay_resume()").execute(&on_replica).await.unwrap();
    until_read(&desk, "replica", "busy", 2).await;

    // It dies: no read fails.
    let before = reads(&desk, "fallback").await;
    replica.kill();
    for _ in 0..20 {
        assert_eq!(history(&desk.bus, "quiet").await.turns.len(), 1);
    }
    assert!(reads(&desk, "fallback").await - before >= 19.0);
    until("nobody to read from", || async { (count(&desk, "talkfleet_replicas", &[]).await == 0.0).then_some(()) })
        .await;
    replica.revive().await.unwrap();
    until_read(&desk, "replica", "quiet", 1).await;
}
