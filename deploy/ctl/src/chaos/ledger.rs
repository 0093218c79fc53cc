//! PURE: what was asked and what became of it, held against the load laws: nothing lost, nothing twice, nothing out of order.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use serde::Serialize;

/// How long after a takeover words may still be on their way.
const SILENT_WITHIN: Duration = Duration::from_millis(200);

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
    /// When its customer first saw it begin anew.
    pub(super) restarted: Option<Instant>,
    pub(super) text: String,
    /// When words of it were shown.
    pub(super) words: Vec<Instant>,
    /// Why tries failed, in order.
    pub(super) errors: Vec<String>,
    /// Tries to be let in, in order.
    pub(super) knocks: Vec<Knock>,
}

/// One try to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Knock {
    pub(super) at: Instant,
    /// Until it was accepted, refused, or broke.
    pub(super) waited: Duration,
    pub(super) refused: bool,
}

/// A person had a conversation, from when that was written down until it was about to be given back.
#[derive(Debug, Clone)]
pub(super) struct Takeover {
    pub(super) conversation: String,
    pub(super) from: Instant,
    pub(super) until: Instant,
}

/// Two clocks of one machine, read together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    pub(super) now: Instant,
    pub(super) unix_ms: u64,
}

impl Clocks {
    /// A moment after that reading.
    pub(super) fn instant(self, unix_ms: u64) -> Instant {
        self.now + Duration::from_millis(unix_ms.saturating_sub(self.unix_ms))
    }
}

/// A fault, from its first blow until nothing was broken any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Struck {
    pub(super) at: Instant,
    pub(super) healed: Instant,
}

/// What the desk wrote down about a request, under the same key.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) conversation: String,
    pub(super) outcome: Outcome,
    pub(super) text: String,
    /// Made with something missing.
    pub(super) degraded: bool,
    /// That a colleague is there, and no more.
    pub(super) hands_over: bool,
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
    /// The bot said something although a person had the conversation.
    pub(super) spoken_after_takeover: usize,
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
            + self.spoken_after_takeover
            + self.strangers;
        broken == 0 && self.adds_up()
    }

    fn adds_up(&self) -> bool {
        let ended = self.answered + self.failed + self.expired + self.cancelled + self.refused + self.unknown;
        ended == self.issued
    }
}

/// Judges a run; `written` holds what the desk wrote down, by idempotency key.
pub(super) fn judge(turns: &[Turn], written: &HashMap<String, Written>, takeovers: &[Takeover]) -> Laws {
    let mut laws = Laws { issued: turns.len(), ..Laws::default() };
    for turn in turns {
        let record = written.get(&turn.key);
        *laws.count(turn.outcome) += 1;
        laws.accepted_without_outcome += usize::from(turn.accepted && record.is_none());
        laws.second_last_frames += usize::from(turn.last_frames > 1);
        laws.shown_unlike_written += usize::from(!agree(turn, record));
        laws.spoken_after_takeover += usize::from(speaks_for_a_person(turn, record, takeovers));
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

/// Whether words of the bot's were shown while a person had the conversation.
fn speaks_for_a_person(turn: &Turn, record: Option<&Written>, takeovers: &[Takeover]) -> bool {
    let mut theirs = takeovers.iter().filter(|takeover| takeover.conversation == turn.conversation);
    let spoken = |takeover: &Takeover| {
        turn.words.iter().any(|word| takeover.from + SILENT_WITHIN < *word && *word < takeover.until)
    };
    !record.is_some_and(|record| record.hands_over) && theirs.any(spoken)
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

/// How long an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Took {
    pub(super) issued: Instant,
    /// Since nothing of its customer's own stood before it.
    pub(super) own: Duration,
    /// Behind an earlier message of its conversation, which a customer who waits for answers never does.
    pub(super) behind: Duration,
    /// Of its own time, what had passed before the blow after which it was begun anew.
    pub(super) lost: Duration,
}

/// How long each answer took, apart from the wait behind an earlier message of the same conversation. That one has ended
/// when its record says so or its customer hears of it, whichever comes first.
pub(super) fn took(turns: &[Turn], written: &HashMap<String, Written>, struck: &[Struck], clocks: Clocks) -> Vec<Took> {
    let recorded = |turn: &Turn| Some(clocks.instant(written.get(&turn.key)?.ended_at_ms));
    let ended = |turn: &Turn| turn.ended.into_iter().chain(recorded(turn)).min();
    let ends: HashMap<_, _> =
        turns.iter().filter_map(|turn| Some(((turn.conversation.as_str(), turn.number), ended(turn)?))).collect();
    let took = |turn: &Turn| {
        let earlier = turn.number.checked_sub(1).and_then(|number| ends.get(&(turn.conversation.as_str(), number)));
        let told = turn.ended?;
        let free = earlier.map_or(turn.issued, |earlier| turn.issued.max(*earlier)).min(told);
        let lost =
            blow_before_restart(turn, struck).map_or(Duration::ZERO, |blow| blow.saturating_duration_since(free));
        Some(Took { issued: turn.issued, own: told - free, behind: free - turn.issued, lost })
    };
    turns.iter().filter(|turn| turn.outcome == Outcome::Answered).filter_map(took).collect()
}

/// How long after the last blow before it each answer was begun anew that had been asked for before that blow.
pub(super) fn begun_anew(turns: &[Turn], struck: &[Struck]) -> Vec<Duration> {
    turns.iter().filter_map(|turn| Some(turn.restarted? - blow_before_restart(turn, struck)?)).collect()
}

fn blow_before_restart(turn: &Turn, struck: &[Struck]) -> Option<Instant> {
    let restarted = turn.restarted?;
    let blow = struck.iter().map(|fault| fault.at).filter(|at| *at <= restarted).max()?;
    (turn.issued <= blow).then_some(blow)
}

/// Tries to be let in that began while a fault was known: this long after its blow, and so long before its end that
/// whoever is told within `limit` is told before. Only first messages of their conversations: others wait in line.
pub(super) fn knocks(turns: &[Turn], struck: &[Struck], known_after: Duration, limit: Duration) -> Vec<Knock> {
    let known = |knock: &Knock| {
        struck.iter().any(|fault| fault.at + known_after <= knock.at && knock.at + limit <= fault.healed)
    };
    let first = turns.iter().filter(|turn| turn.number == 0);
    first.flat_map(|turn| &turn.knocks).copied().filter(known).collect()
}

/// Of the turns that began and ended while a fault lasted, how many there were and how many had a degraded answer.
pub(super) fn degraded_during(turns: &[Turn], written: &HashMap<String, Written>, fault: Struck) -> (usize, usize) {
    let within = turns.iter().filter(|turn| {
        fault.at <= turn.issued && turn.ended.is_none_or(|ended| ended <= fault.healed) && turn.issued <= fault.healed
    });
    let degraded = |turn: &&Turn| {
        let record = written.get(&turn.key);
        turn.outcome == Outcome::Answered && record.is_some_and(|record| record.degraded)
    };
    let within: Vec<&Turn> = within.collect();
    (within.len(), within.iter().filter(|turn| degraded(turn)).count())
}

/// How long after a fault's end the last degraded answer was asked for.
pub(super) fn back_after(turns: &[Turn], written: &HashMap<String, Written>, fault: Struck) -> Duration {
    let degraded = turns.iter().filter(|turn| written.get(&turn.key).is_some_and(|record| record.degraded));
    let last = degraded.map(|turn| turn.issued).max();
    last.map(|last| last.saturating_duration_since(fault.healed)).unwrap_or_default()
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
            restarted: None,
            text: "yes".into(),
            words: vec![issued + Duration::from_millis(90)],
            errors: Vec::new(),
            knocks: Vec::new(),
        }
    }

    fn written(turn: &Turn, asked_at_ms: u64) -> (String, Written) {
        let (conversation, text) = (turn.conversation.clone(), "yes".into());
        let ended_at_ms = asked_at_ms + 100;
        let outcome = Outcome::Answered;
        (
            turn.key.clone(),
            Written { conversation, outcome, text, degraded: false, hands_over: false, asked_at_ms, ended_at_ms },
        )
    }

    /// A run of two conversations in which all went well, with one thing broken on purpose.
    #[track_caller]
    fn check(break_it: impl FnOnce(&mut Vec<Turn>, &mut HashMap<String, Written>), broken: fn(&Laws) -> usize) {
        let now = Instant::now();
        let mut turns = vec![turn("a", 0, now), turn("a", 1, now), turn("b", 0, now)];
        let times = [1_000, 2_000, 1_000];
        let mut records = turns.iter().zip(times).map(|(turn, at)| written(turn, at)).collect();
        let (from, until) = (now, now + Duration::from_secs(3));
        let takeovers = [Takeover { conversation: "b".into(), from, until }];
        let laws = judge(&turns, &records, &takeovers);
        assert!(laws.hold() && laws.answered == 3, "{laws:?}");
        break_it(&mut turns, &mut records);
        let laws = judge(&turns, &records, &takeovers);
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
        let speak = |turns: &mut Vec<Turn>| {
            let word = turns[2].issued + Duration::from_secs(1);
            turns[2].words.push(word);
        };
        check(|turns, _| speak(turns), |laws| laws.spoken_after_takeover);
        check(|turns, _| drop(turns.pop()), |laws| laws.strangers);
    }

    #[test]
    fn who_gave_up_is_unknown_and_not_lost_while_an_outcome_is_there() {
        let now = Instant::now();
        let given_up = Turn { outcome: Outcome::Unknown, last_frames: 0, ..turn("a", 0, now) };
        let records = HashMap::from([written(&given_up, 1_000)]);
        let laws = judge(std::slice::from_ref(&given_up), &records, &[]);
        assert!(laws.hold() && laws.unknown == 1, "{laws:?}");
        assert_eq!(judge(&[given_up], &HashMap::new(), &[]).accepted_without_outcome, 1);
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

    #[test]
    fn who_waits_behind_an_own_message_is_not_counted_twice() {
        let now = Instant::now();
        let at = |ms: u64| now + Duration::from_millis(ms);
        let clocks = Clocks { now, unix_ms: 1_000 };
        let first = Turn { ended: Some(at(8_000)), ..turn("a", 0, now) };
        let second = Turn { ended: Some(at(8_300)), ..turn("a", 1, at(500)) };
        let turns = [first, second];
        let ms = |took: Vec<Took>| took.iter().map(|t| (t.own.as_millis(), t.behind.as_millis())).collect::<Vec<_>>();
        assert_eq!(ms(took(&turns, &HashMap::new(), &[], clocks)), [(8_000, 0), (300, 7_500)]);
        // The record was there before its customer heard of it: what came after is the second's own time.
        let (key, record) = written(&turns[0], 1_000);
        let records = HashMap::from([(key, Written { ended_at_ms: 6_000, ..record })]);
        assert_eq!(ms(took(&turns, &records, &[], clocks)), [(8_000, 0), (3_300, 4_500)]);
    }

    #[test]
    fn a_new_beginning_is_counted_from_the_blow_before_it() {
        let now = Instant::now();
        let at = |s: u64| now + Duration::from_secs(s);
        let struck = [2, 20].map(|s| Struck { at: at(s), healed: at(s) });
        let turns = [(0, 7), (19, 24), (6, 9)].map(|(s, r)| Turn { restarted: Some(at(r)), ..turn("a", 0, at(s)) });
        let answered = Turn { ended: Some(at(8)), ..turns[0].clone() };
        let took = took(&[answered], &HashMap::new(), &struck, Clocks { now, unix_ms: 0 });
        assert_eq!((took[0].own, took[0].lost), (Duration::from_secs(8), Duration::from_secs(2)));
        // The third was asked for after the blow: another cause made it begin anew.
        assert_eq!(begun_anew(&turns, &struck), [Duration::from_secs(5), Duration::from_secs(4)]);
    }

    #[test]
    fn a_fault_is_held_against_what_began_while_it_was_known() {
        let now = Instant::now();
        let at = |ms: u64| now + Duration::from_millis(ms);
        let fault = Struck { at: at(1_000), healed: at(9_000) };
        let knock = |ms| Knock { at: at(ms), waited: Duration::from_millis(ms), refused: true };
        let knocks_of =
            |number| Turn { knocks: [500, 2_000, 3_500, 6_900, 7_500].map(knock).into(), ..turn("a", number, now) };
        let seen = knocks(&[knocks_of(0), knocks_of(1)], &[fault], Duration::from_secs(2), Duration::from_secs(2));
        assert_eq!(seen, [knock(3_500), knock(6_900)]);
    }

    #[test]
    fn what_was_degraded_during_a_fault_and_after_is_told_apart() {
        let now = Instant::now();
        let at = |ms: u64| now + Duration::from_millis(ms);
        let fault = Struck { at: at(1_000), healed: at(9_000) };
        let turns: Vec<_> = [0, 2_000, 3_000, 10_500, 12_000]
            .iter()
            .enumerate()
            .map(|(n, ms)| Turn { ended: Some(at(ms + 100)), ..turn("a", n, at(*ms)) })
            .collect();
        let mut records: HashMap<_, _> = turns.iter().map(|turn| written(turn, 1_000)).collect();
        for degraded in ["a-1", "a-3"] {
            records.get_mut(degraded).unwrap().degraded = true;
        }
        assert_eq!(degraded_during(&turns, &records, fault), (2, 1));
        assert_eq!(back_after(&turns, &records, fault), Duration::from_millis(1_500));
    }
}
