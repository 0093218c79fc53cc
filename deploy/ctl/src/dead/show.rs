//! `talkfleet dead show`: everything that is known about one dead letter.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use talkfleet_shared::{
    bus::{Bus, Dead},
    header,
};

use super::{
    group::{Body, printable},
    row,
};
use crate::connect::Output;

/// Show a dead letter: headers, reason, errors, history, and its body as JSON.
///
/// The history holds what the worker that set it aside saw itself; deliveries that ended in another worker, or with the
/// death of one, are counted but not told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its number, as `list` shows it
    id: u64,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let dead = one(&args.output.connect.bus().await?, args.id).await?;
    match args.output.json {
        true => println!("{}", as_json(&dead)?),
        false => print(&dead)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A dead letter that has to be there.
pub(super) async fn one(bus: &Bus, id: u64) -> Result<Dead> {
    let none = || format!("there is no dead letter {id}; `talkfleet dead list --all` shows those there are");
    bus.dead_letter(id).await?.with_context(none)
}

fn body(dead: &Dead) -> Body {
    Body::of(dead.head.header(header::CONTENT_TYPE), &dead.body)
}

fn as_json(dead: &Dead) -> Result<Value> {
    let head = &dead.head;
    let headers: Map<String, Value> =
        head.headers().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let mut told = json!({
        "attempt": head.header(header::ATTEMPT),
        "worker": head.header(header::WORKER),
        "chain": head.chain(),
        "history": head.history(),
        "headers": headers,
    });
    for part in [serde_json::to_value(row(head))?, serde_json::to_value(body(dead))?] {
        if let (Value::Object(told), Value::Object(part)) = (&mut told, part) {
            told.extend(part);
        }
    }
    Ok(told)
}

fn print(dead: &Dead) -> Result<()> {
    let (head, row) = (&dead.head, row(&dead.head));
    println!("dead letter {}, set aside at {} UTC after {}", row.id, row.stored_at, deliveries(dead));
    println!("  reason       {}", row.reason);
    for (depth, error) in head.chain().iter().skip(1).enumerate() {
        println!("               {}{}", "  ".repeat(depth), printable(error));
    }
    println!("  fingerprint  {}", row.fingerprint);
    println!("  from         {}", printable(head.origin()));
    println!("  set aside by {}", printable(head.header(header::WORKER).unwrap_or("a worker that did not say")));
    if let Some(history) = head.history() {
        println!("\nhistory, as far as that worker saw it (Unix milliseconds)");
        println!("  {}  stored", history.stored_at_ms);
        for attempt in history.attempts {
            let (number, at, ended) = (attempt.attempt, attempt.delivered_at_ms, printable(&attempt.ended));
            println!("  {at}  attempt {number}: {ended} ({})", printable(&attempt.worker));
        }
    }
    println!("\nheaders");
    let told = [header::REASON, header::ORIGIN, header::FINGERPRINT, header::CHAIN, header::HISTORY, header::WORKER];
    for (name, value) in head.headers().into_iter().filter(|(name, _)| !told.contains(name)) {
        println!("  {}: {}", printable(name), printable(value));
    }
    println!("\nbody, {} bytes", dead.body.len());
    match body(dead) {
        Body::Message(value) => println!("{}", printable_lines(&serde_json::to_string_pretty(&value)?)),
        Body::Text(text) => println!("{}", printable_lines(&text)),
        Body::Hex(lines) => lines.iter().for_each(|line| println!("  {line}")),
    }
    Ok(())
}

fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

fn deliveries(dead: &Dead) -> String {
    match dead.head.header(header::ATTEMPT) {
        Some("1") => "1 delivery".to_owned(),
        Some(count) => format!("{} deliveries", printable(count)),
        None => "some deliveries".to_owned(),
    }
}
