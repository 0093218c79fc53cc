//! The worst cases side by side: what each side knew, cited and said, with what differs marked.

use super::{
    super::{Case, Report, Shown, diff::Piece, latency::millis, stage::Stage, worst::Source},
    escape::{escaped, isolated, sentence},
    section,
};

/// Cases that stand open; the others unfold.
const OPEN: usize = 2;

/// Passages of a side that are listed.
const PASSAGES_MAX: usize = 8;

pub fn cases(report: &Report) -> String {
    if report.worst.is_empty() {
        return section("cases", "Side by side", "", "<p class=quiet>No turn changed.</p>");
    }
    let present: Vec<Stage> =
        Stage::ALL.into_iter().filter(|stage| report.worst.iter().any(|case| case.root == *stage)).collect();
    let buttons: String = present
        .iter()
        .map(|stage| format!("<button type=button data-stage={}>{}</button>", stage.name(), stage.title()))
        .collect();
    let filter = format!(
        "<div class=filter hidden><button type=button data-stage=\"\" aria-pressed=true>all</button>{buttons}\
         <input type=search placeholder=\"find in these\" aria-label=\"find in these\">\
         <button type=button class=unfold>unfold all</button></div>"
    );
    let items: String = report.worst.iter().enumerate().map(|(n, case)| item(report, n, case)).collect();
    let how = format!(
        "The {} worst of {} changed turns: first those that end otherwise, then other kinds of answer, then citations, then \
         texts; every change has its share.",
        report.worst.len(),
        super::super::changes::grouped(report.turns.changed)
    );
    section("cases", "Side by side", &how, &format!("{filter}<div class=cases>{items}</div>"))
}

fn item(report: &Report, n: usize, case: &Case) -> String {
    let open = if n < OPEN { " open" } else { "" };
    let chips: String = case
        .stages
        .iter()
        .map(|stage| {
            let first = if *stage == case.root { " root" } else { "" };
            format!("<span class=\"chip{first}\">{}</span>", stage.title())
        })
        .collect();
    let why = match case.change.and_then(|change| report.changes.get(change)) {
        Some(change) => sentence(&change.sentence),
        None if case.stages.iter().any(|stage| stage.is_seen()) => "not named above: noise could explain it".into(),
        None => "what was found moved, and no customer sees it".into(),
    };
    let why = format!("<p class=why>{why}</p>");
    let alike = case.similarity.map_or(String::new(), |similarity| match similarity {
        1.0.. => "<span class=alike>same text</span>".into(),
        similarity => format!("<span class=alike>{similarity:.2} alike</span>"),
    });
    format!(
        "<details class=case id=case-{n} data-stage={}{open}><summary><span class=rank>{}</span><span class=question>{}</span>\
         <span class=chips>{chips}{alike}</span></summary>{why}<div class=sides>{}{}</div>\
         <p class=ids>request <code>{}</code> · conversation <code>{}</code></p></details>",
        case.root.name(),
        n + 1,
        isolated(&case.question),
        side("baseline", &report.facts.baseline, &case.baseline, &case.candidate, &said(&case.text_diff, true)),
        side("candidate", &report.facts.candidate, &case.candidate, &case.baseline, &said(&case.text_diff, false)),
        escaped(&case.request),
        escaped(&case.conversation)
    )
}

fn side(class: &str, name: &str, own: &Shown, other: &Shown, said: &str) -> String {
    let differs = |differs: bool| if differs { " class=differs" } else { "" };
    let mut facts = String::new();
    let mut fact = |name: &str, own: &str, other: &str, beside: &str| {
        if !own.is_empty() || !other.is_empty() {
            let shown = if own.is_empty() { "–".to_owned() } else { escaped(own) };
            facts += &format!("<dt>{name}<dd{}>{shown}{beside}", differs(own != other));
        }
    };
    let answered = own.outcome == "answered" && other.outcome == "answered";
    if !answered {
        fact("outcome", &own.outcome, &other.outcome, "");
    }
    if own.language != other.language {
        fact("language", &own.language, &other.language, "");
    }
    fact("intent", &own.intent, &other.intent, &format!(" <small>{:.2}</small>", own.confidence));
    fact("kind", &own.kind, &other.kind, "");
    fact("who spoke", &own.voice, &other.voice, "");
    fact("away", &own.degraded.join(", "), &other.degraded.join(", "), "");
    facts += &format!("<dt>cited<dd>{}", sources(&own.citations, &other.citations));
    facts += &format!("<dt>found<dd>{}", sources(&own.passages, &other.passages));
    facts += &format!("<dt>took<dd>{} ms", millis(own.total_ms));
    let said = if said.is_empty() { "<span class=quiet>nothing was said</span>" } else { said };
    format!(
        "<div class=\"side {class}\"><h3>{}</h3><blockquote dir=auto>{said}</blockquote><dl>{facts}</dl></div>",
        escaped(name)
    )
}

fn sources(own: &[Source], other: &[Source]) -> String {
    if own.is_empty() {
        return "–".into();
    }
    let item = |source: &Source| {
        let known = other.iter().any(|other| other.id == source.id);
        let class = if known { "" } else { " class=differs" };
        format!("<li{class} title=\"{}\">{}", super::escape::attribute(&source.title), isolated(&source.id))
    };
    let more = own.len().saturating_sub(PASSAGES_MAX);
    let more = if more == 0 { String::new() } else { format!("<li>and {more} more") };
    format!("<ol>{}{more}</ol>", own.iter().take(PASSAGES_MAX).map(item).collect::<String>())
}

/// One side of the comparison: what both say, and what only this one says. Texts that have nothing in common are not
/// marked: all of it would be.
fn said(pieces: &[Piece], baseline: bool) -> String {
    let common = |piece: &Piece| matches!(piece, Piece::Same(text) if text.chars().any(char::is_alphanumeric));
    let marked = pieces.iter().any(common);
    let piece = |piece: &Piece| match piece {
        Piece::Same(text) => escaped(text),
        Piece::Gone(text) if baseline && !marked => escaped(text),
        Piece::New(text) if !baseline && !marked => escaped(text),
        Piece::Gone(text) if baseline => format!("<del>{}</del>", escaped(text)),
        Piece::New(text) if !baseline => format!("<ins>{}</ins>", escaped(text)),
        Piece::Gone(_) | Piece::New(_) => String::new(),
    };
    pieces.iter().map(piece).collect()
}
