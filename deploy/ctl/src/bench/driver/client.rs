//! One process of the load generator: an order on standard input, `ready`, `go`, and the tally on standard output.

use std::{
    io::{BufRead, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Driver, Order};
use crate::{bench::tally::Tally, eval::meter};

/// What it says once its connections are open and warm.
pub(in crate::bench) const READY: &str = "ready";

/// Runs until the tally is told.
pub(crate) async fn run() -> Result<ExitCode> {
    more_descriptors();
    // A thread of its own, with a runtime that wakes no other: what it costs is taken from what is measured.
    tokio::task::spawn_blocking(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, obey())
    })
    .await??;
    Ok(ExitCode::SUCCESS)
}

async fn obey() -> Result<()> {
    let order: Order = serde_json::from_str(&heard()?).context("the order cannot be read")?;
    let (seed, load, warm_up) = (order.seed, order.load, order.warm_up);
    let driver = Driver::open(order).await?;
    if let Some(warm_up) = warm_up {
        driver.drive(warm_up, !seed).await?;
    }
    say(READY)?;
    heard()?;
    let before = meter::process_seconds();
    let tally = driver.drive(load, seed).await?;
    let cpu_us = ((meter::process_seconds() - before) * 1e6) as u64;
    say(&serde_json::to_string(&Tally { cpu_us, ..tally })?)
}

fn heard() -> Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line)
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// As many connections as the system lets this process and those that it starts have.
pub(in crate::bench) fn more_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // It stays as it is where that is not allowed; connections that cannot be opened are counted.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
