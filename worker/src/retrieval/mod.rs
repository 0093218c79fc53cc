//! What the company knows: documents are cut into passages, and the passages that answer a question are found by words
//! (BM25) and by meaning (embeddings) together.

mod index;
mod rank;
mod split;
mod words;

use std::collections::BTreeMap;

use crate::text::Language;

pub use index::{Hit, Index, IndexError, Knowledge};
pub use rank::Tuning;
pub use split::split;

/// A document as it comes from a file or an upload, its text in Markdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub id: String,
    pub title: String,
    pub url: String,
    pub language: Language,
    pub text: String,
}

/// What is found and quoted: a stretch of one document, short enough to be read at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    pub id: String,
    pub document: String,
    pub title: String,
    pub url: String,
    pub language: Language,
    /// Plain text; a section's heading stands on the first line.
    pub text: String,
}

impl Passage {
    /// What the encoder is given for this passage: the title says what a section that opens with "It" is about.
    pub fn embedded_text(&self) -> String {
        format!("{}\n{}", self.title, self.text)
    }
}

impl Document {
    /// Reads a Markdown file with `key: value` lines between two `---` in front (title, url); the rest is the text.
    pub fn from_markdown(id: &str, language: Language, file: &str) -> Self {
        let (fields, text) = front_matter(file);
        let field = |name: &str| fields.get(name).copied().unwrap_or_default().to_owned();
        Self { id: id.to_owned(), title: field("title"), url: field("url"), language, text: text.to_owned() }
    }
}

fn front_matter(file: &str) -> (BTreeMap<&str, &str>, &str) {
    let Some((head, text)) =
        file.trim_start_matches('\u{feff}').strip_prefix("---\n").and_then(|rest| rest.split_once("\n---"))
    else {
        return (BTreeMap::new(), file);
    };
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    (
        pairs.map(|(key, value)| (key.trim(), value.trim().trim_matches('"'))).collect(),
        text.trim_start_matches('-').trim_start(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_is_taken_off() {
        let document = Document::from_markdown(
            "a",
            Language::English,
            "---\ntitle: \"Returns: how\"\nurl: /help/a\n---\nText.\n---\nMore.",
        );
        assert_eq!(document.title, "Returns: how");
        assert_eq!(document.url, "/help/a");
        assert_eq!(document.text, "Text.\n---\nMore.");
        assert_eq!(Document::from_markdown("b", Language::Chinese, "正文").text, "正文");
    }
}
