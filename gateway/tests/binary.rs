//! The gateway's binary as an operator meets it before anything runs: its arguments and its configuration.

#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

use std::process::Command;

#[track_caller]
fn check(args: &[&str], code: i32, expected: &str) {
    check_with(args, &[], code, expected);
}

#[track_caller]
fn check_with(args: &[&str], variables: &[(&str, &str)], code: i32, expected: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkfleet-gateway"));
    let out = command.args(args).envs(variables.iter().copied()).output().unwrap();
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

#[test]
fn a_secret_may_lie_in_a_file() {
    use std::{fs, os::unix::fs::PermissionsExt};
    const FILE: &str = "TALKFLEET_NATS__URL_FILE";
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("secrets-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("url");
    let secret = path.to_str().unwrap();
    fs::write(&path, "nats://desk:geheim@127.0.0.1:1\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    check_with(&["--check"], &[(FILE, secret)], 0, "the configuration is sound\n");
    check_with(
        &["--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"],
        &[(FILE, secret)],
        1,
        "NATS at nats://…@127.0.0.1:1",
    );
    check_with(
        &["--check"],
        &[(FILE, secret), ("TALKFLEET_NATS__URL", "nats://a")],
        1,
        "are both set; leave one of them out",
    );
    check_with(&["--check"], &[(FILE, "nowhere")], 1, "TALKFLEET_NATS__URL_FILE: the file nowhere does not exist");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    check_with(&["--check"], &[(FILE, secret)], 0, "but TALKFLEET_NATS__URL_FILE: the file");
    check(&["--check", "--set", &format!("nats.nkey_file={secret}")], 0, "but nats.nkey_file: the file");
    fs::remove_dir_all(&dir).unwrap();
}
