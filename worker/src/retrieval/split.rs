//! Documents become passages: a section each where it fits, never longer than what one reads at once.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{Document, Passage};
use crate::text::sentences;

/// Longest passage: about 130 English words, which the encoder reads whole and a customer reads in half a minute.
const PASSAGE_CHARS_MAX: usize = 800;

/// Sections shorter than this join the one before: a heading with one line under it finds nothing by itself.
const PASSAGE_CHARS_MIN: usize = 120;

/// The passages of a document, in order. Headings stay as a first line, lists line by line; marks such as `**` go.
pub fn split(document: &Document) -> Vec<Passage> {
    let mut texts: Vec<String> = Vec::new();
    for section in sections(&document.text) {
        let joined = texts.last().is_some_and(|last| {
            let (last, section) = (last.chars().count(), section.chars().count());
            (last < PASSAGE_CHARS_MIN || section < PASSAGE_CHARS_MIN) && last + section < PASSAGE_CHARS_MAX
        });
        match texts.last_mut().filter(|_| joined) {
            Some(last) => {
                last.push('\n');
                last.push_str(&section);
            }
            None => texts.append(&mut fitting(section)),
        }
    }
    let passage = |(number, text): (usize, String)| Passage {
        id: format!("{}-{}-{number}", document.id, document.language.tag()),
        document: document.id.clone(),
        title: document.title.clone(),
        url: document.url.clone(),
        language: document.language,
        text,
    };
    (1..).zip(texts).map(passage).collect()
}

/// Plain text of the parts between headings, the heading as first line.
fn sections(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut section = String::new();
    let new_line = |section: &mut String| {
        if !section.is_empty() && !section.ends_with('\n') {
            section.push('\n');
        }
    };
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => found.push(std::mem::take(&mut section)),
            Event::Start(Tag::Paragraph | Tag::Item | Tag::CodeBlock(_) | Tag::TableRow | Tag::TableHead)
            | Event::End(
                TagEnd::Heading(_) | TagEnd::Paragraph | TagEnd::Item | TagEnd::CodeBlock | TagEnd::TableRow,
            )
            | Event::HardBreak => new_line(&mut section),
            Event::End(TagEnd::TableCell) => section.push(' '),
            Event::Text(text) | Event::Code(text) => section.push_str(&text),
            Event::SoftBreak => section.push(if section.ends_with(crate::text::is_han) { '\u{200b}' } else { ' ' }),
            _ => {}
        }
    }
    found.push(section);
    found.into_iter().map(|text| text.trim().replace('\u{200b}', "")).filter(|text| !text.is_empty()).collect()
}

/// Cuts what is too long at lines, then at sentences, and only then in the middle.
fn fitting(section: String) -> Vec<String> {
    if section.chars().count() <= PASSAGE_CHARS_MAX {
        return vec![section];
    }
    let mut found: Vec<String> = Vec::new();
    let mut current = String::new();
    for line in section.lines() {
        for (at, sentence) in sentences(line).into_iter().enumerate() {
            for piece in pieces(sentence) {
                if current.chars().count() + piece.chars().count() >= PASSAGE_CHARS_MAX {
                    found.push(std::mem::take(&mut current));
                }
                if !current.is_empty() {
                    current.push(if at == 0 { '\n' } else { ' ' });
                }
                current.push_str(&piece);
            }
        }
    }
    found.push(current);
    found.retain(|text| !text.is_empty());
    found
}

fn pieces(sentence: &str) -> Vec<String> {
    let chars: Vec<char> = sentence.chars().collect();
    chars.chunks(PASSAGE_CHARS_MAX - 1).map(|part| part.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Language;

    fn document(text: &str) -> Document {
        Document {
            id: "a".into(),
            title: "Returns".into(),
            url: "/a".into(),
            language: Language::English,
            text: text.into(),
        }
    }

    #[test]
    fn a_section_is_a_passage() {
        let long =
            "The parcel is **collected** by the courier on the next working day, between nine and five. ".repeat(2);
        let found =
            split(&document(&format!("{long}\n\n## How to\n\n1. Open `Orders`.\n2. {long}\n\n## Note\n\nShort.")));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].text.starts_with("The parcel is collected by"));
        assert!(found[1].text.starts_with("How to\nOpen Orders.\n"));
        assert!(found[1].text.ends_with("Note\nShort."));
        assert_eq!((found[1].id.as_str(), found[1].title.as_str()), ("a-en-2", "Returns"));
        assert!(split(&document("")).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_passage_is_too_long_and_nothing_is_lost(words in proptest::collection::vec("[a-z]{1,12}[.]?|[退货运费]{1,9}。?", 0..600)) {
            let text = words.join(" ");
            let found = split(&document(&text));
            proptest::prop_assert!(found.iter().all(|passage| passage.text.chars().count() <= PASSAGE_CHARS_MAX));
            let kept = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            proptest::prop_assert_eq!(kept(&found.iter().map(|passage| passage.text.as_str()).collect::<String>()), kept(&text));
        }
    }
}
