//! PURE: the report as a page: what came of the questions, what was held to a limit, and every answer that is not as it should be.

use super::report::{Case, LanguageFigures, Report};
use crate::{
    eval::html::{self, Headline, bar, head},
    gate::{Gauge, State, written},
    page::{
        escape::{escaped, isolated},
        grouped, millis, percent, section, table,
    },
};

/// Writes the page.
pub fn page(report: &Report) -> String {
    let figures = &report.figures;
    let sections = [gate(report), kinds(report), languages(report), cases(report)];
    let kicker = format!("Answers · tenant {} · {} questions", report.tenant, grouped(figures.questions));
    let sentence = match figures.as_expected {
        Some(share) => format!("{} of the questions are treated as expected.", percent(share)),
        None => format!("{} of {} questions are answered.", grouped(figures.answered), grouped(figures.questions)),
    };
    let sentence = match &report.remark {
        Some(remark) => format!("{sentence} Look at this: {remark}."),
        None => sentence,
    };
    html::page("Answers: what a running desk says", &kicker, &sentence, &headlines(report), &sections)
}

fn headlines(report: &Report) -> Vec<Headline> {
    let figures = &report.figures;
    let shares = [
        (figures.citation_right, "right document linked", "first or as a further one"),
        (figures.citation_first, "quoted first", "the answer begins with it"),
        (figures.answer_holds, "holds the answer", "as the label words it"),
        (figures.grounded, "grounded", "every sentence is supported"),
        (figures.refused_wrongly, "refused wrongly", "of those with an answer"),
        (figures.answered_wrongly, "answered wrongly", "of those to be refused"),
    ];
    let share = |(share, name, beside): (Option<f64>, &'static str, &str)| {
        Some(Headline { value: percent(share?), name, beside: beside.to_owned() })
    };
    let mut all: Vec<Headline> = shares.into_iter().filter_map(share).collect();
    let beside = format!("p90 {} ms, p99 {} ms", millis(figures.latency_p90_ms), millis(figures.latency_p99_ms));
    all.push(Headline {
        value: format!("{} ms", millis(figures.latency_p50_ms)),
        name: "to the whole answer, median",
        beside,
    });
    if figures.prompt_tokens + figures.completion_tokens > 0 {
        let beside = format!(
            "{} in, {} out",
            grouped(figures.prompt_tokens as usize),
            grouped(figures.completion_tokens as usize)
        );
        let value = match figures.cost > 0.0 {
            true => format!("{:.4}", figures.cost),
            false => grouped((figures.prompt_tokens + figures.completion_tokens) as usize),
        };
        all.push(Headline { value, name: if figures.cost > 0.0 { "cost" } else { "tokens" }, beside });
    }
    all
}

fn gate(report: &Report) -> String {
    let row = |check: &crate::gate::Check<super::figures::Figure>| {
        let (class, word) = if check.state == State::Fail { ("fail", "exceeded") } else { ("pass", "kept") };
        let sort = check.figure.sort();
        format!(
            "<tr class={class}><td><span class=state>{word}</span><td><code>{}</code><small>{}</small><td class=n>{}<td class=n>≤ {}",
            check.figure.name(),
            escaped(check.what),
            written(sort, check.found),
            written(sort, check.limit)
        )
    };
    let rows: String = report.figures.checks.iter().map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    section("gate", "Limits", "", &table("gate", "<tr><th><th>figure<th class=n>found<th class=n>limit", &rows))
}

fn kinds(report: &Report) -> String {
    let came: std::collections::BTreeSet<&str> =
        report.figures.kinds.values().flat_map(|row| row.keys().copied()).collect();
    let heads: String = came.iter().map(|kind| format!("<th class=n>{}", kind.replace('_', " "))).collect();
    let row = |(expected, row): (&&'static str, &std::collections::BTreeMap<&'static str, usize>)| {
        let cells: String = came
            .iter()
            .map(|kind| {
                let class = if kind == expected { "n" } else { "n still" };
                row.get(kind)
                    .map_or(format!("<td class=\"{class}\">–"), |n| format!("<td class=\"{class}\">{}", grouped(*n)))
            })
            .collect();
        format!("<tr><th scope=row>{}{cells}", expected.replace('_', " "))
    };
    let rows: String = report.figures.kinds.iter().map(row).collect();
    let rungs: Vec<String> = report.figures.rungs.iter().map(|(rung, n)| format!("{rung} {}", grouped(*n))).collect();
    let body = table("kinds", &format!("<tr><th>expected{heads}"), &rows)
        + &format!("<p class=quiet>Who spoke: {}.</p>", rungs.join(", "));
    section("kinds", "What was expected, and what came", "", &body)
}

fn languages(report: &Report) -> String {
    if report.figures.languages.len() < 2 {
        return String::new();
    }
    let cell = |share: Option<f64>| share.map_or("<td class=n>–".to_owned(), |share| bar(share, &percent(share)));
    let row = |(tag, own): (&&'static str, &LanguageFigures)| {
        let cells = [own.as_expected, own.citation_right, own.answer_holds, own.grounded].map(cell).concat();
        format!("<tr><td>{tag}<td class=n>{}{cells}", grouped(own.questions))
    };
    let rows: String = report.figures.languages.iter().map(row).collect();
    let columns = [
        ("", "language"),
        ("n", "questions"),
        ("n", "as expected"),
        ("n", "right document"),
        ("n", "holds the answer"),
        ("n", "grounded"),
    ];
    section("languages", "By language", "", &table("languages", &head(&columns), &rows))
}

fn cases(report: &Report) -> String {
    if report.cases.is_empty() {
        return section("cases", "To look at", "", "<p class=quiet>Every answer is as it should be.</p>");
    }
    let items: String = report.cases.iter().map(case).collect();
    let how = format!(
        "{} answers are not as they should be; {} are shown.",
        grouped(report.wrong_in_all),
        grouped(report.cases.len())
    );
    let find =
        "<input class=find data-of=cases type=search placeholder=\"find a word\" aria-label=\"find a word\" hidden>";
    section("cases", "To look at", &how, &format!("{find}<ol class=wrongs>{items}</ol>"))
}

fn case(case: &Case) -> String {
    let why: String = case.why.iter().map(|one| format!("<li>{}", escaped(one))).collect();
    let cited: Vec<String> = case.cited.iter().map(|title| isolated(title)).collect();
    let cited = if cited.is_empty() { "nothing cited".to_owned() } else { format!("cites {}", cited.join(", ")) };
    format!(
        "<li><b class=question>{}</b><ul class=took>{why}</ul><blockquote dir=auto>{}</blockquote><p class=said>{} · intent <code>{}</code> · {cited}</p>",
        isolated(&case.question),
        escaped(&case.text),
        escaped(&case.kind.replace('_', " ")),
        escaped(&case.intent)
    )
}
