//! Alerts are tested, explained and routed; they and the boards name only consumers and recordings that there are.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use talkfleet_shared::topology::{Scale, consumer_names};

use crate::tree::{File, none, one, repository, sample};

const FOLDER: &str = "deploy/observe/";
const RUNBOOK: &str = "deploy/observe/runbook.md";

/// What the routes know: anything else would be told to nobody in particular.
const SEVERITIES: [&str; 2] = ["critical", "warning"];
const TEAMS: [&str; 3] = ["desk", "engines", "content"];

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(default)]
    alert: String,
    #[serde(default)]
    record: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    alert_rule_test: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    alertname: String,
    exp_alerts: Vec<serde_json::Value>,
}

fn read<T: for<'de> Deserialize<'de>>(files: &[File], folder: &str) -> Vec<T> {
    let folder = format!("{FOLDER}{folder}/");
    let yaml = files.iter().filter(|file| file.path.starts_with(&folder) && file.path.ends_with(".yml"));
    yaml.map(|file| serde_saphyr::from_str(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path)))
        .collect()
}

fn rules(files: &[File]) -> Vec<Rule> {
    read::<RuleFile>(files, "rules").into_iter().flat_map(|file| file.groups).flat_map(|group| group.rules).collect()
}

/// Alerts that lack a case in which they fire or one in which they are quiet, a section of the runbook, or somebody to tell.
fn unfinished(files: &[File]) -> Vec<String> {
    let cases = read::<TestFile>(files, "tests").into_iter().flat_map(|file| file.tests);
    let cases: Vec<Expected> = cases.flat_map(|case| case.alert_rule_test).collect();
    let runbook = files.iter().find(|file| file.path == RUNBOOK).map_or("", |file| &file.text);
    let mut sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## Talkfleet")).collect();
    let mut findings = Vec::new();
    for rule in rules(files).iter().filter(|rule| !rule.alert.is_empty()) {
        let name = rule.alert.as_str();
        let tested =
            |fires: bool| cases.iter().any(|case| case.alertname == name && case.exp_alerts.is_empty() != fires);
        let mut missing = |missing: bool, what: &str| missing.then(|| findings.push(format!("{name} {what}")));
        missing(!tested(true), "has no test in which it fires");
        missing(!tested(false), "has no test in which it is quiet");
        missing(
            !name.strip_prefix("Talkfleet").is_some_and(|rest| sections.remove(rest)),
            "has no section in the runbook",
        );
        let anchor = format!("{RUNBOOK}#{}", name.to_lowercase());
        missing(rule.annotations.get("runbook_url") != Some(&anchor), "does not lead to its section of the runbook");
        missing(!rule.annotations.contains_key("summary"), "has no summary");
        let label =
            |name: &str, words: &[&str]| rule.labels.get(name).is_some_and(|word| words.contains(&word.as_str()));
        missing(!label("severity", &SEVERITIES), "has no severity that is routed");
        missing(!label("team", &TEAMS), "has no team");
    }
    findings.extend(
        sections.into_iter().map(|section| format!("the runbook explains Talkfleet{section}, which is no alert")),
    );
    findings
}

/// Consumers and recordings that a file names and that are not there.
fn unknown(files: &[File]) -> Vec<String> {
    let consumers = consumer_names(Scale::default());
    let recorded: BTreeSet<String> = rules(files).into_iter().map(|rule| rule.record).collect();
    // compose.yaml asks Prometheus for nothing, and an image's tag looks like a recording.
    let configures = |file: &&File| {
        [".yml", ".yaml", ".json"].iter().any(|end| file.path.ends_with(end)) && file.path != "deploy/compose.yaml"
    };
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("deploy/")).filter(configures) {
        for (number, line) in (1..).zip(file.text.lines()) {
            let line = line.replace('\\', "");
            let named = line.split("consumer=\"").skip(1).filter_map(|rest| rest.split('"').next());
            for name in named.filter(|name| !consumers.contains_key(*name)) {
                findings.push(format!("{}:{number}: there is no consumer '{name}'", file.path));
            }
            let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
            // An image has a tag, a recording a name and what was done.
            let recordings = words.filter(|word| word.starts_with("talkfleet:") && word.matches(':').count() > 1);
            for word in recordings.filter(|word| !recorded.contains(*word)) {
                findings.push(format!("{}:{number}: nothing is recorded as '{word}'", file.path));
            }
        }
    }
    findings
}

#[test]
fn every_alert_is_tested_explained_and_told_to_somebody() {
    let files = repository();
    none(&unfinished(&files));
    assert!(rules(&files).iter().filter(|rule| !rule.alert.is_empty()).count() > 20);

    let rule = |extra: &str| {
        let text = format!(
            "groups:\n- rules:\n  - alert: TalkfleetLate\n    labels: {{ severity: warning, team: desk }}\n    annotations: {{ summary: late, runbook_url: {RUNBOOK}#talkfleetlate }}\n{extra}"
        );
        sample("deploy/observe/rules/a.yml", &text)
    };
    let tests = |cases: &str| sample("deploy/observe/tests/a.yml", &format!("tests:\n- alert_rule_test: [{cases}]\n"));
    let (fires, quiet) =
        ("{ alertname: TalkfleetLate, exp_alerts: [ {} ] }", "{ alertname: TalkfleetLate, exp_alerts: [] }");
    let book = |text: &str| sample(RUNBOOK, text);
    let whole = format!("{fires}, {quiet}");
    none(&unfinished(&[rule(""), tests(&whole), book("## TalkfleetLate\n")]));
    one(&unfinished(&[rule(""), tests(fires), book("## TalkfleetLate\n")]), "quiet");
    one(&unfinished(&[rule(""), tests(quiet), book("## TalkfleetLate\n")]), "in which it fires");
    one(&unfinished(&[rule(""), tests(&whole), book("")]), "no section");
    one(&unfinished(&[rule(""), tests(&whole), book("## TalkfleetLate\n## TalkfleetGone\n")]), "TalkfleetGone");
    let lost = rule("").text.replace("team: desk", "team: nobody").replace("#talkfleetlate", "#late");
    let findings =
        unfinished(&[sample("deploy/observe/rules/a.yml", &lost), tests(&whole), book("## TalkfleetLate\n")]);
    assert_eq!(findings.len(), 2, "{findings:?}");
}

#[test]
fn boards_alerts_and_manifests_name_what_there_is() {
    none(&unknown(&repository()));
    let board = |text: &str| sample("deploy/observe/grafana/dashboards/a.json", text);
    none(&unknown(&[board(r#""expr": "talkfleet_queue_pending{consumer=\"response\"}""#)]));
    one(&unknown(&[board(r#""expr": "talkfleet_queue_pending{consumer=\"respond\"}""#)]), "respond");
    one(&unknown(&[board(r#""expr": "talkfleet:errors:ratio9m""#)]), "talkfleet:errors:ratio9m");
}
