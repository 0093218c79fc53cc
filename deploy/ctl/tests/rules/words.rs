//! Subjects, headers and metrics are spelled once.

use talkfleet_shared::metrics::Metrics;

use crate::tree::{File, none, one, repository, sample};

/// Where subjects are spelled.
const SUBJECTS: &str = "shared/src/subject.rs";

/// Where headers are spelled.
const HEADERS: &str = "shared/src/header.rs";

/// What a scrape appends to a metric's name.
const SUFFIXES: [&str; 6] = ["_total", "_bucket", "_sum", "_count", "_created", "_info"];

/// The boards' role in the database, which is no metric.
const BOARDS_ROLE: &str = "talkfleet_boards";

/// The values of the constants in a file: `pub const A: &str = "b";` gives `b`.
fn constants(file: &File) -> Vec<String> {
    let value =
        |line: &str| Some(line.strip_prefix("pub const ")?.split_once("= \"")?.1.strip_suffix("\";")?.to_owned());
    file.code().filter_map(|(_, line)| value(line)).collect()
}

/// Places outside `home` where one of these texts stands.
fn spelled_again(files: &[File], home: &str, texts: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && file.path != home) {
        for (number, line) in file.code() {
            if let Some(text) = texts.iter().find(|text| line.contains(*text)) {
                findings.push(format!("{}:{number}: {text} is spelled in {home} only", file.path));
            }
        }
    }
    findings
}

/// Names of metrics in boards, alerts and autoscalers that no process has.
fn unknown_metrics(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let told = |file: &&File| {
        let manifest = file.path.starts_with("deploy/k8s/") && file.path.ends_with(".yaml");
        file.path.starts_with("deploy/observe/") || manifest
    };
    for file in files.iter().filter(told) {
        for (number, line) in (1..).zip(file.text.lines()) {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
            // With a colon it is a recording rule's own name.
            let named = |word: &&str| word.starts_with("talkfleet_") && !word.contains(':') && *word != BOARDS_ROLE;
            let metrics = words.filter(named);
            for metric in metrics.filter(|metric| !is_metric(metric)) {
                findings.push(format!("{}:{number}: no process has a metric '{metric}'", file.path));
            }
        }
    }
    findings
}

fn is_metric(name: &str) -> bool {
    let known = |name: &str| Metrics::NAMES.contains(&name) || name == "talkfleet_build";
    known(name) || SUFFIXES.iter().any(|suffix| name.strip_suffix(suffix).is_some_and(known))
}

#[test]
fn subjects_are_spelled_once() {
    let texts = ["\"chat.v1".to_owned()];
    none(&spelled_again(&repository(), SUBJECTS, &texts));
    one(&spelled_again(&[sample("worker/src/a.rs", "let s = \"chat.v1.ask\";")], SUBJECTS, &texts), "a.rs:1");
}

#[test]
fn headers_are_spelled_once() {
    let files = repository();
    let home = files.iter().find(|file| file.path == HEADERS).unwrap();
    let texts: Vec<String> = constants(home).into_iter().map(|name| format!("\"{name}\"")).collect();
    assert!(texts.len() > 10, "{texts:?}");
    none(&spelled_again(&files, HEADERS, &texts));
    for text in &texts {
        one(&spelled_again(&[sample("worker/src/a.rs", text)], HEADERS, &texts), text);
    }
}

#[test]
fn boards_and_alerts_name_only_metrics_that_exist() {
    none(&unknown_metrics(&repository()));
    let text = "rate(talkfleet_turns_total[5m])\nsum(talkfleet_turn_seconds_bucket)\ntalkfleet_trun_seconds";
    one(&unknown_metrics(&[sample("deploy/observe/alerts.yaml", text)]), "alerts.yaml:3");
}
