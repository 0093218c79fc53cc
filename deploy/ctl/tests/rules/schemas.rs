//! Schemas are fresh, golden bytes are read, and the two agree with one another.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use talkfleet::{
    broker,
    schema::{
        self, What,
        golden::{self, FOLDER},
        wire::{self, Message},
    },
};

use crate::tree::{none, one, repository, root, sample};

#[test]
fn no_schema_is_stale_and_every_golden_byte_is_read() {
    let mut findings = schema::check(&root().join("schemas")).unwrap();
    findings.extend(schema::check_permissions(&root().join(broker::PERMISSIONS_FILE)).unwrap());
    none(&findings.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[test]
fn a_check_names_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(schema::write(dir.path()).unwrap().len(), schema::documents().unwrap().len() + golden_count());
    assert_eq!(schema::check(dir.path()).unwrap(), []);
    let spoil = |path: &str, bytes: &[u8]| fs::write(dir.path().join(path), bytes).unwrap();
    let permissions = dir.path().join("permissions.conf");
    assert_eq!(schema::check_permissions(&permissions).unwrap().unwrap().what, What::Missing);
    fs::write(&permissions, "users: []").unwrap();
    assert_eq!(schema::check_permissions(&permissions).unwrap().unwrap().what, What::Stale);
    spoil("errors.md", b"old");
    spoil("wire/letter.schema.json", b"{}");
    spoil(&format!("{FOLDER}/ask.full.msgpack"), b"\x80");
    spoil(&format!("{FOLDER}/ask.minimal.json"), br#"{ "text": "Where was my parcel?" }"#);
    spoil(&format!("{FOLDER}/ask.later.json"), b"{}");
    fs::remove_file(dir.path().join("wire/ask.schema.json")).unwrap();
    let found: Vec<_> = schema::check(dir.path()).unwrap().into_iter().map(|f| (f.path, f.what)).collect();
    let says = |path: &str, what: fn(&What) -> bool| {
        assert!(found.iter().any(|(p, w)| p == path && what(w)), "{path} in {found:?}");
    };
    assert_eq!(found.len(), 6, "{found:?}");
    says("errors.md", |what| *what == What::Stale);
    says("wire/letter.schema.json", |what| *what == What::Orphan);
    says("wire/ask.schema.json", |what| *what == What::Missing);
    says(&format!("{FOLDER}/ask.full.msgpack"), |what| matches!(what, What::Unread(_)));
    says(&format!("{FOLDER}/ask.minimal.json"), |what| matches!(what, What::Unread(_)));
    says(&format!("{FOLDER}/ask.later.json"), |what| *what == What::Orphan);
    // Golden bytes are never written over.
    schema::write(dir.path()).unwrap();
    assert_eq!(fs::read(dir.path().join(FOLDER).join("ask.full.msgpack")).unwrap(), b"\x80");
}

fn golden_count() -> usize {
    golden::files(&wire::all().unwrap()).len()
}

#[test]
fn golden_examples_have_the_shape_of_their_schema() {
    for message in wire::all().unwrap() {
        let schema = jsonschema::validator_for(message.schema.as_value()).unwrap();
        for case in &message.cases {
            let path = root().join(format!("schemas/{FOLDER}/{}.{}.json", message.name, case.name));
            let golden: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            none(
                &schema
                    .iter_errors(&golden)
                    .map(|e| format!("{}.{}: {e}", message.name, case.name))
                    .collect::<Vec<_>>(),
            );
        }
        assert!(
            !schema.is_valid(&json!({})) || message.cases.iter().any(|case| case.value == json!({})),
            "{}",
            message.name
        );
    }
}

/// Fields of a message's schema that no case fills.
fn unfilled(message: &Message) -> Vec<String> {
    let (mut known, mut filled) = (BTreeSet::new(), BTreeSet::new());
    properties(message.schema.as_value(), &mut known);
    message.cases.iter().for_each(|case| keys(&case.value, &mut filled));
    known.difference(&filled).map(|name| format!("no case of '{}' fills '{name}'", message.name)).collect()
}

fn properties(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            names.extend(map.get("properties").and_then(Value::as_object).into_iter().flat_map(|p| p.keys().cloned()));
            map.values().for_each(|value| properties(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| properties(item, names)),
        _ => {}
    }
}

fn keys(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            names.extend(map.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.clone()));
            map.values().for_each(|value| keys(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, names)),
        _ => {}
    }
}

#[test]
fn the_cases_fill_every_field() {
    for mut message in wire::messages().unwrap() {
        none(&unfilled(&message));
        message.schema.insert("properties".into(), json!({ "a_field_of_tomorrow": {} }));
        one(&unfilled(&message), "a_field_of_tomorrow");
    }
}

#[test]
fn a_writer_may_leave_out_what_the_schema_does_not_require() {
    use talkfleet_shared::envelope::Format;
    for message in wire::all().unwrap() {
        let required: Vec<&str> = message
            .schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for case in &message.cases {
            let mut least = case.value.clone();
            least.as_object_mut().unwrap().retain(|name, _| required.contains(&name.as_str()));
            message.read(least.to_string().as_bytes(), Format::Json).unwrap();
        }
    }
}

#[test]
fn what_the_reader_refuses_the_schema_refuses() {
    let messages = wire::messages().unwrap();
    let refused = |name: &str, field: &str, value: Value| {
        let message = messages.iter().find(|message| message.name == name).unwrap();
        let mut spoilt = message.cases[0].value.clone();
        spoilt[field] = value;
        assert!(
            message.read(spoilt.to_string().as_bytes(), talkfleet_shared::envelope::Format::Json).is_err(),
            "{spoilt}"
        );
        let schema = jsonschema::validator_for(message.schema.as_value()).unwrap();
        assert!(!schema.is_valid(&spoilt), "the schema of '{name}' lets {field} = {} in", spoilt[field]);
    };
    refused("ask", "text", json!(7));
    refused("ask", "text", json!(""));
    refused("ask", "user", json!("a.b"));
    refused("ask", "channel", json!("a".repeat(65)));
    refused("turn_record", "tenant", json!("*"));
    refused("frame", "seq", json!(-1));
    refused("problem", "code", json!("no_such_code"));
    refused("feedback", "verdict", json!("sideways"));
}

#[test]
fn the_asyncapi_document_names_every_subject_and_header() {
    let files = repository();
    let text = |path: &str| &files.iter().find(|file| file.path == path).unwrap().text;
    let written = text("deploy/ctl/src/schema/channels.rs").clone() + text("deploy/ctl/src/schema/headers.rs");
    let document = text("schemas/asyncapi.json");
    none(&unnamed(text("shared/src/subject.rs"), text("shared/src/header.rs"), &written));
    let values = text("shared/src/header.rs").lines().filter_map(|line| line.split_once("= \"")?.1.strip_suffix("\";"));
    for value in values {
        assert!(document.contains(&format!("\"{value}\"")), "asyncapi.json does not name the header {value}");
    }
    let [subject, header] =
        [sample("", "pub fn wish(t: &TenantId) -> String {"), sample("", "pub const WISH: &str = \"W\";")];
    one(&unnamed(&subject.text, "", &written), "subject::wish");
    one(&unnamed("", &header.text, &written), "header::WISH");
}

/// Builders of subjects and names of headers that the writer of the document does not use.
fn unnamed(subjects: &str, headers: &str, written: &str) -> Vec<String> {
    let builders = subjects
        .lines()
        .filter(|line| line.ends_with("-> String {"))
        .filter_map(|line| line.strip_prefix("pub fn ")?.split_once('('));
    let builders = builders.map(|(name, _)| format!("subject::{name}("));
    let names = headers.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(':'));
    let names = names.map(|(name, _)| format!("header::{name}"));
    builders
        .chain(names)
        .filter(|name| !written.contains(name))
        .map(|name| format!("asyncapi.json does not know {name}"))
        .collect()
}

#[test]
fn the_asyncapi_document_knows_what_is_said_over_a_socket() {
    let files = repository();
    let text = |path: &str| &files.iter().find(|file| file.path == path).unwrap().text;
    let document: Value = serde_json::from_str(text("schemas/asyncapi.json")).unwrap();
    for (message, spoken) in [("socket_wish", "enum Wire {"), ("socket_told", "enum Told {")] {
        let shapes = document["components"]["messages"][message]["payload"].to_string();
        let words = words_of(text("gateway/src/ws/message.rs"), spoken);
        assert!(words.len() > 5, "{spoken} was not found: {words:?}");
        let unknown = words.iter().filter(|word| !shapes.contains(&format!("\"{word}\"")));
        none(&unknown.map(|word| format!("{message} in asyncapi.json does not know '{word}'")).collect::<Vec<_>>());
    }
    assert_eq!(
        words_of("enum Wire {\n    Ask {\n        r#ref: u8,\n    },\n    Ping,\n}\n", "enum Wire {"),
        ["ask", "ref", "ping"]
    );
}

/// The words of an enum that is a tagged message: its variants in lower case and the names of their fields.
fn words_of(text: &str, opening: &str) -> Vec<String> {
    let body = text.split_once(opening).map_or("", |(_, rest)| rest.split("\n}").next().unwrap_or_default());
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.starts_with('#'));
    let mut words = Vec::new();
    for line in lines.filter(|line| line.starts_with(|c: char| c.is_alphabetic())) {
        let name = line
            .trim_start_matches("r#")
            .trim_start_matches("pub ")
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next();
        // `reference` and a flattened frame are renamed on the wire.
        words.extend(name.map(str::to_lowercase).filter(|name| name != "reference"));
    }
    words
}
