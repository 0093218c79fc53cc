//! Everything that can keep an engine from running, each as one sentence that says what to do.
use std::io;
use std::path::{Path, PathBuf};

use super::packages::Engine;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("another talkfleet {} already runs over {}; stop it, or choose another --data folder", holder(*pid), data.display())]
    AlreadyRunning { data: PathBuf, pid: Option<u32> },

    #[error("cannot use {}: {source}; check its owner and the room on its disk, or choose another folder", path.display())]
    Folder { path: PathBuf, source: io::Error },

    #[error("port {port}, asked for {engine}, is taken by another process; free it or choose another one")]
    PortTaken { engine: Engine, port: u16 },

    #[error("no free port could be found for {engine}; name one yourself")]
    NoFreePort { engine: Engine },

    #[error("{} cannot be used as {engine}: {reason}", program.display())]
    Program { engine: Engine, program: PathBuf, reason: String },

    #[error(
        "{what} cannot be had: {reason}. Install {install}, or bring a cache folder filled elsewhere (TALKFLEET_CACHE){}",
        passed_over_text(passed_over)
    )]
    Missing { what: String, reason: String, install: String, passed_over: Vec<String> },

    #[error(
        "the download of {package} is not the pinned file (sha256 {found} instead of {expected}) and was thrown away; try again, and if it stays so, do not trust the package index in use"
    )]
    Checksum { package: String, expected: String, found: String },

    #[error("the package {package} cannot be unpacked: {reason}; try again, or install {install}")]
    Package { package: String, reason: String, install: String },

    #[error("the disk of {} is too full: about {} MB are needed; make room, or name another folder", folder.display(), needed_bytes.div_ceil(1_000_000))]
    DiskFull { folder: PathBuf, needed_bytes: u64 },

    #[error("{engine} {what}; its log says: {gist} (all of it is in {})", log.display())]
    Failed { engine: Engine, what: String, gist: String, log: PathBuf },

    #[error("{engine} cannot be started: {source}")]
    Spawn { engine: Engine, source: io::Error },

    #[error(
        "the data folder's cluster was made by PostgreSQL {made_by}, and no programs of that release were found{}; put them on the PATH, or move the folder postgres in it away to begin afresh",
        passed_over_text(passed_over)
    )]
    OtherCluster { made_by: u32, passed_over: Vec<String> },

    #[error("{} belongs to another user (id {owner}); run as that user or as root, or choose another --data folder", path.display())]
    OtherOwner { path: PathBuf, owner: u32 },

    #[error("{engine} is not one that was started here; restart it where it runs")]
    NotOurs { engine: Engine },

    #[error("the built-in list of packages cannot be read: {0}; this build of talkfleet is broken, build it again")]
    Table(String),
}

impl EngineError {
    /// Closure for `map_err` on anything done to `path`.
    pub(super) fn folder(path: &Path) -> impl FnOnce(io::Error) -> EngineError {
        let path = path.to_path_buf();
        move |source| EngineError::Folder { path, source }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!("(process {pid})"))
}

fn passed_over_text(passed_over: &[String]) -> String {
    match passed_over {
        [] => String::new(),
        some => format!(" (passed over: {})", some.join("; ")),
    }
}
