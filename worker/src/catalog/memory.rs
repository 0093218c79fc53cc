//! A tenant's knowledge in this process's memory: a version is loaded by what changed since the one before.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use talkfleet_shared::id::TenantId;

use super::{CatalogError, load::blocking};
use crate::{
    retrieval::{Index, Knowledge, Passage, Wording},
    store::{self, Snapshot, SnapshotDocument, Store},
};

/// What a tenant knows, ready to be searched.
pub(super) struct InMemory {
    pub(super) index: Index,
    pub(super) revision: i64,
    documents: HashSet<String>,
    /// Where the next index is made from this one.
    workshop: Arc<Mutex<Workshop>>,
}

/// The mutable side of an index, with how much of it is no longer in use.
struct Workshop {
    knowledge: Knowledge,
    replaced: usize,
}

impl InMemory {
    /// What was replaced stays in the words' statistics until its segment is merged: once that is as much as the
    /// documents, a new index is smaller and truer.
    fn is_worn(&self) -> bool {
        self.workshop.lock().unwrap_or_else(PoisonError::into_inner).replaced > self.documents.len()
    }
}

/// The tenant's knowledge as it stands now; an index that is there already takes only what changed.
pub(super) async fn load(
    store: &Store,
    tenant: &TenantId,
    before: Option<&InMemory>,
) -> Result<InMemory, CatalogError> {
    let before = before.filter(|loaded| !loaded.is_worn());
    let snapshot = store.knowledge_since(tenant, before.map_or(0, |loaded| loaded.revision)).await?;
    // A version that went backwards is another database, or one that was restored: nothing held before counts.
    match before {
        Some(before) if snapshot.version >= before.revision => {
            let (workshop, documents) = (before.workshop.clone(), before.documents.clone());
            blocking(move || InMemory::made_in(workshop, documents, snapshot)).await
        }
        Some(_) => {
            let snapshot = store.knowledge_since(tenant, 0).await?;
            blocking(move || InMemory::of(snapshot)).await
        }
        None => blocking(move || InMemory::of(snapshot)).await,
    }
}

impl InMemory {
    fn of(snapshot: Snapshot) -> Result<Self, CatalogError> {
        let workshop = Arc::new(Mutex::new(Workshop { knowledge: Knowledge::default(), replaced: 0 }));
        Self::made_in(workshop, HashSet::new(), snapshot)
    }

    /// Should it fail half-way, the same change is made again on the next attempt: putting and removing are idempotent.
    fn made_in(
        workshop: Arc<Mutex<Workshop>>,
        before: HashSet<String>,
        snapshot: Snapshot,
    ) -> Result<Self, CatalogError> {
        let documents: HashSet<String> = snapshot.ids.into_iter().collect();
        let index = {
            let mut workshop = workshop.lock().unwrap_or_else(PoisonError::into_inner);
            for gone in before.difference(&documents) {
                workshop.knowledge.remove(gone);
                workshop.replaced += 1;
            }
            for mut document in snapshot.documents {
                workshop.replaced += usize::from(before.contains(&document.id));
                let id = document.id.clone();
                let wordings = wordings(std::mem::take(&mut document.questions));
                workshop.knowledge.upsert(&id, passages(document), wordings)?;
            }
            workshop.knowledge.snapshot()?
        };
        Ok(Self { index, revision: snapshot.version, documents, workshop })
    }
}

fn passages(document: SnapshotDocument) -> Vec<(Passage, Option<Vec<f32>>)> {
    let SnapshotDocument { id, title, url, language, passages, .. } = document;
    let passage = |(number, passage): (usize, store::Passage)| {
        let indexed = Passage {
            id: format!("{id}-{}-{number}", language.tag()),
            document: id.clone(),
            title: title.clone(),
            url: url.clone(),
            language,
            text: passage.text,
        };
        (indexed, passage.embedding)
    };
    (1..).zip(passages).map(passage).collect()
}

fn wordings(questions: Vec<store::Passage>) -> Vec<Wording> {
    questions.into_iter().map(|question| Wording { text: question.text, embedding: question.embedding }).collect()
}
