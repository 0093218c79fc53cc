//! A short rehearsal of the manifests' autoscaling: workers come and go by the queue's lag, and nothing is lost.

use serde_json::Value;

use crate::harness::built;

/// Where the response role's own ScaledObject stands.
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/components/keda/response.yaml");

/// Half an hour of the cluster in a minute and a half.
const SHORT: [&str; 10] =
    ["--speedup", "20", "--day-minutes", "30", "--peak", "0.5", "--promotion", "2.5", "--workers-max", "8"];

#[tokio::test]
async fn workers_come_and_go_by_lag_and_nothing_is_lost() {
    built();
    let page = tempfile::NamedTempFile::new().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_talkfleet"));
    command.args(["rehearse", "--manifests", MANIFEST, "--json", "--page"]).arg(page.path()).args(SHORT);
    let done = command.kill_on_drop(true).output().await.unwrap();
    let complaint = String::from_utf8_lossy(&done.stderr);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {complaint}"));

    // How soon and how steadily depends on what else this machine does; what is lost does not.
    let day = &report["candidates"][0];
    assert_eq!((&day["lost"], &day["left_on_queue"]), (&0.into(), &0.into()), "{}", report["verdicts"]);
    assert!(day["answered"].as_u64().unwrap() > 300, "{}", report["verdicts"]);
    assert!(day["scale_ins"].as_u64().unwrap() >= 1 && day["replicas_max"].as_u64().unwrap() >= 4, "{day}");
    assert_eq!(report["verdicts"].as_array().unwrap().len(), 4);
    assert_eq!(done.status.success(), report["passed"].as_bool().unwrap());
    let page = std::fs::read_to_string(page.path()).unwrap();
    assert!(page.contains("<svg") && page.contains("Verdicts"));
}
