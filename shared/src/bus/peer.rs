//! What gateways ask of one another: who gathers this conversation's burst, and does anybody listen to this request?

use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Subject};
use bytes::Bytes;

use super::{Bus, BusError, CallError, header_of, headers_for, insert_checked, reply::Inbound, service::read_reply};
use crate::{
    chat::{Ask, Frame, Problem},
    envelope::{self, Format},
    error::Code,
    header,
    id::{ConversationId, RequestId, TenantId},
    subject,
};

/// The queue group of those who gather a conversation's burst.
const HAND_OVER_GROUP: &str = "burst";

/// Messages of one conversation that came in elsewhere, for as long as its burst is gathered here.
pub struct HandOvers(Inbound, Bus);

/// One of them, and who waits to hear what became of it.
pub struct HandedOver {
    pub ask: Ask,
    /// What is left of its deadline.
    pub budget: Duration,
    reply: Subject,
    bus: Bus,
}

/// Questions of other gateways whether anybody listens to a request.
pub struct Listenings(Inbound, Bus);

/// One of them.
pub struct Listening {
    pub tenant: TenantId,
    pub request: RequestId,
    reply: Subject,
    bus: Bus,
}

impl HandOvers {
    /// The next message; one that cannot be read is left to whoever sent it. None when the subscription has ended.
    pub async fn next(&mut self) -> Option<HandedOver> {
        loop {
            let message = self.0.next().await?;
            let headers = message.headers.as_ref();
            let format = Format::detect(header_of(headers, header::CONTENT_TYPE), &message.payload);
            let ask = format.and_then(|format| envelope::decode(&message.payload, format));
            let budget = header_of(headers, header::BUDGET_MS).and_then(|ms| ms.parse().ok());
            let (Some(reply), Some(budget_ms)) = (message.reply, budget) else { continue };
            match ask {
                Ok(ask) => {
                    let budget = Duration::from_millis(budget_ms);
                    return Some(HandedOver { ask, budget, reply, bus: self.1.clone() });
                }
                Err(error) => tracing::warn!(%error, "what another gateway handed over is no ask"),
            }
        }
    }

    /// Takes no more from here on; what is under way still comes by [`HandOvers::next`], then None.
    pub async fn close(&mut self) {
        self.0.close().await;
    }
}

impl HandedOver {
    /// It is part of the request that this `accepted` names.
    pub async fn accept(self, accepted: &Frame) -> Result<(), BusError> {
        let body = envelope::encode(accepted, Format::MessagePack)?;
        self.bus.publish_core(self.reply.to_string(), headers_for(Format::MessagePack), body).await
    }

    /// It does not belong here: its gateway begins a burst of its own.
    pub async fn give_back(self) -> Result<(), BusError> {
        self.refuse(&Problem::new(Code::NotFound)).await
    }

    /// The burst was refused, and with it this message.
    pub async fn refuse(self, problem: &Problem) -> Result<(), BusError> {
        let body = envelope::encode(problem, Format::MessagePack)?;
        let mut headers = headers_for(Format::MessagePack);
        insert_checked(&mut headers, header::PROBLEM, problem.code.word());
        self.bus.publish_core(self.reply.to_string(), headers, body).await
    }
}

impl Listenings {
    pub async fn next(&mut self) -> Option<Listening> {
        loop {
            let message = self.0.next().await?;
            let (Some((tenant, request)), Some(reply)) = (subject::parse_request(&message.subject), message.reply)
            else {
                continue;
            };
            return Some(Listening { tenant, request, reply, bus: self.1.clone() });
        }
    }
}

impl Listening {
    /// Somebody does; whoever knows of nobody keeps silent.
    pub async fn yes(self) -> Result<(), BusError> {
        self.bus.publish_core(self.reply.to_string(), HeaderMap::new(), Bytes::new()).await
    }
}

impl Bus {
    /// Takes the messages of a conversation that come in elsewhere, while its burst is gathered here.
    pub async fn hand_overs(&self, tenant: &TenantId, conversation: &ConversationId) -> Result<HandOvers, BusError> {
        // A group: where two gateways gather one each, a message must become part of one of them only.
        let heard = self.subscribe(subject::burst(tenant, conversation), Some(HAND_OVER_GROUP)).await?;
        Ok(HandOvers(heard, self.clone()))
    }

    /// Hands a message to the gateway that gathers its conversation's burst, and waits until that is accepted: `accepted`
    /// names the request. None when nobody gathers one that it is part of.
    pub async fn hand_over(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        ask: &Ask,
        budget: Duration,
        within: Duration,
    ) -> Result<Option<Frame>, CallError> {
        let body = envelope::encode(ask, Format::MessagePack).map_err(BusError::from)?;
        let mut headers = headers_for(Format::MessagePack);
        headers.insert(header::BUDGET_MS, HeaderValue::from(budget.as_millis() as u64));
        match self.ask_peers(subject::burst(tenant, conversation), headers, body, within).await {
            Ok(reply) => match read_reply(reply.headers.as_ref(), &reply.payload) {
                Err(CallError::Problem(problem)) if problem.code == Code::NotFound => Ok(None),
                read => read.map(Some),
            },
            Err(CallError::Nobody) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hears the question whether anybody listens to a request, for every request.
    pub async fn listenings(&self) -> Result<Listenings, BusError> {
        Ok(Listenings(self.subscribe(subject::every_listening(), None).await?, self.clone()))
    }

    /// Whether some gateway says, in this time, that somebody listens to a request there.
    pub async fn is_listened_to(
        &self,
        tenant: &TenantId,
        request: &RequestId,
        within: Duration,
    ) -> Result<bool, CallError> {
        match self.ask_peers(subject::listening(tenant, request), HeaderMap::new(), Bytes::new(), within).await {
            Ok(_) => Ok(true),
            Err(CallError::Nobody | CallError::Timeout) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn ask_peers(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Bytes,
        within: Duration,
    ) -> Result<async_nats::Message, CallError> {
        if !self.is_connected() {
            return Err(BusError::Away.into());
        }
        self.wire.request(self.lane.address(subject)?, headers, body, within).await
    }
}
