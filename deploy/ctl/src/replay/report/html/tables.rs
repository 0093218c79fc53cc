//! Stages, limits, cost and facts as tables.

use std::collections::BTreeSet;

use super::{
    super::{
        Check, Report, Sides, State,
        changes::grouped,
        summary::StageRow,
        threshold::{Gauge, Sort, percent, written},
    },
    escape::escaped,
    section,
};
use crate::page::table;

/// Width and height of an interval's drawing.
const WIDE: f64 = 220.0;
const HIGH: f64 = 22.0;

/// Intervals are drawn at least up to this rate, so that a tight one looks tight.
const REACH_MIN: f64 = 0.02;

pub fn gate(report: &Report) -> String {
    // What is exceeded first, then what noise may explain.
    let rank = |check: &&Check| match check.state {
        State::Fail => 0,
        State::Unsure => 1,
        State::Pass => 2,
    };
    let mut checks: Vec<&Check> = report.verdict.checks.iter().collect();
    checks.sort_by_key(rank);
    let rows: String = checks
        .into_iter()
        .map(|check| {
            let sort = check.figure.sort();
            let (class, word) = match check.state {
                State::Pass => ("pass", "kept"),
                State::Fail => ("fail", "exceeded"),
                State::Unsure => ("unsure", "unsure"),
            };
            let interval = check
                .interval
                .map_or(String::new(), |(low, high)| format!(" <small>{} to {}</small>", percent(low), percent(high)));
            let bound = if sort == Sort::Least { "≥" } else { "≤" };
            format!(
                "<tr class={class}><td><span class=state>{word}</span></td><td><code>{}</code><small>{}</small></td>\
                 <td class=n>{}{interval}</td><td class=n>{bound} {}</td><td class=n>{}</td></tr>",
                check.figure.name(),
                escaped(check.what),
                written(sort, check.found),
                written(sort, check.limit),
                written(sort, check.noise)
            )
        })
        .collect();
    let how = "Rates are shown with the baseline's own noise taken off; a limit counts as exceeded only when noise does \
               not explain it.";
    let head = "<tr><th><th>figure<th class=n>found<th class=n>limit<th class=n>noise";
    section("gate", "Limits", how, &table("gate", head, &rows))
}

pub fn stages(report: &Report) -> String {
    let ends = || report.stages.iter().map(|row| row.net_interval);
    let most = ends().map(|(_, high)| high).fold(REACH_MIN, f64::max);
    let least = ends().map(|(low, _)| low).fold(-most / 20.0, f64::min);
    let rows: String = report.stages.iter().map(|row| stage(row, (least, most))).collect();
    let how = "<b>Changed</b>: the candidate differs where the baseline agrees with itself. <b>First</b>: no earlier stage \
               explains it. <b>Net</b>: the rate of differing less the baseline's own, with its 95 % interval.";
    let head = "<tr><th>stage<th class=n>noise<th class=n>changed<th class=n>first<th class=n>net<th>95 % interval";
    let shape = &report.shape_of_answers;
    let beside = format!(
        "<p class=quiet>Answers are ×{:.2} as long (median); the confidence in the intent moved by {:.3} on average (noise {:.3}).</p>",
        shape.length_ratio, shape.confidence_apart, shape.confidence_noise
    );
    section("stages", "Stage by stage", how, &(table("stages", head, &rows) + &beside))
}

fn stage(row: &StageRow, reach: (f64, f64)) -> String {
    let still = if row.differs + row.noise == 0 { " class=still" } else { "" };
    format!(
        "<tr{still}><td>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n><b>{}</b></td><td>{}</td></tr>",
        row.stage.title(),
        grouped(row.noise),
        grouped(row.changed),
        grouped(row.root),
        percent(row.net),
        interval(row, reach)
    )
}

/// A dot with its interval, zero marked; every row has the same scale.
fn interval(row: &StageRow, (least, most): (f64, f64)) -> String {
    let x = |share: f64| 6.0 + (share - least) / (most - least) * (WIDE - 12.0);
    let (from, to) = row.net_interval;
    let words = format!("{} to {}", percent(from), percent(to));
    format!(
        "<svg class=interval viewBox=\"0 0 {WIDE} {HIGH}\" role=img aria-label=\"{words}\"><title>{words}</title>\
         <line class=zero x1={0:.1} x2={0:.1} y1=2 y2=20 /><line class=range x1={1:.1} x2={2:.1} y1=11 y2=11 />\
         <circle cx={3:.1} cy=11 r=4 /></svg>",
        x(0.0),
        x(from),
        x(to),
        x(row.net)
    )
}

pub fn cost(report: &Report) -> String {
    let cost = &report.cost;
    if !cost.is_any() {
        return String::new();
    }
    let tokens = |name: &str, side: &Sides<u64>| {
        let cells =
            [side.baseline_a, side.baseline_b, side.candidate].map(|n| format!("<td class=n>{}", grouped(n as usize)));
        format!("<tr><td>{name}{}", cells.concat())
    };
    let mut rows = tokens("tokens in", &cost.prompt_tokens) + &tokens("tokens out", &cost.completion_tokens);
    let money = &cost.money;
    if money.baseline_a + money.candidate > 0.0 {
        let cells = [money.baseline_a, money.baseline_b, money.candidate].map(|sum| format!("<td class=n>{sum:.2}"));
        rows += &format!("<tr><td>cost {}{}", escaped(&cost.currency), cells.concat());
    }
    let how = format!(
        "Over {} turns. The candidate takes {} of the baseline; the baseline's own runs differ by {}.",
        grouped(cost.turns),
        written(Sort::Ratio, cost.ratio),
        written(Sort::Ratio, cost.noise_ratio)
    );
    let head = "<tr><th><th class=n>baseline A<th class=n>baseline B<th class=n>candidate";
    section("cost", "Cost", &how, &table("cost", head, &rows))
}

pub fn facts(report: &Report) -> String {
    let facts = &report.facts;
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| rows += &format!("<tr><th scope=row>{}<td>{value}", escaped(name));
    row("range", &escaped(&facts.range));
    row("speed", &escaped(&facts.speed));
    row("run", &format!("{} to {}", moment(facts.started_at_ms), moment(facts.ended_at_ms)));
    row("turns", &format!("{} replayed, {} compared", grouped(report.turns.total), grouped(report.turns.compared())));
    for (why, n) in &facts.skipped {
        row("skipped", &format!("{}: {}", escaped(why), grouped(*n as usize)));
    }
    let misses = &facts.cassette_misses;
    let all = [misses.baseline_a, misses.baseline_b, misses.candidate].map(|n| grouped(n as usize));
    row("model calls without a recorded answer", &format!("baseline {} and {}, candidate {}", all[0], all[1], all[2]));
    let faithful = percent(report.shape_of_answers.faithful);
    row(
        "faithful",
        &format!("the baseline's intent, outcome, kind and citations are the recorded ones in {faithful} of turns"),
    );
    let versions: String = report
        .versions
        .iter()
        .map(|(name, sides)| {
            let cells = [&sides.baseline_a, &sides.baseline_b, &sides.candidate].map(names);
            let moved = if sides.baseline_a == sides.candidate { "" } else { " class=moved" };
            format!("<tr{moved}><td>{name}<td>{}<td>{}<td>{}", cells[0], cells[1], cells[2])
        })
        .collect();
    let head = "<tr><th>version of<th>baseline A<th>baseline B<th>candidate";
    let how = "Rates: Wilson (1927). Net: Bonett and Price (2012). Chance: McNemar, exact mid-p (Fagerland 2013); causes at \
               0.01 after Holm (1979). Texts: Dice over character pairs. Rankings: rank-biased overlap (Webber 2010), 0.9.";
    let body = table("versions", head, &versions) + &table("facts", "", &rows) + &format!("<p class=quiet>{how}</p>");
    section("facts", "The run", "", &body)
}

fn names(names: &BTreeSet<String>) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("<code>{}</code>", escaped(name))).collect();
    if names.is_empty() { "–".into() } else { names.join(" ") }
}

/// A moment in UTC: `2026-11-03 09:00:00`. Days become dates as in H. Hinnant, chrono-Compatible Low-Level Date Algorithms.
fn moment(unix_ms: u64) -> String {
    let (days, second) = (unix_ms / 86_400_000, unix_ms / 1_000 % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(moment(1_795_383_999_000), "2026-11-22 21:46:39 UTC");
    }
}
