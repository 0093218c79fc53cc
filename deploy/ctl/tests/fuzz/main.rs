//! The corpus of every fuzz target, replayed: what once broke a reader stays mended. `deploy/check/fuzz.sh` looks for more.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

/// Readers of what comes from outside, each with what must hold of everything that it is given.
mod targets;

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use self::targets::{TARGETS, Target};

/// Processor time that one file of a corpus may take: they are small, and this build is not optimised.
const INPUT_MAX: Duration = Duration::from_secs(5);

/// The largest file of a corpus: what is larger takes long to mutate and tells little.
const SEED_BYTES_MAX: u64 = 64 << 10;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus"))
}

/// The files of a folder with their names, sorted.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths: BTreeSet<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let named = |path: &Path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap());
    paths.iter().map(|path| named(path)).collect()
}

fn busy() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.unsigned_abs() as u32)
}

fn hold(target: &Target) {
    for (name, bytes) in target.seeds.iter().flat_map(|seeds| files(&folder().join(seeds))) {
        let from = busy();
        let held = std::panic::catch_unwind(|| (target.run)(&bytes));
        assert!(held.is_ok(), "{}: {name} breaks it; the assertion stands above", target.name);
        let took = busy() - from;
        assert!(took < INPUT_MAX, "{}: {name} took {took:?}", target.name);
    }
}

macro_rules! replayed {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            hold(TARGETS.iter().find(|target| target.name == stringify!($name)).unwrap());
        })*

        #[test]
        fn every_target_is_replayed() {
            let replayed = BTreeSet::from([$(stringify!($name)),*]);
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<BTreeSet<_>>(), replayed);
        }
    };
}

replayed! {
    envelope subject delivery headers frames
    bearer jwt chat completion socket
    config intents labelled messages edited replay
    markdown html text csv jsonl pdf
    model_event model_server
}

#[test]
fn every_corpus_belongs_to_a_target_and_is_small() {
    let known: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let found: BTreeSet<_> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, known);
    for (name, bytes) in known.iter().flat_map(|name| files(&folder().join(name))) {
        assert!(bytes.len() as u64 <= SEED_BYTES_MAX, "{name} has {} bytes", bytes.len());
    }
}

/// A target that is given what breaks its promise says so: none of them passes whatever it is shown.
#[test]
fn a_broken_promise_is_seen() {
    let held = std::panic::catch_unwind(|| targets::sentence("no\nsentence", 100));
    assert!(held.is_err());
}
