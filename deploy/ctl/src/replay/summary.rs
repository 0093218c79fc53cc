//! What came of a run, in a few lines and as JSON.

use std::{fmt, time::Duration};

use serde::Serialize;
use talkfleet_shared::chat::ModelUse;

use super::{Side, Triple, conversations, drive::Missing, folder::Folder, report::Sides};

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
    seconds: f64,
    turns_per_second: f64,
    /// Turns that a side never answered.
    missing: Sides<u64>,
    recordings: Recordings,
}

/// What models had said, and how often that did not fit any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Recordings {
    kept: u64,
    missed: Sides<u64>,
}

impl Facts {
    pub(super) fn new(folder: &Folder, resumed: usize) -> Self {
        Self {
            run: folder.run.id.clone(),
            stretch: folder.run.stretch.to_string(),
            folder: folder.path().display().to_string(),
            turns: folder.turns.len(),
            conversations: conversations::conversations(&folder.turns).len(),
            model: folder.run.model,
            resumed,
            seconds: 0.0,
            turns_per_second: 0.0,
            missing: Sides::default(),
            recordings: Recordings::default(),
        }
    }

    /// How long this start took.
    pub(super) fn asked(&mut self, missing: Missing, elapsed: Duration) {
        let lost: u64 = missing.values().sum();
        let asked = (self.turns * Side::COMPARED.len() - self.resumed) as u64 - lost;
        self.seconds = elapsed.as_secs_f64();
        self.turns_per_second = asked as f64 / self.seconds.max(f64::MIN_POSITIVE);
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
        writeln!(f, "asked in {:.1} s, {:.0} turns a second", self.seconds, self.turns_per_second)?;
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
