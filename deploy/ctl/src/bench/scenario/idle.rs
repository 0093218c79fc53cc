//! What a fleet takes that does nothing: memory and CPU of a gateway and of a worker without models, and how soon `up` is there.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use crate::bench::{
    cost::Watched,
    fleet::{Ground, Layout},
    report::Outcome,
    subject::Bench,
};

/// How long it is watched.
const SECONDS: f64 = 10.0;

/// How long `up` may take to be there or gone: the first start trains the demo's intents.
const UP_WITHIN: Duration = Duration::from_secs(180);

pub(super) async fn run(bench: &mut Bench) -> Result<Outcome> {
    bench.stand_on(Ground { layout: Layout::Apart, ..bench.ground() }).await?;
    let seconds = bench.args.load.seconds.unwrap_or(SECONDS);
    // What starting has left behind is given back within the first seconds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let watched = Watched::begin(bench.processes());
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let costs = watched.end().await;
    let mut outcome = Outcome::default();
    let (mut rss, mut cpu) = (serde_json::Map::new(), serde_json::Map::new());
    for cost in &costs.processes {
        let mib = crate::bench::figures::mib(cost.rss_bytes);
        let cpu_ms_per_s = (cost.cpu_us as f64 / 1e3 / seconds * 10.0).round() / 10.0;
        outcome.found.push(format!("{}: {mib} MiB, {cpu_ms_per_s} ms of CPU a second", cost.name));
        rss.insert(cost.name.clone(), mib.into());
        cpu.insert(cost.name.clone(), cpu_ms_per_s.into());
    }
    outcome.tell("idle_rss_mib", rss);
    outcome.tell("idle_cpu_ms_per_s", cpu);
    // Its own engines, on its own folder, must not share the machine with ours.
    bench.close().await;
    let data = bench.data().join("up");
    let first = up(&data).await?;
    let second = up(&data).await?;
    outcome.tell("up_first_ms", first.as_millis() as u64);
    outcome.tell("up_second_ms", second.as_millis() as u64);
    outcome.found.push(format!(
        "`talkfleet up` is ready after {:.1} s, the next time after {:.1} s",
        first.as_secs_f64(),
        second.as_secs_f64()
    ));
    Ok(outcome)
}

/// Starts `up`, waits until it says that it is ready, and stops it.
async fn up(data: &Path) -> Result<Duration> {
    let ready = data.with_extension("ready.json");
    let _ = std::fs::remove_file(&ready);
    let since = Instant::now();
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["up", "--gateway-set", "http.listen=127.0.0.1:0", "--data"])
        .arg(data)
        .arg("--ready-file")
        .arg(&ready);
    let mut process =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    while !ready.exists() {
        if let Some(status) = process.try_wait()? {
            bail!("`talkfleet up` ended while it started ({status}); try it by hand with --data {}", data.display());
        }
        if since.elapsed() > UP_WITHIN {
            bail!("`talkfleet up` was not ready after {} s", UP_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = since.elapsed();
    let pid = process.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    kill_process(pid.context("`talkfleet up` is gone")?, Signal::TERM)?;
    tokio::time::timeout(UP_WITHIN, process.wait()).await.context("`talkfleet up` did not stop")??;
    Ok(took)
}
