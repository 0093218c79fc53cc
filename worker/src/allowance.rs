//! PURE: what a tenant may have of the model: answers at once, and tokens a minute.

use std::{collections::HashMap, time::Instant};

use talkfleet_shared::{chat::RungReason, id::TenantId};

/// Tenants that are kept account of; beyond it those who owe nothing are forgotten.
const TENANTS_MAX: usize = 10_000;

const MINUTE_S: f64 = 60.0;

/// Every tenant's account; 0 is no limit.
#[derive(Debug)]
pub struct Allowances {
    concurrency: usize,
    tokens_per_min: f64,
    accounts: HashMap<TenantId, Account>,
}

#[derive(Debug, Clone, Copy)]
struct Account {
    answers: usize,
    /// Below 0 it was used up by answers whose length nobody knew before.
    tokens: f64,
    paid_in_at: Instant,
}

impl Allowances {
    pub fn new(concurrency: usize, tokens_per_min: u64) -> Self {
        Self { concurrency, tokens_per_min: tokens_per_min as f64, accounts: HashMap::new() }
    }

    /// Why this tenant may not have an answer of the model right now.
    pub fn obstacle(&self, tenant: &TenantId, now: Instant) -> Option<RungReason> {
        let account = self.accounts.get(tenant)?;
        if self.tokens_per_min > 0.0 && self.tokens(account, now) <= 0.0 {
            return Some(RungReason::Budget);
        }
        (self.concurrency > 0 && account.answers >= self.concurrency).then_some(RungReason::Busy)
    }

    /// An answer begins, unless something stands in its way.
    pub fn enter(&mut self, tenant: &TenantId, now: Instant) -> Result<(), RungReason> {
        if let Some(obstacle) = self.obstacle(tenant, now) {
            return Err(obstacle);
        }
        if self.accounts.len() >= TENANTS_MAX && !self.accounts.contains_key(tenant) {
            self.forget_the_idle(now);
        }
        let full = Account { answers: 0, tokens: self.tokens_per_min, paid_in_at: now };
        self.accounts.entry(tenant.clone()).or_insert(full).answers += 1;
        Ok(())
    }

    /// An answer ended that cost so many tokens.
    pub fn leave(&mut self, tenant: &TenantId, tokens: u32, now: Instant) {
        let Some(mut account) = self.accounts.get(tenant).copied() else { return };
        account.tokens = self.tokens(&account, now) - f64::from(tokens);
        account.paid_in_at = now;
        account.answers = account.answers.saturating_sub(1);
        self.accounts.insert(tenant.clone(), account);
    }

    fn tokens(&self, account: &Account, now: Instant) -> f64 {
        let passed_s = now.saturating_duration_since(account.paid_in_at).as_secs_f64();
        (account.tokens + passed_s / MINUTE_S * self.tokens_per_min).min(self.tokens_per_min)
    }

    fn forget_the_idle(&mut self, now: Instant) {
        let mut accounts = std::mem::take(&mut self.accounts);
        accounts.retain(|_, account| account.answers > 0 || self.tokens(account, now) < self.tokens_per_min);
        self.accounts = accounts;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn one_tenant_takes_no_more_than_its_part() {
        let (mut allowances, now) = (Allowances::new(2, 0), Instant::now());
        let (ann, eve) = (tenant("ann"), tenant("eve"));
        assert_eq!([(); 3].map(|()| allowances.enter(&ann, now).is_ok()), [true, true, false]);
        assert_eq!(allowances.obstacle(&ann, now), Some(RungReason::Busy));
        assert_eq!(allowances.enter(&eve, now), Ok(()));
        allowances.leave(&ann, 1_000, now);
        assert_eq!(allowances.enter(&ann, now), Ok(()));
    }

    #[test]
    fn tokens_are_paid_back_by_time() {
        let (mut allowances, now) = (Allowances::new(0, 600), Instant::now());
        let ann = tenant("ann");
        allowances.enter(&ann, now).unwrap();
        allowances.leave(&ann, 900, now);
        assert_eq!(allowances.enter(&ann, now), Err(RungReason::Budget));
        assert_eq!(allowances.enter(&ann, now + Duration::from_secs(29)), Err(RungReason::Budget));
        assert_eq!(allowances.enter(&ann, now + Duration::from_secs(31)), Ok(()));
    }

    #[test]
    fn accounts_are_bounded_by_those_who_owe() {
        let (mut allowances, now) = (Allowances::new(1, 600), Instant::now());
        for n in 0..TENANTS_MAX + 10 {
            let tenant = tenant(&format!("t{n}"));
            allowances.enter(&tenant, now).unwrap();
            allowances.leave(&tenant, 0, now);
        }
        assert!(allowances.accounts.len() <= TENANTS_MAX);
    }

    proptest! {
        #[test]
        fn a_minute_costs_no_more_than_it_may(costs in prop::collection::vec((0u32..300, 0u64..2_000), 1..300)) {
            let (start, ann) = (Instant::now(), tenant("ann"));
            let (mut allowances, mut now, mut spent) = (Allowances::new(0, 600), start, 0);
            for (tokens, wait_ms) in costs {
                now += Duration::from_millis(wait_ms);
                if allowances.enter(&ann, now).is_ok() {
                    allowances.leave(&ann, tokens, now);
                    spent += tokens;
                }
                let may = 600.0 * (1.0 + (now - start).as_secs_f64() / MINUTE_S);
                // The last answer's length was not known before.
                prop_assert!(f64::from(spent) < may + 300.0);
            }
        }
    }
}
