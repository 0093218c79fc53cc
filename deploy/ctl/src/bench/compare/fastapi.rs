//! The system that Talkfleet replaces, of the same shape: FastAPI before NATS and three nats-py workers, from
//! `deploy/bench/fastapi`, with its pinned packages in an environment below the cache folder.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use talkfleet_shared::config::cache_dir;
use tokio::process::Command;

use super::standing::{Running, Standing};
use crate::{engines::Progress, members::ports};

/// Its files, so that the command needs no source tree.
const FILES: [(&str, &str); 3] = [
    ("app.py", include_str!("../../../../bench/fastapi/app.py")),
    ("worker.py", include_str!("../../../../bench/fastapi/worker.py")),
    ("roles.py", include_str!("../../../../bench/fastapi/roles.py")),
];
const REQUIREMENTS: &str = include_str!("../../../../bench/fastapi/requirements.txt");

/// Its roles, in the order in which a message goes through them.
const ROLES: [&str; 3] = ["intent", "retrieval", "response"];

/// Its own key; nothing of ours knows it.
const KEY: &str = "tf-bench-fastapi";

/// Written last into an environment: without it, it is made again.
const WHOLE: &str = "talkfleet-whole";

/// How it is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A gateway, NATS, three workers.
    Workers,
    /// The roles are functions that the gateway calls.
    InProcess,
}

/// The Python that has its packages; made with pip at the first time.
pub(super) async fn environment(progress: &dyn Progress) -> Result<PathBuf> {
    let digest = Sha256::digest(REQUIREMENTS);
    let folder =
        cache_dir().join(format!("bench-fastapi-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]));
    let python = folder.join("bin/python3");
    if folder.join(WHOLE).is_file() {
        return Ok(python);
    }
    progress.line(&format!("fetching FastAPI and what it needs with pip into {}", folder.display()));
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS)?;
    call(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), "python3 with venv (python3-venv)")
        .await?;
    // `venv --clear` empties the folder.
    std::fs::write(&requirements, REQUIREMENTS)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements);
    call(&mut pip, "pip with a package index that has the files of deploy/bench/fastapi/requirements.txt").await?;
    std::fs::write(folder.join(WHOLE), "")?;
    Ok(python)
}

/// One sentence when something is missing.
async fn call(command: &mut Command, what: &str) -> Result<()> {
    let done =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).output().await;
    let why = match done {
        Ok(done) if done.status.success() => return Ok(()),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
        }
        Err(error) => error.to_string(),
    };
    bail!("FastAPI cannot be compared with, since that takes {what}: {why}")
}

/// Starts it on free ports, over a broker that runs.
pub(super) async fn start(shape: Shape, python: &Path, nats: &str, data: &Path) -> Result<Standing> {
    let (name, mode) = match shape {
        Shape::Workers => ("fastapi", "workers"),
        Shape::InProcess => ("fastapi-in-process", "in-process"),
    };
    let folder = data.join(name);
    std::fs::create_dir_all(&folder)?;
    for (file, text) in FILES {
        std::fs::write(folder.join(file), text)?;
    }
    let command = |args: &[&str]| {
        let mut command = Command::new(python);
        command.args(args).current_dir(&folder).env("PYTHONDONTWRITEBYTECODE", "1").env("MODE", mode);
        command.env("API_KEY", KEY).env("NATS_URL", nats).env("SUBJECT_PREFIX", format!("bench.{name}"));
        command
    };
    let mut running = Vec::new();
    if shape == Shape::Workers {
        for role in ROLES {
            let log = folder.join(format!("{role}.log"));
            running.push(Running::start(&format!("{name}-{role}"), &mut command(&["worker.py", role]), &log)?);
        }
    }
    let port = ports::free().await?;
    let (log, port_word) = (folder.join("gateway.log"), port.to_string());
    let uvicorn = [
        "-m",
        "uvicorn",
        "app:app",
        "--host",
        "127.0.0.1",
        "--port",
        &port_word,
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--log-level",
        "warning",
    ];
    running.push(Running::start(&format!("{name}-gateway"), &mut command(&uvicorn), &log)?);
    Standing::start(name, SocketAddr::from(([127, 0, 0, 1], port)), KEY, running, &log).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned() {
        let lines = REQUIREMENTS.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        assert!(lines.clone().count() >= 5 && lines.clone().all(|line| line.contains("==")), "{REQUIREMENTS}");
    }

    #[tokio::test]
    async fn what_is_missing_is_said_in_a_sentence() {
        let error = call(&mut Command::new("no-such-python"), "python3").await.unwrap_err().to_string();
        assert!(error.starts_with("FastAPI cannot be compared with, since that takes python3: "), "{error}");
    }
}
