//! Looks an intents file over before training: texts that two intents claim or nearly claim, repeated lines, lines of the
//! test set, and intents too thin to be learnt.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::IntentSet;
use crate::encoder::cosine;
use crate::text;

/// Cross-validation deals an intent's examples into five parts: below five, some part holds none.
const EXAMPLES_MIN: usize = 5;

/// Cosine from which two examples say the same in other words.
pub const NEAR_FROM: f32 = 0.97;

/// Pairs of near examples that are told: who has more has one cause for many of them.
pub const NEAR_MAX: usize = 50;

/// The nearest examples that must agree on another intent before one is called misplaced, and how much nearer they are in
/// the mean than the nearest of its own.
const NEIGHBOURS: usize = 3;
const NEARER_BY: f32 = 0.05;

/// Misplaced examples that are told.
pub const MISPLACED_MAX: usize = 50;

/// Something a person should look at; training goes on.
#[derive(Debug, PartialEq)]
pub enum Warning {
    /// The same text, up to case, spacing and punctuation, stands under several intents.
    Claimed { text: String, intents: Vec<String> },
    /// A line of the test set stands among the examples: figures measured on it say nothing.
    Leaked { text: String },
    /// Two intents' examples that mean the same as far as the encoder can tell.
    Near { text: String, intent: String, other: String, other_intent: String, cosine: f32 },
    /// The same text several times under one intent.
    Repeated { text: String, intent: String, times: usize },
    /// Fewer than five examples.
    Thin { intent: String, examples: usize },
    /// An intent that is named but never exemplified.
    Empty { intent: String },
    /// An example whose neighbours are all of another intent.
    Misplaced { text: String, intent: String, looks_like: String, neighbour: String },
    /// Fewer than two intents have examples: training refuses it.
    Alone { intents: usize },
}

impl Warning {
    /// Whether figures or answers are wrong as long as it stands; the rest is advice.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Claimed { .. } | Self::Leaked { .. } | Self::Alone { .. })
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Claimed { text, intents } => {
                write!(f, "{text:?} stands under {}: keep it under one of them", intents.join(" and "))
            }
            Self::Leaked { text } => write!(f, "{text:?} stands in the test set too: take it out of one of them"),
            Self::Near { text, intent, other, other_intent, cosine } => write!(
                f,
                "{text:?} under {intent} says the same as {other:?} under {other_intent} ({cosine:.2}): is one of them misplaced?"
            ),
            Self::Repeated { text, intent, times } => {
                write!(f, "{text:?} stands {times} times under {intent}: once is enough")
            }
            Self::Thin { intent, examples } => {
                write!(f, "{intent} has {examples} example(s): give it at least {EXAMPLES_MIN} per language")
            }
            Self::Misplaced { text, intent, looks_like, neighbour } => write!(
                f,
                "{text:?} under {intent} looks like {looks_like} (\"{neighbour}\" and others): is it misplaced?"
            ),
            Self::Alone { intents } => {
                write!(
                    f,
                    "{intents} intent(s) with examples: a model tells at least two apart, so add examples of another"
                )
            }
            Self::Empty { intent } => write!(f, "{intent} has no example and will never be recognised"),
        }
    }
}

/// All warnings about a set that need no model, in a stable order.
pub fn review(set: &IntentSet) -> Vec<Warning> {
    let mut claims: BTreeMap<String, Claim<'_>> = BTreeMap::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (text, intent) in lines(set) {
        *counts.entry(intent).or_default() += 1;
        *claims.entry(key(text)).or_insert_with(|| Claim::new(text)).times.entry(intent).or_default() += 1;
    }
    let (claimed, alone): (Vec<Claim<'_>>, Vec<Claim<'_>>) =
        claims.into_values().partition(|claim| claim.times.len() > 1);
    let claimed = claimed.into_iter().map(|claim| Warning::Claimed {
        text: claim.text.to_owned(),
        intents: claim.times.into_keys().map(str::to_owned).collect(),
    });
    let repeated = alone.into_iter().flat_map(|claim| {
        let again = claim.times.into_iter().filter(|(_, times)| *times > 1);
        again.map(move |(intent, times)| Warning::Repeated { text: claim.text.into(), intent: intent.into(), times })
    });
    let thin = set.intents.iter().filter_map(|intent| {
        let name = intent.name.clone();
        match counts.get(name.as_str()).copied().unwrap_or_default() {
            0 => Some(Warning::Empty { intent: name }),
            examples if examples < EXAMPLES_MIN => Some(Warning::Thin { intent: name, examples }),
            _ => None,
        }
    });
    let taught = set.examples.iter().map(|example| example.intent.as_str()).collect::<HashSet<_>>().len();
    let alone = (taught < 2).then_some(Warning::Alone { intents: taught });
    alone.into_iter().chain(claimed).chain(repeated).chain(thin).collect()
}

/// Examples that look like another intent, the surest first, at most [`MISPLACED_MAX`]: of the [`NEIGHBOURS`] nearest
/// other examples none is of their own intent and all are of one other, clearly nearer than the own intent's best.
pub fn misplaced(set: &IntentSet, embeddings: &[Vec<f32>]) -> Vec<Warning> {
    let examples = &set.examples;
    let mut found: Vec<(f32, Warning)> = Vec::new();
    for (at, (example, embedding)) in examples.iter().zip(embeddings).enumerate() {
        let (mut nearest, mut own): (Vec<(f32, usize)>, f32) = (Vec::new(), 0.0);
        for (other, other_embedding) in embeddings.iter().enumerate().take(examples.len()) {
            if other == at {
                continue;
            }
            let cosine = cosine(embedding, other_embedding);
            if examples[other].intent == example.intent {
                own = own.max(cosine);
            }
            let place = nearest.iter().position(|(found, _)| cosine > *found).unwrap_or(nearest.len());
            if place < NEIGHBOURS {
                nearest.insert(place, (cosine, other));
                nearest.truncate(NEIGHBOURS);
            }
        }
        let Some((_, first)) = nearest.first() else { continue };
        let looks_like = &examples[*first].intent;
        let agree =
            nearest.len() == NEIGHBOURS && nearest.iter().all(|(_, other)| examples[*other].intent == *looks_like);
        let mean = nearest.iter().map(|(cosine, _)| cosine).sum::<f32>() / NEIGHBOURS as f32;
        if agree && *looks_like != example.intent && mean - own >= NEARER_BY {
            let warning = Warning::Misplaced {
                text: example.text.clone(),
                intent: example.intent.clone(),
                looks_like: looks_like.clone(),
                neighbour: examples[*first].text.clone(),
            };
            found.push((mean - own, warning));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(MISPLACED_MAX);
    found.into_iter().map(|(_, warning)| warning).collect()
}

/// The lines of a test set that the examples hold, up to case, spacing and punctuation.
pub fn leaks(set: &IntentSet, test: &IntentSet) -> Vec<Warning> {
    let known: HashSet<String> = lines(set).map(|(text, _)| key(text)).collect();
    let mut told = HashSet::new();
    let leaked = lines(test).filter(|(text, _)| known.contains(&key(text)) && told.insert(key(text)));
    leaked.map(|(text, _)| Warning::Leaked { text: text.to_owned() }).collect()
}

/// Pairs of examples of different intents that mean the same, nearest first, at most [`NEAR_MAX`]. `embeddings` are the
/// examples' in their order. What is claimed outright is [`review`]'s to tell.
pub fn near(set: &IntentSet, embeddings: &[Vec<f32>]) -> Vec<Warning> {
    let examples: Vec<_> = set.examples.iter().zip(embeddings).collect();
    let mut found = Vec::new();
    for (at, (example, embedding)) in examples.iter().enumerate() {
        for (other, other_embedding) in &examples[at + 1..] {
            if example.intent == other.intent {
                continue;
            }
            let cosine = cosine(embedding, other_embedding);
            if cosine >= NEAR_FROM && key(&example.text) != key(&other.text) {
                found.push((cosine, *example, *other));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(NEAR_MAX);
    let warning = |(cosine, example, other): (f32, &super::Example, &super::Example)| Warning::Near {
        text: example.text.clone(),
        intent: example.intent.clone(),
        other: other.text.clone(),
        other_intent: other.intent.clone(),
        cosine,
    };
    found.into_iter().map(warning).collect()
}

/// Who claims a text, and how often.
struct Claim<'a> {
    text: &'a str,
    times: BTreeMap<&'a str, usize>,
}

impl<'a> Claim<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, times: BTreeMap::new() }
    }
}

/// All texts with their intents, those out of scope too.
fn lines(set: &IntentSet) -> impl Iterator<Item = (&str, &str)> {
    let labelled = set.examples.iter().map(|example| (example.text.as_str(), example.intent.as_str()));
    labelled.chain(set.out_of_scope.iter().map(|text| (text.as_str(), "out of scope")))
}

/// A text without what a person would overlook.
fn key(text: &str) -> String {
    text::normalise(text).chars().filter(|c| c.is_alphanumeric() || *c == ' ').collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::DIMENSIONS;
    use crate::intent::{Intent, parse};

    fn set(lines: &[(&str, &str)]) -> IntentSet {
        let line =
            |(text, intent): &(&str, &str)| serde_json::json!({ "text": text, "intent": intent }).to_string() + "\n";
        parse(&lines.iter().map(line).collect::<String>()).unwrap()
    }

    #[test]
    fn it_finds_what_a_person_overlooks() {
        let mut set =
            set(&[("Where is it?", "track"), ("where  is it", "find"), ("find me", "find"), ("Find me!", "find")]);
        set.intents.push(Intent { name: "never".into(), ..Default::default() });
        let found: Vec<String> = review(&set).iter().map(Warning::to_string).collect();
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found[0].contains("find and track"));
        assert!(found[1].contains("2 times under find"));
        assert!(found[2].contains("track has 1 example"));
        assert!(found[4].contains("never has no example"));
    }

    #[test]
    fn lines_of_the_test_set_are_told_once() {
        let train = set(&[("Where is it?", "track"), ("hello", "greet")]);
        let test = set(&[("where is it", "track"), ("WHERE is it", "track"), ("bye", "greet")]);
        assert_eq!(leaks(&train, &test), [Warning::Leaked { text: "where is it".into() }]);
        assert!(leaks(&train, &set(&[("bye", "greet")])).is_empty());
    }

    #[test]
    fn an_example_among_another_intents_is_misplaced() {
        let set = set(&[
            ("window seat please", "cancel"),
            ("a seat at the window", "seat"),
            ("a seat on the aisle", "seat"),
            ("seats together", "seat"),
            ("cancel it", "cancel"),
            ("call it off", "cancel"),
            ("undo my order", "cancel"),
        ]);
        let side = |at: usize| -> Vec<f32> { (0..DIMENSIONS).map(|k| if k == at { 1.0 } else { 0.0 }).collect() };
        let embeddings: Vec<Vec<f32>> = (0..7).map(|at| side(usize::from(at > 3))).collect();
        let found = misplaced(&set, &embeddings);
        let [Warning::Misplaced { text, looks_like, .. }] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((text.as_str(), looks_like.as_str()), ("window seat please", "seat"));
        assert!(misplaced(&set, &vec![side(0); 7]).is_empty(), "where all are alike nothing is misplaced");
        assert!(misplaced(&set, &[]).is_empty());
    }

    #[test]
    fn one_intent_is_a_conflict() {
        let found = review(&set(&[("a", "x"), ("b", "x")]));
        assert!(found[0].is_conflict() && found[0].to_string().starts_with("1 intent(s) with examples"), "{found:?}");
    }

    #[test]
    fn near_pairs_are_those_of_different_intents() {
        let set = set(&[("where is it", "track"), ("where has it got to", "find"), ("where might it be", "track")]);
        let unit: Vec<f32> = (0..DIMENSIONS).map(|at| if at == 0 { 1.0 } else { 0.0 }).collect();
        let far: Vec<f32> = (0..DIMENSIONS).map(|at| if at == 1 { 1.0 } else { 0.0 }).collect();
        let found = near(&set, &[unit.clone(), unit.clone(), unit.clone()]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            near(&set, &[unit, far.clone(), far])
                .iter()
                .all(|warning| matches!(warning, Warning::Near { intent, .. } if intent == "find"))
        );
    }
}
