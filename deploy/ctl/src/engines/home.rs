//! The data folder of one fleet: who holds it, its passwords, its ports, and the children that a killed launcher left.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::Rng as _;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::EngineError;
use super::packages::Engine;

/// Below the range from which Linux takes the ports of outgoing connections (32,768 up): a client that keeps dialling a
/// killed engine's port could otherwise be given that very port and end up talking to itself.
const PORTS: std::ops::Range<u16> = 17_000..32_000;
const PORT_TRIES_MAX: usize = 200;
const PASSWORD_CHARS: usize = 32;
/// SIGKILL needs no longer, unless the disk hangs.
const LEFTOVER_WAIT_MAX: Duration = Duration::from_secs(5);

/// The kernel takes a moment to close the files of a launcher that was just killed.
const HOLDER_GOES_WAIT_MAX: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);

pub(super) struct Home {
    root: PathBuf,
    children: Mutex<BTreeMap<String, ChildMark>>,
    /// The kernel gives it back when this process ends, however it ends.
    _lock: File,
}

/// Made once per data folder, never shown.
#[derive(Serialize, Deserialize, Clone)]
pub(super) struct Secrets {
    pub(super) nats: String,
    /// Of the replays' own user; folders made by earlier builds have none yet.
    #[serde(default)]
    pub(super) nats_shadow: String,
    pub(super) redis: String,
    pub(super) postgres: String,
}

/// Enough to tell a child of ours from a stranger who was given its process id later.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct ChildMark {
    pid: i32,
    started_ticks: u64,
    boot: String,
}

impl Home {
    /// Blocks for as long as a killed predecessor takes to go, seconds at most.
    pub(super) fn open(data: &Path) -> Result<Home, EngineError> {
        if !data.is_dir() {
            fs::create_dir_all(data).map_err(EngineError::folder(data))?;
            fs::set_permissions(data, fs::Permissions::from_mode(0o700)).map_err(EngineError::folder(data))?;
        }
        let root = data.canonicalize().map_err(EngineError::folder(data))?;
        let lock = hold(&root)?;
        for folder in ["logs", "nats", "redis"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(EngineError::folder(&folder))?;
            // What customers wrote lies in them.
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(EngineError::folder(&folder))?;
        }
        let home = Home { root, children: Mutex::default(), _lock: lock };
        home.end_leftovers();
        Ok(home)
    }

    pub(super) fn folder(&self, engine: Engine) -> PathBuf {
        self.root.join(engine.key())
    }

    pub(super) fn log(&self, engine: Engine) -> PathBuf {
        self.root.join("logs").join(format!("{}.log", engine.key()))
    }

    pub(super) fn secrets(&self) -> Result<Secrets, EngineError> {
        let path = self.root.join("secrets.json");
        let known: Option<Secrets> = read_json(&path);
        let secrets = match known {
            Some(known) if !known.nats_shadow.is_empty() => return Ok(known),
            Some(older) => Secrets { nats_shadow: password(), ..older },
            None => {
                let [nats, nats_shadow, redis, postgres] = std::array::from_fn(|_| password());
                Secrets { nats, nats_shadow, redis, postgres }
            }
        };
        write_json(&path, &secrets)?;
        Ok(secrets)
    }

    /// The port asked for, else the one of last time, else a fresh one. `key` tells an engine's ports apart.
    pub(super) fn port(&self, engine: Engine, key: &str, asked: Option<u16>) -> Result<u16, EngineError> {
        if let Some(port) = asked {
            return if is_free(port) { Ok(port) } else { Err(EngineError::PortTaken { engine, port }) };
        }
        match self.remembered_port(key) {
            Some(port) if is_free(port) => Ok(port),
            _ => self.fresh_port(engine, key),
        }
    }

    pub(super) fn fresh_port(&self, engine: Engine, key: &str) -> Result<u16, EngineError> {
        let mut random = rand::rng();
        let mut tries = (0..PORT_TRIES_MAX).map(|_| random.random_range(PORTS));
        let port = tries.find(|port| is_free(*port)).ok_or(EngineError::NoFreePort { engine })?;
        // One file per port: the engines start side by side.
        write_json(&self.port_file(key), &port)?;
        Ok(port)
    }

    /// Notes a child, so that the next launcher can end it should this one be killed together with its watchdogs.
    pub(super) fn note_child(&self, engine: Engine, pid: u32) -> Result<(), EngineError> {
        let Some(mark) = i32::try_from(pid).ok().and_then(ChildMark::of) else { return Ok(()) };
        let mut children = self.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        children.insert(engine.key().to_owned(), mark);
        write_json(&self.root.join("children.json"), &*children)
    }

    fn remembered_port(&self, key: &str) -> Option<u16> {
        read_json(&self.port_file(key))
    }

    fn port_file(&self, key: &str) -> PathBuf {
        self.root.join(format!("{key}.port"))
    }

    fn end_leftovers(&self) {
        let marks: BTreeMap<String, ChildMark> = read_json(&self.root.join("children.json")).unwrap_or_default();
        let alive = |mark: &&ChildMark| ChildMark::of(mark.pid).as_ref() == Some(*mark);
        let deadline = Instant::now() + LEFTOVER_WAIT_MAX;
        for mark in marks.values().filter(alive) {
            if let Some(pid) = Pid::from_raw(mark.pid) {
                // Already gone is what we want; not allowed shows when its port or files are still in use.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        while marks.values().any(|mark| alive(&mark)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }
}

impl ChildMark {
    fn of(pid: i32) -> Option<ChildMark> {
        let started_ticks = started_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(ChildMark { pid, started_ticks, boot })
    }
}

/// Field 22 of proc_pid_stat(5), unless the process is a zombie. The name in brackets may hold anything, so fields are
/// counted from the last bracket; the state behind it is field 3.
fn started_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Whether somebody holds the folder now; for a look from outside.
pub(super) fn held_by(data: &Path) -> Option<Option<u32>> {
    let file = File::open(data.join("talkfleet.lock")).ok()?;
    matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)).then(|| pid_in(&file))
}

/// A file that only its owner may read, whole or absent.
pub(super) fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text)?;
    fs::rename(&fresh, path)
}

fn hold(root: &Path) -> Result<File, EngineError> {
    let path = root.join("talkfleet.lock");
    let folder = || EngineError::folder(&path);
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(folder())?;
    let deadline = Instant::now() + HOLDER_GOES_WAIT_MAX;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(POLL),
            Err(fs::TryLockError::WouldBlock) => {
                return Err(EngineError::AlreadyRunning { data: root.to_path_buf(), pid: pid_in(&file) });
            }
            Err(fs::TryLockError::Error(source)) => return Err(EngineError::Folder { path, source }),
        }
    }
    file.set_len(0).map_err(folder())?;
    writeln!(file, "{}", std::process::id()).map_err(folder())?;
    Ok(file)
}

fn pid_in(mut file: &File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Letters and digits alone need no escaping in a URL or a configuration file.
fn password() -> String {
    rand::rng().sample_iter(rand::distr::Alphanumeric).take(PASSWORD_CHARS).map(char::from).collect()
}

/// `None` also for what cannot be read: these files can all be made anew.
fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), EngineError> {
    let written = serde_json::to_vec(value).map_err(io::Error::from).and_then(|text| write_private(path, &text));
    written.map_err(EngineError::folder(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_is_first() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(held_by(data.path()), None);
        let home = Home::open(data.path()).unwrap();
        let fault = Home::open(data.path()).err().unwrap().to_string();
        assert!(fault.contains(&format!("(process {})", std::process::id())), "{fault}");
        assert_eq!(held_by(data.path()), Some(Some(std::process::id())));
        drop(home);
        assert_eq!(held_by(data.path()), None);
        Home::open(data.path()).unwrap();
    }

    #[test]
    fn passwords_are_kept_and_private() {
        let data = tempfile::tempdir().unwrap();
        let first = Home::open(data.path()).unwrap().secrets().unwrap();
        let second = Home::open(data.path()).unwrap().secrets().unwrap();
        assert_eq!((first.nats.len(), &first.postgres), (PASSWORD_CHARS, &second.postgres));
        let mode = fs::metadata(data.path().join("secrets.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn ports_are_kept_while_they_are_free() {
        let data = tempfile::tempdir().unwrap();
        let home = Home::open(data.path()).unwrap();
        let first = home.port(Engine::Redis, "redis", None).unwrap();
        assert_eq!(home.port(Engine::Redis, "redis", None).unwrap(), first);
        let _taken = TcpListener::bind(("127.0.0.1", first)).unwrap();
        assert_ne!(home.port(Engine::Redis, "redis", None).unwrap(), first);
        let fault = home.port(Engine::Redis, "redis", Some(first)).unwrap_err();
        assert!(matches!(fault, EngineError::PortTaken { port, .. } if port == first), "{fault}");
    }

    #[test]
    fn a_process_is_known_by_when_it_started() {
        let fields: Vec<String> = (4..=30).map(|number| number.to_string()).collect();
        let stat = format!("7 (a) b) S {}", fields.join(" "));
        assert_eq!(started_ticks(&stat), Some(22));
        assert_eq!(started_ticks(&stat.replace(" S ", " Z ")), None);
        assert!(ChildMark::of(i32::try_from(std::process::id()).unwrap()).is_some());
    }

    #[test]
    fn what_a_killed_launcher_left_is_ended() {
        let data = tempfile::tempdir().unwrap();
        let mut left = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        Home::open(data.path()).unwrap().note_child(Engine::Nats, left.id()).unwrap();
        Home::open(data.path()).unwrap();
        assert!(!left.wait().unwrap().success());
    }
}
