//! `talkfleet topology`: what the broker should hold, what it holds, and making it so.

use std::{num::NonZero, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use talkfleet_shared::{
    bus::{Change, Lane, SHADOW_USER, fence},
    lifecycle::{self, Shutdown},
    topology::{self, Scale},
};

use crate::{
    audit::{Deed, noted},
    broker::{self, Members},
    connect::{Connect, Output},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the streams, consumers and buckets as they should be
    Show {
        #[command(flatten)]
        lane: InLane,
        #[command(flatten)]
        output: Output,
    },
    /// Tell what differs at the broker; exit code 1 when something does
    Diff {
        #[command(flatten)]
        lane: InLane,
        #[command(flatten)]
        output: Output,
    },
    /// Create and update until the broker agrees
    Apply {
        #[command(flatten)]
        lane: InLane,
        /// Do it again and again, so that a stream or consumer that somebody deleted comes back: where permissions leave
        /// that to the operator, somebody has to
        #[arg(long, value_name = "SECONDS")]
        every: Option<NonZero<u32>>,
        #[command(flatten)]
        output: Output,
    },
    /// Print every user of the broker with what it may do, for nats-server's configuration
    Permissions {
        #[command(flatten)]
        members: Members,
        /// Users with passwords instead of NKEYs; keys.conf then holds passwords, plain or as bcrypt
        #[arg(long)]
        passwords: bool,
        /// Print the rights alone, as JSON, for `nsc` and its like
        #[arg(long, conflicts_with = "passwords")]
        json: bool,
    },
    /// Make an NKEY for every user of the broker that has none yet: seeds for the processes, keys.conf for the broker
    Keys {
        /// The folder of seeds and of keys.conf
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        #[command(flatten)]
        members: Members,
        /// Make another key for this user, to be repeated
        #[arg(long, value_name = "USER")]
        renew: Vec<String>,
    },
    /// Print the broker's user for a replay's workers, for nats-server's configuration
    Fence,
    /// Remove the streams of a replay's lane with all that lies in them
    Remove {
        /// The lane
        #[arg(long, value_name = "NAME")]
        lane: String,
        #[command(flatten)]
        connect: Connect,
    },
}

/// The user of a replay's workers, as nats-server's configuration takes it.
fn print_fence() -> Result<ExitCode> {
    let permissions = serde_json::to_string_pretty(&fence())?;
    println!("{{ user: \"{SHADOW_USER}\", password: \"…\", permissions: {permissions} }}");
    Ok(ExitCode::SUCCESS)
}

/// Whose streams.
#[derive(Debug, clap::Args)]
pub(crate) struct InLane {
    /// The lane of a replay; without it the live fleet
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    lane: String,
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Show { lane: InLane { lane }, output: Output { json, connect } } => {
            show(&Lane::parse(&lane).with_context(|| format!("--lane '{lane}'"))?, scale(&connect), json)
        }
        Command::Diff { lane: InLane { lane }, output: Output { json, connect } } => {
            let changes = connect.bus_in(&lane).await?.topology_diff(scale(&connect)).await?;
            print(&changes, json, "would ")?;
            Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Apply { lane: InLane { lane }, every: Some(seconds), output: Output { json, connect } } => {
            keep(&connect, &lane, Duration::from_secs(seconds.get().into()), json).await
        }
        Command::Apply { lane: InLane { lane }, every: None, output: Output { json, connect } } => {
            let changes = apply(&connect, &lane).await?;
            print(&changes, json, "")?;
            let stuck = changes.iter().any(|change| matches!(change, Change::Conflict { .. }));
            Ok(if stuck { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Command::Permissions { members, passwords, json } => broker::print(&members, passwords, json),
        Command::Keys { dir, members, renew } => broker::keys(&dir, &members, &renew),
        Command::Fence => print_fence(),
        Command::Remove { lane, connect } => {
            let remove = async { Ok(connect.bus_in(&lane).await?.topology_remove().await?) };
            noted(&connect, Deed::new("topology.remove").on(name_of(&lane)), remove).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn apply(connect: &Connect, lane: &str) -> Result<Vec<Change>> {
    let apply = async { Ok(connect.bus_in(lane).await?.topology_apply(scale(connect)).await?) };
    let deed = Deed::new("topology.apply").on(name_of(lane)).that_makes_the_log();
    noted(connect, deed, apply).await
}

/// Applies the topology until a signal comes; what stands in the way is told and tried again.
async fn keep(connect: &Connect, lane: &str, every: Duration, json: bool) -> Result<ExitCode> {
    let bus = connect.bus_in(lane).await?;
    let shutdown = Shutdown::new();
    lifecycle::on_signals(shutdown.clone())?;
    while !shutdown.is_asked() {
        // Looked at first: what changes nothing is not worth a note.
        match bus.topology_diff(scale(connect)).await {
            Ok(changes) if changes.is_empty() => {}
            Ok(_) => match apply(connect, lane).await {
                Ok(changes) => print(&changes, json, "")?,
                Err(error) => eprintln!("talkfleet: {error:#}; trying again"),
            },
            Err(error) => eprintln!("talkfleet: {error}; trying again"),
        }
        tokio::select! {
            () = shutdown.asked() => {}
            () = tokio::time::sleep(every) => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn name_of(lane: &str) -> String {
    if lane.is_empty() { "the live fleet".to_owned() } else { format!("lane {lane}") }
}

fn scale(connect: &Connect) -> Scale {
    Scale { replicas: connect.replicas, ..Scale::default() }
}

fn show(lane: &Lane, scale: Scale, json: bool) -> Result<ExitCode> {
    let (streams, consumers) = (topology::streams_of(lane, scale), topology::consumers_of(lane, scale));
    let buckets: Vec<String> = topology::buckets_of(lane, scale).into_iter().map(|bucket| bucket.bucket).collect();
    let objects: Vec<String> = topology::object_stores_of(lane, scale).into_iter().map(|store| store.bucket).collect();
    if json {
        let consumers: Vec<_> = consumers.iter().map(|(stream, config)| serde_json::json!({ "stream": stream, "name": config.durable_name, "config": config })).collect();
        println!(
            "{}",
            serde_json::json!({ "streams": streams, "consumers": consumers, "buckets": buckets, "object_stores": objects })
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<12} {:<58} WHAT", "STREAM", "SUBJECTS");
    for stream in streams {
        println!("{:<12} {:<58} {}", stream.name, stream.subjects.join(" "), stream.description.unwrap_or_default());
    }
    println!("\n{:<12} CONSUMER", "STREAM");
    for (stream, consumer) in consumers {
        println!("{:<12} {}", lane.stream(stream), consumer.durable_name.unwrap_or_default());
    }
    println!("\nbuckets: {}\nobject stores: {}", buckets.join(", "), objects.join(", "));
    Ok(ExitCode::SUCCESS)
}

fn print(changes: &[Change], json: bool, mood: &str) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(changes)?);
        return Ok(());
    }
    if changes.is_empty() {
        println!("the broker agrees with the topology");
    }
    for change in changes {
        println!("{}", line(change, mood));
    }
    Ok(())
}

/// One change as a sentence.
pub(crate) fn line(change: &Change, mood: &str) -> String {
    match change {
        Change::Create { what, name } => format!("{mood}create {what} {name}"),
        Change::Update { what, name, differences } => format!("{mood}update {what} {name}: {}", differences.join("; ")),
        Change::Conflict { what, name, differences } => format!(
            "cannot change {what} {name} in place: {}; back it up, delete it and apply again",
            differences.join("; ")
        ),
    }
}
