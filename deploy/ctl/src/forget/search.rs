//! Whose something is: by the ids on it, by the conversation that it belongs to, by words that only they have said.

use std::collections::HashSet;

use aho_corasick::AhoCorasick;
use talkfleet_shared::{
    forgotten::{List, Whom},
    id::{ConversationId, RequestId, TenantId, UserId},
};

/// An id is looked for in other people's words when it is at least this long: shorter ones are names and numbers of anything.
const ID_CHARS_MIN: usize = 8;

/// A message is looked for elsewhere when it is at least this long: "yes please" is everybody's.
const TEXT_CHARS_MIN: usize = 24;

/// Who is looked for.
pub enum Wanted {
    One {
        tenant: TenantId,
        whom: Whom,
    },
    /// Everybody on the list.
    Listed(List),
}

/// One thing that may be somebody's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Item<'a> {
    pub tenant: Option<&'a TenantId>,
    pub user: Option<&'a UserId>,
    pub conversation: Option<&'a ConversationId>,
    pub request: Option<&'a RequestId>,
    /// When it was said, Unix milliseconds.
    pub at_ms: u64,
    /// What the customer said.
    pub text: Option<&'a str>,
    /// All that lies there.
    pub raw: &'a [&'a [u8]],
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Theirs,
    /// Somebody else's or nobody's, with an id of theirs or a message of theirs in it.
    Mentions,
    Anothers,
}

/// A look for somebody, who is known better with each thing that is found.
pub struct Search {
    wanted: Wanted,
    /// What was said later is not theirs to forget.
    until_ms: u64,
    conversations: HashSet<(TenantId, ConversationId)>,
    requests: HashSet<(TenantId, RequestId)>,
    texts: HashSet<String>,
    /// Their words that others have said as well.
    common: HashSet<String>,
    needles: Option<AhoCorasick>,
    /// How many of the needles are ids, which must stand alone; messages come after them.
    ids: usize,
    patterns: Vec<String>,
}

impl Search {
    pub fn new(wanted: Wanted, until_ms: u64) -> Self {
        Self {
            wanted,
            until_ms,
            conversations: HashSet::new(),
            requests: HashSet::new(),
            texts: HashSet::new(),
            common: HashSet::new(),
            needles: None,
            ids: 0,
            patterns: Vec::new(),
        }
    }

    /// The one tenant that is looked at, if it is one.
    pub fn tenant(&self) -> Option<&TenantId> {
        match &self.wanted {
            Wanted::One { tenant, .. } => Some(tenant),
            Wanted::Listed(_) => None,
        }
    }

    /// Whether anything of a tenant may be theirs.
    pub fn concerns(&self, tenant: &TenantId) -> bool {
        match &self.wanted {
            Wanted::One { tenant: wanted, .. } => wanted == tenant,
            Wanted::Listed(list) => list.tombstones().any(|(_, tombstone)| tombstone.tenant == *tenant),
        }
    }

    pub fn conversations(&self) -> &HashSet<(TenantId, ConversationId)> {
        &self.conversations
    }

    pub fn requests(&self) -> &HashSet<(TenantId, RequestId)> {
        &self.requests
    }

    /// How many of their messages are known, and how many of these nobody else has said.
    pub fn texts(&self) -> (usize, usize) {
        (self.texts.len(), self.patterns.len() - self.ids)
    }

    /// What an item is; what is theirs is learned from.
    pub fn judge(&mut self, item: &Item<'_>) -> Found {
        if self.is_theirs(item) {
            self.learn(item);
            return Found::Theirs;
        }
        if item.tenant.is_some_and(|tenant| !self.concerns(tenant)) || item.at_ms > self.until_ms {
            return Found::Anothers;
        }
        if self.mentions(item) { Found::Mentions } else { Found::Anothers }
    }

    /// Whether it is somebody else's turn in a conversation in which they have spoken.
    pub fn shares(&self, item: &Item<'_>) -> bool {
        let known = item.tenant.zip(item.conversation).map(|(tenant, id)| (tenant.clone(), id.clone()));
        item.at_ms <= self.until_ms && known.is_some_and(|known| self.conversations.contains(&known))
    }

    /// Begins another look at everything, with what is known by now.
    pub fn again(&mut self) {
        let own = match &self.wanted {
            Wanted::One { whom: Whom::User(user), .. } => Some(user.as_str()),
            Wanted::One { whom: Whom::Conversation(conversation), .. } => Some(conversation.as_str()),
            Wanted::Listed(_) => None,
        };
        let conversations = self.conversations.iter().map(|(_, id)| id.as_str());
        let requests = self.requests.iter().map(|(_, id)| id.as_str());
        let ids: HashSet<&str> =
            own.into_iter().chain(conversations).chain(requests).filter(|id| id.len() >= ID_CHARS_MIN).collect();
        let texts = self.texts.iter().filter(|text| is_telling(text) && !self.common.contains(*text));
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        self.ids = ids.len();
        self.patterns = ids.into_iter().chain(texts.cloned()).collect();
        // None where there are more than it can hold: then the ids on things decide alone.
        self.needles = if self.patterns.is_empty() { None } else { AhoCorasick::new(&self.patterns).ok() };
    }

    fn is_theirs(&self, item: &Item<'_>) -> bool {
        let Some(tenant) = item.tenant else { return false };
        let named = match &self.wanted {
            Wanted::Listed(list) => list.holds(tenant, item.user, item.conversation, item.at_ms),
            _ if item.at_ms > self.until_ms => false,
            Wanted::One { tenant: wanted, .. } if wanted != tenant => false,
            Wanted::One { whom: Whom::User(user), .. } => item.user == Some(user),
            Wanted::One { whom: Whom::Conversation(conversation), .. } => item.conversation == Some(conversation),
        };
        // What nobody's name is on, in a conversation of theirs or about a request of theirs, is theirs.
        let theirs = || {
            let of =
                |conversation: &ConversationId| self.conversations.contains(&(tenant.clone(), conversation.clone()));
            let about = |request: &RequestId| self.requests.contains(&(tenant.clone(), request.clone()));
            item.conversation.is_some_and(of) || item.request.is_some_and(about)
        };
        named || item.at_ms <= self.until_ms && self.nobody_else(item) && theirs()
    }

    /// Whether no other user's name is on it; in a whole conversation, everybody's turns go.
    fn nobody_else(&self, item: &Item<'_>) -> bool {
        item.user.is_none() || matches!(&self.wanted, Wanted::One { whom: Whom::Conversation(_), .. })
    }

    fn learn(&mut self, item: &Item<'_>) {
        let Some(tenant) = item.tenant else { return };
        if let Some(conversation) = item.conversation {
            self.conversations.insert((tenant.clone(), conversation.clone()));
        }
        if let Some(request) = item.request {
            self.requests.insert((tenant.clone(), request.clone()));
        }
        self.texts.extend(item.text.map(str::to_owned));
    }

    fn mentions(&mut self, item: &Item<'_>) -> bool {
        let Some(needles) = &self.needles else { return false };
        // A record of somebody who has asked the same is no trace of theirs.
        let own = item.text.filter(|_| item.user.is_some() || item.conversation.is_some());
        let mut found = false;
        for raw in item.raw {
            for hit in needles.find_overlapping_iter(raw) {
                let (place, text) = (hit.pattern().as_usize(), &self.patterns[hit.pattern().as_usize()]);
                found |= match place < self.ids {
                    // Where somebody else has spoken as well, its name is theirs too.
                    true if item.conversation.is_some_and(|own| own.as_str() == text) => false,
                    true => stands_alone(raw, hit.start(), hit.end()),
                    false if own.is_some_and(|own| own.contains(text.as_str())) => {
                        self.common.insert(text.clone());
                        false
                    }
                    false => !self.common.contains(text),
                };
            }
        }
        found
    }
}

/// Whether nobody says this by chance.
fn is_telling(text: &str) -> bool {
    text.chars().count() >= TEXT_CHARS_MIN
}

/// Whether no letter of an id stands before or after. In MessagePack a text of 32 bytes and more has its length before it,
/// which may look like a letter.
fn stands_alone(raw: &[u8], start: usize, end: usize) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let before = raw[..start].last();
    let is_length = start >= 2 && raw[start - 2] == 0xd9 && usize::from(raw[start - 1]) == end - start;
    (is_length || !before.is_some_and(plain)) && !raw.get(end).is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: u64 = 1_000;

    struct Record {
        tenant: TenantId,
        user: Option<UserId>,
        conversation: ConversationId,
        request: RequestId,
        at_ms: u64,
        text: String,
    }

    fn record(user: &str, conversation: &str, request: &str, text: &str) -> Record {
        Record {
            tenant: TenantId::parse("demo").unwrap(),
            user: (!user.is_empty()).then(|| UserId::parse(user).unwrap()),
            conversation: ConversationId::parse(conversation).unwrap(),
            request: RequestId::parse(request).unwrap(),
            at_ms: 1,
            text: text.to_owned(),
        }
    }

    fn judge(search: &mut Search, record: &Record, raw: &str) -> Found {
        search.judge(&Item {
            tenant: Some(&record.tenant),
            user: record.user.as_ref(),
            conversation: Some(&record.conversation),
            request: Some(&record.request),
            at_ms: record.at_ms,
            text: Some(&record.text),
            raw: &[raw.as_bytes()],
        })
    }

    fn of_user(user: &str) -> Search {
        let whom = Whom::User(UserId::parse(user).unwrap());
        Search::new(Wanted::One { tenant: TenantId::parse("demo").unwrap(), whom }, UNTIL)
    }

    const SECRET: &str = "My parcel 4711 never came to Elm Street 5";

    #[test]
    fn what_nobodys_name_is_on_goes_with_the_conversation_and_others_stay() {
        let mut search = of_user("ann");
        assert_eq!(judge(&mut search, &record("", "c1", "r0", "hello"), ""), Found::Anothers, "not known yet");
        assert_eq!(judge(&mut search, &record("ann", "c1", "r1", SECRET), ""), Found::Theirs);
        assert_eq!(judge(&mut search, &record("", "c1", "r0", "hello"), ""), Found::Theirs);
        assert_eq!(judge(&mut search, &record("eve", "c1", "r2", "hi"), ""), Found::Anothers);
        let later = Record { at_ms: UNTIL + 1, ..record("ann", "c1", "r3", "again") };
        assert_eq!(judge(&mut search, &later, SECRET), Found::Anothers, "she came back");
        let elsewhere = Record { tenant: TenantId::parse("other").unwrap(), ..record("ann", "c1", "r1", SECRET) };
        assert_eq!(judge(&mut search, &elsewhere, SECRET), Found::Anothers);
        assert_eq!((search.conversations().len(), search.requests().len()), (1, 2));
        let [hers, another] = ["c1", "c2"].map(|conversation| record("eve", conversation, "r2", "hi"));
        let shares = |record: &Record| {
            let (tenant, conversation) = (Some(&record.tenant), Some(&record.conversation));
            search.shares(&Item { tenant, conversation, at_ms: record.at_ms, ..Item::default() })
        };
        assert!(shares(&hers) && !shares(&another) && !shares(&Record { at_ms: UNTIL + 1, ..hers }));
    }

    #[test]
    fn a_whole_conversation_goes_whoever_spoke_in_it() {
        let whom = Whom::Conversation(ConversationId::parse("c1").unwrap());
        let mut search = Search::new(Wanted::One { tenant: TenantId::parse("demo").unwrap(), whom }, UNTIL);
        for user in ["ann", "eve", ""] {
            assert_eq!(judge(&mut search, &record(user, "c1", "r1", SECRET), ""), Found::Theirs);
        }
        assert_eq!(judge(&mut search, &record("ann", "c2", "r9", SECRET), ""), Found::Anothers);
    }

    #[test]
    fn their_ids_and_their_words_are_found_in_what_is_anothers() {
        let mut search = of_user("ann-customer");
        judge(&mut search, &record("ann-customer", "conversation-1", "request-1", SECRET), "");
        judge(&mut search, &record("ann-customer", "conversation-1", "request-2", "Hello there"), "");
        search.again();
        let mut other = |raw: &str| judge(&mut search, &record("eve", "c9", "r9", "Where is it?"), raw);
        assert_eq!(other(&format!("she said: {SECRET}.")), Found::Mentions);
        assert_eq!(other("on behalf of ann-customer"), Found::Mentions);
        assert_eq!(other("\u{a9}request-1\u{a4}"), Found::Mentions);
        assert_eq!(other("about conversation-1"), Found::Mentions);
        assert_eq!(other("ann-customers and xrequest-1"), Found::Anothers, "other ids");
        assert_eq!(other("Hello there"), Found::Anothers, "everybody says so");
        let beside = record("eve", "conversation-1", "r9", "Where is it?");
        assert_eq!(judge(&mut search, &beside, "in conversation-1"), Found::Anothers, "she was there too");
    }

    #[test]
    fn who_asks_the_same_is_not_taken_for_them() {
        let mut search = of_user("ann-customer");
        judge(&mut search, &record("ann-customer", "conversation-1", "request-1", SECRET), "");
        search.again();
        assert_eq!(judge(&mut search, &record("eve", "c9", "r9", SECRET), SECRET), Found::Anothers);
        search.again();
        assert_eq!(search.texts(), (1, 0), "it is no fingerprint of theirs");
    }

    #[test]
    fn a_length_before_an_id_is_no_letter_of_it() {
        let id = "x".repeat(50);
        let packed = [&[0xd9, 50][..], id.as_bytes(), &[0xa1]].concat();
        assert!(stands_alone(&packed, 2, 52));
        assert!(!stands_alone(&[b"22".as_slice(), id.as_bytes()].concat(), 2, 52));
    }
}
