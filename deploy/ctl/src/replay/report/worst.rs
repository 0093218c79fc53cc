//! PURE: the turns that changed most, worst first, with both sides' answers and where they differ.

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    alike::jaccard,
    compare::{Reading, Turn, answer_of, cited_as, text_of},
    diff::{Piece, diff},
    stage::{Class, Stage},
};

/// A changed turn, side by side.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Case {
    pub request: String,
    pub conversation: String,
    pub question: String,
    pub root: Stage,
    /// Every stage at which the candidate differs.
    pub stages: Vec<Stage>,
    /// How bad it is, 0 to 10,000; see [`severity`].
    pub severity: u32,
    /// The change that it is told under: an index into the report's `changes`, unless noise could explain that.
    pub change: Option<usize>,
    pub similarity: Option<f64>,
    pub baseline: Shown,
    pub candidate: Shown,
    /// From the baseline's text to the candidate's.
    pub text_diff: Vec<Piece>,
}

/// One side of a case.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Shown {
    pub outcome: String,
    pub language: String,
    pub intent: String,
    pub confidence: f32,
    pub kind: String,
    pub voice: String,
    pub degraded: Vec<String>,
    pub citations: Vec<Source>,
    pub passages: Vec<Source>,
    pub total_ms: f64,
    pub text: String,
}

/// A citation or a passage.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Source {
    /// The address of a citation, the id of a passage.
    pub id: String,
    pub title: String,
    pub score: f32,
}

/// The worst cases: of each change at least its share, so that one that touches thousands leaves room for the others; the
/// rest by severity, then by how unlike the texts are, then as they were asked.
pub fn worst(turns: &[Turn<'_>], classes: &[Class], changes: &HashMap<usize, usize>, most: usize) -> Vec<Case> {
    let mut ranked: Vec<(u32, usize)> = (0..turns.len())
        .filter(|i| matches!(classes[*i], Class::Changed(_)))
        .map(|i| (severity(&turns[i]), i))
        .collect();
    ranked.sort_by_key(|(severity, i)| (std::cmp::Reverse(*severity), *i));
    let kinds = ranked.iter().map(|(_, i)| changes.get(i)).collect::<HashSet<_>>().len();
    let share = most.div_ceil(kinds.max(1));
    let mut taken: HashMap<Option<&usize>, usize> = HashMap::new();
    let (mut chosen, mut rest) = (Vec::new(), Vec::new());
    for (severity, i) in ranked {
        let count = taken.entry(changes.get(&i)).or_default();
        *count += 1;
        if *count <= share { chosen.push((severity, i)) } else { rest.push((severity, i)) }
    }
    chosen.truncate(most);
    chosen.extend(rest.into_iter().take(most - chosen.len()));
    chosen.sort_by_key(|(severity, i)| (std::cmp::Reverse(*severity), *i));
    let root = |i: usize| if let Class::Changed(root) = classes[i] { root } else { Stage::Text };
    let case = |(severity, i): (u32, usize)| case(&turns[i], root(i), severity, changes.get(&i).copied());
    chosen.into_iter().map(case).collect()
}

/// How bad a change is for the customer. What no longer ends as it did weighs most (4,000), then another kind of answer
/// (2,000) and another language (1,500), then the share of citations that went or came (1,000), then how unlike the texts
/// are (900), a role away (300), another speaker (100), another intent (100), other passages (up to 50).
pub fn severity(turn: &Turn<'_>) -> u32 {
    let differs = |stage: Stage| turn.relation(stage).differs();
    let (a, c) = (&turn.a, &turn.c);
    let mut sum = 0.0;
    for (stage, weight) in [
        (Stage::Outcome, 4_000.0),
        (Stage::Kind, 2_000.0),
        (Stage::Language, 1_500.0),
        (Stage::Degraded, 300.0),
        (Stage::Rung, 100.0),
        (Stage::Intent, 100.0),
    ] {
        sum += if differs(stage) { weight } else { 0.0 };
    }
    if differs(Stage::Citations) {
        sum += 1_000.0 * (1.0 - jaccard(&a.citations, &c.citations)).max(0.1);
    }
    if let Some(distance) = turn.to_candidate {
        sum += 900.0 * (1.0 - distance.similarity) + 50.0 * (1.0 - distance.rank_biased_overlap);
    }
    sum.round() as u32
}

fn case(turn: &Turn<'_>, root: Stage, severity: u32, change: Option<usize>) -> Case {
    let original = &turn.triple.original;
    let (baseline, candidate) = (Shown::of(&turn.a), Shown::of(&turn.c));
    let stages = Stage::ALL.into_iter().filter(|stage| turn.relation(*stage).differs()).collect();
    Case {
        request: original.request.to_string(),
        conversation: original.conversation.to_string(),
        question: original.ask.text.as_str().to_owned(),
        root,
        stages,
        severity,
        change,
        similarity: turn.to_candidate.map(|distance| distance.similarity),
        text_diff: diff(&baseline.text, &candidate.text),
        baseline,
        candidate,
    }
}

impl Shown {
    fn of(reading: &Reading<'_>) -> Self {
        let record = reading.record;
        let answer = record.and_then(answer_of);
        let cited = answer.map(|answer| &answer.citations).or(record.and_then(|record| record.sources.as_ref()));
        let source = |id: &str, title: &str, score| Source { id: id.into(), title: title.into(), score };
        Self {
            outcome: reading.ending.to_string(),
            language: record.map_or("", |record| record.language.code()).into(),
            intent: reading.intent.into(),
            confidence: record.map_or(0.0, |record| record.intent.confidence),
            kind: reading.kind.map_or("", |kind| kind.name()).into(),
            voice: reading.voice.map_or(String::new(), |voice| voice.to_string()),
            degraded: reading.degraded.iter().map(|role| (*role).to_owned()).collect(),
            citations: cited.into_iter().flatten().map(|c| source(cited_as(c), &c.title, c.score)).collect(),
            passages: reading.passages.iter().map(|p| source(&p.id, &p.title, p.score)).collect(),
            total_ms: record.map_or(0.0, |record| record.timings.total_ms),
            text: record.map_or("", text_of).to_owned(),
        }
    }
}
