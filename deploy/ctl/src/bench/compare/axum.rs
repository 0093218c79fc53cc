//! A bare axum handler in a process of its own, which reads a message and answers at once: what HTTP alone costs.

use std::{net::SocketAddr, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use axum::{Json, Router, http::HeaderMap, routing::post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use super::standing::{Running, Standing};
use crate::members::ports;

/// The hidden command that serves it.
pub(crate) const COMMAND: &str = "bench-axum";

/// What it calls itself in reports.
const NAME: &str = "axum";

/// Where the hidden command listens.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    listen: SocketAddr,
}

/// What a message holds, of which the handler needs nothing but that it can be read.
#[derive(Deserialize)]
struct Message {
    text: String,
    conversation: Option<String>,
}

/// Serves until the process ends.
pub(in crate::bench) async fn serve(args: Args) -> Result<ExitCode> {
    let listener = tokio::net::TcpListener::bind(args.listen).await.with_context(|| args.listen.to_string())?;
    axum::serve(listener, Router::new().route("/v1/chat", post(answer))).await?;
    Ok(ExitCode::SUCCESS)
}

async fn answer(headers: HeaderMap, Json(message): Json<Message>) -> Json<Value> {
    let is_known = headers.contains_key("authorization") && !message.text.is_empty();
    let text = if is_known { "It is on its way." } else { "" };
    Json(json!({ "text": text, "conversation": message.conversation, "kind": "answer" }))
}

/// Starts it as a process beside ours.
pub(super) async fn start(data: &Path) -> Result<Standing> {
    let address = SocketAddr::from(([127, 0, 0, 1], ports::free().await?));
    let log = data.join("axum.log");
    let mut command = Command::new(std::env::current_exe()?);
    let running = Running::start(NAME, command.arg(COMMAND).arg(address.to_string()), &log)?;
    Standing::start(NAME, address, "none", vec![running], &log).await
}
