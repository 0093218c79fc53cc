//! PURE: frames come over core NATS, which may lose, double and (over attempts) mix them; this decides what a client is shown.

use talkfleet_shared::chat::{Frame, FrameBody, Position, TurnRecord};

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// The last frame that was shown.
    at: Position,
}

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Show,
    /// It was shown before, or belongs to an attempt that was given up.
    Drop,
    /// Something before it was lost: ask for it.
    Missing,
    /// Something was lost and the turn has ended: its record has everything.
    Ended,
}

impl Order {
    /// A client that has seen everything up to `at`.
    pub(super) fn after(at: Position) -> Self {
        Self { at }
    }

    pub(super) fn position(&self) -> Position {
        self.at
    }

    /// Judges the next frame to come in; one that is shown moves the position.
    pub(super) fn judge(&mut self, frame: &Frame) -> Next {
        let current = self.at.attempt == 0 || frame.attempt == self.at.attempt;
        let wanted = if current { self.at.seq + 1 } else { 1 };
        let void = frame.attempt < self.at.attempt || frame.seq < wanted;
        match (void, frame.seq == wanted, frame.body.is_last()) {
            // A last frame of a lower attempt: its worker was thought dead, but wrote the record first.
            (true, _, true) if frame.attempt < self.at.attempt => Next::Ended,
            (true, ..) => Next::Drop,
            (false, true, _) => {
                self.at = frame.position();
                Next::Show
            }
            (false, false, true) => Next::Ended,
            (false, false, false) => Next::Missing,
        }
    }

    /// What a record has for this client: all that it has not seen, the last frame always among it.
    ///
    /// When the record is of an earlier attempt than what was shown, everything is told anew as one more attempt.
    pub(super) fn rest(&self, record: &TurnRecord) -> Vec<Frame> {
        if record.attempt >= self.at.attempt {
            let rest = record.frames(self.at);
            return if rest.is_empty() { record.frames(Position::default()).pop().into_iter().collect() } else { rest };
        }
        let attempt = self.at.attempt + 1;
        let bodies = record.frames(Position::default()).into_iter().map(|frame| frame.body);
        let told = std::iter::once(FrameBody::Restart).chain(bodies.filter(|body| *body != FrameBody::Restart));
        told.zip(1..).map(|(body, seq)| Frame { request: record.request.clone(), attempt, seq, body }).collect()
    }

    /// The frame that ends a story which only this gateway can end.
    pub(super) fn closing(&self, request: &talkfleet_shared::id::RequestId, body: FrameBody) -> Frame {
        Frame { request: request.clone(), attempt: self.at.attempt.max(1), seq: self.at.seq + 1, body }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use talkfleet_shared::{
        chat::{Ask, Intent, Language, MessageText, Outcome, Problem, Timings, Versions},
        error::Code,
        id::{ConversationId, RequestId, TenantId},
    };

    use super::*;

    fn record(attempt: u32, words: &[&str]) -> TurnRecord {
        let mut cuts = Vec::new();
        let spoken = words.iter().fold(String::new(), |mut text, word| {
            text.push_str(word);
            cuts.push(text.len() as u32);
            text
        });
        TurnRecord {
            tenant: TenantId::parse("demo").unwrap(),
            conversation: ConversationId::parse("c").unwrap(),
            request: RequestId::parse("r").unwrap(),
            attempt,
            ask: Ask::new(MessageText::parse("q").unwrap()),
            ask_digest: String::new(),
            language: Language::English,
            intent: Intent::unknown(),
            passages: Vec::new(),
            cuts,
            told_intent: true,
            parked: None,
            sources: None,
            spoken,
            outcome: Outcome::Failed { problem: Problem::new(Code::TurnFailed) },
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

    fn frame(attempt: u32, seq: u32, body: FrameBody) -> Frame {
        Frame { request: RequestId::parse("r").unwrap(), attempt, seq, body }
    }

    fn delta() -> FrameBody {
        FrameBody::Delta { text: "a".into() }
    }

    fn last() -> FrameBody {
        FrameBody::Failed { problem: Problem::new(Code::TurnFailed) }
    }

    #[track_caller]
    fn check(at: (u32, u32), attempt: u32, seq: u32, body: FrameBody, expected: Next) {
        let mut order = Order::after(Position { attempt: at.0, seq: at.1 });
        assert_eq!(order.judge(&frame(attempt, seq, body)), expected, "{at:?} then {attempt}.{seq}");
        let shown = Position { attempt, seq };
        assert_eq!(order.position() == shown && shown != Position { attempt: at.0, seq: at.1 }, expected == Next::Show);
    }

    #[test]
    fn a_frame_is_shown_once_and_in_order() {
        check((1, 0), 1, 1, delta(), Next::Show);
        check((1, 1), 1, 1, delta(), Next::Drop);
        check((1, 1), 1, 3, delta(), Next::Missing);
        check((1, 1), 1, 3, last(), Next::Ended);
        check((1, 5), 2, 1, FrameBody::Restart, Next::Show);
        check((1, 5), 2, 2, delta(), Next::Missing);
        check((2, 1), 1, 9, delta(), Next::Drop);
        check((2, 1), 1, 9, last(), Next::Ended);
        check((0, 0), 3, 1, FrameBody::Restart, Next::Show);
        check((0, 4), 1, 5, delta(), Next::Show);
        check((0, 4), 1, 4, delta(), Next::Drop);
    }

    #[test]
    fn the_record_always_ends_the_story() {
        for (attempt, at) in [(1, (1, 2)), (1, (1, 99)), (2, (1, 2)), (1, (2, 3)), (1, (0, 0))] {
            let order = Order::after(Position { attempt: at.0, seq: at.1 });
            let rest = order.rest(&record(attempt, &["a", "b"]));
            assert!(rest.last().unwrap().body.is_last(), "{attempt} {at:?}");
            assert_eq!(rest.iter().filter(|frame| frame.body.is_last()).count(), 1);
        }
        let retold = Order::after(Position { attempt: 2, seq: 3 }).rest(&record(1, &["a"]));
        assert_eq!((retold[0].attempt, retold[0].seq, &retold[0].body), (3, 1, &FrameBody::Restart));
    }

    proptest! {
        /// Whatever is lost, doubled or mixed between two attempts: the text is whole and there is one last frame.
        #[test]
        fn any_mix_is_shown_as_the_text_that_was_said(
            picks in prop::collection::vec((0usize..2, 0usize..12), 0..60),
            words in prop::collection::vec("[a-c]{1,3}", 1..8),
        ) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let attempts = [record(1, &words), record(2, &words)].map(|r| r.frames(Position::default()));
            let truth = record(2, &words);
            let mut order = Order::after(Position { attempt: 1, seq: 0 });
            let mut shown: Vec<Frame> = Vec::new();
            for (attempt, index) in picks {
                let Some(frame) = attempts[attempt].get(index) else { continue };
                // The first attempt died before its end, so nobody sent its last frame.
                if attempt == 0 && frame.body.is_last() { continue }
                match order.judge(frame) {
                    Next::Show => shown.push(frame.clone()),
                    Next::Drop | Next::Missing => {}
                    Next::Ended => break,
                }
                if frame.body.is_last() && shown.last() == Some(frame) { break }
            }
            if !shown.last().is_some_and(|frame| frame.body.is_last()) {
                shown.extend(order.rest(&truth));
            }
            let mut text = String::new();
            for frame in &shown {
                match &frame.body {
                    FrameBody::Restart => text.clear(),
                    FrameBody::Delta { text: piece } => text.push_str(piece),
                    _ => {}
                }
            }
            prop_assert_eq!(text, words.concat());
            prop_assert_eq!(shown.iter().filter(|frame| frame.body.is_last()).count(), 1);
        }
    }
}
