//! PURE: how often a client may speak, and how often it may speak nonsense, before its socket is closed.

use std::time::Duration;

use talkfleet_shared::error::Code;

use crate::admit::bucket::{Bucket, Rate};

/// Nonsense that a client in development sends now and then is answered; one that sends it all the time is broken.
const BLUNDERS: Rate = Rate::of(10, 5);

/// What happens to a message that does not please.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its sender is told, and may go on.
    Warn,
    /// The socket is closed.
    Close,
}

/// One client's record.
#[derive(Debug)]
pub(super) struct Manners {
    messages: Rate,
    said: Bucket,
    blundered: Bucket,
}

impl Manners {
    pub(super) fn new(messages_per_second: u32) -> Self {
        // A page that has just reconnected may say everything at once.
        let messages = Rate::of(messages_per_second.saturating_mul(60), messages_per_second.saturating_mul(2));
        Self { messages, said: Bucket::default(), blundered: Bucket::default() }
    }

    /// Notes a message; a flood counts as a blunder each time.
    pub(super) fn hear(&mut self, now: Duration) -> Result<(), (Code, Verdict)> {
        match self.said.take(self.messages, now) {
            Ok(_) => Ok(()),
            Err(_) => Err((Code::TooManyRequests, self.blunder(now))),
        }
    }

    /// Notes a message that could not be understood, or came too early.
    pub(super) fn blunder(&mut self, now: Duration) -> Verdict {
        match self.blundered.take(BLUNDERS, now) {
            Ok(_) => Verdict::Warn,
            Err(_) => Verdict::Close,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    #[test]
    fn a_flood_is_warned_of_and_then_ended() {
        let mut manners = Manners::new(10);
        let heard: Vec<_> = (0..26).map(|_| manners.hear(START)).collect();
        assert!(heard[..20].iter().all(Result::is_ok));
        assert!(heard[20..25].iter().all(|heard| *heard == Err((Code::TooManyRequests, Verdict::Warn))));
        assert_eq!(heard[25], Err((Code::TooManyRequests, Verdict::Close)));
    }

    #[test]
    fn ten_messages_a_second_may_come_for_ever() {
        let mut manners = Manners::new(10);
        assert!((0..1_000).all(|n| manners.hear(START + Duration::from_millis(100 * n)).is_ok()));
    }

    #[test]
    fn a_blunder_now_and_then_is_forgiven() {
        let mut manners = Manners::new(10);
        assert!((0..100).all(|n| manners.blunder(START + Duration::from_secs(6 * n)) == Verdict::Warn));
        let at_once: Vec<_> =
            (0..6).map(|_| Manners::blunder(&mut manners, START + Duration::from_secs(900))).collect();
        assert_eq!(at_once[4..], [Verdict::Warn, Verdict::Close]);
    }
}
