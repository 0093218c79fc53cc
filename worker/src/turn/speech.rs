//! PURE: what a turn has said so far, numbered so that its record can say it again frame by frame.

use std::time::{Duration, Instant};

use talkfleet_shared::{
    chat::{Citation, Frame, FrameBody, Intent, Language, Outcome, Parked},
    id::RequestId,
};

/// Words are merged for this long after a delta: ten frames a second read as fluently as eighty, at an eighth of the cost.
pub const CADENCE: Duration = Duration::from_millis(100);

/// One attempt's words. Intent, the wait for a model, sources and text come in this order; what comes too late for its place is left out.
#[derive(Debug)]
pub struct Speech {
    request: RequestId,
    attempt: u32,
    seq: u32,
    intent: Option<(Intent, Language)>,
    parked: Option<Parked>,
    sources: Option<Vec<Citation>>,
    text: String,
    cuts: Vec<u32>,
    cut_at: Option<Instant>,
    /// Nothing but the last frame is said any more.
    silenced: bool,
}

/// What a record must know of a speech to repeat it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Said {
    pub intent: Option<(Intent, Language)>,
    pub parked: Option<Parked>,
    pub sources: Option<Vec<Citation>>,
    /// The text that was sent, which ends at the last cut.
    pub text: String,
    pub cuts: Vec<u32>,
}

impl Speech {
    /// Opens an attempt; a later one begins with `restart`.
    pub fn open(request: RequestId, attempt: u32) -> (Self, Option<Frame>) {
        let mut speech = Self {
            request,
            attempt,
            seq: 0,
            intent: None,
            parked: None,
            sources: None,
            text: String::new(),
            cuts: Vec::new(),
            cut_at: None,
            silenced: false,
        };
        let restart = (attempt > 1).then(|| speech.frame(FrameBody::Restart));
        (speech, restart)
    }

    pub fn tell_intent(&mut self, intent: &Intent, language: Language) -> Option<Frame> {
        let is_late = self.parked.is_some() || self.sources.is_some() || !self.text.is_empty();
        if self.silenced || self.intent.is_some() || is_late {
            return None;
        }
        self.intent = Some((intent.clone(), language));
        Some(self.frame(FrameBody::Intent { intent: intent.clone(), language }))
    }

    pub fn tell_parked(&mut self, parked: Parked) -> Option<Frame> {
        if self.silenced || self.parked.is_some() || self.sources.is_some() || !self.text.is_empty() {
            return None;
        }
        self.parked = Some(parked);
        Some(self.frame(FrameBody::Parked(parked)))
    }

    pub fn tell_sources(&mut self, citations: &[Citation]) -> Option<Frame> {
        if self.silenced || self.sources.is_some() || !self.text.is_empty() {
            return None;
        }
        self.sources = Some(citations.to_vec());
        Some(self.frame(FrameBody::Sources { citations: citations.to_vec() }))
    }

    /// Adds words: the first leave at once, later ones when the cadence says so.
    pub fn say(&mut self, words: &str, now: Instant) -> Option<Frame> {
        self.text.push_str(words);
        let due = self.cut_at.is_none_or(|at| at + CADENCE <= now);
        if due { self.flush(now) } else { None }
    }

    /// When held words must leave; None when none are held.
    pub fn due(&self) -> Option<Instant> {
        let held = !self.silenced && self.text.len() > self.sent();
        self.cut_at.filter(|_| held).map(|at| at + CADENCE)
    }

    /// Sends what is held.
    pub fn flush(&mut self, now: Instant) -> Option<Frame> {
        let piece = self.text.get(self.sent()..).filter(|piece| !self.silenced && !piece.is_empty())?.to_owned();
        self.cuts.push(self.text.len() as u32);
        self.cut_at = Some(now);
        Some(self.frame(FrameBody::Delta { text: piece }))
    }

    /// Takes back the frame that was just made, since it was not let out: the record must not repeat it. Nothing is said
    /// after it but the last frame.
    pub fn take_back(&mut self, frame: &Frame) {
        match frame.body {
            FrameBody::Intent { .. } => self.intent = None,
            FrameBody::Parked(_) => self.parked = None,
            FrameBody::Sources { .. } => self.sources = None,
            FrameBody::Delta { .. } => drop(self.cuts.pop()),
            _ => return,
        }
        self.seq -= 1;
        self.silenced = true;
    }

    /// The last frame.
    pub fn last(&mut self, outcome: &Outcome) -> Frame {
        self.frame(FrameBody::last(outcome))
    }

    /// Everything that was said or is held.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the record needs; held words were never sent and are left out.
    pub fn said(&self) -> Said {
        Said {
            intent: self.intent.clone(),
            parked: self.parked,
            sources: self.sources.clone(),
            text: self.text[..self.sent()].to_owned(),
            cuts: self.cuts.clone(),
        }
    }

    fn sent(&self) -> usize {
        self.cuts.last().map_or(0, |cut| *cut as usize)
    }

    fn frame(&mut self, body: FrameBody) -> Frame {
        self.seq += 1;
        Frame { request: self.request.clone(), attempt: self.attempt, seq: self.seq, body }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use talkfleet_shared::{
        chat::{Answer, Ask, Kind, MessageText, Position, Problem, Rung, Timings, TurnRecord, Versions},
        error::Code,
        id::{ConversationId, TenantId},
    };

    use super::*;

    #[derive(Debug, Clone)]
    enum Act {
        Intent,
        Park,
        Sources(usize),
        Say(String, u64),
        Flush,
    }

    /// From which act on frames no longer leave, since the conversation was taken over.
    const NEVER: usize = usize::MAX;

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            Just(Act::Intent),
            Just(Act::Park),
            (0usize..3).prop_map(Act::Sources),
            (".{0,12}|[\u{4e00}-\u{9fff}]{0,5}", 0u64..250).prop_map(|(words, later)| Act::Say(words, later)),
            Just(Act::Flush),
        ];
        prop::collection::vec(act, 0..20)
    }

    fn intent() -> Intent {
        Intent { name: "track_order".into(), confidence: 0.9, entities: Vec::new() }
    }

    fn citation(n: usize) -> Citation {
        Citation { title: n.to_string(), url: String::new(), snippet: String::new(), score: 0.5 }
    }

    fn record(request: RequestId, attempt: u32, said: Said, outcome: Outcome) -> TurnRecord {
        let (intent, language) = said.intent.clone().unwrap_or((Intent::unknown(), Language::English));
        TurnRecord {
            tenant: TenantId::parse("t").unwrap(),
            conversation: ConversationId::parse("c").unwrap(),
            request,
            attempt,
            ask: Ask::new(MessageText::parse("a").unwrap()),
            ask_digest: String::new(),
            language,
            intent,
            passages: Vec::new(),
            cuts: said.cuts,
            told_intent: said.intent.is_some(),
            parked: said.parked,
            sources: said.sources,
            spoken: said.text,
            outcome,
            timings: Timings::default(),
            usage: None,
            model_call: None,
            summary: None,
            versions: Versions::default(),
            trace: None,
            asked_at_ms: 0,
            ended_at_ms: 0,
        }
    }

    /// How a turn of these words can end: 0 answered, 1 expired in mid-answer, 2 cancelled in mid-answer.
    fn outcome(how: u8, speech: &mut Speech, now: Instant, sent: &mut Vec<Frame>) -> Outcome {
        match how {
            0 => {
                sent.extend(speech.flush(now));
                Outcome::Answered {
                    answer: Box::new(Answer {
                        id: RequestId::parse("r").unwrap(),
                        conversation: ConversationId::parse("c").unwrap(),
                        text: speech.text().to_owned(),
                        language: Language::English,
                        intent: Intent::unknown(),
                        citations: Vec::new(),
                        kind: Kind::Answer,
                        rung: Rung::Model,
                        rung_reason: None,
                        degraded: Vec::new(),
                        timings: Timings::default(),
                        usage: None,
                        worker: String::new(),
                    }),
                }
            }
            1 => Outcome::Expired { problem: Problem::new(Code::Expired) },
            _ => Outcome::Cancelled { text: speech.said().text, by: None },
        }
    }

    proptest! {
        #[test]
        fn the_record_repeats_exactly_what_was_sent(
            acts in acts(), attempt in 1u32..4, how in 0u8..3, taken_at in prop_oneof![Just(NEVER), 0usize..20],
        ) {
            let request = RequestId::parse("r").unwrap();
            let mut now = Instant::now();
            let (mut speech, restart) = Speech::open(request.clone(), attempt);
            let mut sent: Vec<Frame> = restart.into_iter().collect();
            for (number, act) in acts.into_iter().enumerate() {
                let frame = match act {
                    Act::Intent => speech.tell_intent(&intent(), Language::Chinese),
                    Act::Park => speech.tell_parked(Parked { place: 1, wait_ms: 10 }),
                    Act::Sources(n) => speech.tell_sources(&(0..n).map(citation).collect::<Vec<_>>()),
                    Act::Say(words, later) => {
                        now += Duration::from_millis(later);
                        speech.say(&words, now)
                    }
                    Act::Flush => speech.flush(now),
                };
                match frame {
                    Some(frame) if number >= taken_at => speech.take_back(&frame),
                    frame => sent.extend(frame),
                }
            }
            let how = if taken_at == NEVER { how } else { 2 };
            let outcome = outcome(how, &mut speech, now, &mut sent);
            let said = speech.said();
            sent.push(speech.last(&outcome));
            prop_assert_eq!(record(request, attempt, said, outcome).frames(Position::default()), sent);
        }
    }

    #[test]
    fn the_first_words_leave_at_once_and_later_ones_are_merged() {
        let start = Instant::now();
        let (mut speech, _) = Speech::open(RequestId::parse("r").unwrap(), 1);
        assert!(speech.say("Your", start).is_some());
        assert!(speech.say(" parcel", start + CADENCE / 2).is_none());
        assert_eq!(speech.due(), Some(start + CADENCE));
        let frame = speech.say(" is", start + CADENCE).unwrap();
        assert_eq!(frame.body, FrameBody::Delta { text: " parcel is".into() });
        assert_eq!(speech.due(), None);
    }
}
