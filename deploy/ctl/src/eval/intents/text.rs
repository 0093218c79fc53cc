//! PURE: the report in the terminal.

use std::path::Path;

use super::report::{Figures, Report};
use crate::{
    page::{escape::is_hidden, grouped, micros, percent},
    width::padded,
};

/// Confused pairs that a terminal shows.
const CONFUSIONS_MAX: usize = 8;

/// Writes the account.
pub fn text(report: &Report, page: Option<&Path>) -> String {
    let mut lines = Vec::new();
    headline(&mut lines, &report.figures);
    tiers(&mut lines, &report.figures);
    details(&mut lines, report);
    if !report.confusions.is_empty() {
        lines.push(String::new());
        lines.push(format!("{:<36}{:<36}{:>7}", "intent", "taken for", "times"));
        for pair in report.confusions.iter().take(CONFUSIONS_MAX) {
            lines.push(format!("{}{}{:>7}", padded(&pair.intent, 36), padded(&pair.taken_for, 36), pair.count));
        }
    }
    if !report.warnings.is_empty() {
        lines.push(String::new());
        lines.extend(report.warnings.iter().map(|warning| format!("look at this: {warning}")));
    }
    if let Some(page) = page {
        lines.push(String::new());
        lines.push(format!("the page: {}", page.display()));
    }
    lines.join("\n").chars().filter(|c| *c == '\n' || !c.is_control() && !is_hidden(*c)).collect()
}

fn headline(lines: &mut Vec<String>, figures: &Figures) {
    lines.push(format!(
        "{} of {} lines right (macro-F1 {}); {} intents taught by {} lines in {:.1} s",
        percent(figures.accuracy),
        grouped(figures.test_examples),
        percent(figures.macro_f1),
        figures.intents,
        grouped(figures.examples),
        figures.train_seconds
    ));
    let from = if figures.threshold.is_some() { "chosen on the validation file" } else { "the model's own" };
    lines.push(format!(
        "after the threshold ({from}) {} right, {} declined",
        percent(figures.accuracy_after_threshold),
        percent(figures.declined_in_scope)
    ));
    if let (Some(recall), Some(area)) = (figures.oos_recall, figures.oos_auroc) {
        let all = grouped(figures.test_out_of_scope);
        lines.push(format!("out of scope: {} of {all} declined (AUROC {area:.3})", percent(recall)));
    }
    lines.push(format!(
        "calibration error {}; {} us of CPU a query, {} of the queries decided by the dearest tier",
        percent(figures.ece),
        micros(figures.cpu_us_per_query),
        percent(figures.escalated)
    ));
}

fn tiers(lines: &mut Vec<String>, figures: &Figures) {
    lines.push(String::new());
    lines.push(format!("{:<16}{:>10}{:>10}{:>12}{:>10}", "tier alone", "accuracy", "macro-F1", "CPU us", "decided"));
    for tier in &figures.tiers {
        lines.push(format!(
            "{:<16}{:>10}{:>10}{:>12}{:>10}",
            tier.tier.name(),
            percent(tier.accuracy),
            percent(tier.macro_f1),
            micros(tier.cpu_us_per_query),
            percent(tier.decided)
        ));
    }
}

fn details(lines: &mut Vec<String>, report: &Report) {
    let figures = &report.figures;
    if figures.languages.len() > 1 {
        lines.push(String::new());
        for (tag, own) in &figures.languages {
            let outside = own.oos_recall.map_or(String::new(), |recall| format!(", {} declined", percent(recall)));
            lines.push(format!(
                "{tag:<16}{:>10}{:>10}  of {} lines; out of scope {}{outside}",
                percent(own.accuracy),
                percent(own.macro_f1),
                grouped(own.test_examples),
                grouped(own.test_out_of_scope)
            ));
        }
    }
    if let Some(cross) = &figures.cross_validation {
        lines.push(format!(
            "{} folds: {} right ± {}, macro-F1 {}",
            cross.folds,
            percent(cross.accuracy),
            percent(cross.accuracy_deviation),
            percent(cross.macro_f1)
        ));
    }
    if figures.learning_curve.len() > 1 {
        let points = figures
            .learning_curve
            .iter()
            .map(|held| format!("{} of {}", percent(held.accuracy), grouped(held.examples)));
        lines.push(format!("learning curve: {} lines", points.collect::<Vec<_>>().join(", ")));
    }
}
