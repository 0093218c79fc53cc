//! PURE: visitors of the chat page: signed tokens instead of a session store, and conversations that name their owner.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, Mac};
use rand::Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use talkfleet_shared::{
    hex::hex,
    id::{ConversationId, TenantId, UserId},
};
use ulid::Ulid;

/// What every visitor's token begins with.
pub(crate) const TOKEN_PREFIX: &str = "tfv_";

/// The longest token that is looked at: a payload of two ids and a time, a signature.
const TOKEN_BYTES_MAX: usize = 512;

/// Bytes of the secret: as long as the hash that it keys.
const SECRET_BYTES: usize = 32;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    /// Unix milliseconds.
    pub(crate) expires_at_ms: u64,
}

/// Signs tokens and opens what it signed: `tfv_<payload>.<HMAC-SHA256>`, both in base64url.
#[derive(Clone)]
pub(crate) struct Signer(Hmac<Sha256>);

impl Signer {
    /// None when the secret is too short to be one of ours.
    pub(crate) fn new(secret: &[u8]) -> Option<Self> {
        (secret.len() >= SECRET_BYTES).then(|| Hmac::new_from_slice(secret).ok().map(Self)).flatten()
    }

    pub(crate) fn seal(&self, token: &Token) -> String {
        let payload = BASE64.encode(serde_json::to_vec(token).unwrap_or_default());
        let signature = BASE64.encode(self.0.clone().chain_update(&payload).finalize().into_bytes());
        format!("{TOKEN_PREFIX}{payload}.{signature}")
    }

    /// The token, if we signed it, however old. The comparison takes constant time.
    pub(crate) fn open(&self, text: &str) -> Option<Token> {
        let text = Some(text).filter(|text| text.len() <= TOKEN_BYTES_MAX)?;
        let (payload, signature) = text.strip_prefix(TOKEN_PREFIX)?.split_once('.')?;
        let signature = BASE64.decode(signature).ok()?;
        self.0.clone().chain_update(payload).verify_slice(&signature).ok()?;
        serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()
    }
}

/// A secret for a fleet that has none yet.
pub(crate) fn new_secret(rng: &mut impl Rng) -> Vec<u8> {
    rng.random::<[u8; SECRET_BYTES]>().to_vec()
}

/// A name for somebody whom we do not know.
pub(crate) fn new_user() -> UserId {
    id(&format!("v{}", Ulid::generate()), UserId::parse)
}

/// Whose a conversation is that carries a mark in its id, so that ownership needs no lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Ours, with a name that we drew: nobody can aim at another's mark.
    Visitor,
    /// A company's, with a name that somebody may have chosen: a longer digest, for which nobody finds a second name.
    Customer,
}

impl Mark {
    pub(crate) fn new_conversation(self, user: &UserId) -> ConversationId {
        id(&format!("{}{}", self.of(user), Ulid::generate()), ConversationId::parse)
    }

    /// The same for a conversation whose id was derived: at most 22 characters of the mark, 41 of the id.
    pub(crate) fn own(self, user: &UserId, derived: &ConversationId) -> ConversationId {
        id(&format!("{}{derived}", self.of(user)), ConversationId::parse)
    }

    /// Whether this somebody began the conversation.
    pub(crate) fn began(self, user: &UserId, conversation: &ConversationId) -> bool {
        conversation.as_str().starts_with(&self.of(user))
    }

    /// A letter, 64 or 80 bits of SHA-256 over the user's id, `_`.
    fn of(self, user: &UserId) -> String {
        let (letter, bytes) = match self {
            Self::Visitor => ('v', 8),
            Self::Customer => ('u', 10),
        };
        let digest = Sha256::digest(user.as_str().as_bytes());
        format!("{letter}{}_", hex(&digest[..bytes]))
    }
}

/// Texts that are made right above of at most 64 letters, digits and '_'.
#[expect(clippy::expect_used, reason = "identifiers made here are short and plain by construction")]
fn id<T>(text: &str, parse: fn(&str) -> Result<T, talkfleet_shared::id::IdError>) -> T {
    parse(text).expect("an identifier made here is short and plain")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer(byte: u8) -> Signer {
        Signer::new(&[byte; SECRET_BYTES]).unwrap()
    }

    fn token() -> Token {
        Token { tenant: TenantId::parse("demo").unwrap(), user: new_user(), expires_at_ms: 1_000 }
    }

    #[test]
    fn a_token_opens_for_its_signer_alone() {
        let token = token();
        let text = signer(1).seal(&token);
        assert!(text.len() < TOKEN_BYTES_MAX);
        assert_eq!(signer(1).open(&text), Some(token));
        assert_eq!(signer(2).open(&text), None);
        assert!(Signer::new(b"short").is_none());
    }

    proptest! {
        #[test]
        fn a_changed_token_does_not_open(at in 0usize..200, to in "[A-Za-z0-9_.-]") {
            let text = signer(1).seal(&token());
            let at = at % text.len();
            let mut forged = text.clone();
            forged.replace_range(at..=at, &to);
            // The last character of an unpadded base64 text carries unused bits; strict decoding refuses them too.
            prop_assert!(forged == text || signer(1).open(&forged).is_none());
        }
    }
}
