//! Bursts that become one ask: gathered here, published once, told to every sender under the one request.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use talkfleet_shared::{
    bus::{CallError, HandOvers, HandedOver},
    chat::{Ask, DeliveryClass, FrameBody, Position, Problem},
    clock,
    error::Code,
    id::{ConversationId, RequestId, TenantId},
    metrics::Reason,
};
use tokio::sync::{Notify, oneshot};

use super::{
    Desk, Frames, Submission, broker_away,
    burst::{Burst, is_mergeable},
    jittered_ms,
    line::Place,
    resume::Running,
    submit::{Named, accepted},
};
use crate::{
    channels::{OnBurst, OnDisconnect},
    relay::Inbox,
};

/// How much longer than it may take another gateway is waited for.
const HAND_OVER_GRACE: Duration = Duration::from_millis(500);

/// Every burst of this process that is not whole yet.
#[derive(Default)]
pub(super) struct Bursts(Mutex<HashMap<(TenantId, ConversationId), Arc<Open>>>);

/// One burst, and who waits to hear whether it was accepted.
struct Open {
    request: RequestId,
    gathering: Mutex<Gathering>,
    /// Something came in, or it is whole.
    changed: Notify,
}

struct Gathering {
    burst: Burst,
    is_whole: bool,
    senders: Vec<oneshot::Sender<Outcome>>,
}

/// The deadline of an accepted burst.
type Outcome = Result<Instant, Problem>;

/// A sender's part in a burst.
struct Part {
    request: RequestId,
    inbox: Inbox,
    outcome: oneshot::Receiver<Outcome>,
}

impl Bursts {
    /// Makes the open burst of a conversation whole: what comes now comes after it.
    pub(super) fn close(&self, tenant: &TenantId, conversation: &ConversationId) {
        let mut bursts = self.lock();
        if !bursts.is_empty()
            && let Some(open) = bursts.remove(&(tenant.clone(), conversation.clone()))
        {
            open.finish();
        }
    }

    fn has(&self, tenant: &TenantId, conversation: &ConversationId) -> bool {
        self.lock().contains_key(&(tenant.clone(), conversation.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(TenantId, ConversationId), Arc<Open>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Gathering> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it is whole unless something comes before; None when it is.
    fn whole_at(&self) -> Option<Instant> {
        let gathering = self.lock();
        (!gathering.is_whole).then(|| gathering.burst.whole_at())
    }

    fn finish(&self) {
        self.lock().is_whole = true;
        self.changed.notify_one();
    }

    /// Takes a message in; None when it is not part of this burst, which is whole then.
    fn take(&self, ask: &Ask, deadline: Instant) -> Option<oneshot::Receiver<Outcome>> {
        let mut gathering = self.lock();
        self.changed.notify_one();
        if gathering.is_whole || !gathering.burst.take(ask, clock::now(), deadline) {
            gathering.is_whole = true;
            return None;
        }
        let (sender, outcome) = oneshot::channel();
        gathering.senders.push(sender);
        Some(outcome)
    }
}

impl Desk {
    /// Whether a message may become part of a burst. One under an idempotency key has an outcome of its own, and one that
    /// begins a conversation has nobody to wait for.
    pub(super) fn is_merged(&self, submission: &Submission) -> bool {
        self.policy(submission).burst == OnBurst::Merge
            && submission.idempotency_key.is_none()
            && submission.conversation.is_some()
            && is_mergeable(&submission.ask)
    }

    /// Joins the conversation's open burst, here or at another gateway, or begins one, and waits until it is accepted.
    pub(super) async fn merge(
        self: &Arc<Self>,
        submission: &Submission,
        named: Named,
    ) -> Result<(Named, Frames), Problem> {
        let tenant = &submission.principal.tenant;
        if !self.bursts.has(tenant, &named.conversation)
            && let Some(joined) = self.hand_over(submission, &named).await?
        {
            return Ok(joined);
        }
        let Part { request, inbox, outcome } = self.part(submission, &named)?;
        let deadline = outcome.await.map_err(|_| gone())??;
        let named = named.merged_into(request, deadline);
        let frames = self.tell(submission, &named, inbox, false);
        Ok((named, frames))
    }

    /// Hands a message to the gateway that gathers its conversation's burst; None when there is none that takes it.
    async fn hand_over(&self, submission: &Submission, named: &Named) -> Result<Option<(Named, Frames)>, Problem> {
        let (tenant, ask) = (&submission.principal.tenant, &submission.ask);
        let inbox = self.open_inbox(RequestId::new())?;
        let left = named.budget.saturating_sub(clock::since(named.began));
        // A burst is accepted or refused within half of the budget of its first message, which came before this one.
        let asked = self.bus.hand_over(tenant, &named.conversation, ask, left, left / 2 + HAND_OVER_GRACE);
        let accepted = match asked.await {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(None),
            Err(CallError::Problem(problem)) => return Err(problem),
            Err(error) => {
                tracing::warn!(%error, "it is not known what became of a message that was handed over");
                return Err(broker_away());
            }
        };
        let FrameBody::Accepted { deadline_ms, .. } = accepted.body else { return Err(Problem::new(Code::Internal)) };
        let deadline = clock::now() + Duration::from_millis(deadline_ms).min(left);
        let named = Named { digest: None, ..named.clone() }.merged_into(accepted.request, deadline);
        self.remember(submission, &named, deadline);
        let (conversation, channel) = (Some(named.conversation.clone()), Some(ask.channel.clone()));
        let running = Running { inbox, early: Vec::new(), deadline, conversation, channel };
        let (opening, tally) = (Some(named.accepted(DeliveryClass::Durable)), self.tally(submission, &named));
        let frames = self.follow(&submission.principal, &named.request, Position::default(), running, opening, tally);
        Ok(Some((named, frames)))
    }

    fn part(self: &Arc<Self>, submission: &Submission, named: &Named) -> Result<Part, Problem> {
        let key = (submission.principal.tenant.clone(), named.conversation.clone());
        let mut bursts = self.bursts.lock();
        if let Some(open) = bursts.get(&key) {
            // The inbox stands before the burst is published, which nobody does before this lock is free.
            let (request, inbox) = (open.request.clone(), self.open_inbox_beside(open.request.clone())?);
            if let Some(outcome) = open.take(&submission.ask, named.began + named.budget) {
                return Ok(Part { request, inbox, outcome });
            }
        }
        bursts.remove(&key);
        let waiting_max = self.config.turns.conversation_waiting_max;
        let place = self.lines.enter(&key.0, &key.1, waiting_max).ok_or_else(super::submit::busy)?;
        let (request, inbox) = (named.request.clone(), self.open_inbox(named.request.clone())?);
        let (bounds, deadline) = (self.policy(submission).into(), named.began + named.budget);
        let (sender, outcome) = oneshot::channel();
        let gathering = Gathering {
            burst: Burst::begin(bounds, submission.ask.clone(), clock::now(), deadline),
            is_whole: false,
            senders: vec![sender],
        };
        let (gathering, changed) = (Mutex::new(gathering), Notify::new());
        let open = Arc::new(Open { request: request.clone(), gathering, changed });
        bursts.insert(key, open.clone());
        let (desk, first, reply_to) = (self.clone(), submission.clone(), inbox.subject());
        // Whoever began the burst may hang up; the others wait for it all the same.
        self.shutdown.spawn(async move { desk.see_through(&open, first, place, reply_to).await });
        Ok(Part { request, inbox, outcome })
    }

    /// Gathers a burst, publishes it in its turn, and tells every sender what became of it.
    async fn see_through(&self, open: &Arc<Open>, first: Submission, mut place: Place, reply_to: String) {
        let Some(conversation) = first.conversation.clone() else { return };
        let tenant = first.principal.tenant.clone();
        self.gather(open, &tenant, &conversation).await;
        let (submission, named, senders) = {
            let mut bursts = self.bursts.lock();
            let key = (tenant.clone(), conversation.clone());
            if bursts.get(&key).is_some_and(|current| Arc::ptr_eq(current, open)) {
                bursts.remove(&key);
            }
            let mut gathering = open.lock();
            gathering.is_whole = true;
            let (began, deadline) = (gathering.burst.began(), gathering.burst.deadline());
            let budget = deadline.saturating_duration_since(began);
            let named = Named { request: open.request.clone(), conversation, digest: None, budget, began };
            let submission = Submission { ask: gathering.burst.ask().clone(), ..first };
            (submission, named, std::mem::take(&mut gathering.senders))
        };
        let policy = self.policy(&submission);
        if policy.on_disconnect == OnDisconnect::Cancel && senders.iter().all(oneshot::Sender::is_closed) {
            self.metrics().saved.get_or_create(&Reason { reason: "left" }).inc();
            return;
        }
        let published = self.publish(&submission, &named, &reply_to, &mut place, false).await;
        drop(place);
        let outcome = published.map(|_| named.began + named.budget);
        if let Ok(deadline) = &outcome {
            self.remember(&submission, &named, *deadline);
        }
        let heard = senders.into_iter().filter_map(|sender| sender.send(outcome.clone()).ok()).count();
        if heard == 0 && outcome.is_ok() {
            // All of them hung up meanwhile: this seat is the last to be left.
            drop(self.seat(&submission.principal, &named.request, Some(&submission.ask.channel)));
        }
    }

    /// Waits until a burst is whole, and takes in what comes by other gateways.
    async fn gather(&self, open: &Arc<Open>, tenant: &TenantId, conversation: &ConversationId) {
        let opened = self.bus.hand_overs(tenant, conversation);
        let Some(whole_at) = open.whole_at() else { return };
        // Without them, what comes by other gateways becomes a burst of its own.
        let mut others = tokio::time::timeout_at(whole_at.into(), opened).await.ok().and_then(Result::ok);
        while let Some(whole_at) = open.whole_at() {
            tokio::select! {
                // What is due is whole, whatever else has come.
                biased;
                () = tokio::time::sleep_until(whole_at.into()) => break,
                () = self.shutdown.asked() => break,
                () = open.changed.notified() => {}
                Some(handed) = next(&mut others) => self.take_over(open, handed, conversation),
            }
        }
        open.finish();
        if let Some(mut others) = others {
            self.shutdown.spawn(async move {
                others.close().await;
                while let Some(handed) = others.next().await {
                    let _ = handed.give_back().await;
                }
            });
        }
    }

    /// Takes in a message that came by another gateway, and tells that what became of it.
    fn take_over(&self, open: &Arc<Open>, handed: HandedOver, conversation: &ConversationId) {
        let outcome = open.take(&handed.ask, clock::now() + handed.budget);
        let (request, conversation) = (open.request.clone(), conversation.clone());
        self.shutdown.spawn(async move {
            let told = match outcome {
                None => handed.give_back().await,
                Some(outcome) => match outcome.await.unwrap_or_else(|_| Err(gone())) {
                    Ok(deadline) => {
                        handed.accept(&accepted(request, conversation, deadline, DeliveryClass::Durable)).await
                    }
                    Err(problem) => handed.refuse(&problem).await,
                },
            };
            if let Err(error) = told {
                tracing::debug!(%error, "another gateway was not told what became of its message");
            }
        });
    }
}

/// The next message from another gateway; never when they cannot be heard.
async fn next(others: &mut Option<HandOvers>) -> Option<HandedOver> {
    match others {
        Some(others) => others.next().await,
        None => std::future::pending().await,
    }
}

fn gone() -> Problem {
    Problem::new(Code::Draining).retry_after_ms(jittered_ms(1_000))
}
