//! The page, the JSON and the terminal.

use super::*;

const HOSTILE: &str = "<script>alert('x')</script> \" onload=\"x ]]> </style> `a` &lt;";

fn hostile() -> Report {
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
    compare(&triples, &hostile, &Options::default())
}

#[test]
fn a_strangers_text_stays_text_on_the_page() {
    let report = hostile();
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

/// Writes a page to look at: `REPORT_FOLDER=… cargo test -p talkfleet --lib a_page_to_look_at -- --ignored`.
#[test]
#[ignore = "writes a page for a person"]
fn a_page_to_look_at() {
    let Some(folder) = std::env::var_os("REPORT_FOLDER") else { return };
    let folder = Path::new(&folder);
    report(&sampled()).write(&folder.join("changed")).unwrap();
    report(&triples(2_000)).write(&folder.join("same")).unwrap();
    hostile().write(&folder.join("hostile")).unwrap();
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
