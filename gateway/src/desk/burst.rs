//! PURE: which messages are one burst, when it is whole, and the one ask that is made of them.

use std::time::{Duration, Instant};

use talkfleet_shared::chat::{Ask, METADATA_PAIRS_MAX, MessageText};

use crate::channels::ChannelPolicy;

/// The part of a deadline that may go by while a burst is gathered: the rest is for waiting and for answering.
const GATHERING: u32 = 4;

/// How far a burst may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// It is whole when nothing came for this long.
    quiet: Duration,
    /// From its first message on.
    longest: Duration,
    messages_max: usize,
    chars_max: usize,
}

/// Messages of one customer that came close to one another.
#[derive(Debug)]
pub(super) struct Burst {
    bounds: Bounds,
    /// All that was said, as one.
    ask: Ask,
    messages: usize,
    began: Instant,
    latest: Instant,
    /// The earliest of the senders'.
    deadline: Instant,
}

impl From<ChannelPolicy> for Bounds {
    fn from(policy: ChannelPolicy) -> Self {
        Self {
            quiet: Duration::from_millis(policy.quiet_ms),
            longest: Duration::from_millis(policy.burst_ms_max),
            messages_max: policy.burst_messages_max,
            chars_max: policy.burst_chars_max,
        }
    }
}

/// Whether a message may become part of a burst: one with a history of its own is an account by itself.
pub(super) fn is_mergeable(ask: &Ask) -> bool {
    ask.history.is_none()
}

impl Burst {
    pub(super) fn begin(bounds: Bounds, ask: Ask, now: Instant, deadline: Instant) -> Self {
        Self { bounds, ask, messages: 1, began: now, latest: now, deadline }
    }

    /// Takes a message in; false when it is not part of this burst, which is whole then.
    pub(super) fn take(&mut self, ask: &Ask, now: Instant, deadline: Instant) -> bool {
        let same = (&self.ask.user, &self.ask.channel) == (&ask.user, &ask.channel);
        let others = |key: &&String| !self.ask.metadata.contains_key(*key);
        let pairs = self.ask.metadata.len() + ask.metadata.keys().filter(others).count();
        if !same || !is_mergeable(ask) || pairs > METADATA_PAIRS_MAX || now >= self.whole_at() {
            return false;
        }
        let text = format!("{}\n{}", self.ask.text.as_str(), ask.text.as_str());
        let fits = text.chars().count() <= self.bounds.chars_max;
        let Some(text) = fits.then(|| MessageText::parse(&text).ok()).flatten() else { return false };
        self.ask.text = text;
        self.ask.metadata.extend(ask.metadata.clone());
        self.messages += 1;
        self.latest = self.latest.max(now);
        self.deadline = self.deadline.min(deadline);
        true
    }

    /// When nothing more belongs to it, unless something comes before.
    pub(super) fn whole_at(&self) -> Instant {
        if self.messages >= self.bounds.messages_max {
            return self.latest;
        }
        let budget = self.deadline.saturating_duration_since(self.began);
        let longest = self.began + self.bounds.longest.min(budget / GATHERING);
        longest.min(self.latest + self.bounds.quiet)
    }

    /// The earliest deadline of its senders.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When its first message came.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The texts in their order, a line each; the metadata of all, where the later one wins.
    pub(super) fn ask(&self) -> &Ask {
        &self.ask
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use talkfleet_shared::{chat::Exchange, id::UserId};

    use super::*;

    const BOUNDS: Bounds = Bounds {
        quiet: Duration::from_millis(700),
        longest: Duration::from_millis(3_000),
        messages_max: 4,
        chars_max: 60,
    };

    const BUDGET: Duration = Duration::from_secs(30);

    fn ask(text: &str) -> Ask {
        Ask::new(MessageText::parse(text).unwrap())
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_comes_soon_is_one_ask_and_the_later_metadata_wins() {
        let start = Instant::now();
        let with = |text: &str, value: &str| {
            let mut ask = ask(text);
            ask.metadata.insert("page".into(), value.into());
            ask
        };
        let mut burst = Burst::begin(BOUNDS, with("hi", "/a"), start, start + BUDGET);
        assert!(burst.take(&with("my parcel", "/b"), start + ms(600), start + BUDGET));
        assert!(burst.take(&ask("where is it?"), start + ms(1_200), start + BUDGET + ms(1_200)));
        assert_eq!(burst.whole_at(), start + ms(1_900));
        assert!(!burst.take(&ask("too late"), start + ms(1_900), start + BUDGET));
        assert_eq!(burst.ask().text.as_str(), "hi\nmy parcel\nwhere is it?");
        assert_eq!(burst.ask().metadata["page"], "/b");
        assert_eq!(burst.deadline(), start + BUDGET);
    }

    #[test]
    fn a_short_deadline_is_not_spent_on_waiting() {
        let start = Instant::now();
        let mut burst = Burst::begin(BOUNDS, ask("a"), start, start + BUDGET);
        assert!(burst.take(&ask("b"), start + ms(100), start + ms(1_600)));
        assert_eq!((burst.deadline(), burst.whole_at()), (start + ms(1_600), start + ms(400)));
    }

    #[test]
    fn what_is_anothers_or_does_not_fit_is_not_merged() {
        let start = Instant::now();
        let mut burst = Burst::begin(BOUNDS, ask("a"), start, start + BUDGET);
        let mut take = |change: fn(&mut Ask)| {
            let mut ask = ask("b");
            change(&mut ask);
            burst.take(&ask, start, start + BUDGET)
        };
        assert!(!take(|ask| ask.user = UserId::parse("ann").ok()));
        assert!(!take(|ask| ask.history = Some(Vec::<Exchange>::new())));
        assert!(!take(|ask| ask.text = MessageText::parse(&"x".repeat(59)).unwrap()));
        assert!(!take(|ask| ask.metadata = (0..=METADATA_PAIRS_MAX).map(|n| (n.to_string(), String::new())).collect()));
        assert!(take(|_| {}));
    }

    proptest! {
        /// Whatever comes whenever: nothing is lost, doubled or turned round, no burst exceeds its bounds, and two messages
        /// that come close are apart only where a bound says so.
        #[test]
        fn bursts_are_the_messages_in_order_within_bounds(
            messages in prop::collection::vec((0u64..1_500, "[a-z]{1,12}"), 1..40),
        ) {
            let mut now = Instant::now();
            let mut bursts: Vec<(Burst, Vec<(Instant, String)>)> = Vec::new();
            for (gap, text) in &messages {
                now += ms(*gap);
                let taken = bursts.last_mut().filter(|(burst, _)| now < burst.whole_at());
                let taken = taken.is_some_and(|(burst, members)| {
                    let took = burst.take(&ask(text), now, now + BUDGET);
                    if took {
                        members.push((now, text.clone()));
                    }
                    took
                });
                if !taken {
                    bursts.push((Burst::begin(BOUNDS, ask(text), now, now + BUDGET), vec![(now, text.clone())]));
                }
            }
            let told: Vec<_> = bursts.iter().flat_map(|(burst, _)| burst.ask().text.as_str().split('\n')).collect();
            prop_assert_eq!(told, messages.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>());
            for (burst, members) in &bursts {
                let (first, last) = (members[0].0, members[members.len() - 1].0);
                prop_assert!(members.len() <= BOUNDS.messages_max);
                prop_assert!(burst.ask().text.as_str().chars().count() <= BOUNDS.chars_max);
                prop_assert!(last - first < BOUNDS.longest);
                prop_assert!(members.windows(2).all(|pair| pair[1].0 - pair[0].0 < BOUNDS.quiet));
                prop_assert!(burst.whole_at() >= last && burst.whole_at() <= first + BOUNDS.longest);
                prop_assert_eq!(burst.deadline(), first + BUDGET);
            }
            for pair in bursts.windows(2) {
                let ((one, members), (next, others)) = (&pair[0], &pair[1]);
                let (first, last, came) = (members[0].0, members[members.len() - 1].0, others[0].0);
                let chars = one.ask().text.as_str().len() + 1 + others[0].1.len();
                let apart = came - last >= BOUNDS.quiet
                    || came - first >= BOUNDS.longest
                    || members.len() >= BOUNDS.messages_max
                    || chars > BOUNDS.chars_max;
                prop_assert!(apart, "{:?} and {:?} belong together", one.ask().text, next.ask().text);
            }
        }
    }
}
