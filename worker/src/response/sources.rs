//! PURE: from passages to citations, each article once.

use talkfleet_shared::chat::{Citation, Passage};

/// Characters of a snippet: two lines on a phone.
const SNIPPET_CHARS_MAX: usize = 160;

/// Articles that a quoted answer cites at most: those it quotes, each of them, and what else may have been meant.
const CITATIONS_MAX: usize = 3;

/// An article is worth naming beside the quoted one when its score is at least this share of the best.
const RELATED_SHARE: f32 = 0.4;

/// Citations of a quotation: where it stands first, then the articles that may also have been meant, best first.
pub fn quotation(quote: &[&str], passages: &[Passage]) -> Vec<Citation> {
    let best = passages.iter().map(|passage| passage.score).fold(0.0, f32::max);
    let related = passages.iter().filter(|passage| passage.score >= RELATED_SHARE * best);
    let quoted = citations(quoted(quote, passages));
    let mut cited = citations(self::quoted(quote, passages).into_iter().chain(related));
    cited.truncate(CITATIONS_MAX.max(quoted.len()));
    cited
}

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
fn quoted<'a>(quote: &[&str], passages: &'a [Passage]) -> Vec<&'a Passage> {
    // An item of a list and a line without an end were given their marks here, and what followed a yes its capital.
    let bare = |sentence: &str| sentence.trim().trim_start_matches("- ").trim_end_matches(['.', '。']).to_owned();
    let after_yes = |bare: &str| bare.chars().next().map(|first| bare[first.len_utf8()..].to_owned());
    let said = |text: &str, bare: &str| {
        text.contains(bare) || after_yes(bare).is_some_and(|rest| !rest.is_empty() && text.contains(&rest))
    };
    let holds = |passage: &&Passage| quote.iter().any(|sentence| said(&passage.text, &bare(sentence)));
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
    fn what_else_may_have_been_meant_is_named_after_the_quoted_article() {
        let scored = |document: &str, score| Passage { score, ..passage(document, document) };
        let passages = [scored("a", 0.9), scored("b", 0.5), scored("c", 0.2), scored("d", 0.45), scored("e", 0.44)];
        let titles = |quote: &[&str]| quotation(quote, &passages).into_iter().map(|c| c.title).collect::<Vec<_>>();
        assert_eq!(titles(&["a"]), ["a", "b", "d"]);
        assert_eq!(titles(&["c"]), ["c", "a", "b"]);
        assert_eq!(titles(&["a", "c", "d", "e"]), ["a", "c", "d", "e"], "whatever is quoted is named");
    }

    #[test]
    fn a_quotation_names_where_it_stands() {
        let passages = [passage("a", "One. Yes, two."), passage("b", "Three.")];
        let documents =
            |quote: &[&str]| quoted(quote, &passages).iter().map(|p| p.document.clone()).collect::<Vec<_>>();
        assert_eq!(documents(&["Three."]), ["b"]);
        assert_eq!(documents(&["Two.", "Three."]), ["a", "b"]);
        assert_eq!(documents(&["Elsewhere."]), ["a"]);
    }
}
