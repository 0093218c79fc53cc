//! PURE: a turn as it is compared, and how its three answers stand to one another, stage by stage.

use std::fmt;

use talkfleet_shared::chat::{Answer, Citation, Kind, Outcome, Passage, Rung, TurnRecord};

use super::{
    alike::{dice, jaccard, normalised, rank_biased_overlap},
    stage::{Relation, Relations, Stage},
};
use crate::replay::Triple;

/// The role whose absence shows at the rung, not before the intent.
const MODEL: &str = "model";

/// How a turn ended, with the code when that was a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ending {
    pub name: &'static str,
    pub code: Option<&'static str>,
}

impl Ending {
    /// No record came.
    pub const MISSING: Self = Self { name: "missing", code: None };

    pub fn is_answered(self) -> bool {
        self.name == "answered"
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{} ({code})", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// Who spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Voice<'a> {
    pub rung: &'static str,
    /// The model's name, when one spoke and said what it charged.
    pub model: Option<&'a str>,
    /// Whether a model would have spoken, had it been there.
    pub without_model: bool,
}

impl Voice<'_> {
    /// Two models differ only when both are known by name.
    fn is(self, other: Self) -> bool {
        let models = self.model.zip(other.model).is_none_or(|(a, b)| a == b);
        self.rung == other.rung && self.without_model == other.without_model && models
    }
}

impl fmt::Display for Voice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rung)?;
        if let Some(model) = self.model {
            write!(f, " {model}")?;
        }
        if self.without_model { f.write_str(" (model away)") } else { Ok(()) }
    }
}

/// One side's record of a turn, read once for all comparisons.
#[derive(Debug, Clone)]
pub struct Reading<'a> {
    pub record: Option<&'a TurnRecord>,
    pub ending: Ending,
    /// Roles that were away, the model apart.
    pub degraded: Vec<&'a str>,
    pub intent: &'a str,
    pub passages: &'a [Passage],
    pub citations: Vec<&'a str>,
    pub kind: Option<Kind>,
    pub voice: Option<Voice<'a>>,
    /// The normalised text.
    pub text: String,
}

impl<'a> Reading<'a> {
    pub fn of(record: Option<&'a TurnRecord>) -> Self {
        let Some(record) = record else { return Self::missing() };
        let answer = answer_of(record);
        let away = answer.map_or(&[][..], |answer| &answer.degraded);
        let cited = answer.map(|answer| &answer.citations).or(record.sources.as_ref());
        Self {
            record: Some(record),
            ending: ending_of(&record.outcome),
            degraded: away.iter().map(String::as_str).filter(|role| *role != MODEL).collect(),
            intent: &record.intent.name,
            passages: &record.passages,
            citations: cited.into_iter().flatten().map(cited_as).collect(),
            kind: answer.map(|answer| answer.kind),
            voice: answer.map(|answer| Voice {
                rung: answer.rung.name(),
                model: model_of(record, answer),
                without_model: away.iter().any(|role| role == MODEL),
            }),
            text: normalised(text_of(record)),
        }
    }

    fn missing() -> Self {
        Self {
            record: None,
            ending: Ending::MISSING,
            degraded: Vec::new(),
            intent: "",
            passages: &[],
            citations: Vec::new(),
            kind: None,
            voice: None,
            text: String::new(),
        }
    }

    /// The articles of the passages, in their order, each as often as it was found.
    pub fn articles(&self) -> impl Iterator<Item = &'a str> {
        self.passages.iter().map(article)
    }

    fn is(&self, other: &Self, stage: Stage) -> bool {
        match stage {
            Stage::Outcome => self.ending == other.ending,
            Stage::Degraded => self.degraded == other.degraded,
            Stage::Language => self.record.map(|r| r.language) == other.record.map(|r| r.language),
            Stage::Intent => self.intent == other.intent,
            Stage::Passages => {
                let pairs = || self.passages.iter().zip(other.passages);
                self.passages.len() == other.passages.len() && pairs().all(|(a, b)| a.id == b.id && a.text == b.text)
            }
            Stage::Citations => self.citations == other.citations,
            Stage::Kind => self.kind == other.kind,
            Stage::Rung => match (self.voice, other.voice) {
                (Some(a), Some(b)) => a.is(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            Stage::Text => self.text == other.text,
        }
    }
}

/// How far one reading is from another, where both are answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    pub similarity: f64,
    /// Of the passages' ids.
    pub jaccard: f64,
    pub rank_biased_overlap: f64,
    /// The other's length over this one's, in characters.
    pub length_ratio: f64,
    /// The other's confidence in its intent minus this one's.
    pub confidence: f64,
}

impl Distance {
    fn between(from: &Reading<'_>, to: &Reading<'_>) -> Option<Self> {
        let (a, b) = from.record.zip(to.record).filter(|_| from.ending.is_answered() && to.ending.is_answered())?;
        let ids = |reading: &Reading<'_>| reading.passages.len();
        let same = ids(from) == ids(to) && from.passages.iter().zip(to.passages).all(|(a, b)| a.id == b.id);
        let (overlap, ranked) = if same { (1.0, 1.0) } else { overlaps(&a.passages, &b.passages) };
        let length = |reading: &Reading<'_>| reading.text.chars().count().max(1) as f64;
        Some(Self {
            similarity: dice(&from.text, &to.text),
            jaccard: overlap,
            rank_biased_overlap: ranked,
            length_ratio: length(to) / length(from),
            confidence: f64::from(b.intent.confidence) - f64::from(a.intent.confidence),
        })
    }
}

fn overlaps(a: &[Passage], b: &[Passage]) -> (f64, f64) {
    let [a, b] = [a, b].map(|passages| passages.iter().map(|p| p.id.as_str()).collect::<Vec<_>>());
    (jaccard(&a, &b), rank_biased_overlap(&a, &b))
}

/// A turn with its three readings.
#[derive(Debug, Clone)]
pub struct Turn<'a> {
    pub triple: &'a Triple,
    pub a: Reading<'a>,
    pub b: Reading<'a>,
    pub c: Reading<'a>,
    pub relations: Relations,
    pub to_candidate: Option<Distance>,
    pub to_second: Option<Distance>,
}

impl<'a> Turn<'a> {
    pub fn of(triple: &'a Triple) -> Self {
        let [a, b, c] = [&triple.baseline_a, &triple.baseline_b, &triple.candidate].map(|r| Reading::of(r.as_ref()));
        let relations = relate(&a, &b, &c);
        let (to_candidate, to_second) = (Distance::between(&a, &c), Distance::between(&a, &b));
        Self { triple, a, b, c, relations, to_candidate, to_second }
    }

    /// Whether both runs of the baseline have a record, so that noise can be told from change.
    pub fn is_compared(&self) -> bool {
        self.a.record.is_some() && self.b.record.is_some()
    }

    pub fn relation(&self, stage: Stage) -> Relation {
        self.relations[stage as usize]
    }

    /// Whether the customer would see something else than before: another end, kind, source or text.
    pub fn is_seen(&self) -> bool {
        Stage::ALL.into_iter().any(|stage| stage.is_seen() && !self.a.is(&self.c, stage))
    }
}

fn relate(a: &Reading<'_>, b: &Reading<'_>, c: &Reading<'_>) -> Relations {
    let one_end = a.ending == b.ending && a.ending == c.ending;
    Stage::ALL.map(|stage| match (a.is(b, stage), a.is(c, stage)) {
        _ if stage != Stage::Outcome && !one_end => Relation::NotCompared,
        (true, true) => Relation::AllSame,
        (true, false) => Relation::CandidateOdd,
        (false, true) => Relation::SecondOdd,
        (false, false) if b.is(c, stage) => Relation::FirstOdd,
        (false, false) => Relation::AllDiffer,
    })
}

/// What an article is known by: its address, else its name in the base.
pub fn article(passage: &Passage) -> &str {
    if passage.url.is_empty() { &passage.document } else { &passage.url }
}

/// What a citation is known by: its address, else its title.
pub fn cited_as(citation: &Citation) -> &str {
    if citation.url.is_empty() { &citation.title } else { &citation.url }
}

pub fn answer_of(record: &TurnRecord) -> Option<&Answer> {
    match &record.outcome {
        Outcome::Answered { answer } => Some(answer),
        _ => None,
    }
}

/// What the customer read of a turn, however it ended.
pub fn text_of(record: &TurnRecord) -> &str {
    match &record.outcome {
        Outcome::Answered { answer } => &answer.text,
        Outcome::Cancelled { text, .. } => text,
        Outcome::Failed { .. } | Outcome::Expired { .. } => &record.spoken,
    }
}

fn model_of<'a>(record: &'a TurnRecord, answer: &'a Answer) -> Option<&'a str> {
    let usage = answer.usage.as_ref().or(record.usage.as_ref()).filter(|_| answer.rung == Rung::Model)?;
    Some(usage.model.as_str()).filter(|model| !model.is_empty())
}

fn ending_of(outcome: &Outcome) -> Ending {
    let code = match outcome {
        Outcome::Failed { problem } => Some(problem.code.word()),
        Outcome::Answered { .. } | Outcome::Expired { .. } | Outcome::Cancelled { .. } => None,
    };
    Ending { name: outcome.name(), code }
}
