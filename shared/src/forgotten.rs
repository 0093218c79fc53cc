//! Whom the desk has forgotten: salted digests of users and conversations, against which every record is held.
//!
//! A digest without the salt tells nothing; who has both can try the ids that they know. What was said after the moment at
//! which somebody was forgotten is theirs anew.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    hex::hex,
    id::{ConversationId, TenantId, UserId, digest},
};

/// The key of the bucket under which the salt lies; no mark looks like it.
pub const SALT: &str = "salt";

/// Who is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Whom {
    User(UserId),
    Conversation(ConversationId),
}

impl Whom {
    /// `user` or `conversation`.
    pub fn what(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Conversation(_) => "conversation",
        }
    }
}

/// What makes the digests of this desk unlike those of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salt(String);

impl Salt {
    pub fn create(rng: &mut impl rand::Rng) -> Self {
        Self(hex(&rng.random::<[u8; 32]>()))
    }

    /// What lies in the bucket, if it is one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let plain = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells two salts apart without telling either.
    pub fn fingerprint(&self) -> String {
        digest(&["salt", &self.0])[..16].to_owned()
    }

    /// The key of the bucket for somebody: 40 hexadecimal digits of SHA-256 over the salt, what it is, the tenant, the id.
    pub fn mark(&self, tenant: &TenantId, whom: &Whom) -> String {
        match whom {
            Whom::User(user) => self.of(tenant, whom.what(), user.as_str()),
            Whom::Conversation(conversation) => self.of(tenant, whom.what(), conversation.as_str()),
        }
    }

    fn of(&self, tenant: &TenantId, what: &str, id: &str) -> String {
        digest(&[&self.0, what, tenant.as_str(), id])
    }
}

/// An entry of the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tombstone {
    pub tenant: TenantId,
    /// What was asked up to here is gone, Unix milliseconds by the broker's clock.
    pub at_ms: u64,
}

/// Everybody who was forgotten.
#[derive(Debug, Clone, Default)]
pub struct List {
    salt: Option<Salt>,
    tombstones: HashMap<String, Tombstone>,
}

impl List {
    /// Takes an entry of the bucket in; what cannot be read is left aside.
    pub fn apply(&mut self, key: &str, value: Option<&[u8]>) {
        match (key, value) {
            (SALT, value) => self.salt = value.and_then(Salt::parse),
            (mark, Some(value)) => {
                if let Ok(tombstone) = serde_json::from_slice(value) {
                    self.tombstones.insert(mark.to_owned(), tombstone);
                }
            }
            (mark, None) => _ = self.tombstones.remove(mark),
        }
    }

    pub fn salt(&self) -> Option<&Salt> {
        self.salt.as_ref()
    }

    pub fn tombstones(&self) -> impl Iterator<Item = (&str, &Tombstone)> {
        self.tombstones.iter().map(|(mark, tombstone)| (mark.as_str(), tombstone))
    }

    /// Whether what was asked then is to be forgotten.
    pub fn holds(
        &self,
        tenant: &TenantId,
        user: Option<&UserId>,
        conversation: Option<&ConversationId>,
        asked_at_ms: u64,
    ) -> bool {
        let Some(salt) = self.salt.as_ref().filter(|_| !self.tombstones.is_empty()) else { return false };
        let gone = |what: &str, id: &str| {
            self.tombstones.get(&salt.of(tenant, what, id)).is_some_and(|tombstone| asked_at_ms <= tombstone.at_ms)
        };
        user.is_some_and(|user| gone("user", user.as_str()))
            || conversation.is_some_and(|conversation| gone("conversation", conversation.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant(text: &str) -> TenantId {
        TenantId::parse(text).unwrap()
    }

    fn user(text: &str) -> Whom {
        Whom::User(UserId::parse(text).unwrap())
    }

    fn list(salt: &Salt, of: &str, whom: &Whom, at_ms: u64) -> List {
        let mut list = List::default();
        let tombstone = Tombstone { tenant: tenant(of), at_ms };
        list.apply(&salt.mark(&tenant(of), whom), Some(&serde_json::to_vec(&tombstone).unwrap()));
        list.apply(SALT, Some(salt.as_str().as_bytes()));
        list
    }

    #[test]
    fn who_was_forgotten_is_held_back_and_comes_again_as_somebody_new() {
        let salt = Salt::create(&mut rand::rng());
        let list = list(&salt, "demo", &user("ann"), 1_000);
        let (ann, eve) = (UserId::parse("ann").unwrap(), UserId::parse("eve").unwrap());
        let talk = ConversationId::parse("ann").unwrap();
        assert!(list.holds(&tenant("demo"), Some(&ann), Some(&talk), 1_000));
        assert!(!list.holds(&tenant("demo"), Some(&ann), Some(&talk), 1_001), "what she says now is kept");
        assert!(!list.holds(&tenant("other"), Some(&ann), None, 1), "another tenant's customer of this name");
        assert!(!list.holds(&tenant("demo"), Some(&eve), Some(&talk), 1), "a conversation is no user");
        assert!(!list.holds(&tenant("demo"), None, None, 1));
    }

    #[test]
    fn a_list_without_its_salt_holds_nobody_and_what_is_no_entry_is_left_aside() {
        let salt = Salt::create(&mut rand::rng());
        let mut list = list(&salt, "demo", &user("ann"), 1_000);
        let ann = UserId::parse("ann").unwrap();
        list.apply("strange", Some(b"strange"));
        assert_eq!(list.tombstones().count(), 1);
        list.apply(SALT, Some(b"short"));
        assert!(!list.holds(&tenant("demo"), Some(&ann), None, 1));
        list.apply(SALT, Some(salt.as_str().as_bytes()));
        assert!(list.holds(&tenant("demo"), Some(&ann), None, 1));
        list.apply(&salt.mark(&tenant("demo"), &user("ann")), None);
        assert!(!list.holds(&tenant("demo"), Some(&ann), None, 1));
    }

    proptest! {
        #[test]
        fn a_mark_names_nobody_and_no_two_alike(a in "[A-Za-z0-9_-]{1,64}", b in "[A-Za-z0-9_-]{4,64}") {
            let salt = Salt::create(&mut rand::rng());
            let marks = [(&a, &b), (&b, &a)].map(|(of, id)| salt.mark(&tenant(of), &user(id)));
            prop_assert_eq!(marks[0] == marks[1], a == b);
            let talk = Whom::Conversation(ConversationId::parse(&b).unwrap());
            prop_assert_ne!(&marks[0], &salt.mark(&tenant(&a), &talk));
            prop_assert_ne!(&marks[0], &Salt::create(&mut rand::rng()).mark(&tenant(&a), &user(&b)));
            prop_assert!(b.bytes().all(|byte| byte.is_ascii_hexdigit()) || !marks[0].contains(&b));
            prop_assert!(!salt.fingerprint().contains(&salt.as_str()[..16]));
        }
    }
}
