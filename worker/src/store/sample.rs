//! A sample of what a tenant knows: how many passages and wordings, and the embeddings of a few hundred of them.

use sqlx::{Row, postgres::PgRow};
use talkfleet_shared::id::TenantId;

use super::{Store, StoreError, WRITE_TIMEOUT, knowledge::{from_bytes, language_of}, within};
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
