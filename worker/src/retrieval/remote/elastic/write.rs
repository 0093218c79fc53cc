//! Bringing a tenant's index up to date: by what changed, or as a new index behind the same alias.
//!
//! Several workers hear of a version at once and one of them writes it: whoever creates the claim's document first (or, for
//! a new index, the index). The others wait for its state. Every entry is written with its knowledge version as an external
//! one, so that a writer that was taken for dead and comes back changes nothing newer.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use talkfleet_shared::{hex::hex, id::TenantId, retry::Delays};

use super::super::terms::Words;
use super::super::{BATCH_DOCUMENTS, BUSY_LOOK, BackendError, Piece, QUESTION, TEXT, WHOLE, pieces};
use super::door::{Body, ElasticError, of_error};
use super::query::{alias, field};
use super::{Elastic, LAYOUT};
use crate::store::{SnapshotDocument, Store, StoreError};

/// A writer that has not finished after this long is taken for dead. A first load writes 1,000 entries or so a second.
const CLAIM_AGE_MAX: Duration = Duration::from_secs(120);

/// Bytes of one bulk request: what the makers of both servers recommend.
const BULK_BYTES_MAX: usize = 5 << 20;

/// How often items that were rejected for load are sent again, and the waits between.
const BULK_TRIES_MAX: u32 = 6;
const BULK_WAIT_FIRST: Duration = Duration::from_millis(200);
const BULK_WAIT_LONGEST: Duration = Duration::from_secs(5);

/// Documents whose names are read at once when some have gone.
const PAGE: usize = 1_000;

const STATE: &str = "state";

/// What an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    revision: i64,
    layout: i64,
}

impl Elastic {
    /// Brings the tenant's index up to date, or waits until another worker has; the version in it comes back.
    pub(super) async fn bring_up_to_date(&self, store: &Store, tenant: &TenantId) -> Result<i64, BackendError> {
        loop {
            let version = store.knowledge_version(tenant).await?;
            let state = self.state(tenant).await?;
            let written = match state {
                Some(State { revision, layout }) if layout == LAYOUT && revision == version => return Ok(version),
                Some(State { revision, layout }) if layout == LAYOUT && revision < version => {
                    self.add_changes(store, tenant, revision, version).await?
                }
                _ => self.build_anew(store, tenant, version).await?,
            };
            if !written {
                tokio::time::sleep(BUSY_LOOK).await;
            }
        }
    }

    async fn state(&self, tenant: &TenantId) -> Result<Option<State>, BackendError> {
        let found = self.door.get(&format!("/{}/_doc/{STATE}", alias(&self.prefix, tenant))).await;
        match found {
            Ok(found) => {
                let number = |name: &str| found["_source"][name].as_i64();
                // A document without them was not written by us.
                Ok(number("revision").zip(number("layout")).map(|(revision, layout)| State { revision, layout }))
            }
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what changed since a revision; false when another worker is at it.
    async fn add_changes(
        &self,
        store: &Store,
        tenant: &TenantId,
        revision: i64,
        version: i64,
    ) -> Result<bool, BackendError> {
        let index = alias(&self.prefix, tenant);
        if !self.claim(&index, version).await? {
            return Ok(false);
        }
        self.write(store, tenant, &index, revision, version).await?;
        self.remove_gone(store, tenant, &index, version).await?;
        self.note(&index, version).await?;
        let old = json!({ "query": { "bool": { "filter": [
            { "term": { "kind": "claim" } }, { "range": { "revision": { "lte": version } } }] } } });
        self.delete_by_query(&index, old).await?;
        Ok(true)
    }

    /// Writes everything into a new index and lets the alias point there; false when another worker is at it.
    async fn build_anew(&self, store: &Store, tenant: &TenantId, version: i64) -> Result<bool, BackendError> {
        let alias = alias(&self.prefix, tenant);
        let index = format!("{alias}-v{LAYOUT}-{version}");
        if let Err(error) = self.door.put(&format!("/{index}"), json!({})).await {
            return match error {
                ElasticError::Refused { kind, .. } if kind == "resource_already_exists_exception" => {
                    self.give_up_on_stale(&index).await?;
                    Ok(false)
                }
                error => Err(error.into()),
            };
        }
        self.write(store, tenant, &index, 0, version).await?;
        self.note(&index, version).await?;
        self.point(&alias, &index).await?;
        Ok(true)
    }

    /// Deletes an index whose maker has died. (Or one of a database that was since restored to the version in its name;
    /// that one must go as well.)
    async fn give_up_on_stale(&self, index: &str) -> Result<(), BackendError> {
        let settings = self.door.get(&format!("/{index}/_settings")).await?;
        let made = settings[index]["settings"]["index"]["creation_date"].as_str().and_then(|ms| ms.parse().ok());
        if made.is_some_and(|made: u64| now_ms().saturating_sub(made) > CLAIM_AGE_MAX.as_millis() as u64) {
            tracing::warn!(index, "a half-made index is given up; its maker seems to have died");
            self.door.delete(&format!("/{index}")).await?;
        }
        Ok(())
    }

    /// Swaps the alias in one step and deletes what it pointed to before.
    async fn point(&self, alias: &str, index: &str) -> Result<(), BackendError> {
        let before = match self.door.get(&format!("/_alias/{alias}")).await {
            Ok(found) => found.as_object().map(|found| found.keys().cloned().collect()).unwrap_or_default(),
            Err(error) if error.is_missing() => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut actions: Vec<Value> =
            before.iter().map(|old: &String| json!({ "remove": { "index": old, "alias": alias } })).collect();
        actions.push(json!({ "add": { "index": index, "alias": alias } }));
        self.door.post("/_aliases", Body::Json(json!({ "actions": actions }))).await?;
        for old in before.iter().filter(|old| *old != index) {
            self.door.delete(&format!("/{old}")).await?;
        }
        Ok(())
    }

    /// Whether the version is ours to write: the claim's first writer wins, and a dead one's claim is taken over.
    async fn claim(&self, index: &str, version: i64) -> Result<bool, BackendError> {
        let claim = json!({ "kind": "claim", "revision": version, "claimed_at": now_ms() });
        let path = format!("/{index}/_create/claim-{version}");
        match self.door.put(&path, claim.clone()).await {
            Ok(_) => return Ok(true),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
        let found = match self.door.get(&format!("/{index}/_doc/claim-{version}")).await {
            // Written and cleared away in between.
            Err(error) if error.is_missing() => return Ok(false),
            found => found?,
        };
        let at = found["_source"]["claimed_at"].as_u64().unwrap_or_default();
        if now_ms().saturating_sub(at) <= CLAIM_AGE_MAX.as_millis() as u64 {
            return Ok(false);
        }
        // By the numbers that were read: of several that notice at once one succeeds.
        let (number, term) = (found["_seq_no"].as_i64(), found["_primary_term"].as_i64());
        let (Some(number), Some(term)) = (number, term) else { return Err(ElasticError::Garbage.into()) };
        let path = format!("/{index}/_doc/claim-{version}?if_seq_no={number}&if_primary_term={term}");
        match self.door.put(&path, claim).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what is newer than a revision, and takes away what those documents had before.
    async fn write(
        &self,
        store: &Store,
        tenant: &TenantId,
        index: &str,
        revision: i64,
        version: i64,
    ) -> Result<(), BackendError> {
        let mut after = String::new();
        loop {
            let documents = store.knowledge_page(tenant, revision, &after, BATCH_DOCUMENTS).await?;
            let Some(last) = documents.last() else { break };
            after.clone_from(&last.id);
            let ids: Vec<String> = documents.iter().map(|document| document.id.clone()).collect();
            // Seconds of work for a large base: not on a thread that answers.
            let lines = tokio::task::spawn_blocking(move || lines(documents, version)).await;
            self.bulk(index, lines.map_err(|error| StoreError::Rejected(error.to_string()))?).await?;
            if revision > 0 {
                self.door.post(&format!("/{index}/_refresh"), Body::None).await?;
                let before = json!({ "query": { "bool": { "filter": [
                    { "terms": { "document": ids } }, { "range": { "revision": { "lt": version } } }] } } });
                self.delete_by_query(index, before).await?;
            }
        }
        Ok(())
    }

    /// Sends items in requests of bounded size; those that are rejected for load are sent again.
    async fn bulk(&self, index: &str, mut items: Vec<String>) -> Result<(), BackendError> {
        let mut delays = Delays::new(BULK_WAIT_FIRST, BULK_WAIT_LONGEST);
        for _ in 0..BULK_TRIES_MAX {
            let mut rejected = Vec::new();
            for part in parts(&items) {
                match self.door.post(&format!("/{index}/_bulk"), Body::Lines(part.concat())).await {
                    Ok(answer) => rejected.extend(rejections(&answer, part)?),
                    Err(error) if error.may_pass() => rejected.extend(part.iter().cloned()),
                    Err(error) => return Err(error.into()),
                }
            }
            if rejected.is_empty() {
                return Ok(());
            }
            if !self.guard.may_retry() {
                break;
            }
            items = rejected;
            tokio::time::sleep(delays.next_delay()).await;
        }
        Err(ElasticError::Busy.into())
    }

    /// Takes out documents that are no longer known, which the counts give away.
    async fn remove_gone(
        &self,
        store: &Store,
        tenant: &TenantId,
        index: &str,
        version: i64,
    ) -> Result<(), BackendError> {
        self.door.post(&format!("/{index}/_refresh"), Body::None).await?;
        let first = json!({ "bool": { "filter": [{ "term": { "kind": TEXT } }, { "term": { "ordinal": 0 } }] } });
        let counted = self.door.post(&format!("/{index}/_count"), Body::Json(json!({ "query": first }))).await?;
        let known: HashSet<String> = store.searchable_documents(tenant).await?.into_iter().collect();
        if counted["count"].as_u64() == Some(known.len() as u64) {
            return Ok(());
        }
        let mut after: Option<Value> = None;
        loop {
            let mut page = json!({ "size": PAGE, "_source": false, "docvalue_fields": ["document"], "query": first,
                "sort": [{ "document": "asc" }] });
            if let Some(after) = after {
                page["search_after"] = after;
            }
            let found = self.door.post(&format!("/{index}/_search"), Body::Json(page)).await?;
            let hits = found["hits"]["hits"].as_array().ok_or(ElasticError::Garbage)?;
            let named = hits.iter().filter_map(|hit| hit["fields"]["document"][0].as_str());
            let gone: Vec<&str> = named.filter(|document| !known.contains(*document)).collect();
            if !gone.is_empty() {
                // Not what was written since: it may have come back.
                let query = json!({ "query": { "bool": { "filter": [
                    { "terms": { "document": gone } }, { "range": { "revision": { "lte": version } } }] } } });
                self.delete_by_query(index, query).await?;
            }
            let last = hits.last().filter(|_| hits.len() == PAGE);
            let Some(last) = last.map(|hit| hit["sort"].clone()) else { return Ok(()) };
            after = Some(last);
        }
    }

    async fn delete_by_query(&self, index: &str, query: Value) -> Result<(), BackendError> {
        let path = format!("/{index}/_delete_by_query?conflicts=proceed&refresh=true");
        self.door.post(&path, Body::Json(query)).await?;
        Ok(())
    }

    /// Notes what is in, and shows it all to searches.
    async fn note(&self, index: &str, version: i64) -> Result<(), BackendError> {
        let state = json!({ "kind": STATE, "revision": version, "layout": LAYOUT });
        let path = format!("/{index}/_doc/{STATE}?version={}&version_type=external_gte", version.max(1));
        match self.door.put(&path, state).await {
            Ok(_) => {}
            // A newer one is noted.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
        self.door.post(&format!("/{index}/_refresh"), Body::None).await?;
        Ok(())
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Documents as items of a bulk request: an action and an entry, a line each.
fn lines(documents: Vec<SnapshotDocument>, version: i64) -> Vec<String> {
    let mut words = Words::default();
    let mut items = Vec::new();
    for document in documents {
        let url = document.url.clone();
        for piece in pieces(document) {
            let id = id(piece.kind, piece.ordinal, &piece.document);
            let action = json!({ "index": { "_id": id, "version": version, "version_type": "external_gte" } });
            items.push(format!("{action}\n{}\n", entry(&piece, &url, version, &mut words)));
        }
    }
    items
}

fn entry(piece: &Piece, url: &str, version: i64, words: &mut Words) -> Value {
    let mut entry = json!({ "kind": piece.kind, "document": piece.document, "ordinal": piece.ordinal,
        "language": piece.language.tag(), "revision": version });
    if let Some(embedding) = &piece.embedding {
        entry["embedding"] = json!(embedding);
    }
    match piece.kind {
        QUESTION => {}
        WHOLE => entry[field(WHOLE, piece.language)] = json!(words.in_order(&piece.text)),
        _ => {
            entry[field(TEXT, piece.language)] = json!(words.in_order(&piece.text));
            entry[field("title", piece.language)] = json!(words.in_order(&piece.title));
            entry["title"] = json!(piece.title);
            entry["url"] = json!(url);
            entry["text"] = json!(piece.text);
        }
    }
    entry
}

/// An entry's own name: of bounded length, whatever the document is called.
pub(super) fn id(kind: &str, ordinal: i32, document: &str) -> String {
    let digest = Sha256::digest(document.as_bytes());
    let digest = hex(&digest[..16]);
    format!("{kind}-{ordinal}-{digest}")
}

/// Items in runs of bounded size; one that is larger goes alone.
fn parts(items: &[String]) -> Vec<&[String]> {
    let (mut parts, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (at, item) in items.iter().enumerate() {
        if at > from && bytes + item.len() > BULK_BYTES_MAX {
            parts.push(&items[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += item.len();
    }
    if from < items.len() {
        parts.push(&items[from..]);
    }
    parts
}

/// The items that were rejected for load. A newer version that is there already is none; anything else is an error.
fn rejections(answer: &Value, sent: &[String]) -> Result<Vec<String>, ElasticError> {
    let items = answer["items"].as_array().filter(|items| items.len() == sent.len()).ok_or(ElasticError::Garbage)?;
    let mut rejected = Vec::new();
    for (item, sent) in items.iter().zip(sent) {
        let status = item["index"]["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        match status.ok_or(ElasticError::Garbage)? {
            200..=299 | 409 => {}
            429 => rejected.push(sent.clone()),
            status => return Err(of_error(status, &item["index"]["error"])),
        }
    }
    Ok(rejected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_judged_one_by_one() {
        let sent: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let answer = |statuses: [u16; 3]| {
            let item = |status: u16| {
                json!({ "index": { "status": status, "error": { "type": "mapper_parsing_exception",
                "reason": "failed to parse field [embedding]. Preview of field's value: 'secret'" } } })
            };
            json!({ "errors": true, "items": statuses.map(item) })
        };
        assert_eq!(rejections(&answer([201, 429, 409]), &sent).unwrap(), ["b"]);
        let error = rejections(&answer([200, 400, 200]), &sent).unwrap_err().to_string();
        assert!(error.contains("mapping is another's") && !error.contains("secret"), "{error}");
        assert_eq!(rejections(&json!({ "items": [] }), &sent), Err(ElasticError::Garbage));
    }

    #[test]
    fn requests_are_of_bounded_size() {
        let items = vec!["x".repeat(2 << 20); 5];
        assert_eq!(parts(&items).iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(parts(&["y".repeat(6 << 20), "z".into()]).len(), 2);
        assert!(parts(&[]).is_empty());
    }

    #[test]
    fn a_name_is_short_whatever_the_document_is_called() {
        let long = id(TEXT, 7, &"长".repeat(200));
        assert!(long.len() < 64 && long.starts_with("text-7-"), "{long}");
        assert_ne!(long, id(TEXT, 7, "长"));
    }
}
