//! Identifiers: `[A-Za-z0-9_-]{1,64}`, parsed at the edge and trusted ever after.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hex::hex;

/// The longest identifier in characters: four of them and a prefix stay far below the broker's control line of 4 KiB.
pub const ID_CHARS_MAX: usize = 64;

/// Why a text is no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("is empty; give 1 to {ID_CHARS_MAX} letters, digits, '_' or '-'")]
    Empty,
    #[error("has more than {ID_CHARS_MAX} characters")]
    TooLong,
    #[error("may hold only letters, digits, '_' and '-'")]
    BadCharacter,
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_CHARS_MAX {
        return Err(IdError::TooLong);
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if text.bytes().all(plain) { Ok(()) } else { Err(IdError::BadCharacter) }
}

macro_rules! id {
    ($(#[doc = $doc:literal] $name:ident;)*) => {$(
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = "^[A-Za-z0-9_-]{1,64}$"))]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses an identifier.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text).map(|()| Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                check(&text).map(|()| Self(text.into())).map_err(|error| format!("the identifier {error}"))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

id! {
    /// A company that runs a desk: the wall that nothing crosses.
    TenantId;
    /// A conversation, unique within its tenant.
    ConversationId;
    /// One message of a customer and everything done for it.
    RequestId;
    /// A tenant's customer, as the tenant names them.
    UserId;
    /// Where the customer writes from; it selects a policy.
    ChannelId;
    /// One gateway process, the address of its replies.
    GatewayId;
    /// A user of the broker, the address of its inboxes.
    BusUser;
}

impl RequestId {
    /// A new id that sorts by time (a ULID).
    pub fn new() -> Self {
        Self(ulid::Ulid::generate().to_string().into())
    }

    /// The id that an idempotency key stands for: every gateway derives the same one, so the broker can refuse the double.
    ///
    /// `i` and 40 hexadecimal digits of SHA-256 over the tenant and the key.
    pub fn from_idempotency_key(tenant: &TenantId, key: &str) -> Self {
        Self(format!("i{}", digest(&[tenant.as_str(), key])).into())
    }

    /// The id under which a dead letter is asked again: whoever redrives it derives the same one, so that the broker can
    /// refuse the double. `round` counts the redrives before whose outcome was no answer.
    ///
    /// `d` and 40 hexadecimal digits of SHA-256 over the letter's place and time in its stream, and the round.
    pub fn from_dead_letter(sequence: u64, stored_at_ms: u64, round: u32) -> Self {
        let [sequence, stored_at_ms, round] = [sequence, stored_at_ms, round.into()].map(|n: u64| n.to_string());
        Self(format!("d{}", digest(&["dead letter", &sequence, &stored_at_ms, &round])).into())
    }

    /// When the id was made, in Unix milliseconds, unless it came from an idempotency key or from outside.
    pub fn made_at_ms(&self) -> Option<u64> {
        ulid::Ulid::from_string(&self.0).ok().map(|id| id.timestamp_ms())
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl ConversationId {
    /// A new id that nobody can guess.
    pub fn new() -> Self {
        Self(format!("c{}", ulid::Ulid::generate()).into())
    }

    /// The conversation of a first message that was sent under an idempotency key, so that its retry lands there too.
    pub fn from_idempotency_key(tenant: &TenantId, key: &str) -> Self {
        Self(format!("c{}", digest(&["conversation", tenant.as_str(), key])).into())
    }

    /// A number that spreads conversations evenly over shards and lanes (FNV-1a, stable across versions).
    pub fn spread(&self) -> u64 {
        self.0.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

impl Default for ConversationId {
    fn default() -> Self {
        Self::new()
    }
}

impl GatewayId {
    /// A new id for one run of a gateway.
    pub fn new() -> Self {
        Self(format!("g{}", ulid::Ulid::generate()).into())
    }

    /// The id of a gateway that has a user of its own at the broker, `gateway-…`: by it the broker keeps the replies to it
    /// from other gateways. Gateways that share a user draw their ids.
    pub fn of_user(user: &BusUser) -> Option<Self> {
        user.as_str().starts_with(Self::OWN_USER).then(|| Self(user.0.clone()))
    }

    /// What the user of one gateway begins with.
    pub const OWN_USER: &str = "gateway-";
}

impl Default for GatewayId {
    fn default() -> Self {
        Self::new()
    }
}

impl ChannelId {
    /// The channel of a message that names none.
    pub fn web() -> Self {
        Self("web".into())
    }
}

impl Default for ChannelId {
    fn default() -> Self {
        Self::web()
    }
}

/// The first 160 bits of SHA-256 over length-prefixed parts, in hexadecimal.
pub(crate) fn digest(parts: &[&str]) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize()[..20])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, why: IdError) {
        assert_eq!(TenantId::parse(text), Err(why), "{text:?}");
    }

    #[test]
    fn only_plain_characters_become_an_id() {
        assert_eq!(TenantId::parse("shop_1-A").unwrap().as_str(), "shop_1-A");
        refused("", IdError::Empty);
        refused(&"a".repeat(65), IdError::TooLong);
        for text in ["a.b", "*", ">", "a b", "店", "a\n", "../x", "$JS"] {
            refused(text, IdError::BadCharacter);
        }
    }

    #[test]
    fn an_idempotency_key_names_one_request_per_tenant() {
        let [a, b] = ["a", "b"].map(|tenant| TenantId::parse(tenant).unwrap());
        let id = RequestId::from_idempotency_key(&a, "key 1");
        assert_eq!(id, RequestId::from_idempotency_key(&a, "key 1"));
        assert_ne!(id, RequestId::from_idempotency_key(&b, "key 1"));
        assert_ne!(id, RequestId::from_idempotency_key(&a, "key 2"));
        assert!(RequestId::parse(id.as_str()).is_ok());
        assert_eq!(id.made_at_ms(), None);
        assert!(RequestId::new().made_at_ms().is_some());
    }

    #[test]
    fn a_dead_letter_and_a_round_name_one_request() {
        let id = RequestId::from_dead_letter(7, 1, 0);
        assert_eq!(id, RequestId::from_dead_letter(7, 1, 0));
        for other in [(8, 1, 0), (7, 2, 0), (7, 1, 1)] {
            assert_ne!(id, RequestId::from_dead_letter(other.0, other.1, other.2));
        }
        assert!(RequestId::parse(id.as_str()).is_ok());
    }

    #[test]
    fn an_id_from_the_wire_is_checked() {
        assert!(serde_json::from_str::<UserId>("\"a.b\"").is_err());
        assert!(serde_json::from_str::<UserId>("\"ab\"").is_ok());
    }
}
