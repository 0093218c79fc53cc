//! `GET /v1/ws`: many asks over one socket, for apps and pages that stay.
//!
//! A client says `{"type": "auth", "token": …}` unless its upgrade carried `Authorization: Bearer …`, then `ask`, `cancel`,
//! `resume` and `ping`; it is told `ready`, `frame`, `problem` and `pong`. Tokens are not read from the query string.

/// What is said, both ways.
mod message;

/// How often a client may speak, and speak nonsense.
mod manners;

/// What a wish leads to.
mod story;

/// One socket from its opening to its end.
mod session;

use std::sync::Arc;

use axum::{
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::HeaderMap,
    response::Response,
};
use talkfleet_shared::{chat::Problem, error::Code};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    message::Wish,
    session::{Session, Who},
};
use crate::{
    desk::Desk,
    fuzz::{Heard, Refused},
    http::{
        address::ClientAddress,
        caller::{bearer, check_origin},
        error::{ProblemBody, Refusal},
    },
};

/// This face's name in metrics.
const FACE: &str = "ws";

/// The library's own buffers cost 69 KiB a socket; a question fits into this, and a longer one is read in pieces.
const READ_BUFFER_BYTES: usize = 2 * 1024;

/// Frames that leave together are gathered up to here before they are written.
const WRITE_BUFFER_BYTES: usize = 4 * 1024;

/// The most that may lie unwritten: a last frame with its citations is far below it.
const WRITE_BUFFER_BYTES_MAX: usize = 1024 * 1024;

pub(crate) fn router() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(open))
}

/// What a client's text came to; a refusal brings the ref that it can be told under.
pub(crate) fn read(text: &str) -> Result<Heard, (Option<String>, Refused)> {
    match message::parse(text) {
        Ok(Wish::Ask(ask)) => {
            Ok(Heard { asked: Some(ask.asked), reference: Some(ask.reference), idempotency_key: ask.idempotency_key })
        }
        Ok(Wish::Resume { reference, .. }) => Ok(Heard { asked: None, reference, idempotency_key: None }),
        Ok(Wish::Auth { .. } | Wish::Cancel { .. } | Wish::Ping) => {
            Ok(Heard { asked: None, reference: None, idempotency_key: None })
        }
        Err(refused) => {
            let Problem { code, message, .. } = refused.problem;
            Err((refused.reference, (code.status(), code.word(), message)))
        }
    }
}

/// Open a socket
///
/// Many asks over one connection; the messages are described in the AsyncAPI document. A page's origin must be this server's
/// own or listed in `http.allowed_origins`.
#[utoipa::path(
    get, path = "/v1/ws", tag = "chat",
    responses(
        (status = 101, description = "The socket is open"),
        (status = 400, description = "Not a WebSocket handshake", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "The upgrade carried a token that is not valid", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The page's origin is not on the list", body = ProblemBody, content_type = "application/problem+json"),
        (status = "4XX", description = "It was not accepted", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", description = "It failed here; the code says whether to try again", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security((), ("key" = [])),
)]
async fn open(
    State(desk): State<Arc<Desk>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    check_origin(&desk, &headers)?;
    let upgrade = upgrade
        .map_err(|error| Problem::because(Code::BadFrame, format!("This address speaks WebSocket only: {error}.")))?;
    if desk.shutdown().is_asked() {
        return Err(Code::Draining.into());
    }
    let who = match bearer(&headers) {
        Some(token) => Some(Who::new(desk.admit(Some(token), address).await?, token.to_owned())),
        None => {
            desk.admit_stranger(address).await?;
            None
        }
    };
    // A message that is somewhat too long is read whole, so that its sender can be told before the socket closes.
    let message_bytes_read = desk.config().ws.message_bytes_max * 2;
    let opened = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(message_bytes_read)
        .max_frame_size(message_bytes_read)
        .on_upgrade(async move |socket| {
            // Whoever drains this process waits for the task, so that every socket hears its farewell.
            let session = Session::new(desk.clone(), socket, who, address).run();
            let _ = desk.shutdown().spawn(session).await;
        });
    Ok(opened)
}
