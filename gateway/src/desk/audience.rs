//! Who listens to which request here. On channels that say so, a request that nobody listens to any more is stopped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use talkfleet_shared::{
    bus::{Bus, BusError, CallError},
    id::{RequestId, TenantId, UserId},
    lifecycle::Shutdown,
    retry::Delays,
};
use tokio::runtime::Handle;

use crate::channels::{ChannelPolicy, OnDisconnect};

/// How soon another gateway that has a listener says so.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// How soon a broken subscription is opened again.
const REOPEN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

type Key = (TenantId, RequestId);

/// Everybody who listens to a request that may stop without them.
#[derive(Clone)]
pub(super) struct Audience {
    bus: Bus,
    shutdown: Shutdown,
    seats: Arc<Mutex<HashMap<Key, usize>>>,
}

/// One listener; dropped before the story's end, it may have been the last one.
pub(super) struct Seat {
    audience: Audience,
    key: Key,
    /// On whose behalf the request is stopped.
    user: Option<UserId>,
    /// How long somebody may come back.
    grace: Option<Duration>,
    over: bool,
    /// A seat may be dropped anywhere.
    runtime: Handle,
}

impl Audience {
    pub(super) fn new(bus: Bus, shutdown: Shutdown) -> Self {
        Self { bus, shutdown, seats: Arc::default() }
    }

    /// A seat; None on a channel where hanging up means nothing. One on a channel that is not known counts, and leaving it
    /// stops nothing.
    pub(super) fn seat(
        &self,
        policy: Option<ChannelPolicy>,
        tenant: &TenantId,
        request: &RequestId,
        user: Option<&UserId>,
    ) -> Option<Seat> {
        if policy.is_some_and(|policy| policy.on_disconnect == OnDisconnect::Finish) {
            return None;
        }
        let key = (tenant.clone(), request.clone());
        *self.lock().entry(key.clone()).or_default() += 1;
        Some(Seat {
            audience: self.clone(),
            key,
            user: user.cloned(),
            grace: policy.map(ChannelPolicy::disconnect_grace),
            over: false,
            runtime: Handle::current(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    /// Tells other gateways who is listened to here, for as long as the process lives.
    pub(super) async fn answer(&self, until: &Shutdown) {
        let mut delays = Delays::new(REOPEN.0, REOPEN.1);
        loop {
            tokio::select! {
                biased;
                () = until.asked() => return,
                ended = self.answer_once(&mut delays) => if let Err(error) = ended {
                    tracing::warn!(%error, "other gateways cannot be told who is listened to here; trying again");
                },
            }
            tokio::time::sleep(delays.next_delay()).await;
        }
    }

    async fn answer_once(&self, delays: &mut Delays) -> Result<(), BusError> {
        let mut questions = self.bus.listenings().await?;
        delays.reset();
        while let Some(question) = questions.next().await {
            if self.has(&(question.tenant.clone(), question.request.clone())) {
                question.yes().await?;
            }
        }
        Ok(())
    }

    /// Whether nobody is left.
    fn leave(&self, key: &Key) -> bool {
        let mut seats = self.lock();
        let Some(taken) = seats.get_mut(key) else { return true };
        *taken -= 1;
        let empty = *taken == 0;
        if empty {
            seats.remove(key);
        }
        empty
    }

    /// Stops a request unless somebody comes back, here or at another gateway, or it ends by itself.
    async fn stop_unless_missed(self, key: Key, user: Option<UserId>, grace: Duration) -> Result<(), CallError> {
        let (tenant, request) = &key;
        tokio::select! {
            biased;
            () = self.shutdown.asked() => return Ok(()),
            () = tokio::time::sleep(grace) => {}
        }
        if self.has(&key) || self.bus.read_record(tenant, None, request).await?.is_some() {
            return Ok(());
        }
        if self.bus.is_listened_to(tenant, request, ANSWER_WITHIN).await? {
            return Ok(());
        }
        tracing::debug!(request.id = %request, "nobody waits for this request any more; it is stopped");
        Ok(self.bus.cancel(tenant, request, user.as_ref()).await?)
    }
}

impl Seat {
    /// The story has been told, or goes on elsewhere: leaving means nothing any more.
    pub(super) fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // The clients of a process that goes away come back elsewhere, in their own time.
        let is_last = self.audience.leave(&self.key) && !self.over && !self.audience.shutdown.is_asked();
        let Some(grace) = self.grace.filter(|_| is_last) else { return };
        let (audience, key, user) = (self.audience.clone(), self.key.clone(), self.user.take());
        self.runtime.spawn(async move {
            let request = key.1.clone();
            if let Err(error) = audience.stop_unless_missed(key, user, grace).await {
                tracing::warn!(request.id = %request, %error, "a request that nobody waits for goes on");
            }
        });
    }
}
