//! PURE: what was asked and what became of it, held against the load laws: nothing lost, nothing twice, nothing out of order.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use serde::Serialize;

/// What a customer was told in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Answered,
    /// Answered, but the pieces that were shown are not the answer.
    Torn,
    Failed,
    Expired,
    Cancelled,
    /// It was not let in.
    Refused,
    /// The customer gave up without having heard of an end.
    Unknown,
}

/// One message as its customer saw it.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) conversation: String,
    /// Its place in the conversation.
    pub(super) number: usize,
    /// The idempotency key.
    pub(super) key: String,
    pub(super) issued: Instant,
    pub(super) ended: Option<Instant>,
    pub(super) accepted: bool,
    pub(super) outcome: Outcome,
    pub(super) last_frames: u32,
    pub(super) restarts: u32,
    pub(super) text: String,
    /// Why tries failed, in order.
    pub(super) errors: Vec<String>,
}

/// What the desk wrote down about a request, under the same key.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) conversation: String,
    pub(super) outcome: Outcome,
    pub(super) text: String,
    /// Made with something missing.
    pub(super) degraded: bool,
    pub(super) asked_at_ms: u64,
    pub(super) ended_at_ms: u64,
}

/// The load laws: the first block adds up to `issued`, the second is nothing but zeros.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Laws {
    pub(super) issued: usize,
    pub(super) answered: usize,
    pub(super) failed: usize,
    pub(super) expired: usize,
    pub(super) cancelled: usize,
    pub(super) refused: usize,
    pub(super) unknown: usize,

    /// Accepted, and nothing can be fetched.
    pub(super) accepted_without_outcome: usize,
    /// More than one last frame was shown to a customer.
    pub(super) second_last_frames: usize,
    /// What was shown is not what was written down, or not whole.
    pub(super) shown_unlike_written: usize,
    /// A turn was answered before the one before it, or while that was open.
    pub(super) out_of_order: usize,
    /// A record of a message that nobody sent.
    pub(super) strangers: usize,
}

impl Laws {
    /// Whether every promise was kept, whatever the figures.
    pub(super) fn hold(&self) -> bool {
        let broken = self.accepted_without_outcome
            + self.second_last_frames
            + self.shown_unlike_written
            + self.out_of_order
            + self.strangers;
        broken == 0 && self.adds_up()
    }

    fn adds_up(&self) -> bool {
        let ended = self.answered + self.failed + self.expired + self.cancelled + self.refused + self.unknown;
        ended == self.issued
    }
}

/// Judges a run; `written` holds what the desk wrote down, by idempotency key.
pub(super) fn judge(turns: &[Turn], written: &HashMap<String, Written>) -> Laws {
    let mut laws = Laws { issued: turns.len(), ..Laws::default() };
    for turn in turns {
        let record = written.get(&turn.key);
        *laws.count(turn.outcome) += 1;
        laws.accepted_without_outcome += usize::from(turn.accepted && record.is_none());
        laws.second_last_frames += usize::from(turn.last_frames > 1);
        laws.shown_unlike_written += usize::from(!agree(turn, record));
    }
    let sent: HashMap<&str, &Turn> = turns.iter().map(|turn| (turn.key.as_str(), turn)).collect();
    laws.strangers = written.keys().filter(|key| !sent.contains_key(key.as_str())).count();
    laws.out_of_order = out_of_order(&sent, written);
    laws
}

impl Laws {
    fn count(&mut self, outcome: Outcome) -> &mut usize {
        match outcome {
            Outcome::Answered | Outcome::Torn => &mut self.answered,
            Outcome::Failed => &mut self.failed,
            Outcome::Expired => &mut self.expired,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Refused => &mut self.refused,
            Outcome::Unknown => &mut self.unknown,
        }
    }
}

/// Whether what was shown is what was written down. A customer who gave up was shown nothing that could differ.
fn agree(turn: &Turn, record: Option<&Written>) -> bool {
    match (turn.outcome, record) {
        (Outcome::Torn, _) => false,
        (Outcome::Unknown | Outcome::Refused, _) => true,
        // A gateway may say of itself that time is up; should the record say otherwise, two outcomes were told.
        (outcome, Some(record)) => {
            outcome == record.outcome && (outcome != Outcome::Answered || turn.text == record.text)
        }
        (_, None) => false,
    }
}

/// Turns of a conversation that overtook one another, by the order in which their customer sent them.
fn out_of_order(sent: &HashMap<&str, &Turn>, written: &HashMap<String, Written>) -> usize {
    let mut conversations: BTreeMap<&str, Vec<(usize, &Written)>> = BTreeMap::new();
    for (key, record) in written {
        let Some(turn) = sent.get(key.as_str()) else { continue };
        conversations.entry(&record.conversation).or_default().push((turn.number, record));
    }
    let overtaken = |turns: &mut Vec<(usize, &Written)>| {
        turns.sort_by_key(|(number, _)| *number);
        let pairs = turns.windows(2);
        pairs.filter(|pair| !follows(pair[0].1, pair[1].1)).count()
    };
    conversations.values_mut().map(overtaken).sum()
}

/// Both times are the broker's, to the millisecond.
fn follows(first: &Written, second: &Written) -> bool {
    first.asked_at_ms <= second.asked_at_ms && first.ended_at_ms <= second.asked_at_ms + CLOCK_ERROR_MS
}

/// The end of a turn is written by a worker's reading of the broker's clock, which is half a round trip off.
const CLOCK_ERROR_MS: u64 = 250;

/// The longest time within `window` of a fault in which nobody got an answer.
pub(super) fn gap(turns: &[Turn], fault: Instant, window: Duration) -> Duration {
    let until = fault + window;
    let answered = turns.iter().filter(|turn| turn.outcome == Outcome::Answered).filter_map(|turn| turn.ended);
    let mut moments: Vec<Instant> = answered.filter(|ended| (fault..until).contains(ended)).collect();
    // Who was still to be answered when the window closes, or the run, stretches the last gap up to there.
    let last = turns.iter().filter(|turn| turn.issued < until).filter_map(|turn| turn.ended).max();
    moments.extend([fault].into_iter().chain(last.map(|last| last.clamp(fault, until))));
    moments.sort_unstable();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// A quantile of durations (0 to 1); zero of none.
pub(super) fn quantile(mut values: Vec<Duration>, q: f64) -> Duration {
    values.sort_unstable();
    let place = (values.len() as f64 * q).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(conversation: &str, number: usize, issued: Instant) -> Turn {
        Turn {
            conversation: conversation.into(),
            number,
            key: format!("{conversation}-{number}"),
            issued,
            ended: Some(issued + Duration::from_millis(100)),
            accepted: true,
            outcome: Outcome::Answered,
            last_frames: 1,
            restarts: 0,
            text: "yes".into(),
            errors: Vec::new(),
        }
    }

    fn written(turn: &Turn, asked_at_ms: u64) -> (String, Written) {
        let (conversation, text) = (turn.conversation.clone(), "yes".into());
        let ended_at_ms = asked_at_ms + 100;
        let outcome = Outcome::Answered;
        (turn.key.clone(), Written { conversation, outcome, text, degraded: false, asked_at_ms, ended_at_ms })
    }

    /// A run of two conversations in which all went well, with one thing broken on purpose.
    #[track_caller]
    fn check(break_it: impl FnOnce(&mut Vec<Turn>, &mut HashMap<String, Written>), broken: fn(&Laws) -> usize) {
        let now = Instant::now();
        let mut turns = vec![turn("a", 0, now), turn("a", 1, now), turn("b", 0, now)];
        let times = [1_000, 2_000, 1_000];
        let mut records = turns.iter().zip(times).map(|(turn, at)| written(turn, at)).collect();
        let laws = judge(&turns, &records);
        assert!(laws.hold() && laws.answered == 3, "{laws:?}");
        break_it(&mut turns, &mut records);
        let laws = judge(&turns, &records);
        assert!(!laws.hold(), "{laws:?}");
        assert_eq!(broken(&laws), 1, "{laws:?}");
    }

    #[test]
    fn every_broken_promise_is_seen() {
        check(|_, records| drop(records.remove("b-0")), |laws| laws.accepted_without_outcome);
        check(|turns, _| turns[0].last_frames = 2, |laws| laws.second_last_frames);
        check(|turns, _| turns[0].text = "no".into(), |laws| laws.shown_unlike_written);
        check(|turns, _| turns[0].outcome = Outcome::Torn, |laws| laws.shown_unlike_written);
        check(|turns, _| turns[0].outcome = Outcome::Expired, |laws| laws.shown_unlike_written);
        check(|_, records| records.get_mut("a-1").unwrap().asked_at_ms = 500, |laws| laws.out_of_order);
        check(|_, records| records.get_mut("a-0").unwrap().ended_at_ms = 3_000, |laws| laws.out_of_order);
        check(|turns, _| drop(turns.pop()), |laws| laws.strangers);
    }

    #[test]
    fn who_gave_up_is_unknown_and_not_lost_while_an_outcome_is_there() {
        let now = Instant::now();
        let given_up = Turn { outcome: Outcome::Unknown, last_frames: 0, ..turn("a", 0, now) };
        let records = HashMap::from([written(&given_up, 1_000)]);
        let laws = judge(std::slice::from_ref(&given_up), &records);
        assert!(laws.hold() && laws.unknown == 1, "{laws:?}");
        assert_eq!(judge(&[given_up], &HashMap::new()).accepted_without_outcome, 1);
    }

    #[test]
    fn a_gap_is_the_longest_time_without_an_answer() {
        let now = Instant::now();
        let at = |ms: u64| now + Duration::from_millis(ms);
        let turns: Vec<_> = [100, 200, 3_200, 3_300].map(|ms| Turn { ended: Some(at(ms)), ..turn("a", 0, now) }).into();
        assert_eq!(gap(&turns, now, Duration::from_secs(10)), Duration::from_secs(3));
        assert_eq!(gap(&turns, at(3_250), Duration::from_secs(10)), Duration::from_millis(50));
        assert_eq!(
            gap(&turns, now, Duration::from_millis(1_200)),
            Duration::from_secs(1),
            "it goes on past the window"
        );
        assert_eq!(quantile(vec![at(3) - now, at(1) - now, at(2) - now], 0.5), Duration::from_millis(2));
    }
}
