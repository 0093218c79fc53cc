//! Every file opens with its sentence, stays short, and names neither this machine nor where packages come from.

use crate::tree::{File, none, one, repository, sample};

/// A file past this many lines, tests not counted, is two rooms.
const LINES_MAX: usize = 400;

/// Paths of whoever's machine it was written on, and addresses that belong into a machine's own configuration.
/// Written in two parts each, so that this file may be read too.
const MACHINE: [&str; 9] = [
    concat!("/wo", "rk/main"),
    concat!("/wo", "rk/shared"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tmp", "/tf"),
    concat!("index", "-url"),
    concat!("find", "-links"),
    concat!("files.python", "hosted"),
    concat!("registry.npm", "js"),
];

fn without_opening(files: &[File]) -> Vec<String> {
    let closed = |file: &&File| file.is_rust() && !file.text.starts_with("//! ");
    files.iter().filter(closed).map(|file| format!("{}: open it with `//! ` and what it is for", file.path)).collect()
}

fn too_long(files: &[File]) -> Vec<String> {
    let lines = |file: &File| if file.is_test() { 0 } else { file.before_tests().count() };
    let long = files.iter().filter(|file| file.is_rust() && lines(file) > LINES_MAX);
    long.map(|file| format!("{}: {} lines, at most {LINES_MAX}", file.path, lines(file))).collect()
}

fn of_a_machine(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            if let Some(found) = MACHINE.iter().find(|text| line.contains(*text)) {
                findings.push(format!("{}:{number}: '{found}' belongs to one machine", file.path));
            }
        }
    }
    findings
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    none(&without_opening(&repository()));
    one(&without_opening(&[sample("a.rs", "use std::fmt;\n")]), "a.rs");
}

#[test]
fn no_file_is_two_rooms() {
    none(&too_long(&repository()));
    one(&too_long(&[sample("a.rs", &"x\n".repeat(LINES_MAX + 1))]), "401 lines");
    let tested = "x\n".repeat(LINES_MAX) + "#[cfg(test)]\nmod tests {\n" + &"x\n".repeat(99) + "}\n";
    none(&too_long(&[sample("a.rs", &tested)]));
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    none(&of_a_machine(&repository()));
    one(&of_a_machine(&[sample("a.md", "see /tmp\nthen /wo\u{72}k/main/x")]), "a.md:2");
}
