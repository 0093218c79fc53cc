//! Bytes on the wire: MessagePack maps by default, JSON for people; bounded in size and depth, nothing trailing.

use std::io::Cursor;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The largest body in bytes: the ASK stream takes no larger message.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// The deepest nesting of a body; ours have five levels.
pub const DEPTH_MAX: usize = 32;

/// The version of the shapes under `schemas/wire`; additive changes keep it.
pub const SCHEMA_VERSION: u32 = 1;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    MessagePack,
    Json,
}

impl Format {
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::MessagePack => "application/msgpack",
            Self::Json => "application/json",
        }
    }

    /// The format that a Content-Type names; without one, what the first byte looks like.
    pub fn detect(content_type: Option<&str>, body: &[u8]) -> Result<Self, EnvelopeError> {
        let named = content_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        match named.as_deref() {
            Some("application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack") => Ok(Self::MessagePack),
            Some("application/json") => Ok(Self::Json),
            Some(_) => Err(EnvelopeError::ContentType),
            None if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') => Ok(Self::Json),
            None => Ok(Self::MessagePack),
        }
    }
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("the Content-Type is neither application/msgpack nor application/json")]
    ContentType,
    #[error("the body is empty")]
    Empty,
    #[error("the body has more than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the body is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("the body is positional; write MessagePack maps with field names")]
    Positional,
    #[error("the body is followed by {0} more bytes")]
    Trailing(usize),
    #[error("the body does not have the documented shape: {0}")]
    Shape(String),
    #[error("the message says schema {0}, this build reads up to {SCHEMA_VERSION}; update the reader")]
    Newer(u32),
}

/// Writes a message.
pub fn encode<T: Serialize>(value: &T, format: Format) -> Result<Bytes, EnvelopeError> {
    let shape = |error: &dyn std::fmt::Display| EnvelopeError::Shape(unquoted(&error.to_string()));
    let bytes = match format {
        Format::MessagePack => rmp_serde::to_vec_named(value).map_err(|error| shape(&error))?,
        Format::Json => serde_json::to_vec(value).map_err(|error| shape(&error))?,
    };
    Ok(bytes.into())
}

/// Reads a message of at most [`BODY_BYTES_MAX`] bytes.
pub fn decode<T: DeserializeOwned>(body: &[u8], format: Format) -> Result<T, EnvelopeError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(EnvelopeError::TooLarge);
    }
    decode_large(body, format)
}

/// Reads a message whose size the caller has bounded otherwise: turn records and history grow past one ask.
pub fn decode_large<T: DeserializeOwned>(body: &[u8], format: Format) -> Result<T, EnvelopeError> {
    match (body.first(), format) {
        (None, _) => Err(EnvelopeError::Empty),
        (Some(_), Format::Json) => {
            serde_json::from_slice(body).map_err(|error| EnvelopeError::Shape(unquoted(&error.to_string())))
        }
        // Fixarray, array 16 and array 32: serde would take them for a struct's fields in order, and no schema could grow.
        (Some(0x90..=0x9f | 0xdc | 0xdd), Format::MessagePack) => Err(EnvelopeError::Positional),
        (Some(_), Format::MessagePack) => decode_msgpack(body),
    }
}

fn decode_msgpack<T: DeserializeOwned>(body: &[u8]) -> Result<T, EnvelopeError> {
    // Over the slice itself, so that texts are copied once; reading through `io::Read` costs about three times as much.
    let mut reader = rmp_serde::Deserializer::from_read_ref(body);
    reader.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut reader).map_err(|error| match error {
        rmp_serde::decode::Error::DepthLimitExceeded => EnvelopeError::TooDeep,
        error => EnvelopeError::Shape(unquoted(&error.to_string())),
    })?;
    // The reader does not tell where it stands; nothing but the end of the body lacks even a marker.
    match <()>::deserialize(&mut reader) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(EnvelopeError::Trailing(body.len() - first_value_bytes(body))),
    }
}

/// How long the first value of a body is.
fn first_value_bytes(body: &[u8]) -> usize {
    let mut reader = rmp_serde::Deserializer::new(Cursor::new(body));
    let _ = serde::de::IgnoredAny::deserialize(&mut reader);
    reader.position() as usize
}

/// A decoder's error without what it quotes of the body: that is a customer's, and errors are logged. The names of our
/// own fields stay, and so does what was expected in the quoted one's place.
fn unquoted(error: &str) -> String {
    let ours = ["missing field ", "duplicate field "].iter().any(|what| error.starts_with(what));
    match error.find(['"', '`']) {
        Some(at) if !ours => {
            let expected = error[at..].rsplit_once(", expected ").map(|(_, expected)| format!(", expected {expected}"));
            format!("{}…{}", &error[..at], expected.unwrap_or_default())
        }
        _ => error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Ask, MessageText};

    fn ask() -> Ask {
        Ask::new(MessageText::parse("Where is my parcel?").unwrap())
    }

    #[track_caller]
    fn refused(body: &[u8], format: Format, why: impl Fn(&EnvelopeError) -> bool) {
        let error = decode::<Ask>(body, format).unwrap_err();
        assert!(why(&error), "{error:?}");
    }

    #[test]
    fn both_formats_come_back_as_they_went() {
        for format in [Format::MessagePack, Format::Json] {
            let bytes = encode(&ask(), format).unwrap();
            assert_eq!(Format::detect(None, &bytes), Ok(format));
            assert_eq!(decode::<Ask>(&bytes, format), Ok(ask()));
        }
    }

    #[test]
    fn hostile_bytes_are_refused_by_name() {
        use EnvelopeError::*;
        refused(b"", Format::MessagePack, |e| *e == Empty);
        refused(&[0x91, 0xa1, b'a'], Format::MessagePack, |e| *e == Positional);
        refused(&vec![b'{'; BODY_BYTES_MAX + 1], Format::Json, |e| *e == TooLarge);
        refused(&[0xc1, 0xff, 0x00], Format::MessagePack, |e| matches!(e, Shape(_)));
        refused(b"{\"text\":", Format::Json, |e| matches!(e, Shape(_)));
        let mut trailing = encode(&ask(), Format::MessagePack).unwrap().to_vec();
        trailing.push(0xc0);
        refused(&trailing, Format::MessagePack, |e| *e == Trailing(1));
        for rest in [&[0x91][..], &[0xcc], &[0xc1], &[0xa5, b'a']] {
            let bytes = [&encode(&ask(), Format::MessagePack).unwrap()[..], rest].concat();
            refused(&bytes, Format::MessagePack, |e| *e == Trailing(rest.len()));
        }
        let deep = [b"\x81\xa8metadata".as_slice(), &[0x81, 0xa1, b'a'].repeat(200)].concat();
        refused(&deep, Format::MessagePack, |e| matches!(e, TooDeep | Shape(_)));
    }

    #[test]
    fn an_error_never_quotes_the_body() {
        let bodies =
            [r#"{"text":"a","channel":["my secret"]}"#, r#"{"text":"a","user":"my secret"}"#, r#""my secret""#];
        let bodies =
            bodies.into_iter().chain([r#"{"text":"a","history":"my \", secret, expected"}"#, r#"{"my secret":1}"#]);
        for body in bodies {
            let why = decode::<Ask>(body.as_bytes(), Format::Json).unwrap_err().to_string();
            assert!(!why.contains("secret"), "{why}");
            let value: serde_json::Value = serde_json::from_str(body).unwrap();
            let why = decode::<Ask>(&encode(&value, Format::MessagePack).unwrap(), Format::MessagePack).unwrap_err();
            assert!(!why.to_string().contains("secret"), "{why}");
        }
        let why = decode::<Ask>(br#"{"text":"a","history":7}"#, Format::Json).unwrap_err().to_string();
        assert!(why.ends_with("invalid type: integer …, expected a sequence at line 1 column 23"), "{why}");
        let why = decode::<Ask>(b"{}", Format::Json).unwrap_err().to_string();
        assert!(why.contains("missing field `text`"), "{why}");
    }

    #[test]
    fn an_unknown_field_is_ignored_so_that_schemas_may_grow() {
        let body = br#"{"text":"a","a_field_of_tomorrow":[1,{"b":2}]}"#;
        assert_eq!(decode::<Ask>(body, Format::Json).unwrap().text.as_str(), "a");
    }
}
