//! The database's primary dies, or is cut off, and its replica is made the primary: no turn is lost, none is there twice.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::PgPool;
use talkfleet::engines::{Engine, PostgresReplica, Silent, Sources};

use crate::harness::{Desk, until};

const TEXT: &str = "How long does delivery take?";

/// Asks so many questions, each in a conversation of its own.
async fn ask(desk: &Desk, name: &str, questions: usize) {
    for number in 0..questions {
        let body = json!({ "text": TEXT, "conversation": format!("{name}-{number}") });
        let (status, answer) = desk.post("/v1/chat", &body).await;
        assert_eq!(status, 200, "{answer}");
    }
}

async fn turns(pool: &PgPool) -> Vec<String> {
    let names = sqlx::query_scalar("select conversation from turns order by 1");
    names.fetch_all(pool).await.unwrap_or_default()
}

fn names(asked: &[(&str, usize)]) -> Vec<String> {
    let mut names: Vec<_> = asked
        .iter()
        .flat_map(|(name, questions)| (0..*questions).map(move |number| format!("{name}-{number}")))
        .collect();
    names.sort();
    names
}

/// A desk whose archive knows both servers, by one address; the replica follows.
async fn two_servers(folder: &tempfile::TempDir) -> (Desk, PostgresReplica) {
    let mut desk = Desk::open().own_database().roles(&["intent", "retrieval", "response"]).start().await;
    let primary = desk.engines.database_url.clone();
    let sources = Sources::from_environment();
    let replica = PostgresReplica::follow(desk.data.path(), &primary, folder.path(), &sources, &Silent).await.unwrap();
    let port = replica.url.rsplit_once(':').unwrap().1.split_once('/').unwrap().0;
    // The replica first: nobody writes to whom they reach first, but to the primary.
    let (user, place) = primary.rsplit_once('@').unwrap();
    let both = format!("{user}@127.0.0.1:{port},{place}?target_session_attrs=read-write");
    desk.options.roles = vec!["archive".into()];
    desk.options.worker_set.push(("database.url".into(), both));
    desk.fleet.add_worker(&desk.options).await.unwrap();
    (desk, replica)
}

async fn promote(replica: &PgPool) {
    assert!(sqlx::query_scalar::<_, bool>("select pg_promote(true, 30)").fetch_one(replica).await.unwrap());
}

#[tokio::test]
async fn the_primary_dies_with_rows_that_its_replica_lacks_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (desk, replica) = two_servers(&folder).await;
    let primary = PgPool::connect(&desk.engines.database_url).await.unwrap();
    let on_replica = PgPool::connect(&replica.url).await.unwrap();
    ask(&desk, "both", 5).await;
    until("both have the first", || async { (turns(&on_replica).await.len() == 5).then_some(()) }).await;

    // The replica is cut off: what is archived now, and acknowledged to the journal, the primary takes along.
    sqlx::raw_sql("alter system set primary_conninfo = ''").execute(&on_replica).await.unwrap();
    sqlx::raw_sql("select pg_reload_conf()").execute(&on_replica).await.unwrap();
    until("nobody follows", || async {
        let rows: i64 =
            sqlx::query_scalar("select count(*) from pg_stat_replication").fetch_one(&primary).await.unwrap();
        (rows == 0).then_some(())
    })
    .await;
    ask(&desk, "lost", 7).await;
    until("the primary has them", || async { (turns(&primary).await.len() == 12).then_some(()) }).await;
    assert_eq!(turns(&on_replica).await.len(), 5);

    desk.engines.kill(Engine::Postgres).unwrap();
    ask(&desk, "meanwhile", 4).await;
    let promoted = Instant::now();
    promote(&on_replica).await;
    let expected = names(&[("both", 5), ("lost", 7), ("meanwhile", 4)]);
    until("everything is in the new primary", || async { (turns(&on_replica).await == expected).then_some(()) }).await;
    println!("whole {:.1} s after the promotion", promoted.elapsed().as_secs_f32());
    ask(&desk, "after", 3).await;
    let expected = names(&[("both", 5), ("lost", 7), ("meanwhile", 4), ("after", 3)]);
    until("new turns too", || async { (turns(&on_replica).await == expected).then_some(()) }).await;
    let noted: Vec<i64> =
        sqlx::query_scalar("select timeline from promotions order by 1").fetch_all(&on_replica).await.unwrap();
    assert_eq!(noted, [1, 2]);
}

#[tokio::test]
async fn an_old_primary_that_comes_back_is_written_to_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (mut desk, replica) = two_servers(&folder).await;
    let on_replica = PgPool::connect(&replica.url).await.unwrap();
    ask(&desk, "both", 3).await;
    until("both have the first", || async { (turns(&on_replica).await.len() == 3).then_some(()) }).await;
    // It is promoted while the old primary lives: what an unlucky operator, or a network that heals, leaves.
    promote(&on_replica).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ask(&desk, "after", 4).await;
    let expected = names(&[("both", 3), ("after", 4)]);
    until("the new primary has all", || async { (turns(&on_replica).await == expected).then_some(()) }).await;
    let old = PgPool::connect(&desk.engines.database_url).await.unwrap();
    assert_eq!(turns(&old).await, names(&[("both", 3)]), "the old one still takes writes, and is given none");

    // The new one is away for a moment: nobody goes back to the old one, and what came meanwhile is written afterwards.
    replica.kill();
    ask(&desk, "away", 2).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(turns(&old).await, names(&[("both", 3)]));
    replica.revive().await.unwrap();
    // A worker that starts now, knowing of no history, finds the newest as well.
    desk.fleet.add_worker(&desk.options).await.unwrap();
    ask(&desk, "end", 2).await;
    let expected = names(&[("both", 3), ("after", 4), ("away", 2), ("end", 2)]);
    until("the new primary has all", || async { (turns(&on_replica).await == expected).then_some(()) }).await;
    assert_eq!(turns(&old).await, names(&[("both", 3)]));
}
