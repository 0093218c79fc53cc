//! The face for people with a plain NATS tool: `nats request chat.v1.chat.<tenant> '{"text":"Where is my parcel?"}'`.

use std::sync::Arc;

use futures::StreamExt;
use talkfleet_shared::{
    bus::{BusError, Offer, ServiceCall},
    chat::{Answer, FrameBody, Problem},
    error::Code,
    header,
    lifecycle::Shutdown,
    release::FOLLOWS,
};

use crate::{
    admit::Lane,
    auth::Principal,
    desk::{Desk, Submission},
    intake::{self, ChatBody},
};

/// What the header `Talkfleet-Stream` says when every frame is wanted.
const EVERY_FRAME: &str = "frames";

/// How gateways are found by `$SRV`.
pub const FACE: &str = "chat";

/// Calls that may be under way at once.
const CALLS_MAX: usize = 1_000;

/// Answers calls until shutdown. Whoever may publish on a tenant's subject is that tenant: the broker's permissions say so.
pub(crate) async fn serve(desk: Arc<Desk>, shutdown: Shutdown) {
    let metadata = [FOLLOWS.map(str::to_owned).into()].into();
    let offer = Offer { what: FACE, description: "Ask the desk", metadata, calls_max: CALLS_MAX };
    desk.bus().serve(offer, &shutdown, |call| answer(desk.clone(), call)).await;
}

async fn answer(desk: Arc<Desk>, call: ServiceCall) -> Result<(), BusError> {
    let every_frame = call.header(header::STREAM).is_some_and(|wish| wish.eq_ignore_ascii_case(EVERY_FRAME));
    let story = match submission(&call, !every_frame) {
        Ok(submission) => desk.submit(submission).await,
        Err(problem) => Err(problem),
    };
    let mut frames = match story {
        Ok(story) => story.frames,
        Err(problem) => return call.refuse(&problem).await,
    };
    while let Some(frame) = frames.next().await {
        if every_frame && !frame.body.is_last() {
            call.also(&frame).await?;
            continue;
        }
        if every_frame {
            return call.answer(&frame).await;
        }
        match frame.body {
            FrameBody::Done { answer } => return call.answer::<Answer>(&answer).await,
            FrameBody::Failed { problem } | FrameBody::Expired { problem } => return call.refuse(&problem).await,
            FrameBody::Cancelled { .. } => return call.refuse(&Problem::new(Code::Cancelled)).await,
            _ => {}
        }
    }
    call.refuse(&frames.cut().unwrap_or_else(|| Problem::new(Code::Internal))).await
}

fn submission(call: &ServiceCall, last_only: bool) -> Result<Submission, Problem> {
    let body: ChatBody = call
        .question()
        .map_err(|error| Problem::because(Code::BadJson, format!("The message is refused: {error}.")))?;
    let asked = body.parse()?;
    let key = call.header(header::REQUEST).or_else(|| call.header(header::MESSAGE_ID));
    Ok(Submission {
        principal: Principal::of_key(call.tenant().clone()),
        address: None,
        conversation: asked.conversation,
        ask: asked.ask,
        budget: asked.budget,
        idempotency_key: key.map(|key| intake::idempotency_key(key.as_bytes())).transpose()?,
        lane: Lane::named(call.header(header::PRIORITY)),
        face: "nats",
        last_only,
        trace: call.trace(),
    })
}
