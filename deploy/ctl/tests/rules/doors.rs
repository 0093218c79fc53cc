//! One door per engine, and deciding code that names no engine, no clock and no task.

use crate::tree::{File, none, one, repository, root, sample};

/// A crate that few files may name.
struct Door {
    library: &'static str,
    /// Files, or folders with a `/` at the end; folders of tests may name everything.
    files: &'static [&'static str],
}

const DOORS: &[Door] = &[
    // topology.rs writes down the streams in the library's own words; bus/ applies them.
    Door { library: "async_nats", files: &["shared/src/bus/", "shared/src/topology.rs"] },
    Door { library: "sqlx", files: &["worker/src/store/", "worker/src/store.rs"] },
    Door {
        library: "redis",
        files: &["shared/src/redis_door/", "gateway/src/peers/", "worker/src/keeper.rs", "worker/src/copies.rs"],
    },
    // The clients of identity providers in the gateway, of language models, a model server and a search server in the worker;
    // the operator's command is a client
    // of the gateway.
    Door {
        library: "reqwest",
        files: &[
            "gateway/src/auth/jwt/fetch.rs",
            "worker/src/response/model/endpoint.rs",
            "worker/src/intent/remote/client.rs",
            "worker/src/retrieval/remote/elastic/door.rs",
            "deploy/ctl/src/",
        ],
    },
    // Spans are ours everywhere else.
    Door { library: "opentelemetry", files: &["shared/src/spans/"] },
    Door { library: "opentelemetry_sdk", files: &["shared/src/spans/"] },
    // No longer maintained: one file to replace.
    Door { library: "backoff", files: &["shared/src/retry.rs"] },
];

/// Files of the contract that decide: the same arguments give the same answer, whoever asks and whenever. Elsewhere a
/// module is declared pure where it is listed: `/// PURE: …` above `mod name;`.
const PURE: &[&str] = &[
    "shared/src/chat/answer.rs",
    "shared/src/chat/ask.rs",
    "shared/src/chat/frame.rs",
    "shared/src/chat/record.rs",
    "shared/src/envelope.rs",
    "shared/src/error.rs",
    "shared/src/subject.rs",
];

/// How many modules must be declared pure at least: admission, visitors, plan, breaker, rank.
const DECLARED_MIN: usize = 5;

/// What a file that decides has no business with.
const IMPURE: &[&str] = &[
    "tokio",
    "async_nats",
    "sqlx",
    "redis::",
    "reqwest",
    "async fn",
    ".await",
    "Instant::now",
    "SystemTime::now",
    "::now_utc",
    "rand::rng",
    "thread_rng",
    "std::fs",
    "std::net",
    "std::env",
];

fn through_the_wall(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (number, line) in file.code() {
            let open = |door: &&Door| {
                door.files.iter().any(|path| file.path == *path || path.ends_with('/') && file.path.starts_with(path))
            };
            for door in DOORS.iter().filter(|door| names(line, door.library) && !open(door)) {
                findings.push(format!(
                    "{}:{number}: {} is named in {} only",
                    file.path,
                    door.library,
                    door.files.join(", ")
                ));
            }
        }
    }
    findings
}

/// Whether a line reaches into a library: `redis::` or `use redis`, but not `engines::redis::`, `self::redis::`, or a module
/// of that name in the one crate that starts engines and does not depend on their clients.
fn names(line: &str, library: &str) -> bool {
    let starts = line.match_indices(library).filter(|(at, _)| {
        let before = line[..*at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | ':' | '"' | '.'))
    });
    starts.map(|(at, _)| &line[at + library.len()..]).any(|after| after.starts_with("::") || after.starts_with(" as "))
}

/// The files whose modules are declared pure: `src/a.rs` or `src/a/…` for a `/// PURE` above `mod a;`.
fn declared(files: &[File]) -> Vec<&str> {
    let mut pure = Vec::new();
    for list in files.iter().filter(|file| file.is_rust()) {
        let lines: Vec<&str> = list.text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0].trim_start().starts_with("/// PURE")) {
            let name = pair[1].rsplit_once("mod ").and_then(|(_, rest)| rest.strip_suffix(';'));
            let folder = match list.path.rsplit_once('/') {
                Some((folder, "lib.rs" | "main.rs" | "mod.rs")) => folder.to_owned(),
                _ => list.path.trim_end_matches(".rs").to_owned(),
            };
            let Some(stem) = name.map(|name| format!("{folder}/{name}")) else { continue };
            let within = |file: &&File| file.path == format!("{stem}.rs") || file.path.starts_with(&format!("{stem}/"));
            pure.extend(files.iter().filter(within).map(|file| file.path.as_str()));
        }
    }
    pure
}

fn impure(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let declared = declared(files);
    let pure = |path: &str| PURE.contains(&path) || declared.contains(&path);
    for file in files.iter().filter(|file| pure(&file.path)) {
        for (number, line) in file.code() {
            if let Some(found) = IMPURE.iter().find(|text| line.contains(*text)) {
                findings.push(format!("{}:{number}: it decides, so it may not name '{found}'", file.path));
            }
        }
    }
    findings
}

#[test]
fn every_engine_has_one_door() {
    let ours: Vec<File> =
        repository().into_iter().filter(|file| !file.path.starts_with("deploy/ctl/src/engines/")).collect();
    none(&through_the_wall(&ours));
    for door in DOORS {
        let line = format!("use {}::Client;\n", door.library);
        one(&through_the_wall(&[sample("gateway/src/chat.rs", &line)]), "gateway/src/chat.rs:1");
        none(&through_the_wall(&[sample("deploy/ctl/tests/it/main.rs", &line)]));
        none(&through_the_wall(&[sample("worker/src/a.rs", &format!("self::{}::open();", door.library))]));
    }
}

#[test]
fn what_decides_names_no_engine_and_no_clock() {
    none(&impure(&repository()));
    for text in IMPURE {
        one(&impure(&[sample(PURE[0], &format!("let now = {text}();\n"))]), text);
    }
    let [list, file] =
        [("worker/src/turn/mod.rs", "/// PURE: what to do.\nmod plan;\n"), ("worker/src/turn/plan.rs", "use tokio;\n")];
    one(&impure(&[list, file].map(|(path, text)| sample(path, text))), "worker/src/turn/plan.rs:1");
    let files = repository();
    let declared = declared(&files);
    assert!(declared.len() >= DECLARED_MIN, "only these are declared pure: {declared:?}");
}

#[test]
fn every_file_on_these_lists_exists() {
    let doors = DOORS.iter().flat_map(|door| door.files).filter(|path| !path.ends_with("/store.rs"));
    let gone = doors.chain(PURE).filter(|path| !root().join(path).exists());
    none(&gone.map(|path| format!("doors.rs lists {path}, which is not there")).collect::<Vec<_>>());
}
