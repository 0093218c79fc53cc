//! Who listens to which request here. On channels that say so, a request that nobody listens to any more is stopped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use talkfleet_shared::{
    bus::{Bus, BusError},
    id::{RequestId, TenantId, UserId},
    lifecycle::Shutdown,
};
use tokio::runtime::Handle;

use crate::channels::{ChannelPolicy, OnDisconnect};

type Key = (TenantId, RequestId);

/// Everybody who listens to a request that shall stop without them.
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
    grace: Duration,
    over: bool,
    /// A seat may be dropped anywhere.
    runtime: Handle,
}

impl Audience {
    pub(super) fn new(bus: Bus, shutdown: Shutdown) -> Self {
        Self { bus, shutdown, seats: Arc::default() }
    }

    /// A seat; None on a channel where hanging up means nothing.
    pub(super) fn seat(
        &self,
        policy: ChannelPolicy,
        tenant: &TenantId,
        request: &RequestId,
        user: Option<&UserId>,
    ) -> Option<Seat> {
        if policy.on_disconnect == OnDisconnect::Finish {
            return None;
        }
        let key = (tenant.clone(), request.clone());
        *self.lock().entry(key.clone()).or_default() += 1;
        Some(Seat {
            audience: self.clone(),
            key,
            user: user.cloned(),
            grace: policy.disconnect_grace(),
            over: false,
            runtime: Handle::current(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
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
    async fn stop_unless_missed(self, key: Key, user: Option<UserId>, grace: Duration) -> Result<(), BusError> {
        let (tenant, request) = &key;
        // Whoever comes back asks the turn's owner for the frames, again and again, and everybody may hear it.
        let mut wishes = self.bus.resumes_of(tenant, request).await?;
        tokio::select! {
            _ = wishes.next() => return Ok(()),
            () = self.shutdown.asked() => return Ok(()),
            () = tokio::time::sleep(grace) => {}
        }
        if self.lock().contains_key(&key) || self.bus.read_record(tenant, None, request).await?.is_some() {
            return Ok(());
        }
        tracing::debug!(request.id = %request, "nobody waits for this request any more; it is stopped");
        self.bus.cancel(tenant, request, user.as_ref()).await
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
        if !self.audience.leave(&self.key) || self.over || self.audience.shutdown.is_asked() {
            return;
        }
        let (audience, key, user, grace) = (self.audience.clone(), self.key.clone(), self.user.take(), self.grace);
        self.runtime.spawn(async move {
            let request = key.1.clone();
            if let Err(error) = audience.stop_unless_missed(key, user, grace).await {
                tracing::warn!(request.id = %request, %error, "a request that nobody waits for goes on");
            }
        });
    }
}
