//! The report as one page: no asset, no request, readable without a script, in either colour scheme and on paper.

/// What changed, first of all.
mod story;

/// Stages, limits, cost and facts as tables.
mod tables;

/// Which intents became which.
mod flow;

/// Histograms.
mod bars;

/// Latency as dots and curves.
mod times;

/// The worst cases side by side.
mod cases;

use super::{Report, summary::Turns, text::headline};
use crate::gate::Gauge;
pub use crate::page::escape::is_hidden;
use crate::page::{
    Page,
    escape::{self, escaped},
    section,
};

const SCRIPT: &str = include_str!("page.js");

/// Writes the page.
pub fn page(report: &Report) -> String {
    let facts = &report.facts;
    let title = format!("Replay of {}: {} beside {}", facts.tenant, facts.candidate, facts.baseline);
    let body = [
        hero(report),
        story::story(report),
        tables::gate(report),
        tables::stages(report),
        flow::intents(report),
        bars::overlaps(report),
        times::latency(report),
        tables::cost(report),
        cases::cases(report),
        tables::facts(report),
    ];
    Page { title: &title, style: "", script: SCRIPT, body: &body.join("\n") }.written()
}

fn hero(report: &Report) -> String {
    let (facts, verdict) = (&report.facts, &report.verdict);
    let side = |class: &str, name: &str| format!("<span class=\"side {class}\">{}</span>", escaped(name));
    let channel = facts.channel.as_ref().map_or(String::new(), |channel| format!(" · channel {}", escaped(channel)));
    let (class, word) = if verdict.passed { ("pass", "Passes") } else { ("fail", "Fails") };
    let over: Vec<String> = verdict
        .checks
        .iter()
        .filter(|check| check.state == super::State::Fail)
        .map(|check| format!("<li><code>{}</code> {}</li>", check.figure.name(), escaped(&check.sentence)))
        .collect();
    let why = match (verdict.passed, over.is_empty()) {
        (true, _) => format!("all {} limits are kept", verdict.checks.len()),
        (false, true) => "there was nothing to compare".into(),
        (false, false) => format!("{} of {} limits exceeded", over.len(), verdict.checks.len()),
    };
    let over = if over.is_empty() { String::new() } else { format!("<ul>{}</ul>", over.concat()) };
    let notes: String = verdict.notes.iter().map(|note| format!("<p class=note>{}</p>", escaped(note))).collect();
    let headline = headline(report);
    let (first, rest) = headline.split_once(". ").unwrap_or((headline.trim_end_matches('.'), ""));
    format!(
        "<header class=hero>\n<p class=kicker>Replay · {}{channel} · {}<br>{} beside {}</p>\n<h1>{}.</h1>\n<p class=lede>{}</p>\n\
         {}\n<div class=\"verdict {class}\"><p><strong>{word}</strong> <span>{why}</span></p>{over}</div>\n{notes}</header>",
        escaped(&facts.tenant),
        escaped(&facts.range),
        side("candidate", &facts.candidate),
        side("baseline", &facts.baseline),
        escaped(first),
        escaped(rest),
        strip(&report.turns)
    )
}

/// All turns as one strip.
fn strip(turns: &Turns) -> String {
    let parts = [
        ("seen", "changed, seen by customers", turns.seen),
        ("unseen", "changed, unseen", turns.changed - turns.seen),
        ("noise", "noise of the baseline", turns.noise),
        ("missing", "not compared", turns.missing),
        ("same", "unchanged", turns.unchanged),
    ];
    let shown = || parts.iter().filter(|(.., n)| *n > 0);
    let pieces: String =
        shown().map(|(class, _, n)| format!("<i class={class} style=\"flex-grow:{n}\"></i>")).collect();
    let legend: String = shown()
        .map(|(class, words, n)| {
            format!("<li><i class={class}></i><b>{}</b> {words}</li>", super::changes::grouped(*n))
        })
        .collect();
    format!("<div class=strip aria-hidden=true>{pieces}</div><ul class=legend>{legend}</ul>")
}
