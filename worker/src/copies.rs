//! What lies in Redis of tenants, looked through by operators: memories, copies, and what gateways note of requests.

use std::time::Duration;

use futures::future::try_join_all;
use talkfleet_shared::{
    chat::HistoryTurn,
    id::{ConversationId, TenantId, UserId},
    redis_door::{RedisLink, RedisPlace, RedisTimes},
};

use crate::{cache::copy, keeper::RedisError, memory::Kept};

/// How long one command may take: an operator has more time than a customer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Between attempts to connect, at least and at most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Keys that one step of a look goes over, about.
const STEP_KEYS: usize = 1_000;

/// What every key of ours begins with.
const OURS: &str = "tf:";

/// Redis, for a look.
pub struct Copies(RedisLink);

/// What lies under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub key: String,
    pub name: Name,
    /// The value, or the members of a memory.
    pub values: Vec<Vec<u8>>,
}

impl Copy {
    /// The turns that a history holds.
    pub fn turns(&self) -> Vec<HistoryTurn> {
        let read = |bytes: &Vec<u8>| copy::read::<Vec<HistoryTurn>>(bytes).flatten().unwrap_or_default();
        self.values.iter().flat_map(read).collect()
    }

    /// The exchanges that a memory holds, with the members that they are; what is none is left out.
    pub fn exchanges(&self) -> Vec<(&[u8], Kept)> {
        let read = |member: &Vec<u8>| serde_json::from_slice(member).ok();
        self.values.iter().filter_map(|member| Some((member.as_slice(), read(member)?))).collect()
    }
}

/// What a key says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub tenant: TenantId,
    pub kind: Kind,
}

/// What is kept under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A conversation's latest exchanges.
    Memory(ConversationId),
    /// A conversation's archived turns.
    History(ConversationId),
    /// What a model said to a question.
    Answer,
    /// How much a user may still ask.
    Limit(UserId),
    /// Anything else: notes of requests, limits of tenants, leases.
    Other,
}

/// Where a look has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(u64);

impl Copies {
    /// Prepares the connection to one server; of a cluster each master is looked through by itself, as only a server can tell
    /// its own keys. Within a runtime.
    pub fn open(place: RedisPlace) -> Result<Self, RedisError> {
        let times = RedisTimes { connect: ANSWER_TIMEOUT, answer: ANSWER_TIMEOUT, reconnect: RECONNECT };
        RedisLink::open(place, times).map(Self).map_err(RedisError::Url)
    }

    /// Some of what lies there of tenants, and where to go on; None when all of it was seen. What is there from the first
    /// step to the last is told at least once.
    pub async fn step(&self, at: Cursor) -> Result<(Vec<Copy>, Option<Cursor>), RedisError> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(at.0).arg("MATCH").arg(format!("{OURS}*")).arg("COUNT").arg(STEP_KEYS);
        let (next, keys): (u64, Vec<String>) = self.0.ask(&scan).await?;
        let named: Vec<(String, Name)> =
            keys.into_iter().filter_map(|key| Name::parse(&key).map(|name| (key, name))).collect();
        let reads = named.iter().map(|(key, name)| match name.kind {
            Kind::Memory(_) => redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).to_owned(),
            _ => redis::cmd("GET").arg(key).to_owned(),
        });
        // Side by side on one connection they are one pipeline.
        let answers = try_join_all(reads.map(|read| async move { self.0.ask::<redis::Value>(&read).await })).await?;
        let copies = named.into_iter().zip(answers);
        let copies = copies.map(|((key, name), answer)| Copy { key, name, values: bytes_of(answer) }).collect();
        Ok((copies, (next != 0).then_some(Cursor(next))))
    }

    /// Deletes keys; how many were there.
    pub async fn erase(&self, keys: &[String]) -> Result<u64, RedisError> {
        let mut erased = 0;
        for key in keys {
            erased += self.0.ask::<u64>(redis::cmd("UNLINK").arg(key)).await?;
        }
        Ok(erased)
    }

    /// Deletes members of a memory; how many were there.
    pub async fn erase_members(&self, key: &str, members: &[Vec<u8>]) -> Result<u64, RedisError> {
        Ok(self.0.ask(redis::cmd("ZREM").arg(key).arg(members)).await?)
    }
}

/// PURE: a value's bytes, or those of each of its members.
fn bytes_of(value: redis::Value) -> Vec<Vec<u8>> {
    match value {
        redis::Value::BulkString(bytes) => vec![bytes],
        redis::Value::Array(values) => values.into_iter().flat_map(bytes_of).collect(),
        _ => Vec::new(),
    }
}

impl Name {
    /// What a key of ours says; None for one that is of no tenant.
    ///
    /// A tenant stands first, `tf:{<tenant>:<conversation>}:memory`, `tf:{<tenant>}:limit:user:<user>`, with braces or without.
    pub fn parse(key: &str) -> Option<Self> {
        let rest = key.strip_prefix(OURS)?;
        let (tag, rest) = match rest.strip_prefix('{') {
            Some(tagged) => tagged.split_once('}').map(|(tag, rest)| (tag, rest.trim_start_matches(':')))?,
            None => rest.split_once(':')?,
        };
        let (tenant, id) = tag.split_once(':').unwrap_or((tag, ""));
        let words: Vec<&str> = rest.split(':').collect();
        let talk = || ConversationId::parse(id).ok();
        let kind = match words.as_slice() {
            ["memory"] => talk().map(Kind::Memory),
            ["history", _] => talk().map(Kind::History),
            ["answer", _] => Some(Kind::Answer),
            ["limit", what, user] if what.starts_with("user") => UserId::parse(user).ok().map(Kind::Limit),
            _ => None,
        };
        Some(Self { tenant: TenantId::parse(tenant).ok()?, kind: kind.unwrap_or(Kind::Other) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Key;

    #[track_caller]
    fn check(key: &str, kind: Option<Kind>) {
        assert_eq!(
            Name::parse(key).map(|name| (name.tenant.as_str().to_owned(), name.kind)),
            kind.map(|k| ("demo".into(), k))
        );
    }

    #[test]
    fn a_key_tells_whose_it_is() {
        let (tenant, talk) = (TenantId::parse("demo").unwrap(), ConversationId::parse("c-1").unwrap());
        check(crate::memory::key(&tenant, &talk).as_str(), Some(Kind::Memory(talk.clone())));
        check(Key::history(&tenant, &talk).as_str(), Some(Kind::History(talk.clone())));
        check(Key::answer(&tenant, &["a"]).as_str(), Some(Kind::Answer));
        let user = || UserId::parse("u_1").unwrap();
        check("tf:demo:limit:user:u_1", Some(Kind::Limit(user())));
        check("tf:{demo}:limit:user-tokens:u_1", Some(Kind::Limit(user())));
        check("tf:demo:req:01ABC", Some(Kind::Other));
        check("tf:{demo:c-1}:history:1:lease", Some(Kind::Other));
        check("tf:demo:limit:tenant", Some(Kind::Other));
        for strange in ["tf:limit", "other:demo:x", "tf:{demo", "tf:a b:req:1"] {
            check(strange, None);
        }
    }
}
