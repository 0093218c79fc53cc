//! What is current for each tenant: the trained intents and the knowledge, swapped without a pause when others publish.
//!
//! Whoever hosts the intent or retrieval role makes one [`Catalog`], spawns [`Catalog::follow`] and reads it from any
//! task: [`Catalog::intents`] and [`Catalog::knowledge`] cost a lock that is never held while anything is loaded.

/// Trained intents as they are published: the model, and what the desk says for each intent.
mod artefact;

/// Loading the intents that a pointer of the catalog names.
mod load;

/// Where knowledge is searched, by one face.
mod knowledge;

/// A tenant's knowledge in this process's memory.
mod memory;

/// Publishing: the object first, then the pointer to it.
mod publish;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use talkfleet_shared::{
    bus::{Bus, Entry},
    id::TenantId,
    lifecycle::Shutdown,
    retry::Delays,
    topology::CATALOG,
};

pub use self::{
    artefact::{IntentCard, IntentsArtefact},
    knowledge::{Backend, LoadedKnowledge, SearchError},
    load::LoadedIntents,
    publish::{
        INTENTS_VERSIONS_MAX, IntentsVersions, Pointer, current_intents, intents_versions, publish_intents,
        publish_knowledge, roll_back_intents,
    },
};
use crate::store::{Store, StoreError};

/// Waits between attempts to load what could not be loaded.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Why something of the catalog cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error(transparent)]
    Bus(#[from] talkfleet_shared::bus::BusError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the catalog's entry {0} cannot be read; publish it again")]
    Pointer(String),
    #[error(transparent)]
    Artefact(#[from] artefact::ArtefactError),
    #[error(transparent)]
    Index(#[from] crate::retrieval::IndexError),
    #[error(transparent)]
    Backend(#[from] crate::retrieval::remote::BackendError),
    #[error("loading ended early: {0}")]
    Task(String),
    #[error("tenant {tenant} has no intents of version {version}; `talkfleet intents list` shows those that are kept")]
    NoSuchVersion { tenant: TenantId, version: String },
}

impl CatalogError {
    /// Whether another attempt at the same version may succeed.
    fn may_pass(&self) -> bool {
        !matches!(self, Self::Pointer(_) | Self::Artefact(_))
    }
}

/// What a catalog follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Intents,
    Knowledge,
}

impl What {
    /// The name in health, logs, and before the dot of a key.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intents => "intents",
            Self::Knowledge => "knowledge",
        }
    }

    /// `intents.<tenant>` or `knowledge.<tenant>`.
    fn key(self, tenant: &TenantId) -> String {
        format!("{}.{tenant}", self.name())
    }

    fn tenant(self, key: &str) -> Option<TenantId> {
        TenantId::parse(key.strip_prefix(self.name())?.strip_prefix('.')?).ok()
    }
}

/// What is current for each tenant; cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    bus: Bus,
    store: Store,
    /// Where knowledge is searched.
    backend: Arc<Backend>,
    current: Arc<RwLock<Current>>,
}

#[derive(Default)]
struct Current {
    intents: HashMap<TenantId, Arc<LoadedIntents>>,
    knowledge: HashMap<TenantId, Arc<LoadedKnowledge>>,
}

impl Catalog {
    /// An empty catalog; [`Catalog::follow`] fills it.
    pub fn new(bus: Bus, store: Store, backend: Arc<Backend>) -> Self {
        Self { bus, store, backend, current: Arc::default() }
    }

    /// The tenant's trained intents; None when none were published or loaded yet.
    pub fn intents(&self, tenant: &TenantId) -> Option<Arc<LoadedIntents>> {
        self.read(|current| current.intents.get(tenant).cloned())
    }

    /// What the tenant knows; None when nothing was published or loaded yet.
    pub fn knowledge(&self, tenant: &TenantId) -> Option<Arc<LoadedKnowledge>> {
        self.read(|current| current.knowledge.get(tenant).cloned())
    }

    fn read<T>(&self, pick: impl FnOnce(&Current) -> T) -> T {
        pick(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Current)) {
        change(&mut self.current.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Keeps the intents or the knowledge of every tenant current until shutdown. Health's part of that name is up
    /// once everything that is published has been loaded; afterwards a failure keeps what was loaded before.
    pub async fn follow(&self, what: What, shutdown: Shutdown) {
        let part = what.name();
        self.bus.health().down(part, "being loaded");
        let mut delays = Delays::new(RETRY_FIRST, RETRY_LONGEST);
        while !shutdown.is_asked() {
            let followed = tokio::select! {
                () = shutdown.asked() => return,
                followed = self.follow_once(what) => followed,
            };
            let Err(error) = followed else { continue };
            if !self.has_any(what) {
                self.bus.health().down(part, error.to_string());
            }
            tracing::warn!(%error, part, "the catalog cannot be followed; trying again");
            tokio::select! {
                () = shutdown.asked() => return,
                () = tokio::time::sleep(delays.next_delay()) => {}
            }
        }
    }

    /// Follows until the watch breaks.
    async fn follow_once(&self, what: What) -> Result<(), CatalogError> {
        // The watch is opened first, so that nothing that is published while the entries are read is missed.
        let mut watch = self.bus.watch(CATALOG).await?;
        let mut waiting = BTreeMap::new();
        for entry in self.bus.entries(CATALOG).await? {
            self.take(what, &entry, &mut waiting).await;
        }
        let mut delays = Delays::new(RETRY_FIRST, RETRY_LONGEST);
        loop {
            if waiting.is_empty() {
                self.bus.health().up(what.name());
                delays.reset();
            }
            let entry = tokio::select! {
                entry = watch.next() => entry,
                () = tokio::time::sleep(delays.next_delay()), if !waiting.is_empty() => {
                    for entry in std::mem::take(&mut waiting).into_values() {
                        self.take(what, &entry, &mut waiting).await;
                    }
                    continue;
                }
            };
            match entry {
                Some(entry) => self.take(what, &entry, &mut waiting).await,
                None => return Ok(()),
            }
        }
    }

    /// Loads what an entry points to; what cannot be loaded now waits for another attempt.
    async fn take(&self, what: What, entry: &Entry, waiting: &mut BTreeMap<TenantId, Entry>) {
        let Some(tenant) = what.tenant(&entry.key) else { return };
        waiting.remove(&tenant);
        let taken = match (what, Pointer::of(entry)) {
            (_, Ok(None)) => {
                self.forget(what, &tenant);
                return;
            }
            (What::Intents, Ok(Some(pointer))) => self.take_intents(&tenant, &pointer).await,
            (What::Knowledge, Ok(Some(pointer))) => self.take_knowledge(&tenant, &pointer).await,
            (_, Err(error)) => Err(error),
        };
        let Err(error) = taken else { return };
        tracing::warn!(%error, tenant = %tenant, part = what.name(), "a new version cannot be loaded; the one before stays");
        if !error.may_pass() {
            // Its publisher has to act; this process serves every other tenant meanwhile.
            return;
        }
        if !self.has(what, &tenant) {
            self.bus.health().down(what.name(), format!("tenant {tenant}: {error}"));
        }
        waiting.insert(tenant, entry.clone());
    }

    async fn take_intents(&self, tenant: &TenantId, pointer: &Pointer) -> Result<(), CatalogError> {
        if self.intents(tenant).is_some_and(|loaded| loaded.version == pointer.version) {
            return Ok(());
        }
        let loaded = Arc::new(load::intents(&self.bus, pointer).await?);
        tracing::info!(tenant = %tenant, version = loaded.version, "intents loaded");
        self.change(|current| drop(current.intents.insert(tenant.clone(), loaded)));
        Ok(())
    }

    async fn take_knowledge(&self, tenant: &TenantId, pointer: &Pointer) -> Result<(), CatalogError> {
        let before = self.knowledge(tenant);
        if before.as_ref().is_some_and(|loaded| loaded.version == pointer.version) {
            return Ok(());
        }
        let loaded = Arc::new(self.backend.refresh(&self.store, tenant, before.as_deref()).await?);
        tracing::info!(tenant = %tenant, version = loaded.version, passages = loaded.passages(), "knowledge loaded");
        self.change(|current| drop(current.knowledge.insert(tenant.clone(), loaded)));
        self.count_passages();
        Ok(())
    }

    fn forget(&self, what: What, tenant: &TenantId) {
        self.change(|current| match what {
            What::Intents => drop(current.intents.remove(tenant)),
            What::Knowledge => drop(current.knowledge.remove(tenant)),
        });
        self.count_passages();
    }

    fn count_passages(&self) {
        let passages: usize = self.read(|current| current.knowledge.values().map(|loaded| loaded.passages()).sum());
        self.bus.metrics().passages.set(i64::try_from(passages).unwrap_or(i64::MAX));
    }

    fn has(&self, what: What, tenant: &TenantId) -> bool {
        self.read(|current| match what {
            What::Intents => current.intents.contains_key(tenant),
            What::Knowledge => current.knowledge.contains_key(tenant),
        })
    }

    fn has_any(&self, what: What) -> bool {
        self.read(|current| match what {
            What::Intents => !current.intents.is_empty(),
            What::Knowledge => !current.knowledge.is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_tenant() {
        let tenant = TenantId::parse("demo").unwrap();
        assert_eq!(What::Intents.tenant(&What::Intents.key(&tenant)), Some(tenant.clone()));
        assert_eq!(What::Intents.tenant(&What::Knowledge.key(&tenant)), None);
        assert_eq!(What::Intents.tenant("intents.a.b"), None);
        assert_eq!(What::Intents.tenant("intentsdemo"), None);
    }
}
