//! Something that is measured beside the desk: its processes, and where it listens.

use std::{
    fs::File,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use talkfleet_shared::id::TenantId;
use tokio::process::{Child, Command};

use crate::{
    bench::{cost::Process, measure::Target},
    engines::Watchdog,
    up::DEMO_TENANT,
};

/// How long it may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Running; ended when dropped.
pub(super) struct Standing {
    /// As reports call it.
    pub(super) name: &'static str,
    pub(super) target: Target,
    running: Vec<Running>,
}

pub(super) struct Running {
    name: String,
    pid: u32,
    // Ends it should this process die; gone before the process id may be given to a stranger.
    _watchdog: Watchdog,
    _process: Child,
}

impl Running {
    /// Starts a program that writes into a log.
    pub(super) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let cannot = || format!("{name} cannot be started");
        let out = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let command = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).kill_on_drop(true);
        let process = command.spawn().with_context(cannot)?;
        let pid = process.id().with_context(cannot)?;
        Ok(Self { name: name.to_owned(), pid, _watchdog: Watchdog::over(pid)?, _process: process })
    }
}

impl Standing {
    /// Waits until it answers a message as it should.
    pub(super) async fn start(
        name: &'static str,
        address: SocketAddr,
        key: &str,
        running: Vec<Running>,
        log: &Path,
    ) -> Result<Self> {
        let target = Target {
            gateways: vec![address],
            key: key.to_owned(),
            tenant: TenantId::parse(DEMO_TENANT)?,
            broker: None,
        };
        let standing = Self { name, target, running };
        let until = Instant::now() + READY_WITHIN;
        while !standing.answers().await {
            if Instant::now() > until {
                bail!("{name} did not answer within {} s; its log is {}", READY_WITHIN.as_secs(), log.display());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(standing)
    }

    async fn answers(&self) -> bool {
        let Some(address) = self.target.gateways.first() else { return false };
        let body = serde_json::json!({ "text": "Where is my parcel?", "conversation": "first" });
        let asked = reqwest::Client::new().post(format!("http://{address}/v1/chat")).bearer_auth(&self.target.key);
        let Ok(answered) = asked.json(&body).timeout(Duration::from_secs(2)).send().await else { return false };
        let is_ok = answered.status().is_success();
        let told = answered.json::<serde_json::Value>().await.unwrap_or_default();
        is_ok && told["text"].as_str().is_some_and(|text| !text.is_empty())
    }

    pub(super) fn processes(&self) -> Vec<Process> {
        self.running.iter().map(|one| Process::new(one.name.clone(), one.pid)).collect()
    }
}
