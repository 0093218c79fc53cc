//! Loading the intents that a pointer of the catalog names.

use talkfleet_shared::{bus::Bus, topology::MODELS};

use super::{CatalogError, IntentCard, IntentsArtefact, Pointer};
use crate::intent::IntentModel;

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

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CatalogError> + Send + 'static,
) -> Result<T, CatalogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(CatalogError::Task(error.to_string())),
    }
}
