//! Taking a message: limits, what is known of its idempotency key, the line of its conversation, the queue.

use std::time::{Duration, Instant};

use talkfleet_shared::{
    bus::{self, Accepted, AskHeaders, SubmitError},
    chat::{Ask, Frame, FrameBody, Position, Problem, TurnRecord},
    envelope::{self, Format},
    error::Code,
    id::{ConversationId, RequestId, TenantId},
    metrics::FaceCode,
    retry::Delays,
};

use super::{
    Desk, Frames, Story, Submission, away, broker_away, jittered_ms,
    ledger::Known,
    line::Place,
    resume::Running,
    story::{Script, Tally},
    unix_ms,
};
use crate::{
    peers::Note,
    relay::{Closed, Inbox},
};

/// How soon a message tries again to follow the one before it: the broker lets it in once that one is settled.
const BUSY_RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// How long nothing may come before the record is read; doubled up to the second figure, since a lost frame is rare.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(8));

/// A submission whose names are settled.
struct Named {
    request: RequestId,
    conversation: ConversationId,
    /// Of the ask, when there is an idempotency key.
    digest: Option<String>,
    budget: Duration,
    began: Instant,
}

/// What is to be done with it.
enum Way {
    /// It is new, as far as anybody knows.
    Queue,
    /// It was accepted before; this client joins.
    Join,
    /// It has ended already.
    Told(Frames),
}

impl Desk {
    /// Takes a message: once this returns, the broker has stored it and exactly one outcome will exist.
    pub async fn submit(&self, submission: Submission) -> Result<Story, Problem> {
        let face = submission.face;
        let taken = self.take(submission).await;
        if let Err(problem) = &taken {
            self.metrics().refusals.get_or_create(&FaceCode { face, code: problem.code.word() }).inc();
        }
        taken
    }

    async fn take(&self, mut submission: Submission) -> Result<Story, Problem> {
        if self.shutdown.is_asked() {
            return Err(Problem::new(Code::Draining).retry_after_ms(jittered_ms(1_000)));
        }
        let principal = &submission.principal;
        if principal.user.is_some() {
            submission.ask.user.clone_from(&principal.user);
        }
        let allowance = self.limiter.admit(&principal.tenant, submission.ask.user.as_ref())?;
        let named = self.name(&submission)?;
        let frames = match self.way(&submission, &named).await? {
            Way::Told(frames) => frames,
            Way::Join => self.join(&submission, &named).await?,
            Way::Queue => self.queue(&submission, &named).await?,
        };
        Ok(Story { request: named.request, conversation: named.conversation, allowance, frames })
    }

    fn name(&self, submission: &Submission) -> Result<Named, Problem> {
        let (principal, key) = (&submission.principal, submission.idempotency_key.as_deref());
        if submission.conversation.as_ref().is_some_and(|conversation| !principal.owns(conversation)) {
            return Err(Problem::new(Code::NotFound));
        }
        let (min_ms, max_ms) = (self.config.turns.budget_ms_min, self.config.turns.budget_ms_max);
        let budget = self.config.turns.budget(submission.budget.map(|budget| budget.as_millis() as u64));
        let budget = budget.ok_or_else(|| {
            Problem::because(Code::BadDeadline, format!("The deadline must lie between {min_ms} and {max_ms} ms."))
        })?;
        // A visitor's key is their own: two visitors who choose the same one must not meet.
        let key = key.map(|key| match principal.acts_for() {
            Some(user) => format!("{user} {key}"),
            None => key.to_owned(),
        });
        let conversation = match (&submission.conversation, &key) {
            (Some(conversation), _) => conversation.clone(),
            (None, Some(key)) => principal.conversation_for(key),
            (None, None) => principal.new_conversation(),
        };
        let request = key.map_or_else(RequestId::new, |key| RequestId::from_idempotency_key(&principal.tenant, &key));
        let digest = submission.idempotency_key.as_ref().and_then(|_| digest_of(&submission.ask));
        Ok(Named { request, conversation, digest, budget, began: Instant::now() })
    }

    /// What is known of a request under an idempotency key: nothing, that it runs, how it ended, or that it was another one.
    async fn way(&self, submission: &Submission, named: &Named) -> Result<Way, Problem> {
        let Some(digest) = &named.digest else { return Ok(Way::Queue) };
        let tenant = &submission.principal.tenant;
        let other = |theirs: &str, conversation: &ConversationId| {
            let moved = submission.conversation.is_some() && *conversation != named.conversation;
            (theirs != digest || moved).then(|| Problem::new(Code::IdempotencyReuse))
        };
        if let Some(record) = self.known_record(tenant, named).await? {
            return match other(&record.ask_digest, &record.conversation) {
                Some(problem) => Err(problem),
                None => Ok(Way::Told(Frames::retold(&record))),
            };
        }
        if let Some(known) = self.ledger.recall(tenant, &named.request) {
            return match other(known.digest.as_deref().unwrap_or_default(), &known.conversation) {
                Some(problem) => Err(problem),
                None => Ok(Way::Join),
            };
        }
        if let Some(peers) = &self.peers {
            let theirs = peers.tell_first(tenant, &named.request, &named.note()).await;
            let problem = theirs.and_then(|n| other(n.digest.as_deref().unwrap_or_default(), &n.conversation));
            if let Some(problem) = problem {
                return Err(problem);
            }
        }
        Ok(Way::Queue)
    }

    /// The record of a request, if it has ended; a broker that elects a leader is asked again.
    async fn known_record(&self, tenant: &TenantId, named: &Named) -> Result<Option<TurnRecord>, Problem> {
        let mut delays = Delays::new(BUSY_RETRY.0, BUSY_RETRY.1);
        loop {
            let error = match self.bus.read_record(tenant, None, &named.request).await {
                Ok(record) => return Ok(record),
                Err(error) => error,
            };
            let delay = delays.next_delay();
            let patient = self.outage.failed(self.bus.is_connected(), Instant::now());
            if !patient || Instant::now() + delay >= named.patient_until() {
                return Err(away(&error));
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn queue(&self, submission: &Submission, named: &Named) -> Result<Frames, Problem> {
        let tenant = &submission.principal.tenant;
        let busy = || Problem::new(Code::ConversationBusy).retry_after_ms(jittered_ms(1_000));
        let mut place = self.lines.enter(tenant, &named.conversation).ok_or_else(busy)?;
        // The inbox stands before the ask is published: an answer can come before the broker's ack.
        let inbox = self.open_inbox(named.request.clone())?;
        let accepted = self.publish(submission, named, &inbox, &mut place).await?;
        drop(place);
        let deadline = named.began + named.budget;
        if accepted.duplicate {
            return self.join(submission, named).await;
        }
        self.remember(tenant, named, deadline);
        Ok(Frames::running(Script {
            bus: self.bus.clone(),
            inbox,
            tenant: tenant.clone(),
            request: named.request.clone(),
            user: submission.principal.acts_for().cloned(),
            opening: Some(named.accepted()),
            early: Vec::new(),
            after: Position { attempt: 1, seq: 0 },
            deadline,
            patience: Delays::new(PATIENCE.0, PATIENCE.1),
            came_back: false,
            tally: self.tally(submission, named),
        }))
    }

    /// Publishes at the head of the line, again and again while the message before is not settled or the broker elects a
    /// leader, up to half of the budget.
    async fn publish(
        &self,
        submission: &Submission,
        named: &Named,
        inbox: &Inbox,
        place: &mut Place,
    ) -> Result<Accepted, Problem> {
        let busy = || Problem::new(Code::ConversationBusy).retry_after_ms(jittered_ms(1_000));
        let patient_until = named.patient_until();
        let reached = tokio::time::timeout_at(patient_until.into(), place.reach_head());
        reached.await.map_err(|_| busy())?;
        let mut delays = Delays::new(BUSY_RETRY.0, BUSY_RETRY.1);
        loop {
            let headers = AskHeaders {
                request: named.request.clone(),
                reply_to: inbox.subject(),
                budget: named.budget.saturating_sub(named.began.elapsed()),
                trace: submission.trace,
            };
            let tenant = &submission.principal.tenant;
            match self.bus.submit(tenant, &named.conversation, &submission.ask, &headers).await {
                Ok(accepted) => {
                    self.outage.over();
                    return Ok(accepted);
                }
                Err(SubmitError::Busy) => {
                    let delay = delays.next_delay();
                    if Instant::now() + delay >= patient_until {
                        return Err(busy());
                    }
                    tokio::time::sleep(delay).await;
                }
                Err(SubmitError::Full) => {
                    return Err(Problem::new(Code::Overloaded).retry_after_ms(jittered_ms(2_000)));
                }
                Err(SubmitError::TooLarge) => return Err(Problem::new(Code::BodyTooLarge)),
                Err(SubmitError::Unknown(error)) => {
                    // The id stays the same, so however often it is sent, it is stored once.
                    let delay = delays.next_delay();
                    let patient = self.outage.failed(self.bus.is_connected(), Instant::now());
                    if !patient || Instant::now() + delay >= patient_until {
                        tracing::warn!(request.id = %named.request, %error, "it is not known whether an ask was stored");
                        return Err(broker_away());
                    }
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    /// Attaches to a request that was accepted before under the same key.
    async fn join(&self, submission: &Submission, named: &Named) -> Result<Frames, Problem> {
        let tenant = &submission.principal.tenant;
        let deadline = self.ledger.recall(tenant, &named.request).map_or(named.began + named.budget, |k| k.deadline);
        let running = Running { inbox: self.open_inbox(RequestId::new())?, early: Vec::new(), deadline };
        let tally = self.tally(submission, named);
        Ok(self.follow(
            &submission.principal,
            &named.request,
            Position::default(),
            running,
            Some(named.accepted()),
            tally,
        ))
    }

    /// Notes the request for clients that come back, here and on the other gateways.
    fn remember(&self, tenant: &TenantId, named: &Named, deadline: Instant) {
        let known = Known {
            tenant: tenant.clone(),
            conversation: named.conversation.clone(),
            digest: named.digest.clone(),
            deadline,
        };
        self.ledger.note(named.request.clone(), known);
        if let Some(peers) = &self.peers {
            peers.tell(tenant, &named.request, named.note());
        }
    }

    pub(super) fn open_inbox(&self, address: RequestId) -> Result<Inbox, Problem> {
        self.relay.open(address).map_err(|closed| match closed {
            Closed::Full => Problem::new(Code::Overloaded).retry_after_ms(jittered_ms(2_000)),
            Closed::Draining => Problem::new(Code::Draining).retry_after_ms(jittered_ms(1_000)),
        })
    }

    fn tally(&self, submission: &Submission, named: &Named) -> Tally {
        Tally::new(self.metrics().clone(), submission.face, named.began, named.request.clone(), submission.trace)
    }
}

impl Named {
    /// Half of the budget is for coming in, half for the answer.
    fn patient_until(&self) -> Instant {
        self.began + self.budget / 2
    }

    fn accepted(&self) -> Frame {
        let left = self.budget.saturating_sub(self.began.elapsed());
        let body =
            FrameBody::Accepted { conversation: self.conversation.clone(), deadline_ms: left.as_millis() as u64 };
        Frame { request: self.request.clone(), attempt: 1, seq: 0, body }
    }

    fn note(&self) -> Note {
        let left = self.budget.saturating_sub(self.began.elapsed());
        Note {
            conversation: self.conversation.clone(),
            digest: self.digest.clone(),
            deadline_at_ms: unix_ms() + left.as_millis() as u64,
        }
    }
}

/// As the worker computes it: over the bytes that lie on the queue.
fn digest_of(ask: &Ask) -> Option<String> {
    envelope::encode(ask, Format::MessagePack).ok().map(|body| bus::digest(&body))
}
