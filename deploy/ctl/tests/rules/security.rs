//! Every threat in the security policy names what shows that it is stopped, and that exists.

use std::collections::BTreeSet;

use crate::tree::{File, none, one, repository, root, sample};

/// The policy with its table of threats.
const POLICY: &str = ".github/SECURITY.md";

/// Lines between a test's attribute and its name: other attributes, a comment.
const REACH: usize = 6;

/// The names of all tests in Rust.
fn tests(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        let marked = |line: &str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let begins = (0..lines.len()).filter(|at| marked(lines[*at]));
        names.extend(begins.filter_map(|at| lines[at + 1..].iter().take(REACH).find_map(|line| named(line))));
    }
    names
}

fn named(line: &str) -> Option<String> {
    let (name, _) = line.trim_start_matches("async ").strip_prefix("fn ")?.split_once('(')?;
    Some(name.to_owned())
}

/// Rows of the table that name nothing, and names that stand for nothing.
fn unshown(policy: &File, tests: &BTreeSet<String>, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    let table = policy.text.split_once("## Threats").map_or("", |(_, rest)| rest);
    for row in table.lines().filter(|line| line.starts_with('|')) {
        let [threat, stops, shown] = row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            findings.push(format!("{POLICY}: a row has three cells: {row}"));
            continue;
        };
        let is_heading = threat == "threat" || threat.starts_with("---");
        let is_group = threat.starts_with("**") && stops.is_empty() && shown.is_empty();
        if is_heading || is_group {
            continue;
        }
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        let paths: Vec<&str> = shown.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|p| p.0).collect();
        if stops.is_empty() || names.len() + paths.len() == 0 {
            findings.push(format!("{POLICY}: say what stops '{threat}', and what shows it"));
        }
        let unknown = names.iter().filter(|name| !tests.contains(**name));
        findings.extend(unknown.map(|name| format!("{POLICY}: there is no test '{name}'")));
        let missing = paths.iter().filter(|path| !exists(path));
        findings.extend(missing.map(|path| format!("{POLICY}: there is no file '{path}'")));
    }
    findings
}

#[test]
fn every_threat_names_a_test_that_exists() {
    let files = repository();
    let policy = files.iter().find(|file| file.path == POLICY).unwrap();
    let tests = tests(&files);
    assert!(tests.len() > 500 && policy.text.contains("## Threats"), "{} tests", tests.len());
    none(&unshown(policy, &tests, |path| root().join(".github").join(path).exists()));

    let known = BTreeSet::from(["a_wall_holds".to_owned()]);
    let row = |row: &str| sample(POLICY, &format!("## Threats\n\n| threat | what | test |\n|---|---|---|\n{row}\n"));
    let check = |text: &str| unshown(&row(text), &known, |path| path == "../.ci/run");
    none(&check("| **Doors** | | |\n| a | b | `a_wall_holds` [run](../.ci/run) |"));
    one(&check("| a | b | `a_wall_fell` |"), "no test 'a_wall_fell'");
    one(&check("| a | b | [x](../gone.sh) |"), "no file '../gone.sh'");
    one(&check("| a | b | |"), "what shows it");
    one(&check("| a |  | `a_wall_holds` |"), "what stops 'a'");
    one(&check("| a | b |"), "three cells");
}

#[test]
fn tests_are_found_behind_their_attributes() {
    let text = "#[test]\nfn a() {}\n#[tokio::test(flavor = \"x\")]\n#[ignore = \"slow\"]\nasync fn b() {}\nfn c() {}\n";
    assert_eq!(tests(&[sample("a.rs", text)]), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
}
