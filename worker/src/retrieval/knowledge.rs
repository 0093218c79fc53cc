//! The workshop of an index: documents are put and taken away, and a snapshot of what is in costs what has changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::index::{Card, Entry, Index};
use super::rows::Rows;
use super::sentences::Sentences;
use super::shared::{BLOCK, List, Places};
use super::shelf::{IndexError, Shelves};
use super::{Embeddings, Passage, Wording};
use crate::encoder::{DIMENSIONS, TRANSFORMER_DIMENSIONS};
use crate::text::{self, Language};

/// Words that open an English question, and that a Chinese one holds.
const ASKING: [&str; 18] = [
    "how", "what", "why", "where", "when", "who", "which", "can", "could", "do", "does", "did", "is", "are", "will",
    "would", "should", "may",
];
const ASKING_HAN: [&str; 9] = ["怎么", "如何", "什么", "哪", "多少", "吗", "能否", "是否", "几天"];

/// Where an index is built and kept up to date; searches go to the snapshots it hands out.
pub struct Knowledge {
    passages: Shelves,
    /// Documents that bring wordings, each as one text with all of them.
    wholes: Shelves,
    entries: List<Option<Arc<Entry>>>,
    /// By passage's id.
    places: Places,
    multilingual: Rows,
    transformer: Rows,
    slots: Slots,
    wordings: Rows,
    /// By a wording's place, the number of its document.
    owners: List<u32>,
    wording_places: Numbers,
    /// By number, the documents with wordings.
    cards: List<Option<Card>>,
    card_numbers: Numbers,
    documents: HashMap<String, Held>,
    /// How many documents have each title.
    titles: HashMap<String, usize>,
    /// How many of those titles ask something.
    question_titles: usize,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self {
            passages: Shelves::default(),
            wholes: Shelves::default(),
            entries: List::default(),
            places: Places::default(),
            multilingual: Rows::of(DIMENSIONS),
            transformer: Rows::of(TRANSFORMER_DIMENSIONS),
            slots: Slots::default(),
            wordings: Rows::of(DIMENSIONS),
            owners: List::default(),
            wording_places: Numbers::default(),
            cards: List::default(),
            card_numbers: Numbers::default(),
            documents: HashMap::new(),
            titles: HashMap::new(),
            question_titles: 0,
        }
    }
}

/// What a document holds.
struct Held {
    title: String,
    slots: Vec<(Language, usize)>,
    wordings: Vec<usize>,
    card: Option<usize>,
}

/// The places of passages, given out by whole blocks of one language, so that a search looks at a block or does not.
#[derive(Default)]
struct Slots {
    /// By block.
    languages: Vec<Language>,
    free: HashMap<Language, Vec<usize>>,
    used: HashMap<Language, usize>,
}

impl Slots {
    fn take(&mut self, language: Language) -> usize {
        let free = self.free.entry(language).or_default();
        if free.is_empty() {
            let start = self.languages.len() * BLOCK;
            self.languages.push(language);
            free.extend((start..start + BLOCK).rev());
        }
        *self.used.entry(language).or_default() += 1;
        free.pop().unwrap_or_default()
    }

    fn give_back(&mut self, language: Language, slot: usize) {
        self.free.entry(language).or_default().push(slot);
        *self.used.entry(language).or_default() -= 1;
    }
}

/// Numbers from zero on; what was given back is given out again first.
#[derive(Default)]
struct Numbers {
    next: usize,
    free: Vec<usize>,
}

impl Numbers {
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

/// Whether a title is a question.
fn asks(title: &str) -> bool {
    let normal = text::normalise(title);
    let first = normal.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    normal.ends_with('?') || ASKING.contains(&first) || ASKING_HAN.iter().any(|word| normal.contains(word))
}

impl Knowledge {
    /// Puts a document's passages and its customers' wordings in place of those it had. Wordings lead to the document
    /// and are never found themselves: without a passage they lead nowhere. A passage comes with the multilingual
    /// embedding, an `Option<Vec<f32>>`, or with [`Embeddings`].
    pub fn upsert<E: Into<Embeddings>>(
        &mut self,
        document: &str,
        passages: Vec<(Passage, E)>,
        wordings: Vec<Wording>,
    ) -> Result<(), IndexError> {
        self.remove(document);
        let Some((first, _)) = passages.first() else { return Ok(()) };
        let (title, language) = (first.title.clone(), first.language);
        let count = self.titles.entry(title.clone()).or_default();
        *count += 1;
        self.question_titles += usize::from(*count == 1 && asks(&title));
        let card = (!wordings.is_empty()).then(|| self.card_numbers.take());
        let mut held = Held { title, slots: Vec::new(), wordings: Vec::new(), card };
        let texts = passages.iter().map(|(passage, _)| passage.text.as_str());
        let whole: Vec<&str> = texts.chain(wordings.iter().map(|wording| wording.text.as_str())).collect();
        let whole = whole.join("\n");
        let mut put = Ok(());
        for (passage, embeddings) in passages {
            let slot = self.slots.take(passage.language);
            held.slots.push((passage.language, slot));
            put = put.and_then(|()| self.put(slot, document, passage, embeddings.into(), card));
        }
        if let Some(number) = card {
            // Without its title: a whole document says what it is about often enough, and a title's "How do I" is said by
            // every customer.
            put = put.and_then(|()| self.wholes.put(number, language, document, "", &whole));
            let slots = held.slots.iter().map(|(_, slot)| *slot as u32).collect();
            self.cards.set(number, Some(Card { language, slots }));
            held.wordings = wordings.into_iter().filter_map(|wording| self.put_wording(wording, number)).collect();
        }
        self.documents.insert(document.to_owned(), held);
        put
    }

    fn put(
        &mut self,
        slot: usize,
        document: &str,
        passage: Passage,
        embeddings: Embeddings,
        card: Option<usize>,
    ) -> Result<(), IndexError> {
        embeddings.multilingual.iter().for_each(|embedding| self.multilingual.put(slot, embedding));
        embeddings.transformer.iter().for_each(|embedding| self.transformer.put(slot, embedding));
        self.places.insert(&passage.id, slot);
        let put = self.passages.put(slot, passage.language, document, &passage.title, &passage.text);
        let sentences = Sentences::of(&passage);
        self.entries.set(slot, Some(Arc::new(Entry { passage: Arc::new(passage), sentences, card })));
        put
    }

    fn put_wording(&mut self, wording: Wording, card: usize) -> Option<usize> {
        let embedding = wording.embedding.filter(|embedding| embedding.len() == DIMENSIONS)?;
        let place = self.wording_places.take();
        self.wordings.put(place, &embedding);
        self.owners.set(place, card as u32);
        Some(place)
    }

    pub fn remove(&mut self, document: &str) {
        let Some(held) = self.documents.remove(document) else { return };
        let languages: HashSet<Language> = held.slots.iter().map(|(language, _)| *language).collect();
        for language in languages {
            self.passages.remove(language, document);
            if held.card.is_some() {
                self.wholes.remove(language, document);
            }
        }
        for (language, slot) in held.slots {
            if let Some(Some(entry)) = self.entries.get(slot) {
                let id = entry.passage.id.clone();
                self.places.remove(&id, slot);
            }
            self.entries.set(slot, None);
            self.multilingual.clear(slot);
            self.transformer.clear(slot);
            self.slots.give_back(language, slot);
        }
        for place in held.wordings {
            self.wordings.clear(place);
            self.wording_places.free.push(place);
        }
        if let Some(number) = held.card {
            self.cards.set(number, None);
            self.card_numbers.free.push(number);
        }
        match self.titles.get_mut(&held.title) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.titles.remove(&held.title);
                self.question_titles -= usize::from(asks(&held.title));
            }
        }
    }

    /// An index of what is in now. Costs a commit, and pointers to what has not changed.
    pub fn snapshot(&mut self) -> Result<Index, IndexError> {
        Ok(Index {
            passages: self.passages.read()?,
            wholes: self.wholes.read()?,
            entries: self.entries.clone(),
            places: self.places.clone(),
            multilingual: self.multilingual.clone(),
            transformer: self.transformer.clone(),
            languages: self.slots.languages.clone(),
            passages_of: self.slots.used.clone(),
            wordings: self.wordings.clone(),
            owners: self.owners.clone(),
            cards: self.cards.clone(),
            cards_len: self.card_numbers.next,
            distinct_titles: self.titles.len() as f32 / self.documents.len().max(1) as f32,
            question_titles: self.question_titles as f32 / self.titles.len().max(1) as f32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(document: &str, number: usize) -> (Passage, Option<Vec<f32>>) {
        let passage = Passage {
            id: format!("{document}-{number}"),
            document: document.into(),
            title: document.into(),
            url: String::new(),
            language: if number.is_multiple_of(2) { Language::English } else { Language::Chinese },
            text: format!("passage {number} of {document}"),
        };
        (passage, Some(vec![0.1; DIMENSIONS]))
    }

    #[test]
    fn a_document_that_changes_often_takes_no_more_room() {
        let mut knowledge = Knowledge::default();
        let wordings = || vec![Wording { text: "how so".into(), embedding: Some(vec![0.1; DIMENSIONS]) }; 3];
        for _ in 0..600 {
            knowledge.upsert("returns", (0..4).map(|number| passage("returns", number)).collect(), wordings()).unwrap();
        }
        assert_eq!(knowledge.entries.len(), 2 * BLOCK, "a block a language");
        assert_eq!((knowledge.owners.len(), knowledge.cards.len()), (BLOCK, BLOCK));
        assert_eq!(knowledge.titles, HashMap::from([("returns".into(), 1)]));
        assert_eq!(knowledge.snapshot().unwrap().len(), 4);
        knowledge.remove("returns");
        assert!(knowledge.snapshot().unwrap().is_empty() && knowledge.titles.is_empty());
        assert_eq!((knowledge.multilingual.len(), knowledge.wordings.len()), (0, 0));
    }

    #[test]
    fn a_faq_is_known_by_its_titles() {
        for title in ["How fast is delivery", "Refund not there – what now?", "退款多久到账？", "运费是多少"]
        {
            assert!(asks(title), "{title}");
        }
        assert!(!asks("Super_Bowl_50") && !asks("战国无双3") && !asks(""));
        let mut knowledge = Knowledge::default();
        let (mut asked, plain) = (passage("a", 0), passage("b", 0));
        asked.0.title = "Where is it?".into();
        knowledge.upsert("a", vec![asked], Vec::new()).unwrap();
        knowledge.upsert("b", vec![plain], Vec::new()).unwrap();
        assert_eq!(knowledge.snapshot().unwrap().question_titles, 0.5);
        knowledge.remove("a");
        assert_eq!(knowledge.snapshot().unwrap().question_titles, 0.0);
    }

    #[test]
    fn the_id_of_a_passage_that_was_taken_away_leads_nowhere() {
        let mut knowledge = Knowledge::default();
        knowledge.upsert("a", vec![passage("a", 0)], Vec::new()).unwrap();
        let before = knowledge.snapshot().unwrap();
        knowledge.upsert("a", vec![passage("a", 2)], Vec::new()).unwrap();
        let after = knowledge.snapshot().unwrap();
        assert_eq!((before.places.get("a-0").is_some(), after.places.get("a-0").is_some()), (true, false));
        assert!(after.places.get("a-2").is_some());
    }
}
