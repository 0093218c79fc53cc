//! PURE: messages that hardly any desk was made for: they stand for the unknown where a set brings little of its own.
//!
//! Without them a small set has nothing to learn modesty from: with 18 intents of 10 lines "how do I cook rice" was
//! taken for a question about meals on board. Lines that are near to something taught are left out for that set.

use std::collections::HashSet;

use crate::encoder::cosine;
use crate::text::{self, Language};

/// Written for this purpose, by language and length.
const FILE: &str = include_str!("background.txt");

/// From this many texts out of scope of its own a set needs no more whole messages of ours; our fragments ("the thing",
/// "hm") are used in any case, because hardly anybody thinks of writing such down.
const OWN_ENOUGH: usize = 40;

/// From this many examples on a set gets none: hundreds of its intents' examples are left out then and stand for the unknown,
/// and they are nearer to it than ours. With ours HWU64's test was recognised rightly in 0.9 to 1.9 points less.
const EXAMPLES_ENOUGH: usize = 3_000;

/// A language counts as taught from this share of the examples: to a set in one language the other's messages are no sign
/// of being out of scope.
const LANGUAGE_SHARE_MIN: f32 = 0.05;

/// Cosine from which a line is near to a taught example.
const NEAR_FROM: f32 = 0.55;

/// The same for texts of few words, which the encoder holds near to one another whatever they say: "its late" and "bye".
const FEW_WORDS: usize = 3;
const FEW_WORDS_NEAR_FROM: f32 = 0.75;

/// Share of common words (of Chinese, characters) from which it is, whatever the encoder says.
const SAME_WORDS_FROM: f32 = 0.6;

/// The lines that a set may need, by its examples and how many texts out of scope it brings.
pub(super) fn lines(examples: &[&str], own: usize) -> Vec<&'static str> {
    if examples.len() >= EXAMPLES_ENOUGH {
        return Vec::new();
    }
    let chinese = examples.iter().filter(|text| text::language(text) == Language::Chinese).count() as f32;
    let all = examples.len().max(1) as f32;
    let taught = |tag: &str| {
        let count = if tag == "zh" { chinese } else { all - chinese };
        count >= LANGUAGE_SHARE_MIN * all
    };
    let mut wanted = false;
    let mut found = Vec::new();
    for line in FILE.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("# ").and_then(|head| head.split_once(' ')) {
            Some((tag, what)) => wanted = taught(tag) && (what == "fragments" || own < OWN_ENOUGH),
            None if wanted => found.push(line),
            None => {}
        }
    }
    found
}

/// A text as it is compared: its words, and its embedding if there is one.
pub(super) struct Known<'a> {
    words: HashSet<String>,
    embedding: Option<&'a [f32]>,
}

impl<'a> Known<'a> {
    pub(super) fn new(text: &str, embedding: Option<&'a [f32]>) -> Self {
        Self { words: words(text), embedding }
    }

    /// Whether two texts say much the same.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        let common = self.words.intersection(&other.words).count() as f32;
        let all = (self.words.len() + other.words.len()).max(1) as f32;
        let few = self.words.len().min(other.words.len()) <= FEW_WORDS;
        let near_from = if few { FEW_WORDS_NEAR_FROM } else { NEAR_FROM };
        let by_meaning = || self.embedding.zip(other.embedding).is_some_and(|(a, b)| cosine(a, b) >= near_from);
        2.0 * common / all >= SAME_WORDS_FROM || by_meaning()
    }
}

fn words(text: &str) -> HashSet<String> {
    let text = text::normalise(text);
    let mut found = HashSet::new();
    for run in text::runs(&text) {
        match run.script {
            text::Script::Han => found.extend(run.text.chars().map(String::from)),
            text::Script::Word => {
                found.insert(run.text.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(examples: &[&str], own: usize, has: &[&str], lacks: &[&str]) {
        let found = lines(examples, own);
        assert!(has.iter().all(|line| found.contains(line)), "{found:?}");
        assert!(!lacks.iter().any(|line| found.contains(line)), "{found:?}");
    }

    #[test]
    fn a_set_gets_what_it_lacks_in_its_languages() {
        check(&["where is my order"], 0, &["the thing", "why do cats purr"], &["不对", "今天几号"]);
        check(&["退款"], 0, &["不对", "今天几号"], &["the thing"]);
        check(&["refund"; EXAMPLES_ENOUGH], 0, &[], &["the thing", "why do cats purr"]);
        check(&["退款", "refund"], OWN_ENOUGH, &["不对", "the thing"], &["今天几号", "why do cats purr"]);
    }

    #[test]
    fn no_line_is_written_twice_and_there_are_enough() {
        for (example, least) in [("refund", 120), ("退款", 120)] {
            let found = lines(&[example], 0);
            assert_eq!(found.iter().collect::<HashSet<_>>().len(), found.len());
            assert!(found.len() >= least, "{}", found.len());
        }
    }

    #[test]
    fn the_same_words_or_the_same_meaning_are_near() {
        let known = |text| Known::new(text, None);
        assert!(known("will it rain this weekend").is_near(&known("Will it rain tomorrow?")));
        assert!(!known("will it rain this weekend").is_near(&known("where is it")));
        assert!(known("no").is_near(&known("no")) && !known("no").is_near(&known("there is no sound")));
        let (text, other) = ("will it rain this weekend", "is a storm on its way here");
        let near = |text, other, cosine: f32| {
            let (a, b) = ([1.0, 0.0], [cosine, (1.0 - cosine * cosine).sqrt()]);
            Known::new(text, Some(&a)).is_near(&Known::new(other, Some(&b)))
        };
        assert!(near(text, other, 0.6) && !near(text, other, 0.5));
        assert!(!near("its late", "bye", 0.6) && near("its late", "bye", 0.8), "fragments are near to all fragments");
    }
}
