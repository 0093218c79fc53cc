//! What lies around a request: the conversation that it belongs to, and the visitor of the chat page who began it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Serialize;
use talkfleet_shared::{
    chat::HistoryReply,
    id::{ConversationId, UserId},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    address::ClientAddress,
    caller::{self, Caller, Named},
    contract,
    error::{ProblemBody, Refusal},
};
use crate::{desk::Desk, intake};

pub(super) fn router() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(history)).routes(routes!(visit))
}

/// Look back
///
/// The turns of a conversation, oldest first.
#[utoipa::path(
    get, path = "/v1/conversations/{id}", tag = "conversations", params(("id" = inline(contract::Id), Path, example = "talk-1")),
    responses(
        (status = 200, description = "Its turns", body = contract::HistoryReply),
        (status = 404, description = "No such conversation, or not yours", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The archive cannot be reached", body = ProblemBody, content_type = "application/problem+json"),
        (status = "4XX", description = "It was not accepted", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", description = "It failed here; the code says whether to try again", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
async fn history(
    State(desk): State<Arc<Desk>>,
    Caller(principal): Caller,
    Named(id): Named,
) -> Result<Json<HistoryReply>, Refusal> {
    let conversation = intake::id("id", &id, ConversationId::parse)?;
    Ok(Json(desk.history(&principal, &conversation).await?))
}

/// A visitor with their token.
#[derive(Debug, Serialize, ToSchema)]
struct Visitor {
    /// Sent as `Authorization: Bearer …` like a key; good for the visitor's own conversations only.
    token: String,
    #[schema(value_type = String)]
    user: UserId,
    /// Unix milliseconds.
    expires_at: u64,
}

/// Visit the chat page
///
/// For pages served from here or listed in `http.allowed_origins`; only when `web.tenant` is set.
#[utoipa::path(
    post, path = "/v1/visitors", tag = "conversations",
    responses(
        (status = 201, description = "A token for one anonymous visitor", body = Visitor),
        (status = 403, description = "The page's origin is not on the list", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no chat page here", body = ProblemBody, content_type = "application/problem+json"),
        (status = "4XX", description = "It was not accepted", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", description = "It failed here; the code says whether to try again", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn visit(
    State(desk): State<Arc<Desk>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Visitor>), Refusal> {
    caller::check_origin(&desk, &headers)?;
    let (user, token, expires_at) = desk.admit_visitor(address).await?;
    Ok((StatusCode::CREATED, Json(Visitor { token, user, expires_at })))
}
