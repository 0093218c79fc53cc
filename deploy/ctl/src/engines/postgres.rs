//! PostgreSQL: a cluster made once, with one database and one user, run by an unprivileged id when we are root.
//!
//! That id may be unable to walk to the data folder (below /root, or in a private temporary folder). So it is handed
//! the open folder as file descriptor 9 and calls it by `/proc/self/fd/9`: the files always lie under `--data`.
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::child::{self, Child, Recipe};
use super::error::EngineError;
use super::find::{Needs, Program};
use super::home::{Home, Secrets, write_private};
use super::identity::{self, Identity};
use super::packages::Engine;
use super::ready::Ready;
use super::{DATABASE, USER};

/// Keeps the folder's handle as descriptor 9, takes standard input from the file named first, becomes the rest.
const WITH_HANDLE: &str = r#"exec 9<&0 <"$1"; shift; exec "$@""#;
const HANDLE: &str = "/proc/self/fd/9";
const CLUSTER: &str = "cluster";
const MAKING: &str = "making-";
/// Writes 40 MB; a slow disk needs half a minute.
const MAKE_WAIT_MAX: Duration = Duration::from_secs(120);

/// The folder that holds the cluster, and how the id that PostgreSQL runs as calls it.
pub(super) struct Place {
    folder: PathBuf,
    called: PathBuf,
    run_as: Option<Identity>,
}

impl Place {
    pub(super) fn prepare(home: &Home) -> Result<Place, EngineError> {
        let folder = home.folder(Engine::Postgres);
        let at = || EngineError::folder(&folder);
        let run_as = run_as(&folder)?;
        if !folder.is_dir() {
            fs::create_dir(&folder).map_err(at())?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(at())?;
        }
        // On every start: a launcher may have been killed between making it and giving it away. Not through a link,
        // which might lead root anywhere.
        if let Some(Identity { uid, gid }) = run_as {
            lchown(&folder, Some(uid), Some(gid)).map_err(at())?;
        }
        let plain = folder.to_str().is_some() && Identity::reaches(run_as, &folder);
        let called = if plain { folder.clone() } else { HANDLE.into() };
        Ok(Place { folder, called, run_as })
    }

    fn cluster(&self) -> PathBuf {
        self.folder.join(CLUSTER)
    }

    /// The arguments after `/bin/sh` that run a program of PostgreSQL's with the folder's handle.
    fn arguments(&self, stdin: &str, program: PathBuf, rest: &[&str]) -> Vec<OsString> {
        let head: [OsString; 5] =
            ["-c".into(), WITH_HANDLE.into(), "talkfleet-postgres".into(), stdin.into(), program.into()];
        head.into_iter().chain(rest.iter().map(OsString::from)).collect()
    }

    /// A path inside, as the running programs call it; nothing is lost, since `called` is valid UTF-8.
    fn call(&self, name: &str) -> String {
        self.called.join(name).to_string_lossy().into_owned()
    }
}

/// What the programs must satisfy to serve what lies in `folder`, if anything does.
pub(super) fn needs(folder: &Path) -> Result<Needs, EngineError> {
    let version = fs::read_to_string(folder.join(CLUSTER).join("PG_VERSION"));
    let made_by = version.ok().and_then(|text| text.trim().parse().ok());
    Ok(Needs { run_as: run_as(folder)?, made_by })
}

/// The owner of what is there already; else nobody in particular, when we are root.
fn run_as(folder: &Path) -> Result<Option<Identity>, EngineError> {
    let Ok(found) = fs::metadata(folder) else { return Ok(identity::unprivileged()) };
    if identity::is_root() {
        let owner = Identity { uid: found.uid(), gid: found.gid() };
        return Ok(if owner.uid == 0 { identity::unprivileged() } else { Some(owner) });
    }
    match found.uid() {
        owner if owner == rustix::process::geteuid().as_raw() => Ok(None),
        owner => Err(EngineError::OtherOwner { path: folder.to_path_buf(), owner }),
    }
}

/// Makes the cluster with its user and its database, unless it is there. Only a finished one gets the final name.
pub(super) async fn make_cluster(
    home: &Home,
    place: &Place,
    program: &Program,
    secrets: &Secrets,
) -> Result<(), EngineError> {
    if place.cluster().join("PG_VERSION").is_file() {
        return forget_stale_postmaster(&place.cluster());
    }
    let at = || EngineError::folder(&place.folder);
    sweep(place);
    // Named after this process: should a killed launcher's initdb still be at work, it works on another folder.
    let name = format!("{MAKING}{}", std::process::id());
    hand_over(place, "password", &secrets.postgres)?;
    hand_over(place, "database.sql", &format!("CREATE DATABASE {DATABASE}\n"))?;
    let (cluster, password) = (place.call(&name), format!("--pwfile={}", place.call("password")));
    let initdb = |locale: &'static str| {
        let rest = [
            "-D",
            &cluster,
            "-U",
            USER,
            &password,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            locale,
            "--lc-messages=C",
            "--no-sync",
        ];
        place.arguments("/dev/null", program.path.join("initdb"), &rest)
    };
    // Sorting by code point, the same everywhere; older C libraries know it only as C.
    if run(home, place, "could not make its cluster", initdb("--locale=C.UTF-8")).await.is_err() {
        run(home, place, "could not make its cluster", initdb("--locale=C")).await?;
    }
    let rest = ["--single", "-F", "-D", &cluster, "postgres"];
    let create = place.arguments(&place.call("database.sql"), program.path.join("postgres"), &rest);
    run(home, place, "could not make its database", create).await?;
    fs::remove_file(place.folder.join("password")).map_err(at())?;
    fs::rename(place.folder.join(name), place.cluster()).map_err(at())?;
    sync_behind(place.folder.clone());
    Ok(())
}

/// Copies a running primary's cluster, to be started as its replica.
pub(super) async fn copy_cluster(
    home: &Home,
    place: &Place,
    program: &Program,
    primary_url: &str,
) -> Result<(), EngineError> {
    let from = format!("--dbname={primary_url}");
    let cluster = place.call(CLUSTER);
    let rest = ["-D", &cluster, &from, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"];
    let copy = place.arguments("/dev/null", program.path.join("pg_basebackup"), &rest);
    run(home, place, "could not copy the primary", copy).await
}

/// The address of the same database on another port of this machine.
pub(super) fn url_at(url: &str, port: u16) -> String {
    let (user, _) = url.split_once("@127.0.0.1:").unwrap_or((url, ""));
    format!("{user}@127.0.0.1:{port}/{DATABASE}")
}

pub(super) fn recipe(home: &Home, place: &Place, program: &Program, port: u16) -> Recipe {
    let cluster = place.call(CLUSTER);
    let port_setting = format!("port={port}");
    // 200 connections: every role of a fleet with its pools of 20 and the operator's tools. No Unix socket: its path
    // may be too long below deep folders. Compiling queries costs short ones more than it gives.
    let settings = [
        port_setting.as_str(),
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        "max_wal_size=1GB",
        "jit=off",
        "timezone=UTC",
        "log_timezone=UTC",
        "logging_collector=off",
        "log_checkpoints=off",
        // Neither statements nor the values that offended: both are customers' words.
        "log_min_error_statement=panic",
        "log_error_verbosity=terse",
        "cluster_name=talkfleet",
    ];
    let mut rest = vec!["-D", &cluster];
    rest.extend(settings.iter().flat_map(|setting| ["-c", setting]));
    base(home, place, place.arguments("/dev/null", program.path.join("postgres"), &rest), port)
}

pub(super) fn url(port: u16, secrets: &Secrets) -> String {
    format!("postgres://{USER}:{}@127.0.0.1:{port}/{DATABASE}", secrets.postgres)
}

fn base(home: &Home, place: &Place, args: Vec<OsString>, port: u16) -> Recipe {
    Recipe {
        engine: Engine::Postgres,
        program: "/bin/sh".into(),
        args,
        folder: "/".into(),
        handle: Some(place.folder.clone()),
        run_as: place.run_as,
        log: home.log(Engine::Postgres),
        ready: Ready::Postgres { port, postmaster: place.cluster().join("postmaster.pid") },
        // A fast shutdown: SIGTERM would wait for every client to leave by itself.
        stop: rustix::process::Signal::INT,
    }
}

/// Runs one of PostgreSQL's tools to its end; what it says goes into PostgreSQL's log.
async fn run(home: &Home, place: &Place, failing: &str, args: Vec<OsString>) -> Result<(), EngineError> {
    let recipe = base(home, place, args, 0);
    match Child::spawn(&recipe)?.finish(MAKE_WAIT_MAX).await {
        Some(status) if status.success() => Ok(()),
        _ => Err(child::failed(&recipe, failing.to_owned())),
    }
}

/// Brings the fresh files to the disk while the fleet starts already: waiting for it takes seconds on a busy machine,
/// and until it is done a power cut costs a cluster that holds nothing yet.
fn sync_behind(folder: PathBuf) {
    std::thread::spawn(move || {
        if let Ok(folder) = fs::File::open(folder) {
            // The kernel writes it back by itself, only later.
            let _ = rustix::fs::syncfs(folder);
        }
    });
}

/// Clusters that were never finished. What cannot be removed takes room and harms nothing.
fn sweep(place: &Place) {
    for entry in fs::read_dir(&place.folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(MAKING) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn hand_over(place: &Place, name: &str, text: &str) -> Result<(), EngineError> {
    let path = place.folder.join(name);
    let written = write_private(&path, text.as_bytes()).and_then(|()| match place.run_as {
        Some(Identity { uid, gid }) => lchown(&path, Some(uid), Some(gid)),
        None => Ok(()),
    });
    written.map_err(EngineError::folder(&path))
}

/// After a power cut the noted process id may be a stranger's by now, and PostgreSQL would refuse to start for it.
fn forget_stale_postmaster(cluster: &Path) -> Result<(), EngineError> {
    let path = cluster.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
    let pid = text.lines().next().unwrap_or_default().trim();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim() {
        "postgres" => Ok(()),
        _ => fs::remove_file(&path).map_err(EngineError::folder(&path)),
    }
}
