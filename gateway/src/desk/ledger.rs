//! What this process knows of the requests that it took: enough to attach a client that comes back, bounded in size.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use talkfleet_shared::{
    bus::BUDGET_MAX,
    id::{ChannelId, ConversationId, RequestId, TenantId},
    topology::Scale,
};

/// Requests per generation; two are kept, about 250 B each, so at 1,000 requests/s a request is known for 50 s or more.
const GENERATION: usize = 50_000;

/// A request that was put on the queue from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) tenant: TenantId,
    pub(super) conversation: ConversationId,
    /// Its policy says what hanging up means.
    pub(super) channel: ChannelId,
    /// Of the ask, when the request came under an idempotency key.
    pub(super) digest: Option<String>,
    /// When its outcome must exist.
    pub(super) deadline: Instant,
}

impl Known {
    /// Whether even its record may be gone, so that nobody can tell any more how it ended.
    pub(super) fn is_gone(&self, now: Instant) -> bool {
        now > self.deadline + Scale::default().turns_age.saturating_sub(BUDGET_MAX)
    }
}

/// Two generations of a map: when the young one is full it becomes the old one, and the old one is forgotten.
#[derive(Default)]
pub(super) struct Ledger(Mutex<[HashMap<RequestId, Known>; 2]>);

impl Ledger {
    pub(super) fn note(&self, request: RequestId, known: Known) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations[0].len() >= GENERATION {
            generations[1] = mem::take(&mut generations[0]);
        }
        generations[0].insert(request, known);
    }

    /// What is known of a tenant's request.
    pub(super) fn recall(&self, tenant: &TenantId, request: &RequestId) -> Option<Known> {
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = generations.iter().find_map(|generation| generation.get(request))?;
        (known.tenant == *tenant).then(|| known.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_ended_an_hour_ago_is_gone_and_has_not_expired() {
        let known = Known {
            tenant: TenantId::parse("a").unwrap(),
            conversation: ConversationId::parse("c").unwrap(),
            channel: ChannelId::web(),
            digest: None,
            deadline: Instant::now(),
        };
        for (after_s, expected) in [(0, false), (3_400, false), (3_481, true), (86_400, true)] {
            assert_eq!(known.is_gone(known.deadline + Duration::from_secs(after_s)), expected, "{after_s} s");
        }
    }

    #[test]
    fn a_request_is_known_to_its_tenant_only_and_not_for_ever() {
        let [ours, theirs] = ["a", "b"].map(|tenant| TenantId::parse(tenant).unwrap());
        let request = |n: usize| RequestId::parse(&format!("r{n}")).unwrap();
        let known = Known {
            tenant: ours.clone(),
            conversation: ConversationId::parse("c").unwrap(),
            channel: ChannelId::web(),
            digest: None,
            deadline: Instant::now(),
        };
        let ledger = Ledger::default();
        ledger.note(request(0), known.clone());
        assert_eq!(ledger.recall(&ours, &request(0)), Some(known.clone()));
        assert_eq!(ledger.recall(&theirs, &request(0)), None);
        (1..=GENERATION).for_each(|n| ledger.note(request(n), known.clone()));
        assert!(ledger.recall(&ours, &request(0)).is_some());
        (1..=GENERATION).for_each(|n| ledger.note(request(GENERATION + n), known.clone()));
        assert!(ledger.recall(&ours, &request(0)).is_none());
        assert!(ledger.recall(&ours, &request(2 * GENERATION)).is_some());
    }
}
