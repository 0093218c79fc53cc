//! The desk's memory of a conversation, in Redis: short waits, and every loss of it is survivable.

use serde::{Deserialize, Serialize};
use talkfleet_shared::{
    chat::{Exchange, Outcome, TurnRecord},
    id::{ConversationId, RequestId, TenantId, UserId},
};
use time::OffsetDateTime;

use crate::{
    config::MemoryConfig,
    keeper::{Redis, RedisError},
    turn::millis,
};

/// The memory of every conversation.
pub struct Memory {
    redis: Redis,
    config: MemoryConfig,
}

/// One exchange as it lies in Redis: a member of a sorted set whose score is the time of the question.
///
/// It is made from the turn's record alone, so that a repeated append adds the same member and nothing changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub request: RequestId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    pub question: String,
    answer: String,
}

impl Memory {
    pub fn new(redis: Redis, config: MemoryConfig) -> Self {
        Self { redis, config }
    }

    /// The latest exchanges of a conversation, oldest first; of a named customer only their own.
    pub async fn recall(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        user: Option<&UserId>,
        now: OffsetDateTime,
    ) -> Result<Vec<Exchange>, RedisError> {
        let oldest_ms = millis(now).saturating_sub(self.config.age_s.saturating_mul(1_000));
        let members = self.redis.members_from(&key(tenant, conversation), oldest_ms).await?;
        let kept = members.iter().filter_map(|member| serde_json::from_slice(member).ok());
        Ok(latest(kept.collect(), user, &self.config))
    }

    /// Appends what an ended turn said; appending the same record again changes nothing.
    pub async fn append(&self, record: &TurnRecord) -> Result<(), RedisError> {
        let Some(kept) = worth_keeping(record, self.config.bytes_max) else { return Ok(()) };
        let Ok(member) = serde_json::to_vec(&kept) else { return Ok(()) };
        let key = key(&record.tenant, &record.conversation);
        let MemoryConfig { turns_max, age_s, .. } = self.config;
        self.redis.add_member(&key, (member, record.asked_at_ms), turns_max, age_s).await
    }
}

/// The braces keep one conversation's keys on one node of a cluster.
pub(crate) fn key(tenant: &TenantId, conversation: &ConversationId) -> String {
    format!("tf:{{{tenant}:{conversation}}}:memory")
}

/// Answers are remembered; what failed, expired or was cancelled is not.
fn worth_keeping(record: &TurnRecord, bytes_max: usize) -> Option<Kept> {
    let Outcome::Answered { answer } = &record.outcome else { return None };
    // Each half gets at most a quarter, so that one giant never empties the rest of the memory.
    let clip = |text: &str| text[..text.floor_char_boundary(bytes_max / 4)].to_owned();
    Some(Kept {
        request: record.request.clone(),
        user: record.ask.user.clone(),
        question: clip(record.ask.text.as_str()),
        answer: clip(&answer.text),
    })
}

/// PURE: what the memory would have told of a conversation at `now`, after these turns of it, oldest first.
pub fn remembered<'a>(
    turns: impl Iterator<Item = &'a TurnRecord>,
    user: Option<&UserId>,
    now_ms: u64,
    config: &MemoryConfig,
) -> Vec<Exchange> {
    let oldest_ms = now_ms.saturating_sub(config.age_s.saturating_mul(1_000));
    let in_time = turns.filter(|turn| turn.asked_at_ms >= oldest_ms && turn.ask.history.is_none());
    let mut kept: Vec<_> = in_time.filter_map(|turn| worth_keeping(turn, config.bytes_max)).collect();
    kept.drain(..kept.len().saturating_sub(config.turns_max));
    latest(kept, user, config)
}

/// PURE: the newest exchanges that fit, oldest first.
fn latest(kept: Vec<Kept>, user: Option<&UserId>, config: &MemoryConfig) -> Vec<Exchange> {
    let own = kept.into_iter().rev().filter(|kept| user.is_none() || kept.user.as_ref() == user);
    let mut room = config.bytes_max;
    let fits = |kept: &Kept| {
        let bytes = kept.question.len() + kept.answer.len();
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    };
    let mut exchanges: Vec<_> = own
        .take(config.turns_max)
        .take_while(fits)
        .map(|kept| Exchange { question: kept.question, answer: kept.answer })
        .collect();
    exchanges.reverse();
    exchanges
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use talkfleet_shared::{config::Url, metrics::Metrics, redis_door::RedisPlace};

    use super::*;
    use crate::{
        config::WorkerConfig,
        guard::{Guard, Patience},
        keeper::PATIENCE,
    };

    const FAILURES_MAX: u32 = 3;

    fn kept(n: usize, user: Option<&str>, bytes: usize) -> Kept {
        Kept {
            request: RequestId::parse(&format!("r{n}")).unwrap(),
            user: user.map(|user| UserId::parse(user).unwrap()),
            question: n.to_string(),
            answer: "a".repeat(bytes),
        }
    }

    #[track_caller]
    fn check(kept: Vec<Kept>, user: Option<&str>, expected: &[&str]) {
        let config = MemoryConfig { turns_max: 3, bytes_max: 100, age_s: 60 };
        let user = user.map(|user| UserId::parse(user).unwrap());
        let exchanges = latest(kept, user.as_ref(), &config);
        assert_eq!(exchanges.iter().map(|e| e.question.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_newest_that_fit_are_recalled_oldest_first() {
        check((0..5).map(|n| kept(n, None, 10)).collect(), None, &["2", "3", "4"]);
        check(vec![kept(0, None, 1), kept(1, None, 90), kept(2, None, 50)], None, &["2"]);
        check(Vec::new(), None, &[]);
    }

    #[test]
    fn a_customer_never_sees_anothers_history() {
        check(vec![kept(0, Some("ann"), 1), kept(1, Some("eve"), 1), kept(2, None, 1)], Some("ann"), &["0"]);
    }

    #[tokio::test]
    async fn without_redis_nobody_waits_for_long() {
        // A port that was free a moment ago refuses at once.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = MemoryConfig { turns_max: 3, bytes_max: 100, age_s: 60 };
        let retries = WorkerConfig::load(None, &[]).unwrap().retries;
        let patience = Patience { failures_max: FAILURES_MAX, open_ms: 60_000 };
        let guard = Guard::new("redis", patience, retries, Metrics::new("worker"));
        let place = RedisPlace { url: Url::new(format!("redis://127.0.0.1:{port}")), ..RedisPlace::default() };
        let redis = Redis::new(place, guard).unwrap();
        let memory = Memory::new(redis, config);
        let (tenant, conversation) = (TenantId::parse("t").unwrap(), ConversationId::parse("c").unwrap());
        let recall = || memory.recall(&tenant, &conversation, None, OffsetDateTime::UNIX_EPOCH);
        for _ in 0..FAILURES_MAX {
            let started = Instant::now();
            assert!(matches!(recall().await, Err(RedisError::Timeout | RedisError::Redis(_))));
            assert!(started.elapsed() < PATIENCE * 3);
        }
        assert!(matches!(recall().await, Err(RedisError::Paused)));
    }
}
