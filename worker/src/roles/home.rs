//! A role that this process plays itself: bounded by its permits, its latest answers kept, served to others over NATS.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use moka::future::Cache;
use serde::{Serialize, de::DeserializeOwned};
use talkfleet_shared::{
    bus::{Bus, BusError, Offer, ServiceCall},
    chat::Problem,
    clock,
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
    fn embeds<'a>(&self, tenant: &TenantId, question: &'a Self::Question) -> Option<Cow<'a, str>>;

    /// Does the work; called where blocking is allowed.
    fn play(
        &self,
        tenant: &TenantId,
        question: &Self::Question,
        embedding: Option<&[f32]>,
    ) -> Result<Self::Answer, Problem>;

    /// What is asked elsewhere afterwards, without a permit, for a caller who waits until then; by default nothing is.
    fn refine(
        &self,
        _tenant: &TenantId,
        _question: &Self::Question,
        answer: Self::Answer,
        _until: Instant,
    ) -> impl Future<Output = Refined<Self::Answer>> + Send {
        async { Refined::Lasting(answer) }
    }
}

/// How long an answer is true.
#[derive(Debug)]
pub enum Refined<A> {
    /// Until the next version.
    Lasting(A),
    /// For this moment: whoever was to be asked could not answer.
    Passing(A),
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

    /// Drops every question that was kept with its answer.
    pub fn forget(&self) {
        self.recent.invalidate_all();
        self.embeddings.forget();
    }

    /// The answer, when the same was asked a moment ago.
    pub async fn recent(&self, tenant: &TenantId, question: &P::Question) -> Option<Arc<P::Answer>> {
        self.recent.get(&self.key(tenant, question)?).await
    }

    pub fn has_room(&self) -> bool {
        self.permits.available_permits() > 0
    }

    /// Answers, once a permit is free; the same question asked by many at once is worked on once.
    pub async fn answer(
        &self,
        tenant: &TenantId,
        question: &P::Question,
        until: Instant,
    ) -> Result<Arc<P::Answer>, Problem> {
        let nothing =
            || Problem::because(Code::NotFound, format!("tenant {tenant} has published nothing for this role"));
        let key = self.key(tenant, question).ok_or_else(nothing)?;
        let passing = AtomicBool::new(false);
        let work = async {
            match self.play.refine(tenant, question, self.work(tenant, question).await?, until).await {
                Refined::Lasting(answer) => Ok(Arc::new(answer)),
                Refined::Passing(answer) => {
                    passing.store(true, Ordering::Relaxed);
                    Ok(Arc::new(answer))
                }
            }
        };
        let worked = self.recent.try_get_with_by_ref(&key, work).await;
        // Those who waited for it have it; who comes later asks anew.
        if passing.load(Ordering::Relaxed) {
            self.recent.invalidate(&key).await;
        }
        worked.map_err(|problem: Arc<Problem>| Problem::clone(&problem))
    }

    async fn work(&self, tenant: &TenantId, question: &P::Question) -> Result<P::Answer, Problem> {
        let away = |_| Problem::new(Code::Internal);
        let permit = self.permits.clone().acquire_owned().await.map_err(away)?;
        let running = Running::new(self.metrics.clone(), P::ROLE.name(), permit);
        let embedding = match self.play.embeds(tenant, question) {
            Some(text) => self.embeddings.of(&text).await,
            None => None,
        };
        let (play, tenant, question) = (self.play.clone(), tenant.clone(), question.clone());
        // The permit goes along: the work goes on even when nobody waits for it any more.
        let work = move || {
            let _running = running;
            play.play(&tenant, &question, embedding.as_deref())
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(answered) => answered,
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
    let mut span = call.span(P::ROLE.name());
    let answered = match call.question::<P::Question>() {
        Ok(question) => home.answer(call.tenant(), &question, clock::now() + call.within()).await,
        Err(error) => Err(Problem::because(Code::BadJson, error.to_string())),
    };
    if let Err(problem) = &answered {
        span.fail(problem.code.word());
    }
    match answered {
        Ok(answer) => call.answer(&*answer).await,
        Err(problem) => call.refuse(&problem).await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, atomic::AtomicUsize};

    use talkfleet_shared::chat::{RetrieveReply, RetrieveRequest};

    use super::*;

    /// Answers how often it was asked; the first answers are of the moment only.
    struct Counter {
        asked: AtomicUsize,
        passing: usize,
    }

    impl Play for Counter {
        type Question = String;
        type Answer = usize;
        const ROLE: Role = Role::Intent;
        const SERVICE: &'static str = "counter";
        const DESCRIPTION: &'static str = "How often it was asked";

        fn version(&self, _: &TenantId) -> Option<String> {
            Some("v1".into())
        }

        fn key(question: &String) -> String {
            question.clone()
        }

        fn embeds<'a>(&self, _: &TenantId, _: &'a String) -> Option<Cow<'a, str>> {
            None
        }

        fn play(&self, _: &TenantId, _: &String, _: Option<&[f32]>) -> Result<usize, Problem> {
            Ok(self.asked.fetch_add(1, Ordering::SeqCst) + 1)
        }

        async fn refine(&self, _: &TenantId, _: &String, answer: usize, until: Instant) -> Refined<usize> {
            assert!(until > Instant::now(), "the caller's deadline comes along");
            if answer <= self.passing { Refined::Passing(answer) } else { Refined::Lasting(answer) }
        }
    }

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

        fn embeds<'a>(&self, _: &TenantId, _: &'a RetrieveRequest) -> Option<Cow<'a, str>> {
            None
        }

        fn play(&self, _: &TenantId, _: &RetrieveRequest, _: Option<&[f32]>) -> Result<RetrieveReply, Problem> {
            self.played.fetch_add(1, Ordering::Relaxed);
            let known = self.versions.lock().unwrap().last().map(|text| (*text).to_owned());
            Ok(RetrieveReply { passages: Vec::new(), answerable: 1.0, extract: known, version: String::new() })
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn an_answer_of_the_moment_is_not_given_again() {
        let play = Counter { asked: AtomicUsize::new(0), passing: 2 };
        let home = Home::new(play, 1, Arc::new(Embeddings::new(None)), Metrics::new("worker"));
        let (tenant, question) = (TenantId::parse("demo").unwrap(), "refund?".to_owned());
        for expected in [1, 2, 3, 3, 3] {
            assert_eq!(*home.answer(&tenant, &question, soon()).await.unwrap(), expected);
            let kept = home.recent(&tenant, &question).await;
            assert_eq!(kept.is_some(), expected == 3);
        }
    }

    #[tokio::test]
    async fn what_was_deleted_is_answered_from_no_cache() {
        let shop = Shop { versions: Mutex::new(vec!["We deliver by drone."]), played: AtomicUsize::new(0) };
        let home = Home::new(shop, 1, Arc::new(Embeddings::new(None)), Metrics::new("test"));
        let tenant = TenantId::parse("demo").unwrap();
        let question = RetrieveRequest { text: "by drone?".into(), passages_max: 4 };
        let asked = || async { home.answer(&tenant, &question, soon()).await.unwrap().extract.clone() };
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
