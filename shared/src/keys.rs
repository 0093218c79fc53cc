//! API keys: what is stored of them, and under which name; the key itself is shown once and kept nowhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{hex::hex, id::TenantId};

/// What every key begins with, so that scanners of leaked secrets can find them.
pub const KEY_PREFIX: &str = "tf_";

/// The longest key that is looked at, in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// The name beside the keys under which the gateways share what visitors' tokens are signed with; no key's hash looks like it.
pub const VISITOR_SECRET: &str = "visitor-secret";

/// What the bucket `KEYS` holds under [`hash`] of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRecord {
    pub tenant: TenantId,
    /// What the operator calls it.
    pub name: String,
    /// Unix milliseconds.
    pub created_at_ms: u64,
}

/// A new key: 256 random bits in hexadecimal behind the prefix.
pub fn create(rng: &mut impl rand::Rng) -> String {
    let bytes: [u8; 32] = rng.random();
    KEY_PREFIX.to_owned() + &hex(&bytes)
}

/// The name under which a key's record lies: SHA-256 in hexadecimal.
///
/// A slow password hash would add nothing: 256 random bits cannot be guessed from their digest.
pub fn hash(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_their_names_tell_nothing() {
        let mut rng = rand::rng();
        let (a, b) = (create(&mut rng), create(&mut rng));
        assert_ne!(a, b);
        assert!(a.starts_with(KEY_PREFIX) && a.len() < KEY_BYTES_MAX);
        assert_eq!(hash(&a).len(), 64);
        assert!(!hash(&a).contains(&a[3..11]));
    }
}
