//! What operators hand in: read within bounds, or refused in sentences that name the place.

use std::{cell::RefCell, fs, path::PathBuf};

use talkfleet::{
    fuzz,
    replay::{
        Triple,
        report::{self, Facts, Options},
    },
};
use talkfleet_gateway::config::GatewayConfig;
use talkfleet_shared::{
    chat::{Ask, TEXT_CHARS_MAX, TurnRecord},
    config::{self, GATEWAY_DEFAULTS, WORKER_DEFAULTS},
    envelope::{self, Format},
};
use talkfleet_worker::{config::WorkerConfig, intent};
use tempfile::TempDir;

use super::sentence;

/// A folder of this thread's own, in memory where there is such a place.
fn scratch(name: &str) -> PathBuf {
    thread_local! {
        static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    FOLDER.with_borrow_mut(|folder| {
        let memory = std::path::Path::new("/dev/shm");
        let folder = folder.get_or_insert_with(|| {
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
        });
        folder.path().join(name)
    })
}

/// A configuration file, or lines of `section.key=value` as flags.
pub(super) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (file, flags) = match text.strip_prefix("--set\n") {
        Some(lines) => (None, lines.lines().filter_map(|line| config::parse_setting(line).ok()).collect()),
        None => {
            let path = scratch("talkfleet.toml");
            fs::write(&path, text).expect("a file can be written");
            (Some(path), Vec::new())
        }
    };
    let gateway = config::load::<GatewayConfig>(GATEWAY_DEFAULTS, file.as_deref(), &flags).map(drop);
    let worker = config::load::<WorkerConfig>(WORKER_DEFAULTS, file.as_deref(), &flags).map(drop);
    for error in [gateway, worker].into_iter().filter_map(Result::err) {
        assert!(!error.0.is_empty() && error.0.iter().all(|line| !line.is_empty()), "{error:?}");
        let told = error.to_string();
        assert!(!told.contains("SECRET") || has_secret_elsewhere(text), "a password is printed: {told}");
    }
}

/// Whether a password stands where no password belongs, such as in the name of a setting.
fn has_secret_elsewhere(text: &str) -> bool {
    let in_address = |before: &str| {
        let authority = before.rsplit_once("://").map(|(_, authority)| authority);
        authority.is_some_and(|text| text.ends_with(':') && !text.contains(['/', '?', '#', '\\', '"', ' ']))
    };
    let belongs = |line: &str| {
        let name = line.split('=').next().unwrap_or_default();
        let is_named = |words: &[&str]| !name.contains("SECRET") && words.iter().any(|word| name.contains(word));
        is_named(&["password", "api_key"])
            || is_named(&["url"]) && line.match_indices("SECRET").all(|(at, _)| in_address(&line[..at]))
    };
    text.lines().any(|line| line.contains("SECRET") && !belongs(line))
}

/// A file of intents: the desk's YAML, Rasa's, or JSON lines.
pub(super) fn intents(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match intent::parse(text) {
        Ok(set) => {
            let chars: usize = set.examples.iter().map(|example| example.text.len()).sum();
            assert!(chars <= 64 * data.len() + 4_096, "{} bytes became {chars}", data.len());
            for example in &set.examples {
                assert!(set.intents.iter().any(|intent| intent.name == example.intent), "{:?}", example.intent);
            }
            for (at, intent) in set.intents.iter().enumerate() {
                assert!(set.intents[..at].iter().all(|other| other.name != intent.name), "{} twice", intent.name);
            }
            assert_eq!(intent::checked(set.clone()).as_ref(), Ok(&set));
        }
        Err(error) => sentence(&error.to_string(), 2_000),
    }
}

/// A labelled file of questions.
pub(super) fn labelled(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match fuzz::labelled(text) {
        Ok(questions) => {
            assert!(!questions.is_empty() && questions.len() <= text.len());
            assert!(questions.iter().all(|(question, _)| (1..=TEXT_CHARS_MAX).contains(&question.chars().count())));
        }
        Err(why) => sentence(&why, 1_000),
    }
}

/// A file of messages for `publish`: every line goes out or is named.
pub(super) fn messages(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (sent, skipped) = fuzz::messages(text);
    assert_eq!(sent + skipped.len(), text.lines().filter(|line| !line.trim().is_empty()).count());
    skipped.iter().for_each(|why| sentence(why, 600));
}

/// A dead letter that somebody edited.
pub(super) fn edited(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match fuzz::edited(text) {
        Ok(stored) => {
            let ask: Ask = envelope::decode_large(&stored, Format::Json).expect("a worker reads what is stored");
            assert!(ask.text.as_str().chars().count() <= TEXT_CHARS_MAX);
        }
        Err(why) => sentence(&why, 1_000),
    }
}

/// The files of a replay's folder one after the other, parted by lines of `@`: the run, its turns, three sides; and once
/// more as the records of a report.
pub(super) fn replay(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    fuzz::replay_flags(text.lines().next().unwrap_or_default()).iter().for_each(|written| sentence(written, 400));
    let folder = scratch("run");
    fs::create_dir_all(&folder).expect("a folder can be made");
    let names = ["run.json", "turns.jsonl", "baseline_a.jsonl", "baseline_b.jsonl", "candidate.jsonl"];
    let mut parts = text.split("\n@\n");
    for name in names {
        fs::write(folder.join(name), parts.next().unwrap_or_default()).expect("a file can be written");
    }
    match fuzz::replay(&folder, &serde_json::json!({})) {
        Ok((turns, answers)) => assert!(turns + answers <= text.lines().count()),
        Err(why) => sentence(&why, 2_000),
    }
    compared(text);
}

/// Records that somebody wrote by hand are compared and shown, whatever they hold.
fn compared(text: &str) {
    let records: Vec<TurnRecord> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).take(12).collect();
    let triple = |four: &[TurnRecord]| Triple {
        original: four[0].clone(),
        baseline_a: four.get(1).cloned(),
        baseline_b: four.get(2).cloned(),
        candidate: four.get(3).cloned(),
    };
    let triples: Vec<Triple> = records.chunks(4).map(triple).collect();
    if triples.is_empty() {
        return;
    }
    let report = report::compare(&triples, &Facts::default(), &Options::default());
    assert_eq!(report.turns.total, triples.len());
    let page = report.html();
    let own = report::compare(&[], &Facts::default(), &Options::default()).html();
    for tag in ["<script", "<img", "<iframe"] {
        assert!(page.matches(tag).count() <= own.matches(tag).count(), "a record's {tag} is on the page");
    }
    assert!(!report.text().is_empty());
}
