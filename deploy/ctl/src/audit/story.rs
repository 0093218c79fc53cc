//! PURE: entries before and after a deed, put together into what somebody did and how it ended.

use serde::Serialize;
use talkfleet_shared::{
    audit::{AuditEntry, DeedState},
    id::TenantId,
};

/// One deed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Story {
    pub(super) id: String,
    /// When it was begun, by the broker's clock; Unix milliseconds.
    pub(super) at_ms: u64,
    /// When it had ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended_at_ms: Option<u64>,
    pub(super) operator: String,
    pub(super) from: String,
    pub(super) action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<TenantId>,
    pub(super) on: String,
    pub(super) result: Ending,
    pub(super) by: String,
}

/// How a deed ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    Done,
    Failed,
    /// It goes on, or was stopped before it could say how it ended.
    Unfinished,
}

impl Ending {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unfinished => "unfinished",
        }
    }
}

/// Which deeds are meant.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    pub(super) operator: Option<String>,
    /// `keys` means every `keys.…`.
    pub(super) action: Option<String>,
}

impl Sieve {
    pub(super) fn lets_pass(&self, entry: &AuditEntry) -> bool {
        let theirs = self.operator.as_ref().is_none_or(|name| {
            entry.operator == *name || entry.from == *name || entry.from.split('@').next() == Some(name)
        });
        let rest = self.action.as_ref().map(|action| entry.action.strip_prefix(action.as_str()));
        theirs && rest.is_none_or(|rest| rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }
}

/// Deeds as they began, oldest first, from entries with their times in Unix milliseconds.
#[derive(Default)]
pub(super) struct Stories(Vec<Story>);

impl Stories {
    pub(super) fn add(&mut self, at_ms: u64, entry: AuditEntry) {
        let result = match entry.state {
            DeedState::Begun => Ending::Unfinished,
            DeedState::Done => Ending::Done,
            DeedState::Failed => Ending::Failed,
        };
        let ended_at_ms = (result != Ending::Unfinished).then_some(at_ms);
        // A deed mostly ends right after it began: its beginning is found near the end.
        if let Some(begun) = self.0.iter_mut().rev().find(|story| story.id == entry.id) {
            // What its own author said first holds; only the ending is new, and only the first of them counts.
            if begun.result == Ending::Unfinished {
                (begun.result, begun.ended_at_ms) = (result, ended_at_ms);
            }
            return;
        }
        let AuditEntry { id, operator, from, action, tenant, on, by, .. } = entry;
        self.0.push(Story { id, at_ms, ended_at_ms, operator, from, action, tenant, on, result, by });
    }

    pub(super) fn told(self) -> Vec<Story> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, action: &str, state: DeedState) -> AuditEntry {
        AuditEntry {
            id: id.into(),
            operator: "ann".into(),
            from: "root@desk-1".into(),
            action: action.into(),
            tenant: None,
            on: "x".into(),
            state,
            by: "talkfleet/0.1.0".into(),
        }
    }

    #[test]
    fn a_deed_is_one_line_with_its_ending() {
        let mut stories = Stories::default();
        stories.add(1, entry("a", "keys.revoke", DeedState::Begun));
        stories.add(2, entry("b", "dead.redrive", DeedState::Begun));
        stories.add(3, entry("a", "keys.revoke", DeedState::Failed));
        // Somebody who writes the same id again changes nothing.
        stories.add(4, AuditEntry { operator: "eve".into(), ..entry("a", "keys.revoke", DeedState::Done) });
        stories.add(5, entry("c", "topology.apply", DeedState::Done));
        let told: Vec<_> = stories.told().into_iter().map(|s| (s.id, s.operator, s.result, s.ended_at_ms)).collect();
        let line = |id: &str, result, ended| (id.to_owned(), "ann".to_owned(), result, ended);
        assert_eq!(
            told,
            [line("a", Ending::Failed, Some(3)), line("b", Ending::Unfinished, None), line("c", Ending::Done, Some(5))]
        );
    }

    #[test]
    fn deeds_are_found_by_who_and_what() {
        let sieve = |operator: Option<&str>, action: Option<&str>| Sieve {
            operator: operator.map(str::to_owned),
            action: action.map(str::to_owned),
        };
        let entry = entry("a", "keys.revoke", DeedState::Done);
        for (operator, action, passes) in [
            (None, None, true),
            (Some("ann"), Some("keys"), true),
            (Some("root"), Some("keys.revoke"), true),
            (Some("root@desk-1"), None, true),
            (Some("bob"), None, false),
            (None, Some("key"), false),
            (None, Some("keys.create"), false),
        ] {
            assert_eq!(sieve(operator, action).lets_pass(&entry), passes, "{operator:?} {action:?}");
        }
    }
}
