//! What came of a run, in a few lines and as JSON.

use std::{fmt, time::Duration};

use serde::Serialize;
use talkfleet_shared::chat::ModelUse;

use super::{
    Side, Triple, conversations,
    drive::{Pass, Passes},
    folder::Folder,
    report::Sides,
};

/// What a run was and what came of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Facts {
    run: String,
    stretch: String,
    folder: String,
    turns: usize,
    conversations: usize,
    model: ModelUse,
    /// Answers that an earlier start of the run had brought.
    resumed: usize,
    /// How the stretch was read; absent when an earlier start had done so.
    read: Option<Reading>,
    /// Until somebody listened in every lane; most of it is workers that start.
    lanes_seconds: f64,
    /// From the first message to the last record, over all sides.
    seconds: f64,
    answers_per_second: f64,
    /// The same of each side by itself; all three are asked side by side.
    sides_per_second: Sides<f64>,
    /// Turns that a side never answered.
    missing: Sides<u64>,
    recordings: Recordings,
}

/// How fast a stretch was read.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Reading {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) messages_per_second: f64,
}

impl Reading {
    pub(super) fn new(messages: u64, bytes: u64, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self { messages, bytes, seconds, messages_per_second: per_second(messages, elapsed) }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, bytes, seconds, messages_per_second } = self;
        write!(
            f,
            "{messages} messages ({} MB) read in {seconds:.2} s, {messages_per_second} a second",
            bytes / 1_000_000
        )
    }
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { (count as f64 / elapsed.as_secs_f64()).round() }
}

/// What models had said, and how often that did not fit any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Recordings {
    kept: u64,
    missed: Sides<u64>,
}

impl Facts {
    pub(super) fn new(folder: &Folder, resumed: usize, read: Option<Reading>) -> Self {
        Self {
            run: folder.run.id.clone(),
            stretch: folder.run.stretch.to_string(),
            folder: folder.path().display().to_string(),
            turns: folder.turns.len(),
            conversations: conversations::conversations(&folder.turns).len(),
            model: folder.run.model,
            resumed,
            read,
            lanes_seconds: 0.0,
            seconds: 0.0,
            answers_per_second: 0.0,
            sides_per_second: Sides::default(),
            missing: Sides::default(),
            recordings: Recordings::default(),
        }
    }

    /// How long this start took.
    pub(super) fn asked(&mut self, passes: &Passes, lanes_took: Duration) {
        let side = |side: Side| passes.get(&side).map_or(0.0, |pass| per_second(pass.answers, pass.took()));
        let all = Pass {
            answers: passes.values().map(|pass| pass.answers).sum(),
            began_at: passes.values().filter_map(|pass| pass.began_at).min(),
            ended_at: passes.values().filter_map(|pass| pass.ended_at).max(),
            ..Pass::default()
        };
        self.lanes_seconds = lanes_took.as_secs_f64();
        self.seconds = all.took().as_secs_f64();
        self.answers_per_second = per_second(all.answers, all.took());
        self.sides_per_second = Sides {
            baseline_a: side(Side::BaselineA),
            baseline_b: side(Side::BaselineB),
            candidate: side(Side::Candidate),
        };
    }

    /// Counts what is missing, and recorded calls of models that fitted no more.
    pub(super) fn count(&mut self, triples: &[Triple]) {
        for Triple { original, baseline_a, baseline_b, candidate } in triples {
            for (answer, missing, missed) in [
                (baseline_a, &mut self.missing.baseline_a, &mut self.recordings.missed.baseline_a),
                (baseline_b, &mut self.missing.baseline_b, &mut self.recordings.missed.baseline_b),
                (candidate, &mut self.missing.candidate, &mut self.recordings.missed.candidate),
            ] {
                match answer {
                    None => *missing += 1,
                    Some(answer) => *missed += u64::from(conversations::missed(original, answer)),
                }
            }
            self.recordings.kept += u64::from(original.model_call.is_some());
        }
    }

    pub(super) fn misses(&self) -> Sides<u64> {
        self.recordings.missed
    }

    /// Whether every side answered everything.
    pub(super) fn is_whole(&self) -> bool {
        self.missing == Sides::default()
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} turns of {} conversations, {}", self.turns, self.conversations, self.stretch)?;
        if self.resumed > 0 {
            writeln!(f, "{} answers were there from an earlier start", self.resumed)?;
        }
        if let Some(read) = self.read {
            writeln!(f, "{read}")?;
        }
        let Sides { baseline_a, baseline_b, candidate } = self.sides_per_second;
        writeln!(
            f,
            "asked in {:.1} s, {} answers a second ({baseline_a} and {baseline_b} by the baseline, {candidate} by the \
             candidate), once somebody listened after {:.1} s",
            self.seconds, self.answers_per_second, self.lanes_seconds
        )?;
        let Sides { baseline_a, baseline_b, candidate } = self.missing;
        if !self.is_whole() {
            writeln!(f, "never answered: {baseline_a} and {baseline_b} by the baseline, {candidate} by the candidate")?;
        }
        let Recordings { kept, missed } = self.recordings;
        if kept > 0 {
            writeln!(
                f,
                "{kept} recorded model calls, of which {} fitted the candidate's prompt no more",
                missed.candidate
            )?;
        }
        write!(f, "the run lies in {}", self.folder)
    }
}
