//! PURE: what is wrong with the files before anything is measured: test lines that were taught, and labels that contradict.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use talkfleet_worker::text;

use super::data::Labelled;

/// Examples within a sentence.
const SHOWN_MAX: usize = 3;

/// Fewer examples than this teach an intent badly.
const EXAMPLES_MIN: usize = 5;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Review {
    /// By test line, whether the same text, up to case, spacing and punctuation, was taught.
    pub leaked: Vec<bool>,
    /// Texts that stand under several intents, in one file or in both.
    pub conflicts: usize,
    /// Lines of the training file that say again what another line of the same intent says.
    pub duplicates: usize,
    /// Sentences for a person.
    pub warnings: Vec<String>,
}

/// A text as it is compared.
fn plain(text: &str) -> String {
    text::normalise(text).chars().filter(|c| c.is_alphanumeric() || *c == ' ').collect::<String>().trim().to_owned()
}

pub fn review(train: &[Labelled], test: &[Labelled]) -> Review {
    let mut taught: HashMap<String, BTreeSet<&str>> = HashMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut duplicates = 0;
    for line in train {
        *counts.entry(label(line)).or_default() += 1;
        duplicates += usize::from(!taught.entry(plain(&line.text)).or_default().insert(label(line)));
    }
    let leaked: Vec<bool> = test.iter().map(|line| taught.contains_key(&plain(&line.text))).collect();
    let mut claims: BTreeMap<String, (&str, BTreeSet<&str>)> = BTreeMap::new();
    for line in train.iter().chain(test) {
        claims.entry(plain(&line.text)).or_insert((&line.text, BTreeSet::new())).1.insert(label(line));
    }
    let claimed: Vec<_> = claims.into_values().filter(|(_, labels)| labels.len() > 1).collect();
    let mut warnings = Vec::new();
    if leaked.contains(&true) {
        let texts = test.iter().zip(&leaked).filter(|(_, leaked)| **leaked).map(|(line, _)| line.text.as_str());
        warnings.push(told(
            texts.map(quoted).collect(),
            "test line was taught, so it measures memory",
            "test lines were taught, so they measure memory",
        ));
    }
    if !claimed.is_empty() {
        let text = |(text, labels): &(&str, BTreeSet<&str>)| {
            format!("{} as {}", quoted(text), labels.iter().copied().collect::<Vec<_>>().join(" and "))
        };
        warnings.push(told(
            claimed.iter().map(text).collect(),
            "text stands under several intents",
            "texts stand under several intents",
        ));
    }
    let unknown: BTreeSet<&str> = test.iter().map(label).filter(|name| !counts.contains_key(name)).collect();
    let unknown: Vec<String> = unknown.into_iter().filter(|name| *name != NONE).map(str::to_owned).collect();
    if !unknown.is_empty() {
        warnings.push(told(
            unknown,
            "intent is tested and was never taught, so it is always wrong",
            "intents are tested and were never taught, so they are always wrong",
        ));
    }
    let thin = counts.iter().filter(|(name, n)| **name != NONE && **n < EXAMPLES_MIN);
    let thin: Vec<String> = thin.map(|(name, n)| format!("{name} ({n})")).collect();
    if !thin.is_empty() {
        let few = format!("intents have fewer than {EXAMPLES_MIN} examples");
        warnings.push(told(thin, &few.replacen("intents have", "intent has", 1), &few));
    }
    if duplicates > 0 {
        let lines = if duplicates == 1 { "training line says" } else { "training lines say" };
        warnings.push(format!("{duplicates} {lines} what another of the same intent says"));
    }
    Review { leaked, conflicts: claimed.len(), duplicates, warnings }
}

/// How a text without an intent is named.
pub const NONE: &str = "out of scope";

fn label(line: &Labelled) -> &str {
    line.intent.as_deref().unwrap_or(NONE)
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// `12 test lines were taught …: "a", "b", "c" and 9 more`.
fn told(all: Vec<String>, one: &str, many: &str) -> String {
    let more = all.len().saturating_sub(SHOWN_MAX);
    let shown: Vec<String> = all.iter().take(SHOWN_MAX).cloned().collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{} {}: {}{more}", all.len(), if all.len() == 1 { one } else { many }, shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[(&str, &str)]) -> Vec<Labelled> {
        let line = |(text, intent): &(&str, &str)| Labelled {
            text: (*text).to_owned(),
            intent: Some((*intent).to_owned()).filter(|intent| !intent.is_empty()),
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn it_finds_what_a_person_overlooks() {
        let train =
            lines(&[("Where is it?", "track"), ("where is it", "track"), ("refund", "refund"), ("退款", "refund")]);
        let test = lines(&[("WHERE is  it!", "track"), ("Refund.", "track"), ("hello", "greet"), ("2+2", "")]);
        let found = review(&train, &test);
        assert_eq!(found.leaked, [true, true, false, false]);
        assert_eq!((found.conflicts, found.duplicates), (1, 1));
        assert_eq!(
            found.warnings,
            [
                "2 test lines were taught, so they measure memory: \"WHERE is  it!\", \"Refund.\"",
                "1 text stands under several intents: \"refund\" as refund and track",
                "1 intent is tested and was never taught, so it is always wrong: greet",
                "2 intents have fewer than 5 examples: refund (2), track (2)",
                "1 training line says what another of the same intent says",
            ]
        );
        assert_eq!(review(&[], &[]), Review::default());
    }
}
