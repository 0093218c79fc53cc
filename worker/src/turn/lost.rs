//! Turns that cannot be answered at all: what kills its workers, and what nobody can read. They fail, and are told so.

use bytes::Bytes;
use talkfleet_shared::{
    bus::{AskDelivery, Bus, BusError, Delivery, StoredAsk, Written, digest},
    chat::{Ask, MessageText, Outcome, Position, Problem, TextError, TurnRecord, Unanswered, Versions},
    envelope::{self, Format},
    header,
    id::{ConversationId, RequestId, TenantId},
    metrics::Turn,
    subject,
};
use time::OffsetDateTime;

use super::{Desk, draft::millis, ending::write_patiently};

/// Stands in the record of an ask whose body cannot be read.
const UNREADABLE: &str = "(unreadable)";

/// What can be known of a message that will not be answered.
pub struct Lost {
    tenant: TenantId,
    conversation: ConversationId,
    request: RequestId,
    reply_to: Option<String>,
    ask: Ask,
    digest: String,
    /// One more than the deliveries it had: whatever its last worker said is void.
    attempt: u32,
    trace: Option<String>,
    asked_at: OffsetDateTime,
}

impl Lost {
    /// An ask that could be read.
    pub fn of_ask(ask: &AskDelivery) -> Self {
        Self {
            tenant: ask.tenant.clone(),
            conversation: ask.conversation.clone(),
            request: ask.request.clone(),
            reply_to: ask.reply_to.clone(),
            ask: ask.ask.clone(),
            digest: ask.digest.clone(),
            attempt: ask.attempt + 1,
            trace: Some(ask.trace.to_string()),
            asked_at: ask.asked_at,
        }
    }

    /// A delivery whose body could not be read; None when not even its headers tell whose it is.
    pub fn of_delivery(delivery: &Delivery, now: OffsetDateTime) -> Option<Self> {
        let headers = delivery.headers();
        let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
        Self::read(delivery.subject(), header, delivery.body(), delivery.attempt(), now)
    }

    /// An ask that lies on the queue and will not be delivered again.
    pub fn of_stored(stored: &StoredAsk, deliveries: u32) -> Option<Self> {
        Self::read(&stored.subject, |name| stored.header(name), &stored.body, deliveries, stored.stored_at)
    }

    fn read<'a>(
        origin: &str,
        header: impl Fn(&str) -> Option<&'a str>,
        body: &Bytes,
        deliveries: u32,
        asked_at: OffsetDateTime,
    ) -> Option<Self> {
        let (tenant, conversation) = subject::parse_ask(origin)?;
        let request = header(header::REQUEST).or_else(|| header(header::MESSAGE_ID))?;
        let format = Format::detect(header(header::CONTENT_TYPE), body);
        let ask = format.and_then(|format| envelope::decode::<Ask>(body, format)).ok();
        Some(Self {
            tenant,
            conversation,
            request: RequestId::parse(request).ok()?,
            reply_to: header(header::REPLY_TO).filter(|to| subject::is_reply(to)).map(str::to_owned),
            ask: ask.or_else(|| unreadable().ok())?,
            digest: digest(body),
            attempt: deliveries + 1,
            trace: header(header::TRACEPARENT).map(str::to_owned),
            asked_at,
        })
    }

    /// Stores the failure and tells the asker; when an outcome existed already, that is told. True when it is this
    /// failure, be it stored now or by a try that was interrupted before its message was set aside.
    pub async fn fail(self, desk: &Desk, problem: Problem) -> Result<bool, BusError> {
        let (bus, reply_to, code) = (&desk.bus, self.reply_to.clone(), problem.code);
        let record = self.record(problem, desk.versions.clone(), desk.now());
        let (told, first) = match write_patiently(bus, &record).await? {
            Written::First => (record, true),
            // It is told all the same; whose message nobody may keep is not set aside.
            Written::Forgotten => {
                tell(bus, reply_to.as_deref(), &record).await;
                return Ok(false);
            }
            Written::Second(winner) => (*winner, false),
        };
        tell(bus, reply_to.as_deref(), &told).await;
        if first {
            let release = desk.release.name();
            let turn = Turn { outcome: told.outcome.name(), kind: "none", rung: "none", release };
            bus.metrics().turns.get_or_create(&turn).inc();
        }
        Ok(matches!(told.outcome, Outcome::Failed { problem } if problem.code == code))
    }

    fn record(self, problem: Problem, versions: Versions, now: OffsetDateTime) -> TurnRecord {
        let unanswered = Unanswered {
            tenant: self.tenant,
            conversation: self.conversation,
            request: self.request,
            attempt: self.attempt,
            ask: self.ask,
            ask_digest: self.digest,
            trace: self.trace,
            asked_at_ms: millis(self.asked_at),
        };
        unanswered.record(Outcome::Failed { problem }, versions, millis(now))
    }
}

async fn tell(bus: &Bus, reply_to: Option<&str>, record: &TurnRecord) {
    let Some(reply_to) = reply_to else { return };
    for frame in record.frames(Position::default()) {
        // Whoever is not there any more fetches the outcome later.
        let _ = bus.emit(reply_to, &frame).await;
    }
}

fn unreadable() -> Result<Ask, TextError> {
    MessageText::parse(UNREADABLE).map(Ask::new)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use talkfleet_shared::{chat::FrameBody, error::Code};

    use super::*;

    fn lost(subject: &str, headers: &[(&str, &'static str)], body: &'static [u8]) -> Option<Lost> {
        let headers: HashMap<_, _> = headers.iter().copied().collect();
        let header = |name: &str| headers.get(name).copied();
        Lost::read(subject, header, &Bytes::from_static(body), 4, OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn whose_it_is_can_be_told_from_subject_and_headers() {
        let subject = "chat.v1.ask.0.demo.c1";
        let junk = lost(subject, &[(header::REQUEST, "r1"), (header::REPLY_TO, "$JS.API.x")], b"\xc1").unwrap();
        assert_eq!((junk.request.as_str(), junk.reply_to.as_deref()), ("r1", None));
        assert_eq!(junk.ask.text.as_str(), UNREADABLE);
        let read = lost(subject, &[(header::MESSAGE_ID, "r1")], br#"{"text":"hello"}"#).unwrap();
        assert_eq!(read.ask.text.as_str(), "hello");
        assert!(lost(subject, &[], b"").is_none());
        assert!(lost("chat.v1.ask.0.demo", &[(header::REQUEST, "r1")], b"").is_none());
    }

    #[test]
    fn a_failure_voids_whatever_was_said_before() {
        let lost = lost("chat.v1.ask.0.demo.c1", &[(header::REQUEST, "r1")], b"").unwrap();
        let frames = lost
            .record(Problem::new(Code::Poison), Versions::default(), OffsetDateTime::UNIX_EPOCH)
            .frames(Position { attempt: 4, seq: 9 });
        assert!(frames.iter().all(|frame| frame.attempt == 5));
        assert_eq!(frames[0].body, FrameBody::Restart);
        assert!(frames[1].body.is_last());
    }
}
