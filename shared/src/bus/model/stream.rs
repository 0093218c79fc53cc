//! One stream of the model: what it lets in, what it keeps and for how long, by the rules of nats-server's JetStream.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_nats::{
    HeaderMap,
    jetstream::stream::{Config, DiscardPolicy, RetentionPolicy},
};
use bytes::Bytes;

use super::super::header_of;
use crate::header;

/// A stream; moments are times since the model began.
pub struct Stream {
    pub config: Config,
    last_sequence: u64,
    messages: BTreeMap<u64, Entry>,
    /// Which message was stored under an id, and when.
    ids: HashMap<String, (u64, Duration)>,
}

/// A message as it lies there.
#[derive(Debug, Clone)]
pub struct Entry {
    pub subject: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub stored_at: Duration,
    gone_at: Option<Duration>,
}

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storing {
    Stored(u64),
    Duplicate(u64),
    NotFirst,
    Refused(&'static str),
}

impl Stream {
    pub fn new(config: Config) -> Self {
        Self { config, last_sequence: 0, messages: BTreeMap::new(), ids: HashMap::new() }
    }

    pub fn captures(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|filter| matches(filter, subject))
    }

    pub fn store(&mut self, subject: &str, headers: HeaderMap, body: Bytes, now: Duration) -> Storing {
        self.expire(now);
        let id = header_of(Some(&headers), header::MESSAGE_ID).map(str::to_owned);
        if let Some((sequence, _)) = id.as_ref().and_then(|id| self.ids.get(id)) {
            return Storing::Duplicate(*sequence);
        }
        let among = header_of(Some(&headers), header::EXPECTED_LAST_SUBJECT_SEQUENCE_OF).unwrap_or(subject);
        let last = self.last(among, now).map(|(sequence, _)| sequence);
        let expected = header_of(Some(&headers), header::EXPECTED_LAST_SUBJECT_SEQUENCE);
        if expected
            .and_then(|expected| expected.parse().ok())
            .is_some_and(|expected: u64| last.unwrap_or(0) != expected)
        {
            return Storing::NotFirst;
        }
        let of_this_subject = self.messages.values().filter(|entry| entry.subject == subject).count() as i64;
        let discards_new = self.config.discard == DiscardPolicy::New;
        let (each_max, all_max) = (self.config.max_messages_per_subject, self.config.max_messages);
        if each_max > 0 && of_this_subject >= each_max {
            if discards_new && self.config.discard_new_per_subject {
                return Storing::Refused("maximum messages per subject exceeded");
            }
            self.messages.retain(|_, entry| entry.subject != subject);
        }
        if all_max > 0 && self.messages.len() as i64 >= all_max {
            if discards_new {
                return Storing::Refused("maximum messages exceeded");
            }
            self.messages.pop_first();
        }
        self.last_sequence += 1;
        let own = header_of(Some(&headers), header::TTL).and_then(seconds);
        let age_max = (!self.config.max_age.is_zero()).then_some(self.config.max_age);
        let gone_at = own.into_iter().chain(age_max).min().map(|age| now + age);
        let entry = Entry { subject: subject.to_owned(), headers, body, stored_at: now, gone_at };
        self.messages.insert(self.last_sequence, entry);
        if let Some(id) = id {
            self.ids.insert(id, (self.last_sequence, now));
        }
        Storing::Stored(self.last_sequence)
    }

    /// The newest message on a subject, or on any that a filter matches.
    pub fn last(&mut self, filter: &str, now: Duration) -> Option<(u64, &Entry)> {
        self.expire(now);
        let newest = self.messages.iter().rev().find(|(_, entry)| matches(filter, &entry.subject));
        newest.map(|(sequence, entry)| (*sequence, entry))
    }

    pub fn get(&self, sequence: u64) -> Option<&Entry> {
        self.messages.get(&sequence)
    }

    pub fn delete(&mut self, sequence: u64) -> bool {
        self.messages.remove(&sequence).is_some()
    }

    /// A message was acknowledged: a work queue has no use for it any more.
    pub fn settled(&mut self, sequence: u64) {
        if self.config.retention == RetentionPolicy::WorkQueue {
            self.delete(sequence);
        }
    }

    /// The messages that lie there from a sequence on, on the subjects of a filter; an empty one is all.
    pub fn from(&self, sequence: u64, filter: &str) -> impl Iterator<Item = u64> {
        let found = self.messages.range(sequence..);
        found
            .filter(move |(_, entry)| filter.is_empty() || matches(filter, &entry.subject))
            .map(|(sequence, _)| *sequence)
    }

    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.messages.iter().map(|(sequence, entry)| (*sequence, entry))
    }

    pub fn expire(&mut self, now: Duration) {
        self.messages.retain(|_, entry| entry.gone_at.is_none_or(|gone_at| gone_at > now));
        let window = self.config.duplicate_window;
        self.ids.retain(|_, (_, stored_at)| *stored_at + window > now);
    }
}

/// Whether a subject is one of those that a filter names: `*` is one token, `>` all that follow.
pub fn matches(filter: &str, subject: &str) -> bool {
    let (mut wanted, mut tokens) = (filter.split('.'), subject.split('.'));
    loop {
        match (wanted.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
}

/// A time to live as we write it: `90s`.
fn seconds(text: &str) -> Option<Duration> {
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_subjects_token_by_token() {
        for (filter, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.*.c", "a.b.d", false),
            ("a.b.c", "a.b", false),
        ] {
            assert_eq!(matches(filter, subject), expected, "{filter} {subject}");
        }
    }
}
