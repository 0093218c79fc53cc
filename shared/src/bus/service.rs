//! Roles as services: asked over a queue group, discovered and counted by the NATS services protocol (`$SRV`, ADR-32).

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_nats::{
    HeaderMap, HeaderValue, Message,
    service::{ServiceExt, endpoint::Endpoint, error::Error as ServiceError},
};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Bus, BusError, JOIN_FIRST, JOIN_LONGEST, Wire, ask::SYSTEM, bring_home, header_of, headers_for, insert_checked,
    reply::Inbound,
};
use crate::{
    chat::Problem,
    envelope::{self, Format},
    error::Code,
    header,
    id::TenantId,
    lifecycle::Shutdown,
    retry::Delays,
    spans::{Kind, Span, key},
    subject,
    telemetry::Trace,
};

/// Why a role did not answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("nobody plays this role right now")]
    Nobody,
    #[error("the role did not answer in time")]
    Timeout,
    #[error("the role answered with a problem: {}", .0.message)]
    Problem(Problem),
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl CallError {
    pub(super) fn of(error: &async_nats::RequestError) -> Self {
        match error.kind() {
            async_nats::RequestErrorKind::NoResponders => Self::Nobody,
            async_nats::RequestErrorKind::TimedOut => Self::Timeout,
            _ => Self::Bus(BusError::Refused(error.to_string())),
        }
    }

    /// The word for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Timeout => "timeout",
            Self::Problem(_) => "problem",
            Self::Bus(_) => "bus",
        }
    }
}

/// What a process offers as a service.
pub struct Offer {
    /// Names the service, its queue group, and its subjects: `chat.v1.<what>.*`.
    pub what: &'static str,
    pub description: &'static str,
    pub metadata: HashMap<String, String>,
    /// Calls under way at once. Beyond that a caller is refused while it can still do without: what the broker has
    /// handed to this process, no other takes.
    pub calls_max: usize,
}

/// Membership in a service; its calls come one by one.
struct Service {
    calls: Calls,
    bus: Bus,
}

enum Calls {
    Nats(Box<(Endpoint, async_nats::service::Service)>),
    /// A model knows no `$SRV`; a queue group is all that a caller sees of a service.
    Model(Inbound),
}

/// What a call came as.
enum Request {
    Nats(Box<async_nats::service::Request>),
    Model(Message),
}

/// One call of a service.
pub struct ServiceCall {
    request: Request,
    tenant: TenantId,
    format: Format,
    bus: Bus,
}

impl Bus {
    /// Answers a service's calls until shutdown, each in a task of its own. An interrupted service is opened anew; as
    /// long as it cannot be, health says so.
    pub async fn serve<F>(&self, offer: Offer, until: &Shutdown, answer: impl Fn(ServiceCall) -> F)
    where
        F: Future<Output = Result<(), BusError>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(offer.calls_max));
        let mut delays = Delays::new(JOIN_FIRST, JOIN_LONGEST);
        while !until.is_asked() {
            match self.open_service(&offer).await {
                Ok(mut service) => {
                    self.health.up(offer.what);
                    delays.reset();
                    while let Some(call) = service.next(until).await {
                        match places.clone().try_acquire_owned() {
                            Ok(place) => until.spawn(told(offer.what, answer(call), Some(place))),
                            Err(_) => {
                                let busy = async move { call.refuse(&Problem::new(Code::Overloaded)).await };
                                until.spawn(told(offer.what, busy, None))
                            }
                        };
                    }
                    service.stop().await;
                }
                Err(error) => {
                    self.health.down(offer.what, error.to_string());
                    tracing::warn!(%error, service = offer.what, "the service cannot be offered; trying again");
                }
            }
            tokio::select! {
                biased;
                () = until.asked() => {}
                () = tokio::time::sleep(delays.next_delay()) => {}
            }
        }
    }

    /// Takes part for every tenant, within the queue group.
    async fn open_service(&self, offer: &Offer) -> Result<Service, BusError> {
        let refused = |error: &dyn std::fmt::Display| BusError::Refused(error.to_string());
        let nats = match &self.wire {
            Wire::Nats(nats) => nats,
            Wire::Model(_) => {
                let heard = self.subscribe(subject::every_tenant(offer.what), Some(offer.what)).await?;
                return Ok(Service { calls: Calls::Model(heard), bus: self.clone() });
            }
        };
        let service = nats
            .client
            .service_builder()
            .description(offer.description)
            .metadata(offer.metadata.clone())
            .queue_group(offer.what)
            .start(format!("{}{}", super::present::SERVICE, offer.what), env!("CARGO_PKG_VERSION"))
            .await
            .map_err(|error| refused(&error))?;
        let endpoint = service
            .endpoint_builder()
            .name(offer.what)
            .queue_group(offer.what)
            .add(self.lane.subject(subject::every_tenant(offer.what)))
            .await
            .map_err(|error| refused(&error))?;
        self.flush().await?;
        Ok(Service { calls: Calls::Nats(Box::new((endpoint, service))), bus: self.clone() })
    }

    /// Asks a role and waits for its answer, at most for `within` and for the configured bound.
    pub async fn call<Q, A>(
        &self,
        subject: String,
        question: &Q,
        trace: Trace,
        within: Duration,
    ) -> Result<A, CallError>
    where
        Q: Serialize,
        A: DeserializeOwned,
    {
        if !self.is_connected() {
            return Err(BusError::Away.into());
        }
        let body = envelope::encode(question, Format::MessagePack).map_err(BusError::from)?;
        let mut span = self.tracer.child(trace, "call", Kind::Client).with(key::MESSAGING_SYSTEM, SYSTEM);
        let mut headers = headers_for(Format::MessagePack);
        headers.insert(header::TRACEPARENT, span.trace().to_string());
        let within = within.min(self.call_timeout);
        headers.insert(header::BUDGET_MS, HeaderValue::from(within.as_millis() as u64));
        let address = self.lane.address(subject)?;
        let replied = self.wire.request(address, headers, body, within).await;
        let answered = replied.and_then(|reply| read_reply(reply.headers.as_ref(), &reply.payload));
        if let Err(error) = &answered {
            span.fail(error.name());
        }
        answered
    }
}

/// The answer of a reply, or the problem that it tells.
pub(super) fn read_reply<A: DeserializeOwned>(headers: Option<&HeaderMap>, body: &[u8]) -> Result<A, CallError> {
    let format = Format::detect(header_of(headers, header::CONTENT_TYPE), body).map_err(BusError::from)?;
    if header_of(headers, header::PROBLEM).is_some() {
        return Err(CallError::Problem(envelope::decode_large(body, format).map_err(BusError::from)?));
    }
    if let Some(why) = header_of(headers, async_nats::service::NATS_SERVICE_ERROR) {
        return Err(BusError::Refused(why.to_owned()).into());
    }
    Ok(envelope::decode_large(body, format).map_err(BusError::from)?)
}

impl Service {
    /// The next call; None once shutdown was asked, or the service has ended.
    async fn next(&mut self, until: &Shutdown) -> Option<ServiceCall> {
        tokio::select! {
            biased;
            () = until.asked() => None,
            call = self.call() => call,
        }
    }

    /// One whose subject names no tenant, or in no format of ours, is answered and skipped.
    async fn call(&mut self) -> Option<ServiceCall> {
        loop {
            let request = match &mut self.calls {
                Calls::Nats(nats) => {
                    let mut request = nats.0.next().await?;
                    bring_home(&self.bus.lane, &mut request.message.subject);
                    Request::Nats(Box::new(request))
                }
                Calls::Model(heard) => Request::Model(heard.next().await?),
            };
            let message = request.message();
            let format = Format::detect(header_of(message.headers.as_ref(), header::CONTENT_TYPE), &message.payload);
            let tenant = subject::parse_tenant(&message.subject);
            match (tenant, format) {
                (Some(tenant), Ok(format)) => {
                    return Some(ServiceCall { request, tenant, format, bus: self.bus.clone() });
                }
                (None, _) => request.refuse("the subject names no tenant").await,
                (_, Err(error)) => request.refuse(&error.to_string()).await,
            }
        }
    }

    /// Leaves the queue group; calls that were taken can still be answered.
    async fn stop(self) {
        match self.calls {
            Calls::Nats(nats) => drop(nats.1.stop().await),
            Calls::Model(mut heard) => heard.close().await,
        }
    }
}

impl Request {
    fn message(&self) -> &Message {
        match self {
            Self::Nats(request) => &request.message,
            Self::Model(message) => message,
        }
    }

    async fn respond(&self, bus: &Bus, headers: HeaderMap, body: Bytes) -> Result<(), BusError> {
        match self {
            Self::Nats(request) => {
                let sent = request.respond_with_headers(Ok(body), headers).await;
                sent.map_err(|error| BusError::Refused(error.to_string()))
            }
            Self::Model(message) => match &message.reply {
                Some(reply) => bus.publish_core(reply.to_string(), headers, body).await,
                None => Ok(()),
            },
        }
    }

    async fn refuse(&self, why: &str) {
        if let Self::Nats(request) = self {
            let _ = request.respond(Err(ServiceError { code: 400, status: why.to_owned() })).await;
        }
    }
}

/// Sees an answer off, and gives its place free.
async fn told(
    service: &'static str,
    answer: impl Future<Output = Result<(), BusError>>,
    _place: Option<OwnedSemaphorePermit>,
) {
    if let Err(error) = answer.await {
        tracing::debug!(%error, service, "an answer could not be sent; its caller does without");
    }
}

impl ServiceCall {
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The question, read in its own format.
    pub fn question<Q: DeserializeOwned>(&self) -> Result<Q, BusError> {
        Ok(envelope::decode(&self.request.message().payload, self.format)?)
    }

    /// A header of the call.
    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(self.request.message().headers.as_ref(), name)
    }

    /// How long the caller waits from now on, the way here left out; as long as this process would, when it does not say.
    pub fn within(&self) -> Duration {
        let told = self.header(header::BUDGET_MS).and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        told.map_or(self.bus.call_timeout, |told| told.min(self.bus.call_timeout))
    }

    /// Begins the span of answering it.
    pub fn span(&self, name: &'static str) -> Span {
        self.bus.tracer.span(self.trace(), name, Kind::Server).with(key::MESSAGING_SYSTEM, SYSTEM)
    }

    /// The caller's trace.
    pub fn trace(&self) -> Trace {
        Trace::follow(self.header(header::TRACEPARENT), &mut rand::rng())
    }

    /// Answers in the format of the question and ends the call.
    pub async fn answer<A: Serialize>(self, answer: &A) -> Result<(), BusError> {
        let body = envelope::encode(answer, self.format)?;
        self.request.respond(&self.bus, headers_for(self.format), body).await
    }

    /// Sends something to the caller before the answer, in the format of the question.
    pub async fn also<A: Serialize>(&self, piece: &A) -> Result<(), BusError> {
        let Some(reply) = self.request.message().reply.clone() else { return Ok(()) };
        self.bus.publish_core(reply.to_string(), headers_for(self.format), envelope::encode(piece, self.format)?).await
    }

    /// Answers with a problem and ends the call; `$SRV.STATS` counts it as an error.
    pub async fn refuse(self, problem: &Problem) -> Result<(), BusError> {
        let body = envelope::encode(problem, self.format)?;
        let mut headers = headers_for(self.format);
        headers.insert(header::PROBLEM, problem.code.word());
        insert_checked(&mut headers, async_nats::service::NATS_SERVICE_ERROR, &problem.message);
        headers
            .insert(async_nats::service::NATS_SERVICE_ERROR_CODE, HeaderValue::from(u64::from(problem.code.status())));
        self.request.respond(&self.bus, headers, body).await
    }
}
