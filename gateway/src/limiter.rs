//! Limits as they are kept: a bucket per user and per tenant in this process, and the order in which they are asked.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use talkfleet_shared::{
    chat::Problem,
    clock,
    error::Code,
    id::{TenantId, UserId},
};

use crate::{
    admit::{Allowance, Bucket, Rate},
    config::LimitsConfig,
};

/// Buckets above which the full ones are thrown away: 100,000 cost about 10 MB.
const BUCKETS_MAX: usize = 100_000;

/// Who may ask how often.
pub(crate) struct Limiter {
    user: Option<Rate>,
    tenant: Option<Rate>,
    began: Instant,
    buckets: Mutex<HashMap<(TenantId, Option<UserId>), Bucket>>,
}

impl Limiter {
    pub(crate) fn new(config: LimitsConfig) -> Self {
        Self {
            user: Rate::new(config.user_per_minute, config.user_burst),
            tenant: Rate::new(config.tenant_per_minute, config.tenant_burst),
            began: clock::now(),
            buckets: Mutex::default(),
        }
    }

    /// Lets one request of a user in, or says 429 and when to come back; None when nothing is limited.
    pub(crate) fn admit(&self, tenant: &TenantId, user: Option<&UserId>) -> Result<Option<Allowance>, Problem> {
        if self.user.is_none() && self.tenant.is_none() {
            return Ok(None);
        }
        let now = clock::since(self.began);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > BUCKETS_MAX {
            buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        // The user first: whoever is refused must not use up what belongs to their tenant.
        let mut take = |rate: Option<Rate>, key| match rate {
            Some(rate) => buckets.entry(key).or_default().take(rate, now).map(Some).map_err(refusal),
            None => Ok(None),
        };
        let users = match user {
            Some(user) => take(self.user, (tenant.clone(), Some(user.clone())))?,
            None => None,
        };
        let tenants = take(self.tenant, (tenant.clone(), None))?;
        Ok(users.into_iter().chain(tenants).min_by_key(|allowance| allowance.remaining))
    }
}

fn refusal(wait: Duration) -> Problem {
    Problem::new(Code::TooManyRequests).retry_after_ms(wait.as_millis() as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_asks_too_often_leaves_the_others_alone() {
        let config = LimitsConfig { user_per_minute: 1, user_burst: 2, tenant_per_minute: 1, tenant_burst: 3 };
        let limiter = Limiter::new(config);
        let tenant = TenantId::parse("demo").unwrap();
        let [ann, bob] = ["ann", "bob"].map(|user| UserId::parse(user).unwrap());
        let ask = |user| limiter.admit(&tenant, Some(user)).map(|allowance| allowance.unwrap().remaining);
        assert_eq!(ask(&ann), Ok(1));
        assert_eq!(ask(&ann), Ok(0));
        let refused = ask(&ann).unwrap_err();
        assert_eq!(refused.code, Code::TooManyRequests);
        assert!(refused.retry_after_ms.is_some_and(|ms| ms > 1_000));
        assert_eq!(ask(&bob), Ok(0), "what Ann was refused did not count against the tenant");
        assert!(ask(&bob).is_err(), "the tenant's own bucket is empty");
    }

    #[test]
    fn without_limits_nobody_is_counted() {
        let off = LimitsConfig { user_per_minute: 0, user_burst: 1, tenant_per_minute: 0, tenant_burst: 1 };
        assert_eq!(Limiter::new(off).admit(&TenantId::parse("demo").unwrap(), None), Ok(None));
    }
}
