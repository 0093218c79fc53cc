//! A command that changes what the fleet goes by notes it in the audit log.

use crate::tree::{File, none, one, repository, sample};

/// Where operators' commands lie.
const COMMANDS: &str = "deploy/ctl/src/";

/// What sets up a fleet of its own, or works in a lane where nothing is live.
const APART: [&str; 5] = ["up/", "bench/", "chaos/", "rehearse/", "replay/lanes.rs"];

/// What changes something that outlives the command.
const CHANGES: [&str; 9] = [
    ".topology_apply(",
    ".topology_remove(",
    ".put(topology::",
    ".remove(topology::",
    ".mend_dead(",
    ".drop_dead(",
    "publish_knowledge(",
    "publish_intents(",
    "roll_back_intents(",
];

fn unnoted(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Some(path) = file.path.strip_prefix(COMMANDS) else { continue };
        if APART.iter().any(|apart| path.starts_with(apart)) || file.code().any(|(_, line)| line.contains("noted(")) {
            continue;
        }
        for (number, line) in file.code() {
            if let Some(change) = CHANGES.iter().find(|change| line.contains(**change)) {
                findings.push(format!("{}:{number}: {change}…) is to be noted: `audit::noted`", file.path));
            }
        }
    }
    findings
}

#[test]
fn what_operators_change_is_noted() {
    none(&unnoted(&repository()));
    let path = "deploy/ctl/src/keys.rs";
    one(&unnoted(&[sample(path, "bus.remove(topology::KEYS, &hash).await?;")]), "keys.rs:1");
    none(&unnoted(&[sample(
        path,
        "let gone = bus.remove(topology::KEYS, &hash);\nnoted(&connect, deed, gone).await?;",
    )]));
    none(&unnoted(&[sample("deploy/ctl/src/up/mod.rs", "bus.topology_apply(scale).await?;")]));
}
