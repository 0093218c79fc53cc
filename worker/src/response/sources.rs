//! PURE: from passages to citations, each article once.

use talkfleet_shared::chat::{Citation, Passage};

/// Characters of a snippet: two lines on a phone.
const SNIPPET_CHARS_MAX: usize = 160;

/// Citations of the articles that these passages belong to, in their order.
pub fn citations<'a>(passages: impl IntoIterator<Item = &'a Passage>) -> Vec<Citation> {
    let mut documents: Vec<&str> = Vec::new();
    let mut citations = Vec::new();
    for passage in passages {
        if !documents.contains(&passage.document.as_str()) {
            documents.push(&passage.document);
            citations.push(citation(passage));
        }
    }
    citations
}

/// The passages that a quotation was taken from; the best one when it cannot be told.
pub fn quoted<'a>(quote: &[&str], passages: &'a [Passage]) -> Vec<&'a Passage> {
    let holds = |passage: &&Passage| quote.iter().any(|sentence| passage.text.contains(sentence.trim()));
    let found: Vec<_> = passages.iter().filter(holds).collect();
    if found.is_empty() { passages.iter().take(1).collect() } else { found }
}

fn citation(passage: &Passage) -> Citation {
    let mut snippet: String = passage.text.chars().take(SNIPPET_CHARS_MAX).collect();
    if snippet.len() < passage.text.len() {
        snippet.push('…');
    }
    Citation { title: passage.title.clone(), url: passage.url.clone(), snippet, score: passage.score }
}

#[cfg(test)]
mod tests {
    use talkfleet_shared::chat::Language;

    use super::*;

    fn passage(document: &str, text: &str) -> Passage {
        Passage {
            id: format!("{document}#1"),
            document: document.into(),
            title: document.into(),
            url: String::new(),
            text: text.into(),
            language: Language::English,
            score: 0.5,
        }
    }

    #[test]
    fn an_article_is_cited_once_and_shortly() {
        let passages = [passage("a", &"字".repeat(200)), passage("a", "x"), passage("b", "y")];
        let citations = citations(&passages);
        assert_eq!(citations.iter().map(|c| c.title.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(citations[0].snippet.chars().count(), SNIPPET_CHARS_MAX + 1);
    }

    #[test]
    fn a_quotation_names_where_it_stands() {
        let passages = [passage("a", "One. Two."), passage("b", "Three.")];
        let documents =
            |quote: &[&str]| quoted(quote, &passages).iter().map(|p| p.document.clone()).collect::<Vec<_>>();
        assert_eq!(documents(&["Three."]), ["b"]);
        assert_eq!(documents(&["Two.", "Three."]), ["a", "b"]);
        assert_eq!(documents(&["Elsewhere."]), ["a"]);
    }
}
