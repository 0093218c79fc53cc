//! `talkfleet knowledge`: what a company knows, from files to documents: read within bounds, told apart by digest, cut and embedded once.
//!
//! A file is hostile until it was read: every limit has a name here, every refusal is one sentence with the file's
//! name, and what is wrong with one file never keeps the others out. The parsers live here and not in the worker: no
//! service ever opens a file that somebody uploaded.

/// The commands: add, list, remove, reindex.
mod commands;

/// One addition from beginning to end.
mod add;

/// PURE: bytes to text: UTF-8, UTF-16, and the Chinese encodings.
mod decode;

/// PURE: HTML to Markdown, without what a browser would not show.
mod html;

/// PURE: Markdown with its front matter.
mod markdown;

/// PURE: PDF to Markdown.
mod pdf;

/// PURE: what an addition changes.
mod plan;

/// One file to articles, by its kind.
mod read;

/// Parsers that a hostile file could hang run in a process of their own.
mod sandbox;

/// PURE: questions and answers in CSV and JSON lines.
mod table;

/// Which files of a folder are read.
mod walk;

use serde::{Deserialize, Serialize};

pub(crate) use self::commands::{Command, load_encoders, run};
pub(crate) use self::decode::decode;
pub(crate) use self::markdown::read as read_markdown;
pub(crate) use self::read::read_here;
pub use self::{
    add::{AddOptions, Step, Summary, add, reindex},
    sandbox::{Isolation, serve_reading},
    walk::{Content, Folder, FoundFile},
};

/// The largest file: an illustrated manual of 500 pages; whoever has more splits it.
pub const FILE_BYTES_MAX: u64 = 20 << 20;

/// The most files of one folder, and how deep they may lie.
pub const FILES_MAX: usize = 20_000;
pub const FOLDER_DEPTH_MAX: usize = 16;

/// The longest line of a text, Markdown or table file; a paragraph has a few thousand bytes, a data dump has millions.
pub const LINE_BYTES_MAX: usize = 256 << 10;

/// The most questions and answers of one table.
pub const ROWS_MAX: usize = 50_000;

/// The longest body of a document, in characters.
pub const BODY_CHARS_MAX: usize = 2_000_000;

/// The most customer wordings of one document, and the longest in characters: each is embedded and scanned as a passage
/// is.
pub const QUESTIONS_MAX: usize = 50;
pub const QUESTION_CHARS_MAX: usize = 300;

/// Bounds of what is shown beside an answer, in characters.
pub const ID_CHARS_MAX: usize = 200;
pub const TITLE_CHARS_MAX: usize = 300;
pub const URL_CHARS_MAX: usize = 2_000;

/// A document as its file tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Article {
    /// None takes the file's own.
    pub id: Option<String>,
    pub title: String,
    pub url: String,
    pub category: String,
    /// Markdown.
    pub body: String,
    /// How customers ask for it: found by, never quoted.
    pub questions: Vec<String>,
}

/// What a file came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reading {
    pub articles: Vec<Article>,
    /// What of it was left out, a sentence each.
    pub skipped: Vec<String>,
}

impl Reading {
    fn one(article: Article) -> Self {
        Self { articles: vec![article], skipped: Vec::new() }
    }
}

/// What was left out of an addition, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub file: String,
    pub why: String,
}

/// Characters of a name that are shown, escapes counted.
const SHOWN_CHARS_MAX: usize = 400;

/// A name or a complaint that can be shown: line breaks, controls and text-direction tricks are escaped, and what is too long
/// is cut.
pub fn shown(name: &str) -> String {
    let odd = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut text = String::new();
    let mut left = SHOWN_CHARS_MAX;
    for c in name.chars() {
        let piece = if odd(c) { c.escape_default().to_string() } else { c.to_string() };
        let Some(less) = left.checked_sub(piece.chars().count()) else {
            text.push('…');
            break;
        };
        left = less;
        text.push_str(&piece);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_cannot_break_a_line() {
        assert_eq!(super::shown("a\nb\u{202e}.md"), "a\\nb\\u{202e}.md");
        assert_eq!(super::shown("退货.md"), "退货.md");
        let long = super::shown(&"\u{1b}".repeat(90));
        assert!(long.ends_with('…') && long.chars().count() <= super::SHOWN_CHARS_MAX + 1, "{long}");
    }
}
