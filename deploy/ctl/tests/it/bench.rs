//! The bench command as CI runs it: a short load on a fleet of its own, every message accounted for, every process weighed.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::harness::built;

async fn bench(args: &[&str]) -> (bool, Option<Value>, String) {
    built();
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkfleet"));
    command.arg("bench").args(args).stdin(Stdio::null()).kill_on_drop(true);
    let out = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    (out.status.success(), told.lines().last().and_then(|line| serde_json::from_str(line).ok()), said)
}

fn counted(report: &Value) -> u64 {
    let of = |key: &str| report[key].as_u64().unwrap();
    ["answered", "shed", "late", "errors", "unanswered"].into_iter().map(of).sum()
}

#[tokio::test]
async fn every_message_is_accounted_for_and_every_process_is_weighed() {
    let page = tempfile::tempdir().unwrap();
    let out = page.path().join("report");
    let load = ["--rate", "20", "--seconds", "2", "--warm-up", "1", "--clients", "2", "--deadline-ms", "60000"];
    let (passed, report, said) =
        bench(&[&load[..], &["--json", "--fail-on", "unanswered=0", "--out", out.to_str().unwrap()]].concat()).await;
    let report = report.unwrap_or_else(|| panic!("{said}"));
    assert!(passed, "{said}\n{report:#}");
    assert_eq!(report["issued"].as_u64().unwrap(), counted(&report), "{report:#}");
    assert!(report["answered"].as_u64().unwrap() >= 20, "{report:#}");
    for process in ["nats", "redis", "postgres", "gateway-1", "worker-1"] {
        assert!(report["cpu_us"][process].is_number(), "{process}: {report:#}");
        assert!(report["rss_mib"][process].as_f64().unwrap() > 1.0, "{process}: {report:#}");
    }
    assert!(report["cpu_us_per_turn"].as_f64().unwrap() > 0.0 && report["p50_ms"].as_f64().unwrap() > 0.0);
    let page = std::fs::read_to_string(out.join("index.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 3);
}

#[tokio::test]
async fn what_makes_no_sense_is_told_in_a_sentence() {
    let (passed, _, said) = bench(&["--scenario", "earthquake"]).await;
    assert!(!passed && said.contains("--list"), "{said}");
    let (passed, _, said) = bench(&["--fail-on", "p99ms=1"]).await;
    assert!(!passed && said.contains("nearest is 'p99_ms'"), "{said}");
    let (passed, _, said) = bench(&["--target", "https://desk.example", "--key", "k"]).await;
    assert!(!passed && said.contains("plain HTTP"), "{said}");
}
