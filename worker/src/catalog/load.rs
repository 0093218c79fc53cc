//! Loading what a pointer of the catalog names; of knowledge only what changed since the version before.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use talkfleet_shared::{bus::Bus, id::TenantId, topology::MODELS};

use super::{CatalogError, IntentCard, IntentsArtefact, Pointer};
use crate::{
    intent::IntentModel,
    retrieval::{Index, Knowledge, Passage, Wording},
    store::{self, Snapshot, SnapshotDocument, Store},
};

/// A tenant's trained intents.
pub struct LoadedIntents {
    pub version: String,
    pub model: IntentModel,
    /// What the desk knows and says for each intent.
    pub intents: Vec<IntentCard>,
}

impl LoadedIntents {
    /// An intent by its name.
    pub fn card(&self, name: &str) -> Option<&IntentCard> {
        self.intents.iter().find(|card| card.name == name)
    }
}

/// What a tenant knows, ready to be searched.
pub struct LoadedKnowledge {
    pub version: String,
    pub index: Index,
    revision: i64,
    documents: HashSet<String>,
    /// Where the next index is made from this one.
    workshop: Arc<Mutex<Workshop>>,
}

/// The mutable side of an index, with how much of it is no longer in use.
struct Workshop {
    knowledge: Knowledge,
    replaced: usize,
}

impl LoadedKnowledge {
    /// Passages in it.
    pub fn passages(&self) -> usize {
        self.index.len()
    }

    /// What was replaced stays in the words' statistics until its segment is merged: once that is as much as the
    /// documents, a new index is smaller and truer.
    fn is_worn(&self) -> bool {
        self.workshop.lock().unwrap_or_else(PoisonError::into_inner).replaced > self.documents.len()
    }
}

pub(super) async fn intents(bus: &Bus, pointer: &Pointer) -> Result<LoadedIntents, CatalogError> {
    let object = pointer.object.as_ref().ok_or_else(|| CatalogError::Pointer(pointer.version.clone()))?;
    let bytes = bus.get_object(MODELS, object).await?;
    let version = pointer.version.clone();
    // Unpacking a model takes tens of milliseconds: not on a thread that answers.
    blocking(move || {
        let artefact = IntentsArtefact::from_bytes(&bytes)?;
        Ok(LoadedIntents { version, model: artefact.model()?, intents: artefact.intents })
    })
    .await
}

/// The tenant's knowledge as it stands now; an index that is there already takes only what changed.
pub(super) async fn knowledge(
    store: &Store,
    tenant: &TenantId,
    before: Option<Arc<LoadedKnowledge>>,
) -> Result<LoadedKnowledge, CatalogError> {
    let before = before.filter(|loaded| !loaded.is_worn());
    let snapshot = store.knowledge_since(tenant, before.as_ref().map_or(0, |loaded| loaded.revision)).await?;
    // A version that went backwards is another database, or one that was restored: nothing held before counts.
    match before {
        Some(before) if snapshot.version >= before.revision => blocking(move || before.with(snapshot)).await,
        Some(_) => {
            let snapshot = store.knowledge_since(tenant, 0).await?;
            blocking(move || LoadedKnowledge::of(snapshot)).await
        }
        None => blocking(move || LoadedKnowledge::of(snapshot)).await,
    }
}

impl LoadedKnowledge {
    fn of(snapshot: Snapshot) -> Result<Self, CatalogError> {
        let workshop = Arc::new(Mutex::new(Workshop { knowledge: Knowledge::default(), replaced: 0 }));
        Self::made_in(workshop, HashSet::new(), snapshot)
    }

    fn with(&self, snapshot: Snapshot) -> Result<Self, CatalogError> {
        Self::made_in(self.workshop.clone(), self.documents.clone(), snapshot)
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
        Ok(Self { version: snapshot.version.to_string(), index, revision: snapshot.version, documents, workshop })
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CatalogError> + Send + 'static,
) -> Result<T, CatalogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(CatalogError::Task(error.to_string())),
    }
}
