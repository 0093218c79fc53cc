//! The one door to Redis: short waits, and every loss of it is survivable.

use std::{sync::Arc, time::Duration};

use redis::FromRedisValue;
use talkfleet_shared::redis_door::{Program, RedisLink, RedisPlace, RedisTimes, argument, is_moving};

use crate::guard::Guard;

/// How long anything waits for Redis: a hundred times what a healthy one needs.
pub const PATIENCE: Duration = Duration::from_millis(150);

/// How long one attempt to connect may take, and what lies between two.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// What is kept, or else the lease: who holds it shall make what is kept. In one step, so that nobody finds neither.
const LOOK: &str = "
local kept = redis.call('GET', KEYS[1])
if kept then return {kept, redis.call('PTTL', KEYS[1])} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'', 1} end
return {'', 0}";

/// Keeps what was made under a lease that still holds; one that was taken away, since what it read has changed, does not.
const FILL: &str = "
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1";

/// Adds a member to a sorted set of at most so many, which is forgotten after a silence. One script and not three commands: while
/// a slot of a cluster moves, a command that was sent on takes none along that come after it.
const ADD: &str = "
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
redis.call('EXPIRE', KEYS[1], ARGV[4])";

/// Why Redis could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("redis.url cannot be used: {0}")]
    Url(redis::RedisError),
    #[error("Redis did not answer in time")]
    Timeout,
    #[error("Redis failed a moment ago and is left alone")]
    Paused,
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
}

/// A connection that mends itself; cheap to clone, and all clones share what stands before it.
#[derive(Clone)]
pub struct Redis {
    link: RedisLink,
    guard: Guard,
    programs: Arc<Programs>,
}

struct Programs {
    look: Program,
    fill: Program,
    add: Program,
}

/// Where a value and the right to make it lie; both on one node of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub value: &'a str,
    pub lease: &'a str,
}

/// What lies at a place.
#[derive(Debug, PartialEq)]
pub enum Look {
    Kept {
        bytes: Vec<u8>,
        /// How long it is kept from now on.
        left: Duration,
    },
    /// Nothing, and the caller's token holds the lease now.
    Leased,
    /// Nothing yet: another holds the lease.
    Taken,
}

impl Redis {
    /// Prepares the connection; it is made with the first use, so that a worker starts without Redis.
    pub fn new(place: RedisPlace, guard: Guard) -> Result<Self, RedisError> {
        let times = RedisTimes { connect: CONNECT_TIMEOUT, answer: PATIENCE, reconnect: RECONNECT };
        let programs = Programs { look: Program::new(LOOK), fill: Program::new(FILL), add: Program::new(ADD) };
        let link = RedisLink::open(place, times).map_err(RedisError::Url)?;
        Ok(Self { link, guard, programs: Arc::new(programs) })
    }

    /// The members of a sorted set from a score on, in its order.
    pub async fn members_from(&self, key: &str, score_min: u64) -> Result<Vec<Vec<u8>>, RedisError> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(key).arg(score_min).arg("+inf");
        self.within_patience(self.link.ask(&command)).await
    }

    /// Adds a member to a sorted set of at most so many, which is forgotten after a silence; the same again changes nothing.
    pub async fn add_member(
        &self,
        key: &str,
        (member, score): (Vec<u8>, u64),
        members_max: usize,
        silence_s: u64,
    ) -> Result<(), RedisError> {
        let mut arguments = argument(score);
        arguments.push(member);
        arguments.extend(argument(members_max));
        arguments.extend(argument(silence_s));
        self.run(&self.programs.add, &[key], &arguments).await
    }

    /// What is kept at a place; where nothing is, `token` takes the lease unless another has it.
    pub async fn look(&self, place: Place<'_>, token: &str, lease: Duration) -> Result<Look, RedisError> {
        let mut arguments = argument(token);
        arguments.extend(argument(lease.as_millis() as u64));
        let keys = [place.value, place.lease];
        let (bytes, answer): (Vec<u8>, i64) = self.run(&self.programs.look, &keys, &arguments).await?;
        Ok(match (bytes.is_empty(), answer) {
            (false, left_ms) => Look::Kept { bytes, left: Duration::from_millis(left_ms.max(0).unsigned_abs()) },
            (true, 1) => Look::Leased,
            (true, _) => Look::Taken,
        })
    }

    /// Keeps what was made under a lease and gives the lease back; false when it was taken away meanwhile. No time to keep
    /// it for gives the lease back only.
    pub async fn fill(
        &self,
        place: Place<'_>,
        token: &str,
        bytes: &[u8],
        keep_for: Duration,
    ) -> Result<bool, RedisError> {
        let mut arguments = argument(token);
        arguments.push(bytes.to_vec());
        arguments.extend(argument(keep_for.as_millis() as u64));
        self.run(&self.programs.fill, &[place.value, place.lease], &arguments).await
    }

    /// Drops what is kept at these places, and takes the leases away: what is being made of it is old already.
    pub async fn forget(&self, places: impl Iterator<Item = Place<'_>>) -> Result<(), RedisError> {
        let places: Vec<_> = places.collect();
        let unlink = |keys: fn(&Place<'_>) -> Vec<String>| -> Vec<_> {
            places.iter().map(|place| redis::cmd("UNLINK").arg(keys(place)).to_owned()).collect()
        };
        self.within_patience(async {
            let both = unlink(|place| vec![place.value.to_owned(), place.lease.to_owned()]);
            match self.link.tell(both).await {
                // Keys of a slot that moves are found one by one only; without its lease nothing old comes back.
                Err(error) if is_moving(&error) => {
                    self.link.tell(unlink(|place| vec![place.lease.to_owned()])).await?;
                    self.link.tell(unlink(|place| vec![place.value.to_owned()])).await
                }
                done => done,
            }
        })
        .await
    }

    async fn run<T: FromRedisValue>(
        &self,
        program: &Program,
        keys: &[&str],
        arguments: &[Vec<u8>],
    ) -> Result<T, RedisError> {
        self.within_patience(self.link.run(program, keys, arguments)).await
    }

    /// Runs a command while Redis is well; after failures it is spared, and nobody waits for it.
    async fn within_patience<T>(
        &self,
        command: impl Future<Output = Result<T, redis::RedisError>>,
    ) -> Result<T, RedisError> {
        let leave = self.guard.enter().ok_or(RedisError::Paused)?;
        let answered = match tokio::time::timeout(PATIENCE, command).await {
            Ok(answered) => answered.map_err(RedisError::from),
            Err(_) => Err(RedisError::Timeout),
        };
        leave.report(&answered);
        answered
    }
}
