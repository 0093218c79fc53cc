//! What a wish leads to, as a stream of things to tell: the frames of an answer, or the problem that stood in its way.

use std::{net::IpAddr, sync::Arc};

use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use talkfleet_shared::{
    chat::{Position, Problem},
    id::RequestId,
    telemetry::Trace,
};

use super::{
    FACE,
    message::{AskWish, Ref, Told},
};
use crate::{
    admit::Lane,
    auth::Principal,
    desk::{Desk, Frames, Submission},
    intake::Asked,
};

/// An ask and its answer.
pub(super) fn ask(
    desk: Arc<Desk>,
    principal: Principal,
    address: Option<IpAddr>,
    wish: AskWish,
) -> BoxStream<'static, Told> {
    let AskWish { reference, asked: Asked { conversation, ask, budget }, idempotency_key } = wish;
    let trace = Trace::start(&mut rand::rng());
    let submission = Submission {
        principal,
        address,
        conversation,
        ask,
        budget,
        idempotency_key,
        lane: Lane::Interactive,
        face: FACE,
        last_only: false,
        trace,
    };
    let begun = async move {
        match desk.submit(submission).await {
            Ok(story) => frames(Some(reference), story.request, story.frames),
            Err(problem) => only(Some(reference), None, problem),
        }
    };
    begun.flatten_stream().boxed()
}

/// The rest of an answer.
pub(super) fn resume(
    desk: Arc<Desk>,
    principal: Principal,
    request: RequestId,
    after: Position,
    reference: Option<Ref>,
) -> BoxStream<'static, Told> {
    let begun = async move {
        match desk.resume(&principal, &request, after).await {
            Ok(rest) => frames(reference, request, rest),
            Err(problem) => only(reference, Some(request), problem),
        }
    };
    begun.flatten_stream().boxed()
}

/// A stopped request ends with its own frame; there is something to tell only when it could not be stopped.
pub(super) fn cancel(desk: Arc<Desk>, principal: Principal, request: RequestId) -> BoxStream<'static, Told> {
    let done = async move {
        match desk.cancel(&principal, &request).await {
            Ok(()) => stream::empty().boxed(),
            Err(problem) => only(None, Some(request), problem),
        }
    };
    done.flatten_stream().boxed()
}

fn frames(reference: Option<Ref>, request: RequestId, mut frames: Frames) -> BoxStream<'static, Told> {
    let told = async_stream::stream! {
        while let Some(frame) = frames.next().await {
            yield Told::Frame { reference: reference.clone(), frame };
        }
        if let Some(problem) = frames.cut() {
            yield Told::Problem { reference, request: Some(request), problem };
        }
    };
    told.boxed()
}

fn only(reference: Option<Ref>, request: Option<RequestId>, problem: Problem) -> BoxStream<'static, Told> {
    stream::iter([Told::Problem { reference, request, problem }]).boxed()
}
