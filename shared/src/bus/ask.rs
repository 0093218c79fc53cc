//! Publishing an ask: only the broker's ack means 'accepted', and every way to be refused has a name.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;

use super::{Bus, BusError, Stored, StoredAsk, header_of, headers_for, insert_checked};
use crate::{
    chat::{Ask, DeliveryClass},
    envelope::{self, Format},
    header,
    id::{ConversationId, RequestId, TenantId},
    release::Release,
    spans::{Kind, Span, key},
    subject,
    telemetry::Trace,
    topology,
};

/// What carries messages, as spans call it.
pub(super) const SYSTEM: &str = "nats";

/// How long an ask may outlive its budget on the queue, so that a returning worker can still write down that it expired.
pub const ASK_GRACE: Duration = Duration::from_secs(60);

/// What [`header::STREAM`] says on an ask whose sender wants the last frame alone.
pub(super) const LAST: &str = "last";

/// What travels beside an ask's body.
#[derive(Debug, Clone)]
pub struct AskHeaders {
    pub request: RequestId,
    /// Where the frames go; one of [`subject::reply`], or empty when nobody listens.
    pub reply_to: String,
    pub budget: Duration,
    pub trace: Trace,
    /// Whoever waits wants the last frame alone.
    pub last_only: bool,
    /// It begins its conversation.
    pub opening: bool,
}

/// The broker has stored the ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// 0 of a duplicate whose message is still open.
    pub sequence: u64,
    /// The same request was stored before; its outcome is the outcome.
    pub duplicate: bool,
}

/// Why an ask was not stored.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("an earlier message of this conversation is not answered yet")]
    Busy,
    #[error("the queue is full")]
    Full,
    #[error("the ask is too large")]
    TooLarge,
    /// It may have been stored or not: a retry must keep the id.
    #[error("the broker is away, the outcome is unknown: {0}")]
    Unknown(BusError),
}

impl SubmitError {
    /// The word for spans.
    fn name(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Full => "full",
            Self::TooLarge => "too_large",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl Bus {
    /// Puts an ask on the queue and waits for the broker's ack.
    pub async fn submit(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        ask: &Ask,
        with: &AskHeaders,
    ) -> Result<Accepted, SubmitError> {
        let body = envelope::encode(ask, Format::MessagePack).map_err(|error| SubmitError::Unknown(error.into()))?;
        if body.len() > envelope::BODY_BYTES_MAX {
            return Err(SubmitError::TooLarge);
        }
        let shard = self.shard_of(conversation);
        let subject = match self.release_of(conversation) {
            Release::Stable => subject::ask(shard, tenant, conversation),
            Release::Next => subject::ask_next(shard, tenant, conversation),
        };
        let of_conversation = subject::asks_of(shard, tenant, conversation);
        let mut span = self.tracer.child(with.trace, "publish", Kind::Producer);
        describe(&mut span, topology::ASK, conversation, with);
        let submitted = self.submit_on(subject, of_conversation, with.to_map(span.trace()), body).await;
        if let Err(error) = &submitted {
            span.fail(error.name());
        }
        submitted
    }

    /// One open message per conversation is the broker's to see to, whichever release answers: on each subject by the
    /// stream's limit, over both by what is expected here. A conversation that goes over to another release waits
    /// until its message there is settled, whatever its gateways know of the rule.
    pub(super) async fn submit_on(
        &self,
        subject: String,
        of_conversation: String,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Accepted, SubmitError> {
        let of_conversation = self.lane.subject(of_conversation);
        headers.insert(header::EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(0u64));
        insert_checked(&mut headers, header::EXPECTED_LAST_SUBJECT_SEQUENCE_OF, &of_conversation);
        let id = header_of(Some(&headers), header::MESSAGE_ID).map(str::to_owned);
        match self.publish_stored(subject, headers, body).await {
            Ok(Stored { sequence, duplicate }) => Ok(Accepted { sequence, duplicate }),
            Err(BusError::Refused(why)) => {
                let refused = refusal(&why);
                // A single server looks at what is open before it looks at ids, a cluster the other way round.
                let open = match refused {
                    SubmitError::Busy => self.open_under(of_conversation, id.as_deref()).await,
                    _ => None,
                };
                open.map(|sequence| Accepted { sequence, duplicate: true }).ok_or(refused)
            }
            Err(BusError::Envelope(_)) => Err(SubmitError::TooLarge),
            Err(error) => Err(SubmitError::Unknown(error)),
        }
    }

    /// The ask of a conversation that is open, waiting or being answered, through whichever gateway it came.
    pub async fn open_ask(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
    ) -> Result<Option<StoredAsk>, BusError> {
        let subject = self.lane.subject(subject::asks_of(self.shard_of(conversation), tenant, conversation));
        Ok(self.last(topology::ASK, subject).await?.map(|kept| StoredAsk::new(&self.lane, kept)))
    }

    /// Where the message lies that a conversation waits for, if it is this very one. Who cannot tell says no: it is tried
    /// again.
    async fn open_under(&self, of_conversation: String, id: Option<&str>) -> Option<u64> {
        let open = self.last(topology::ASK, of_conversation).await.ok()??;
        let same = id.is_some() && header_of(Some(&open.headers), header::MESSAGE_ID) == id;
        same.then_some(open.sequence)
    }

    fn shard_of(&self, conversation: &ConversationId) -> u32 {
        (conversation.spread() % u64::from(self.shards)) as u32
    }
}

impl AskHeaders {
    /// Of an ask that lies on the queue.
    fn to_map(&self, trace: Trace) -> HeaderMap {
        let mut headers = self.common(trace);
        headers.insert(header::MESSAGE_ID, self.request.as_str());
        headers.insert(header::TTL, time_to_live(self.budget));
        headers
    }

    /// Of an ask that goes past it.
    pub(super) fn to_direct(&self, trace: Trace, conversation: &ConversationId, class: DeliveryClass) -> HeaderMap {
        let mut headers = self.common(trace);
        headers.insert(header::CONVERSATION, conversation.as_str());
        headers.insert(header::DELIVERY, class.name());
        headers
    }

    fn common(&self, trace: Trace) -> HeaderMap {
        let mut headers = headers_for(Format::MessagePack);
        headers.insert(header::REQUEST, self.request.as_str());
        headers.insert(header::BUDGET_MS, HeaderValue::from(self.budget.as_millis() as u64));
        headers.insert(header::TRACEPARENT, trace.to_string());
        if self.last_only {
            headers.insert(header::STREAM, LAST);
        }
        if self.opening {
            headers.insert(header::OPENING, "1");
        }
        if !self.reply_to.is_empty() {
            insert_checked(&mut headers, header::REPLY_TO, &self.reply_to);
        }
        headers
    }
}

/// What the span of a message says of it.
pub(super) fn describe(span: &mut Span, destination: &'static str, conversation: &ConversationId, with: &AskHeaders) {
    span.set(key::MESSAGING_SYSTEM, SYSTEM);
    span.set(key::MESSAGING_OPERATION, "publish");
    span.set(key::MESSAGING_OPERATION_TYPE, "send");
    span.set(key::MESSAGING_DESTINATION, destination);
    span.set_text(key::MESSAGE, || with.request.to_string());
    span.set_text(key::CONVERSATION, || conversation.to_string());
}

/// When the broker drops an ask of this budget.
pub(super) fn time_to_live(budget: Duration) -> String {
    format!("{}s", (budget + ASK_GRACE).as_secs())
}

/// Busy is what the broker says when it expected nothing open, or when the subject is full; the latter has the code of a
/// full queue (10077), and only the text tells them apart.
fn refusal(why: &str) -> SubmitError {
    if why.contains("maximum messages per subject") || why.contains("wrong last sequence") {
        SubmitError::Busy
    } else if why.contains("maximum") || why.contains("resource") {
        SubmitError::Full
    } else {
        SubmitError::Unknown(BusError::Refused(why.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_and_full_are_told_apart() {
        assert!(matches!(refusal("maximum messages per subject exceeded"), SubmitError::Busy));
        assert!(matches!(refusal("wrong last sequence: 7"), SubmitError::Busy));
        assert!(matches!(refusal("maximum messages exceeded"), SubmitError::Full));
        assert!(matches!(refusal("insufficient resources"), SubmitError::Full));
        assert!(matches!(refusal("bad request"), SubmitError::Unknown(_)));
    }
}
