//! Publishing: the object first, then the pointer to it; what was published before stays and can be pointed to again.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use talkfleet_shared::{
    bus::{Bus, Entry},
    id::TenantId,
    topology::{CATALOG, MODELS},
};
use time::OffsetDateTime;

use super::{CatalogError, IntentsArtefact, What};
use crate::store::Store;

/// Trained intents that are kept of a tenant: three weeks of a training a day to go back to, at 1 to 10 MB each.
pub const INTENTS_VERSIONS_MAX: usize = 20;

/// An entry of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pointer {
    pub version: String,
    /// The object that holds it; knowledge lies in the database and has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

impl Pointer {
    /// None when the entry was deleted.
    pub(super) fn of(entry: &Entry) -> Result<Option<Self>, CatalogError> {
        let Some(value) = &entry.value else { return Ok(None) };
        serde_json::from_slice(value).map(Some).map_err(|_| CatalogError::Pointer(entry.key.clone()))
    }

    async fn put(&self, bus: &Bus, what: What, tenant: &TenantId) -> Result<(), CatalogError> {
        let key = what.key(tenant);
        let value = serde_json::to_vec(self).map_err(|_| CatalogError::Pointer(key.clone()))?;
        bus.put(CATALOG, &key, Bytes::from(value)).await?;
        Ok(())
    }
}

/// The versions of a tenant's intents that are kept, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntentsVersions {
    pub current: Option<String>,
    pub versions: Vec<String>,
}

/// Publishes trained intents; every worker uses them within two seconds. The version comes back.
pub async fn publish_intents(bus: &Bus, tenant: &TenantId, artefact: &IntentsArtefact) -> Result<String, CatalogError> {
    let version = version_at(OffsetDateTime::now_utc());
    let object = format!("{tenant}/{version}");
    bus.put_object(MODELS, &object, &artefact.to_bytes()?).await?;
    Pointer { version: version.clone(), object: Some(object) }.put(bus, What::Intents, tenant).await?;
    if let Err(error) = prune_intents(bus, tenant).await {
        // It is published all the same; the next one prunes again.
        tracing::warn!(%error, tenant = %tenant, "old versions of the intents cannot be deleted");
    }
    Ok(version)
}

/// Deletes what is older than the newest [`INTENTS_VERSIONS_MAX`]; what is current stays.
async fn prune_intents(bus: &Bus, tenant: &TenantId) -> Result<(), CatalogError> {
    for version in superseded(&intents_versions(bus, tenant).await?) {
        bus.delete_object(MODELS, &format!("{tenant}/{version}")).await?;
    }
    Ok(())
}

fn superseded(kept: &IntentsVersions) -> impl Iterator<Item = &String> {
    kept.versions.iter().skip(INTENTS_VERSIONS_MAX).filter(|version| kept.current.as_ref() != Some(*version))
}

/// The versions that a tenant can point to.
pub async fn intents_versions(bus: &Bus, tenant: &TenantId) -> Result<IntentsVersions, CatalogError> {
    let prefix = format!("{tenant}/");
    let names = bus.object_names(MODELS).await?;
    let mut versions: Vec<String> =
        names.iter().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let current = current_pointer(bus, tenant).await?.map(|pointer| pointer.version);
    Ok(IntentsVersions { current, versions })
}

/// The intents that are current, with their version; None when none were published.
pub async fn current_intents(bus: &Bus, tenant: &TenantId) -> Result<Option<(String, IntentsArtefact)>, CatalogError> {
    let Some(Pointer { version, object: Some(object) }) = current_pointer(bus, tenant).await? else { return Ok(None) };
    let artefact = IntentsArtefact::from_bytes(&bus.get_object(MODELS, &object).await?)?;
    Ok(Some((version, artefact)))
}

/// Points to a version that was published before.
pub async fn roll_back_intents(bus: &Bus, tenant: &TenantId, version: &str) -> Result<(), CatalogError> {
    if !intents_versions(bus, tenant).await?.versions.iter().any(|kept| kept == version) {
        return Err(CatalogError::NoSuchVersion { tenant: tenant.clone(), version: version.to_owned() });
    }
    let object = Some(format!("{tenant}/{version}"));
    Pointer { version: version.to_owned(), object }.put(bus, What::Intents, tenant).await
}

/// Tells every worker that the tenant's knowledge has changed. The version comes back.
pub async fn publish_knowledge(bus: &Bus, store: &Store, tenant: &TenantId) -> Result<String, CatalogError> {
    let version = store.knowledge_version(tenant).await?.to_string();
    Pointer { version: version.clone(), object: None }.put(bus, What::Knowledge, tenant).await?;
    Ok(version)
}

async fn current_pointer(bus: &Bus, tenant: &TenantId) -> Result<Option<Pointer>, CatalogError> {
    match bus.get(CATALOG, &What::Intents.key(tenant)).await? {
        Some(entry) => Pointer::of(&entry),
        None => Ok(None),
    }
}

/// A version that sorts by time and that an operator can read: `20261122T153012123Z`.
fn version_at(now: OffsetDateTime) -> String {
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second, ms) = now.to_hms_milli();
    format!("{year:04}{:02}{day:02}T{hour:02}{minute:02}{second:02}{ms:03}Z", u8::from(month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_by_time() {
        let at = |ms: i128| version_at(OffsetDateTime::from_unix_timestamp_nanos(ms * 1_000_000).unwrap());
        assert_eq!(at(1_795_361_412_123), "20261122T153012123Z");
        assert!(at(1_795_361_412_999) < at(1_795_361_413_000));
    }

    #[test]
    fn the_newest_versions_stay_and_the_current_one() {
        let versions: Vec<String> = (0..25).rev().map(|n| format!("2026{n:02}")).collect();
        let gone = |current: &str| {
            let kept = IntentsVersions { current: Some(current.to_owned()), versions: versions.clone() };
            superseded(&kept).cloned().collect::<Vec<_>>()
        };
        assert_eq!(gone("202624"), ["202604", "202603", "202602", "202601", "202600"]);
        assert_eq!(gone("202602"), ["202604", "202603", "202601", "202600"]);
    }

    #[test]
    fn a_pointer_reads_what_others_may_write() {
        let entry = |value: Option<&'static str>| Entry {
            key: "knowledge.demo".into(),
            value: value.map(|text| Bytes::from_static(text.as_bytes())),
            revision: 1,
            pending: 0,
        };
        let pointer = Pointer::of(&entry(Some(r#"{"version":"7","by":"tomorrow"}"#))).unwrap().unwrap();
        assert_eq!((pointer.version.as_str(), pointer.object), ("7", None));
        assert_eq!(Pointer::of(&entry(None)).unwrap(), None);
        assert!(Pointer::of(&entry(Some("junk"))).is_err());
    }
}
