//! Looks for an engine among what is installed, and names what it had to pass over and why.
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::error::EngineError;
use super::identity::Identity;
use super::packages::{self, Engine};

/// A program that does not tell its version in this time is no engine.
const VERSION_WAIT_MAX: Duration = Duration::from_secs(5);

/// `major.minor.patch`; what is not said counts as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// The first dotted number in what a program says of itself: `nats-server: v2.15.1`, `Valkey server v=9.1.2 sha=…`,
    /// `postgres (PostgreSQL) 18beta1`.
    pub(super) fn find(text: &str) -> Option<Version> {
        text.split(|c: char| c.is_whitespace() || "v=:,()-".contains(c)).find_map(|word| {
            let digits = |part: &str| {
                let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
                part.get(..end).and_then(|number| number.parse().ok())
            };
            let mut parts = word.split('.');
            let major = digits(parts.next()?)?;
            let minor = parts.next().and_then(digits).unwrap_or(0);
            Some(Version { major, minor, patch: parts.next().and_then(digits).unwrap_or(0) })
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A program that will do. For PostgreSQL `path` is the folder with `initdb` and `postgres`.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) version: Version,
}

#[derive(Debug, Default)]
pub(super) struct Search {
    pub(super) found: Option<Program>,
    /// One sentence for each that was there but will not do.
    pub(super) passed_over: Vec<String>,
}

/// What PostgreSQL has to satisfy besides its age.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needs {
    pub(super) run_as: Option<Identity>,
    /// The major release that made the cluster which is already there.
    pub(super) made_by: Option<u32>,
}

pub(super) async fn on_path(engine: Engine, path: &OsStr, needs: Needs) -> Result<Search, EngineError> {
    let mut search = Search::default();
    for candidate in candidates(engine, path).await {
        match check(engine, &candidate, path, needs).await {
            Ok(program) => {
                search.found = Some(program);
                break;
            }
            Err(EngineError::Program { program, reason, .. }) => {
                search.passed_over.push(format!("{} {reason}", program.display()));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(search)
}

/// Checks one candidate: a server's binary, or for PostgreSQL the folder of its binaries.
pub(super) async fn check(
    engine: Engine,
    candidate: &Path,
    path: &OsStr,
    needs: Needs,
) -> Result<Program, EngineError> {
    let refuse = |reason: String| EngineError::Program { engine, program: candidate.to_path_buf(), reason };
    let server = if engine == Engine::Postgres { candidate.join("postgres") } else { candidate.to_path_buf() };
    let said = said_by(&server, &["--version"], path, needs.run_as).await.map_err(refuse)?;
    let version = Version::find(&said).ok_or_else(|| refuse("does not tell its version".into()))?;
    let oldest = packages::oldest(engine)?;
    if version < oldest {
        return Err(refuse(format!("is {version}, older than {oldest}")));
    }
    if engine == Engine::Postgres {
        if needs.made_by.is_some_and(|major| major != version.major) {
            return Err(refuse(format!("is of version {}", version.major)));
        }
        if is_script(&server) {
            return Err(refuse("is a wrapper, not the server itself".into()));
        }
        // Reads the files from which a cluster is made, and makes none.
        let initdb = candidate.join("initdb");
        said_by(&initdb, &["--show", "-D", "/nowhere"], path, needs.run_as)
            .await
            .map_err(|reason| refuse(format!("has an initdb that {reason}")))?;
    }
    Ok(Program { path: candidate.to_path_buf(), version })
}

/// Every file of that name on the PATH, first come first.
pub(super) fn files_named<'a>(name: &'a str, path: &'a OsStr) -> impl Iterator<Item = PathBuf> + 'a {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(move |folder| folder.join(name))
        .filter(|file| file.is_file())
}

async fn candidates(engine: Engine, path: &OsStr) -> Vec<PathBuf> {
    match engine {
        Engine::Nats => files_named("nats-server", path).collect(),
        Engine::Redis => files_named("redis-server", path).chain(files_named("valkey-server", path)).collect(),
        Engine::Postgres => {
            let mut folders: Vec<PathBuf> = files_named("postgres", path)
                .filter_map(|file| file.canonicalize().ok()?.parent().map(Path::to_path_buf))
                .collect();
            for tool in files_named("pg_config", path) {
                let said = said_by(&tool, &["--bindir"], path, None).await.unwrap_or_default();
                folders.push(PathBuf::from(said.trim()));
            }
            let mut seen = Vec::new();
            folders.retain(|folder| {
                let fresh = folder.join("initdb").is_file() && folder.join("postgres").is_file();
                fresh && !seen.contains(folder) && {
                    seen.push(folder.clone());
                    true
                }
            });
            folders
        }
    }
}

/// Runs a program that answers at once; the error completes a sentence that begins with the program's name.
pub(super) async fn said_by(
    program: &Path,
    args: &[&str],
    path: &OsStr,
    run_as: Option<Identity>,
) -> Result<String, String> {
    let mut command = std::process::Command::new(program);
    command.args(args).current_dir("/").env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null());
    Identity::apply(run_as, &mut command);
    let mut command = Command::from(command);
    let output = tokio::time::timeout(VERSION_WAIT_MAX, command.kill_on_drop(true).output()).await;
    let output = output.map_err(|_| format!("did not answer within {} s", VERSION_WAIT_MAX.as_secs()))?;
    let output = output.map_err(|fault| format!("cannot be run ({fault})"))?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    let last: OsString = said.lines().last().unwrap_or("it said nothing").into();
    Err(format!("fails ({})", last.to_string_lossy()))
}

fn is_script(file: &Path) -> bool {
    let mut head = [0; 2];
    std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == *b"#!"
}

#[cfg(test)]
mod tests {
    use super::super::tests::fake_program;
    use super::*;

    #[track_caller]
    fn check_version(said: &str, expected: &str) {
        assert_eq!(Version::find(said).map(|version| version.to_string()).as_deref(), Some(expected), "{said}");
    }

    #[test]
    fn versions_are_read_from_what_programs_say() {
        check_version("nats-server: v2.15.1\n", "2.15.1");
        check_version("nats-server: v2.12.0-RC.3", "2.12.0");
        check_version("Valkey server v=9.1.2 sha=00000000:0 malloc=libc bits=64 build=0", "9.1.2");
        check_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0", "7.0.15");
        check_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18.0");
        check_version("postgres (PostgreSQL) 18beta1", "18.0.0");
        assert_eq!(Version::find("usage: nats-server"), None);
        assert!(Version::find("2.9.10").unwrap() < Version::find("2.12.4").unwrap());
    }

    #[tokio::test]
    async fn a_nats_server_that_is_too_old_is_named_and_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        fake_program(folder.path(), "nats-server", "echo 'nats-server: v2.9.10'");
        let search = on_path(Engine::Nats, folder.path().as_os_str(), Needs::default()).await.unwrap();
        assert!(search.found.is_none());
        assert_eq!(search.passed_over.len(), 1);
        assert!(search.passed_over[0].ends_with("nats-server is 2.9.10, older than 2.12.4"), "{search:?}");
    }

    #[tokio::test]
    async fn a_wrapper_is_no_postgresql() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["postgres", "initdb"] {
            fake_program(folder.path(), name, "echo 'postgres (PostgreSQL) 16.1'");
        }
        let search = on_path(Engine::Postgres, folder.path().as_os_str(), Needs::default()).await.unwrap();
        assert!(search.found.is_none());
        assert!(search.passed_over[0].ends_with("is a wrapper, not the server itself"), "{search:?}");
    }

    #[tokio::test]
    async fn the_first_that_will_do_is_taken() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fake_program(first.path(), "redis-server", "exit 3");
        fake_program(second.path(), "valkey-server", "echo 'Valkey server v=8.0.1 sha=0'");
        let path = std::env::join_paths([first.path(), second.path()]).unwrap();
        let search = on_path(Engine::Redis, &path, Needs::default()).await.unwrap();
        assert_eq!(search.found.unwrap().path, second.path().join("valkey-server"));
        assert!(search.passed_over[0].contains("fails"), "{:?}", search.passed_over);
    }
}
