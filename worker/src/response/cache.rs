//! What a model just said to the same question, kept for whoever asks it next; one tenant never hears another's.
//!
//! A key is exact: the question in its normal form, and all that decided its answer. Nearness in meaning decides nothing:
//! how often a near question would be given the wrong answer has not been measured, and a wrong one is dearer than a call.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use talkfleet_shared::{
    chat::{Citation, ModelCall},
    metrics::{Metrics, Reason},
};

use super::{Brief, Spoken};
use crate::{
    cache::{Cache, Key, Plan, Times},
    config::WorkerConfig,
    keeper::Redis,
    text,
};

/// Entities by which a question is one customer's own.
const PERSONAL: [&str; 4] = ["email", "order_number", "card", "phone"];

/// For how long one process alone asks the model: an answer that takes longer is not shared. After a worker that died, the
/// others wait in vain for this long, each time [`WAIT_MAX`].
const LEASE: Duration = Duration::from_secs(30);

/// How long another process waits for that answer before it asks the model itself: most answers are whole by then, and
/// the customer sees nothing meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// An answer that a model gave to its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    pub text: String,
    pub citations: Vec<Citation>,
    pub call: Option<ModelCall>,
}

/// Answers by key, in this process and in Redis; none when the configuration keeps none.
pub struct AnswerCache {
    kept: Option<Cache<Kept>>,
    /// All settings that shape an answer.
    settings: String,
    metrics: Arc<Metrics>,
}

/// What came of looking an answer up.
pub enum Lookup<M> {
    /// It was kept, or somebody else was just being told it.
    Kept(Arc<Kept>),
    /// It was made here.
    Made(M),
    /// Whoever was making it failed.
    Failed,
}

/// Why an answer that was made is not kept.
#[derive(Debug)]
struct NotKept;

impl AnswerCache {
    /// Without Redis this process's answers alone.
    pub fn new(config: &WorkerConfig, redis: Option<Redis>, metrics: Arc<Metrics>) -> Self {
        let (plan, model) = (&config.plan, &config.model);
        let age = Duration::from_secs(plan.answer_cache_ttl_s);
        let cache = Plan {
            name: "answers",
            source: "model",
            weight_max: plan.answer_cache_entries,
            weigh: |_: &Kept| 1,
            times: Times { local: age, shared: age, nothing: age },
            lease: LEASE,
            wait_max: WAIT_MAX,
        };
        let names: Vec<&str> = model.fallbacks.iter().map(|other| other.name.as_str()).collect();
        let shape = (&model.name, names, model.max_tokens, model.temperature, plan.passages_max, plan.grounding);
        Self {
            kept: (plan.answer_cache_entries > 0).then(|| Cache::new(cache, redis, metrics.clone())),
            settings: format!("{shape:?}"),
            metrics,
        }
    }

    /// Drops every answer that this process holds.
    pub fn drop_here(&self) {
        if let Some(kept) = &self.kept {
            kept.drop_all_here();
        }
    }

    /// The key of a question whose answer may be told to others; None for one that is its customer's own.
    pub fn key(&self, brief: &Brief<'_>) -> Option<Key> {
        let versions = [brief.found?.version.as_str(), brief.intents_version];
        let personal = brief.intent.entities.iter().any(|entity| PERSONAL.contains(&entity.kind.as_str()));
        let own = personal || !brief.history.is_empty() || brief.replayed.is_some();
        // A role that names no version could change its mind unseen.
        if self.kept.is_none() || own || versions.contains(&"") {
            return None;
        }
        let question = text::normalise(brief.text);
        let decided = [brief.language.code(), versions[0], versions[1], &brief.intent.name, &self.settings, &question];
        Some(Key::answer(brief.tenant, &decided))
    }

    /// The kept answer, or what `make` makes; the same question of many at once is made once. `keep` says what of it may
    /// be told to others.
    pub async fn answer<M>(
        &self,
        key: Option<Key>,
        make: impl Future<Output = M>,
        keep: impl FnOnce(&M) -> Option<Kept>,
    ) -> Lookup<M> {
        let (Some(cache), Some(key)) = (&self.kept, key) else { return Lookup::Made(make.await) };
        let mut made = None;
        let init = async {
            let answer = make.await;
            let kept = keep(&answer);
            made = Some(answer);
            kept.map(Some).ok_or(NotKept)
        };
        let found = cache.get(&key, None, init).await;
        let count = |reason| {
            self.metrics.answer_cache.get_or_create(&Reason { reason }).inc();
        };
        match (made, found) {
            (Some(made), _) => {
                count("miss");
                Lookup::Made(made)
            }
            (None, Ok(Some(kept))) => {
                count("hit");
                Lookup::Kept(kept)
            }
            (None, Ok(None) | Err(_)) => {
                count("failed");
                Lookup::Failed
            }
        }
    }
}

/// What may be told to others of an answer that a model gave.
pub fn keepable(spoken: &Spoken, text: &str) -> Option<Kept> {
    let call = spoken.model_call.clone();
    let to_its_end = call.as_ref().is_some_and(|call| matches!(call.finish.as_str(), "" | "stop"));
    to_its_end.then(|| Kept { text: text.to_owned(), citations: spoken.citations.clone(), call })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use talkfleet_shared::{
        chat::{Entity, Exchange, Intent, Language, RetrieveReply},
        id::TenantId,
        spans::Span,
        telemetry::Trace,
    };

    use super::*;

    fn cache(entries: u64) -> AnswerCache {
        let mut config = WorkerConfig::load(None, &[]).unwrap();
        config.plan.answer_cache_entries = entries;
        AnswerCache::new(&config, None, Metrics::new("worker"))
    }

    struct Asked {
        tenant: TenantId,
        text: &'static str,
        intent: Intent,
        history: Vec<Exchange>,
        found: RetrieveReply,
        intents_version: &'static str,
    }

    fn asked(tenant: &str, text: &'static str) -> Asked {
        let version = "7".to_owned();
        Asked {
            tenant: TenantId::parse(tenant).unwrap(),
            text,
            intent: Intent { name: "delivery_time".into(), confidence: 0.9, entities: Vec::new() },
            history: Vec::new(),
            found: RetrieveReply { passages: Vec::new(), extract: None, answerable: 0.9, version },
            intents_version: "3",
        }
    }

    fn key(cache: &AnswerCache, asked: &Asked) -> Option<Key> {
        cache.key(&Brief {
            tenant: &asked.tenant,
            text: asked.text,
            intent: &asked.intent,
            intents_version: asked.intents_version,
            language: Language::English,
            history: &asked.history,
            found: Some(&asked.found),
            replayed: None,
            size: super::super::Size::Full,
            left: Duration::from_secs(1),
            span: &Span::off(Trace::start(&mut rand::rng())),
        })
    }

    #[test]
    fn a_key_is_exact_and_ends_at_the_tenants_wall() {
        let cache = cache(10);
        let same = [asked("a", "How long?"), asked("a", "  HOW  long？ ")].map(|asked| key(&cache, &asked).unwrap());
        assert_eq!(same[0], same[1]);
        let newer =
            Asked { found: RetrieveReply { version: "8".into(), ..asked("a", "").found }, ..asked("a", "How long?") };
        let others = [
            asked("b", "How long?"),
            asked("a", "How long"),
            newer,
            Asked { intents_version: "4", ..asked("a", "How long?") },
        ];
        for other in &others {
            assert_ne!(key(&cache, other).unwrap(), same[0]);
        }
    }

    #[test]
    fn what_is_a_customers_own_has_no_key() {
        let cache = cache(10);
        let mut named = asked("a", "Where is HL-20481234?");
        named.intent.entities =
            vec![Entity { kind: "order_number".into(), value: "HL-20481234".into(), start: 9, end: 20 }];
        let exchange = Exchange { question: "Hi".into(), answer: "Hello".into() };
        let later = Asked { history: vec![exchange], ..asked("a", "And then?") };
        let unversioned = Asked { intents_version: "", ..asked("a", "How long?") };
        for own in [named, later, unversioned] {
            assert_eq!(key(&cache, &own), None, "{}", own.text);
        }
        assert_eq!(key(&self::cache(0), &asked("a", "How long?")), None);
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one_answer_and_a_failure_is_not_kept() {
        let (cache, counter) = (cache(10), AtomicUsize::new(0));
        let made = &counter;
        let ask = |good: bool| {
            let make = async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                made.fetch_add(1, Ordering::SeqCst);
                good
            };
            let keep = |good: &bool| good.then(|| Kept { text: "Two days.".into(), citations: Vec::new(), call: None });
            cache.answer(Some(Key::answer(&TenantId::parse("a").unwrap(), &["How long?"])), make, keep)
        };
        assert!(matches!(ask(false).await, Lookup::Made(false)));
        let (one, two, three) = tokio::join!(ask(true), ask(true), ask(true));
        let kept = [one, two, three].iter().filter(|found| matches!(found, Lookup::Kept(_))).count();
        assert_eq!((kept, made.load(Ordering::SeqCst)), (2, 2));
        assert!(matches!(ask(true).await, Lookup::Kept(kept) if kept.text == "Two days."));
        assert!(cache.metrics.text().contains("talkfleet_answer_cache_total{reason=\"hit\"} 3"));
    }
}
