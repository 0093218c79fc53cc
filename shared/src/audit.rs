//! What operators change, as it is written down: an entry before the deed and one after it, in a stream that only grows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::TenantId;

/// The longest text of an entry, in characters: it names what a deed was about and does not retell it.
pub const AUDIT_CHARS_MAX: usize = 500;

/// What an operator was about to do, or how that ended. When it was written is told by the broker, whose clock is nobody's
/// to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// The deed's id, the same before and after it; it sorts by time (a ULID).
    pub id: String,
    /// Who did it, as they say of themselves.
    pub operator: String,
    /// The account and the machine it was done from, `account@machine`.
    pub from: String,
    /// `area.verb`, such as `keys.revoke`.
    pub action: String,
    /// Whose data it was about; none when it was about all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// What it was about: ids, versions and counts. Never what a customer said, and nothing that tells who they are.
    pub on: String,
    pub state: DeedState,
    /// The program that wrote this, `program/version`.
    pub by: String,
}

impl AuditEntry {
    /// An id for a deed.
    pub fn new_id() -> String {
        ulid::Ulid::generate().to_string()
    }
}

/// How far a deed has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeedState {
    /// It is about to be done. When nothing follows, whoever did it was stopped in between.
    Begun,
    Done,
    /// It ended with an error; a part of it may have been done.
    Failed,
}

/// One line of printable characters, bounded: an entry is read on terminals.
pub fn audit_text(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(AUDIT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_bounded_line() {
        assert_eq!(audit_text("a\n\u{1b}[31mb"), "a  [31mb");
        assert_eq!(audit_text(&"x".repeat(10_000)).chars().count(), AUDIT_CHARS_MAX);
    }
}
