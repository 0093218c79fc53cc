//! The rehearsal as a page: replicas, lag and latency over the day, and the verdicts.

use super::{
    Candidate, Report,
    day::HOURS,
    run::Lived,
    verdict::{Fate, Figures, quantile},
};
use crate::{
    eval::html::{self, Drawing, Headline, drawings, head},
    page::{
        escape::escaped,
        grouped,
        plot::{Axis, Mark, Plot, whole_percent},
        section, table,
    },
};

/// Points of a curve of latency: one for each quarter of an hour.
const WINDOWS: usize = 96;

/// The whole page.
pub(super) fn page(report: &Report, lived: &[(Candidate, Lived)]) -> String {
    let Some((_, first)) = lived.first() else { return String::new() };
    let figures = &first.figures;
    let failed = report.verdicts.iter().filter(|verdict| !verdict.holds).count();
    let sentence = match failed {
        0 => "The manifests' autoscaling holds through the day.".to_owned(),
        n => format!("{n} of {} verdicts do not hold.", report.verdicts.len()),
    };
    let kicker = format!("Rehearsal of scaling · {} · a day in {:.0} s", report.role, report.real_s);
    let mut sections = vec![section("verdicts", "Verdicts", &report.how, &verdicts(report))];
    for (number, (candidate, lived_one)) in lived.iter().enumerate() {
        let title = format!("The day with {}", escaped(&candidate.name));
        let how = "Hours are the day's; seconds are the cluster's. The promotion begins at 20 h.";
        sections.push(section(&candidate.slug, &title, how, &drawings(&drawn(lived_one))));
        if number == 0 && lived.len() > 1 {
            let how = "Each candidate lived the same day, with the same customers.";
            sections.push(section("candidates", "Candidates", how, &candidates(lived)));
        }
    }
    html::page("Rehearsal of scaling", &kicker, &sentence, &headlines(figures), &sections)
}

fn headlines(figures: &Figures) -> Vec<Headline> {
    let headline = |value: String, name, beside: String| Headline { value, name, beside };
    vec![
        headline(grouped(figures.lost), "lost", format!("of {} messages", grouped(figures.issued))),
        headline(figures.flips.to_string(), "turns of the count", "under constant load".into()),
        headline(
            figures.reaction_s.map_or("never".into(), |s| format!("{s:.0} s")),
            "to the promotion",
            "until enough were ready".into(),
        ),
        headline(format!("{:.1} s", figures.p99_s), "p99", format!("p50 {:.1} s", figures.p50_s)),
        headline(
            format!("{:.0}", figures.worker_minutes),
            "worker-minutes",
            format!("{} used", whole_percent(figures.used)),
        ),
    ]
}

fn verdicts(report: &Report) -> String {
    let row = |verdict: &super::Verdict| {
        let (class, word) = if verdict.holds { ("pass", "holds") } else { ("fail", "does not hold") };
        format!("<tr class={class}><td><span class=state>{word}</span><td>{}", escaped(&verdict.sentence))
    };
    table("gate", "", &report.verdicts.iter().map(row).collect::<String>())
}

fn candidates(lived: &[(Candidate, Lived)]) -> String {
    let row = |(candidate, lived): &(Candidate, Lived)| {
        let cells = super::cells(&lived.figures).map(|cell| format!("<td class=n>{cell}")).concat();
        format!("<tr><th scope=row>{}{cells}", escaped(&candidate.name))
    };
    let columns: Vec<(&str, &str)> =
        std::iter::once(("", "candidate")).chain(super::COLUMNS.map(|name| ("n", name))).collect();
    table("runs", &head(&columns), &lived.iter().map(row).collect::<String>())
}

fn drawn(lived: &Lived) -> Vec<Drawing<'static>> {
    let day_s = lived.samples.last().map_or(1.0, |sample| sample.at_s).max(1.0);
    let hour = |at_s: f64| at_s / day_s * HOURS;
    let x = Axis { name: "hour", from: 0.0, to: HOURS, logarithmic: false, write: |hour| format!("{hour:.0}") };
    let axis = |name, to: f64| Axis { name, from: 0.0, to: to.max(1.0) * 1.05, logarithmic: false, write: figure };
    let over = |value: fn(&super::verdict::Sample) -> f64| -> Vec<(f64, f64)> {
        lived.samples.iter().map(|sample| (hour(sample.at_s), value(sample))).collect()
    };
    let top = |points: &[(f64, f64)]| points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
    let (replicas, ready) = (over(|s| f64::from(s.replicas)), over(|s| f64::from(s.ready)));
    let (lag, rate) = (over(|s| s.lag as f64), over(|s| s.rate));
    let (p50, p99) = (latency(lived, day_s, 0.5), latency(lived, day_s, 0.99));
    let line = |class, points| Mark::Line { class, points };
    let drawing = |name, title, y, marks| Drawing { name, title, plot: Plot { what: title, x, y, marks } };
    vec![
        drawing(
            "replicas",
            "Response workers: wished for (blue) and ready (orange)",
            axis("workers", top(&replicas)),
            vec![line("baseline", stairs(&replicas)), line("candidate", stairs(&ready))],
        ),
        drawing("load", "Turns a second that come in", axis("turns/s", top(&rate)), vec![line("baseline", rate)]),
        drawing("lag", "Turns that wait or are being answered", axis("turns", top(&lag)), vec![line("candidate", lag)]),
        drawing(
            "latency",
            "Time to the answer: p50 (blue) and p99 (orange), each quarter of an hour",
            axis("seconds", top(&p99)),
            vec![line("baseline", p50), line("candidate", p99)],
        ),
    ]
}

fn figure(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// A count keeps its value until it changes.
fn stairs(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let steps = points.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
    steps.chain(points.last().copied()).collect()
}

fn latency(lived: &Lived, day_s: f64, share: f64) -> Vec<(f64, f64)> {
    let mut windows = vec![Vec::new(); WINDOWS];
    for told in lived.told.iter().filter(|told| told.fate == Fate::Answered) {
        let at = (told.at_s / day_s * WINDOWS as f64) as usize;
        windows[at.min(WINDOWS - 1)].push(told.took_s);
    }
    let points = windows.into_iter().enumerate().filter(|(_, took)| !took.is_empty());
    points.map(|(n, took)| ((n as f64 + 0.5) / WINDOWS as f64 * HOURS, quantile(took, share))).collect()
}
