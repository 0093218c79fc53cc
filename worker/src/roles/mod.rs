//! Roles are called: in process when the role is at home and has a free permit, else over NATS. Nothing else differs.

/// A role that this process plays itself.
mod home;

/// What the intent role does.
mod intent;

/// What the retrieval role does.
mod retrieval;

/// Texts as vectors, each computed once.
mod embeddings;

use std::{sync::Arc, time::Duration};

use talkfleet_shared::{
    bus::{Bus, CallError},
    chat::{
        Exchange, HistoryReply, HistoryRequest, IntentReply, IntentRequest, Language, Outcome, RetrieveReply,
        RetrieveRequest,
    },
    clock,
    id::{ConversationId, TenantId, UserId},
    spans::Kind,
    subject,
    telemetry::Trace,
};

use self::home::Play;
pub use self::{
    embeddings::Embeddings,
    home::{Home, serve},
    intent::IntentRole,
    retrieval::RetrievalRole,
};

/// What part of a turn's remaining time a role may take: three quarters stay for the answer itself.
const SHARE: u32 = 4;

/// The longest that a role is waited for, however much time there is: it is a function of milliseconds.
const ROLE_TIMEOUT_MAX: Duration = Duration::from_millis(1_500);

/// The longest that the archive is asked for a conversation that the memory could not give.
const HISTORY_TIMEOUT: Duration = Duration::from_millis(300);

/// The roles as a turn sees them.
pub struct Roles {
    pub bus: Bus,
    /// Those that are at home.
    pub intent: Option<Arc<Home<IntentRole>>>,
    pub retrieval: Option<Arc<Home<RetrievalRole>>>,
    /// Whose intents and whose knowledge answer in a replay's lane, where they are not the message's own tenant's.
    pub aliases: [Option<TenantId>; 2],
}

/// On whose behalf a role is called, and how much time the turn has left.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    pub tenant: &'a TenantId,
    pub trace: Trace,
    pub left: Duration,
}

impl<'a> Caller<'a> {
    fn on_behalf_of(self, tenant: Option<&'a TenantId>) -> Self {
        Self { tenant: tenant.unwrap_or(self.tenant), ..self }
    }
}

impl Roles {
    pub async fn classify(&self, caller: Caller<'_>, text: &str) -> Result<Arc<IntentReply>, CallError> {
        let question = IntentRequest { text: text.to_owned() };
        let caller = caller.on_behalf_of(self.aliases[0].as_ref());
        self.call(self.intent.as_deref(), subject::intent(caller.tenant), caller, &question, "intent").await
    }

    pub async fn search(
        &self,
        caller: Caller<'_>,
        text: &str,
        passages_max: u32,
    ) -> Result<Arc<RetrieveReply>, CallError> {
        let question = RetrieveRequest { text: text.to_owned(), passages_max };
        let caller = caller.on_behalf_of(self.aliases[1].as_ref());
        self.call(self.retrieval.as_deref(), subject::retrieve(caller.tenant), caller, &question, "retrieval").await
    }

    /// The archive's account of a conversation, for a turn whose memory is away; of a named customer only their own.
    pub async fn history(
        &self,
        caller: Caller<'_>,
        conversation: &ConversationId,
        user: Option<&UserId>,
        turns_max: usize,
    ) -> Result<Vec<Exchange>, CallError> {
        let question = HistoryRequest { conversation: conversation.clone(), turns_max: turns_max as u32 };
        let within = HISTORY_TIMEOUT.min(caller.left / SHARE);
        let reply: HistoryReply =
            self.bus.call(subject::history(caller.tenant), &question, caller.trace, within).await?;
        let own = reply.turns.into_iter().filter(|turn| user.is_none() || turn.user.as_ref() == user);
        Ok(own
            .filter_map(|turn| match turn.outcome {
                Outcome::Answered { answer } => Some(Exchange { question: turn.question, answer: answer.text }),
                Outcome::Failed { .. } | Outcome::Expired { .. } | Outcome::Cancelled { .. } => None,
            })
            .collect())
    }

    async fn call<P: Play>(
        &self,
        home: Option<&Home<P>>,
        subject: String,
        caller: Caller<'_>,
        question: &P::Question,
        stage: &'static str,
    ) -> Result<Arc<P::Answer>, CallError> {
        let started = clock::now();
        let within = ROLE_TIMEOUT_MAX.min(caller.left / SHARE);
        let mut span = self.bus.tracer().child(caller.trace, stage, Kind::Internal);
        let caller = Caller { trace: span.trace(), ..caller };
        let answered = self.call_within(home, subject, caller, question, within).await;
        let outcome = answered.as_ref().map_or_else(CallError::name, |_| "ok");
        if answered.is_err() {
            span.fail(outcome);
        }
        self.bus.metrics().stage(stage, outcome, clock::since(started));
        answered
    }

    async fn call_within<P: Play>(
        &self,
        home: Option<&Home<P>>,
        subject: String,
        caller: Caller<'_>,
        question: &P::Question,
        within: Duration,
    ) -> Result<Arc<P::Answer>, CallError> {
        if let Some(home) = home {
            // What was just answered needs no permit.
            if let Some(answer) = home.recent(caller.tenant, question).await {
                return Ok(answer);
            }
            if home.has_room() {
                return at_home(home, caller.tenant, question, within).await;
            }
        }
        match (self.bus.call(subject, question, caller.trace, within).await, home) {
            (Ok(answer), _) => Ok(Arc::new(answer)),
            (Err(CallError::Nobody), Some(home)) => at_home(home, caller.tenant, question, within).await,
            (Err(error), _) => Err(error),
        }
    }
}

async fn at_home<P: Play>(
    home: &Home<P>,
    tenant: &TenantId,
    question: &P::Question,
    within: Duration,
) -> Result<Arc<P::Answer>, CallError> {
    match tokio::time::timeout(within, home.answer(tenant, question, clock::now() + within)).await {
        Ok(answered) => answered.map_err(CallError::Problem),
        Err(_) => Err(CallError::Timeout),
    }
}

/// The language that a text is written in, as the wire names it.
pub fn language(found: crate::text::Language) -> Language {
    match found {
        crate::text::Language::English => Language::English,
        crate::text::Language::Chinese => Language::Chinese,
        crate::text::Language::Other => Language::Other,
    }
}
