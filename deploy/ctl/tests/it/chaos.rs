//! The chaos command as CI runs it: a short run in which one of each dies, and what it says when a promise is broken.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::harness::built;

async fn chaos(args: &[&str]) -> (bool, Vec<Value>, String) {
    built();
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkfleet"));
    // Tests run side by side with it.
    command.args(["chaos", "--patience", "4", "--json"]).args(args).stdin(Stdio::null()).kill_on_drop(true);
    let out = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    (out.status.success(), serde_json::from_slice(&out.stdout).unwrap_or_default(), said)
}

#[tokio::test]
async fn a_worker_a_gateway_and_a_broker_die_and_every_promise_is_kept() {
    let (passed, reports, said) = chaos(&["--scenario", "mixed", "--load", "0.3"]).await;
    assert!(passed, "{said}\n{reports:#?}");
    let report = &reports[0];
    assert_eq!(report["laws"]["accepted_without_outcome"], 0);
    assert!(report["laws"]["answered"].as_u64().unwrap() >= 60, "{report:#}");
    assert!(report["figures"]["deaths"].as_u64().unwrap() >= 2, "{report:#}");
}

#[tokio::test]
async fn a_scenario_that_does_not_exist_is_told() {
    let (passed, _, said) = chaos(&["--scenario", "earthquake"]).await;
    assert!(!passed && said.contains("--list"), "{said}");
}
