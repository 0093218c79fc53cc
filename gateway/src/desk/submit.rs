//! Taking a message: limits, what is known of its idempotency key, the line of its conversation, the queue.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use talkfleet_shared::{
    bus::{self, Accepted, AskHeaders, SubmitError},
    chat::{Ask, DeliveryClass, Frame, FrameBody, Position, Problem, TurnRecord},
    clock,
    envelope::{self, Format},
    error::Code,
    id::{ChannelId, ConversationId, RequestId, TenantId},
    metrics::FaceCode,
    retry::Delays,
    spans::{Kind, key},
};

use super::{
    Desk, Frames, Story, Submission, away,
    bill::Bill,
    broker_away, jittered_ms,
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

/// What the span of a whole request is called.
pub(super) const REQUEST_SPAN: &str = "request";

/// A submission whose names are settled.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) request: RequestId,
    pub(super) conversation: ConversationId,
    /// Of the ask, when there is an idempotency key.
    pub(super) digest: Option<String>,
    pub(super) budget: Duration,
    pub(super) began: Instant,
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
    pub async fn submit(self: &Arc<Self>, mut submission: Submission) -> Result<Story, Problem> {
        submission.trace = self.bus.tracer().sample(submission.trace);
        let (face, trace, began) = (submission.face, submission.trace, clock::now());
        let taken = self.take(submission).await;
        if let Err(problem) = &taken {
            let span = self.bus.tracer().span(trace, REQUEST_SPAN, Kind::Server).since(clock::since(began));
            span.with(key::FACE, face).with(key::ERROR, problem.code.word()).with(key::OUTCOME, "refused");
            self.metrics().refusals.get_or_create(&FaceCode { face, code: problem.code.word() }).inc();
        }
        taken
    }

    async fn take(self: &Arc<Self>, mut submission: Submission) -> Result<Story, Problem> {
        if self.shutdown.is_asked() {
            return Err(Problem::new(Code::Draining).retry_after_ms(jittered_ms(1_000)));
        }
        let principal = &submission.principal;
        if principal.user.is_some() {
            submission.ask.user.clone_from(&principal.user);
        }
        let allowance = self.limiter.admit(submission.account()).await?;
        let named = self.name(&submission)?;
        let delivery = self.policy(&submission).delivery;
        let permit = self.enter(&submission, delivery).await?;
        let frames = match self.way(&submission, &named).await? {
            Way::Told(frames) => frames,
            Way::Join => self.join(&submission, &named).await?,
            Way::Queue if self.is_merged(&submission) => {
                let (named, frames) = self.merge(&submission, named).await?;
                let frames = frames.admitted(permit, self.bill(&submission, &named));
                let Named { request, conversation, .. } = named;
                return Ok(Story { request, conversation, delivery, allowance, frames });
            }
            Way::Queue => {
                let frames = match delivery.is_durable() {
                    true => self.queue(&submission, &named).await?,
                    false => self.hand_over_directly(&submission, &named, delivery).await?,
                };
                frames.admitted(permit, self.bill(&submission, &named))
            }
        };
        Ok(Story { request: named.request, conversation: named.conversation, delivery, allowance, frames })
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
        let key = key.map(|key| principal.own_key(key));
        let conversation = match (&submission.conversation, &key) {
            (Some(conversation), _) => conversation.clone(),
            (None, Some(key)) => principal.conversation_for(key),
            (None, None) => principal.new_conversation(),
        };
        let request = key.map_or_else(RequestId::new, |key| RequestId::from_idempotency_key(&principal.tenant, &key));
        let digest = submission.idempotency_key.as_ref().and_then(|_| digest_of(&submission.ask));
        Ok(Named { request, conversation, digest, budget, began: clock::now() })
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
            // Of what expired when it was no longer on the queue, nobody knows what was asked.
            let theirs = if record.ask_digest.is_empty() { digest } else { &record.ask_digest };
            return match other(theirs, &record.conversation) {
                Some(problem) => Err(problem),
                None => Ok(Way::Told(Frames::retold(&record))),
            };
        }
        // A key whose outcome is no longer kept is free again.
        let known = self.ledger.recall(tenant, &named.request).filter(|known| !known.is_gone(clock::now()));
        if let Some(known) = known {
            return match other(known.digest.as_deref().unwrap_or_default(), &known.conversation) {
                Some(problem) => Err(problem),
                None => Ok(Way::Join),
            };
        }
        if let Some(peers) = &self.peers {
            let note = named.note(&submission.ask.channel);
            let theirs = peers.tell_first(tenant, &named.request, &note).await;
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
            let patient = self.outage.failed(self.bus.is_connected(), clock::now());
            if !patient || clock::now() + delay >= named.patient_until() {
                return Err(away(&error));
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn queue(&self, submission: &Submission, named: &Named) -> Result<Frames, Problem> {
        let mut place = self.place(submission, named)?;
        // The inbox stands before the ask is published: an answer can come before the broker's ack.
        let inbox = self.open_inbox(named.request.clone())?;
        let accepted = self.publish(submission, named, &inbox.subject(), &mut place, submission.last_only).await?;
        drop(place);
        if accepted.duplicate {
            return self.join(submission, named).await;
        }
        self.remember(submission, named, named.began + named.budget);
        Ok(self.tell(submission, named, inbox, submission.last_only))
    }

    pub(super) fn ask_headers(&self, submission: &Submission, named: &Named, reply_to: String) -> AskHeaders {
        AskHeaders {
            request: named.request.clone(),
            reply_to,
            budget: named.budget.saturating_sub(clock::since(named.began)),
            trace: submission.trace,
            last_only: false,
            opening: submission.conversation.is_none() && submission.idempotency_key.is_none(),
        }
    }

    /// Tells a request that was accepted just now to its sender.
    pub(super) fn tell(&self, submission: &Submission, named: &Named, inbox: Inbox, last_only: bool) -> Frames {
        Frames::running(Script { last_only, ..self.script(submission, named, inbox) })
    }

    pub(super) fn script(&self, submission: &Submission, named: &Named, inbox: Inbox) -> Script {
        Script {
            bus: self.bus.clone(),
            inbox,
            tenant: submission.principal.tenant.clone(),
            conversation: Some(named.conversation.clone()),
            request: named.request.clone(),
            user: submission.principal.acts_for().cloned(),
            opening: Some(named.accepted(self.policy(submission).delivery)),
            early: Vec::new(),
            after: Position { attempt: 1, seq: 0 },
            deadline: named.began + named.budget,
            patience: Delays::new(PATIENCE.0, PATIENCE.1),
            came_back: false,
            class: DeliveryClass::Durable,
            last_only: false,
            place: None,
            tally: self.tally(submission, named),
        }
    }

    /// Publishes at the head of the line, again and again while the message before is not settled or the broker elects a
    /// leader, up to half of the budget.
    pub(super) async fn publish(
        &self,
        submission: &Submission,
        named: &Named,
        reply_to: &str,
        place: &mut Place,
        last_only: bool,
    ) -> Result<Accepted, Problem> {
        let patient_until = named.patient_until();
        let reached = tokio::time::timeout_at(patient_until.into(), place.reach_head());
        reached.await.map_err(|_| busy())?;
        let (mut delays, mut stopped) = (Delays::new(BUSY_RETRY.0, BUSY_RETRY.1), None);
        loop {
            let headers = AskHeaders { last_only, ..self.ask_headers(submission, named, reply_to.to_owned()) };
            let tenant = &submission.principal.tenant;
            let sent = clock::now();
            match self.bus.submit(tenant, &named.conversation, &submission.ask, &headers).await {
                Ok(accepted) => {
                    self.gates.of(DeliveryClass::Durable).published(clock::since(sent));
                    self.outage.over();
                    return Ok(accepted);
                }
                Err(SubmitError::Busy) => {
                    self.meet_earlier(submission, named, &mut stopped).await?;
                    let delay = delays.next_delay();
                    if clock::now() + delay >= patient_until {
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
                    let patient = self.outage.failed(self.bus.is_connected(), clock::now());
                    if !patient || clock::now() + delay >= patient_until {
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
        let (inbox, channel) = (self.open_inbox(RequestId::new())?, Some(submission.ask.channel.clone()));
        let conversation = Some(named.conversation.clone());
        let running = Running { inbox, early: Vec::new(), deadline, conversation, channel };
        let tally = self.tally(submission, named);
        Ok(self.follow(
            &submission.principal,
            &named.request,
            Position::default(),
            running,
            Some(named.accepted(self.policy(submission).delivery)),
            tally,
        ))
    }

    /// Notes the request for clients that come back, here and on the other gateways.
    pub(super) fn remember(&self, submission: &Submission, named: &Named, deadline: Instant) {
        let (tenant, channel) = (&submission.principal.tenant, &submission.ask.channel);
        let known = Known {
            tenant: tenant.clone(),
            conversation: named.conversation.clone(),
            channel: channel.clone(),
            digest: named.digest.clone(),
            deadline,
        };
        self.ledger.note(named.request.clone(), known);
        // Nothing is kept of a fast one; while it runs, its worker answers for it.
        let is_kept = self.policy(submission).delivery != DeliveryClass::Fast;
        if let Some(peers) = self.peers.as_ref().filter(|_| is_kept) {
            peers.tell(tenant, &named.request, named.note(channel));
        }
    }

    fn bill(&self, submission: &Submission, named: &Named) -> Option<Bill> {
        Bill::of(&self.limiter, &self.bus, submission, &named.request, named.began + named.budget)
    }

    pub(super) fn open_inbox(&self, address: RequestId) -> Result<Inbox, Problem> {
        self.relay.open(address).map_err(closed)
    }

    pub(super) fn open_inbox_beside(&self, address: RequestId) -> Result<Inbox, Problem> {
        self.relay.open_beside(address).map_err(closed)
    }

    pub(super) fn tally(&self, submission: &Submission, named: &Named) -> Tally {
        let seat = self.seat(&submission.principal, &named.request, Some(&submission.ask.channel));
        let span = self.bus.tracer().span(submission.trace, REQUEST_SPAN, Kind::Server);
        let mut span = span.since(clock::since(named.began)).with(key::FACE, submission.face);
        span.set_text(key::CONVERSATION, || named.conversation.to_string());
        Tally::new(self.metrics().clone(), submission.face, named.began, named.request.clone(), span, seat)
    }
}

impl Named {
    /// Half of the budget is for coming in, half for the answer.
    pub(super) fn patient_until(&self) -> Instant {
        self.began + self.budget / 2
    }

    pub(super) fn accepted(&self, delivery: DeliveryClass) -> Frame {
        accepted(self.request.clone(), self.conversation.clone(), self.began + self.budget, delivery)
    }

    /// The same message as part of a burst.
    pub(super) fn merged_into(self, request: RequestId, deadline: Instant) -> Self {
        Self { request, budget: deadline.saturating_duration_since(self.began), ..self }
    }

    fn note(&self, channel: &ChannelId) -> Note {
        let left = self.budget.saturating_sub(clock::since(self.began));
        Note {
            conversation: self.conversation.clone(),
            channel: Some(channel.clone()),
            digest: self.digest.clone(),
            deadline_at_ms: unix_ms() + left.as_millis() as u64,
        }
    }
}

/// Tells that a request is on the queue, and how long it may take.
pub(super) fn accepted(
    request: RequestId,
    conversation: ConversationId,
    deadline: Instant,
    delivery: DeliveryClass,
) -> Frame {
    let left = deadline.saturating_duration_since(clock::now());
    let body = FrameBody::Accepted { conversation, deadline_ms: left.as_millis() as u64, delivery };
    Frame { request, attempt: 1, seq: 0, body }
}

/// An earlier message stands in the way.
pub(super) fn busy() -> Problem {
    Problem::new(Code::ConversationBusy).retry_after_ms(jittered_ms(1_000))
}

fn closed(closed: Closed) -> Problem {
    match closed {
        Closed::Full => Problem::new(Code::Overloaded).retry_after_ms(jittered_ms(2_000)),
        Closed::Draining => Problem::new(Code::Draining).retry_after_ms(jittered_ms(1_000)),
    }
}

/// As the worker computes it: over the bytes that lie on the queue.
fn digest_of(ask: &Ask) -> Option<String> {
    envelope::encode(ask, Format::MessagePack).ok().map(|body| bus::digest(&body))
}
