//! One engine as a child process: started apart from the terminal, waited for, ended in order, never left behind.
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::error::EngineError;
use super::identity::Identity;
use super::packages::Engine;
use super::ready::Ready;

/// Recovery after a crash reads the whole log of PostgreSQL or Redis; past this something is wrong.
const READY_WAIT_MAX: Duration = Duration::from_secs(60);
/// PostgreSQL writes a checkpoint, NATS closes its stores: a second or two. Then it is killed.
const STOP_WAIT_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// Written ahead of every start, so that an old complaint is not taken for a new one.
const STARTS: &str = "--- started by talkfleet";
const LOG_BYTES_MAX: u64 = 10_000_000;
/// Where the reason for a failure stands, if it stands anywhere.
const GIST_BYTES: i64 = 4_000;
const GIST_CHARS_MAX: usize = 300;

/// Waits for the launcher's end of a pipe to close, which the kernel does however the launcher dies, and ends the
/// engine. (A parent-death signal would follow the *thread* that spawned the child, and runtimes retire threads.)
const WATCHDOG: &str = r#"read -r _; kill -KILL "$1""#;

/// All that is needed to start an engine, and to start it again on the same port.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) engine: Engine,
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) folder: PathBuf,
    /// Handed over open as standard input; only PostgreSQL uses it.
    pub(super) handle: Option<PathBuf>,
    pub(super) run_as: Option<Identity>,
    pub(super) log: PathBuf,
    pub(super) ready: Ready,
    pub(super) stop: Signal,
}

pub(super) struct Child {
    process: Process,
    watchdog: Option<Watchdog>,
}

/// Ends a process when this one is gone, and itself when it is dropped. Drop it before the process id is free again.
pub struct Watchdog(Process);

impl Watchdog {
    pub fn over(pid: u32) -> io::Result<Watchdog> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCHDOG, "talkfleet-watchdog"]).arg(pid.to_string()).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0).spawn().map(Watchdog)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

impl Child {
    pub(super) fn spawn(recipe: &Recipe) -> Result<Child, EngineError> {
        let spawn = || {
            let mut command = command(recipe)?;
            let mut process = command.spawn()?;
            match Watchdog::over(process.id()) {
                Ok(watchdog) => Ok(Child { process, watchdog: Some(watchdog) }),
                Err(fault) => {
                    end(&mut process);
                    Err(fault)
                }
            }
        };
        spawn().map_err(|source| EngineError::Spawn { engine: recipe.engine, source })
    }

    pub(super) async fn until_ready(&mut self, recipe: &Recipe) -> Result<(), EngineError> {
        let deadline = Instant::now() + READY_WAIT_MAX;
        loop {
            if let Some(status) = self.exited() {
                return Err(failed(recipe, format!("ended while starting ({status})")));
            }
            if recipe.ready.probe(self.id()).await {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(failed(recipe, format!("did not become ready within {} s", READY_WAIT_MAX.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has. Its watchdog goes at once, before the process id can be given to a stranger.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.process.try_wait().ok().flatten()?;
        self.watchdog = None;
        Some(status)
    }

    /// For a tool that comes to an end: how it did, or `None` when it took longer than `wait_max`.
    pub(super) async fn finish(mut self, wait_max: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + wait_max;
        loop {
            match self.exited() {
                None if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                ended => return ended,
            }
        }
    }

    pub(super) async fn stop(self, signal: Signal) {
        send(&self.process, signal);
        self.finish(STOP_WAIT_MAX).await;
    }
}

/// Also what a panic or a forgotten `stop` comes to.
impl Drop for Child {
    fn drop(&mut self) {
        self.watchdog = None;
        end(&mut self.process);
    }
}

pub(super) fn failed(recipe: &Recipe, what: String) -> EngineError {
    let gist = gist(&tail(&recipe.log).unwrap_or_default());
    EngineError::Failed { engine: recipe.engine, what, gist, log: recipe.log.clone() }
}

/// How many threads of Go's runtime run at once. Beside gateways and workers on the same cores, threads of the broker that
/// look for work and find none cost more than a third of its CPU: half of the cores are enough.
const BROKER_THREADS: &str = "GOMAXPROCS";

/// The command of a recipe, with its log, its handle, its identity and a process group of its own: the terminal's Ctrl-C
/// must reach the fleet, which drains before its engines end.
fn command(recipe: &Recipe) -> io::Result<Command> {
    let log = open_log(&recipe.log)?;
    let mut command = Command::new(&recipe.program);
    command.args(&recipe.args).current_dir(&recipe.folder).env("LC_ALL", "C").process_group(0);
    command.stdin(match &recipe.handle {
        Some(folder) => Stdio::from(File::open(folder)?),
        None => Stdio::null(),
    });
    command.stdout(log.try_clone()?).stderr(log);
    if recipe.engine == Engine::Nats && std::env::var_os(BROKER_THREADS).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        command.env(BROKER_THREADS, (cores / 2).max(1).to_string());
    }
    Identity::apply(recipe.run_as, &mut command);
    Ok(command)
}

fn send(process: &Process, signal: Signal) {
    if let Some(pid) = i32::try_from(process.id()).ok().and_then(Pid::from_raw) {
        // It is our child and not yet reaped, so the id is still its own; gone already is fine.
        let _ = kill_process(pid, signal);
    }
}

fn end(process: &mut Process) {
    // Both fail only for a process that has ended and was reaped.
    let _ = process.kill();
    let _ = process.wait();
}

fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    let mut log = File::options().create(true).append(true).open(path)?;
    writeln!(log, "{STARTS}")?;
    Ok(log)
}

fn tail(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
    file.seek(SeekFrom::End(-length.min(GIST_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last line that complains, else the last line.
fn gist(log: &str) -> String {
    const COMPLAINTS: [&str; 6] = ["FATAL", "fatal", "PANIC", "ERR", "rror", "nvalid"];
    let log = log.rsplit_once(STARTS).map_or(log, |(_, since)| since);
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let last = lines.clone().next().unwrap_or("it wrote nothing into its log");
    let line = lines.find(|line| COMPLAINTS.iter().any(|mark| line.contains(mark))).unwrap_or(last);
    line.chars().take(GIST_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gist_of_a_log_is_its_last_complaint() {
        assert_eq!(
            gist("[1] Starting\n[1] [FTL] Error: bind: address in use\n[1] bye\n"),
            "[1] [FTL] Error: bind: address in use"
        );
        assert_eq!(gist("one\ntwo\n\n"), "two");
        assert_eq!(gist(&format!("FATAL: old\n{STARTS}\nnew\n")), "new");
        assert_eq!(gist(""), "it wrote nothing into its log");
        assert_eq!(gist(&"x".repeat(1_000)).len(), GIST_CHARS_MAX);
    }
}
