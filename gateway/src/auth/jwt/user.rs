//! PURE: a token's subject becomes an identifier of ours; no two subjects of an issuer become the same one.

use sha2::{Digest, Sha256};
use talkfleet_shared::{hex::hex, id::UserId};

/// What the identifiers of subjects begin with that are none themselves; a subject that begins so is none of ours either.
const DIGEST: &str = "sub-";

/// Bytes of a digest: 160 bits, so that nobody finds a second subject for it.
const DIGEST_BYTES: usize = 20;

/// The user whom an issuer calls so: the subject itself where it is an identifier, else its digest.
pub(super) fn user_id(prefix: &str, subject: &str) -> Option<UserId> {
    if subject.is_empty() {
        return None;
    }
    let plain = (!subject.starts_with(DIGEST)).then(|| UserId::parse(&format!("{prefix}{subject}")).ok()).flatten();
    plain.or_else(|| {
        let digest = hex(&Sha256::digest(subject.as_bytes())[..DIGEST_BYTES]);
        UserId::parse(&format!("{prefix}{DIGEST}{digest}")).ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_subject_is_kept_where_it_can_be() {
        let id = |prefix: &str, subject: &str| user_id(prefix, subject).map(|user| user.to_string());
        assert_eq!(id("", "ann"), Some("ann".into()));
        assert_eq!(id("app-", "ann"), Some("app-ann".into()));
        assert_eq!(id("", ""), None);
        let digest = id("", "auth0|5f7c8ec7").unwrap();
        assert!(digest.starts_with("sub-") && digest.len() == 44, "{digest}");
        assert_ne!(id("", &digest), Some(digest), "nobody is somebody else by calling themselves their digest");
    }

    proptest! {
        #[test]
        fn two_subjects_are_two_users(a in "(sub-)?[a-z|@.é]{1,80}", b in "(sub-)?[a-z|@.é]{1,80}", prefix in "[a-z-]{0,16}") {
            let (one, other) = (user_id(&prefix, &a).unwrap(), user_id(&prefix, &b).unwrap());
            prop_assert_eq!(one == other, a == b);
        }
    }
}
