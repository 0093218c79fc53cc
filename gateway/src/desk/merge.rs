//! Bursts that become one ask: gathered here, published once, told to every sender under the one request.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use talkfleet_shared::{
    chat::Problem,
    error::Code,
    id::{ConversationId, RequestId, TenantId},
    metrics::Reason,
};
use tokio::sync::{Notify, oneshot};

use super::{
    Desk, Frames, Submission,
    burst::{Burst, is_mergeable},
    jittered_ms,
    line::Place,
    submit::Named,
};
use crate::{
    channels::{OnBurst, OnDisconnect},
    relay::Inbox,
};

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

    fn lock(&self) -> MutexGuard<'_, HashMap<(TenantId, ConversationId), Arc<Open>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Gathering> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self) {
        self.lock().is_whole = true;
        self.changed.notify_one();
    }

    /// Takes a message in; None when it is not part of this burst.
    fn take(&self, submission: &Submission, named: &Named) -> Option<oneshot::Receiver<Outcome>> {
        let mut gathering = self.lock();
        let deadline = named.began + named.budget;
        if gathering.is_whole || !gathering.burst.take(&submission.ask, Instant::now(), deadline) {
            return None;
        }
        let (sender, outcome) = oneshot::channel();
        gathering.senders.push(sender);
        self.changed.notify_one();
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

    /// Joins the conversation's open burst or begins one, and waits until it is accepted.
    pub(super) async fn merge(
        self: &Arc<Self>,
        submission: &Submission,
        named: Named,
    ) -> Result<(Named, Frames), Problem> {
        let Part { request, inbox, outcome } = self.part(submission, &named)?;
        let gone = |_| Problem::new(Code::Draining).retry_after_ms(jittered_ms(1_000));
        let deadline = outcome.await.map_err(gone)??;
        let budget = deadline.saturating_duration_since(named.began);
        let named = Named { request, budget, ..named };
        let frames = self.tell(submission, &named, inbox);
        Ok((named, frames))
    }

    fn part(self: &Arc<Self>, submission: &Submission, named: &Named) -> Result<Part, Problem> {
        let key = (submission.principal.tenant.clone(), named.conversation.clone());
        let mut bursts = self.bursts.lock();
        if let Some(open) = bursts.get(&key) {
            // The inbox stands before the burst is published, which nobody does before this lock is free.
            let (request, inbox) = (open.request.clone(), self.open_inbox_beside(open.request.clone())?);
            match open.take(submission, named) {
                Some(outcome) => return Ok(Part { request, inbox, outcome }),
                None => open.finish(),
            }
        }
        bursts.remove(&key);
        let waiting_max = self.config.turns.conversation_waiting_max;
        let place = self.lines.enter(&key.0, &key.1, waiting_max).ok_or_else(super::submit::busy)?;
        let (request, inbox) = (named.request.clone(), self.open_inbox(named.request.clone())?);
        let (bounds, deadline) = (self.policy(submission).into(), named.began + named.budget);
        let (sender, outcome) = oneshot::channel();
        let gathering = Gathering {
            burst: Burst::begin(bounds, submission.ask.clone(), Instant::now(), deadline),
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
        self.gather(open).await;
        let tenant = first.principal.tenant.clone();
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
        let published = self.publish(&submission, &named, &reply_to, &mut place).await;
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

    async fn gather(&self, open: &Open) {
        loop {
            let whole_at = {
                let gathering = open.lock();
                if gathering.is_whole {
                    return;
                }
                gathering.burst.whole_at()
            };
            tokio::select! {
                // What is due is whole, whatever else has come.
                biased;
                () = tokio::time::sleep_until(whole_at.into()) => return,
                () = self.shutdown.asked() => return,
                () = open.changed.notified() => {}
            }
        }
    }
}
