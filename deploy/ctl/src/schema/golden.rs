//! Golden bytes: every case of every message as the release that brought it wrote it; later ones must read them alike.

use std::{fs, path::Path};

use anyhow::Result;
use serde_json::Value;
use talkfleet_shared::envelope::Format;

use super::{
    Finding, What, listing,
    wire::{Case, Message},
};

/// Where the bytes of this version of the wire lie.
pub const FOLDER: &str = "wire/golden/v1";

/// One golden file.
pub struct GoldenFile {
    pub path: String,
    pub bytes: Vec<u8>,
    format: Format,
}

/// The files that the cases in the code ask for.
pub fn files(messages: &[Message]) -> Vec<GoldenFile> {
    messages.iter().flat_map(|message| message.cases.iter().flat_map(|case| files_of(message, case))).collect()
}

fn files_of(message: &Message, case: &Case) -> [GoldenFile; 2] {
    let path = |ending: &str| format!("{FOLDER}/{}.{}.{ending}", message.name, case.name);
    [
        GoldenFile { path: path("msgpack"), bytes: case.msgpack.clone(), format: Format::MessagePack },
        GoldenFile { path: path("json"), bytes: format!("{:#}\n", case.value).into_bytes(), format: Format::Json },
    ]
}

/// What is wrong with the golden files under `dir`.
pub fn check(dir: &Path, messages: &[Message]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for message in messages {
        for case in &message.cases {
            for GoldenFile { path, format, .. } in files_of(message, case) {
                let what = match fs::read(dir.join(&path)) {
                    Err(_) => Some(What::Missing),
                    Ok(bytes) => misread(message, case, &bytes, format).map(What::Unread),
                };
                findings.extend(what.map(|what| Finding { path, what }));
            }
        }
    }
    let known: Vec<String> = files(messages).into_iter().map(|file| file.path).collect();
    let orphans = listing(dir, FOLDER)?.into_iter().filter(|path| !known.contains(path));
    findings.extend(orphans.map(|path| Finding { path, what: What::Orphan }));
    Ok(findings)
}

/// How this build misreads golden bytes; None when it understands what the case says.
fn misread(message: &Message, case: &Case, bytes: &[u8], format: Format) -> Option<String> {
    match message.read(bytes, format) {
        Err(error) => Some(format!("{error:#}")),
        Ok(understood) => difference("", &case.value, &understood),
    }
}

/// The first place where two values differ in meaning: a null or absent field is the same.
fn difference(place: &str, meant: &Value, understood: &Value) -> Option<String> {
    match (meant, understood) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let [meant, understood] = [a, b].map(|map| map.get(name).unwrap_or(&Value::Null));
                difference(&format!("{place}/{name}"), meant, understood)
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(&format!("{place}/{i}"), a, b))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{place} was {a} and is read as {b}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_named_by_its_place() {
        let meant = json!({ "a": [{ "b": 1 }], "c": null });
        assert_eq!(difference("", &meant, &json!({ "a": [{ "b": 1 }] })), None);
        let found = difference("", &meant, &json!({ "a": [{ "b": 2 }] }));
        assert_eq!(found.as_deref(), Some("/a/0/b was 1 and is read as 2"));
        assert!(difference("", &meant, &json!({ "a": [] })).is_some());
    }
}
