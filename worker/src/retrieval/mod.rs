//! What the company knows: documents are cut into passages, and the passages that answer a question are found by words
//! (BM25) and by meaning (embeddings) together, their own and those of the wordings that a document brings.

mod answerable;
mod choose;
#[cfg(test)]
mod figures;
mod index;
mod knowledge;
mod rank;
mod ranking;
pub mod remote;
mod rows;
mod sentences;
mod shared;
mod shelf;
mod split;
mod tier;
mod words;

use crate::text::Language;

pub use index::Index;
pub use knowledge::Knowledge;
pub use rank::Tuning;
pub use ranking::Hit;
pub use shelf::IndexError;
pub use split::split;
pub use tier::{Question, Tier};

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

/// What the encoders make of a passage; whichever is missing is done without.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embeddings {
    pub multilingual: Option<Vec<f32>>,
    /// Of an English passage.
    pub transformer: Option<Vec<f32>>,
}

impl From<Option<Vec<f32>>> for Embeddings {
    fn from(multilingual: Option<Vec<f32>>) -> Self {
        Self { multilingual, transformer: None }
    }
}

impl Passage {
    /// What the encoder is given for this passage: the title says what a section that opens with "It" is about.
    pub fn embedded_text(&self) -> String {
        format!("{}\n{}", self.title, self.text)
    }
}
