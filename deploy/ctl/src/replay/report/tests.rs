//! Known changes are put into turns that were alike: the report names exactly these.

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
            let usage =
                talkfleet_shared::chat::Usage { model: "m".into(), prompt_tokens: tokens, completion_tokens: 100 };
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

const HOSTILE: &str = "<script>alert('x')</script> \" onload=\"x ]]> </style> `a` &lt;";

#[test]
fn a_strangers_text_stays_text_on_the_page() {
    let mut triples = triples(30);
    for triple in &mut triples {
        triple.original.ask.text = MessageText::parse(HOSTILE).unwrap();
    }
    spoil(
        &mut triples,
        |_| true,
        |record| {
            rename_intent(record, HOSTILE);
            say(record, &format!("{HOSTILE}\u{202E}dlrow\u{2066}\0"));
            let mut cited = citation(&record.passages[0]);
            (cited.url, cited.title) = ("javascript:alert(1)".into(), HOSTILE.into());
            answer(record).citations = vec![cited];
            record.versions.knowledge = HOSTILE.into();
        },
    );
    let hostile = Facts { tenant: HOSTILE.into(), candidate: HOSTILE.into(), range: HOSTILE.into(), ..facts() };
    let report = compare(&triples, &hostile, &Options::default());
    let page = report.html();
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert!(!page.contains("href=\"javascript") && !page.contains("href=javascript") && !page.contains("\" onload"));
    assert!(!page.contains(['\u{202E}', '\u{2066}', '\0']));
    assert!(page.contains("<span class=hidden>U+202E</span>"));
    assert!(!report.text().contains('\u{202E}'));
    let document = scraper::Html::parse_document(&page);
    let count = |selector: &str| document.select(&scraper::Selector::parse(selector).unwrap()).count();
    assert_eq!(
        (count("script"), count("style"), count("[onload]"), count("img, iframe, object, base, form, link")),
        (1, 1, 0, 0)
    );
    assert!(document.select(&scraper::Selector::parse("a").unwrap()).all(|a| a.attr("href").unwrap().starts_with('#')));
}

#[test]
fn the_page_needs_nothing_from_anywhere() {
    let mut triples = triples(300);
    spoil(&mut triples, english_returns, |record| rename_intent(record, "start_return"));
    let page = report(&triples).html();
    for outside in ["http://", "https://", "url(", "@import", "src="] {
        let found = page.find(outside).map(|at| &page[at.saturating_sub(40)..at + 40]);
        assert_eq!(found, None, "{outside}");
    }
}

#[test]
fn the_written_json_has_the_shape_that_the_type_says() {
    let mut triples = triples(60);
    spoil(&mut triples, english_returns, |record| rename_intent(record, "start_return"));
    let folder = tempfile::tempdir().unwrap();
    report(&triples).write(&folder.path().join("a/b")).unwrap();
    let bytes = std::fs::read(folder.path().join("a/b").join(JSON)).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let schema = schemars::schema_for!(Report);
    let errors: Vec<_> =
        jsonschema::validator_for(schema.as_value()).unwrap().iter_errors(&json).map(|e| e.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    assert_eq!(json["changes"][0]["stage"], "intent");
    assert_eq!(json["verdict"]["passed"], false);
    assert!(std::fs::read_to_string(folder.path().join("a/b").join(PAGE)).unwrap().starts_with("<!doctype html>"));
}

#[test]
fn the_terminal_reads_what_matters() {
    let mut triples = triples(600);
    spoil(&mut triples, |n| n % 60 == 0, |record| rename_intent(record, "start_return\u{1b}[31m"));
    let text = report(&triples).text();
    let expected = "\
10 of 600 turns changed, none of them in what the customer sees. The baseline's own two runs agree everywhere.

what changed:
  intent `return_item` is now `start_return[31m` in 10 of 120 turns that had it

stage            compared    noise  changed     root  net (95 %)
Intent                600        0       10       10  1.7 % (0.5 % to 2.8 %)
";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn ten_thousand_turns_are_compared_while_one_waits() {
    let mut triples = triples(10_000);
    wobble(&mut triples, 0.05);
    spoil(&mut triples, english_returns, |record| {
        let longer = format!("{} {}", answer(record).text, "And so on, at some length.".repeat(20));
        say(record, &longer);
        rename_intent(record, "start_return");
    });
    let started = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    report(&triples).write(folder.path()).unwrap();
    let took = started.elapsed();
    println!("10,000 turns in {took:?}");
    assert!(took.as_secs() < 30, "{took:?}");
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
                1 => record.outcome = Outcome::Cancelled { text: "half".into() },
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

/// Writes a page to look at: `REPORT_FOLDER=… cargo test -p talkfleet --lib a_page_to_look_at -- --ignored`.
#[test]
#[ignore = "writes a page for a person"]
fn a_page_to_look_at() {
    let Some(folder) = std::env::var_os("REPORT_FOLDER") else { return };
    let folder = Path::new(&folder);
    report(&sampled()).write(&folder.join("changed")).unwrap();
    report(&triples(2_000)).write(&folder.join("same")).unwrap();
    println!("{}", report(&sampled()).text());
}

/// A candidate with a bit of everything.
fn sampled() -> Vec<Triple> {
    let mut triples = triples(10_000);
    wobble(&mut triples, 0.004);
    let mut dice = Dice(3);
    for (n, triple) in triples.iter_mut().enumerate() {
        let record = triple.candidate.as_mut().unwrap();
        (record.versions.knowledge, record.versions.intents) = ("k2".into(), "i2".into());
        record.timings.retrieval_ms *= 1.9;
        record.timings.total_ms += record.timings.retrieval_ms / 2.0;
        let roll = dice.roll();
        match n % 10 {
            0 if roll < 0.22 => rename_intent(record, "start_return"),
            2 if roll < 0.03 => rename_intent(record, "delivery_delayed"),
            6 if roll < 0.02 => rename_intent(record, "refund_time"),
            7 if roll < 0.015 => rename_intent(record, "refund_time"),
            9 if roll < 0.08 => {
                let mut fresh = passage(topic_of(9), 1);
                (fresh.id, fresh.url, fresh.text) = (
                    "/zh/help/e-invoice-1".into(),
                    "/zh/help/e-invoice".into(),
                    "电子发票在下单后24小时内发送至您的邮箱，也可在账户中下载PDF文件。".into(),
                );
                record.passages.insert(0, fresh);
                quote_first(record);
            }
            4 | 5 => {
                for passage in &mut record.passages {
                    passage.text = passage.text.replace("five working", "seven working").replace("五个", "七个");
                }
                if roll < 0.12 {
                    quote_first(record);
                }
            }
            3 if roll < 0.01 => record.outcome = Outcome::Expired { problem: Problem::new(Code::Unauthenticated) },
            8 if roll < 0.02 => {
                answer(record).kind = Kind::Refusal;
                answer(record).rung = Rung::Canned;
                answer(record).citations.clear();
                say(
                    record,
                    "I do not know the answer to that, and I would rather not guess. \u{202E}I can help with, for example: Invoices, Refunds.",
                );
            }
            _ => {}
        }
    }
    triples
}
