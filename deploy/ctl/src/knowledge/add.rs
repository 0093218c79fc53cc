//! One addition from beginning to end: find, compare, read, cut, embed, write in batches, tell what happened.

use std::{collections::HashSet, num::NonZero, sync::Arc};

use serde::Serialize;
use talkfleet_shared::id::TenantId;
use talkfleet_worker::{
    encoder::Encoder,
    retrieval,
    store::{Change, Document, Passage, Source, Store, StoreError},
};

use super::{
    Article, Folder, FoundFile, Isolation, Skipped,
    plan::{self, Plan, Planned, source_digest},
    read, shown,
};

/// Documents that are embedded and written together: a second of work, and of progress that an interruption loses.
const BATCH_DOCUMENTS: usize = 64;

/// How an addition is done.
#[derive(Clone)]
pub struct AddOptions {
    /// None adds without embeddings; `reindex` supplies them later.
    pub encoder: Option<Arc<Encoder>>,
    pub isolation: Isolation,
    /// Remove documents whose files are gone from the folders.
    pub prune: bool,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many files or documents will be looked at.
    Found(usize),
    /// One more was.
    Read,
    /// So many documents more were written.
    Written(usize),
    /// So many documents more were cut and embedded anew.
    Reindexed(usize),
}

/// What an addition did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub added: usize,
    pub changed: usize,
    pub unchanged: usize,
    pub removed: usize,
    pub skipped: Vec<Skipped>,
    /// The tenant's knowledge version afterwards.
    pub version: i64,
}

/// Adds folders to what a tenant knows. An unchanged file costs a read of it and nothing more; what cannot be read is
/// told in the summary and changes nothing. Interrupted, it goes on where it was when it is run again.
pub async fn add(
    store: &Store,
    tenant: &TenantId,
    folders: &[Folder],
    options: &AddOptions,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<Summary, StoreError> {
    let plan = Plan::new(store.known_documents(tenant).await?);
    let mut addition =
        Addition { store, tenant, options, plan, waiting: Waiting::default(), summary: Summary::default() };
    progress(Step::Found(folders.iter().map(|folder| folder.files.len()).sum()));
    for folder in folders {
        addition.summary.skipped.extend(folder.skipped.iter().cloned());
        for file in &folder.files {
            addition.take(&folder.root, file).await;
            progress(Step::Read);
            if addition.waiting.put.len() >= BATCH_DOCUMENTS {
                progress(Step::Written(addition.write().await?));
            }
        }
    }
    progress(Step::Written(addition.write().await?));
    addition.remove(folders).await?;
    let mut summary = addition.summary;
    summary.version = store.knowledge_version(tenant).await?;
    Ok(summary)
}

/// Cuts and embeds every document of a tenant anew; the number of documents comes back.
pub async fn reindex(
    store: &Store,
    tenant: &TenantId,
    encoder: Option<Arc<Encoder>>,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<usize, StoreError> {
    progress(Step::Found(store.known_documents(tenant).await?.len()));
    let (mut after, mut count) = (String::new(), 0);
    loop {
        let documents = store.documents_after(tenant, &after, BATCH_DOCUMENTS as u32).await?;
        let Some(last) = documents.last() else { return Ok(count) };
        after.clone_from(&last.id);
        let put = cut_and_embed(documents, encoder.clone()).await?;
        let written = put.len();
        store.change_knowledge(tenant, &Change { put, ..Change::default() }).await?;
        count += written;
        progress(Step::Reindexed(written));
    }
}

struct Addition<'a> {
    store: &'a Store,
    tenant: &'a TenantId,
    options: &'a AddOptions,
    plan: Plan,
    waiting: Waiting,
    summary: Summary,
}

/// What goes into the next transaction; a file's documents always go together.
#[derive(Default)]
struct Waiting {
    put: Vec<Planned>,
    moved: Vec<(String, Source)>,
}

impl Addition<'_> {
    async fn take(&mut self, root: &str, file: &FoundFile) {
        if let Err(why) = self.take_or_say_why(root, file).await {
            self.summary.skipped.push(Skipped { file: shown(&file.path), why });
        }
    }

    async fn take_or_say_why(&mut self, root: &str, file: &FoundFile) -> Result<(), String> {
        let bytes = file.bytes()?;
        let mut source = Source { root: root.to_owned(), path: file.path.clone(), digest: source_digest(&bytes) };
        if let Some(documents) = self.plan.unchanged_file(root, &file.path, &source.digest) {
            self.summary.unchanged += documents;
            return Ok(());
        }
        let reading = read::read(file, &bytes, &self.options.isolation).await?;
        if !reading.skipped.is_empty() {
            // Read again each time, so that what is wrong with it is told each time.
            source.digest.clear();
        }
        let skipped = reading.skipped.into_iter().map(|why| Skipped { file: shown(&file.path), why });
        self.summary.skipped.extend(skipped);
        let planned = self.plan.file(&source, reading.articles);
        self.summary.unchanged += planned.unchanged;
        self.summary.skipped.extend(planned.skipped);
        self.waiting.put.extend(planned.put);
        self.waiting.moved.extend(planned.moved);
        Ok(())
    }

    async fn write(&mut self) -> Result<usize, StoreError> {
        let Waiting { put, moved } = std::mem::take(&mut self.waiting);
        if put.is_empty() && moved.is_empty() {
            return Ok(0);
        }
        let added = put.iter().filter(|planned| planned.is_new).count();
        let written = put.len();
        let documents = put.into_iter().map(document).collect();
        let put = cut_and_embed(documents, self.options.encoder.clone()).await?;
        self.store.change_knowledge(self.tenant, &Change { put, moved, removed: Vec::new() }).await?;
        self.summary.added += added;
        self.summary.changed += written - added;
        Ok(written)
    }

    async fn remove(&mut self, folders: &[Folder]) -> Result<(), StoreError> {
        let mut removed = self.plan.removed();
        if self.options.prune {
            for folder in folders {
                if !folder.complete {
                    let why = "nothing of it was pruned, because not every file of it was seen".into();
                    self.summary.skipped.push(Skipped { file: shown(&folder.root), why });
                    continue;
                }
                let paths: HashSet<&str> = folder.files.iter().map(|file| file.path.as_str()).collect();
                removed.extend(self.plan.pruned(&folder.root, &paths));
            }
        }
        if !removed.is_empty() {
            self.summary.removed = removed.len();
            self.store.change_knowledge(self.tenant, &Change { removed, ..Change::default() }).await?;
        }
        Ok(())
    }
}

fn document(planned: Planned) -> Document {
    let Planned { id, article, digest, source, .. } = planned;
    let language = plan::language(&article);
    let Article { title, url, category, body, questions, .. } = article;
    let questions = questions.into_iter().map(|text| Passage { text, embedding: None }).collect();
    Document { id, title, url, category, language, body, digest, source, passages: Vec::new(), questions }
}

/// Fills in the passages and every embedding, on as many threads as there are cores.
async fn cut_and_embed(documents: Vec<Document>, encoder: Option<Arc<Encoder>>) -> Result<Vec<Document>, StoreError> {
    let work = move || {
        let mut documents = documents;
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let share = documents.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            for part in documents.chunks_mut(share) {
                scope.spawn(|| part.iter_mut().for_each(|document| fill(document, encoder.as_deref())));
            }
        });
        documents
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Rejected(error.to_string()))
}

fn fill(document: &mut Document, encoder: Option<&Encoder>) {
    let cut = retrieval::split(&retrieval::Document {
        id: document.id.clone(),
        title: document.title.clone(),
        url: document.url.clone(),
        language: document.language,
        text: document.body.clone(),
    });
    let texts: Vec<String> = cut.iter().map(retrieval::Passage::embedded_text).collect();
    let mut embeddings = encoder.map(|encoder| encoder.encode_many(&texts)).into_iter().flatten();
    let passage = |passage: retrieval::Passage| Passage { text: passage.text, embedding: embeddings.next() };
    document.passages = cut.into_iter().map(passage).collect();
    let texts: Vec<&str> = document.questions.iter().map(|question| question.text.as_str()).collect();
    let mut embeddings = encoder.map(|encoder| encoder.encode_many(&texts)).into_iter().flatten();
    document.questions.iter_mut().for_each(|question| question.embedding = embeddings.next());
}
