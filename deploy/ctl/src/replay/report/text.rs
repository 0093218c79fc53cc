//! PURE: the report in the terminal: the verdict, what changed, the stages, what the gate says.

use super::{
    Report, State,
    changes::{Change, grouped, turns},
    latency::millis,
    threshold::{Gauge, percent},
};

/// Sentences of one sort that a terminal shows; the page has all.
const SENTENCES_MAX: usize = 12;

/// Writes the account.
pub fn text(report: &Report) -> String {
    let mut lines = vec![headline(report), String::new()];
    section(&mut lines, "what changed", &report.changes);
    section(&mut lines, "unseen by customers", &report.unseen);
    if !report.doubtful.is_empty() {
        let all = report.doubtful.iter().map(|change| change.turns).sum();
        let n = report.doubtful.len();
        lines.push(format!("{n} more in {} are too few to be told from noise; the page lists them", turns(all)));
        lines.push(String::new());
    }
    lines.extend(report.slower.iter().map(|sentence| format!("  {sentence}")));
    if !report.slower.is_empty() {
        lines.push(String::new());
    }
    lines.push(format!("{:<16}{:>9}{:>9}{:>9}{:>9}  net (95 %)", "stage", "compared", "noise", "changed", "root"));
    for row in report.stages.iter().filter(|row| row.differs + row.noise > 0) {
        let (low, high) = row.net_interval;
        lines.push(format!(
            "{:<16}{:>9}{:>9}{:>9}{:>9}  {} ({} to {})",
            row.stage.title(),
            grouped(row.compared),
            grouped(row.noise),
            grouped(row.changed),
            grouped(row.root),
            percent(row.net),
            percent(low),
            percent(high)
        ));
    }
    if report.stages.iter().all(|row| row.differs + row.noise == 0) {
        lines.push("no stage differs".into());
    }
    lines.push(String::new());
    latency(&mut lines, report);
    lines.extend(report.verdict.checks.iter().filter(|check| check.state != State::Pass).map(|check| {
        let word = if check.state == State::Fail { "FAIL" } else { "unsure" };
        format!("{word:<8}{} {}", check.figure.name(), check.sentence)
    }));
    lines.extend(report.verdict.notes.iter().map(|note| format!("note    {note}")));
    lines.push(verdict(report));
    plain(&lines.join("\n"))
}

/// What became of the turns, in one sentence.
pub fn headline(report: &Report) -> String {
    let counts = &report.turns;
    if counts.compared() == 0 {
        return "Nothing was compared: no turn has a record of both of the baseline's runs.".into();
    }
    let of = grouped(counts.compared());
    let noise = match counts.noise {
        0 => "The baseline's own two runs agree everywhere.".into(),
        n => format!("In {} the baseline's own two runs disagree.", turns(n)),
    };
    match counts.changed {
        0 => format!("Nothing changed in {}. {noise}", turns(counts.compared())),
        n if counts.seen == 0 => {
            format!("{} of {of} turns changed, none of them in what the customer sees. {noise}", grouped(n))
        }
        n if counts.seen == n => format!("{} of {of} turns changed in what the customer sees. {noise}", grouped(n)),
        n => {
            let (seen, unseen) = (grouped(counts.seen), grouped(n - counts.seen));
            format!("{seen} of {of} turns changed in what the customer sees, {unseen} more unseen. {noise}")
        }
    }
}

fn section(lines: &mut Vec<String>, title: &str, changes: &[Change]) {
    if changes.is_empty() {
        return;
    }
    lines.push(format!("{title}:"));
    lines.extend(changes.iter().take(SENTENCES_MAX).map(|change| format!("  {}", change.sentence)));
    if changes.len() > SENTENCES_MAX {
        lines.push(format!("  and {} more", changes.len() - SENTENCES_MAX));
    }
    lines.push(String::new());
}

fn latency(lines: &mut Vec<String>, report: &Report) {
    for percentile in report.latency.last().into_iter().flat_map(|total| &total.percentiles) {
        let ms = &percentile.ms;
        lines.push(format!(
            "total {}  {} and {} ms, candidate {} ms",
            percentile.name,
            millis(ms.baseline_a),
            millis(ms.baseline_b),
            millis(ms.candidate)
        ));
    }
    lines.push(String::new());
}

fn verdict(report: &Report) -> String {
    let checks = report.verdict.checks.len();
    let over = report.verdict.checks.iter().filter(|check| check.state == State::Fail).count();
    match (report.verdict.passed, over) {
        (true, _) => format!("PASS: {checks} limits are kept"),
        (false, 0) => "FAIL: nothing was compared".into(),
        (false, over) => format!("FAIL: {over} of {checks} limits are exceeded"),
    }
}

/// Names out of the data may hold what a terminal obeys.
fn plain(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control() && !super::html::is_hidden(*c)).collect()
}
