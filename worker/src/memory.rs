//! The desk's memory of a conversation, and the one door to Redis: short waits, and every loss of it is survivable.

use std::time::Duration;

use redis::{
    Client, IntoConnectionInfo, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};
use serde::{Deserialize, Serialize};
use talkfleet_shared::{
    chat::{Exchange, Outcome, TurnRecord},
    config::Url,
    id::{ConversationId, RequestId, TenantId, UserId},
};
use time::OffsetDateTime;

use crate::{config::MemoryConfig, guard::Guard, turn::millis};

/// How long a turn waits for its memory: a hundred times what a healthy Redis needs.
const PATIENCE: Duration = Duration::from_millis(150);

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Why the memory could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("redis.url cannot be used: {0}")]
    Url(RedisError),
    #[error("Redis did not answer in time")]
    Timeout,
    #[error("Redis failed a moment ago and is left alone")]
    Paused,
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
}

/// The memory of every conversation.
pub struct Memory {
    redis: ConnectionManager,
    config: MemoryConfig,
    guard: Guard,
}

/// One exchange as it lies in Redis: a member of a sorted set whose score is the time of the question.
///
/// It is made from the turn's record alone, so that a repeated append adds the same member and nothing changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    request: RequestId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<UserId>,
    question: String,
    answer: String,
}

impl Memory {
    /// Prepares the connection; it is made with the first use, so that a worker starts without Redis.
    pub fn new(url: &Url, config: MemoryConfig, guard: Guard) -> Result<Self, MemoryError> {
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = url.reveal().into_connection_info().map_err(MemoryError::Url)?.set_tcp_settings(tcp);
        let client = Client::open(info).map_err(MemoryError::Url)?;
        let retries = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(2)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(500));
        let redis = ConnectionManager::new_lazy_with_config(client, retries).map_err(MemoryError::Url)?;
        Ok(Self { redis, config, guard })
    }

    /// The latest exchanges of a conversation, oldest first; of a named customer only their own.
    pub async fn recall(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        user: Option<&UserId>,
        now: OffsetDateTime,
    ) -> Result<Vec<Exchange>, MemoryError> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        let oldest_ms = millis(now).saturating_sub(self.config.age_s.saturating_mul(1_000));
        command.arg(key(tenant, conversation)).arg(oldest_ms).arg("+inf");
        let mut redis = self.redis.clone();
        let members: Vec<Vec<u8>> = self.within_patience(command.query_async(&mut redis)).await?;
        let kept = members.iter().filter_map(|member| serde_json::from_slice(member).ok());
        Ok(latest(kept.collect(), user, &self.config))
    }

    /// Appends what an ended turn said; appending the same record again changes nothing.
    pub async fn append(&self, record: &TurnRecord) -> Result<(), MemoryError> {
        let Some(kept) = worth_keeping(record, self.config.bytes_max) else { return Ok(()) };
        let Ok(member) = serde_json::to_vec(&kept) else { return Ok(()) };
        let key = key(&record.tenant, &record.conversation);
        let surplus = -1 - self.config.turns_max as isize;
        let mut pipe = redis::pipe();
        pipe.zadd(&key, member, record.asked_at_ms).ignore();
        pipe.zremrangebyrank(&key, 0, surplus).ignore();
        pipe.expire(&key, self.config.age_s as i64).ignore();
        let mut redis = self.redis.clone();
        self.within_patience(pipe.query_async::<()>(&mut redis)).await
    }

    /// Runs a command while Redis is well; after failures it is spared, and turns do not wait for it.
    async fn within_patience<T>(&self, command: impl Future<Output = Result<T, RedisError>>) -> Result<T, MemoryError> {
        let leave = self.guard.enter().ok_or(MemoryError::Paused)?;
        let answered = match tokio::time::timeout(PATIENCE, command).await {
            Ok(answered) => answered.map_err(MemoryError::from),
            Err(_) => Err(MemoryError::Timeout),
        };
        leave.report(&answered);
        answered
    }
}

/// The braces keep one conversation's keys on one node of a cluster.
fn key(tenant: &TenantId, conversation: &ConversationId) -> String {
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

    use talkfleet_shared::metrics::Metrics;

    use super::*;
    use crate::{config::WorkerConfig, guard::Patience};

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
        let memory = Memory::new(&Url::new(format!("redis://127.0.0.1:{port}")), config, guard).unwrap();
        let (tenant, conversation) = (TenantId::parse("t").unwrap(), ConversationId::parse("c").unwrap());
        let recall = || memory.recall(&tenant, &conversation, None, OffsetDateTime::UNIX_EPOCH);
        for _ in 0..FAILURES_MAX {
            let started = Instant::now();
            assert!(matches!(recall().await, Err(MemoryError::Timeout | MemoryError::Redis(_))));
            assert!(started.elapsed() < PATIENCE * 3);
        }
        assert!(matches!(recall().await, Err(MemoryError::Paused)));
    }
}
