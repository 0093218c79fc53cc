//! Asks that go to a worker at once, past the queue: whoever listens takes them, and a worker that dies takes them along.

use async_nats::{HeaderMap, Message};
use time::OffsetDateTime;

use super::{
    AskDelivery, AskHeaders, Bus, BusError, SubmitError,
    ask::describe,
    deliver::{Arrival, read_delivery},
    header_of,
    reply::Inbound,
};
use crate::{
    chat::{Ask, DeliveryClass},
    envelope::{self, EnvelopeError, Format},
    header,
    id::{ConversationId, TenantId},
    spans::Kind,
    subject,
};

/// The workers that answer, each message reaching one of them.
const GROUP: &str = "response";

/// What their subject is about.
const DIRECT: &str = "direct";

/// Asks as they come.
pub struct DirectAsks(Inbound);

/// One of them.
pub struct DirectAsk(Message);

impl DirectAsks {
    /// The next one; None when the subscription has ended.
    pub async fn next(&mut self) -> Option<DirectAsk> {
        self.0.next().await.map(DirectAsk)
    }

    /// Takes no more from here on; what is under way still comes by [`DirectAsks::next`], then None.
    pub async fn close(&mut self) {
        self.0.close().await;
    }
}

impl DirectAsk {
    /// The ask as it would have been delivered from the queue, at `now` by the broker's clock; what is wrong with it else.
    pub fn read(&self, now: OffsetDateTime) -> Result<AskDelivery, EnvelopeError> {
        let shape = |what: &str| EnvelopeError::Shape(what.to_owned());
        let headers = self.headers();
        let tenant = subject::parse_tenant(&self.0.subject).ok_or_else(|| shape("the subject names no tenant"))?;
        let conversation = header_of(headers, header::CONVERSATION).and_then(|id| ConversationId::parse(id).ok());
        let conversation = conversation.ok_or_else(|| shape("Talkfleet-Conversation names no conversation"))?;
        let class = header_of(headers, header::DELIVERY).and_then(DeliveryClass::parse);
        let class = class.filter(|class| !class.is_durable());
        let class = class.ok_or_else(|| shape("Talkfleet-Delivery is neither journaled nor fast"))?;
        let arrival = Arrival { tenant, conversation, attempt: 1, asked_at: now, class };
        read_delivery(headers, &self.0.payload, arrival)
    }

    /// Where its frames go, when that can be told.
    pub fn reply_to(&self) -> Option<&str> {
        header_of(self.headers(), header::REPLY_TO).filter(|to| subject::is_reply(to))
    }

    fn headers(&self) -> Option<&HeaderMap> {
        self.0.headers.as_ref()
    }
}

impl Bus {
    /// Hands an ask to whichever worker listens. Nothing is promised: when nobody does, the mailbox is told, and a worker
    /// that has no room says so in a frame.
    pub async fn submit_direct(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        ask: &Ask,
        with: &AskHeaders,
        class: DeliveryClass,
    ) -> Result<(), SubmitError> {
        let body = envelope::encode(ask, Format::MessagePack).map_err(|error| SubmitError::Unknown(error.into()))?;
        if body.len() > envelope::BODY_BYTES_MAX {
            return Err(SubmitError::TooLarge);
        }
        if !self.is_connected() {
            return Err(SubmitError::Unknown(BusError::Away));
        }
        let mut span = self.tracer.child(with.trace, "publish", Kind::Producer);
        describe(&mut span, DIRECT, conversation, with);
        let headers = with.to_direct(span.trace(), conversation, class);
        let subject = self.lane.address(subject::direct(tenant)).map_err(SubmitError::Unknown)?;
        let reply = self.lane.address(with.reply_to.clone()).map_err(SubmitError::Unknown)?;
        let sent = self.wire.publish_from(subject, reply, headers, body);
        self.within(self.publish_timeout, sent).await.map_err(SubmitError::Unknown)
    }

    /// Takes asks that come past the queue, for every tenant.
    pub async fn direct_asks(&self) -> Result<DirectAsks, BusError> {
        self.subscribe(subject::every_tenant(DIRECT), Some(GROUP)).await.map(DirectAsks)
    }
}
