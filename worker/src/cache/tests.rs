//! One process's cache without Redis: what it remembers, what it makes once, and what it drops.

use std::sync::atomic::AtomicUsize;

use talkfleet_shared::id::{ConversationId, TenantId};

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn cache(nothing: Duration) -> Cache<String> {
    let plan = Plan {
        name: "history",
        source: "database",
        weight_max: 1_000,
        weigh: |text: &String| text.len() as u32,
        times: Times { local: LONG, shared: LONG, nothing },
        lease: LONG,
        wait_max: LONG,
    };
    Cache::new(plan, None, Metrics::new("worker"))
}

fn key(id: &str) -> Key {
    Key::history(&TenantId::parse("t").unwrap(), &ConversationId::parse(id).unwrap())
}

#[derive(Debug, PartialEq)]
struct Broken;

async fn made(text: &str) -> Result<Option<String>, Broken> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(Some(text.into()))
}

#[track_caller]
fn counted(cache: &Cache<String>, outcome: &'static str, times: u64) {
    let counter = cache.metrics.cache_lookups.get_or_create(&CacheOutcome { cache: "history", outcome }).get();
    assert_eq!(counter, times, "{outcome}");
}

#[tokio::test]
async fn many_who_ask_at_once_cost_one() {
    let (cache, key, times) = (cache(LONG), key("a"), AtomicUsize::new(0));
    let asked = futures::future::join_all((0..100).map(|_| {
        cache.get(&key, None, async {
            times.fetch_add(1, Ordering::SeqCst);
            made("one").await
        })
    }));
    for found in asked.await {
        assert_eq!(found.unwrap().as_deref().map(String::as_str), Some("one"));
    }
    assert_eq!(times.load(Ordering::SeqCst), 1);
    counted(&cache, "miss", 1);
    counted(&cache, "joined", 99);
    assert!(cache.get(&key, None, async { Err::<_, Broken>(Broken) }).await.is_ok());
    counted(&cache, "hit", 1);
}

#[tokio::test]
async fn that_there_is_nothing_is_remembered_and_a_failure_is_not() {
    let (cache, key) = (cache(Duration::from_millis(60)), key("a"));
    assert_eq!(cache.get(&key, None, async { Err(Broken) }).await.unwrap_err().as_ref(), &Broken);
    for _ in 0..3 {
        assert_eq!(cache.get(&key, None, async { Ok::<_, Broken>(None) }).await.unwrap(), None);
    }
    counted(&cache, "failed", 1);
    counted(&cache, "miss", 1);
    counted(&cache, "nothing", 2);
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert!(cache.get(&key, None, made("later")).await.unwrap().is_some());
}

#[tokio::test]
async fn what_never_existed_is_not_made() {
    let (cache, known) = (cache(LONG), Known::default());
    let ask = |id: &str| {
        let key = key(id);
        let (cache, known) = (&cache, &known);
        async move { cache.get(&key, Some(known), made("x")).await.unwrap().is_some() }
    };
    assert!(ask("before-it-is-filled").await);
    let mut filling = known.fill(10);
    filling.add(&key("there"));
    known.serve(filling);
    assert!(ask("there").await);
    for n in 0..1_000 {
        assert!(!ask(&format!("never-{n}")).await);
    }
    counted(&cache, "unknown", 1_000);
    counted(&cache, "miss", 2);
    known.add(&key("never-1"));
    assert!(ask("never-1").await, "that it did not exist is not kept");
}

#[tokio::test]
async fn a_change_drops_the_copy_and_what_was_being_made_of_it() {
    let (cache, key) = (cache(LONG), key("a"));
    let text = |found: Result<Option<Arc<String>>, Arc<Broken>>| found.unwrap().unwrap().as_ref().clone();
    let slow = cache.get(&key, None, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(Some("old".to_owned()))
    });
    let change = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        cache.drop_here(&key).await;
    };
    let (old, ()) = tokio::join!(slow, change);
    assert_eq!(text(old), "old", "it was asked before the change");
    assert_eq!(text(cache.get(&key, None, made("new")).await), "new");
    cache.changed(std::slice::from_ref(&key)).await;
    assert_eq!(text(cache.get(&key, None, made("newer")).await), "newer");
    cache.drop_all_here();
    assert_eq!(text(cache.get(&key, None, made("newest")).await), "newest");
}
