//! PURE: the report in the terminal.

use std::path::Path;

use super::report::Report;
use crate::{
    gate::{Gauge, State},
    page::{escape::is_hidden, grouped, millis, percent},
};

/// Wrong answers that a terminal shows.
const CASES_MAX: usize = 6;

/// Writes the account.
pub fn text(report: &Report, page: Option<&Path>) -> String {
    let figures = &report.figures;
    let mut lines = vec![format!(
        "{} questions: {} answered, {} refused, {} handed over, {} small talk, {} without an answer",
        grouped(figures.questions),
        grouped(figures.answered),
        grouped(figures.refused),
        grouped(figures.handed_over),
        grouped(figures.small_talk),
        grouped(figures.failed)
    )];
    let shares = [
        ("as expected", figures.as_expected),
        ("right document linked", figures.citation_right),
        ("quoted first", figures.citation_first),
        ("holds the answer", figures.answer_holds),
        ("grounded", figures.grounded),
        ("refused wrongly", figures.refused_wrongly),
        ("answered wrongly", figures.answered_wrongly),
    ];
    lines.extend(shares.iter().filter_map(|(name, share)| Some(format!("  {name:<22}{:>9}", percent((*share)?)))));
    lines.push(format!(
        "latency p50 {} ms, p90 {} ms, p99 {} ms",
        millis(figures.latency_p50_ms),
        millis(figures.latency_p90_ms),
        millis(figures.latency_p99_ms)
    ));
    if figures.prompt_tokens + figures.completion_tokens > 0 {
        let cost = if figures.cost > 0.0 { format!(", {:.4} in all", figures.cost) } else { String::new() };
        lines.push(format!(
            "tokens {} in, {} out{cost}",
            grouped(figures.prompt_tokens as usize),
            grouped(figures.completion_tokens as usize)
        ));
    }
    if figures.languages.len() > 1 {
        for (tag, own) in &figures.languages {
            let shown = |share: Option<f64>| share.map_or("–".to_owned(), percent);
            lines.push(format!(
                "{tag}: {} questions, {} as expected, {} link the right document, {} grounded",
                grouped(own.questions),
                shown(own.as_expected),
                shown(own.citation_right),
                shown(own.grounded)
            ));
        }
    }
    lines.extend(report.remark.iter().map(|remark| format!("look at this: {remark}")));
    if report.wrong_in_all > 0 {
        lines.push(String::new());
        lines.push(format!("{} to look at:", grouped(report.wrong_in_all)));
        lines.extend(
            report.cases.iter().take(CASES_MAX).map(|case| format!("  {}\n    {}", case.question, case.why.join("; "))),
        );
    }
    lines.push(String::new());
    for check in &figures.checks {
        let word = if check.state == State::Fail { "FAIL" } else { "kept" };
        lines.push(format!("{word:<6}{} {}", check.figure.name(), check.sentence));
    }
    if let Some(page) = page {
        lines.push(format!("the page: {}", page.display()));
    }
    lines.join("\n").chars().filter(|c| *c == '\n' || !c.is_control() && !is_hidden(*c)).collect()
}
