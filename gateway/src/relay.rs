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

/// Every open inbox by its address; the senders of a merged burst share one.
#[derive(Default)]
struct Inboxes {
    open: HashMap<RequestId, Vec<(u64, mpsc::Sender<Frame>)>>,
    waiting: usize,
    opened: u64,
}

/// Everybody who waits in this process.
pub struct Relay {
    gateway: GatewayId,
    waiting_max: usize,
    /// None once the process is going away: every inbox is closed, and none is opened any more.
    inboxes: Mutex<Option<Inboxes>>,
}

/// An inbox with its address; dropping it means that nobody waits any more.
#[derive(Debug)]
pub struct Inbox {
    address: RequestId,
    /// Tells those who share an address apart.
    number: u64,
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
pub enum Closed {
    /// As many wait as may.
    Full,
    /// This process is going away.
    Draining,
}

impl Relay {
    pub fn new(gateway: GatewayId, waiting_max: usize) -> Arc<Self> {
        Arc::new(Self { gateway, waiting_max, inboxes: Mutex::new(Some(Inboxes::default())) })
    }

    /// Opens an inbox under an address that nobody else of this process uses.
    ///
    /// The address is part of what only the owner of a turn is told, so a stranger who guesses a request's id hears nothing.
    pub fn open(self: &Arc<Self>, address: RequestId) -> Result<Inbox, Closed> {
        self.enter(|open| if open.contains_key(&address) { RequestId::new() } else { address })
    }

    /// Opens one more inbox under an address that its holder shares: whatever is sent there, all of them hear.
    pub fn open_beside(self: &Arc<Self>, address: RequestId) -> Result<Inbox, Closed> {
        self.enter(|_| address)
    }

    fn enter(
        self: &Arc<Self>,
        address: impl FnOnce(&HashMap<RequestId, Vec<(u64, mpsc::Sender<Frame>)>>) -> RequestId,
    ) -> Result<Inbox, Closed> {
        let mut inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let inboxes = inboxes.as_mut().ok_or(Closed::Draining)?;
        if inboxes.waiting >= self.waiting_max {
            return Err(Closed::Full);
        }
        let (sender, frames) = mpsc::channel(INBOX_FRAMES_MAX);
        let (address, number) = (address(&inboxes.open), inboxes.opened);
        inboxes.open.entry(address.clone()).or_default().push((number, sender));
        inboxes.opened += 1;
        inboxes.waiting += 1;
        Ok(Inbox { address, number, frames, relay: self.clone() })
    }

    pub fn gateway(&self) -> &GatewayId {
        &self.gateway
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |inboxes| inboxes.waiting)
    }

    /// Ends every story that is still being told: their clients come back to another gateway.
    pub fn close(&self) {
        *self.inboxes.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Hands out what comes to the mailbox, for as long as the process lives; `health`'s `mailbox` says whether it is open.
    pub async fn deliver(&self, bus: &Bus, until: &Shutdown) {
        let mut delays = Delays::new(REOPEN.0, REOPEN.1);
        loop {
            let why = tokio::select! {
                biased;
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
    pub fn hand_over(&self, address: &RequestId, frame: Frame) {
        let inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sharing) = inboxes.as_ref().and_then(|inboxes| inboxes.open.get(address)) else { return };
        if let Some(((_, last), others)) = sharing.split_last() {
            others.iter().for_each(|(_, inbox)| drop(inbox.try_send(frame.clone())));
            let _ = last.try_send(frame);
        }
    }
}

impl Inbox {
    /// The subject that frames for this inbox are sent to.
    pub fn subject(&self) -> String {
        subject::reply(&self.relay.gateway, &self.address)
    }

    /// The next frame; None when the process is going away.
    pub async fn next(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut inboxes = self.relay.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(inboxes) = inboxes.as_mut() else { return };
        inboxes.waiting -= 1;
        let Some(sharing) = inboxes.open.get_mut(&self.address) else { return };
        sharing.retain(|(number, _)| *number != self.number);
        if sharing.is_empty() {
            inboxes.open.remove(&self.address);
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

    #[tokio::test]
    async fn those_who_share_an_address_hear_the_same() {
        let relay = Relay::new(GatewayId::new(), 10);
        let mut one = relay.open(request("r")).unwrap();
        let mut two = relay.open_beside(request("r")).unwrap();
        assert_eq!((one.subject(), relay.waiting()), (two.subject(), 2));
        relay.hand_over(&request("r"), frame(1));
        assert_eq!((one.next().await, two.next().await), (Some(frame(1)), Some(frame(1))));
        drop(one);
        relay.hand_over(&request("r"), frame(2));
        assert_eq!(two.next().await, Some(frame(2)));
        drop(two);
        assert_eq!(relay.waiting(), 0);
        assert!(relay.inboxes.lock().unwrap().as_ref().unwrap().open.is_empty());
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
