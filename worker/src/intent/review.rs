//! Looks an intents file over before training: texts that two intents claim, and intents too thin to be learnt.

use std::collections::{BTreeMap, HashMap};

use super::IntentSet;
use crate::text;

/// Cross-validation deals an intent's examples into five parts: below five, some part holds none.
const EXAMPLES_MIN: usize = 5;

/// Something a person should look at; training goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Warning {
    /// The same text, up to case and spacing, stands under several intents.
    Claimed { text: String, intents: Vec<String> },
    /// Fewer than five examples.
    Thin { intent: String, examples: usize },
    /// An intent that is named but never exemplified.
    Empty { intent: String },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Claimed { text, intents } => {
                write!(f, "{text:?} stands under {}: keep it under one of them", intents.join(" and "))
            }
            Self::Thin { intent, examples } => {
                write!(f, "{intent} has {examples} example(s): give it at least {EXAMPLES_MIN} per language")
            }
            Self::Empty { intent } => write!(f, "{intent} has no example and will never be recognised"),
        }
    }
}

/// All warnings about a set, in a stable order.
pub fn review(set: &IntentSet) -> Vec<Warning> {
    let mut claims: BTreeMap<String, (&str, Vec<&str>)> = BTreeMap::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let labelled = set.examples.iter().map(|example| (example.text.as_str(), example.intent.as_str()));
    for (text, intent) in labelled.chain(set.out_of_scope.iter().map(|text| (text.as_str(), "out of scope"))) {
        *counts.entry(intent).or_default() += 1;
        let words: Vec<_> = text::normalise(text).chars().filter(|c| c.is_alphanumeric() || *c == ' ').collect();
        let (_, intents) = claims.entry(words.iter().collect()).or_insert((text, Vec::new()));
        if !intents.contains(&intent) {
            intents.push(intent);
        }
    }
    let claimed = claims.into_values().filter(|(_, intents)| intents.len() > 1).map(|(text, intents)| {
        Warning::Claimed { text: text.to_owned(), intents: intents.into_iter().map(str::to_owned).collect() }
    });
    let thin = set.intents.iter().filter_map(|intent| {
        let name = intent.name.clone();
        match counts.get(name.as_str()).copied().unwrap_or_default() {
            0 => Some(Warning::Empty { intent: name }),
            examples if examples < EXAMPLES_MIN => Some(Warning::Thin { intent: name, examples }),
            _ => None,
        }
    });
    claimed.chain(thin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_a_person_overlooks() {
        let file =
            "{\"text\": \"Where is it?\", \"intent\": \"track\"}\n{\"text\": \"where  is it\", \"intent\": \"find\"}\n";
        let mut set = super::super::parse(file).unwrap();
        set.intents.push(super::super::Intent { name: "never".into(), ..Default::default() });
        let found: Vec<String> = review(&set).iter().map(Warning::to_string).collect();
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].contains("track and find"));
        assert!(found[1].contains("track has 1 example"));
        assert!(found[3].contains("never has no example"));
    }
}
