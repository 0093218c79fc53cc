//! PURE: under which key a copy lies; a key names its tenant first and holds nothing that somebody typed.

use std::hash::{DefaultHasher, Hash, Hasher};

use sha2::{Digest, Sha256};
use talkfleet_shared::{
    hex::hex,
    id::{ConversationId, TenantId},
};

use crate::keeper::Place;

/// The shape of what is kept. A fleet that is being updated holds workers of two shapes, which must not meet.
const SHAPE: u32 = 1;

/// Names a copy, in this process and in Redis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    value: String,
    /// Who holds it makes the copy.
    lease: String,
}

impl Key {
    /// A conversation's archived turns.
    pub fn history(tenant: &TenantId, conversation: &ConversationId) -> Self {
        Self::new(tenant, conversation.as_str(), "history")
    }

    /// What a model said to a question. The parts are all that decided it; only their digest goes into the key.
    pub fn answer(tenant: &TenantId, parts: &[&str]) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            // With its length before each, no two lists of parts read alike.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let digest = hex(&digest.finalize());
        Self::new(tenant, &digest, "answer")
    }

    /// The braces keep a copy and its lease on one node of a cluster.
    fn new(tenant: &TenantId, id: &str, what: &str) -> Self {
        let value = format!("tf:{{{tenant}:{id}}}:{what}:{SHAPE}");
        Self { lease: format!("{value}:lease"), value }
    }

    pub fn place(&self) -> Place<'_> {
        Place { value: &self.value, lease: &self.lease }
    }

    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// One of so many shelves, always the same one.
    pub fn shelf(&self, shelves: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        self.value.hash(&mut hasher);
        (hasher.finish() % shelves as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = String> {
        "[A-Za-z0-9_-]{1,64}"
    }

    fn parts() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec(".{0,12}", 0..5)
    }

    fn answer(tenant: &str, parts: &[String]) -> Key {
        Key::answer(&TenantId::parse(tenant).unwrap(), &parts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn history(tenant: &str, conversation: &str) -> Key {
        Key::history(&TenantId::parse(tenant).unwrap(), &ConversationId::parse(conversation).unwrap())
    }

    proptest! {
        #[test]
        fn conversations_share_a_key_only_when_they_are_one(a in id(), b in id(), c in id(), d in id()) {
            prop_assert_eq!(history(&a, &b) == history(&c, &d), (a, b) == (c, d));
        }

        #[test]
        fn answers_share_a_key_only_when_all_that_decided_them_is_the_same(
            (a, one) in (id(), parts()), (b, other) in (id(), parts()),
        ) {
            prop_assert_eq!(answer(&a, &one) == answer(&b, &other), (&a, &one) == (&b, &other));
            let other_tenant = if a.len() < 64 { format!("{a}x") } else { a[1..].to_owned() };
            prop_assert_ne!(answer(&a, &one), answer(&other_tenant, &one));
        }

        #[test]
        fn nothing_that_was_typed_stands_in_a_key(tenant in id(), typed in "[^a-z0-9:{}]{4,20}") {
            let key = answer(&tenant, std::slice::from_ref(&typed));
            prop_assert!(!key.as_str()[tenant.len() + 4..].contains(&typed));
            let beginning = format!("tf:{{{tenant}:");
            prop_assert!(key.as_str().starts_with(&beginning));
            prop_assert!(key.shelf(7) < 7 && key.shelf(7) == key.clone().shelf(7));
        }
    }

    #[test]
    fn an_answer_is_never_taken_for_a_history() {
        let digest = answer("a", &[]).as_str()[6..70].to_owned();
        assert_ne!(history("a", &digest), answer("a", &[]));
        assert_ne!(answer("a", &["ab".into(), "c".into()]), answer("a", &["a".into(), "bc".into()]));
    }
}
