//! PURE: the report as a page: the figures first, then what it costs, how far to trust it, and what to mend.

/// The drawings, on the page and as files.
mod plots;

/// Who is confused with whom.
mod matrix;

/// Tiers, thresholds, languages, intents and errors as tables.
mod tables;

pub use self::plots::drawings;
use super::report::{Figures, Report};
use crate::{
    eval::html::{self, Drawing, Headline},
    page::{escape::escaped, grouped, micros, percent, section},
};

/// Writes the page.
pub fn page(report: &Report) -> String {
    let figures = &report.figures;
    let drawn = drawings(report);
    let named =
        |names: &[&str]| -> Vec<&Drawing<'_>> { drawn.iter().filter(|one| names.contains(&one.name)).collect() };
    let sections = [
        warnings(&report.warnings),
        tables::tiers(report, &html::drawings(named(&["cascade"]))),
        section(
            "confidence",
            "How far to trust it",
            "<b>Confidence</b>: how sure the model was of lines that it got right, and of those that it got wrong. \
             <b>Reliability</b>: of the lines with a confidence, the share that is right; on the dashed line it is what it says.",
            &html::drawings(named(&["confidence", "reliability"])),
        ),
        tables::out_of_scope(report, &html::drawings(named(&["out-of-scope"]))),
        tables::languages(figures),
        learning(figures, &html::drawings(named(&["learning-curve"]))),
        matrix::confusion(report),
        tables::intents(report),
        tables::errors(report),
    ];
    let kicker = format!(
        "Intents · tier {} · {} intents taught by {} lines · {}",
        figures.tier,
        figures.intents,
        grouped(figures.examples),
        report.source
    );
    let sentence =
        format!("{} of {} lines get the right intent.", percent(figures.accuracy), grouped(figures.test_examples));
    html::page("Intents: how well they are recognised", &kicker, &sentence, &headlines(figures), &sections)
}

fn headlines(figures: &Figures) -> Vec<Headline> {
    let one = |value: String, name, beside: String| Headline { value, name, beside };
    let mut all = vec![
        one(percent(figures.accuracy), "accuracy", "in scope, before the threshold".into()),
        one(percent(figures.macro_f1), "macro-F1", "every intent counts the same".into()),
        one(
            percent(figures.accuracy_after_threshold),
            "after the threshold",
            format!("{} declined", percent(figures.declined_in_scope)),
        ),
    ];
    if let Some(recall) = figures.oos_recall {
        let area = figures.oos_auroc.map_or(String::new(), |area| format!(", AUROC {area:.3}"));
        let beside = format!("of {} declined{area}", grouped(figures.test_out_of_scope));
        all.push(one(percent(recall), "out-of-scope recall", beside));
    }
    all.push(one(percent(figures.ece), "calibration error", "ECE over 15 bins; 0 is best".into()));
    all.push(one(
        format!("{} µs", micros(figures.cpu_us_per_query)),
        "CPU a query",
        format!("{} decided by the dearest tier", percent(figures.escalated)),
    ));
    all.push(one(
        format!("{:.1} s", figures.train_seconds),
        "to train",
        format!("{:.1} s of CPU", figures.train_cpu_seconds),
    ));
    all
}

fn warnings(all: &[String]) -> String {
    let items: String = all.iter().map(|one| format!("<li>{}", escaped(one))).collect();
    if all.is_empty() { String::new() } else { format!("<ul class=look>{items}</ul>") }
}

fn learning(figures: &Figures, drawn: &str) -> String {
    if figures.learning_curve.len() < 2 && figures.cross_validation.is_none() {
        return String::new();
    }
    let crossed = figures.cross_validation.as_ref().map_or(String::new(), |cross| {
        format!(
            "<p>Every training line, judged by a model that has not seen it ({} folds): <b>{}</b> right, ± {} between the \
             folds; macro-F1 {}.</p>",
            cross.folds,
            percent(cross.accuracy),
            percent(cross.accuracy_deviation),
            percent(cross.macro_f1)
        )
    });
    let how = match figures.learning_curve.len() {
        0 | 1 => "",
        _ => {
            "Trained on a part of the file, asked the same lines. Where the curve still climbs, more examples help more than a dearer tier."
        }
    };
    let curve = if figures.learning_curve.len() < 2 { "" } else { drawn };
    section("learning", "Would more examples help?", how, &format!("{curve}{crossed}"))
}
