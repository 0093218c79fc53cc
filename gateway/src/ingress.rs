//! The face for people with a plain NATS tool: `nats request chat.v1.chat.<tenant> '{"text":"Where is my parcel?"}'`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::StreamExt;
use talkfleet_shared::{
    bus::{BusError, ServiceCall},
    chat::{Answer, FrameBody, Problem},
    error::Code,
    header,
    lifecycle::Shutdown,
    retry::Delays,
};

use crate::{
    auth::{Principal, PrincipalKind},
    desk::{Desk, Submission},
    intake::{self, ChatBody},
};

/// What the header `Talkfleet-Stream` says when every frame is wanted.
const EVERY_FRAME: &str = "frames";

/// Calls that may be under way at once; more wait at the broker, where other gateways take them.
const CALLS_MAX: usize = 1_000;

/// How soon a service that ended is started again.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Answers calls until shutdown. Whoever may publish on a tenant's subject is that tenant: the broker's permissions say so.
pub(crate) async fn serve(desk: Arc<Desk>, shutdown: Shutdown) {
    let mut delays = Delays::new(RESTART.0, RESTART.1);
    while !shutdown.is_asked() {
        if let Err(error) = serve_once(&desk, &shutdown, &mut delays).await {
            tracing::warn!(%error, "the NATS service 'chat' could not be offered; trying again");
        }
        tokio::select! {
            () = shutdown.asked() => return,
            () = tokio::time::sleep(delays.next_delay()) => {}
        }
    }
}

async fn serve_once(desk: &Arc<Desk>, shutdown: &Shutdown, delays: &mut Delays) -> Result<(), BusError> {
    let mut service = desk.bus().serve("chat", "Ask the desk", HashMap::new()).await?;
    delays.reset();
    let places = Arc::new(tokio::sync::Semaphore::new(CALLS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        tokio::select! {
            () = shutdown.asked() => {
                service.stop().await;
                return Ok(());
            }
            call = service.next() => {
                let Some(call) = call else { return Ok(()) };
                let desk = desk.clone();
                shutdown.spawn(async move {
                    if let Err(error) = answer(&desk, call).await {
                        tracing::debug!(%error, "a caller over NATS could not be answered");
                    }
                    drop(place);
                });
            }
        }
    }
}

async fn answer(desk: &Desk, call: ServiceCall) -> Result<(), BusError> {
    let every_frame = call.header(header::STREAM).is_some_and(|wish| wish.eq_ignore_ascii_case(EVERY_FRAME));
    let story = match submission(&call) {
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

fn submission(call: &ServiceCall) -> Result<Submission, Problem> {
    let body: ChatBody = call
        .question()
        .map_err(|error| Problem::because(Code::BadJson, format!("The message is refused: {error}.")))?;
    let asked = body.parse()?;
    let key = call.header(header::REQUEST).or_else(|| call.header(header::MESSAGE_ID));
    Ok(Submission {
        principal: Principal { tenant: call.tenant().clone(), user: None, kind: PrincipalKind::Key },
        conversation: asked.conversation,
        ask: asked.ask,
        budget: asked.budget,
        idempotency_key: key.map(|key| intake::idempotency_key(key.as_bytes())).transpose()?,
        face: "nats",
        trace: call.trace(),
    })
}
