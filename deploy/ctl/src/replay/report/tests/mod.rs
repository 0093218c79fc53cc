//! Known changes are put into turns that were alike: the report names exactly these.

/// What was changed is named.
mod naming;

/// What the baseline does to itself is not.
mod noise;

/// Latency, cost and verdicts.
mod figures;

/// The page, the JSON and the terminal.
mod page;

use std::time::Instant;

use proptest::prelude::*;
use talkfleet_shared::{
    chat::{Kind, Language, MessageText, Outcome, Problem, Rung, TurnRecord},
    error::Code,
};

use super::{
    sample::{
        Dice, answer, citation, drop_article, passage, quote_first, rename_intent, say, spoil, topic_of, triples,
    },
    *,
};

fn facts() -> Facts {
    let name = |text: &str| text.to_owned();
    Facts {
        tenant: name("demo"),
        channel: Some(name("web")),
        range: name("2025-11-03 09:00 to 09:45"),
        baseline: name("desk 0.1.0"),
        candidate: name("desk 0.2.0"),
        speed: name("as fast as it goes"),
        started_at_ms: 1_762_200_000_000,
        ended_at_ms: 1_762_200_312_000,
        skipped: [(name("no outcome in the journal"), 12)].into(),
        cassette_misses: Sides::default(),
    }
}

fn report(triples: &[Triple]) -> Report {
    let report = compare(triples, &facts(), &Options::default());
    let counts = &report.turns;
    assert_eq!(counts.total, triples.len());
    assert_eq!(counts.total, counts.unchanged + counts.changed + counts.noise + counts.missing);
    assert_eq!(counts.changed, counts.by_root.values().sum::<usize>());
    let told = report.changes.iter().chain(&report.unseen).chain(&report.doubtful);
    let told: usize = told.filter(|change| !change.sentence.contains("read further")).map(|change| change.turns).sum();
    assert_eq!(counts.changed, told, "every changed turn is told once");
    report
}

/// What the report says aloud, and nothing else.
#[track_caller]
fn names(report: &Report, expected: &[&str]) {
    let said: Vec<&str> = report.changes.iter().map(|change| change.sentence.as_str()).collect();
    assert_eq!(said, expected);
}

/// Every tenth question, English returns.
fn english_returns(n: usize) -> bool {
    n.is_multiple_of(10)
}

/// One side's own wobble: the same chances for each of the three.
fn wobble(triples: &mut [Triple], share: f64) {
    let mut dice = Dice(99);
    for triple in triples {
        for record in [&mut triple.baseline_a, &mut triple.baseline_b, &mut triple.candidate].into_iter().flatten() {
            if dice.roll() < share {
                rename_intent(record, "out_of_scope");
                record.versions.intents = "i1".into();
            }
            if dice.roll() < share {
                record.passages.swap(0, 1);
                quote_first(record);
            }
            if dice.roll() < share {
                let words = format!("{} {}", answer(record).text, (dice.roll() * 4.0) as u32);
                say(record, &words);
            }
        }
    }
}
