//! Limits as they are kept: which buckets a request draws from, and where they are, in Redis or in this process.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use talkfleet_shared::{
    chance,
    chat::{Problem, Usage},
    clock,
    error::Code,
    id::{RequestId, TenantId, UserId},
    metrics::{Metrics, Reason},
};

use super::bucket::{self, Allowance, Buckets, Draw, Policy, Rate, Verdict, Wish};
use crate::{config::LimitsConfig, peers::SharedBuckets};

/// The least by which those who were refused together are spread when they come back.
const SPREAD_MS_MIN: u64 = 250;

/// Receipts that are remembered here, twice over: enough for what one process answers within minutes.
const RECEIPTS_MAX: usize = 50_000;

/// Tokens that were not good.
const AUTH: Policy = "auth";

/// On whose account a request goes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Account<'a> {
    pub(crate) tenant: Option<&'a TenantId>,
    pub(crate) user: Option<&'a UserId>,
    pub(crate) address: Option<IpAddr>,
}

/// Who may ask how often, and spend how much.
pub(crate) struct Limiter {
    config: LimitsConfig,
    shared: Option<SharedBuckets>,
    metrics: Arc<Metrics>,
    began: Instant,
    local: Mutex<Local>,
}

/// What this process counts by itself.
#[derive(Default)]
struct Local {
    buckets: Buckets,
    /// Requests that were paid for: the later half, and the half before.
    paid: [HashSet<RequestId>; 2],
}

impl Limiter {
    pub(crate) fn new(config: LimitsConfig, shared: Option<SharedBuckets>, metrics: Arc<Metrics>) -> Self {
        Self { config, shared, metrics, began: clock::now(), local: Mutex::default() }
    }

    /// Lets one request in, or says 429 and when to come back; None when nothing is limited.
    pub(crate) async fn admit(&self, account: Account<'_>) -> Result<Option<Allowance>, Problem> {
        if !self.config.limits_requests() && !self.config.limits_costs() {
            return Ok(None);
        }
        // The narrowest first: it is the one to name to whoever is refused.
        let mut draws = self.rates(account, Wish::Take);
        draws.extend(self.purses(account).map(|(draw, _)| draw));
        let draws: Arc<[Draw]> = draws.into();
        match self.draw(&draws, None).await {
            Verdict::Drawn(from_full) => Ok(bucket::allowance(&draws, &from_full)),
            Verdict::Refused { at, wait } => Err(refusal(draws.get(at).map_or("", |draw| draw.policy), wait)),
        }
    }

    /// Counts a token from this address that was not good, or says 429.
    pub(crate) async fn failed(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        self.failures(address, Wish::Take).await
    }

    /// Whether another token from this address may turn out to be no good; else 429.
    pub(crate) async fn may_fail(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        self.failures(address, Wish::Look).await
    }

    async fn failures(&self, address: Option<IpAddr>, wish: Wish) -> Result<(), Problem> {
        let rate = Rate::per_minute(self.config.auth_failures_per_minute, self.config.auth_failures_burst);
        let Some((rate, address)) = rate.zip(address) else { return Ok(()) };
        let key = format!("tf:limit:auth:{}", network(address));
        match self.draw(&[Draw { policy: AUTH, key, rate, wish }].into(), None).await {
            Verdict::Drawn(_) => Ok(()),
            Verdict::Refused { wait, .. } => Err(refusal(AUTH, wait)),
        }
    }

    /// Whether answers are to be paid for.
    pub(crate) fn counts_costs(&self) -> bool {
        self.config.limits_costs()
    }

    /// Debits what an answer has cost, once however many were told it.
    pub(crate) async fn debit(&self, account: Account<'_>, request: &RequestId, usage: &Usage) {
        let Some(tenant) = account.tenant.filter(|_| self.note_paid(request)) else { return };
        let tokens = u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens);
        let draws = self.purses(account).map(|(draw, unit)| {
            let units = match unit {
                Unit::Tokens => tokens,
                Unit::Micros => usage.cost_micros,
            };
            Draw { wish: Wish::Debit(units), ..draw }
        });
        let receipt = format!("tf:{{{tenant}}}:paid:{request}");
        self.draw(&draws.collect(), Some(receipt)).await;
    }

    async fn draw(&self, draws: &Arc<[Draw]>, receipt: Option<String>) -> Verdict {
        if draws.is_empty() {
            return Verdict::Drawn(Vec::new());
        }
        if let Some(shared) = &self.shared
            && let Some(verdict) = shared.draw(draws.clone(), receipt).await
        {
            self.metrics.limit_checks.get_or_create(&Reason { reason: "redis" }).inc();
            return verdict;
        }
        self.metrics.limit_checks.get_or_create(&Reason { reason: "local" }).inc();
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        local.buckets.draw(draws, clock::since(self.began))
    }

    /// The buckets that count requests.
    fn rates(&self, account: Account<'_>, wish: Wish) -> Vec<Draw> {
        let (config, tenant) = (&self.config, account.tenant);
        let user = tenant.zip(account.user).map(|(tenant, user)| format!("{}:user:{user}", limits_of(tenant)));
        let of_tenant = tenant.map(|tenant| format!("{}:tenant", limits_of(tenant)));
        let address = account.address.map(|address| format!("tf:limit:address:{}", network(address)));
        let drawn = [
            ("user", user, Rate::per_minute(config.user_per_minute, config.user_burst)),
            ("tenant", of_tenant, Rate::per_minute(config.tenant_per_minute, config.tenant_burst)),
            ("address", address, Rate::per_minute(config.address_per_minute, config.address_burst)),
        ];
        let draw = |(policy, key, rate): (Policy, Option<String>, Option<Rate>)| {
            Some(Draw { policy, key: key?, rate: rate?, wish })
        };
        drawn.into_iter().filter_map(draw).collect()
    }

    /// The buckets that count what answers cost.
    fn purses<'a>(&self, account: Account<'a>) -> impl Iterator<Item = (Draw, Unit)> + use<'a> {
        let config = &self.config;
        let purses = [
            ("user-tokens", Unit::Tokens, config.user_tokens_per_day),
            ("tenant-tokens", Unit::Tokens, config.tenant_tokens_per_day),
            ("user-micros", Unit::Micros, config.user_micros_per_day),
            ("tenant-micros", Unit::Micros, config.tenant_micros_per_day),
        ];
        purses.into_iter().filter_map(move |(policy, unit, per_day)| {
            let (tenant, rate) = (account.tenant?, Rate::per_day(per_day)?);
            let key = match policy.starts_with("user") {
                true => format!("{}:{policy}:{}", limits_of(tenant), account.user?),
                false => format!("{}:{policy}", limits_of(tenant)),
            };
            Some((Draw { policy, key, rate, wish: Wish::Look }, unit))
        })
    }

    /// Whether a request is paid for the first time by this process.
    fn note_paid(&self, request: &RequestId) -> bool {
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        if local.paid[0].len() >= RECEIPTS_MAX {
            local.paid.swap(0, 1);
            local.paid[0].clear();
        }
        !local.paid[1].contains(request) && local.paid[0].insert(request.clone())
    }
}

/// Where a tenant's buckets are. The braces keep them on one node of a cluster, since one script draws from all of them.
fn limits_of(tenant: &TenantId) -> String {
    format!("tf:{{{tenant}}}:limit")
}

/// What a purse holds.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Tokens,
    Micros,
}

/// Who has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

fn refusal(policy: Policy, wait: Duration) -> Problem {
    let detail = match policy {
        "user" => "This user asks too often; wait as Retry-After says.",
        "tenant" => "This tenant's users ask too often together; wait as Retry-After says.",
        "address" => "Too many requests come from this address; wait as Retry-After says.",
        AUTH => "Too many tokens that are not valid come from this address; wait as Retry-After says.",
        "user-tokens" => "This user's model tokens of a day are spent; they flow in again, wait as Retry-After says.",
        "tenant-tokens" => {
            "This tenant's model tokens of a day are spent; they flow in again, wait as Retry-After says."
        }
        "user-micros" => "This user's money of a day is spent; it flows in again, wait as Retry-After says.",
        "tenant-micros" => "This tenant's money of a day is spent; it flows in again, wait as Retry-After says.",
        _ => Code::TooManyRequests.sentence(),
    };
    let wait_ms = wait.as_millis() as u64 + 1;
    // Never earlier than there is something to get, and not all at the same moment.
    let spread_ms = (wait_ms / 4).max(SPREAD_MS_MIN);
    Problem::because(Code::TooManyRequests, detail).retry_after_ms(wait_ms + chance::between(0, spread_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GatewayConfig;

    fn limiter(pairs: &[(&str, u32)]) -> Limiter {
        let flags: Vec<_> = pairs.iter().map(|(key, value)| (format!("limits.{key}"), value.to_string())).collect();
        Limiter::new(GatewayConfig::load(None, &flags).unwrap().limits, None, Metrics::new("test"))
    }

    fn names() -> (TenantId, [UserId; 2]) {
        (TenantId::parse("demo").unwrap(), ["ann", "bob"].map(|user| UserId::parse(user).unwrap()))
    }

    #[tokio::test]
    async fn a_user_who_asks_too_often_leaves_the_others_alone() {
        let limiter =
            limiter(&[("user_per_minute", 1), ("user_burst", 2), ("tenant_per_minute", 1), ("tenant_burst", 3)]);
        let (tenant, [ann, bob]) = names();
        let ask = async |user| {
            let account = Account { tenant: Some(&tenant), user: Some(user), address: None };
            limiter.admit(account).await.map(|allowance| allowance.unwrap().remaining)
        };
        assert_eq!(ask(&ann).await, Ok(1));
        assert_eq!(ask(&ann).await, Ok(0));
        let refused = ask(&ann).await.unwrap_err();
        assert!(refused.code == Code::TooManyRequests && refused.message.contains("user"), "{refused:?}");
        assert!(refused.retry_after_ms.is_some_and(|ms| ms > 1_000));
        assert_eq!(ask(&bob).await, Ok(0), "what Ann was refused did not count against the tenant");
        assert!(ask(&bob).await.unwrap_err().message.contains("tenant"));
    }

    #[tokio::test]
    async fn an_address_is_counted_without_a_name() {
        let limiter = limiter(&[("address_per_minute", 1), ("address_burst", 1)]);
        let ask = async |address: &str| {
            limiter.admit(Account { address: address.parse().ok(), ..Account::default() }).await.is_ok()
        };
        assert!(ask("192.0.2.1").await && !ask("192.0.2.1").await);
        assert!(ask("2001:db8::1").await && !ask("2001:db8::2:3").await, "a network of IPv6 is one");
    }

    #[tokio::test]
    async fn only_tokens_that_are_not_good_count_and_each_address_for_itself() {
        let limiter = limiter(&[("auth_failures_per_minute", 1), ("auth_failures_burst", 2)]);
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().ok());
        for _ in 0..5 {
            limiter.may_fail(here).await.expect("a look takes nothing");
        }
        assert!(limiter.failed(here).await.is_ok() && limiter.failed(here).await.is_ok());
        for refused in [limiter.failed(here).await, limiter.may_fail(here).await] {
            let refused = refused.unwrap_err();
            assert!(refused.code == Code::TooManyRequests && refused.message.contains("not valid"), "{refused:?}");
            assert!(refused.retry_after_ms.is_some_and(|ms| ms > 1_000));
        }
        assert!(limiter.may_fail(there).await.is_ok() && limiter.may_fail(None).await.is_ok());
        assert!(
            limiter.admit(Account { address: here, ..Account::default() }).await.is_ok(),
            "requests are not stopped"
        );
    }

    #[tokio::test]
    async fn an_answer_is_paid_once_and_an_empty_purse_refuses() {
        let limiter = limiter(&[("tenant_tokens_per_day", 100), ("user_micros_per_day", 1_000_000)]);
        let (tenant, [ann, bob]) = names();
        let account = |user| Account { tenant: Some(&tenant), user: Some(user), address: None };
        let usage = Usage { prompt_tokens: 60, completion_tokens: 20, ..Usage::default() };
        let [one, two] = ["r1", "r2"].map(|id| RequestId::parse(id).unwrap());
        for request in [&one, &one, &one] {
            limiter.debit(account(&ann), request, &usage).await;
        }
        assert_eq!(limiter.admit(account(&bob)).await, Ok(None), "20 are left");
        limiter.debit(account(&ann), &two, &usage).await;
        let refused = limiter.admit(account(&bob)).await.unwrap_err();
        assert!(refused.message.contains("tokens"), "{refused:?}");
        assert!(refused.retry_after_ms.is_some_and(|ms| ms > 40_000_000), "{refused:?}");
    }

    #[tokio::test]
    async fn without_limits_nobody_is_counted() {
        let (tenant, _) = names();
        let account = Account { tenant: Some(&tenant), ..Account::default() };
        assert_eq!(limiter(&[]).admit(account).await, Ok(None));
    }
}
