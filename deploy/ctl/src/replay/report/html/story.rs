//! What changed, first of all: one sentence for each cause, with its share of the turns, what followed, and examples.

use super::{
    super::{Change, Report, changes::grouped},
    escape::{escaped, isolated, sentence},
    section,
};

/// Sentences of one sort on the page; the JSON has all.
const SENTENCES_MAX: usize = 40;

/// Questions shown below a sentence.
const EXAMPLES_MAX: usize = 2;

pub fn story(report: &Report) -> String {
    let most = report.changes.iter().map(|change| change.turns).max().unwrap_or(1);
    let mut body = match report.changes.is_empty() {
        true => "<p class=quiet>Nothing that can be told from noise.</p>".to_owned(),
        false => list(report, &report.changes, most),
    };
    if !report.slower.is_empty() {
        let items: String = report.slower.iter().map(|line| format!("<li>{}</li>", sentence(line))).collect();
        body += &format!("<ul class=slower>{items}</ul>");
    }
    body += &folded(report, &report.unseen, "under the surface", "what was found moved, and no customer sees it");
    body += &folded(report, &report.doubtful, "doubtful", "too few to be told from the baseline's own noise");
    let how = match report.changes.is_empty() {
        true => "",
        false => "Each changed turn is told once, under the first stage that differs and the cause that explains most.",
    };
    section("changes", "What changed", how, &body)
}

fn folded(report: &Report, changes: &[Change], title: &str, why: &str) -> String {
    let most = changes.iter().map(|change| change.turns).max().unwrap_or(1);
    let turns: usize = changes.iter().map(|change| change.turns).sum();
    match changes.is_empty() {
        true => String::new(),
        false => format!(
            "<details class=more><summary>{} {title}: {why} ({} turns)</summary>{}</details>",
            changes.len(),
            grouped(turns),
            list(report, changes, most)
        ),
    }
}

fn list(report: &Report, changes: &[Change], most: usize) -> String {
    let items: String = changes.iter().take(SENTENCES_MAX).map(|change| item(report, change, most)).collect();
    let more = changes.len().saturating_sub(SENTENCES_MAX);
    let more = if more == 0 { String::new() } else { format!("<p class=quiet>and {more} more in the JSON</p>") };
    format!("<ol class=changes>{items}</ol>{more}")
}

fn item(report: &Report, change: &Change, most: usize) -> String {
    let wide = 100.0 * change.turns as f64 / most.max(1) as f64;
    let seen = 100.0 * change.seen as f64 / change.turns.max(1) as f64;
    let mut facts = vec![format!("<span class=chip>{}</span>", change.stage.title())];
    facts.push(match change.seen {
        0 => "customers see no difference".into(),
        n if n == change.turns => "customers see it in all of them".into(),
        n => format!("customers see it in {}", grouped(n)),
    });
    if !change.followed_by.is_empty() {
        let after: Vec<String> =
            change.followed_by.iter().map(|(stage, n)| format!("{stage} {}", grouped(*n))).collect();
        facts.push(format!("followed by {}", after.join(", ")));
    }
    if change.noise > 0 {
        facts.push(format!("noise alone: {}", chance(change.chance)));
    }
    format!(
        "<li><div class=count><b>{}</b><span class=meter style=\"width:{wide:.1}%\"><i style=\"width:{seen:.1}%\"></i></span></div>\
         <div><p class=sentence>{}</p><p class=beside>{}</p>{}</div></li>",
        grouped(change.turns),
        sentence(&capitalised(&change.sentence)),
        facts.join(" · "),
        examples(report, change)
    )
}

/// Questions of a change, those first that stand side by side below.
fn examples(report: &Report, change: &Change) -> String {
    let own = report.changes.iter().position(|other| std::ptr::eq(other, change));
    let below = report.worst.iter().enumerate().filter(|(_, case)| own.is_some() && case.change == own);
    let mut shown: Vec<(&str, String)> = Vec::new();
    let linked = below.map(|(n, case)| (case.question.as_str(), format!(" <a href=#case-{n}>side by side</a>")));
    let plain = change.examples.iter().map(|example| (example.question.as_str(), String::new()));
    for (question, link) in linked.chain(plain) {
        if shown.len() < EXAMPLES_MAX && !shown.iter().any(|(known, _)| *known == question) {
            shown.push((question, link));
        }
    }
    let items: Vec<String> = shown.iter().map(|(question, link)| format!("“{}”{link}", isolated(question))).collect();
    if items.is_empty() { String::new() } else { format!("<p class=example>{}</p>", items.join(" · ")) }
}

fn chance(p: f64) -> String {
    if p < 0.001 { "p &lt; 0.001".into() } else { escaped(&format!("p = {p:.3}")) }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
