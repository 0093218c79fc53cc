//! Documents and passages, with a version that moves in the same transaction as they do.

use sqlx::{PgConnection, Row, postgres::PgRow};
use talkfleet_shared::id::TenantId;
use time::OffsetDateTime;

use crate::text::Language;

use super::{
    READ_TIMEOUT, Store, StoreError, WRITE_TIMEOUT,
    sample::{Since, snapshot_documents},
    within,
};

/// What a row of passages is.
const TEXT: &str = "text";
pub(super) const QUESTION: &str = "question";

/// Where a document was read from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The folder or file that was named to `knowledge add`.
    pub root: String,
    /// The file below it.
    pub path: String,
    /// SHA-256 of the file.
    pub digest: Vec<u8>,
}

/// A document with its passages.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub id: String,
    pub title: String,
    pub url: String,
    pub category: String,
    pub language: Language,
    pub body: String,
    /// SHA-256 of what a customer could be shown of it.
    pub digest: Vec<u8>,
    pub source: Source,
    pub passages: Vec<Passage>,
    /// How customers ask for it: they lead to the document and are never quoted.
    pub questions: Vec<Passage>,
}

/// A piece of a document, or one of its questions.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    pub text: String,
    /// None when it was added without an encoder.
    pub embedding: Option<Vec<f32>>,
}

/// A document as far as an addition needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub id: String,
    pub language: Language,
    pub digest: Vec<u8>,
    pub source: Source,
}

/// A document as an operator sees it in a list.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Listed {
    pub id: String,
    pub title: String,
    pub url: String,
    pub category: String,
    pub language: String,
    pub source_root: String,
    pub source_path: String,
    pub passages: i64,
    /// How many of them have an embedding.
    pub embedded: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// What one transaction does to a tenant's knowledge.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Documents to add, or to put in the place of those with the same id.
    pub put: Vec<Document>,
    /// Documents whose text is the same, read from elsewhere or from a file that changed around it.
    pub moved: Vec<(String, Source)>,
    pub removed: Vec<String>,
}

impl Change {
    /// Whether a reader of the knowledge would notice; a move alone is nobody's business.
    fn is_seen(&self) -> bool {
        !(self.put.is_empty() && self.removed.is_empty())
    }
}

/// A tenant's knowledge as of one version: every id, and the documents that are newer than what the reader had.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub version: i64,
    pub ids: Vec<String>,
    pub documents: Vec<SnapshotDocument>,
}

/// A document of a [`Snapshot`].
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotDocument {
    pub id: String,
    pub title: String,
    pub url: String,
    pub category: String,
    pub language: Language,
    /// In order.
    pub passages: Vec<Passage>,
    pub questions: Vec<Passage>,
}

impl Store {
    /// The version of a tenant's knowledge; 0 when there is none.
    pub async fn knowledge_version(&self, tenant: &TenantId) -> Result<i64, StoreError> {
        within(READ_TIMEOUT, async { version(&mut *self.pool.acquire().await?, tenant).await }).await
    }

    /// Every document of a tenant, as far as an addition needs to know it.
    pub async fn known_documents(&self, tenant: &TenantId) -> Result<Vec<Known>, StoreError> {
        const SQL: &str =
            "select id, language, digest, source_root, source_path, source_digest from documents where tenant = $1";
        let known = |row: PgRow| {
            Ok(Known {
                id: row.try_get("id")?,
                language: language_of(&row)?,
                digest: row.try_get("digest")?,
                source: source_of(&row)?,
            })
        };
        within(READ_TIMEOUT, sqlx::query(SQL).bind(tenant.as_str()).try_map(known).fetch_all(&self.pool)).await
    }

    /// Every document of a tenant by id, as an operator sees it.
    pub async fn list_documents(&self, tenant: &TenantId) -> Result<Vec<Listed>, StoreError> {
        const SQL: &str = "
            select d.id, title, url, category, language, source_root, source_path, updated_at,
                count(p.ordinal) as passages, count(p.embedding) as embedded
            from documents d
            left join passages p on p.tenant = d.tenant and p.document = d.id and p.kind = 'text'
            where d.tenant = $1 group by d.tenant, d.id order by d.id";
        within(READ_TIMEOUT, sqlx::query(SQL).bind(tenant.as_str()).try_map(listed_of).fetch_all(&self.pool)).await
    }

    /// Up to `rows_max` documents after an id, without passages and embeddings: what a new index is cut from.
    pub async fn documents_after(
        &self,
        tenant: &TenantId,
        after: &str,
        rows_max: u32,
    ) -> Result<Vec<Document>, StoreError> {
        const SQL: &str = "
            select id, title, url, category, language, body, digest, source_root, source_path, source_digest,
                array(select p.text from passages p
                    where p.tenant = d.tenant and p.document = d.id and p.kind = 'question' order by p.ordinal) as questions
            from documents d where tenant = $1 and id > $2 order by id limit $3";
        let query = sqlx::query(SQL).bind(tenant.as_str()).bind(after).bind(i64::from(rows_max));
        within(READ_TIMEOUT, query.try_map(document_of).fetch_all(&self.pool)).await
    }

    /// Changes a tenant's knowledge in one transaction; its version afterwards comes back.
    pub async fn change_knowledge(&self, tenant: &TenantId, change: &Change) -> Result<i64, StoreError> {
        within(WRITE_TIMEOUT, async {
            let mut transaction = self.pool.begin().await?;
            // The version's row is the lock: writers of one tenant take turns.
            let revision = bump(&mut transaction, tenant, change.is_seen()).await?;
            remove(&mut transaction, tenant, &change.removed).await?;
            put(&mut transaction, tenant, revision, &change.put).await?;
            move_sources(&mut transaction, tenant, &change.moved).await?;
            transaction.commit().await?;
            Ok(revision)
        })
        .await
    }

    /// A tenant's knowledge at one moment: every id, and what is newer than version `newer_than`.
    pub async fn knowledge_since(&self, tenant: &TenantId, newer_than: i64) -> Result<Snapshot, StoreError> {
        // A first load of 100,000 passages brings 250 MB.
        within(WRITE_TIMEOUT, async {
            let mut transaction = self.pool.begin_with("begin isolation level repeatable read, read only").await?;
            let version = version(&mut transaction, tenant).await?;
            let ids: Vec<String> = sqlx::query_scalar("select id from documents where tenant = $1")
                .bind(tenant.as_str())
                .fetch_all(&mut *transaction)
                .await?;
            let since = Since { newer_than, after: "", rows_max: i64::MAX };
            let documents = snapshot_documents(&mut transaction, tenant, since).await?;
            transaction.rollback().await?;
            Ok(Snapshot { version, ids, documents })
        })
        .await
    }
}

pub(super) async fn version(connection: &mut PgConnection, tenant: &TenantId) -> Result<i64, sqlx::Error> {
    let found: Option<i64> = sqlx::query_scalar("select version from knowledge where tenant = $1")
        .bind(tenant.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(found.unwrap_or_default())
}

async fn bump(connection: &mut PgConnection, tenant: &TenantId, seen: bool) -> Result<i64, sqlx::Error> {
    const SQL: &str = "
        insert into knowledge (tenant, version) values ($1, $2)
        on conflict (tenant) do update set version = knowledge.version + $2 returning version";
    sqlx::query_scalar(SQL).bind(tenant.as_str()).bind(i64::from(seen)).fetch_one(connection).await
}

async fn remove(connection: &mut PgConnection, tenant: &TenantId, ids: &[String]) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let query = sqlx::query("delete from documents where tenant = $1 and id = any($2)").bind(tenant.as_str()).bind(ids);
    query.execute(connection).await.map(drop)
}

async fn put(
    connection: &mut PgConnection,
    tenant: &TenantId,
    revision: i64,
    documents: &[Document],
) -> Result<(), sqlx::Error> {
    const SQL: &str = "
        insert into documents (tenant, id, title, url, category, language, body, digest, source_root, source_path,
            source_digest, revision)
        select $1::text, row.*, $2::bigint from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::bytea[], $10::text[], $11::text[], $12::bytea[]) as row
        on conflict (tenant, id) do update set title = excluded.title, url = excluded.url,
            category = excluded.category, language = excluded.language, body = excluded.body,
            digest = excluded.digest, source_root = excluded.source_root, source_path = excluded.source_path,
            source_digest = excluded.source_digest, revision = excluded.revision, updated_at = now()";
    if documents.is_empty() {
        return Ok(());
    }
    fn column<T>(documents: &[Document], pick: impl Fn(&Document) -> T) -> Vec<T> {
        documents.iter().map(pick).collect()
    }
    let text = |pick: fn(&Document) -> &String| column(documents, |document| pick(document).clone());
    sqlx::query(SQL)
        .bind(tenant.as_str())
        .bind(revision)
        .bind(text(|document| &document.id))
        .bind(text(|document| &document.title))
        .bind(text(|document| &document.url))
        .bind(text(|document| &document.category))
        .bind(column(documents, |document| document.language.tag()))
        .bind(text(|document| &document.body))
        .bind(column(documents, |document| document.digest.clone()))
        .bind(text(|document| &document.source.root))
        .bind(text(|document| &document.source.path))
        .bind(column(documents, |document| document.source.digest.clone()))
        .execute(&mut *connection)
        .await?;
    put_passages(connection, tenant, documents).await
}

/// Passages have no identity of their own: those of a changed document all go, then come anew.
async fn put_passages(
    connection: &mut PgConnection,
    tenant: &TenantId,
    documents: &[Document],
) -> Result<(), sqlx::Error> {
    const SQL: &str = "
        insert into passages (tenant, document, kind, ordinal, text, embedding)
        select $1::text, row.* from unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::bytea[]) as row";
    let ids: Vec<&str> = documents.iter().map(|document| document.id.as_str()).collect();
    sqlx::query("delete from passages where tenant = $1 and document = any($2)")
        .bind(tenant.as_str())
        .bind(&ids)
        .execute(&mut *connection)
        .await?;
    let (mut owners, mut kinds, mut ordinals) = (Vec::new(), Vec::new(), Vec::new());
    let (mut texts, mut embeddings) = (Vec::new(), Vec::new());
    for document in documents {
        for (kind, pieces) in [(TEXT, &document.passages), (QUESTION, &document.questions)] {
            for (ordinal, piece) in (0_i32..).zip(pieces) {
                owners.push(document.id.as_str());
                kinds.push(kind);
                ordinals.push(ordinal);
                texts.push(piece.text.as_str());
                embeddings.push(piece.embedding.as_deref().map(to_bytes));
            }
        }
    }
    let query = sqlx::query(SQL).bind(tenant.as_str()).bind(owners).bind(kinds).bind(ordinals);
    query.bind(texts).bind(embeddings).execute(connection).await.map(drop)
}

async fn move_sources(
    connection: &mut PgConnection,
    tenant: &TenantId,
    moved: &[(String, Source)],
) -> Result<(), sqlx::Error> {
    const SQL: &str = "
        update documents set source_root = row.root, source_path = row.path, source_digest = row.digest
        from unnest($2::text[], $3::text[], $4::text[], $5::bytea[]) as row (id, root, path, digest)
        where documents.tenant = $1 and documents.id = row.id";
    if moved.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(SQL)
        .bind(tenant.as_str())
        .bind(moved.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>())
        .bind(moved.iter().map(|(_, source)| source.root.clone()).collect::<Vec<_>>())
        .bind(moved.iter().map(|(_, source)| source.path.clone()).collect::<Vec<_>>())
        .bind(moved.iter().map(|(_, source)| source.digest.clone()).collect::<Vec<_>>());
    query.execute(connection).await.map(drop)
}

fn document_of(row: PgRow) -> Result<Document, sqlx::Error> {
    Ok(Document {
        id: row.try_get("id")?,
        title: row.try_get("title")?,
        url: row.try_get("url")?,
        category: row.try_get("category")?,
        language: language_of(&row)?,
        body: row.try_get("body")?,
        digest: row.try_get("digest")?,
        source: source_of(&row)?,
        passages: Vec::new(),
        questions: row.try_get::<Vec<String>, _>("questions")?.into_iter().map(not_embedded).collect(),
    })
}

fn not_embedded(text: String) -> Passage {
    Passage { text, embedding: None }
}

fn listed_of(row: PgRow) -> Result<Listed, sqlx::Error> {
    Ok(Listed {
        id: row.try_get("id")?,
        title: row.try_get("title")?,
        url: row.try_get("url")?,
        category: row.try_get("category")?,
        language: row.try_get("language")?,
        source_root: row.try_get("source_root")?,
        source_path: row.try_get("source_path")?,
        passages: row.try_get("passages")?,
        embedded: row.try_get("embedded")?,
        updated_at: row.try_get("updated_at")?,
    })
}

fn source_of(row: &PgRow) -> Result<Source, sqlx::Error> {
    Ok(Source {
        root: row.try_get("source_root")?,
        path: row.try_get("source_path")?,
        digest: row.try_get("source_digest")?,
    })
}

pub(super) fn language_of(row: &PgRow) -> Result<Language, sqlx::Error> {
    Ok(match row.try_get("language")? {
        "en" => Language::English,
        "zh" => Language::Chinese,
        _ => Language::Other,
    })
}

fn to_bytes(embedding: &[f32]) -> Vec<u8> {
    embedding.iter().flat_map(|number| number.to_le_bytes()).collect()
}

pub(super) fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedding_comes_back_bit_by_bit() {
        let embedding = [0.1, -0.0, f32::MIN_POSITIVE, 1e30];
        assert_eq!(from_bytes(&to_bytes(&embedding)), embedding);
        assert!(from_bytes(&[]).is_empty());
    }

    #[test]
    fn a_move_alone_is_no_new_version() {
        let moved = Change { moved: vec![("a".into(), Source::default())], ..Change::default() };
        assert!(!moved.is_seen());
        assert!(Change { removed: vec!["a".into()], ..moved }.is_seen());
    }
}
