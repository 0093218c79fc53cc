//! What an answer costs is debited once it is there: from its last frame, or from its record when nobody stayed to hear it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use talkfleet_shared::{
    bus::Bus,
    chat::{Frame, FrameBody, Usage},
    clock,
    id::{RequestId, TenantId, UserId},
};
use tokio::runtime::Handle;

use super::Submission;
use crate::admit::limiter::{Account, Limiter};

/// How long after a deadline its record is written at the latest.
const RECORD_GRACE: Duration = Duration::from_secs(5);

/// A request that is to be paid for; dropped unpaid, it is looked up when its time is over.
pub(super) struct Bill(Option<Box<Debtor>>);

struct Debtor {
    limiter: Arc<Limiter>,
    bus: Bus,
    tenant: TenantId,
    user: Option<UserId>,
    request: RequestId,
    deadline: Instant,
    /// It may be dropped anywhere.
    runtime: Handle,
}

impl Bill {
    /// None when nobody counts what answers cost.
    pub(super) fn of(
        limiter: &Arc<Limiter>,
        bus: &Bus,
        submission: &Submission,
        request: &RequestId,
        deadline: Instant,
    ) -> Option<Self> {
        limiter.counts_costs().then(|| {
            Self(Some(Box::new(Debtor {
                limiter: limiter.clone(),
                bus: bus.clone(),
                tenant: submission.principal.tenant.clone(),
                user: submission.ask.user.clone(),
                request: request.clone(),
                deadline,
                runtime: Handle::current(),
            })))
        })
    }

    /// Pays with the last frame; what was stopped or failed may have cost something, which its record knows.
    pub(super) fn hear(&mut self, frame: &Frame) {
        let usage = match &frame.body {
            FrameBody::Done { answer } => answer.usage.clone(),
            _ => return,
        };
        if let Some(debtor) = self.0.take()
            && let Some(usage) = usage
        {
            let runtime = debtor.runtime.clone();
            runtime.spawn(async move { debtor.pay(&usage).await });
        }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        if let Some(debtor) = self.0.take() {
            debtor.runtime.clone().spawn(debtor.pay_from_record());
        }
    }
}

impl Debtor {
    async fn pay(&self, usage: &Usage) {
        let account = Account { tenant: Some(&self.tenant), user: self.user.as_ref(), address: None };
        self.limiter.debit(account, &self.request, usage).await;
    }

    async fn pay_from_record(self) {
        tokio::time::sleep_until((self.deadline.max(clock::now()) + RECORD_GRACE).into()).await;
        let Ok(Some(record)) = self.bus.read_record(&self.tenant, None, &self.request).await else { return };
        if let Some(usage) = &record.usage {
            self.pay(usage).await;
        }
    }
}
