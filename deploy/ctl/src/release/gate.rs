//! PURE: whether a replay's report lets a candidate meet customers: it passed, it is of this very version, and it is fresh.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Deserialize;

/// What of a replay's report the gate looks at.
#[derive(Debug, Deserialize)]
pub(super) struct Replayed {
    facts: Facts,
    verdict: Verdict,
    versions: BTreeMap<String, Sides>,
}

#[derive(Debug, Deserialize)]
struct Facts {
    ended_at_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Verdict {
    passed: bool,
}

#[derive(Debug, Deserialize)]
struct Sides {
    candidate: BTreeSet<String>,
}

/// What speaks against it, a sentence each.
pub(super) fn objections(replayed: &Replayed, version: &str, now_ms: u64, age_max: Duration) -> Vec<String> {
    let mut objections = Vec::new();
    if !replayed.verdict.passed {
        objections.push("the replay did not pass its limits".to_owned());
    }
    let nobody = BTreeSet::new();
    let answered = replayed.versions.get("worker").map_or(&nobody, |sides| &sides.candidate);
    if answered.len() != 1 || !answered.contains(version) {
        let who: Vec<&str> = answered.iter().map(String::as_str).collect();
        let who = if who.is_empty() { "nobody".to_owned() } else { who.join(" and ") };
        objections.push(format!("the replay was answered by {who}, and the candidate is {version}"));
    }
    let age = Duration::from_millis(now_ms.saturating_sub(replayed.facts.ended_at_ms));
    if age > age_max {
        let hours = |age: Duration| age.as_secs_f64() / 3_600.0;
        objections.push(format!("the replay is {:.1} h old, and may be {:.1} h", hours(age), hours(age_max)));
    }
    objections
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[track_caller]
    fn check(passed: bool, versions: &[&str], ended_at_ms: u64, expected: &[&str]) {
        let report = serde_json::json!({
            "shape": 1,
            "facts": { "ended_at_ms": ended_at_ms, "tenant": "demo" },
            "verdict": { "passed": passed, "checks": [] },
            "versions": { "worker": { "baseline_a": ["1"], "baseline_b": ["1"], "candidate": versions } },
        });
        let replayed: Replayed = serde_json::from_value(report).unwrap();
        let found = objections(&replayed, "2", 2 * 86_400_000, DAY);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn a_replay_lets_its_own_candidate_through_for_a_while() {
        let noon_ms = 86_400_000 + 43_200_000;
        check(true, &["2"], noon_ms, &[]);
        check(false, &["2"], noon_ms, &["did not pass"]);
        check(true, &["1"], noon_ms, &["answered by 1, and the candidate is 2"]);
        check(true, &["1", "2"], noon_ms, &["answered by 1 and 2"]);
        check(true, &[], noon_ms, &["answered by nobody"]);
        check(true, &["2"], 86_400_000 - 1, &["24.0 h old, and may be 24.0 h"]);
        check(false, &["3"], 0, &["did not pass", "answered by 3", "48.0 h old"]);
    }
}
