//! What may lie at the top, which crate may see which, and how many crates of others there are.

use std::collections::BTreeSet;

use toml::Table;

use crate::tree::{none, one, root};

/// What may lie at the top beside dotfiles; `target` is cargo's and ignored by git.
const TOP: [&str; 10] =
    ["Cargo.toml", "Cargo.lock", "README.md", "LICENSE", "gateway", "worker", "shared", "schemas", "deploy", "target"];

/// Direct crates of others in the three services, beside those that are given: each is read, updated and answered for.
const DEPENDENCIES_MAX: usize = 40;

/// Projects that come as several crates of one release: each is one to read, update and answer for.
const PROJECTS: [&str; 4] = ["hyper", "opentelemetry", "tower", "utoipa"];

/// What the product was asked to be built from, with the companions that those crates are not used without.
const GIVEN: [&str; 12] = [
    "tokio",
    "tokio-util",
    "futures",
    "async-nats",
    "serde",
    "serde_json",
    "rmp-serde",
    "redis",
    "sqlx",
    "backoff",
    "tracing",
    "tracing-subscriber",
];

/// Which crate may depend on which of ours.
const MAY_SEE: [(&str, &[&str]); 4] = [
    ("shared", &[]),
    ("gateway", &["talkfleet-shared"]),
    ("worker", &["talkfleet-shared"]),
    ("deploy/ctl", &["talkfleet-shared", "talkfleet-gateway", "talkfleet-worker"]),
];

fn strangers(names: &[String]) -> Vec<String> {
    let stranger = |name: &&String| !name.starts_with('.') && !TOP.contains(&name.as_str());
    names.iter().filter(stranger).map(|name| format!("'{name}' may not lie at the top level")).collect()
}

/// The names of a manifest's dependencies, those for tests and building included.
fn dependencies(manifest: &Table, sections: &[&str]) -> BTreeSet<String> {
    let tables = sections.iter().filter_map(|section| manifest.get(*section)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

fn unseemly(package: &str, manifest: &Table) -> Vec<String> {
    let allowed = MAY_SEE.iter().find(|(name, _)| *name == package).map_or(&[][..], |(_, allowed)| allowed);
    let ours = dependencies(manifest, &["dependencies", "dev-dependencies", "build-dependencies"]);
    let ours = ours.into_iter().filter(|name| name.starts_with("talkfleet"));
    ours.filter(|name| !allowed.contains(&name.as_str())).map(|name| format!("{package} may not see {name}")).collect()
}

fn too_many(manifests: &[Table]) -> Vec<String> {
    let all: BTreeSet<String> =
        manifests.iter().flat_map(|manifest| dependencies(manifest, &["dependencies"])).collect();
    let chosen = |name: &String| !name.starts_with("talkfleet") && !GIVEN.contains(&name.as_str());
    let foreign: BTreeSet<String> = all.into_iter().filter(chosen).map(project).collect();
    let many = foreign.len() > DEPENDENCIES_MAX;
    let names = || foreign.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    many.then(|| format!("{} crates of others, at most {DEPENDENCIES_MAX}: {}", foreign.len(), names()))
        .into_iter()
        .collect()
}

/// What a crate is counted as.
fn project(name: String) -> String {
    let part_of = |project: &&&str| {
        name.strip_prefix(**project).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    };
    PROJECTS.iter().find(part_of).map_or(name.clone(), |project| (*project).to_owned())
}

fn manifest(package: &str) -> Table {
    std::fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap().parse().unwrap()
}

#[test]
fn the_top_level_holds_what_the_map_shows() {
    let entries = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    none(&strangers(&entries.collect::<Vec<_>>()));
    one(&strangers(&["shared".into(), "docs".into(), ".ci".into()]), "'docs'");
}

#[test]
fn gateway_and_worker_never_see_one_another() {
    for (package, _) in MAY_SEE {
        none(&unseemly(package, &manifest(package)));
    }
    let breach: Table = "[dependencies]\ntalkfleet-shared = '1'\ntalkfleet-worker = '1'".parse().unwrap();
    one(&unseemly("gateway", &breach), "gateway may not see talkfleet-worker");
}

#[test]
fn the_services_depend_on_few_crates() {
    none(&too_many(&["shared", "gateway", "worker"].map(manifest)));
    let crowd: String = (0..=DEPENDENCIES_MAX).map(|n| format!("crate-{n} = '1'\n")).collect();
    one(&too_many(&[format!("[dependencies]\n{crowd}").parse().unwrap()]), "41 crates");
    let full: Table =
        format!("[dependencies]\ntower = '1'\n{}", crowd.replacen("crate-0 = '1'\n", "", 2)).parse().unwrap();
    let project: Table = "[dependencies]\ntower-http = '1'\ntower_test = '1'".parse().unwrap();
    one(&too_many(&[full.clone(), project.clone()]), "41 crates");
    let room: Table =
        format!("[dependencies]\n{}", crowd.replacen("crate-0 = '1'\ncrate-1 = '1'\n", "", 1)).parse().unwrap();
    none(&too_many(&[room, project]));
}
