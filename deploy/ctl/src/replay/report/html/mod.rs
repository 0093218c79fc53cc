//! The report as one page: no asset, no request, readable without a script, in either colour scheme and on paper.

/// Texts of strangers on a page.
mod escape;

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

use sha2::{Digest, Sha256};

pub use self::escape::is_hidden;
use self::escape::{attribute, escaped};
use super::{Report, summary::Turns, text::headline};

const STYLE: &str = include_str!("style.css");
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
    format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n<meta name=referrer content=no-referrer>\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{}\n</main>\n<script>{SCRIPT}</script>\n\
         </body>\n</html>\n",
        base64(&Sha256::digest(SCRIPT)),
        attribute(&title),
        body.join("\n")
    )
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

/// A section with its heading and a sentence on how to read it.
fn section(id: &str, title: &str, how: &str, body: &str) -> String {
    let how = if how.is_empty() { String::new() } else { format!("<p class=how>{how}</p>") };
    format!("<section id={id}>\n<h2>{title}</h2>\n{how}\n{body}\n</section>")
}

/// 32 bytes as the policy wants them.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0u32, |number, i| number << 8 | u32::from(three.get(i).copied().unwrap_or_default()));
        for i in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_the_standard_says() {
        // RFC 4648, section 10.
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("hi", "aGk="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
