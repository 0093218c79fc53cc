//! What was changed is named, by its cause, once, and nothing else.

use super::*;

#[test]
fn of_equal_sides_nothing_is_said_and_they_pass() {
    let report = report(&triples(600));
    names(&report, &[]);
    assert!(report.unseen.is_empty() && report.doubtful.is_empty() && report.slower.is_empty(), "{report:#?}");
    assert!(report.verdict().passed, "{:#?}", report.verdict);
    assert_eq!((report.turns.unchanged, report.turns.noise), (600, 0));
    assert!(report.text().contains("Nothing changed in 600 turns. The baseline's own two runs agree everywhere."));
    assert!(report.text().ends_with("limits are kept"), "{}", report.text());
}

#[test]
fn a_renamed_intent_is_named_once_however_much_follows_from_it() {
    let mut triples = triples(400);
    spoil(
        &mut triples,
        |n| english_returns(n) && n != 0,
        |record| {
            rename_intent(record, "start_return");
            answer(record).kind = Kind::SmallTalk;
            answer(record).rung = Rung::Canned;
            say(record, "Please open a return.");
        },
    );
    let report = report(&triples);
    names(&report, &["intent `return_item` is now `start_return` in 39 of 80 turns that had it"]);
    let change = &report.changes[0];
    assert_eq!((change.stage, change.turns, change.seen), (Stage::Intent, 39, 39));
    assert_eq!(change.followed_by, [("kind", 39), ("rung", 39), ("text", 39)].into());
    assert_eq!((report.flips[0].turns, report.flips[0].of, report.flips.len()), (39, 80, 1));
    assert!(!report.verdict().passed);
}

#[test]
fn an_intent_that_went_is_named_with_what_took_its_place() {
    let mut triples = triples(200);
    spoil(&mut triples, |n| n % 10 == 4, |record| rename_intent(record, "get_invoice"));
    spoil(&mut triples, |n| n % 10 == 5, |record| rename_intent(record, "delivery_time"));
    names(
        &report(&triples),
        &["intent `refund_time` is gone: its 40 turns are now `delivery_time` (20), `get_invoice` (20)"],
    );
}

#[test]
fn an_article_that_went_is_named_and_not_what_moved_up() {
    let mut triples = triples(300);
    let all = |_: usize| true;
    spoil(&mut triples, all, |record| record.versions.knowledge = "k2".into());
    let had = |record: &TurnRecord| record.passages.iter().any(|passage| passage.url == "/en/help/returns");
    for triple in &mut triples {
        let record = triple.candidate.as_mut().unwrap();
        if had(record) {
            drop_article(record, "/en/help/returns");
        }
    }
    names(
        &report(&triples),
        &["article `/en/help/returns` is gone: 90 turns had found it, 30 cited it; instead `/en/help/delivery` (30)"],
    );
}

#[test]
fn a_new_article_is_named_and_not_what_it_displaced() {
    let mut triples = triples(300);
    spoil(&mut triples, |_| true, |record| record.versions.knowledge = "k2".into());
    let mut fresh = passage(topic_of(1), 1);
    (fresh.id, fresh.url, fresh.text) = ("x-1".into(), "/zh/help/x".into(), "新的退货说明。".into());
    let cites = |record: &mut TurnRecord| {
        record.passages.insert(0, fresh.clone());
        record.passages.pop();
        quote_first(record);
    };
    spoil(&mut triples, |n| n % 60 == 1, cites);
    let only_finds = |record: &mut TurnRecord| record.passages[2] = fresh.clone();
    spoil(&mut triples, |n| n % 100 == 3, only_finds);
    names(&report(&triples), &["new article `/zh/help/x` is found in 8 turns, cited in 5"]);
}

#[test]
fn an_edited_article_is_named_behind_every_answer_that_quotes_it() {
    let mut triples = triples(200);
    spoil(
        &mut triples,
        |_| true,
        |record| {
            record.versions.knowledge = "k2".into();
            for passage in record.passages.iter_mut().filter(|passage| passage.url == "/zh/help/refunds") {
                passage.text = passage.text.replace("五个", "七个");
            }
            quote_first(record);
        },
    );
    let report = report(&triples);
    names(&report, &["article `/zh/help/refunds` was edited: 60 turns found what changed in it"]);
    assert_eq!((report.changes[0].seen, report.changes[0].followed_by.get("text")), (20, Some(&20)));
    let words: Vec<_> =
        report.worst[0].text_diff.iter().filter(|piece| !matches!(piece, diff::Piece::Same(_))).collect();
    assert_eq!(words, [&diff::Piece::Gone("五".into()), &diff::Piece::New("七".into())]);
}

#[test]
fn each_stage_has_its_sentence() {
    let mut triples = triples(500);
    let ten = |k: usize| move |n: usize| n % 50 == k;
    spoil(&mut triples, ten(0), |record| answer(record).citations.clear());
    spoil(&mut triples, ten(1), |record| answer(record).rung = Rung::Model);
    spoil(&mut triples, ten(2), |record| answer(record).kind = Kind::Refusal);
    spoil(&mut triples, ten(3), |record| record.language = Language::English);
    spoil(&mut triples, ten(4), |record| say(record, "Something quite different is said here."));
    spoil(&mut triples, ten(6), |record| answer(record).degraded = vec!["memory".into()]);
    spoil(&mut triples, ten(7), |record| {
        record.outcome = Outcome::Failed { problem: Problem::new(Code::Unauthenticated) };
        record.intent.name = "unknown".into();
        record.passages.clear();
    });
    spoil(&mut triples, ten(8), |record| record.passages.swap(1, 2));
    spoil(&mut triples, ten(9), |record| {
        (answer(record).degraded, answer(record).rung) = (vec!["model".into()], Rung::Canned)
    });
    triples.iter_mut().enumerate().filter(|(n, _)| n % 50 == 11).for_each(|(_, triple)| triple.candidate = None);
    let report = report(&triples);
    let mut said: Vec<&str> = report.changes.iter().map(|change| change.sentence.as_str()).collect();
    said.sort_unstable();
    assert_eq!(
        said,
        [
            "10 turns that were `answered` are now `failed (unauthenticated)`",
            "10 turns that were `answered` got no answer at all",
            "`answer` is now `refusal` in 10 of 500 turns of that kind",
            "`memory` was away in 10 turns",
            "answers by `extract` read differently in 10 turns (median similarity 0.27)",
            "answers by rung `extract` → `canned (model away)`: 10 turns",
            "answers by rung `extract` → `model`: 10 turns",
            "article `/en/help/returns` is no longer cited in 10 of 50 turns that cited it",
            "language `zh` is now taken for `en` in 10 turns",
        ]
    );
    assert_eq!(report.unseen.len(), 1);
    assert_eq!(report.unseen[0].sentence, "other passages are found, or in another order, in 10 turns");
    assert_eq!(report.worst.len(), 50);
    assert_eq!(report.worst[0].root, Stage::Outcome);
    let shown: std::collections::HashSet<_> = report.worst.iter().map(|case| case.root).collect();
    assert_eq!(shown.len(), 8, "every change has its share: {shown:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the sides did, every turn is one of unchanged, changed at one root, noise, missing; `report` asserts it.
    #[test]
    fn every_turn_is_counted_once(spoilt in prop::collection::vec((0usize..40, 0usize..3, 0usize..9), 0..60)) {
        let mut triples = triples(40);
        for (n, side, what) in spoilt {
            let triple = &mut triples[n];
            let slot = match side { 0 => &mut triple.baseline_a, 1 => &mut triple.baseline_b, _ => &mut triple.candidate };
            let answered = |record: &TurnRecord| matches!(record.outcome, Outcome::Answered { .. });
            let Some(record) = slot.as_mut().filter(|record| answered(record)) else { continue };
            match what {
                0 => *slot = None,
                1 => record.outcome = Outcome::Cancelled { text: "half".into(), by: None },
                2 => rename_intent(record, "other"),
                3 => record.passages.swap(0, 2),
                4 => answer(record).citations.clear(),
                5 => answer(record).kind = Kind::Refusal,
                6 => answer(record).rung = Rung::Canned,
                7 => say(record, "other words"),
                _ => answer(record).degraded = vec!["retrieval".into()],
            }
        }
        let report = report(&triples);
        prop_assert!(report.html().ends_with("</html>\n"));
        let listed: usize = report.flips.iter().map(|flip| flip.turns).sum();
        prop_assert_eq!(listed, report.stages[Stage::Intent as usize].changed);
        for row in &report.stages {
            prop_assert!(row.root <= row.changed && row.changed <= row.differs && row.differs <= row.compared);
        }
    }
}
