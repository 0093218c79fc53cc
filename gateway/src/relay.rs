//! Replies find the waiting client: one mailbox for the whole process, one bounded inbox for each client that waits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use talkfleet_shared::{
    bus::{Bus, BusError},
    chat::Frame,
    id::{GatewayId, RequestId},
    lifecycle::Shutdown,
    retry::Delays,
    subject,
};
use tokio::sync::mpsc;

/// Frames that may lie in one inbox: an answer has about 30. What does not fit is healed from the turn's record.
const INBOX_FRAMES_MAX: usize = 256;

/// How soon a broken mailbox is opened again.
const REOPEN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

type Inboxes = HashMap<RequestId, mpsc::Sender<Frame>>;

/// Everybody who waits in this process.
pub(crate) struct Relay {
    gateway: GatewayId,
    waiting_max: usize,
    /// None once the process is going away: every inbox is closed, and none is opened any more.
    inboxes: Mutex<Option<Inboxes>>,
}

/// An inbox with its address; dropping it means that nobody waits any more.
#[derive(Debug)]
pub(crate) struct Inbox {
    address: RequestId,
    frames: mpsc::Receiver<Frame>,
    relay: Arc<Relay>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

/// Why no inbox was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// As many wait as may.
    Full,
    /// This process is going away.
    Draining,
}

impl Relay {
    pub(crate) fn new(gateway: GatewayId, waiting_max: usize) -> Arc<Self> {
        Arc::new(Self { gateway, waiting_max, inboxes: Mutex::new(Some(HashMap::new())) })
    }

    /// Opens an inbox under an address that nobody else of this process uses.
    ///
    /// The address is part of what only the owner of a turn is told, so a stranger who guesses a request's id hears nothing.
    pub(crate) fn open(self: &Arc<Self>, address: RequestId) -> Result<Inbox, Closed> {
        let mut inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let open = inboxes.as_mut().ok_or(Closed::Draining)?;
        if open.len() >= self.waiting_max {
            return Err(Closed::Full);
        }
        let (sender, frames) = mpsc::channel(INBOX_FRAMES_MAX);
        let address = if open.contains_key(&address) { RequestId::new() } else { address };
        open.insert(address.clone(), sender);
        Ok(Inbox { address, frames, relay: self.clone() })
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, HashMap::len)
    }

    /// Ends every story that is still being told: their clients come back to another gateway.
    pub(crate) fn close(&self) {
        *self.inboxes.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Hands out what comes to the mailbox, for as long as the process lives; `health`'s `mailbox` says whether it is open.
    pub(crate) async fn deliver(&self, bus: &Bus, until: &Shutdown) {
        let mut delays = Delays::new(REOPEN.0, REOPEN.1);
        loop {
            let why = tokio::select! {
                () = until.asked() => return,
                ended = self.deliver_once(bus, &mut delays) => ended.err().map_or("the subscription ended".into(), |e| e.to_string()),
            };
            bus.health().down("mailbox", why.clone());
            tracing::warn!(why, "the mailbox broke; opening it again");
            tokio::time::sleep(delays.next_delay()).await;
        }
    }

    async fn deliver_once(&self, bus: &Bus, delays: &mut Delays) -> Result<(), BusError> {
        let mut mailbox = bus.mailbox(&self.gateway).await?;
        bus.health().up("mailbox");
        delays.reset();
        while let Some((address, frame)) = mailbox.next_addressed().await {
            self.hand_over(&address, frame);
        }
        Ok(())
    }

    /// Never waits: one client who does not read must not hold up the others.
    fn hand_over(&self, address: &RequestId, frame: Frame) {
        let inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inbox) = inboxes.as_ref().and_then(|open| open.get(address)) {
            let _ = inbox.try_send(frame);
        }
    }
}

impl Inbox {
    /// The subject that frames for this inbox are sent to.
    pub(crate) fn subject(&self) -> String {
        subject::reply(&self.relay.gateway, &self.address)
    }

    /// The next frame; None when the process is going away.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut inboxes = self.relay.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = inboxes.as_mut() {
            open.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use talkfleet_shared::chat::FrameBody;

    use super::*;

    fn request(text: &str) -> RequestId {
        RequestId::parse(text).unwrap()
    }

    fn frame(seq: u32) -> Frame {
        Frame { request: request("r"), attempt: 1, seq, body: FrameBody::Restart }
    }

    #[tokio::test]
    async fn a_frame_reaches_its_address_alone() {
        let relay = Relay::new(GatewayId::new(), 10);
        let (mut one, mut two) = (relay.open(request("r")).unwrap(), relay.open(request("r")).unwrap());
        assert_ne!(one.address, two.address);
        relay.hand_over(&request("r"), frame(1));
        relay.hand_over(&request("nobody"), frame(1));
        assert_eq!(one.next().await, Some(frame(1)));
        drop(one);
        assert_eq!(relay.waiting(), 1);
        relay.close();
        assert_eq!(two.next().await, None);
        assert_eq!(relay.open(request("s")).unwrap_err(), Closed::Draining);
    }

    #[test]
    fn whoever_does_not_read_holds_nobody_up() {
        let relay = Relay::new(GatewayId::new(), 1);
        let inbox = relay.open(request("r")).unwrap();
        assert_eq!(relay.open(request("s")).unwrap_err(), Closed::Full);
        (0..10_000).for_each(|seq| relay.hand_over(&request("r"), frame(seq)));
        assert_eq!(inbox.frames.len(), INBOX_FRAMES_MAX);
    }
}
