//! What every backend must answer: found by words, by meaning and by wordings, changed, removed, walled, and unimpressed by hostile input.

use std::{sync::Arc, time::Duration};

use talkfleet_worker::{catalog::Backend, encoder::Encoder, store::Store, text::Language};

use super::Base;

/// A change is seen everywhere within this; the catalog's news takes milliseconds of it.
const VISIBLE_WITHIN: Duration = Duration::from_secs(2);

/// What customers paste, and what is typed by people who want to see something break.
const HOSTILE: [&str; 14] = [
    "",
    " ",
    "\u{0}",
    "'; drop table documents; --",
    "\" OR 1=1 --",
    "* OR *:*",
    "text:(refund AND NOT",
    "{\"query\":{\"match_all\":{}}}",
    "a && b || !c ~ d^9 [1 TO 2]",
    "\\",
    "{3:0.5}/1000000000",
    "👍👍👍",
    "$1 %s {} ${x}",
    "\u{202e}dnufer",
];

/// Runs all of it; `open` opens a backend as another worker would.
pub(super) async fn run(name: &str, store: &Store, open: &dyn Fn() -> Arc<Backend>, encoder: &Arc<Encoder>) {
    let mut base = Base::open(store, open(), &format!("{name}-shop"), encoder).await;
    an_empty_base_has_no_answer(&base).await;
    let shop = shop(&base);
    base.change(shop, &[]).await;
    assert_eq!(base.loaded.passages(), 7, "{name}");
    finds_by_words(&base, name).await;
    finds_by_meaning(&base, name).await;
    finds_by_wordings(&base, name).await;
    prefers_the_customers_language(&base, name).await;
    survives_hostile_queries(&base, name).await;
    walls_tenants(&base, name).await;
    follows_changes(&mut base, open, name).await;
    several_workers_bring_it_up_to_date_at_once(&mut base, open, name).await;
}

/// What of it needs no embedding, for a server that cannot search by them.
pub(super) async fn run_by_words(name: &str, store: &Store, open: &dyn Fn() -> Arc<Backend>, encoder: &Arc<Encoder>) {
    let mut base = Base::open(store, open(), &format!("{name}-words"), encoder).await;
    assert!(base.hits("refund", false, 4).await.is_empty());
    let shop = shop(&base);
    base.change(shop, &[]).await;
    finds_by_words(&base, name).await;
    assert_eq!(first(&base, "locked out", false).await, "password", "{name}: by a wording");
    for query in HOSTILE {
        assert!(base.hits(query, false, 4).await.len() <= 4, "{name}: {query:?}");
    }
    let other = Base::open(store, base.backend.clone(), &format!("{name}-Words_2"), encoder).await;
    assert!(other.hits("is shipping free", false, 4).await.is_empty(), "{name}");
    let mut worker = base.beside(open()).await;
    let changed = base.document("cost", "Delivery costs", &["Couriers charge twelve yuan."], &[]);
    base.change(vec![changed], &["returns"]).await;
    worker.follow().await;
    for worker in [&base, &worker] {
        assert_eq!(first(worker, "couriers charge", false).await, "cost", "{name}");
        assert_eq!(first(worker, "send goods back", false).await, "", "{name}");
        assert_eq!(first(worker, "islands", false).await, "", "{name}");
    }
}

fn shop(base: &Base) -> Vec<talkfleet_worker::store::Document> {
    vec![
        base.document("returns", "Return an item", &["You can send goods back within thirty days."], &[]),
        base.document(
            "cost",
            "Delivery costs",
            &["Shipping is free from 99 yuan.", "Islands cost ten yuan more."],
            &[],
        ),
        base.document("cost-zh", "运费", &["满九十九元免运费，退货运费由商家承担。"], &[]),
        base.document(
            "password",
            "Reset your password",
            &["Choose the link under the sign-in form."],
            &["locked out of my account", "cannot log in any more"],
        ),
        base.document("warranty", "Guarantee", &["Every device is repaired free of charge for two years."], &[]),
        base.document("warranty-zh", "保修", &["所有设备享受两年免费维修。"], &["手机坏了怎么办"]),
    ]
}

async fn first(base: &Base, query: &str, by_meaning: bool) -> String {
    let hits = base.hits(query, by_meaning, 4).await;
    assert!(hits.iter().all(|hit| (0.0..=1.0).contains(&hit.score)), "{query}: {hits:?}");
    assert!(hits.windows(2).all(|pair| pair[0].passage.id != pair[1].passage.id), "{query}");
    hits.first().map(|hit| hit.passage.document.clone()).unwrap_or_default()
}

async fn an_empty_base_has_no_answer(base: &Base) {
    assert!(base.hits("refund", true, 4).await.is_empty());
    assert!(base.hits("退货", false, 4).await.is_empty());
}

async fn finds_by_words(base: &Base, name: &str) {
    for (query, document) in [
        ("How do I return an item?", "returns"),
        ("is shipping free", "cost"),
        ("ISLANDS", "cost"),
        ("退貨運費誰出", "cost-zh"),
        ("zebra", ""),
    ] {
        assert_eq!(first(base, query, false).await, document, "{name}: {query}");
    }
    let hit = base.hits("islands", false, 4).await.remove(0);
    assert_eq!(hit.passage.text, "Islands cost ten yuan more.", "{name}");
    assert_eq!((hit.passage.title.as_str(), hit.passage.url.as_str()), ("Delivery costs", "/help/cost"), "{name}");
    assert_eq!((hit.passage.id.as_str(), hit.passage.language), ("cost-en-2", Language::English), "{name}");
}

async fn finds_by_meaning(base: &Base, name: &str) {
    assert_eq!(first(base, "my phone is broken, will you mend it", true).await, "warranty", "{name}");
    assert_eq!(first(base, "我想把东西退回去，可以吗", true).await, "cost-zh", "{name}");
    let all = base.hits("warranty", true, 16).await;
    assert_eq!(all.len(), 7, "{name}: with an embedding everything is some way off");
}

async fn finds_by_wordings(base: &Base, name: &str) {
    assert_eq!(first(base, "locked out", false).await, "password", "{name}");
    assert_eq!(first(base, "I cannot log in any more", true).await, "password", "{name}");
    assert_eq!(first(base, "手机坏了", true).await, "warranty-zh", "{name}");
    let hits = base.hits("locked out of my account", true, 16).await;
    assert!(hits.iter().all(|hit| !hit.passage.text.contains("locked out")), "{name}: a wording is never quoted");
}

async fn prefers_the_customers_language(base: &Base, name: &str) {
    assert_eq!(first(base, "two years guarantee, is repair free of charge", true).await, "warranty", "{name}");
    assert_eq!(first(base, "保修两年免费维修吗", true).await, "warranty-zh", "{name}");
    let embedding = base.encoder.encode("退货");
    let any = base.hits_of("退货", Some(&embedding), Language::Other, 16).await.unwrap();
    assert_eq!(any.len(), 7, "{name}");
}

async fn survives_hostile_queries(base: &Base, name: &str) {
    for query in HOSTILE {
        for by_meaning in [false, true] {
            let hits = base.hits(query, by_meaning, 4).await;
            assert!(hits.len() <= 4 && hits.iter().all(|hit| hit.score.is_finite()), "{name}: {query:?}");
        }
    }
    let long = "please tell me about shipping, it is urgent and I have been waiting! ".repeat(150);
    assert!(long.len() > 10_000);
    assert_eq!(first(base, &long, true).await, "cost", "{name}");
    let long = "请问运费是多少，我等了很久了！".repeat(230);
    assert_eq!(first(base, &long, true).await, "cost-zh", "{name}");
    assert_eq!(base.loaded.passages(), 7);
    assert_eq!(first(base, "is shipping free", false).await, "cost", "{name}: all is as before");
}

async fn walls_tenants(base: &Base, name: &str) {
    let mut other = Base::open(&base.store, base.backend.clone(), &format!("{name}-Shop_2"), &base.encoder).await;
    assert!(other.hits("is shipping free", true, 4).await.is_empty(), "{name}");
    other.change(vec![other.document("cost", "Costs", &["The other shop ships by balloon."], &[])], &[]).await;
    assert_eq!(other.hits("shipping free", true, 16).await.len(), 1, "{name}");
    let own = base.hits("balloon", true, 16).await;
    assert!(own.iter().all(|hit| !hit.passage.text.contains("balloon")), "{name}");
}

async fn follows_changes(base: &mut Base, open: &dyn Fn() -> Arc<Backend>, name: &str) {
    let mut other = base.beside(open()).await;
    let changed =
        base.document("cost", "Delivery costs", &["Couriers charge twelve yuan."], &["what does the postman want"]);
    let since = std::time::Instant::now();
    base.change(vec![changed], &["returns"]).await;
    other.follow().await;
    for worker in [&*base, &other] {
        assert_eq!(first(worker, "couriers charge", false).await, "cost", "{name}: the new text");
        assert_eq!(first(worker, "postman", false).await, "cost", "{name}: the new wording");
        let hits = worker.hits("send goods back, shipping free, islands", true, 16).await;
        let texts: Vec<&str> = hits.iter().map(|hit| hit.passage.text.as_str()).collect();
        assert_eq!(texts.len(), 5, "{name}: {texts:?}");
        let gone = ["within thirty days", "free from 99", "Islands"];
        assert!(texts.iter().all(|text| gone.iter().all(|gone| !text.contains(gone))), "{name}: {texts:?}");
        assert_eq!(worker.loaded.version, "2", "{name}");
    }
    assert!(since.elapsed() < VISIBLE_WITHIN, "{name}: {:?}", since.elapsed());
}

async fn several_workers_bring_it_up_to_date_at_once(base: &mut Base, open: &dyn Fn() -> Arc<Backend>, name: &str) {
    let put: Vec<_> = (0..40)
        .map(|n| {
            base.document(
                &format!("store-{n}"),
                &format!("Store {n}"),
                &[&format!("Shop number {n} opens at {n}.")],
                &[],
            )
        })
        .collect();
    let change = talkfleet_worker::store::Change { put, ..Default::default() };
    base.store.change_knowledge(&base.tenant, &change).await.unwrap();
    let mut workers = Vec::new();
    for _ in 0..4 {
        let (store, tenant, backend) = (base.store.clone(), base.tenant.clone(), open());
        workers.push(tokio::spawn(async move { backend.refresh(&store, &tenant, None).await.unwrap().passages() }));
    }
    for worker in workers {
        assert_eq!(worker.await.unwrap(), 45, "{name}");
    }
    base.follow().await;
    assert_eq!(first(base, "shop number 17", false).await, "store-17", "{name}");
    let many = base.hits("when does the shop open", true, 50).await;
    assert_eq!(many.len(), 45, "{name}: each once");
}
