//! What a client sends, parsed into what the desk takes: every face reads the same fields and refuses with the same codes.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use talkfleet_shared::{
    chat::{Ask, METADATA_PAIRS_MAX, METADATA_VALUE_CHARS_MAX, MessageText, Problem},
    error::Code,
    id::{ChannelId, ConversationId, ID_CHARS_MAX, IdError, RequestId, UserId},
};
use utoipa::ToSchema;

/// The longest idempotency key in characters.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 128;

/// A customer's message as a client writes it.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "Where is my parcel?", "conversation": "c-42", "user": "ann"}))]
pub struct ChatBody {
    /// 1 to 4,000 characters.
    #[schema(schema_with = crate::http::text_schema)]
    pub text: String,
    /// The conversation it belongs to; without one it begins a new one.
    #[serde(default)]
    #[schema(inline, value_type = Option<crate::http::Id>)]
    pub conversation: Option<String>,
    /// Which of the tenant's customers asks; ignored for visitors of the chat page.
    #[serde(default)]
    #[schema(inline, value_type = Option<crate::http::Id>)]
    pub user: Option<String>,
    /// Where they write from; `web` when left out.
    #[serde(default)]
    #[schema(inline, value_type = Option<crate::http::Id>)]
    pub channel: Option<String>,
    /// Up to 16 pairs, handed on to the records untouched.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Option<Metadata>,
    /// How long the answer may take, in milliseconds; the bounds are the server's.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 500, maximum = 120_000)]
    pub deadline_ms: Option<u64>,
    /// Tell the answer while it is made, as server-sent events.
    #[serde(default)]
    pub stream: Option<bool>,
}

/// A whole number however it is written: JSON knows one sort of number, and some clients write 5000 as 5000.0.
pub(crate) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(from)?;
    number
        .map(|number| as_whole(&number).ok_or_else(|| D::Error::custom("a whole number from 0 is expected")))
        .transpose()
}

pub(crate) fn as_whole(number: &serde_json::Number) -> Option<u64> {
    // Up to here fractions count without gaps.
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(number);
    number.as_u64().or_else(|| number.as_f64().filter(exact).map(|number| number as u64))
}

/// A parsed message.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub conversation: Option<ConversationId>,
    pub ask: Ask,
    pub budget: Option<Duration>,
}

impl ChatBody {
    pub fn parse(self) -> Result<Asked, Problem> {
        let text = MessageText::parse(&self.text)
            .map_err(|error| Problem::because(Code::BadText, format!("{}.", sentence(&error))))?;
        let ask = Ask {
            text,
            user: optional_id("user", self.user.as_deref(), UserId::parse)?,
            channel: optional_id("channel", self.channel.as_deref(), ChannelId::parse)?.unwrap_or_default(),
            history: None,
            metadata: self.metadata.map(Metadata::parse).transpose()?.unwrap_or_default(),
            replayed: None,
        };
        Ok(Asked {
            conversation: optional_id("conversation", self.conversation.as_deref(), ConversationId::parse)?,
            ask,
            budget: self.deadline_ms.map(Duration::from_millis),
        })
    }
}

/// Pairs of texts; a key that stands twice is refused, since JSON leaves open which of them counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    fn parse(self) -> Result<BTreeMap<String, String>, Problem> {
        let refused = |why: String| Err(Problem::because(Code::BadMetadata, why));
        if self.0.len() > METADATA_PAIRS_MAX {
            return refused(format!("Metadata holds at most {METADATA_PAIRS_MAX} pairs."));
        }
        for (key, value) in &self.0 {
            if key.is_empty() || key.chars().count() > ID_CHARS_MAX || key.chars().any(char::is_control) {
                return refused(format!("A metadata key holds 1 to {ID_CHARS_MAX} characters, none of them control."));
            }
            if value.chars().count() > METADATA_VALUE_CHARS_MAX || value.chars().any(char::is_control) {
                return refused(format!(
                    "A metadata value holds at most {METADATA_VALUE_CHARS_MAX} characters, none of them control."
                ));
            }
        }
        Ok(self.0)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if pairs.insert(key, value).is_some() {
                        return Err(A::Error::custom("a metadata key stands twice"));
                    }
                }
                Ok(Metadata(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// An identifier that a client sent in `field`.
pub fn id<T>(field: &str, text: &str, parse: fn(&str) -> Result<T, IdError>) -> Result<T, Problem> {
    parse(text).map_err(|error| Problem::because(Code::BadId, format!("'{field}' {error}.")))
}

fn optional_id<T>(
    field: &str,
    text: Option<&str>,
    parse: fn(&str) -> Result<T, IdError>,
) -> Result<Option<T>, Problem> {
    text.map(|text| id(field, text, parse)).transpose()
}

/// A request's id that a client sent.
pub fn request_id(text: &str) -> Result<RequestId, Problem> {
    id("id", text, RequestId::parse)
}

/// An idempotency key that a client sent.
pub fn idempotency_key(key: &[u8]) -> Result<String, Problem> {
    let plain = (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    let text = plain.then(|| String::from_utf8(key.to_vec()).ok()).flatten();
    text.ok_or_else(|| Problem::new(Code::BadIdempotencyKey))
}

/// An error's text as the beginning of a sentence.
fn sentence(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(json: &str) -> Result<Asked, Code> {
        serde_json::from_str::<ChatBody>(json).map_err(|_| Code::BadJson)?.parse().map_err(|problem| problem.code)
    }

    #[track_caller]
    fn refused(json: &str, code: Code) {
        assert_eq!(body(json).unwrap_err(), code, "{json}");
    }

    #[test]
    fn a_message_is_parsed_or_refused_by_name() {
        let asked = body(r#"{"text":" hi ","user":"ann","metadata":{"page":"/a"},"deadline_ms":900}"#).unwrap();
        assert_eq!((asked.ask.text.as_str(), asked.budget), ("hi", Some(Duration::from_millis(900))));
        refused(r#"{"text":""}"#, Code::BadText);
        refused(r#"{"text":"a\u0000"}"#, Code::BadText);
        refused(r#"{"text":"a","user":"chat.v1.>"}"#, Code::BadId);
        refused(r#"{"text":"a","conversation":"../etc"}"#, Code::BadId);
        refused(r#"{"text":"a","channel":""}"#, Code::BadId);
        refused(r#"{"text":"a","metadata":{"":"x"}}"#, Code::BadMetadata);
        refused(r#"{"text":"a","metadata":{"k":"a\nb"}}"#, Code::BadMetadata);
        refused(r#"{"text":"a","metadata":{"k":"1","k":"2"}}"#, Code::BadJson);
        refused(r#"{"text":"a","text":"b"}"#, Code::BadJson);
        refused(r#"{"text":"a","tenant":"other"}"#, Code::BadJson);
        refused(r#"{"text":"a","deadline_ms":-1}"#, Code::BadJson);
        refused(r#"{"text":5}"#, Code::BadJson);
        assert_eq!(body(r#"{"text":"a","deadline_ms":900.0}"#).unwrap().budget, Some(Duration::from_millis(900)));
        refused(r#"{"text":"a","deadline_ms":900.5}"#, Code::BadJson);
        let pairs: Vec<_> = (0..17).map(|n| format!("\"k{n}\":\"v\"")).collect();
        refused(&format!(r#"{{"text":"a","metadata":{{{}}}}}"#, pairs.join(",")), Code::BadMetadata);
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii() {
        assert!(idempotency_key(b"order-1/retry").is_ok());
        for key in [b"".as_slice(), b"a b", b"a\n", "é".as_bytes(), &[b'a'; 129]] {
            assert_eq!(idempotency_key(key).unwrap_err().code, Code::BadIdempotencyKey);
        }
    }
}
