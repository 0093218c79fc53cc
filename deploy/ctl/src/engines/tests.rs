//! The engines for real: started twice, killed, taken over, and refused with a sentence that helps.
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// Tells the launcher of [`a_killed_launcher_leaves_nothing_behind`] its folder.
const LAUNCHER_DATA: &str = "TALKFLEET_TEST_LAUNCHER_DATA";

/// Written by a process of its own: a file that this one holds open for writing may be inherited by what another
/// test is just starting, and cannot be run until that has come to its `exec` (ETXTBSY).
pub(super) fn fake_program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    let written = Command::new("/bin/sh")
        .args(["-c", "printf '%s\\n' '#!/bin/sh' \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"])
        .args([path.as_os_str(), script.as_ref()])
        .status();
    assert!(written.unwrap().success());
}

fn options(data: &Path) -> EngineOptions {
    EngineOptions::new(data, Sources::from_environment())
}

async fn start(data: &Path) -> Engines {
    Engines::start(options(data), &Silent).await.unwrap()
}

/// Sends inline commands to Redis and returns what it says to the last.
async fn redis(engines: &Engines, commands: &str) -> String {
    let rest = engines.redis_url.strip_prefix("redis://:").unwrap();
    let (password, address) = rest.trim_end_matches("/0").split_once('@').unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("AUTH {password}\r\n{commands}\r\nQUIT\r\n").as_bytes()).await.unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).await.unwrap();
    said
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Every process whose command line or working folder names `data`.
fn processes_over(data: &Path) -> Vec<String> {
    let data = data.canonicalize().unwrap();
    let names_it = |pid: &str| {
        let folder = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let call = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        folder.starts_with(&data) || String::from_utf8_lossy(&call).contains(&*data.to_string_lossy())
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    pids.filter(|name| name.parse::<u32>().is_ok_and(|pid| pid != std::process::id()) && names_it(name)).collect()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_finds_ports_passwords_and_data_again() {
    let data = tempfile::tempdir().unwrap();
    let first = start(data.path()).await;
    assert!(redis(&first, "SET kept yes").await.ends_with("+OK\r\n+OK\r\n"));
    let urls = [first.nats_url.clone(), first.redis_url.clone(), first.database_url.clone()];
    let pids = first.pids();
    assert_eq!(pids.len(), 3);
    first.stop().await;
    assert!(pids.values().all(|pid| !is_alive(*pid)), "{pids:?}");
    until("no process over the folder", || processes_over(data.path()).is_empty()).await;

    let began = Instant::now();
    let second = start(data.path()).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(urls, [second.nats_url.clone(), second.redis_url.clone(), second.database_url.clone()]);
    assert!(redis(&second, "GET kept").await.contains("yes"));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_fleets_start_at_once_and_are_strangers() {
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let fleets = futures::future::join_all(folders.iter().map(|folder| start(folder.path()))).await;
    let mut urls: Vec<_> = fleets.iter().flat_map(|fleet| [&fleet.nats_url, &fleet.database_url]).collect();
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 6);
    futures::future::join_all(fleets.into_iter().map(Engines::stop)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_is_noticed_and_comes_back_on_its_port() {
    let data = tempfile::tempdir().unwrap();
    let engines = start(data.path()).await;
    let before = engines.pids();
    for engine in Engine::ALL {
        engines.restart(engine).await.unwrap();
    }
    let after = engines.pids();
    assert!(Engine::ALL.iter().all(|engine| before[engine] != after[engine]));
    assert!(redis(&engines, "PING").await.contains("PONG"));

    let pid = i32::try_from(after[&Engine::Nats]).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    let fault = tokio::time::timeout(Duration::from_secs(5), engines.died()).await.unwrap();
    assert!(fault.to_string().starts_with("nats-server has ended by itself (signal: 9"), "{fault}");
    engines.revive(Engine::Nats).await.unwrap();
    assert_eq!(engines.pids().len(), 3);
    drop(engines);
    until("nothing after a drop", || processes_over(data.path()).is_empty()).await;
}

#[tokio::test]
async fn a_disk_without_room_is_told_before_anything_starts() {
    let data = tempfile::tempdir().unwrap();
    let options = EngineOptions { data_room_bytes_min: u64::MAX / 2, ..options(data.path()) };
    let Err(error) = Engines::start(options, &Silent).await else { panic!("it started") };
    assert!(matches!(error, EngineError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("is too full"), "{error}");
    assert!(!data.path().join("postgres").exists() && processes_over(data.path()).is_empty());
}

#[tokio::test]
async fn a_folder_in_use_says_who_uses_it() {
    let data = tempfile::tempdir().unwrap();
    let _home = Home::open(data.path()).unwrap();
    let fault = Engines::start(options(data.path()), &Silent).await.err().unwrap().to_string();
    assert!(fault.starts_with(&format!("another talkfleet (process {})", std::process::id())), "{fault}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let data = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = EngineOptions { redis_port: Some(port), ..options(data.path()) };
    let fault = Engines::start(options, &Silent).await.err().unwrap().to_string();
    assert_eq!(
        fault,
        format!("port {port}, asked for Redis, is taken by another process; free it or choose another one")
    );
    until("the others are gone too", || processes_over(data.path()).is_empty()).await;
}

#[tokio::test]
async fn offline_with_an_old_server_the_sentence_names_both() {
    let (data, bin, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fake_program(bin.path(), "nats-server", "echo 'nats-server: v2.9.10'");
    let here = |text: &str| Some(text.to_owned());
    let sources =
        Sources { path: bin.path().as_os_str().to_owned(), cache: cache.path().to_path_buf(), ..Sources::default() };
    let mut options = EngineOptions::new(data.path(), sources);
    (options.redis, options.database) = (here("redis://elsewhere"), here("postgres://elsewhere"));
    let fault = Engines::start(options, &Silent).await.err().unwrap().to_string();
    assert!(
        fault.contains("Install nats-server 2.12.4 or newer (or name one that runs with --nats), or bring"),
        "{fault}"
    );
    assert!(fault.ends_with("nats-server is 2.9.10, older than 2.12.4)"), "{fault}");
}

#[tokio::test]
async fn what_runs_elsewhere_is_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let mut options = options(data.path());
    options.nats = Some("nats://elsewhere:4222".into());
    options.redis = Some("redis://elsewhere".into());
    options.database = Some("postgres://elsewhere/desk".into());
    options.sources.path = OsString::new();
    let engines = Engines::start(options, &Silent).await.unwrap();
    assert_eq!((engines.nats_url.as_str(), engines.pids().len()), ("nats://elsewhere:4222", 0));
    assert!(matches!(engines.kill(Engine::Nats), Err(EngineError::NotOurs { .. })));
    engines.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_launcher_leaves_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let mut launcher = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "engines::tests::the_launcher_that_is_killed"])
        .env(LAUNCHER_DATA, data.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the launcher's engines run", || data.path().join("running").exists()).await;
    assert!(!processes_over(data.path()).is_empty());
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    until("its children follow it", || processes_over(data.path()).is_empty()).await;
    start(data.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs as the process that a_killed_launcher_leaves_nothing_behind kills"]
async fn the_launcher_that_is_killed() {
    let Some(data) = std::env::var_os(LAUNCHER_DATA).map(PathBuf::from) else { return };
    let _engines = start(&data).await;
    fs::write(data.join("running"), "").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_cluster_of_another_release_is_left_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    fs::create_dir_all(data.path().join("postgres/cluster")).unwrap();
    fs::write(data.path().join("postgres/cluster/PG_VERSION"), "11\n").unwrap();
    let fault = Engines::start(options(data.path()), &Silent).await.err().unwrap().to_string();
    assert!(fault.starts_with("the data folder's cluster was made by PostgreSQL 11, and no programs"), "{fault}");
}

#[tokio::test]
async fn the_doctor_says_what_is_there_and_what_to_do() {
    let (data, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sources = Sources { cache: cache.path().to_path_buf(), ..Sources::default() };
    let findings = doctor(&EngineOptions::new(data.path(), sources)).await;
    let nats = findings.iter().find(|finding| finding.about == "nats-server").unwrap();
    assert_eq!(nats.state, State::Bad);
    assert!(nats.advice.as_ref().unwrap().contains("python3-pip"), "{nats}");
}
