//! Latency, cost, verdicts, and how long a report takes.

use super::*;
use crate::{gate::Gauge, replay::report::threshold::Figure};

#[test]
fn a_slower_stage_is_named_and_the_total_is_not_beside_it() {
    let mut triples = triples(800);
    spoil(
        &mut triples,
        |_| true,
        |record| {
            record.timings.retrieval_ms *= 3.0;
            record.timings.total_ms += record.timings.retrieval_ms;
        },
    );
    let report = report(&triples);
    names(&report, &[]);
    assert_eq!(report.slower.len(), 1, "{:?}", report.slower);
    assert!(report.slower[0].starts_with("`retrieval` is slower: p50"), "{:?}", report.slower);
    let failed: Vec<_> = report.verdict.checks.iter().filter(|check| check.state == State::Fail).collect();
    assert!(failed.iter().all(|check| check.figure.name().starts_with("latency")), "{failed:?}");
}

#[test]
fn tokens_and_money_are_counted() {
    let mut triples = triples(100);
    for triple in &mut triples {
        let runs = [&mut triple.baseline_a, &mut triple.baseline_b, &mut triple.candidate].into_iter().flatten();
        for (record, tokens) in runs.zip([400, 404, 600]) {
            let usage = talkfleet_shared::chat::Usage {
                model: "m".into(),
                prompt_tokens: tokens,
                completion_tokens: 100,
                ..Default::default()
            };
            record.usage = Some(usage);
        }
    }
    let report = report(&triples);
    assert_eq!(
        report.slower,
        ["a turn takes 700 tokens instead of 500 (×1.39; the baseline's own runs differ by ×1.01)"]
    );
    let prices = Prices { prompt_per_1k: 1.0, completion_per_1k: 10.0, currency: "¥".into() };
    let priced = compare(&triples, &facts(), &Options { prices, ..Options::default() });
    assert!((priced.cost.money.candidate - 160.0).abs() < 1e-6);
    assert!(priced.html().contains("<td>cost ¥<td class=n>140.00"));
    assert!(report.verdict.checks.iter().any(|c| c.figure == Figure::CostRatio && c.state == State::Fail));
}

#[test]
fn what_cannot_be_compared_does_not_pass() {
    let mut triples = triples(40);
    triples.iter_mut().for_each(|triple| triple.baseline_b = None);
    let none = report(&triples);
    assert_eq!((none.turns.missing, none.verdict().passed), (40, false));
    assert!(none.text().contains("Nothing was compared"), "{}", none.text());
    let empty = report(&[]);
    assert!(!empty.verdict().passed && empty.html().contains("Nothing was compared"));
    let few = report(&super::sample::triples(40));
    assert!(few.verdict().passed);
    assert!(few.verdict().notes[0].contains("only 40 turns were compared"), "{:?}", few.verdict().notes);
}

/// The hardest that there is: thousands of changes, and a thousand characters that differ on every side of every turn.
#[test]
fn ten_thousand_turns_are_compared_while_one_waits() {
    let mut triples = triples(10_000);
    wobble(&mut triples, 0.05);
    spoil(&mut triples, english_returns, |record| rename_intent(record, "start_return"));
    let mut dice = Dice(5);
    for triple in &mut triples {
        for record in [&mut triple.baseline_a, &mut triple.baseline_b, &mut triple.candidate].into_iter().flatten() {
            let words = (0..8).map(|_| format!("{} {:.3} ", answer(record).text, dice.roll())).collect::<String>();
            say(record, &words);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    report(&triples).write(folder.path()).unwrap();
    let took = started.elapsed();
    println!("10,000 turns in {took:?}");
    assert!(took.as_secs() < 30, "{took:?}");
}

#[test]
fn what_may_look_like_a_change_in_the_run_itself_is_said() {
    let mut triples = triples(300);
    triples[250].candidate.as_mut().unwrap().versions.worker = "0.3.0".into();
    triples[9].baseline_b.as_mut().unwrap().versions.knowledge = "k0".into();
    let misses = Sides { candidate: 3, ..Sides::default() };
    let report = compare(&triples, &Facts { cassette_misses: misses, ..facts() }, &Options::default());
    assert_eq!(
        report.verdict().notes,
        [
            "3 calls of a model in the candidate had no recorded answer: what came of them is new, not changed",
            "the baseline's two runs had other versions of knowledge: what is called noise here may be that",
            "a side had more than one version of worker: it changed in mid-run",
        ]
    );
}
