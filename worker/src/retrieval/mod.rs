//! What the company knows: documents are cut into passages, and the passages that answer a question are found by words
//! (BM25) and by meaning (embeddings) together, their own and those of the wordings that a document brings.

mod index;
mod rank;
pub mod remote;
mod sentences;
mod shelf;
mod split;
mod words;

use crate::text::Language;

pub use index::{Hit, Index, Knowledge};
pub use rank::Tuning;
pub use shelf::IndexError;
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

/// A way in which customers ask for a document: it leads to the document and is never quoted.
#[derive(Debug, Clone, PartialEq)]
pub struct Wording {
    pub text: String,
    /// None counts by its words only.
    pub embedding: Option<Vec<f32>>,
}

impl Passage {
    /// What the encoder is given for this passage: the title says what a section that opens with "It" is about.
    pub fn embedded_text(&self) -> String {
        format!("{}\n{}", self.title, self.text)
    }
}
