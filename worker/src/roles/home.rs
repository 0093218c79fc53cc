//! A role that this process plays itself: bounded by its permits, its latest answers kept, served to others over NATS.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use serde::{Serialize, de::DeserializeOwned};
use talkfleet_shared::{
    bus::{Bus, BusError, Offer, ServiceCall},
    chat::Problem,
    error::Code,
    id::TenantId,
    lifecycle::Shutdown,
    metrics::{self, Metrics},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Embeddings;
use crate::config::Role;

/// Answers kept for questions that come again: at a rush many customers ask the same. A few KiB each.
const RECENT_MAX: u64 = 4_096;

/// How long an answer is kept; a new version of intents or knowledge has a key of its own at once.
const RECENT_AGE_MAX: Duration = Duration::from_secs(600);

/// Calls of others that are worked on or wait here for a permit.
const CALLS_MAX: usize = 1_024;

/// A role as plain CPU work.
pub trait Play: Send + Sync + 'static {
    type Question: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
    type Answer: Serialize + DeserializeOwned + Send + Sync + 'static;
    const ROLE: Role;
    /// The service's name on the bus.
    const SERVICE: &'static str;
    const DESCRIPTION: &'static str;

    /// The version that would answer this tenant; None when nothing of theirs is loaded.
    fn version(&self, tenant: &TenantId) -> Option<String>;

    /// What of a question decides its answer, beside the version: a text that differs when the answer may.
    fn key(question: &Self::Question) -> String;

    /// The text that an embedding is wanted of; None when this tenant's version needs none.
    fn embeds<'a>(&self, tenant: &TenantId, question: &'a Self::Question) -> Option<&'a str>;

    /// Does the work; called where blocking is allowed.
    fn play(
        &self,
        tenant: &TenantId,
        question: &Self::Question,
        embedding: Option<&[f32]>,
    ) -> Result<Self::Answer, Problem>;
}

pub struct Home<P: Play> {
    play: Arc<P>,
    permits: Arc<Semaphore>,
    recent: Cache<String, Arc<P::Answer>>,
    embeddings: Arc<Embeddings>,
    metrics: Arc<Metrics>,
}

impl<P: Play> Home<P> {
    pub fn new(play: P, concurrency: usize, embeddings: Arc<Embeddings>, metrics: Arc<Metrics>) -> Self {
        let role = metrics::Role { role: P::ROLE.name() };
        metrics.permits.get_or_create(&role).set(concurrency as i64);
        Self {
            play: Arc::new(play),
            permits: Arc::new(Semaphore::new(concurrency)),
            recent: Cache::builder().max_capacity(RECENT_MAX).time_to_live(RECENT_AGE_MAX).build(),
            embeddings,
            metrics,
        }
    }

    /// The answer, when the same was asked a moment ago.
    pub async fn recent(&self, tenant: &TenantId, question: &P::Question) -> Option<Arc<P::Answer>> {
        self.recent.get(&self.key(tenant, question)?).await
    }

    pub fn has_room(&self) -> bool {
        self.permits.available_permits() > 0
    }

    /// Answers, once a permit is free; the same question asked by many at once is worked on once.
    pub async fn answer(&self, tenant: &TenantId, question: &P::Question) -> Result<Arc<P::Answer>, Problem> {
        let nothing =
            || Problem::because(Code::NotFound, format!("tenant {tenant} has published nothing for this role"));
        let key = self.key(tenant, question).ok_or_else(nothing)?;
        let worked = self.recent.try_get_with(key, self.work(tenant, question)).await;
        worked.map_err(|problem| Problem::clone(&problem))
    }

    async fn work(&self, tenant: &TenantId, question: &P::Question) -> Result<Arc<P::Answer>, Problem> {
        let away = |_| Problem::new(Code::Internal);
        let permit = self.permits.clone().acquire_owned().await.map_err(away)?;
        let running = Running::new(self.metrics.clone(), P::ROLE.name(), permit);
        let embedding = match self.play.embeds(tenant, question) {
            Some(text) => self.embeddings.of(text).await,
            None => None,
        };
        let (play, tenant, question) = (self.play.clone(), tenant.clone(), question.clone());
        // The permit goes along: the work goes on even when nobody waits for it any more.
        let work = move || {
            let _running = running;
            play.play(&tenant, &question, embedding.as_deref())
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(answered) => answered.map(Arc::new),
            Err(error) => {
                tracing::error!(%error, stage = P::ROLE.name(), "a role's work panicked");
                Err(Problem::new(Code::Internal))
            }
        }
    }

    fn key(&self, tenant: &TenantId, question: &P::Question) -> Option<String> {
        let version = self.play.version(tenant)?;
        // Neither a tenant's id nor a version holds a line break, so no two keys meet.
        Some(format!("{tenant}\n{version}\n{}", P::key(question)))
    }
}

/// Counts work under way for as long as it holds its permit.
struct Running {
    metrics: Arc<Metrics>,
    role: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl Running {
    fn new(metrics: Arc<Metrics>, role: &'static str, permit: OwnedSemaphorePermit) -> Self {
        metrics.running.get_or_create(&metrics::Role { role }).inc();
        Self { metrics, role, _permit: permit }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.metrics.running.get_or_create(&metrics::Role { role: self.role }).dec();
    }
}

/// Answers other processes' calls until shutdown.
pub async fn serve<P: Play>(home: Arc<Home<P>>, bus: Bus, shutdown: Shutdown) {
    let metadata = [("role", P::ROLE.name()), ("version", env!("CARGO_PKG_VERSION"))];
    let offer = Offer {
        what: P::SERVICE,
        description: P::DESCRIPTION,
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        calls_max: CALLS_MAX,
    };
    bus.serve(offer, &shutdown, |call| answer(home.clone(), call)).await;
}

async fn answer<P: Play>(home: Arc<Home<P>>, call: ServiceCall) -> Result<(), BusError> {
    let answered = match call.question::<P::Question>() {
        Ok(question) => home.answer(call.tenant(), &question).await,
        Err(error) => Err(Problem::because(Code::BadJson, error.to_string())),
    };
    match answered {
        Ok(answer) => call.answer(&*answer).await,
        Err(problem) => call.refuse(&problem).await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use talkfleet_shared::chat::{RetrieveReply, RetrieveRequest};

    use super::*;

    /// What a shop knows, by version: the last is current.
    struct Shop {
        versions: Mutex<Vec<&'static str>>,
        played: AtomicUsize,
    }

    impl Play for Shop {
        type Question = RetrieveRequest;
        type Answer = RetrieveReply;
        const ROLE: Role = Role::Retrieval;
        const SERVICE: &'static str = "retrieve";
        const DESCRIPTION: &'static str = "a shop";

        fn version(&self, _: &TenantId) -> Option<String> {
            Some(self.versions.lock().unwrap().len().to_string())
        }

        fn key(question: &RetrieveRequest) -> String {
            question.text.clone()
        }

        fn embeds<'a>(&self, _: &TenantId, _: &'a RetrieveRequest) -> Option<&'a str> {
            None
        }

        fn play(&self, _: &TenantId, _: &RetrieveRequest, _: Option<&[f32]>) -> Result<RetrieveReply, Problem> {
            self.played.fetch_add(1, Ordering::Relaxed);
            let known = self.versions.lock().unwrap().last().map(|text| (*text).to_owned());
            Ok(RetrieveReply { passages: Vec::new(), answerable: 1.0, extract: known, version: String::new() })
        }
    }

    #[tokio::test]
    async fn what_was_deleted_is_answered_from_no_cache() {
        let shop = Shop { versions: Mutex::new(vec!["We deliver by drone."]), played: AtomicUsize::new(0) };
        let home = Home::new(shop, 1, Arc::new(Embeddings::new(None)), Metrics::new("test"));
        let tenant = TenantId::parse("demo").unwrap();
        let question = RetrieveRequest { text: "by drone?".into(), passages_max: 4 };
        let asked = || async { home.answer(&tenant, &question).await.unwrap().extract.clone() };
        assert_eq!(asked().await.as_deref(), Some("We deliver by drone."));
        assert_eq!(asked().await.as_deref(), Some("We deliver by drone."));
        assert_eq!(home.play.played.load(Ordering::Relaxed), 1, "the second one came from the cache");
        // The article is deleted: the knowledge has another version, and with it the cache another key.
        home.play.versions.lock().unwrap().push("");
        assert!(home.recent(&tenant, &question).await.is_none());
        assert_eq!(asked().await.as_deref(), Some(""));
        assert_eq!(home.play.played.load(Ordering::Relaxed), 2);
    }
}
