//! Pages for people: one file that needs nothing from anywhere, readable without a script, in either colour scheme and on paper.

/// Texts of strangers on a page.
pub mod escape;

/// Figures as people read them.
mod number;

/// Where words stand in a drawing.
mod labels;

/// Drawings with two axes.
pub mod plot;

use sha2::{Digest, Sha256};

use self::escape::attribute;
pub use self::number::{grouped, micros, millis, percent};

/// What every page looks like.
const STYLE: &str = include_str!("style.css");

/// A page's own parts.
pub struct Page<'a> {
    pub title: &'a str,
    /// Rules beside those that all pages share.
    pub style: &'a str,
    pub script: &'a str,
    pub body: &'a str,
}

impl Page<'_> {
    /// The whole file. Its policy lets nothing run but the page's own script.
    pub fn written(&self) -> String {
        let Self { title, style, script, body } = self;
        format!(
            "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
             <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; \
             script-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=viewport content=\"width=device-width, initial-scale=1\">\n<meta name=referrer content=no-referrer>\n\
             <title>{}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n\
             <script>{script}</script>\n</body>\n</html>\n",
            base64(&Sha256::digest(script)),
            attribute(title)
        )
    }
}

/// A section with its heading and a sentence on how to read it.
pub fn section(id: &str, title: &str, how: &str, body: &str) -> String {
    let how = if how.is_empty() { String::new() } else { format!("<p class=how>{how}</p>") };
    format!("<section id={id}>\n<h2>{title}</h2>\n{how}\n{body}\n</section>")
}

/// A table that scrolls by itself where the window is narrow.
pub fn table(class: &str, head: &str, rows: &str) -> String {
    let head = if head.is_empty() { String::new() } else { format!("<thead>{head}</thead>") };
    format!("<div class=wide><table class=\"{}\">{head}<tbody>{rows}</tbody></table></div>", attribute(class))
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
