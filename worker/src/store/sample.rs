//! What a backend elsewhere reads of the knowledge: its changes page by page, its numbers, and a sample of its embeddings.

use sqlx::{PgConnection, Row, postgres::PgRow};
use talkfleet_shared::id::TenantId;

use super::{
    SnapshotDocument, Store, StoreError, WRITE_TIMEOUT,
    knowledge::{Passage, QUESTION, from_bytes, language_of},
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

/// Which documents of a tenant are read: newer than a version, after an id, at most so many.
pub(super) struct Since<'a> {
    pub(super) newer_than: i64,
    pub(super) after: &'a str,
    pub(super) rows_max: i64,
}

pub(super) async fn snapshot_documents(
    connection: &mut PgConnection,
    tenant: &TenantId,
    since: Since<'_>,
) -> Result<Vec<SnapshotDocument>, sqlx::Error> {
    const DOCUMENTS: &str = "
        select id, title, url, category, language from documents
        where tenant = $1 and revision > $2 and id > $3 order by id limit $4";
    const PASSAGES: &str = "
        select p.document, p.kind, p.text, p.embedding from passages p
        join documents d on d.tenant = p.tenant and d.id = p.document
        where p.tenant = $1 and d.revision > $2 and d.id > $3 and d.id <= $4 order by p.document, p.kind, p.ordinal";
    let documents = sqlx::query(DOCUMENTS).bind(tenant.as_str()).bind(since.newer_than).bind(since.after);
    let mut documents = documents.bind(since.rows_max).try_map(snapshot_of).fetch_all(&mut *connection).await?;
    let Some(last) = documents.last() else { return Ok(documents) };
    let passages = sqlx::query_as(PASSAGES).bind(tenant.as_str()).bind(since.newer_than).bind(since.after);
    let passages: Vec<(String, String, String, Option<Vec<u8>>)> =
        passages.bind(last.id.clone()).fetch_all(connection).await?;
    let mut passages = passages.into_iter().peekable();
    for document in &mut documents {
        while let Some((_, kind, text, embedding)) = passages.next_if(|(owner, ..)| *owner == document.id) {
            let pieces = if kind == QUESTION { &mut document.questions } else { &mut document.passages };
            pieces.push(Passage { text, embedding: embedding.as_deref().map(from_bytes) });
        }
    }
    Ok(documents)
}

fn snapshot_of(row: PgRow) -> Result<SnapshotDocument, sqlx::Error> {
    Ok(SnapshotDocument {
        id: row.try_get("id")?,
        title: row.try_get("title")?,
        url: row.try_get("url")?,
        category: row.try_get("category")?,
        language: language_of(&row)?,
        passages: Vec::new(),
        questions: Vec::new(),
    })
}

fn sampled_of(row: PgRow) -> Result<Sampled, sqlx::Error> {
    Ok(Sampled {
        document: row.try_get("document")?,
        language: language_of(&row)?,
        embedding: from_bytes(row.try_get("embedding")?),
    })
}
