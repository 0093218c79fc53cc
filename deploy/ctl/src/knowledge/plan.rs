//! PURE: what an addition changes, from what is known and what was read.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};
use talkfleet_worker::{
    store::{Known, Source},
    text::{self, Language},
};

use super::{Article, Skipped, shown};

/// Raised when a reader comes to another text for the same file: every file is then read once more.
const READER_VERSION: &[u8] = b"2";

/// SHA-256 of a file, and of the reader that would read it.
pub(super) fn source_digest(bytes: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(READER_VERSION);
    hash.update(bytes);
    hash.finalize().to_vec()
}

/// SHA-256 of what a customer could be shown of an article, and of what it is found by.
pub(super) fn digest(article: &Article) -> Vec<u8> {
    let mut hash = Sha256::new();
    let fields = [&article.title, &article.url, &article.category, &article.body];
    for part in fields.into_iter().chain(&article.questions) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}

/// What an article is written in.
pub(super) fn language(article: &Article) -> Language {
    text::language(&format!("{}\n{}", article.title, article.body))
}

/// What is to be done about one file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FilePlan {
    pub(super) put: Vec<Planned>,
    pub(super) moved: Vec<(String, Source)>,
    pub(super) unchanged: usize,
    pub(super) skipped: Vec<Skipped>,
}

/// An article that has to be written.
#[derive(Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) id: String,
    pub(super) article: Article,
    pub(super) digest: Vec<u8>,
    pub(super) source: Source,
    pub(super) is_new: bool,
}

/// An addition under way: what the tenant knew before, and which ids were seen since.
pub(super) struct Plan {
    known: HashMap<String, Known>,
    by_file: HashMap<(String, String), Vec<String>>,
    /// The files that were read to their end.
    read: HashSet<(String, String)>,
    /// Which file took an id, and for which language.
    taken: HashMap<String, (String, Language)>,
}

impl Plan {
    pub(super) fn new(known: Vec<Known>) -> Self {
        let mut by_file: HashMap<_, Vec<String>> = HashMap::new();
        for one in &known {
            by_file.entry((one.source.root.clone(), one.source.path.clone())).or_default().push(one.id.clone());
        }
        let known = known.into_iter().map(|one| (one.id.clone(), one)).collect();
        Self { known, by_file, read: HashSet::new(), taken: HashMap::new() }
    }

    /// How many documents a file holds, when it is known as it is: it need not be read.
    pub(super) fn unchanged_file(&mut self, root: &str, path: &str, source_digest: &[u8]) -> Option<usize> {
        let ids = self.by_file.get(&(root.to_owned(), path.to_owned()))?;
        let same = |id: &String| {
            let known = self.known.get(id).filter(|one| one.source.digest == source_digest)?;
            (!self.taken.contains_key(id)).then(|| (id.clone(), (path.to_owned(), known.language)))
        };
        let same: Vec<_> = ids.iter().map(same).collect::<Option<_>>()?;
        let count = same.len();
        self.taken.extend(same);
        Some(count)
    }

    /// What a file's articles change; `source.digest` must be empty when the file should be read again next time.
    pub(super) fn file(&mut self, source: &Source, articles: Vec<Article>) -> FilePlan {
        let mut plan = FilePlan::default();
        for article in articles {
            let (id, language) = self.id_of(&article, source);
            if let Some((other, _)) = self.taken.get(&id) {
                let why = format!("the id '{}' is already taken by {}; give it another id", shown(&id), shown(other));
                plan.skipped.push(Skipped { file: shown(&source.path), why });
                continue;
            }
            self.taken.insert(id.clone(), (source.path.clone(), language));
            let digest = digest(&article);
            match self.known.get(&id) {
                Some(known) if known.digest == digest => {
                    plan.unchanged += 1;
                    if known.source != *source {
                        plan.moved.push((id, source.clone()));
                    }
                }
                known => {
                    let is_new = known.is_none();
                    plan.put.push(Planned { id, article, digest, source: source.clone(), is_new });
                }
            }
        }
        if !plan.skipped.is_empty() {
            plan.read_again_next_time();
        }
        self.read.insert((source.root.clone(), source.path.clone()));
        plan
    }

    /// An article's id. Of two that have the same and different languages, as `en/returns.md` and `zh/returns.md` of two
    /// folders, the second one's says its language.
    fn id_of(&self, article: &Article, source: &Source) -> (String, Language) {
        let (id, language) = (article.id.clone().unwrap_or_default(), language(article));
        let elsewhere = |one: &&Known| (&one.source.root, &one.source.path) != (&source.root, &source.path);
        let known = self.known.get(&id).filter(elsewhere).map(|one| one.language);
        let other = self.taken.get(&id).map(|(_, language)| *language).or(known);
        match other.is_some_and(|other| other != language) {
            true => (format!("{id}-{}", language.tag()), language),
            false => (id, language),
        }
    }

    /// Documents that their files held before and hold no more. Asked last: one of them may have moved to another file.
    pub(super) fn removed(&self) -> Vec<String> {
        self.untaken(|one| self.read.contains(&(one.source.root.clone(), one.source.path.clone())))
    }

    /// Documents of a folder whose files are gone. Asked last, too.
    pub(super) fn pruned(&self, root: &str, paths: &HashSet<&str>) -> Vec<String> {
        self.untaken(|one| one.source.root == root && !paths.contains(one.source.path.as_str()))
    }

    fn untaken(&self, gone: impl Fn(&Known) -> bool) -> Vec<String> {
        let known = self.known.values().filter(|one| gone(one) && !self.taken.contains_key(&one.id));
        let mut ids: Vec<String> = known.map(|one| one.id.clone()).collect();
        ids.sort_unstable();
        ids
    }
}

impl FilePlan {
    /// A file with something left out is read each time, so that it is reported each time.
    fn read_again_next_time(&mut self) {
        self.put.iter_mut().for_each(|planned| planned.source.digest.clear());
        self.moved.iter_mut().for_each(|(_, source)| source.digest.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn article(id: &str, body: &str) -> Article {
        Article { id: Some(id.into()), body: body.into(), ..Article::default() }
    }

    fn source(path: &str, bytes: &str) -> Source {
        Source { root: "/kb".into(), path: path.into(), digest: source_digest(bytes.as_bytes()) }
    }

    fn known(id: &str, body: &str, path: &str, bytes: &str) -> Known {
        let language = Language::English;
        Known { id: id.into(), language, digest: digest(&article(id, body)), source: source(path, bytes) }
    }

    fn base() -> Plan {
        Plan::new(vec![
            known("a", "one", "a.md", "A"),
            known("f#1", "x", "f.csv", "F"),
            known("f#2", "y", "f.csv", "F"),
            known("gone", "z", "gone.md", "G"),
        ])
    }

    #[test]
    fn an_unchanged_file_is_not_read() {
        let mut plan = base();
        assert_eq!(plan.unchanged_file("/kb", "a.md", &source_digest(b"A")), Some(1));
        assert_eq!(plan.unchanged_file("/kb", "f.csv", &source_digest(b"F")), Some(2));
        assert_eq!(plan.unchanged_file("/kb", "gone.md", &source_digest(b"other")), None);
        assert_eq!(plan.unchanged_file("/other", "a.md", &source_digest(b"A")), None);
        assert_eq!(plan.unchanged_file("/kb", "new.md", &source_digest(b"N")), None);
    }

    #[test]
    fn only_what_differs_is_written() {
        let mut plan = base();
        let file = plan.file(&source("f.csv", "F2"), vec![article("f#1", "x"), article("f#3", "new")]);
        assert_eq!(file.unchanged, 1);
        assert_eq!(file.moved, [("f#1".to_owned(), source("f.csv", "F2"))]);
        assert_eq!(plan.removed(), ["f#2"]);
        assert_eq!(file.put.iter().map(|one| (one.id.as_str(), one.is_new)).collect::<Vec<_>>(), [("f#3", true)]);
        let file = plan.file(&source("a.md", "A2"), vec![article("a", "two")]);
        assert!(!file.put[0].is_new);
    }

    #[test]
    fn an_id_belongs_to_the_first_who_uses_it() {
        let mut plan = base();
        assert!(plan.unchanged_file("/kb", "a.md", &source_digest(b"A")).is_some());
        let file = plan.file(&source("b\n.md", "B"), vec![article("a", "two"), article("b", "x"), article("b", "y")]);
        assert_eq!(file.skipped.len(), 2);
        assert!(file.skipped[0].why.contains("taken by a.md"), "{:?}", file.skipped);
        assert_eq!(file.skipped[0].file, "b\\n.md");
        assert!(file.put[0].source.digest.is_empty(), "a file with a fault is read again next time");
    }

    #[test]
    fn a_translation_of_the_same_name_stays_beside_it() {
        let chinese = "七天之内可以退货。";
        let source_of = |root: &str| Source { root: root.into(), ..source("returns.md", chinese) };
        let mut english = known("returns", "You may return it within seven days.", "returns.md", "E");
        english.source.root = "/en".into();
        let mut plan = Plan::new(vec![english.clone()]);
        let ids = |file: FilePlan| file.put.into_iter().map(|one| one.id).collect::<Vec<_>>();
        let article_of = |body| vec![article("returns", body)];
        assert_eq!(ids(plan.file(&source_of("/zh"), article_of(chinese))), ["returns-zh"]);
        assert!(plan.removed().is_empty(), "the English one stays");
        assert_eq!(plan.file(&source_of("/zh2"), article_of(chinese)).skipped.len(), 1, "one for each language");
        // In one command, the English folder unchanged.
        let mut plan = Plan::new(vec![english.clone()]);
        assert!(plan.unchanged_file("/en", "returns.md", &source_digest(b"E")).is_some());
        assert_eq!(ids(plan.file(&source_of("/zh"), article_of(chinese))), ["returns-zh"]);
        // A file that was translated where it lies keeps its id, and so does one that only moved.
        let mut plan = Plan::new(vec![english.clone()]);
        assert_eq!(ids(plan.file(&source_of("/en"), article_of(chinese))), ["returns"]);
        let mut plan = Plan::new(vec![english]);
        let moved = plan.file(&source_of("/new"), article_of("You may return it within eight days."));
        assert_eq!(ids(moved), ["returns"]);
    }

    #[test]
    fn a_document_that_moves_to_another_file_is_not_removed() {
        let mut plan = base();
        plan.file(&source("f.csv", "F2"), vec![article("f#1", "x")]);
        assert_eq!(plan.removed(), ["f#2"]);
        plan.file(&source("z.md", "Z"), vec![article("f#2", "y")]);
        assert!(plan.removed().is_empty());
    }

    #[test]
    fn pruning_takes_only_what_the_folder_lost() {
        let mut known = vec![known("other", "q", "q.md", "Q")];
        known[0].source.root = "/elsewhere".into();
        let mut plan = base();
        plan.known.extend(known.into_iter().map(|one| (one.id.clone(), one)));
        assert_eq!(plan.pruned("/kb", &HashSet::from(["a.md", "f.csv"])), ["gone"]);
        plan.file(&source("b.md", "B"), vec![article("gone", "z")]);
        assert!(plan.pruned("/kb", &HashSet::from(["a.md", "f.csv", "b.md"])).is_empty());
    }

    #[test]
    fn a_digest_tells_fields_apart() {
        let a = Article { title: "ab".into(), url: "c".into(), ..Article::default() };
        let b = Article { title: "a".into(), url: "bc".into(), ..Article::default() };
        assert_ne!(digest(&a), digest(&b));
        let asked = Article { questions: vec!["how?".into()], ..a.clone() };
        assert_ne!(digest(&a), digest(&asked));
    }
}
