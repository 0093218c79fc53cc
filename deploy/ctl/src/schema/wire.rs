//! The messages of the wire: each type of the contract once, with its JSON Schema, its examples and its reader.

use anyhow::{Context, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use talkfleet_shared::envelope::{self, Format};

use super::{deeds, examples, records};

/// A message that travels between processes or outlives one.
pub struct Message {
    /// In files: `wire/<name>.schema.json`, `wire/golden/v1/<name>.<case>.json`.
    pub name: &'static str,
    pub schema: Schema,
    pub cases: Vec<Case>,
    /// Registers the message's schema and gives the reference to it.
    pub(super) refer: fn(&mut SchemaGenerator) -> Schema,
    read: fn(&[u8], Format) -> Result<Value>,
}

/// An example of a message; its name is for ever.
pub struct Case {
    pub name: &'static str,
    /// The example as its JSON says it.
    pub value: Value,
    pub msgpack: Vec<u8>,
}

/// Every message, in the order of a turn.
pub fn messages() -> Result<Vec<Message>> {
    Ok(vec![
        of("ask", examples::asks()?)?,
        of("frame", examples::frames()?)?,
        of("answer", examples::answers()?)?,
        of("problem", examples::problems())?,
        of("intent_request", examples::intent_requests())?,
        of("intent_reply", examples::intent_replies())?,
        of("retrieve_request", examples::retrieve_requests())?,
        of("retrieve_reply", examples::retrieve_replies())?,
        of("turn_record", examples::turn_records()?)?,
        of("history_request", examples::history_requests()?)?,
        of("history_reply", examples::history_replies()?)?,
        of("archive_change", examples::archive_changes()?)?,
        of("feedback", examples::feedbacks()?)?,
        of("audit_entry", deeds::entries()?)?,
    ])
}

/// What buckets hold for every process to read, also those of the release before.
pub fn records() -> Result<Vec<Message>> {
    Ok(vec![
        of("key_record", records::keys()?)?,
        of("owner_record", records::owners())?,
        of("tombstone", records::tombstones()?)?,
        of("release_rule", records::rules()?)?,
        of("catalog_pointer", records::pointers())?,
    ])
}

/// Messages, then records.
pub fn all() -> Result<Vec<Message>> {
    Ok(messages()?.into_iter().chain(records()?).collect())
}

fn of<T>(name: &'static str, examples: Vec<(&'static str, T)>) -> Result<Message>
where
    T: JsonSchema + Serialize + DeserializeOwned,
{
    let case = |(name, example): (&'static str, T)| {
        let msgpack = envelope::encode(&example, Format::MessagePack)?.to_vec();
        Ok(Case { name, value: value_of(&example)?, msgpack })
    };
    Ok(Message {
        name,
        schema: SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>(),
        cases: examples.into_iter().map(case).collect::<Result<_>>()?,
        refer: SchemaGenerator::subschema_for::<T>,
        read: |body, format| value_of(&envelope::decode_large::<T>(body, format)?),
    })
}

/// What a value's JSON says: read back from text, where 32-bit fractions look like what was meant.
fn value_of<T: Serialize>(value: &T) -> Result<Value> {
    Ok(serde_json::from_str(&serde_json::to_string(value)?)?)
}

impl Message {
    /// The schema's file, relative to the folder of schemas.
    pub fn path(&self) -> String {
        format!("wire/{}.schema.json", self.name)
    }

    /// Reads bytes as this message and says in JSON what was understood.
    pub fn read(&self, body: &[u8], format: Format) -> Result<Value> {
        (self.read)(body, format).with_context(|| format!("not a message '{}'", self.name))
    }

    /// The message's name in schemas: `TurnRecord` for `turn_record`.
    pub fn type_name(&self) -> String {
        let title = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
        self.name.split('_').map(title).collect()
    }
}
