//! The gateway's binary as an operator meets it before anything runs: its arguments and its configuration.

#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

use std::process::Command;

#[track_caller]
fn check(args: &[&str], code: i32, expected: &str) {
    let out = Command::new(env!("CARGO_BIN_EXE_talkfleet-gateway")).args(args).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(code), "{said}");
    assert!(said.contains(expected) && !said.contains("panicked") && said.lines().count() <= 6, "{said}");
}

#[test]
fn a_configuration_is_checked_without_starting() {
    check(&["--check"], 0, "the configuration is sound");
    check(&["--check", "--set", "http.lisen=127.0.0.1:1"], 1, "did you mean 'listen'?");
    check(&["--check", "--set", "http.listen"], 2, "give it as section.key=value");
    check(&["--check", "--config", "nowhere.toml"], 1, "nowhere.toml does not exist");
    check(
        &["--set", "http.listen=203.0.113.1:80", "--set", "admin.listen=127.0.0.1:0"],
        1,
        "http.listen '203.0.113.1:80' cannot be listened on",
    );
}
