//! What the manifests say agrees with the code: consumers, thresholds, limits, times, configuration.

use async_nats::jetstream::stream::{Config as Stream, StorageType};
use serde_json::Value;
use talkfleet_gateway::config::GatewayConfig;
use talkfleet_shared::{
    config::{GATEWAY_DEFAULTS, WORKER_DEFAULTS},
    topology::{self, ARCHIVE, RESPONSE, Scale},
};
use talkfleet_worker::config::WorkerConfig;

use crate::tree::{File, none, one, repository, root, sample};

/// What differs from the defaults in a cluster, and in the image.
const GATEWAY: &str = "deploy/k8s/base/fleet/gateway.toml";
const WORKER: &str = "deploy/k8s/base/fleet/worker.toml";

/// A lag of so much of what a worker takes at once: below, workers idle; above, they are never enough.
const LAG: std::ops::RangeInclusive<f64> = 0.6..=0.8;

/// Fewer seconds of looking back than this, and what is scaled in comes back a minute later.
const SCALE_DOWN_S_MIN: f64 = 120.0;

/// What a process is left beyond its own grace before it is killed.
const SLOW_NODE_S: f64 = 5.0;

/// Documents of the manifests that are things, with their files.
fn things<'a>(files: &'a [File], kind: &'a str) -> impl Iterator<Item = (&'a str, Value)> + 'a {
    let manifests = files.iter().filter(|file| file.path.starts_with("deploy/k8s/") && file.path.ends_with(".yaml"));
    manifests.flat_map(move |file| {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&file.text).unwrap_or_default();
        documents.into_iter().filter(move |thing| thing["kind"] == kind).map(|thing| (file.path.as_str(), thing))
    })
}

/// A key of the configuration as it is in a cluster.
fn setting(files: &[File], path: &str, defaults: &str, section: &str, key: &str) -> f64 {
    let text = files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str());
    let of = |text: &str| {
        let table: toml::Table = toml::from_str(text).unwrap();
        table.get(section)?.get(key)?.as_integer()
    };
    of(text).or_else(|| of(defaults)).unwrap() as f64
}

fn worker(files: &[File], section: &str, key: &str) -> f64 {
    setting(files, WORKER, WORKER_DEFAULTS, section, key)
}

fn gateway(files: &[File], section: &str, key: &str) -> f64 {
    setting(files, GATEWAY, GATEWAY_DEFAULTS, section, key)
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// What one process of a role has in hand at once, and what all of them may have at the broker.
fn hands(files: &[File], role: &str) -> Option<(f64, f64)> {
    let acks = |consumer: &str| {
        let wanted = topology::consumers(Scale::default()).into_iter();
        let found = wanted.map(|(_, config)| config).find(|config| config.durable_name.as_deref() == Some(consumer));
        found.unwrap().max_ack_pending as f64
    };
    match role {
        "response" => Some((worker(files, "roles", "response_concurrency"), acks(RESPONSE))),
        // One batch is written while the next is gathered.
        "archive" => Some((2.0 * worker(files, "roles", "archive_batch_rows"), acks(ARCHIVE))),
        "gateway" => Some((gateway(files, "http", "connections_max"), f64::INFINITY)),
        _ => None,
    }
}

/// What an autoscaler wants of one process: lags and connections, whatever it is that tells them.
fn thresholds(thing: &Value) -> Vec<f64> {
    let triggers = thing["spec"]["triggers"].as_array().cloned().unwrap_or_default();
    let lags = triggers.iter().filter(|trigger| trigger["metricType"].is_null());
    let lags = lags.filter_map(|trigger| {
        number(&trigger["metadata"]["lagThreshold"]).or_else(|| number(&trigger["metadata"]["threshold"]))
    });
    let metrics = thing["spec"]["metrics"].as_array().cloned().unwrap_or_default();
    let external =
        metrics.iter().flat_map(|metric| [&metric["external"], &metric["pods"]]).cloned().collect::<Vec<_>>();
    let averages = external.iter().filter_map(|metric| number(&metric["target"]["averageValue"]));
    lags.chain(averages).collect()
}

fn scalers(files: &[File]) -> Vec<(String, Value)> {
    let both = ["ScaledObject", "HorizontalPodAutoscaler"].into_iter().flat_map(|kind| things(files, kind));
    both.map(|(path, thing)| (path.to_owned(), thing)).collect()
}

/// Autoscalers that want more or less of a process than it takes, or start more than the broker serves.
fn unfit_scalers(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, thing) in scalers(files) {
        let Some((hand, acks)) = thing["metadata"]["name"].as_str().and_then(|role| hands(files, role)) else {
            continue;
        };
        let wanted = thresholds(&thing);
        if wanted.is_empty() {
            findings.push(format!("{path}: does not say what one process shall have in hand"));
        }
        for threshold in wanted.iter().filter(|threshold| !LAG.contains(&(*threshold / hand))) {
            findings.push(format!("{path}: {threshold} is {:.2} of the {hand} that a process takes", threshold / hand));
        }
        let parked = if thing["metadata"]["name"] == "response" { worker(files, "plan", "parked_max") } else { 0.0 };
        let most = number(&thing["spec"]["maxReplicaCount"]).or_else(|| number(&thing["spec"]["maxReplicas"])).unwrap();
        if most * (hand + parked) > acks {
            findings
                .push(format!("{path}: {most} processes of {} each are above max_ack_pending, {acks}", hand + parked));
        }
    }
    findings
}

/// Autoscalers that take a lull for the evening.
fn hasty_scalers(files: &[File]) -> Vec<String> {
    let behavior = |thing: &Value| match thing["kind"] == "ScaledObject" {
        true => thing["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"].clone(),
        false => thing["spec"]["behavior"].clone(),
    };
    let window = |thing: &Value| number(&behavior(thing)["scaleDown"]["stabilizationWindowSeconds"]).unwrap_or(0.0);
    let hasty = scalers(files).into_iter().filter(|(_, thing)| window(thing) < SCALE_DOWN_S_MIN);
    hasty
        .map(|(path, thing)| format!("{path}: scales in after {} s; wait {SCALE_DOWN_S_MIN}", window(&thing)))
        .collect()
}

/// Consumers that no stream of ours has, in manifests, alerts and boards.
fn unknown_consumers(files: &[File]) -> Vec<String> {
    let known = topology::consumer_names(Scale::default());
    let mut findings = Vec::new();
    for (path, thing) in things(files, "ScaledObject") {
        for trigger in thing["spec"]["triggers"].as_array().unwrap() {
            let told = |key: &str| trigger["metadata"][key].as_str();
            let Some(consumer) = told("consumer") else { continue };
            if known.get(consumer).copied() != told("stream") {
                findings.push(format!("{path}: no consumer {consumer} reads {}", told("stream").unwrap_or("nothing")));
            }
        }
    }
    let told = |file: &&File| ["deploy/k8s/", "deploy/observe/"].iter().any(|home| file.path.starts_with(home));
    for file in files.iter().filter(told) {
        for (number, line) in (1..).zip(file.text.lines()) {
            // In JSON the quotes are escaped.
            let line = line.replace('\\', "");
            for named in ["consumer=\"", "consumer=~\"", "matchLabels: { consumer: "] {
                for rest in line.split(named).skip(1) {
                    let names = rest.split(['"', ' ', '}']).next().unwrap_or_default();
                    for name in names.split('|').filter(|name| !known.contains_key(*name) && !name.starts_with('$')) {
                        findings.push(format!("{}:{number}: there is no consumer '{name}'", file.path));
                    }
                }
            }
        }
    }
    findings
}

/// Where the broker's accounts are.
const BROKER: &str = "deploy/nats/nats-server.conf";

/// Autoscalers that look for the queue in an account which the broker does not have.
fn unknown_accounts(files: &[File]) -> Vec<String> {
    let broker = files.iter().find(|file| file.path == BROKER).map_or("", |file| file.text.as_str());
    let has = |account: &str| broker.lines().any(|line| line.trim_start().starts_with(&format!("{account} {{")));
    let mut findings = Vec::new();
    for (path, thing) in things(files, "ScaledObject") {
        let triggers = thing["spec"]["triggers"].as_array().unwrap();
        for trigger in triggers.iter().filter(|trigger| trigger["type"] == "nats-jetstream") {
            let account = trigger["metadata"]["account"].as_str().unwrap_or_default();
            if !has(account) {
                findings.push(format!("{path}: {BROKER} has no account '{account}'"));
            }
        }
    }
    findings
}

/// Pods that are killed before their process has gone by itself.
fn early_kills(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, thing) in things(files, "Deployment") {
        let pod = &thing["spec"]["template"]["spec"];
        let Some(kill_s) = number(&pod["terminationGracePeriodSeconds"]) else { continue };
        let containers = pod["containers"].as_array().cloned().unwrap_or_default();
        let sleeps =
            containers.iter().filter_map(|container| number(&container["lifecycle"]["preStop"]["sleep"]["seconds"]));
        let of = if path.ends_with("gateway.yaml") { gateway } else { worker };
        let needed_s = sleeps.sum::<f64>() + of(files, "admin", "grace_ms") / 1e3 + SLOW_NODE_S;
        if kill_s < needed_s {
            findings.push(format!("{path}: killed after {kill_s} s, but it needs {needed_s}"));
        }
    }
    findings
}

/// Answers that a process which is asked to go cannot finish, though nobody asked for a longer deadline than the usual.
fn cut_answers(files: &[File]) -> Vec<String> {
    let longest = gateway(files, "turns", "budget_ms");
    let graces = [
        ("turn.grace_ms", worker(files, "turn", "grace_ms")),
        ("the gateway's admin.grace_ms", gateway(files, "admin", "grace_ms")),
    ];
    let cut = graces.into_iter().filter(|(_, grace)| *grace <= longest);
    cut.map(|(key, grace)| format!("{key} is {grace}, but an answer may take {longest}")).collect()
}

/// Variables in manifests and compose.yaml that name no key.
fn unknown_variables(files: &[File]) -> Vec<String> {
    let knows = |defaults: &str, section: &str, key: &str| {
        let table: toml::Table = toml::from_str(defaults).unwrap();
        table.get(section).and_then(|section| section.get(key)).is_some()
    };
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("deploy/k8s/") || file.path == "deploy/compose.yaml") {
        for (number, line) in (1..).zip(file.text.lines().map(|line| line.split(" #").next().unwrap_or_default())) {
            for word in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                let Some((section, key)) = word.strip_prefix("TALKFLEET_").and_then(|rest| rest.split_once("__"))
                else {
                    continue;
                };
                let (section, key) = (section.to_lowercase(), key.to_lowercase().replace("__", "."));
                let known =
                    |key: &str| [GATEWAY_DEFAULTS, WORKER_DEFAULTS].iter().any(|text| knows(text, &section, key));
                if !known(&key) && !key.strip_suffix("_file").is_some_and(known) {
                    findings.push(format!("{}:{number}: {word} is no key of the configuration", file.path));
                }
            }
        }
    }
    findings
}

/// Where a broker's bound and the size of its volume stand, each with the words before it.
const BROKERS: [(&str, &str, &str, &str); 2] = [
    (
        "deploy/k8s/overlays/small/engines/nats.conf",
        "deploy/k8s/overlays/small/engines/nats.yaml",
        "max_file_store: ",
        "storage: ",
    ),
    ("deploy/k8s/nats/values.yaml", "deploy/k8s/nats/values.yaml", "maxSize: ", "size: "),
];

/// What a record and a message take on disk, MiB: four times the 1 KiB of the demo's.
const MESSAGE_MIB: f64 = 4.0 / 1_024.0;

/// The size that stands last behind these words, MiB.
fn size_mib(files: &[File], path: &str, before: &str) -> Option<f64> {
    let text = files.iter().find(|file| file.path == path)?.text.as_str();
    let sizes = text.split(before).skip(1).filter_map(|rest| {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].get(..2)?;
        [("Mi", 1.0), ("Gi", 1_024.0)].into_iter().find(|(name, _)| *name == unit).map(|(_, mib)| number * mib)
    });
    sizes.last()
}

/// Brokers that are full before their streams are, and volumes that are full before their broker says so.
fn narrow_brokers(files: &[File]) -> Vec<String> {
    let of = |stream: &Stream| match stream.max_bytes {
        bytes if bytes > 0 => bytes as f64 / f64::from(1 << 20),
        _ => stream.max_messages.max(0) as f64 * MESSAGE_MIB,
    };
    let filed = |stream: &Stream| stream.storage == StorageType::File;
    let needed: f64 = topology::streams(Scale::default()).iter().filter(|stream| filed(stream)).map(of).sum();
    let mut findings = Vec::new();
    for (conf, volume, bound, size) in BROKERS {
        let Some(bound) = size_mib(files, conf, bound) else { continue };
        if bound < needed {
            findings.push(format!("{conf}: {bound} MiB do not hold the {needed:.0} MiB of all streams"));
        }
        if size_mib(files, volume, size).is_none_or(|size| size <= bound) {
            findings.push(format!("{volume}: the volume must be larger than the {bound} MiB that the broker takes"));
        }
    }
    findings
}

/// Crates whose manifest the image's build does not take along before the sources.
fn missing_manifests(files: &[File]) -> Vec<String> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str());
    let workspace: toml::Table = toml::from_str(text("Cargo.toml")).unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap().iter().filter_map(|member| member.as_str());
    let lacks = |member: &&str| !text("deploy/Dockerfile").contains(&format!("COPY {member}/Cargo.toml {member}/"));
    members
        .filter(lacks)
        .map(|member| format!("deploy/Dockerfile: copy {member}/Cargo.toml before the sources"))
        .collect()
}

#[test]
fn autoscalers_want_what_a_process_takes() {
    let mut files = repository();
    for kind in ["ScaledObject", "HorizontalPodAutoscaler"] {
        let scaled: Vec<_> = things(&files, kind).map(|(_, thing)| thing["metadata"]["name"].clone()).collect();
        for role in ["gateway", "intent", "retrieval", "response", "archive"] {
            assert!(scaled.contains(&role.into()), "no {kind} for {role}: {scaled:?}");
        }
    }
    none(&unfit_scalers(&files));
    let scaler = |lag: u32, most: u32| {
        let text = format!(
            "kind: ScaledObject\nmetadata: {{ name: response }}\nspec:\n  maxReplicaCount: {most}\n  triggers: [{{ metadata: {{ lagThreshold: \"{lag}\" }} }}]\n"
        );
        sample("deploy/k8s/a.yaml", &text)
    };
    files.push(scaler(256, 4));
    one(&unfit_scalers(&files), "256 is 4.00 of the 64");
    files.pop();
    files.push(scaler(45, 60));
    one(&unfit_scalers(&files), "60 processes of 192 each are above max_ack_pending, 10000");
}

#[test]
fn autoscalers_look_back_before_they_scale_in() {
    none(&hasty_scalers(&repository()));
    let text = "kind: HorizontalPodAutoscaler\nspec: { behavior: { scaleDown: { stabilizationWindowSeconds: 60 } } }\n";
    one(&hasty_scalers(&[sample("deploy/k8s/a.yaml", text)]), "a.yaml: scales in after 60 s");
}

#[test]
fn manifests_alerts_and_boards_name_only_consumers_that_exist() {
    none(&unknown_consumers(&repository()));
    let text = "kind: ScaledObject\nspec: { triggers: [{ metadata: { stream: JOURNAL, consumer: response } }] }\n";
    one(&unknown_consumers(&[sample("deploy/k8s/a.yaml", text)]), "no consumer response reads JOURNAL");
    for text in [r#"max(a{consumer="answers"})"#, r#""expr": "a{consumer=~\"archive|answers\"}""#] {
        one(&unknown_consumers(&[sample("deploy/observe/a.json", text)]), "a.json:1: there is no consumer 'answers'");
    }
}

#[test]
fn autoscalers_look_into_the_brokers_account() {
    let mut files = repository();
    none(&unknown_accounts(&files));
    let text = "kind: ScaledObject\nspec: { triggers: [{ type: nats-jetstream, metadata: { account: $G } }] }\n";
    files.push(sample("deploy/k8s/a.yaml", text));
    one(&unknown_accounts(&files), "no account '$G'");
}

#[test]
fn nobody_is_killed_before_its_answers_have_ended() {
    let mut files = repository();
    none(&early_kills(&files));
    none(&cut_answers(&files));
    let text = "kind: Deployment\nspec: { template: { spec: { terminationGracePeriodSeconds: 30, containers: [{ lifecycle: { preStop: { sleep: { seconds: 8 } } } }] } } }\n";
    files.push(sample("deploy/k8s/gateway.yaml", text));
    one(&early_kills(&files), "gateway.yaml: killed after 30 s");
    one(
        &cut_answers(&[sample(WORKER, "[turn]\ngrace_ms = 22000\n"), sample(GATEWAY, "[admin]\ngrace_ms = 40000\n")]),
        "turn.grace_ms",
    );
}

#[test]
fn what_a_cluster_is_configured_with_is_sound() {
    GatewayConfig::load(Some(&root().join(GATEWAY)), &[]).unwrap();
    WorkerConfig::load(Some(&root().join(WORKER)), &[]).unwrap();
    none(&unknown_variables(&repository()));
    let text = "- { name: TALKFLEET_NATS__URL_FILE }\n- { name: TALKFLEET_NATS__ULR }\n";
    one(&unknown_variables(&[sample("deploy/k8s/a.yaml", text)]), "a.yaml:2: TALKFLEET_NATS__ULR");
}

#[test]
fn brokers_have_room_for_what_their_streams_may_hold() {
    none(&narrow_brokers(&repository()));
    let conf = sample(BROKERS[0].0, "jetstream { max_file_store: 9728Mi }\n");
    let volume = sample(BROKERS[0].1, "{ requests: { storage: 9Gi } }\n");
    let findings = narrow_brokers(&[conf, volume]);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert!(findings[0].contains("9728 MiB do not hold") && findings[1].contains("larger"), "{findings:#?}");
}

#[test]
fn the_image_knows_every_crate() {
    none(&missing_manifests(&repository()));
    let (crates, file) = (sample("Cargo.toml", "[workspace]\nmembers = ['shared']\n"), sample("deploy/Dockerfile", ""));
    one(&missing_manifests(&[crates, file]), "copy shared/Cargo.toml");
}
