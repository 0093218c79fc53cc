//! The worker's binary as an operator meets it before anything runs: its arguments and its configuration.

#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

use std::process::Command;

#[track_caller]
fn check(args: &[&str], code: i32, expected: &str) {
    let out = Command::new(env!("CARGO_BIN_EXE_talkfleet-worker")).args(args).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(code), "{said}");
    assert!(said.contains(expected) && !said.contains("panicked") && said.lines().count() <= 6, "{said}");
}

#[test]
fn a_configuration_is_checked_without_starting() {
    check(&["--check", "--roles", "intent,archive"], 0, "the configuration is sound");
    check(&["--check", "--roles", "cook"], 2, "possible values: intent, retrieval, response, archive");
    check(&["--check", "--set", "turn.gracems=1"], 1, "did you mean 'grace_ms'?");
    check(&["--check", "--set", "nats.url="], 1, "nats.url");
}
