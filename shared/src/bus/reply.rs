//! Frames to a waiting client, and the two wishes that reach a running turn from outside: stop, and tell me the rest.

use async_nats::{HeaderMap, Message, StatusCode};

use super::{Bus, BusError, Lane, bring_home, header_of, headers_for, insert_checked, wire::Heard};
use crate::{
    chat::{Frame, FrameBody, Position, Problem},
    envelope::{self, Format},
    error::Code,
    header,
    id::{GatewayId, RequestId, TenantId, UserId},
    subject, topology,
};

/// How long a client waits after nobody was there, in milliseconds: as long as a worker takes to start.
const NOBODY_RETRY_MS: u64 = 1_000;

/// Messages of a subscription under the subjects of the live fleet.
pub(super) struct Inbound {
    heard: Heard,
    lane: Lane,
}

impl Inbound {
    pub(super) async fn next(&mut self) -> Option<Message> {
        let mut message = self.heard.next().await?;
        bring_home(&self.lane, &mut message.subject);
        Some(message)
    }

    /// Hears no more from here on; what is under way still comes by [`Inbound::next`], then None.
    pub(super) async fn close(&mut self) {
        self.heard.close().await;
    }
}

/// Everything that is said to one gateway.
pub struct Mailbox(Inbound);

impl Mailbox {
    /// The next frame; undecodable ones are skipped. None when the subscription has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        self.next_addressed().await.map(|(_, frame)| frame)
    }

    /// The next frame with the last token of the subject that it was sent to: clients of one request may have several.
    pub async fn next_addressed(&mut self) -> Option<(RequestId, Frame)> {
        loop {
            let message = self.0.next().await?;
            let Some(address) = subject::parse_reply(&message.subject) else { continue };
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                let frame = nobody_answers(&address);
                return Some((address, frame));
            }
            let format = Format::detect(header_of(message.headers.as_ref(), header::CONTENT_TYPE), &message.payload);
            match format.and_then(|format| envelope::decode_large(&message.payload, format)) {
                Ok(frame) => return Some((address, frame)),
                Err(error) => tracing::warn!(%error, "a reply was no frame"),
            }
        }
    }
}

/// Wishes to stop, as they come in.
pub struct Cancels(Inbound);

impl Cancels {
    /// The next wish: which request, and on whose behalf when it was a customer's; without one the tenant itself wishes it.
    pub async fn next(&mut self) -> Option<(TenantId, RequestId, Option<UserId>)> {
        loop {
            let message = self.0.next().await?;
            if let Some((tenant, request)) = subject::parse_request(&message.subject) {
                return Some((tenant, request, user_of(message.headers.as_ref())));
            }
        }
    }
}

/// Somebody wants the frames of a request that may be running here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeRequest {
    pub tenant: TenantId,
    pub request: RequestId,
    /// On whose behalf: only this user's requests are found. None speaks for the tenant, to whom all of them belong.
    pub user: Option<UserId>,
    pub after: Position,
    /// Where the frames shall go.
    pub reply_to: String,
}

/// Wishes to resume, as they come in.
pub struct Resumes(Inbound);

impl Resumes {
    pub async fn next(&mut self) -> Option<ResumeRequest> {
        loop {
            let message = self.0.next().await?;
            let headers = message.headers.as_ref();
            let Some((tenant, request)) = subject::parse_request(&message.subject) else { continue };
            let Some(reply_to) = header_of(headers, header::REPLY_TO).filter(|to| subject::is_reply(to)) else {
                continue;
            };
            let after =
                std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
            return Some(ResumeRequest {
                tenant,
                request,
                user: user_of(headers),
                after,
                reply_to: reply_to.to_owned(),
            });
        }
    }
}

impl Bus {
    /// Opens a gateway's mailbox; the broker knows of it when this returns.
    pub async fn mailbox(&self, gateway: &GatewayId) -> Result<Mailbox, BusError> {
        self.subscribe(subject::replies(gateway), None).await.map(Mailbox)
    }

    /// Sends a frame; whoever is gone does not hear it, and asks for it later.
    pub async fn emit(&self, reply_to: &str, frame: &Frame) -> Result<(), BusError> {
        let body = envelope::encode(frame, Format::MessagePack)?;
        self.publish_core(reply_to.to_owned(), headers_for(Format::MessagePack), body).await
    }

    /// Wishes that a request be stopped; kept for ten minutes for a worker that takes it up later.
    pub async fn cancel(&self, tenant: &TenantId, request: &RequestId, user: Option<&UserId>) -> Result<(), BusError> {
        self.publish_stored(subject::cancel(tenant, request), on_behalf_of(user), "".into()).await.map(drop)
    }

    /// Whether somebody wished that a request be stopped, and on whose behalf.
    pub async fn is_cancelled(
        &self,
        tenant: &TenantId,
        request: &RequestId,
    ) -> Result<Option<Option<UserId>>, BusError> {
        let subject = self.lane.subject(subject::cancel(tenant, request));
        let wish = self.last(topology::CANCELS, subject).await?;
        Ok(wish.map(|wish| user_of(Some(&wish.headers))))
    }

    /// Wishes to stop, for every tenant.
    pub async fn cancels(&self) -> Result<Cancels, BusError> {
        self.subscribe(subject::every_cancel(), None).await.map(Cancels)
    }

    /// Asks whoever runs a request to send its frames after `after` to `reply_to`, now and until it ends.
    ///
    /// The owner answers at once with `accepted` (seq 0), even when nothing was said yet: it tells a running turn from a
    /// made-up id, and names the conversation.
    pub async fn resume(&self, wish: &ResumeRequest) -> Result<(), BusError> {
        let mut headers = on_behalf_of(wish.user.as_ref());
        insert_checked(&mut headers, header::REPLY_TO, &wish.reply_to);
        self.publish_core(subject::resume(&wish.tenant, &wish.request), headers, wish.after.to_string().into()).await
    }

    /// Wishes to resume, for every tenant.
    pub async fn resumes(&self) -> Result<Resumes, BusError> {
        self.subscribe(subject::every_resume(), None).await.map(Resumes)
    }

    /// Hears a subject, alone or as one of a group; the broker knows of it when this returns.
    pub(super) async fn subscribe(&self, subject: String, group: Option<&str>) -> Result<Inbound, BusError> {
        let heard = self.wire.subscribe(self.lane.subject(subject), group).await?;
        Ok(Inbound { heard, lane: self.lane.clone() })
    }
}

/// What becomes of an ask that went past the queue when no worker listens: its only frame.
fn nobody_answers(request: &RequestId) -> Frame {
    let problem = Problem::new(Code::WorkerAway).retry_after_ms(NOBODY_RETRY_MS);
    Frame { request: request.clone(), attempt: 1, seq: 1, body: FrameBody::Failed { problem } }
}

fn on_behalf_of(user: Option<&UserId>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(user) = user {
        headers.insert(header::USER, user.as_str());
    }
    headers
}

fn user_of(headers: Option<&HeaderMap>) -> Option<UserId> {
    header_of(headers, header::USER).and_then(|user| UserId::parse(user).ok())
}
