//! PURE: what a backend's questions gave, put together: candidates, scores side by side, and how all scores are spread.

use std::collections::{HashMap, HashSet};

use super::fuse::{FoundDocument, FoundText, Spreads};
use super::outline::{Outline, Spread};
use super::{TEXT, WHOLE};
use crate::store::search::{MatchedWords, Scored};
use crate::text::Language;

/// Documents whose wordings or whole text led there and of which the first passages are looked at.
const WORDED_CANDIDATES: usize = 16;

/// The documents of the best few.
pub(super) fn first_documents<'a>(scored: impl Iterator<Item = &'a Scored>) -> HashSet<&'a String> {
    let mut documents = HashSet::new();
    for one in scored {
        if documents.len() < WORDED_CANDIDATES {
            documents.insert(&one.key.document);
        }
    }
    documents
}

/// How all scores of a base are spread, by language.
pub(super) fn spreads(
    outline: &Outline,
    embedding: Option<&[f32]>,
    matched: &MatchedWords,
) -> HashMap<Language, Spreads> {
    let words = |kind: &str, language, count| {
        let sums = matched.shelves.get(&(kind.to_owned(), language)).copied().unwrap_or_default();
        Spread::of_sums(count, sums.sum, sums.squares)
    };
    let of = |language| Spreads {
        words: words(TEXT, language, outline.passages_in(language)),
        whole_words: words(WHOLE, language, outline.worded_in(language)),
        meaning: embedding.map(|embedding| outline.meanings(language, embedding)).unwrap_or_default(),
        wordings: embedding.map(|embedding| outline.wordings(language, embedding)).unwrap_or_default(),
    };
    outline.languages().map(|language| (language, of(language))).collect()
}

/// Scores by words and by meaning side by side.
pub(super) fn side_by_side(
    words: Vec<Scored>,
    meanings: Vec<Scored>,
) -> (Vec<FoundText>, HashMap<String, FoundDocument>) {
    let mut texts: HashMap<(String, i32), FoundText> = HashMap::new();
    let mut documents: HashMap<String, FoundDocument> = HashMap::new();
    let by_words = words.into_iter().map(|one| (one, true));
    for (one, by_words) in by_words.chain(meanings.into_iter().map(|one| (one, false))) {
        let Scored { key, language, score } = one;
        if key.kind == TEXT {
            let text = texts.entry((key.document.clone(), key.ordinal)).or_insert(FoundText {
                document: key.document,
                ordinal: key.ordinal,
                language,
                words: 0.0,
                meaning: None,
            });
            if by_words {
                text.words = score
            } else {
                text.meaning = Some(score)
            }
            continue;
        }
        let nothing = FoundDocument { language, words: 0.0, cosines: Vec::new() };
        let document = documents.entry(key.document).or_insert(nothing);
        if by_words { document.words = score } else { document.cosines.push(score) }
    }
    let mut texts: Vec<FoundText> = texts.into_values().collect();
    texts.sort_unstable_by(|a, b| (&a.document, a.ordinal).cmp(&(&b.document, b.ordinal)));
    (texts, documents)
}
