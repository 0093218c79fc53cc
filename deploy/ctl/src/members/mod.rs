//! Gateways and workers as processes under a supervisor, which brings back what died as an orchestrator would.

/// Ports for what is started here.
pub(crate) mod ports;

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::AbortHandle;

use crate::engines::Watchdog;

/// How long after a death the supervisor starts a process again.
const RESTART_AFTER: Duration = Duration::from_millis(300);

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often those that start are asked whether they are ready.
const READY_EVERY: Duration = Duration::from_millis(200);

/// What a process plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Gateway,
    /// Owns turns.
    Responder,
    /// Classifies and searches.
    Thinker,
    Archivist,
    /// Every role in one.
    Worker,
}

/// One process that is kept alive.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) part: Part,
    /// Its admin address.
    pub(crate) admin: String,
    program: PathBuf,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    state: Mutex<State>,
    deaths: AtomicU32,
}

#[derive(Default)]
struct State {
    running: Option<(Child, Watchdog)>,
    died: Option<Instant>,
    /// Nobody brings it back while this is set.
    held_down: bool,
    last_exit: Option<ExitStatus>,
}

/// Everything that is under the supervisor; ended when dropped.
pub(crate) struct Members {
    all: Arc<Vec<Member>>,
    supervisor: AbortHandle,
}

impl Member {
    pub(crate) fn new(
        name: &str,
        part: Part,
        admin: String,
        program: PathBuf,
        args: Vec<String>,
        log: PathBuf,
    ) -> Self {
        Self {
            name: name.to_owned(),
            part,
            admin,
            program,
            args,
            environment: Vec::new(),
            log,
            state: Mutex::default(),
            deaths: AtomicU32::new(0),
        }
    }

    pub(crate) fn environment(mut self, pairs: &[(String, String)]) -> Self {
        self.environment.extend(pairs.iter().cloned());
        self
    }

    /// Nobody starts it until [`Member::release`].
    pub(crate) fn resting(self) -> Self {
        self.state().held_down = true;
        self
    }

    /// SIGTERM, and nobody brings it back until [`Member::release`].
    pub(crate) fn retire(&self) {
        self.state().held_down = true;
        self.signal(Signal::TERM);
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        if let Some((child, _)) = self.state().running.as_mut() {
            // It is reaped by the supervisor, which also notes the death; one that has gone already is fine.
            let _ = child.kill();
        }
    }

    /// `kill -9`, and nobody brings it back until [`Member::release`].
    pub(crate) fn hold_down(&self) {
        self.state().held_down = true;
        self.kill();
    }

    pub(crate) fn release(&self) {
        self.state().held_down = false;
    }

    /// SIGSTOP, SIGCONT, SIGTERM.
    pub(crate) fn signal(&self, signal: Signal) {
        let state = self.state();
        let pid = state.running.as_ref().and_then(|(child, _)| i32::try_from(child.id()).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Our own child, not yet reaped; gone already is fine.
            let _ = kill_process(pid, signal);
        }
    }

    /// Its process; None while it does not run.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.state().running.as_ref().map(|(child, _)| child.id())
    }

    /// What it holds of the machine's memory; None while it does not run.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let pid = self.pid()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let kb = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        kb.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kb| kb * 1024)
    }

    /// The CPU time that it has used, in seconds; None while it does not run.
    pub(crate) fn cpu_s(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).ok()?;
        // After the name, which may hold spaces and brackets: user and system time in hundredths of a second.
        let (_, rest) = stat.rsplit_once(") ")?;
        let ticks = rest.split(' ').skip(11).take(2).map_while(|word| word.parse::<f64>().ok());
        Some(ticks.sum::<f64>() / 100.0)
    }

    /// What it says of its readiness; None when it cannot be asked.
    pub(crate) async fn readiness(&self, http: &reqwest::Client) -> Option<(bool, String)> {
        let answered = http.get(format!("http://{}/readyz", self.admin)).send().await.ok()?;
        Some((answered.status().is_success(), answered.text().await.ok()?))
    }

    /// How often it has ended so far, however that came.
    pub(crate) fn deaths(&self) -> u32 {
        self.deaths.load(Ordering::Relaxed)
    }

    /// How it ended last.
    pub(crate) fn last_exit(&self) -> Option<ExitStatus> {
        self.state().last_exit
    }

    fn look(&self) -> io::Result<()> {
        let mut state = self.state();
        if let Some((child, _)) = state.running.as_mut() {
            let Some(status) = child.try_wait()? else { return Ok(()) };
            self.deaths.fetch_add(1, Ordering::Relaxed);
            *state = State {
                died: Some(Instant::now()),
                held_down: state.held_down,
                last_exit: Some(status),
                running: None,
            };
        }
        let rested = state.died.is_none_or(|died| died.elapsed() >= RESTART_AFTER);
        if !state.held_down && rested {
            let child = self.spawn()?;
            let watchdog = Watchdog::over(child.id())?;
            state.running = Some((child, watchdog));
        }
        Ok(())
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.environment.iter().cloned()).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    /// Starts everybody and keeps them alive.
    pub(crate) fn start(all: Vec<Member>) -> Self {
        let all = Arc::new(all);
        let watched = all.clone();
        let supervisor = tokio::spawn(async move {
            loop {
                for member in watched.iter() {
                    if let Err(error) = member.look() {
                        tracing::warn!(%error, member = member.name, "a process cannot be started; trying again");
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { all, supervisor: supervisor.abort_handle() }
    }

    pub(crate) fn all(&self) -> &[Member] {
        &self.all
    }

    pub(crate) fn of(&self, part: Part) -> Vec<&Member> {
        self.all.iter().filter(|member| member.part == part).collect()
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Member> {
        self.all.iter().find(|member| member.name == name)
    }
}

impl Members {
    /// Waits until every process that is not held down says that it is ready.
    pub(crate) async fn until_ready(&self, http: &reqwest::Client, within: Duration) -> Result<()> {
        let until = tokio::time::Instant::now() + within;
        loop {
            let Some(missing) = self.missing(http).await else { return Ok(()) };
            if tokio::time::Instant::now() > until {
                bail!("the fleet is not well after {} s: {missing}", within.as_secs());
            }
            tokio::time::sleep(READY_EVERY).await;
        }
    }

    async fn missing(&self, http: &reqwest::Client) -> Option<String> {
        for member in self.all.iter().filter(|member| !member.state().held_down) {
            let said = match member.readiness(http).await {
                Some((true, _)) => continue,
                Some((false, said)) => said,
                None => format!("it does not answer; see {}", member.log.display()),
            };
            return Some(format!("{}: {said}", member.name));
        }
        None
    }
}

/// A program of ours that lies where this one does.
pub(crate) fn beside_us(program: &str) -> Result<PathBuf> {
    let ours = std::env::current_exe()?;
    let places = ours.ancestors().skip(1).take(2).map(|folder| folder.join(program));
    let found = places.into_iter().find(|path| path.is_file());
    found.with_context(|| format!("{program} does not lie beside {}; build it with `cargo build`", ours.display()))
}

impl Drop for Members {
    fn drop(&mut self) {
        self.supervisor.abort();
        for member in self.all.iter() {
            let mut state = member.state();
            state.held_down = true;
            if let Some((mut child, watchdog)) = state.running.take() {
                drop(watchdog);
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
