//! Tiers, thresholds, languages, intents and errors as tables.

use super::super::{
    lists::Wrong,
    report::{Figures, Report},
    review::NONE,
};
use crate::{
    eval::html::{bar, head},
    page::{
        escape::{escaped, isolated},
        grouped, micros, percent, section, table,
    },
};

/// Fewer lines than this are shown beside other languages, but are none by themselves.
const LINES_MIN: usize = 10;

pub fn tiers(report: &Report, drawn: &str) -> String {
    let figures = &report.figures;
    let alone: String = figures
        .tiers
        .iter()
        .map(|tier| {
            format!(
                "<tr><td>{}{}{}<td class=n>{}<td class=n>{}",
                tier.tier.name(),
                bar(tier.accuracy, &percent(tier.accuracy)),
                bar(tier.macro_f1, &percent(tier.macro_f1)),
                micros(tier.cpu_us_per_query),
                percent(tier.decided)
            )
        })
        .collect();
    let columns = [("", "tier alone"), ("n", "accuracy"), ("n", "macro-F1"), ("n", "CPU µs a query"), ("n", "decided")];
    let mut body = table("tiers", &head(&columns), &alone);
    let mut how =
        "What each tier knows and costs on its own; at 50 µs a query one core answers 20,000 a second.".to_owned();
    if report.cascade.len() > 1 {
        let rows: String = report
            .cascade
            .iter()
            .map(|one| {
                format!(
                    "<tr><td class=n>{}<td class=n>{}<td class=n>{}",
                    percent(one.share),
                    percent(one.accuracy),
                    micros(one.cpu_us_per_query)
                )
            })
            .collect();
        let columns = [("n", "handed on"), ("n", "accuracy"), ("n", "CPU µs a query")];
        let handed = table("cascade", &head(&columns), &rows);
        body += &format!("<div class=pair>{drawn}{handed}</div>");
        how += " Below, the lines of which the cheapest tier is least sure are handed to the dearest: what a share of them buys. \
                The order is that of these very lines; a threshold in use was chosen on others.";
    }
    section("tiers", "What it costs", &how, &body)
}

pub fn out_of_scope(report: &Report, drawn: &str) -> String {
    if report.out_of_scope_curve.is_empty() {
        return String::new();
    }
    let figures = &report.figures;
    let chosen = format!(
        "<tr class=chosen><td class=n>{}<td class=n>{}<td>the threshold that counts",
        percent(figures.accuracy_after_threshold),
        percent(figures.oos_recall.unwrap_or_default())
    );
    let rows: String = report
        .out_of_scope_choices
        .iter()
        .map(|one| format!("<tr><td class=n>{}<td class=n>{}<td>", percent(one.accuracy), percent(one.oos_recall)))
        .collect();
    let columns = [("n", "right and kept, in scope"), ("n", "declined, out of scope"), ("", "")];
    let from = match figures.threshold {
        Some(threshold) => format!("chosen on the validation file: {threshold:.3}"),
        None => "the model's own, chosen in training".into(),
    };
    let how = format!(
        "Lines that belong to no intent should be declined, and every threshold that does so declines good ones too. The one that \
         counts is {from}; the others are what these lines would allow."
    );
    let choices = table("choices", &head(&columns), &(chosen + &rows));
    section("scope", "What belongs to no intent", &how, &format!("<div class=pair>{drawn}{choices}</div>"))
}

pub fn languages(figures: &Figures) -> String {
    // A line or two without letters are no second language.
    let enough = |own: &&super::super::report::LanguageFigures| own.test_examples + own.test_out_of_scope >= LINES_MIN;
    if figures.languages.values().filter(enough).count() < 2 {
        return String::new();
    }
    let name = |tag: &str| match tag {
        "en" => "English (Latin letters)".to_owned(),
        "zh" => "Chinese".to_owned(),
        _ => "other, or no letters".to_owned(),
    };
    let rows: String = figures
        .languages
        .iter()
        .map(|(tag, own)| {
            format!(
                "<tr><td>{}<td class=n>{}{}{}{}<td class=n>{}<td class=n>{}",
                name(tag),
                grouped(own.test_examples),
                bar(own.accuracy, &percent(own.accuracy)),
                bar(own.macro_f1, &percent(own.macro_f1)),
                bar(own.accuracy_after_threshold, &percent(own.accuracy_after_threshold)),
                grouped(own.test_out_of_scope),
                own.oos_recall.map_or("–".into(), percent)
            )
        })
        .collect();
    let columns = [
        ("", "language"),
        ("n", "lines"),
        ("n", "accuracy"),
        ("n", "macro-F1"),
        ("n", "after the threshold"),
        ("n", "out of scope"),
        ("n", "declined"),
    ];
    section("languages", "By language", "As far as the script tells.", &table("languages", &head(&columns), &rows))
}

pub fn intents(report: &Report) -> String {
    let mut classes: Vec<_> = report.per_intent.iter().collect();
    classes.sort_by(|a, b| a.f1.total_cmp(&b.f1).then(a.name.cmp(&b.name)));
    let row = |class: &&crate::eval::metrics::classes::Class| {
        format!(
            "<tr><td><code>{}</code>{}{}{}<td class=n data-v={}>{}<td class=n data-v={}>{}",
            escaped(&class.name),
            bar(class.precision, &percent(class.precision)),
            bar(class.recall, &percent(class.recall)),
            bar(class.f1, &percent(class.f1)),
            class.support,
            grouped(class.support),
            class.taken,
            grouped(class.taken)
        )
    };
    let rows: String = classes.iter().map(row).collect();
    let columns =
        [("", "intent"), ("n", "precision"), ("n", "recall"), ("n", "F1"), ("n", "lines"), ("n", "taken for it")];
    let how = "The weakest first; a click on a column sorts. <b>Precision</b>: right of what was taken for it. <b>Recall</b>: \
               recognised of what it is.";
    let find = "<input class=find data-of=intents type=search placeholder=\"find an intent\" aria-label=\"find an intent\" hidden>";
    let table = table("sortable", &head(&columns), &rows);
    section("intents", "Every intent", how, &format!("{find}<div class=tall>{table}</div>"))
}

pub fn errors(report: &Report) -> String {
    if report.errors.is_empty() {
        return section("errors", "What went wrong", "", "<p class=quiet>Nothing.</p>");
    }
    let items: String = report.errors.iter().map(error).collect();
    let how = "Wrong and sure of it: those first that the model was surest of, with the training lines nearest to them, of the \
               intent that was found and of the right one. A near line of the wrong intent is often a wrong label.";
    let find = "<input class=find data-of=errors type=search placeholder=\"find a word or an intent\" aria-label=\"find a word or an intent\" hidden>";
    section("errors", "What went wrong", how, &format!("{find}<ol class=wrongs>{items}</ol>"))
}

fn error(wrong: &Wrong) -> String {
    let neighbours: String = wrong
        .neighbours
        .iter()
        .map(|near| {
            let class = if near.intent == wrong.intent { " class=right" } else { "" };
            format!(
                "<li{class}><span>{:.2}</span><span>{}</span><span>{}</span>",
                near.near,
                escaped(&near.intent),
                isolated(&near.text)
            )
        })
        .collect();
    let meant = if wrong.intent == NONE { NONE.to_owned() } else { format!("<code>{}</code>", escaped(&wrong.intent)) };
    let leaked = if wrong.leaked { " · <b>the same text was taught</b>" } else { "" };
    format!(
        "<li><b class=question>{}</b><p class=beside>taken for <code class=took>{}</code> ({}), meant <span class=was>{meant}</span>{leaked}</p><ol>{neighbours}</ol>",
        isolated(&wrong.text),
        escaped(&wrong.found),
        percent(wrong.confidence)
    )
}
