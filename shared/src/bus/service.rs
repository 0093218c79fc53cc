//! Roles as services: asked over a queue group, discovered and counted by the NATS services protocol (`$SRV`, ADR-32).

use std::{collections::HashMap, time::Duration};

use async_nats::{
    HeaderMap, HeaderValue,
    service::{ServiceExt, error::Error as ServiceError},
};
use futures::StreamExt;
use serde::{Serialize, de::DeserializeOwned};

use super::{Bus, BusError, header_of, headers_for, insert_checked};
use crate::{
    chat::Problem,
    envelope::{self, Format},
    header,
    id::TenantId,
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

/// A service that this process takes part in; its calls come one by one.
pub struct Service {
    endpoint: async_nats::service::endpoint::Endpoint,
    service: async_nats::service::Service,
    bus: Bus,
}

/// One call of a service.
pub struct ServiceCall {
    request: async_nats::service::Request,
    tenant: TenantId,
    format: Format,
    bus: Bus,
}

impl Bus {
    /// Takes part in the service `what` for every tenant (`chat.v1.<what>.*`), within its queue group.
    pub async fn serve(
        &self,
        what: &'static str,
        description: &str,
        metadata: HashMap<String, String>,
    ) -> Result<Service, BusError> {
        let refused = |error: &dyn std::fmt::Display| BusError::Refused(error.to_string());
        let service = self
            .client
            .service_builder()
            .description(description)
            .metadata(metadata)
            .queue_group(what)
            .start(format!("talkfleet-{what}"), env!("CARGO_PKG_VERSION"))
            .await
            .map_err(|error| refused(&error))?;
        let endpoint = service
            .endpoint_builder()
            .name(what)
            .queue_group(what)
            .add(subject::every_tenant(what))
            .await
            .map_err(|error| refused(&error))?;
        self.flush().await?;
        Ok(Service { endpoint, service, bus: self.clone() })
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
        let mut headers = headers_for(Format::MessagePack);
        headers.insert(header::TRACEPARENT, trace.to_string());
        let request =
            async_nats::Request::new().headers(headers).payload(body).timeout(Some(within.min(self.call_timeout)));
        let reply = self.client.send_request(subject, request).await.map_err(|error| match error.kind() {
            async_nats::RequestErrorKind::NoResponders => CallError::Nobody,
            async_nats::RequestErrorKind::TimedOut => CallError::Timeout,
            _ => CallError::Bus(BusError::Refused(error.to_string())),
        })?;
        read_reply(reply.headers.as_ref(), &reply.payload)
    }
}

fn read_reply<A: DeserializeOwned>(headers: Option<&HeaderMap>, body: &[u8]) -> Result<A, CallError> {
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
    /// The next call; one whose subject names no tenant, or in no format of ours, is answered and skipped.
    pub async fn next(&mut self) -> Option<ServiceCall> {
        loop {
            let request = self.endpoint.next().await?;
            let message = &request.message;
            let format = Format::detect(header_of(message.headers.as_ref(), header::CONTENT_TYPE), &message.payload);
            let tenant = subject::parse_tenant(&message.subject);
            match (tenant, format) {
                (Some(tenant), Ok(format)) => {
                    return Some(ServiceCall { request, tenant, format, bus: self.bus.clone() });
                }
                (None, _) => refuse(&request, "the subject names no tenant").await,
                (_, Err(error)) => refuse(&request, &error.to_string()).await,
            }
        }
    }

    /// Leaves the queue group; calls that were taken can still be answered.
    pub async fn stop(self) {
        let _ = self.service.stop().await;
    }
}

async fn refuse(request: &async_nats::service::Request, why: &str) {
    let _ = request.respond(Err(ServiceError { code: 400, status: why.to_owned() })).await;
}

impl ServiceCall {
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The question, read in its own format.
    pub fn question<Q: DeserializeOwned>(&self) -> Result<Q, BusError> {
        Ok(envelope::decode(&self.request.message.payload, self.format)?)
    }

    /// A header of the call.
    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(self.request.message.headers.as_ref(), name)
    }

    /// The caller's trace.
    pub fn trace(&self) -> Trace {
        Trace::follow(self.header(header::TRACEPARENT), &mut rand::rng())
    }

    /// Answers in the format of the question and ends the call.
    pub async fn answer<A: Serialize>(self, answer: &A) -> Result<(), BusError> {
        let body = envelope::encode(answer, self.format)?;
        let sent = self.request.respond_with_headers(Ok(body), headers_for(self.format)).await;
        sent.map_err(|error| BusError::Refused(error.to_string()))
    }

    /// Sends something to the caller before the answer, in the format of the question.
    pub async fn also<A: Serialize>(&self, piece: &A) -> Result<(), BusError> {
        let Some(reply) = self.request.message.reply.clone() else { return Ok(()) };
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
        let sent = self.request.respond_with_headers(Ok(body), headers).await;
        sent.map_err(|error| BusError::Refused(error.to_string()))
    }
}
