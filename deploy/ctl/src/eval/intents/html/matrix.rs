//! Who is confused with whom: all intents as one picture, the groups that are confused as tables, the worst pairs as a list.

use std::fmt::Write;

use super::super::{lists::Confusion, report::Report};
use crate::{
    eval::html::head,
    page::{
        escape::{attribute, escaped, isolated},
        grouped, percent, section, table,
    },
};

/// Groups that stand open; further ones unfold.
const GROUPS_OPEN: usize = 8;

/// Pairs that are listed.
const PAIRS_MAX: usize = 40;

/// The picture of all intents: its side, and the least that a cell may be seen at.
const SIDE: f64 = 720.0;
const CELL_MAX: f64 = 16.0;

pub fn confusion(report: &Report) -> String {
    if report.confusions.is_empty() {
        return section("confusion", "Who is taken for whom", "", "<p class=quiet>Nobody for anybody else.</p>");
    }
    let groups: Vec<&Vec<String>> = report.groups.iter().filter(|group| within(report, group) > 0).collect();
    let alone =
        report.groups.iter().map(Vec::len).sum::<usize>() - groups.iter().map(|group| group.len()).sum::<usize>();
    let open: String = groups.iter().take(GROUPS_OPEN).map(|group| drawn(report, group)).collect();
    let rest: String = groups.iter().skip(GROUPS_OPEN).map(|group| drawn(report, group)).collect();
    let more = match groups.len().saturating_sub(GROUPS_OPEN) {
        0 => String::new(),
        n => format!("<details class=more><summary>{n} more groups</summary><div class=groups>{rest}</div></details>"),
    };
    let how = format!(
        "Intents that are confused stand together. A row is what was meant, a column what it was taken for. {} of {} intents \
         are confused with none of their neighbours and are left out of the tables.",
        grouped(alone),
        grouped(report.per_intent.len())
    );
    let body = format!("{}<div class=groups>{open}</div>{more}", pairs(report));
    section("confusion", "Who is taken for whom", &how, &format!("{}{body}", picture(report)))
}

/// Lines that are confused within a group.
fn within(report: &Report, group: &[String]) -> usize {
    let inside = |name: &String| group.contains(name);
    let own = report.confusions.iter().filter(|pair| inside(&pair.intent) && inside(&pair.taken_for));
    own.map(|pair| pair.count).sum()
}

/// All intents in the order of their groups: a dot where one was taken for another, the more the larger.
fn picture(report: &Report) -> String {
    let names: Vec<&str> = report.groups.iter().flatten().map(String::as_str).collect();
    let place = |name: &str| names.iter().position(|other| *other == name);
    let cell = (SIDE / names.len().max(1) as f64).min(CELL_MAX);
    let side = cell * names.len() as f64;
    let most = report.confusions.first().map_or(1, |pair| pair.count).max(1) as f64;
    let mut drawn = format!("<rect class=ground width={side:.1} height={side:.1} />");
    let mut from = 0.0;
    for group in report.groups.iter().filter(|group| group.len() > 1) {
        let wide = group.len() as f64 * cell;
        let _ = write!(drawn, "<rect class=frame x={from:.1} y={from:.1} width={wide:.1} height={wide:.1} />");
        from += wide;
    }
    for class in &report.per_intent {
        let Some(at) = place(&class.name) else { continue };
        let x = at as f64 * cell;
        let _ = write!(
            drawn,
            "<rect class=own x={:.1} y={:.1} width={cell:.1} height={cell:.1} opacity={:.2}><title>{}: {} of {} right</title></rect>",
            x,
            x,
            0.15 + 0.6 * class.recall,
            attribute(&class.name),
            percent(class.recall),
            grouped(class.support)
        );
    }
    for pair in &report.confusions {
        let (Some(row), Some(column)) = (place(&pair.intent), place(&pair.taken_for)) else { continue };
        let radius = cell * (0.34 + 0.5 * (pair.count as f64 / most).sqrt());
        let _ = write!(
            drawn,
            "<circle class=cell cx={:.1} cy={:.1} r={radius:.1} opacity=.75><title>{}</title></circle>",
            (column as f64 + 0.5) * cell,
            (row as f64 + 0.5) * cell,
            attribute(&told(pair))
        );
    }
    format!(
        "<figure><figcaption><b>All {} intents</b>, named on hover; frames are the groups below <span class=key><span class=first><i></i>right</span> \
         <span class=other><i></i>taken for another</span></span></figcaption>\
         <svg class=all viewBox=\"-4 -4 {2:.0} {2:.0}\" style=\"max-width:{2:.0}px\" role=img aria-label=\"confusion of all intents\">{1}</svg></figure>",
        names.len(),
        drawn,
        side + 8.0
    )
}

fn told(pair: &Confusion) -> String {
    format!("{} taken for {}: {} of {}", pair.intent, pair.taken_for, pair.count, pair.of)
}

/// One group as a table: columns are numbered as the rows are.
fn drawn(report: &Report, group: &[String]) -> String {
    let numbers: String = (1..=group.len()).map(|n| format!("<th>{n}")).collect();
    let row = |(n, truth): (usize, &String)| {
        let support = report.per_intent.iter().find(|class| class.name == *truth).map_or(0, |class| class.support);
        let cells: String = group
            .iter()
            .map(|found| {
                let count = report.counts.of(truth, found);
                let share = 100.0 * count as f64 / support.max(1) as f64;
                let title = attribute(&format!("{truth} taken for {found}: {count} of {support}"));
                match (count, truth == found) {
                    (0, false) => "<td class=none>·".to_owned(),
                    (_, true) => format!("<td class=own style=\"--s:{:.0}%\" title=\"{title}\">{count}", share * 0.5),
                    _ => format!("<td style=\"--s:{:.0}%\" title=\"{title}\">{count}", (18.0 + share * 2.0).min(85.0)),
                }
            })
            .collect();
        format!("<tr><th scope=row title=\"{}\"><small>{n}</small>{}{cells}", attribute(truth), escaped(truth))
    };
    let rows: String = (1..).zip(group).map(row).collect();
    table("matrix", &format!("<tr><th>{numbers}"), &rows)
}

fn pairs(report: &Report) -> String {
    let row = |pair: &Confusion| {
        let examples: Vec<String> = pair.examples.iter().map(|text| isolated(text)).collect();
        format!(
            "<tr><td><code>{}</code><td><code>{}</code><td class=n data-v={}>{}<small>of {}</small><td><p class=said>{}</p>",
            escaped(&pair.intent),
            escaped(&pair.taken_for),
            pair.count,
            grouped(pair.count),
            grouped(pair.of),
            examples.join("<br>")
        )
    };
    let rows: String = report.confusions.iter().take(PAIRS_MAX).map(row).collect();
    let more = report.confusions.len().saturating_sub(PAIRS_MAX);
    let more = if more == 0 {
        String::new()
    } else {
        format!("<p class=quiet>and {} more pairs in the JSON</p>", grouped(more))
    };
    let columns = [("", "meant"), ("", "taken for"), ("n", "times"), ("", "for example")];
    format!("<div class=tall>{}</div>{more}", table("pairs sortable", &head(&columns), &rows))
}
