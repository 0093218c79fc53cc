//! The labelled sets that figures are taken from: the public ones and the demo, each cut and encoded as the product does.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::{Document, Embeddings, Index, Knowledge, Passage, Wording, split};
use crate::encoder::{Encoder, Transformer};
use crate::text::{self, Language};

/// A base with questions whose right document is known.
#[derive(Clone)]
pub(super) struct Set {
    pub(super) name: String,
    /// Bases of one family answer each other's questions.
    pub(super) family: String,
    pub(super) language: Language,
    pub(super) passages: Vec<(Passage, Embeddings)>,
    /// By document.
    pub(super) wordings: BTreeMap<String, Vec<Wording>>,
    pub(super) questions: Vec<Question>,
}

#[derive(Clone)]
pub(super) struct Question {
    pub(super) text: String,
    pub(super) embedding: Vec<f32>,
    pub(super) deep: Option<Vec<f32>>,
    /// Documents that answer it; none for one that nothing answers.
    pub(super) documents: Vec<String>,
    /// Whether it was tuned on; the others are reported.
    pub(super) tuned: bool,
}

#[derive(Deserialize)]
struct DocumentLine {
    id: String,
    title: String,
    text: String,
}

#[derive(Deserialize)]
struct QuestionLine {
    id: String,
    question: String,
    #[serde(default)]
    document: Articles,
}

#[derive(Deserialize)]
struct TextLine {
    text: String,
}

#[derive(Deserialize)]
struct DemoLine {
    text: String,
    language: String,
    intent: Option<String>,
    article: Option<Articles>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Articles {
    One(String),
    Any(Vec<String>),
}

impl Default for Articles {
    fn default() -> Self {
        Self::Any(Vec::new())
    }
}

impl Articles {
    fn all(self) -> Vec<String> {
        match self {
            Self::One(article) => vec![article],
            Self::Any(articles) => articles,
        }
    }
}

/// What reads the sets.
#[derive(Clone, Copy)]
pub(super) struct Readers<'a> {
    pub(super) multilingual: &'a Encoder,
    pub(super) transformer: Option<&'a Transformer>,
}

impl Readers<'_> {
    fn read(self, texts: &[String]) -> Vec<Vec<f32>> {
        kept(texts, |texts| self.multilingual.encode_many(texts))
    }

    fn deep(self, texts: &[String], language: Language) -> Vec<Option<Vec<f32>>> {
        match self.transformer.filter(|_| language == Language::English) {
            Some(transformer) => kept(texts, |texts| transformer.encode_many(texts)).into_iter().map(Some).collect(),
            None => vec![None; texts.len()],
        }
    }
}

/// The embeddings of many texts, kept between runs in the build's folder for as long as texts and encoder are the same.
fn kept(texts: &[String], encode: impl Fn(&[String]) -> Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let Some(probe) = texts.first() else { return Vec::new() };
    let probe = encode(std::slice::from_ref(probe)).concat();
    let mut hasher = std::hash::DefaultHasher::new();
    (texts, probe.iter().map(|number| number.to_bits()).collect::<Vec<_>>()).hash(&mut hasher);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp");
    let path = folder.join(format!("embeddings-{:016x}", hasher.finish()));
    if let Ok(bytes) = std::fs::read(&path) {
        let numbers: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        return numbers.chunks(probe.len()).map(<[f32]>::to_vec).collect();
    }
    let found = encode(texts);
    std::fs::create_dir_all(&folder).unwrap();
    let bytes: Vec<u8> = found.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
    std::fs::write(&path, bytes).unwrap();
    found
}

/// The half that a question belongs to: FNV-1a of its id, even is tuned on.
fn tuned(id: &str) -> bool {
    (fnv(id) >> 32).is_multiple_of(2)
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Set {
    /// One of ../shared/data/retrieval.
    pub(super) fn public(name: &str, folder: &str, language: Language, readers: Readers<'_>) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/retrieval").join(folder);
        Self::folder(name, &folder, language, readers)
    }

    /// A folder of documents.jsonl, questions.jsonl and, where there is one, unanswerable.jsonl.
    fn folder(name: &str, folder: &Path, language: Language, readers: Readers<'_>) -> Self {
        let documents = lines::<DocumentLine>(&folder.join("documents.jsonl")).into_iter().map(|line| Document {
            id: line.id,
            title: line.title,
            url: String::new(),
            language,
            text: line.text,
        });
        let mut questions = lines::<QuestionLine>(&folder.join("questions.jsonl"));
        let unanswerable = folder.join("unanswerable.jsonl");
        if unanswerable.exists() {
            questions.extend(lines::<QuestionLine>(&unanswerable));
        }
        let asked = questions.into_iter().map(|line| (tuned(&line.id), line.question, line.document.all()));
        Self::encoded(name, language, documents.collect(), BTreeMap::new(), asked.collect(), readers)
    }

    /// The same without the wordings that the documents bring.
    pub(super) fn plain(&self, name: &str) -> Self {
        Self { name: name.to_owned(), wordings: BTreeMap::new(), ..self.clone() }
    }

    /// A base of about so many of the documents, the same in every run, with their questions.
    pub(super) fn small(&self, name: &str, count: usize) -> Self {
        let mut documents: Vec<&str> = self.passages.iter().map(|(passage, _)| passage.document.as_str()).collect();
        documents.sort_by_key(|document| fnv(document));
        documents.dedup();
        let kept: Vec<String> = documents.into_iter().take(count).map(str::to_owned).collect();
        let stays = |question: &&Question| {
            question.documents.is_empty() || question.documents.iter().any(|document| kept.contains(document))
        };
        let passages = self.passages.iter().filter(|(passage, _)| kept.contains(&passage.document)).cloned().collect();
        let questions = self.questions.iter().filter(stays).cloned().collect();
        Self { name: name.to_owned(), passages, questions, ..self.clone() }
    }

    /// The demo's articles with their wordings, and its held-out questions; those off topic have no document.
    pub(super) fn demo(name: &str, language: Language, readers: Readers<'_>) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/demo");
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder.join("knowledge").join(language.tag()))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        let (mut documents, mut wordings) = (Vec::new(), BTreeMap::new());
        for path in paths {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut parts = text.splitn(3, "---\n");
            let (head, body) = (parts.nth(1).unwrap(), parts.next().unwrap());
            let unquoted = |line: &str| line.trim().trim_matches('"').replace("\\\"", "\"");
            let title = head.lines().find_map(|line| line.strip_prefix("title:")).map(unquoted).unwrap();
            let id = path.file_stem().unwrap().to_string_lossy().into_owned();
            let asked: Vec<String> = head.lines().filter_map(|line| line.strip_prefix("  - ")).map(unquoted).collect();
            let embeddings = readers.read(&asked);
            let asked = asked.into_iter().zip(embeddings);
            let asked = asked.map(|(text, embedding)| Wording { text, embedding: Some(embedding) });
            wordings.insert(id.clone(), asked.collect());
            documents.push(Document { id, title, url: String::new(), language, text: body.to_owned() });
        }
        let asked = lines::<DemoLine>(&folder.join("questions.jsonl")).into_iter().filter_map(|line| {
            let documents = line.article.map(Articles::all).unwrap_or_default();
            // Small talk has an intent and no article: it is neither answered nor off topic.
            let counts = line.language == language.tag() && (line.intent.is_none() || !documents.is_empty());
            counts.then(|| (tuned(&line.text), line.text, documents))
        });
        Self::encoded(name, language, documents, wordings, asked.collect(), readers)
    }

    fn encoded(
        name: &str,
        language: Language,
        documents: Vec<Document>,
        wordings: BTreeMap<String, Vec<Wording>>,
        asked: Vec<(bool, String, Vec<String>)>,
        readers: Readers<'_>,
    ) -> Self {
        let passages: Vec<Passage> = documents.iter().flat_map(split).collect();
        let texts: Vec<String> = passages.iter().map(Passage::embedded_text).collect();
        let both = readers.read(&texts).into_iter().zip(readers.deep(&texts, language));
        let embedded = |(multilingual, transformer)| Embeddings { multilingual: Some(multilingual), transformer };
        let passages = passages.into_iter().zip(both.map(embedded)).collect();
        let texts: Vec<String> = asked.iter().map(|(_, text, _)| text.clone()).collect();
        let both = readers.read(&texts).into_iter().zip(readers.deep(&texts, language));
        let question =
            |((tuned, text, documents), (embedding, deep))| Question { text, embedding, deep, documents, tuned };
        let questions = asked.into_iter().zip(both).map(question).collect();
        Self { name: name.to_owned(), family: name.to_owned(), language, passages, wordings, questions }
    }

    /// The workshop with its documents.
    pub(super) fn knowledge(&self) -> Knowledge {
        let mut documents: BTreeMap<&str, Vec<(Passage, Embeddings)>> = BTreeMap::new();
        for (passage, embeddings) in &self.passages {
            documents.entry(&passage.document).or_default().push((passage.clone(), embeddings.clone()));
        }
        let mut knowledge = Knowledge::default();
        for (document, passages) in documents {
            let wordings = self.wordings.get(document).cloned().unwrap_or_default();
            knowledge.upsert(document, passages, wordings).unwrap();
        }
        knowledge
    }

    pub(super) fn index(&self) -> Index {
        self.knowledge().snapshot().unwrap()
    }
}

/// Everything there is.
pub(super) fn all(readers: Readers<'_>) -> Vec<Set> {
    vec![
        Set::public("StackFAQ", "stackfaq", Language::English, readers),
        Set::public("XQuAD-en", "xquad_en", Language::English, readers),
        Set::public("XQuAD-zh", "xquad_zh", Language::Chinese, readers),
        Set::public("CMRC2018", "cmrc2018_dev", Language::Chinese, readers),
        Set::demo("demo en", Language::English, readers),
        Set::demo("demo zh", Language::Chinese, readers),
    ]
}

/// Folders of further sets that are not published, parted by colons; one whose name ends in "-zh" is Chinese.
const MORE: &str = "TALKFLEET_SETS";

/// Questions of customers that have nothing to do with any base here: a home assistant's, English.
pub(super) fn off_topic(readers: Readers<'_>) -> Set {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/intents/hwu64");
    // The training part tunes, the test part is reported.
    let parts = [("train.jsonl", true, 60), ("test.jsonl", false, 8)];
    let asked = parts.into_iter().flat_map(|(part, tuned, every)| {
        let all = lines::<TextLine>(&folder.join(part)).into_iter().step_by(every);
        all.map(move |line| (tuned, line.text, Vec::new()))
    });
    Set::encoded("HWU64", Language::English, Vec::new(), BTreeMap::new(), asked.collect(), readers)
}

/// Ordinary bases: articles without wordings, and small ones.
pub(super) fn ordinary(all: &[Set], readers: Readers<'_>) -> Vec<Set> {
    let mut sets = Vec::new();
    for folder in std::env::var(MORE).unwrap_or_default().split(':').filter(|folder| !folder.is_empty()) {
        let folder = Path::new(folder);
        let name = folder.file_name().unwrap().to_string_lossy();
        let language = if name.ends_with("-zh") { Language::Chinese } else { Language::English };
        let mut set = Set::folder(&name, folder, language, readers);
        if name.starts_with("shop") {
            set.family = format!("demo {}", language.tag());
            sets.push(set.small(&format!("{name} 30"), SMALL));
        }
        sets.push(set);
    }
    for set in all {
        if !set.wordings.is_empty() {
            sets.push(set.plain(&format!("{} plain", set.name)));
        }
        sets.push(set.plain("").small(&format!("{} 30", set.name), SMALL));
    }
    sets
}

/// Documents of a small base.
const SMALL: usize = 30;

/// The language that the desk would take a question for.
pub(super) fn language(question: &str) -> Language {
    text::language(question)
}
