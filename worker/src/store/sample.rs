//! What a backend elsewhere reads of the knowledge: its changes page by page, its numbers, and a sample of its embeddings.

use sqlx::{Row, postgres::PgRow};
use talkfleet_shared::id::TenantId;

use super::{
    SnapshotDocument, Store, StoreError, WRITE_TIMEOUT,
    knowledge::{Since, from_bytes, language_of, snapshot_documents},
    within,
};
use crate::text::Language;

/// An embedding of the sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    pub document: String,
    pub language: Language,
    pub embedding: Vec<f32>,
}

/// Passages of a kind in a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub language: Language,
    /// Documents, and those that bring wordings.
    pub worded: i64,
    pub passages: i64,
    pub embedded: i64,
}

impl Store {
    /// How much a tenant knows, by language.
    pub async fn knowledge_counts(&self, tenant: &TenantId) -> Result<Vec<Count>, StoreError> {
        const SQL: &str = "
            select d.language, count(distinct p.document) filter (where p.kind = 'question') as worded,
                count(*) filter (where p.kind = 'text') as passages,
                count(p.embedding) filter (where p.kind = 'text') as embedded
            from passages p join documents d on d.tenant = p.tenant and d.id = p.document
            where p.tenant = $1 group by d.language";
        let query = sqlx::query(SQL).bind(tenant.as_str()).try_map(|row| {
            Ok(Count {
                language: language_of(&row)?,
                worded: row.try_get("worded")?,
                passages: row.try_get("passages")?,
                embedded: row.try_get("embedded")?,
            })
        });
        within(WRITE_TIMEOUT, query.fetch_all(&self.pool)).await
    }

    /// Up to `rows_max` documents that are newer than a version, after an id.
    pub async fn knowledge_page(
        &self,
        tenant: &TenantId,
        newer_than: i64,
        after: &str,
        rows_max: u32,
    ) -> Result<Vec<SnapshotDocument>, StoreError> {
        within(WRITE_TIMEOUT, async {
            let since = Since { newer_than, after, rows_max: i64::from(rows_max) };
            snapshot_documents(&mut *self.pool.acquire().await?, tenant, since).await
        })
        .await
    }

    /// Every document that holds a passage.
    pub async fn searchable_documents(&self, tenant: &TenantId) -> Result<Vec<String>, StoreError> {
        const SQL: &str = "select document from passages where tenant = $1 and kind = 'text' and ordinal = 0";
        within(WRITE_TIMEOUT, sqlx::query_scalar(SQL).bind(tenant.as_str()).fetch_all(&self.pool)).await
    }

    /// Embedded passages of every language, at most so many each, drawn by a digest: the same ones until they change.
    pub async fn sample_passages(&self, tenant: &TenantId, each_max: i64) -> Result<Vec<Sampled>, StoreError> {
        const SQL: &str = "
            select document, language, embedding from (
                select p.document, d.language, p.embedding, row_number() over (
                    partition by d.language order by md5(p.document || ' ' || p.ordinal), p.document) as place
                from passages p join documents d on d.tenant = p.tenant and d.id = p.document
                where p.tenant = $1 and p.kind = 'text' and p.embedding is not null) as placed
            where place <= $2";
        let query = sqlx::query(SQL).bind(tenant.as_str()).bind(each_max).try_map(sampled_of);
        within(WRITE_TIMEOUT, query.fetch_all(&self.pool)).await
    }

    /// The embedded wordings of so many documents of every language.
    pub async fn sample_wordings(&self, tenant: &TenantId, documents_max: i64) -> Result<Vec<Sampled>, StoreError> {
        const SQL: &str = "
            select document, language, embedding from (
                select p.document, d.language, p.embedding, dense_rank() over (
                    partition by d.language order by md5(p.document), p.document) as place
                from passages p join documents d on d.tenant = p.tenant and d.id = p.document
                where p.tenant = $1 and p.kind = 'question' and p.embedding is not null) as placed
            where place <= $2 order by document";
        let query = sqlx::query(SQL).bind(tenant.as_str()).bind(documents_max).try_map(sampled_of);
        within(WRITE_TIMEOUT, query.fetch_all(&self.pool)).await
    }
}

fn sampled_of(row: PgRow) -> Result<Sampled, sqlx::Error> {
    Ok(Sampled {
        document: row.try_get("document")?,
        language: language_of(&row)?,
        embedding: from_bytes(row.try_get("embedding")?),
    })
}
