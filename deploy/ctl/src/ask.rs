//! `talkfleet ask "…"`: one question over the gateway's SSE face, the answer as it streams in.

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use eventsource_stream::Eventsource;
use futures::StreamExt;
use talkfleet_shared::chat::{Answer, Frame, FrameBody, Kind};

use crate::connect::Connect;

/// Ask a question and watch the answer stream in.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The question, in any language that the desk knows
    text: String,
    /// Go on with an earlier conversation
    #[arg(long)]
    conversation: Option<String>,
    /// Print the final answer as one JSON object instead of streaming it
    #[arg(long)]
    json: bool,
    /// A gateway, as http://host:port
    #[arg(long, env = "TALKFLEET_GATEWAY", value_name = "URL")]
    gateway: Option<String>,
    /// The tenant's API key
    #[arg(long, env = "TALKFLEET_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let ready = args.connect.ready();
    let gateway = args.gateway.or_else(|| ready.as_ref().map(|r| r.gateway.clone()));
    let key = args.api_key.or_else(|| ready.map(|r| r.api_key));
    let (Some(gateway), Some(key)) = (gateway, key) else {
        bail!("no running fleet was found; start one with `talkfleet up`, or give --gateway URL and --api-key KEY");
    };
    let mut body = serde_json::json!({ "text": args.text, "channel": "terminal" });
    if let Some(conversation) = args.conversation {
        body["conversation"] = conversation.into();
    }
    let request = reqwest::Client::new()
        .post(format!("{}/v1/chat", gateway.trim_end_matches('/')))
        .bearer_auth(key)
        .header("accept", "text/event-stream")
        .json(&body);
    let response = request.send().await.with_context(|| format!("the gateway at {gateway} cannot be reached"))?;
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let answer = follow(response, args.json).await?;
    if args.json {
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the frames as they come; the answer when it is whole.
async fn follow(response: reqwest::Response, quiet: bool) -> Result<Answer> {
    let mut events = response.bytes_stream().eventsource();
    while let Some(event) = events.next().await {
        let frame: Frame = serde_json::from_str(&event?.data).context("the gateway sent something that is no frame")?;
        match frame.body {
            FrameBody::Delta { text } if !quiet => {
                print!("{text}");
                std::io::stdout().flush()?;
            }
            FrameBody::Restart if !quiet => println!("\n(another worker took over)"),
            FrameBody::Done { answer } => {
                if !quiet {
                    print_details(&answer);
                }
                return Ok(*answer);
            }
            FrameBody::Failed { problem } | FrameBody::Expired { problem } => {
                bail!("{} ({})", problem.message, problem.code)
            }
            FrameBody::Cancelled { .. } => bail!("the question was cancelled"),
            _ => {}
        }
    }
    Err(anyhow!("the gateway closed the stream before the answer was whole"))
}

fn print_details(answer: &Answer) {
    println!("\n");
    for (number, citation) in answer.citations.iter().enumerate() {
        let link = if citation.url.is_empty() { String::new() } else { format!("{}, ", citation.url) };
        println!("  [{}] {} ({link}score {:.2})", number + 1, citation.title, citation.score);
    }
    let kind = if answer.kind == Kind::Refusal { ", an honest 'I don't know'" } else { "" };
    println!(
        "  intent {} ({:.2}), {}{kind}, {:.0} ms, conversation {}",
        answer.intent.name,
        answer.intent.confidence,
        answer.rung.name(),
        answer.timings.total_ms,
        answer.conversation
    );
}

async fn refusal(response: reqwest::Response) -> anyhow::Error {
    let status = response.status();
    let problem: serde_json::Value = response.json().await.unwrap_or_default();
    match problem["detail"].as_str() {
        Some(detail) => anyhow!("{detail} ({status})"),
        None => anyhow!("the gateway answered {status}"),
    }
}
