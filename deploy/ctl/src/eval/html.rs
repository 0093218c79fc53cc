//! PURE: what the pages of all three reports share: figures at the top, bars in tables, and what a script adds.

use crate::page::{
    Page,
    escape::escaped,
    plot::{self, Plot},
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A drawing with its name as a file, and what stands above it.
pub struct Drawing<'a> {
    pub name: &'static str,
    pub title: &'a str,
    pub plot: Plot<'a>,
}

/// One figure at the top of a page.
pub struct Headline {
    pub value: String,
    pub name: &'static str,
    pub beside: String,
}

/// The whole page.
pub fn page(title: &str, kicker: &str, sentence: &str, headlines: &[Headline], sections: &[String]) -> String {
    let headlines: String = headlines
        .iter()
        .map(|one| format!("<li><b>{}</b><span>{}</span><small>{}</small>", one.value, one.name, escaped(&one.beside)))
        .collect();
    let body = format!(
        "<header class=hero>\n<p class=kicker>{}</p>\n<h1>{}</h1>\n<ul class=headlines>{headlines}</ul>\n</header>\n{}",
        escaped(kicker),
        escaped(sentence),
        sections.join("\n")
    );
    let style = format!("{STYLE}{}", plot::STYLE);
    Page { title, style: &style, script: SCRIPT, body: &body }.written()
}

/// Drawings side by side.
pub fn drawings<'a>(all: impl IntoIterator<Item = &'a Drawing<'a>>) -> String {
    let figure = |drawing: &Drawing<'_>| {
        format!("<figure><figcaption>{}</figcaption>{}</figure>", drawing.title, drawing.plot.inline())
    };
    format!("<div class=pair>{}</div>", all.into_iter().map(figure).collect::<String>())
}

/// A cell with a share, as a number over a bar; sorted by the number.
pub fn bar(share: f64, text: &str) -> String {
    format!("<td class=n data-v={share:.6}>{text}<i class=under style=\"--s:{:.1}%\"></i>", share * 100.0)
}

/// A head whose columns can be sorted where scripts run: (class, name).
pub fn head(columns: &[(&str, &str)]) -> String {
    let cell = |(class, name): &(&str, &str)| match class.is_empty() {
        true => format!("<th>{name}"),
        false => format!("<th class={class}>{name}"),
    };
    format!("<tr>{}", columns.iter().map(cell).collect::<String>())
}
