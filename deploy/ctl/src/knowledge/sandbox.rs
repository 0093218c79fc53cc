//! Parsers that a hostile file could hang or swell run in a process of their own, bounded in time and memory.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::{FILE_BYTES_MAX, Reading, read::Kind};

/// How long one file may take: the largest page of ordinary HTML takes two seconds in an unoptimised build.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Seconds of processor time, for when the parent is gone and nobody watches the clock.
const CPU_SECONDS_MAX: u64 = 15;

/// Bytes of address space: that page takes a sixth of it; threads and allocators reserve some that they never touch.
const MEMORY_BYTES_MAX: u64 = 2 << 30;

/// The most that a reading may come to: the text of the largest document as JSON.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// Where files are parsed.
#[derive(Debug, Clone)]
pub enum Isolation {
    /// Here: for files that travel within the program, and for tests.
    InProcess,
    /// By a program that calls [`serve_reading`] with the last of its arguments, the kind of file.
    Process { program: PathBuf, arguments: Vec<String> },
}

impl Isolation {
    /// The running program itself, started again with these arguments and the kind of file.
    pub fn ourselves(arguments: &[&str]) -> io::Result<Self> {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Ok(Self::Process { program: std::env::current_exe()?, arguments })
    }

    pub(super) async fn read(&self, kind: Kind, bytes: &[u8]) -> Result<Reading, String> {
        let Self::Process { program, arguments } = self else { return kind.parse(bytes) };
        let mut command = Command::new(program);
        command.args(arguments).arg(kind.name());
        read_by(command, bytes, READ_TIMEOUT).await
    }
}

async fn read_by(mut command: Command, bytes: &[u8], limit: Duration) -> Result<Reading, String> {
    let unstarted = |error: io::Error| format!("its reader could not be started ({error})");
    let mut child = command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(unstarted)?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("its reader could not be started".into());
    };
    let talk = async {
        let mut output = Vec::new();
        let mut stdout = stdout.take(OUTPUT_BYTES_MAX);
        let send = async {
            // A reader that died early closes the pipe; its exit tells why.
            let _ = stdin.write_all(bytes).await;
            drop(stdin);
        };
        let (_, received) = tokio::join!(send, stdout.read_to_end(&mut output));
        let ended = child.wait().await;
        received.ok().filter(|_| ended.is_ok_and(|status| status.success())).map(|_| output)
    };
    match tokio::time::timeout(limit, talk).await {
        Ok(Some(output)) => {
            serde_json::from_slice(&output).unwrap_or_else(|_| Err("its reader answered nonsense".into()))
        }
        Ok(None) => Err("its reader broke down or asked for too much memory; the file may be damaged".into()),
        Err(_) => Err(format!("reading it took longer than {} s; the file may be damaged", limit.as_secs_f32())),
    }
}

/// The other end: binds this process, reads a file of the kind from standard input and writes the reading to standard
/// output as JSON.
pub fn serve_reading(kind: &str) -> io::Result<()> {
    let kind = Kind::named(kind).ok_or(io::ErrorKind::InvalidInput)?;
    bind(Resource::As, MEMORY_BYTES_MAX)?;
    bind(Resource::Cpu, CPU_SECONDS_MAX)?;
    // It writes no file and leaves no memory image behind.
    bind(Resource::Fsize, 0)?;
    bind(Resource::Core, 0)?;
    let mut bytes = Vec::new();
    io::stdin().take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let output = serde_json::to_vec(&kind.parse(&bytes))?;
    io::stdout().write_all(&output)
}

fn bind(resource: Resource, limit: u64) -> io::Result<()> {
    let lower = rustix::process::getrlimit(resource).maximum.map_or(limit, |maximum| maximum.min(limit));
    setrlimit(resource, Rlimit { current: Some(lower), maximum: Some(lower) }).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    #[track_caller]
    fn refused(reading: Result<Reading, String>, part: &str) {
        let why = reading.unwrap_err();
        assert!(why.contains(part), "{why}");
    }

    #[tokio::test]
    async fn a_reader_that_hangs_dies_or_babbles_is_a_sentence() {
        let soon = Duration::from_millis(100);
        refused(read_by(shell("exec sleep 60"), b"x", soon).await, "took longer");
        let long = Duration::from_secs(20);
        refused(read_by(shell("exit 1"), &vec![b'x'; 1 << 20], long).await, "broke down");
        refused(read_by(shell("kill -9 $$"), b"x", long).await, "broke down");
        refused(read_by(shell("cat >/dev/null; echo hm"), b"x", long).await, "nonsense");
        refused(read_by(Command::new("/does/not/exist"), b"x", long).await, "started");
        let answer = "cat >/dev/null; echo '{\"Ok\":{\"articles\":[],\"skipped\":[\"s\"]}}'";
        assert_eq!(read_by(shell(answer), b"x", long).await.unwrap().skipped, ["s"]);
    }
}
