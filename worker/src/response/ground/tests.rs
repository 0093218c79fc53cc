//! The check against sentences that people labelled: what the passages say, in other words, and what they do not.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::*;

/// Sentences about the demo's articles, written before the rules; the part `chosen_on` shaped them, `held_out` did not.
const CLAIMS: &str = include_str!("claims.jsonl");

#[derive(Deserialize)]
struct Claim {
    part: String,
    /// Language and slug.
    article: String,
    /// What the customer had asked, where that matters.
    #[serde(default)]
    asked: String,
    says: String,
    supported: bool,
    wrong: Option<String>,
}

/// These passages, read for one question.
pub(crate) fn ground_of(shown: &[Shown<'_>], question: &str) -> Ground {
    Ground::new(shown.iter().map(|shown| Arc::new(Reading::of(shown))).collect(), question)
}

/// An article's title and its text as the model would be shown it.
pub(crate) fn article(name: &str) -> (String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../schemas/demo/knowledge/{name}.md"));
    let file = std::fs::read_to_string(path).unwrap();
    let (matter, body) = file.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let title = matter.lines().find_map(|line| line.strip_prefix("title: ")).unwrap();
    (title.trim_matches('"').to_owned(), body.replace("**", "").replace("## ", ""))
}

#[derive(Default)]
struct Tally {
    supported: usize,
    said: usize,
    wrong: usize,
    caught: usize,
}

fn tallies() -> BTreeMap<(String, String), Tally> {
    let mut tallies: BTreeMap<(String, String), Tally> = BTreeMap::new();
    for line in CLAIMS.lines() {
        let claim: Claim = serde_json::from_str(line).unwrap();
        let (title, body) = article(&claim.article);
        let verdict = ground_of(&[Shown { title: &title, text: &body }], &claim.asked).judge(&claim.says, &[0]);
        let tally = tallies.entry((claim.part.clone(), claim.article[..2].to_owned())).or_default();
        let passes = matches!(verdict, Verdict::Supported);
        match claim.supported {
            true => (tally.supported, tally.said) = (tally.supported + 1, tally.said + usize::from(passes)),
            false => (tally.wrong, tally.caught) = (tally.wrong + 1, tally.caught + usize::from(!passes)),
        }
        if passes != claim.supported {
            let wrong = claim.wrong.unwrap_or_default();
            println!("{} {}: {:?} {wrong} {}", claim.part, claim.article, verdict, claim.says);
        }
    }
    tallies
}

#[test]
fn what_the_passages_do_not_say_is_held_back() {
    for ((part, language), tally) in tallies() {
        let false_alarms = tally.supported - tally.said;
        let precision = tally.caught as f64 / (tally.caught + false_alarms) as f64;
        let recall = tally.caught as f64 / tally.wrong as f64;
        println!(
            "{part} {language}: {} of {} supported said, {} of {} others held back; precision {:.1} %, recall {:.1} %",
            tally.said,
            tally.supported,
            tally.caught,
            tally.wrong,
            100.0 * precision,
            100.0 * recall
        );
        assert!(tally.supported >= 15 && tally.wrong >= 15);
        assert!(precision >= 0.9 && recall >= 0.85, "{part} {language}");
    }
}
