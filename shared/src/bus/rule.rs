//! The rule of releases: followed by every process, written by operators, and gone by for each ask.

use tokio::sync::watch;

use super::{Bus, BusError, Entry};
use crate::{
    id::ConversationId,
    lifecycle::Shutdown,
    release::{RULE, Release, Rule},
    retry::Delays,
    topology,
};

/// Waits between attempts to follow it.
const REOPEN: (std::time::Duration, std::time::Duration) = (super::JOIN_FIRST, super::JOIN_LONGEST);

/// What `/readyz` calls it.
const PART: &str = "release rule";

impl Bus {
    /// The rule as this process knows it, and every change; None as long as there never was one.
    pub fn rule(&self) -> watch::Receiver<Option<Rule>> {
        self.rule.subscribe()
    }

    /// Who answers a conversation, as far as this process knows.
    pub fn release_of(&self, conversation: &ConversationId) -> Release {
        self.rule.borrow().as_ref().map_or(Release::Stable, |rule| rule.release_of(conversation))
    }

    /// Follows the rule until shutdown. Who cannot follow goes on by what it last knew: an ask that is published by an
    /// older rule is answered all the same, and the broker keeps it in order.
    pub async fn follow_rule(&self, until: &Shutdown) {
        // A replay has its own workers and queue.
        if !self.lane.is_live() {
            return;
        }
        let mut delays = Delays::new(REOPEN.0, REOPEN.1);
        loop {
            let ended = tokio::select! {
                biased;
                () = until.asked() => return,
                ended = self.follow_once(&mut delays) => ended,
            };
            let why = ended.err().map_or("the watch ended".to_owned(), |error| error.to_string());
            self.health.lacks(PART, why);
            tokio::time::sleep(delays.next_delay()).await;
        }
    }

    async fn follow_once(&self, delays: &mut Delays) -> Result<(), BusError> {
        let mut watch = self.watch(topology::RELEASE).await?;
        self.health.up(PART);
        while let Some(entry) = watch.next().await {
            delays.reset();
            self.apply_rule(entry);
        }
        Ok(())
    }

    fn apply_rule(&self, entry: Entry) {
        let Some(value) = entry.value.filter(|_| entry.key == RULE) else { return };
        match serde_json::from_slice::<Rule>(&value) {
            Ok(rule) => {
                self.metrics.release_share.set(rule.share.part());
                self.rule.send_if_modified(|known| {
                    let new = known.as_ref() != Some(&rule);
                    *known = Some(rule);
                    new
                });
            }
            Err(error) => tracing::warn!(%error, "the rule of releases cannot be read; the one before stays"),
        }
    }

    /// The rule as it lies at the broker.
    pub async fn read_rule(&self) -> Result<Option<Rule>, BusError> {
        let entry = self.get(topology::RELEASE, RULE).await?;
        let Some(value) = entry.and_then(|entry| entry.value) else { return Ok(None) };
        let unreadable = |error: serde_json::Error| BusError::Refused(format!("the rule is unreadable: {error}"));
        serde_json::from_slice(&value).map(Some).map_err(unreadable)
    }

    /// Sets the rule; every gateway and worker follows within a moment.
    pub async fn write_rule(&self, rule: &Rule) -> Result<(), BusError> {
        let value = serde_json::to_vec(rule).map_err(|error| BusError::Refused(error.to_string()))?;
        self.put(topology::RELEASE, RULE, value.into()).await.map(drop)
    }
}
