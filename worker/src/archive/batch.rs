//! What a journal entry is, by its subject, and what a batch of them comes down to.

use std::collections::HashMap;

use talkfleet_shared::{
    chat::Feedback,
    envelope::EnvelopeError,
    id::{RequestId, TenantId},
    subject,
};

use crate::store::Journaled;

/// What the journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    Turn,
    Feedback,
}

/// One entry, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry {
    Turn(Box<Journaled>),
    Feedback(Feedback),
}

impl Entry {
    /// Reads an entry whose body must belong to the tenant that its subject names: the subject is what the broker's
    /// permissions guard, a body may claim anything.
    pub(super) fn read(
        subject: &str,
        body: impl FnOnce(EntryKind) -> Result<Self, EnvelopeError>,
    ) -> Result<Self, String> {
        let tenant = subject::parse_tenant(subject).ok_or("the subject names no tenant")?;
        let kind = if subject == subject::journal_of(tenant.as_str()) {
            EntryKind::Turn
        } else if subject == subject::feedback(&tenant) {
            EntryKind::Feedback
        } else {
            return Err("the subject is neither a journal's nor feedback's".into());
        };
        let entry = body(kind).map_err(|error| error.to_string())?;
        if *entry.tenant() == tenant { Ok(entry) } else { Err("the body names another tenant than the subject".into()) }
    }

    fn tenant(&self) -> &TenantId {
        match self {
            Self::Turn(turn) => &turn.record.tenant,
            Self::Feedback(feedback) => &feedback.tenant,
        }
    }
}

/// Rows for one transaction; of verdicts about the same request only the last is kept.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) turns: Vec<Journaled>,
    feedback: Vec<Feedback>,
    places: HashMap<(TenantId, RequestId), usize>,
}

impl Batch {
    pub(super) fn add(&mut self, entry: Entry) {
        let feedback = match entry {
            Entry::Turn(turn) => return self.turns.push(*turn),
            Entry::Feedback(feedback) => feedback,
        };
        let key = (feedback.tenant.clone(), feedback.request.clone());
        let place = *self.places.entry(key).or_insert(self.feedback.len());
        match self.feedback.get_mut(place) {
            Some(earlier) if earlier.given_at_ms <= feedback.given_at_ms => *earlier = feedback,
            Some(_) => {}
            None => self.feedback.push(feedback),
        }
    }

    /// Keeps the entries for which this is so; how many went.
    pub(super) fn keep(&mut self, turn: impl Fn(&Journaled) -> bool, feedback: impl Fn(&Feedback) -> bool) -> usize {
        let before = self.rows();
        self.turns.retain(turn);
        self.feedback.retain(feedback);
        before - self.rows()
    }

    pub(super) fn feedback(&self) -> &[Feedback] {
        &self.feedback
    }

    pub(super) fn rows(&self) -> usize {
        self.turns.len() + self.feedback.len()
    }
}

#[cfg(test)]
mod tests {
    use talkfleet_shared::chat::Verdict;

    use super::*;

    fn verdict(tenant: &str, request: &str, verdict: Verdict, given_at_ms: u64) -> Feedback {
        Feedback {
            tenant: TenantId::parse(tenant).unwrap(),
            request: RequestId::parse(request).unwrap(),
            user: None,
            verdict,
            reason: None,
            given_at_ms,
        }
    }

    #[test]
    fn the_last_verdict_wins_whatever_the_order() {
        let mut batch = Batch::default();
        for feedback in [
            verdict("a", "r1", Verdict::Up, 20),
            verdict("b", "r1", Verdict::Up, 5),
            verdict("a", "r1", Verdict::Down, 10),
            verdict("b", "r1", Verdict::Down, 6),
        ] {
            batch.add(Entry::Feedback(feedback));
        }
        let kept: Vec<_> = batch.feedback().iter().map(|one| (one.tenant.as_str(), one.verdict)).collect();
        assert_eq!(kept, [("a", Verdict::Up), ("b", Verdict::Down)]);
    }

    #[track_caller]
    fn refused(subject: &str, part: &str) {
        let body = |_| Ok(Entry::Feedback(verdict("demo", "r", Verdict::Up, 1)));
        let why = Entry::read(subject, body).unwrap_err();
        assert!(why.contains(part), "{why}");
    }

    #[test]
    fn nobody_writes_under_another_tenant() {
        refused("chat.v1.feedback.other", "another tenant");
        refused("chat.v1.turn.demo", "neither");
        refused("chat.v1.feedback.a.b", "no tenant");
        let unreadable = Entry::read("chat.v1.feedback.demo", |_| Err(EnvelopeError::Empty));
        assert!(unreadable.is_err());
        let body = |kind| {
            assert_eq!(kind, EntryKind::Feedback);
            Ok(Entry::Feedback(verdict("demo", "r", Verdict::Up, 1)))
        };
        assert!(Entry::read("chat.v1.feedback.demo", body).is_ok());
    }
}
