//! Who is let in: limits that two gateways keep together, and a fleet that is asked for more than it can do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use talkfleet::engines::Engine;

use crate::{
    harness::{Desk, until},
    model::Model,
};

/// What the knowledge base knows, so that a model is asked to say it.
const QUESTION: &str = "How do I reset my password?";

/// What a request heard, and how soon.
struct Heard {
    status: u16,
    code: String,
    retry_after_s: Option<u64>,
    policy: Option<String>,
    took: Duration,
}

async fn ask(client: &reqwest::Client, url: String, key: &str, headers: &[(&str, &str)], body: &Value) -> Heard {
    let began = Instant::now();
    let mut request = client.post(url).bearer_auth(key).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = request.send().await.unwrap();
    let header = |name: &str| Some(sent.headers().get(name)?.to_str().unwrap().to_owned());
    let (status, policy) = (sent.status().as_u16(), header("ratelimit-policy"));
    let retry_after_s = header("retry-after").map(|seconds| seconds.parse().unwrap());
    let told: Value = sent.json().await.unwrap_or_default();
    let code = told["code"].as_str().unwrap_or_default().to_owned();
    Heard { status, code, retry_after_s, policy, took: began.elapsed() }
}

#[tokio::test]
async fn two_gateways_let_in_exactly_the_burst_and_one_alone_goes_on_without_redis() {
    const BURST: usize = 12;
    let desk = Desk::open()
        .gateways(2)
        .own_redis()
        .gateway_set("limits.user_per_minute", 1)
        .gateway_set("limits.user_burst", BURST)
        .gateway_set("limits.tenant_per_minute", 6_000)
        .start()
        .await;
    let client = reqwest::Client::new();
    let burst = async |user: &str| {
        let asks = (0..BURST * 2).map(|n| {
            let (desk, client, body) = (&desk, &client, json!({ "text": "hello", "user": user }));
            async move { ask(client, desk.url_of(n % 2, "/v1/chat"), &desk.key, &[], &body).await }
        });
        futures::future::join_all(asks).await
    };
    let heard = burst("ann").await;
    let refused: Vec<_> = heard.iter().filter(|heard| heard.status == 429).collect();
    assert_eq!((heard.len() - refused.len(), refused.len()), (BURST, BURST));
    for heard in refused {
        assert_eq!(heard.code, "too_many_requests");
        assert!(heard.retry_after_s.is_some_and(|seconds| seconds >= 1));
        assert_eq!(heard.policy.as_deref(), Some("\"user\";q=1;w=60, \"tenant\";q=6000;w=60"));
    }
    assert!(burst("bob").await.iter().filter(|heard| heard.status == 200).count() == BURST, "another user's own");

    desk.engines.kill(Engine::Redis).unwrap();
    let heard = burst("cid").await;
    assert!(heard.iter().all(|heard| matches!(heard.status, 200 | 429)), "no error without Redis");
    let let_in = heard.iter().filter(|heard| heard.status == 200).count();
    assert!((BURST..=BURST * 2).contains(&let_in), "each gateway counts by itself: {let_in}");
    let told = until("what is missing", || async {
        let ready: Value =
            reqwest::get(format!("{}/readyz", desk.fleet.admin_urls()[0])).await.ok()?.json().await.ok()?;
        ready["missing"]["limits"].is_string().then_some(ready)
    });
    assert_eq!(told.await["ready"], true);
    desk.engines.revive(Engine::Redis).await.unwrap();
    until("limits are kept together again", || async {
        let ready: Value =
            reqwest::get(format!("{}/readyz", desk.fleet.admin_urls()[0])).await.ok()?.json().await.ok()?;
        ready["missing"]["limits"].is_null().then_some(())
    })
    .await;
    let heard = burst("dan").await;
    assert_eq!(heard.iter().filter(|heard| heard.status == 200).count(), BURST);
}

#[tokio::test]
async fn whoever_guesses_at_keys_is_told_to_wait() {
    let desk = Desk::open()
        .gateway_set("limits.address_per_minute", 1)
        .gateway_set("limits.address_burst", 3)
        .gateway_set("http.trusted_proxies", "[\"127.0.0.1\"]")
        .start()
        .await;
    // Every fleet of these tests shares a Redis, and no other test comes from here.
    let (client, body) = (reqwest::Client::new(), json!({ "text": "hello" }));
    let from = async |address: &str, key: &str| {
        ask(&client, desk.url("/v1/chat"), key, &[("x-forwarded-for", address)], &body).await.status
    };
    for status in [401, 401, 401, 429] {
        assert_eq!(from("198.51.100.7", "tf_forged").await, status);
    }
    assert_eq!(from("1.1.1.1, 198.51.100.7", "tf_forged").await, 429, "what a client writes changes nothing");
    assert_eq!(from("198.51.100.8", "tf_forged").await, 401);
    assert_eq!(from("198.51.100.8", &desk.key).await, 200);
}

#[tokio::test]
async fn what_answers_cost_is_debited_and_then_refused() {
    let model = Model::start(false).await;
    let open = Desk::open().gateways(2).gateway_set("limits.tenant_tokens_per_day", 400);
    let desk = model.speaks_for(open).start().await;
    let (client, body) = (reqwest::Client::new(), json!({ "text": QUESTION }));
    // An answer of the stand-in costs 333 tokens: the first one leaves some, the second one none.
    for gateway in [0, 1] {
        model.answer();
        let heard = ask(&client, desk.url_of(gateway, "/v1/chat"), &desk.key, &[], &body).await;
        assert_eq!(heard.status, 200);
    }
    let refused = until("the tenant's tokens are spent", || async {
        model.answer();
        let heard = ask(&client, desk.url("/v1/chat"), &desk.key, &[], &body).await;
        (heard.status == 429).then_some(heard)
    });
    assert!(refused.await.retry_after_s.is_some_and(|seconds| seconds > 3_600));
}

#[tokio::test]
async fn under_overload_who_is_let_in_is_served_and_the_others_hear_at_once() {
    const PER_SECOND: usize = 20;
    const SECONDS: usize = 8;
    let model = Model::start(false).await;
    let open = Desk::open().worker_set("roles.response_concurrency", 4).gateway_set("admission.concurrency_start", 20);
    let desk = model.speaks_for(open).start().await;
    let client = reqwest::Client::new();
    let body = json!({ "text": QUESTION });
    let chat = async || ask(&client, desk.url("/v1/chat"), &desk.key, &[], &body).await;
    let pace = async {
        loop {
            model.answer();
            tokio::time::sleep(Duration::from_secs(1) / PER_SECOND as u32).await;
        }
    };
    let overload = async {
        let asks = (0..PER_SECOND * SECONDS * 5).map(|n| {
            let chat = &chat;
            async move {
                tokio::time::sleep(Duration::from_secs(1) / (PER_SECOND * 5) as u32 * n as u32).await;
                chat().await
            }
        });
        let mut heard = futures::future::join_all(asks).await;
        heard.sort_by_key(|heard| heard.took);
        let (good, refused): (Vec<_>, Vec<_>) = heard.into_iter().partition(|heard| heard.status == 200);
        let late = |heard: &[Heard]| heard[heard.len() * 95 / 100].took;
        let summary = format!("{} in {:?}, {} refused in {:?}", good.len(), late(&good), refused.len(), late(&refused));
        assert!(good.len() >= PER_SECOND * SECONDS * 7 / 10, "{summary}");
        assert!(late(&good) <= Duration::from_secs(3), "{summary}");
        assert!(late(&refused) <= Duration::from_millis(500), "{summary}");
        for heard in &refused {
            assert_eq!((heard.status, heard.code.as_str()), (503, "overloaded"));
            assert!(heard.retry_after_s.is_some_and(|seconds| (1..=15).contains(&seconds)));
        }
        for _ in 0..10 {
            let after = chat().await;
            assert!(after.status == 200 && after.took <= Duration::from_secs(2), "{} {:?}", after.status, after.took);
        }
        summary
    };
    tokio::select! {
        summary = overload => println!("{summary}"),
        () = pace => {}
    }
}
