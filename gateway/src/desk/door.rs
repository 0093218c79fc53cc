//! Who is let in: a token becomes somebody, and an address from which too many come that are none is told to wait.

use std::net::IpAddr;

use talkfleet_shared::{chat::Problem, metrics::Reason};

use super::{Desk, unix_ms};
use crate::{
    admit::limiter::Account,
    auth::{Glance, Principal, Refused},
};

impl Desk {
    /// Who sent this bearer token.
    ///
    /// A token that can be told by a digest is served wherever it comes from, so that nobody locks out those with whom
    /// they share an address; only tokens that are not good count. Above the limit no signature is checked any more.
    pub(crate) async fn admit(&self, bearer: Option<&str>, address: Option<IpAddr>) -> Result<Principal, Problem> {
        let refused = match self.keyring.glance(bearer, unix_ms()) {
            Glance::Known(principal) => return Ok(principal),
            Glance::Refused(refused) => refused,
            Glance::Costly => {
                self.limiter.may_fail(address).await.inspect_err(|_| self.note("unseen"))?;
                match self.keyring.look_at(bearer.unwrap_or_default(), unix_ms()).await {
                    Ok(principal) => return Ok(principal),
                    Err(refused) => refused,
                }
            }
        };
        self.note(refused.name());
        if refused == Refused::Stranger {
            self.limiter.failed(address).await?;
        }
        self.admit_stranger(address).await?;
        Err(refused.into())
    }

    /// Who sent this bearer token, which was good a moment ago.
    pub fn authenticate(&self, bearer: Option<&str>) -> Result<Principal, Problem> {
        self.keyring.authenticate(bearer, unix_ms()).map_err(Problem::from)
    }

    /// Counts somebody whom nobody knows, or says 429.
    pub(crate) async fn admit_stranger(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        self.limiter.admit(Account { address, ..Account::default() }).await.map(|_| ())
    }

    fn note(&self, reason: &'static str) {
        self.metrics().auth_failures.get_or_create(&Reason { reason }).inc();
    }
}
