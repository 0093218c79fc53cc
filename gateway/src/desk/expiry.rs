//! A turn whose time is over and of which nobody has said how it ended: that it expired is written down before it is told.
//!
//! A worker that finished in time may still be waiting for the broker to take its record. Whoever is first decides.

use talkfleet_shared::{
    bus::{self, BusError, Written},
    chat::{Ask, MessageText, Outcome, Problem, TurnRecord, Unanswered, Versions},
    error::Code,
    id::ConversationId,
    topology::DELIVERIES_MAX,
};

use super::{story::Script, unix_ms};

/// Stands in the record of an ask that is no longer on the queue.
const GONE: &str = "(no longer on the queue)";

impl Script {
    /// How the turn ended, now that its time is over; None when that could not be written down yet.
    pub(super) async fn expire(&self) -> Option<TurnRecord> {
        let conversation = self.conversation.as_ref()?;
        match self.write_expired(conversation).await {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::debug!(request.id = %self.request, %error, "it could not be written down that a turn expired");
                None
            }
        }
    }

    async fn write_expired(&self, conversation: &ConversationId) -> Result<TurnRecord, BusError> {
        let open = self.bus.open_ask(&self.tenant, conversation).await?;
        let open = open.filter(|open| open.request().as_ref() == Some(&self.request));
        let ask = open.as_ref().and_then(|open| open.ask().ok());
        let Some(ask) = ask.or_else(|| MessageText::parse(GONE).ok().map(Ask::new)) else {
            return Err(BusError::Missing("ask".into()));
        };
        let now_ms = unix_ms();
        let unanswered = Unanswered {
            tenant: self.tenant.clone(),
            conversation: conversation.clone(),
            request: self.request.clone(),
            attempt: DELIVERIES_MAX as u32 + 1,
            ask,
            ask_digest: open.as_ref().map(|open| bus::digest(&open.body)).unwrap_or_default(),
            trace: None,
            asked_at_ms: open.as_ref().map_or(now_ms, |open| open.stored_at_ms()),
        };
        let outcome = Outcome::Expired { problem: Problem::new(Code::Expired) };
        let record = unanswered.record(outcome, Versions::default(), now_ms);
        match self.bus.write_record(&record).await? {
            Written::First | Written::Forgotten => Ok(record),
            Written::Second(theirs) => Ok(*theirs),
        }
    }
}
