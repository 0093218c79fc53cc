//! What the baseline does to itself is not named, and what stands out of it is.

use super::*;

#[test]
fn noise_is_not_named() {
    for share in [0.02, 0.1, 0.4] {
        let mut triples = triples(1_500);
        wobble(&mut triples, share);
        let report = report(&triples);
        names(&report, &[]);
        assert!(report.turns.noise > 30 && report.turns.changed > 0, "{:?}", report.turns);
        assert!(report.verdict().passed, "{:#?}", report.verdict);
        for row in &report.stages {
            assert!(row.chance > 0.005, "{row:?}");
        }
    }
}

#[test]
fn a_change_is_named_among_noise_and_the_noise_is_not() {
    let mut triples = triples(1_500);
    wobble(&mut triples, 0.05);
    let spoilt = |n: usize| english_returns(n) && n.is_multiple_of(20);
    spoil(&mut triples, spoilt, |record| rename_intent(record, "start_return"));
    let report = report(&triples);
    assert_eq!(report.changes.len(), 1, "{:#?}", report.changes);
    assert!(
        report.changes[0].sentence.starts_with("intent `return_item` is now `start_return` in 6"),
        "{:?}",
        report.changes[0].sentence
    );
}

#[test]
fn answers_that_all_differ_are_told_by_how_far() {
    let mut triples = triples(400);
    for (n, triple) in triples.iter_mut().enumerate() {
        let words =
            |k: usize| format!("Answer {} says so, as it does in run {} of this.", n % 7, (n * 31 + k * 17) % 97);
        let runs = [&mut triple.baseline_a, &mut triple.baseline_b, &mut triple.candidate];
        for (k, record) in runs.into_iter().flatten().enumerate() {
            say(record, &words(k));
        }
    }
    names(&report(&triples), &[]);
    spoil(
        &mut triples,
        |_| true,
        |record| {
            let longer = format!("{} Is there anything else that I can do for you today?", answer(record).text);
            say(record, &longer);
        },
    );
    let report = report(&triples);
    assert_eq!(report.changes.len(), 1, "{:#?}", report.changes);
    assert!(report.changes[0].sentence.starts_with("answers read further from the baseline"), "{:?}", report.changes);
}

#[test]
fn too_few_turns_to_tell_from_noise_are_said_to_be_so() {
    let mut triples = triples(60);
    let flip = |record: &mut TurnRecord| rename_intent(record, "out_of_scope");
    [3, 13].into_iter().for_each(|n| flip(triples[n].baseline_b.as_mut().unwrap()));
    spoil(&mut triples, |n| (20..24).contains(&n), flip);
    let report = report(&triples);
    names(&report, &[]);
    assert!(report.verdict().passed && !report.doubtful.is_empty());
    let unsure = report.verdict().notes.iter().find(|note| note.contains("intent_flips"));
    assert!(
        unsure.is_some_and(|note| note.starts_with("too few turns to tell intent_flips from noise: 3.3 %")),
        "{unsure:?}"
    );
}
