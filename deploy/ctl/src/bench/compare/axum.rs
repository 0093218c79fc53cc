//! A bare axum handler in a process of its own, which reads a message and answers at once: what HTTP alone costs.

use std::process::ExitCode;

use anyhow::Result;
use axum::{Json, Router, http::HeaderMap, routing::post};
use serde::Deserialize;
use serde_json::{Value, json};

/// The hidden command that serves it.
pub(crate) const COMMAND: &str = "bench-axum";

/// What a message holds, of which the handler needs nothing but that it can be read.
#[derive(Deserialize)]
struct Message {
    text: String,
    conversation: Option<String>,
}

/// Serves on a free port, which is the first line on standard output.
pub(in crate::bench) async fn serve() -> Result<ExitCode> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    let app = Router::new().route("/v1/chat", post(answer));
    axum::serve(listener, app).await?;
    Ok(ExitCode::SUCCESS)
}

async fn answer(headers: HeaderMap, Json(message): Json<Message>) -> Json<Value> {
    let has_key = headers.contains_key("authorization");
    let text = if message.text.is_empty() || !has_key { "" } else { "It is on its way." };
    Json(json!({ "text": text, "conversation": message.conversation, "kind": "answer" }))
}
