//! Records, feedback and usage reach PostgreSQL, and conversations are read back.

use serde_json::json;
use talkfleet::engines::Engine;

use crate::harness::{Desk, until};

#[tokio::test]
async fn a_conversation_is_read_back_at_once_and_from_the_archive() {
    let desk = Desk::open().start().await;
    for text in ["How long does delivery take?", "退款多久到账"] {
        let (status, answer) = desk.post("/v1/chat", &json!({ "text": text, "conversation": "read-back" })).await;
        assert_eq!(status, 200, "{answer}");
    }
    let (status, history) = desk.get("/v1/conversations/read-back").await;
    assert_eq!(status, 200);
    let questions: Vec<_> = history["turns"].as_array().unwrap().iter().map(|turn| turn["question"].clone()).collect();
    assert_eq!(questions, [json!("How long does delivery take?"), json!("退款多久到账")]);
    assert_eq!(desk.get("/v1/conversations/never-seen").await.0, 404);
}

#[tokio::test]
async fn what_was_said_while_postgres_was_away_is_archived_later() {
    let desk = Desk::open().own_database().start().await;
    desk.ask("How do I track my parcel?").await;
    desk.engines.kill(Engine::Postgres).unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        let answer = desk.ask("How long does delivery take?").await;
        ids.push(answer["id"].as_str().unwrap().to_owned());
    }
    let feedback = json!({ "id": ids[0], "verdict": "down", "reason": "too short" });
    assert_eq!(desk.post("/v1/feedback", &feedback).await.0, 202);
    desk.engines.revive(Engine::Postgres).await.unwrap();
    let pool = sqlx::PgPool::connect(&desk.engines.database_url).await.unwrap();
    for id in &ids {
        until("an archived turn", || async {
            let row: Option<(String, String)> =
                sqlx::query_as("select outcome, kind from turns where tenant = 'demo' and request = $1")
                    .bind(id)
                    .fetch_optional(&pool)
                    .await
                    .unwrap();
            row.map(|row| assert_eq!(row, ("answered".into(), "answer".into())))
        })
        .await;
    }
    until("archived feedback", || async {
        let row: Option<(String, Option<String>)> =
            sqlx::query_as("select verdict, reason from feedback where tenant = 'demo' and request = $1")
                .bind(&ids[0])
                .fetch_optional(&pool)
                .await
                .unwrap();
        row.map(|row| assert_eq!(row, ("down".into(), Some("too short".into()))))
    })
    .await;
}
