//! PURE: what changed, in plain sentences, each with the turns that it explains and what followed from it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

pub use crate::page::grouped;

use super::{
    causes::Cause,
    compare::Turn,
    explain::Finding,
    stage::{Relation, Stage},
    stats::{more_than, percentile},
};

/// The most examples of a change, and the most targets named in its sentence.
const EXAMPLES_MAX: usize = 3;

/// How much further apart answers must read than the baseline's own before that is worth a sentence, in the median.
const DRIFT_MIN: f64 = 0.02;

/// How rarely chance alone may have answers called further apart.
const DRIFT_LEVEL: f64 = 0.01;

/// One thing that changed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Change {
    /// The first stage that differs in its turns.
    pub stage: Stage,
    /// What changed; names out of the data stand in backticks.
    pub sentence: String,
    /// Turns that are told under this change and no other.
    pub turns: usize,
    /// Those of them in which the customer sees something else.
    pub seen: usize,
    /// Turns in which the baseline's second run shows the same beside its first.
    pub noise: usize,
    /// How likely noise alone shows it at least this often.
    pub chance: f64,
    /// What differs at later stages of these turns, by stage.
    pub followed_by: BTreeMap<&'static str, usize>,
    pub examples: Vec<Example>,
}

/// A turn to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Example {
    pub request: String,
    pub question: String,
}

impl Example {
    pub fn of(turn: &Turn<'_>) -> Self {
        let original = &turn.triple.original;
        Self { request: original.request.to_string(), question: original.ask.text.as_str().to_owned() }
    }
}

impl Change {
    pub fn of(finding: &Finding<'_>, turns: &[Turn<'_>]) -> Self {
        let own: Vec<&Turn<'_>> = finding.turns.iter().map(|i| &turns[*i]).collect();
        let mut followed_by = BTreeMap::new();
        for stage in Stage::ALL.into_iter().filter(|stage| *stage > finding.stage) {
            let count = own.iter().filter(|turn| turn.relation(stage).differs()).count();
            if count > 0 {
                followed_by.insert(stage.name(), count);
            }
        }
        Self {
            stage: finding.stage,
            sentence: sentence(finding, &own, turns),
            turns: own.len(),
            seen: own.iter().filter(|turn| turn.is_seen()).count(),
            noise: finding.noise,
            chance: finding.chance,
            followed_by,
            examples: own.iter().take(EXAMPLES_MAX).map(|turn| Example::of(turn)).collect(),
        }
    }
}

/// What a wobbling baseline hides from the comparison turn by turn: answers that all differ, the candidate's more than the
/// baseline's own. A sign test: were there no change, each of the two would be the further one as often as the other.
pub fn drift(turns: &[Turn<'_>]) -> Option<Change> {
    let wobbling = |turn: &&Turn<'_>| {
        turn.relation(Stage::Text).is_noise()
            && turn.relations[..Stage::Text as usize].iter().all(|relation| *relation == Relation::AllSame)
    };
    let wobbling: Vec<&Turn<'_>> = turns.iter().filter(wobbling).collect();
    let pairs: Vec<(&Turn<'_>, f64, f64)> = wobbling
        .iter()
        .filter_map(|turn| Some((*turn, turn.to_candidate?.similarity, turn.to_second?.similarity)))
        .collect();
    let further: Vec<&Turn<'_>> = pairs.iter().filter(|(_, c, b)| c < b).map(|(turn, ..)| *turn).collect();
    let closer = pairs.iter().filter(|(_, c, b)| c > b).count();
    let median = |pick: fn(&(&Turn<'_>, f64, f64)) -> f64| {
        let mut values: Vec<f64> = pairs.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        percentile(&values, 0.5)
    };
    let (candidate, second) = (median(|pair| pair.1), median(|pair| pair.2));
    let chance = more_than(further.len(), closer);
    (chance < DRIFT_LEVEL && second - candidate > DRIFT_MIN).then(|| Change {
        stage: Stage::Text,
        sentence: format!(
            "answers read further from the baseline than its own two runs from one another: median similarity \
             {candidate:.2}, between the runs {second:.2}"
        ),
        turns: further.len(),
        seen: further.len(),
        noise: closer,
        chance,
        followed_by: BTreeMap::new(),
        examples: further.iter().take(EXAMPLES_MAX).map(|turn| Example::of(turn)).collect(),
    })
}

fn sentence(finding: &Finding<'_>, own: &[&Turn<'_>], all: &[Turn<'_>]) -> String {
    let n = turns(own.len());
    let had = |has: &dyn Fn(&Turn<'_>) -> bool| all.iter().filter(|turn| turn.is_compared() && has(turn)).count();
    let cited = |key: &str| own.iter().filter(|turn| turn.c.citations.contains(&key)).count();
    let text = match finding.cause {
        Cause::Ending { from, to } if to.name == "missing" => format!("{n} that were `{from}` got no answer at all"),
        Cause::Ending { from, to } => format!("{n} that were `{from}` are now `{to}`"),
        Cause::Away { role } => format!("`{role}` was away in {n}"),
        Cause::Back { role } => format!("`{role}` is no longer away in {n}"),
        Cause::Language { from, to } => format!("language `{from}` is now taken for `{to}` in {n}"),
        Cause::Intent { from, to } => {
            let of = had(&|turn| turn.a.intent == from);
            format!("intent `{from}` is now `{to}` in {} of {} that had it", own.len(), turns(of))
        }
        Cause::IntentGone { from } => {
            format!("intent `{from}` is gone: its {n} are now {}", tally(own.iter().map(|turn| turn.c.intent)))
        }
        Cause::IntentNew { to } => {
            format!("new intent `{to}` takes {n}, from {}", tally(own.iter().map(|turn| turn.a.intent)))
        }
        Cause::ArticleGone { article } => {
            let lost: Vec<_> = own.iter().copied().filter(|turn| turn.a.citations.contains(&article)).collect();
            format!("article `{article}` is gone: {n} had found it, {} cited it{}", grouped(lost.len()), instead(&lost))
        }
        Cause::ArticleNew { article } => {
            format!("new article `{article}` is found in {n}, cited in {}", cited(article))
        }
        Cause::ArticleEdited { article } => format!("article `{article}` was edited: {n} found what changed in it"),
        Cause::CitedNoMore { article } => {
            let of = had(&|turn| turn.a.citations.contains(&article));
            let instead = instead(own);
            format!("article `{article}` is no longer cited in {} of {} that cited it{instead}", own.len(), turns(of))
        }
        Cause::CitedNew { article } => format!("article `{article}` is newly cited in {n}"),
        Cause::CitedInOrder => format!("the same articles are cited in another order in {n}"),
        Cause::Found => format!("other passages are found, or in another order, in {n}"),
        Cause::Kind { from, to } => {
            let of = had(&|turn| turn.a.kind.is_some_and(|kind| kind.name() == from));
            format!("`{from}` is now `{to}` in {} of {} of that kind", own.len(), turns(of))
        }
        Cause::Voice { from, to } if from.rung != to.rung && !to.without_model && !from.without_model => {
            format!("answers by rung `{}` → `{}`: {n}", from.rung, to.rung)
        }
        Cause::Voice { from, to } => format!("answers by rung `{from}` → `{to}`: {n}"),
        Cause::Wording { intent: Some(intent), .. } => {
            format!("the prepared answer to `{intent}` reads differently in {n}")
        }
        Cause::Wording { rung, intent: None } => {
            format!("answers by `{rung}` read differently in {n} (median similarity {:.2})", likeness(own))
        }
    };
    if finding.noise == 0 { text } else { format!("{text} (noise {})", finding.noise) }
}

/// `1 turn`, `12 turns`.
pub fn turns(n: usize) -> String {
    format!("{} turn{}", grouped(n), if n == 1 { "" } else { "s" })
}

fn likeness(own: &[&Turn<'_>]) -> f64 {
    let mut values: Vec<f64> = own.iter().filter_map(|turn| Some(turn.to_candidate?.similarity)).collect();
    values.sort_by(f64::total_cmp);
    percentile(&values, 0.5)
}

/// What stands in the place of a citation: `` ; instead `/b` (7), `refusal` (5) ``.
fn instead(lost: &[&Turn<'_>]) -> String {
    let now = lost.iter().filter_map(|turn| {
        let new = turn.c.citations.iter().find(|key| !turn.a.citations.contains(key)).copied();
        new.or(turn.c.kind.filter(|kind| turn.a.kind != Some(*kind)).map(|kind| kind.name()))
    });
    let now = tally(now);
    if now.is_empty() { now } else { format!("; instead {now}") }
}

/// The most frequent first: `` `a` (20), `b` (10), 3 others ``.
fn tally<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest: usize = counts.iter().skip(EXAMPLES_MAX).map(|(_, count)| count).sum();
    let mut named: Vec<String> =
        counts.iter().take(EXAMPLES_MAX).map(|(name, count)| format!("`{name}` ({count})")).collect();
    if rest > 0 {
        named.push(format!("{rest} others"));
    }
    named.join(", ")
}
