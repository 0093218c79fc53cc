//! Tenants and visitors see nothing of one another.

use serde_json::{Value, json};
use talkfleet_shared::id::{ConversationId, TenantId};

use crate::harness::{Desk, create_key, until};

#[tokio::test]
async fn another_tenant_finds_neither_conversation_nor_request_nor_knowledge() {
    let desk = Desk::open().start().await;
    let other = create_key(&desk.bus, "other").await;
    until("the other key", || async {
        (desk.post_as(&other, "/v1/chat", &json!({ "text": "hi" })).await.0 == 200).then_some(())
    })
    .await;
    let (_, answer) =
        desk.post("/v1/chat", &json!({ "text": "How long does delivery take?", "conversation": "shared-name" })).await;
    let id = answer["id"].as_str().unwrap();

    let as_other = |path: String| {
        let request = reqwest::Client::new().get(desk.url(&path)).bearer_auth(&other);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(as_other("/v1/conversations/shared-name".into()).await, 404);
    assert_eq!(as_other(format!("/v1/chat/{id}/stream?after=0")).await, 404);
    assert_eq!(desk.post_as(&other, "/v1/feedback", &json!({ "id": id, "verdict": "down" })).await.0, 404);

    // The same conversation name is another conversation, and another base is searched: an empty one.
    let (status, theirs) = desk
        .post_as(&other, "/v1/chat", &json!({ "text": "How long does delivery take?", "conversation": "shared-name" }))
        .await;
    assert_eq!((status, &theirs["citations"]), (200, &json!([])), "{theirs}");
    assert_eq!(theirs["kind"], "refusal");
    let talk = ConversationId::parse("shared-name").unwrap();
    for (tenant, records) in [("demo", 1), ("other", 1)] {
        assert_eq!(
            desk.bus.records_of(&TenantId::parse(tenant).unwrap(), &talk).await.unwrap().len(),
            records,
            "{tenant}"
        );
    }
}

#[tokio::test]
async fn a_foreign_cancel_stops_nothing() {
    let desk = Desk::open().start().await;
    let other = create_key(&desk.bus, "other").await;
    until("the other key", || async {
        (desk.post_as(&other, "/v1/chat", &json!({ "text": "hi" })).await.0 == 200).then_some(())
    })
    .await;
    let answer = desk.ask("How do I close my account?").await;
    let path = format!("/v1/chat/{}/cancel", answer["id"].as_str().unwrap());
    assert_eq!(desk.post_as(&other, &path, &json!({})).await.0, 404);
}

#[tokio::test]
async fn a_visitor_reaches_only_its_own_conversations() {
    let desk = Desk::open().start().await;
    let visitor = || async {
        let sent =
            reqwest::Client::new().post(desk.url("/v1/visitors")).header("origin", desk.url("")).send().await.unwrap();
        assert!(sent.status().is_success(), "{}", sent.status());
        sent.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned()
    };
    let (mine, theirs) = (visitor().await, visitor().await);
    let (status, answer) = desk.post_as(&mine, "/v1/chat", &json!({ "text": "How do I use a gift card?" })).await;
    assert_eq!(status, 200, "{answer}");
    let path = format!("/v1/conversations/{}", answer["conversation"].as_str().unwrap());
    let get = |token: String| {
        let request = reqwest::Client::new().get(desk.url(&path)).bearer_auth(token);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(get(mine.clone()).await, 200);
    assert_eq!(get(theirs.clone()).await, 404);
    let body = json!({ "text": "and now?", "conversation": answer["conversation"] });
    assert_eq!(desk.post_as(&theirs, "/v1/chat", &body).await.0, 404);
    let feedback = json!({ "id": answer["id"], "verdict": "up" });
    assert_eq!(desk.post_as(&theirs, "/v1/feedback", &feedback).await.0, 404);
    assert_eq!(desk.post_as(&mine, "/v1/feedback", &feedback).await.0, 202);
    let forged = format!("{}x", mine);
    assert_eq!(get(forged).await, 401);
}
