//! PURE: the report in the terminal.

use std::path::Path;

use super::report::{Report, TierFigures};
use crate::page::{escape::is_hidden, grouped, micros, percent};

/// Misses that a terminal shows.
const MISSES_MAX: usize = 5;

/// Writes the account.
pub fn text(report: &Report, page: Option<&Path>) -> String {
    let figures = &report.figures;
    let mut lines = vec![
        format!(
            "{} questions over {} documents ({} passages, indexed at {} a second of one core beside embedding them)",
            grouped(figures.ranking.questions),
            grouped(figures.documents),
            grouped(figures.passages),
            grouped(figures.indexed_per_second as usize)
        ),
        String::new(),
        format!(
            "{:<20}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "tier", "recall@1", "recall@5", "MRR@10", "nDCG@10", "CPU us", "p99"
        ),
    ];
    lines.extend(figures.tiers.iter().map(|tier| row(tier.tier.name(), tier)));
    if figures.languages.len() > 1 {
        for (tag, tiers) in &figures.languages {
            lines.extend(tiers.iter().map(|tier| row(&format!("{tag} {}", tier.tier.name()), tier)));
        }
    }
    lines.push(String::new());
    if let (Some(one), Some(two), Some(three)) = (figures.answer_in_1, figures.answer_in_2, figures.answer_in_3) {
        lines.push(format!(
            "the answer is inside the quoted 1 / 2 / 3 sentences for {} / {} / {} of {} questions",
            percent(one),
            percent(two),
            percent(three),
            grouped(figures.questions_with_answer)
        ));
    }
    lines.extend(figures.unsaid());
    if let (Some(area), Some(caught), Some(in_scope)) =
        (figures.answerable_auroc, figures.unanswerable_declined, figures.in_scope_unanswerable_declined)
    {
        let which = match report.unanswerable_given {
            true => "questions that nothing answers",
            false => "questions asked without their documents",
        };
        lines.push(format!(
            "answerable or not: AUROC {area:.3}; {} {which}; declined of them, and of those with an answer:",
            grouped(figures.unanswerable)
        ));
        let row = |from: f64, who: &str, caught: f64, lost: f64| {
            format!("  from {from:.2}, {who}: {} and {}", percent(caught), percent(lost))
        };
        lines.push(row(figures.answerable_from, "a desk without intents", caught, figures.answerable_declined));
        let lost = figures.in_scope_answerable_declined;
        lines.push(row(figures.in_scope_from, "a question that belongs to one of its intents", in_scope, lost));
    }
    if !report.misses.is_empty() {
        lines.push(String::new());
        lines.push(format!("{} questions found another document first; the surest:", grouped(report.misses_in_all)));
        for miss in report.misses.iter().take(MISSES_MAX) {
            let place = miss.place.map_or("not among ten".to_owned(), |place| format!("at place {place}"));
            lines.push(format!(
                "  {}\n    came {} \"{}\", wanted {} ({place})",
                miss.question, miss.found, miss.found_title, miss.wanted
            ));
        }
    }
    if let Some(page) = page {
        lines.push(String::new());
        lines.push(format!("the page: {}", page.display()));
    }
    lines.join("\n").chars().filter(|c| *c == '\n' || !c.is_control() && !is_hidden(*c)).collect()
}

fn row(name: &str, tier: &TierFigures) -> String {
    let ranking = &tier.ranking;
    format!(
        "{name:<20}{:>10}{:>10}{:>10.3}{:>10.3}{:>10}{:>10}",
        percent(ranking.recall_at_1),
        percent(ranking.recall_at_5),
        ranking.mrr_at_10,
        ranking.ndcg_at_10,
        micros(tier.cpu_us_per_query),
        micros(tier.cpu_us_p99)
    )
}
