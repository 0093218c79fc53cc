//! Bringing the tables up to date: whoever holds the base's row does it, in one transaction that all see at once.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Postgres, Row, Transaction, postgres::PgRow};
use talkfleet_shared::id::TenantId;

use super::{
    super::{knowledge, sample},
    language_of, sparse,
};
use crate::{
    store::{READ_TIMEOUT, SnapshotDocument, Store, StoreError, WRITE_TIMEOUT, within},
    text::Language,
};

/// A graph over so many rows takes minutes; nobody waits for it but the one who makes it.
const GRAPH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3_600);

/// What stands between a base and its knowledge.
pub enum SyncStart {
    /// Nothing.
    Current,
    /// Another process is at it.
    Busy,
    /// It is ours to do.
    Ours(Box<SearchSync>),
}

/// One entry as it is searched: a passage, a wording, or a document with all of its wordings.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub document: String,
    pub kind: &'static str,
    pub ordinal: i32,
    pub language: Language,
    pub text_words: i32,
    pub title_words: i32,
    /// Each term's share of the score; none of an entry that is found by its meaning only.
    pub words: Vec<(i32, f32)>,
    pub embedding: Option<Vec<f32>>,
}

/// A transaction that brings a base up to date; dropped before [`SearchSync::finish`] it changes nothing.
pub struct SearchSync {
    transaction: Transaction<'static, Postgres>,
    tenant: TenantId,
    /// What is in, and what there is.
    revision: i64,
    version: i64,
    terms: BTreeMap<i32, i32>,
    shelves: BTreeMap<(String, &'static str), Sums>,
}

/// Entries, and words in their texts and titles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub entries: i64,
    pub text_words: i64,
    pub title_words: i64,
}

impl Store {
    /// Takes the base's row, if there is something to do and nobody else has it.
    pub async fn search_sync(&self, tenant: &TenantId) -> Result<SyncStart, StoreError> {
        const NOTED: &str = "insert into search_bases values ($1, 0) on conflict do nothing";
        const TAKEN: &str = "select revision from search_bases where tenant = $1 for update skip locked";
        within(WRITE_TIMEOUT, async {
            sqlx::query(NOTED).bind(tenant.as_str()).execute(&self.pool).await?;
            let mut transaction = self.pool.begin().await?;
            let taken = sqlx::query_scalar(TAKEN).bind(tenant.as_str()).fetch_optional(&mut *transaction).await?;
            let Some(revision) = taken else { return Ok(SyncStart::Busy) };
            let version = knowledge::version(&mut transaction, tenant).await?;
            if revision == version {
                return Ok(SyncStart::Current);
            }
            let (terms, shelves) = (BTreeMap::new(), BTreeMap::new());
            let tenant = tenant.clone();
            let mut sync = SearchSync { transaction, tenant, revision, version, terms, shelves };
            if revision > version {
                // Another database, or one that was restored: nothing in here counts.
                sync.clear().await?;
            }
            Ok(SyncStart::Ours(Box::new(sync)))
        })
        .await
    }

    /// Whether meanings are found by a graph; it is made once all bases together have `passages_min` passages.
    pub async fn search_graph(&self, passages_min: i64) -> Result<bool, StoreError> {
        const COUNT: &str = "select coalesce(sum(entries), 0)::bigint from search_shelves where kind = 'text'";
        const MADE: &str = "select indisvalid from pg_index where indexrelid = to_regclass('search_meanings_near')";
        const MAKE: &str = "create index if not exists search_meanings_near on search_meanings
            using hnsw (embedding halfvec_ip_ops)";
        let made = || within(READ_TIMEOUT, sqlx::query_scalar::<_, bool>(MADE).fetch_optional(&self.pool));
        if made().await? == Some(true) {
            return Ok(true);
        }
        let passages: i64 = within(READ_TIMEOUT, sqlx::query_scalar(COUNT).fetch_one(&self.pool)).await?;
        if passages < passages_min || !self.migrates {
            return Ok(false);
        }
        within(GRAPH_TIMEOUT, async {
            let mut transaction = self.pool.begin_with("begin; set local statement_timeout = 0").await?;
            let lock = "select pg_try_advisory_xact_lock($1)";
            if sqlx::query_scalar(lock).bind(super::LOCK + 1).fetch_one(&mut *transaction).await? {
                sqlx::raw_sql(MAKE).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        })
        .await?;
        Ok(made().await? == Some(true))
    }
}

impl SearchSync {
    /// Averages so far: what stood there before, and what came since.
    pub async fn shelves(&mut self) -> Result<BTreeMap<(String, &'static str), Sums>, StoreError> {
        const SQL: &str =
            "select kind, language, entries, text_words, title_words from search_shelves where tenant = $1";
        let query = sqlx::query(SQL).bind(self.tenant.as_str());
        let rows: Vec<PgRow> = within(READ_TIMEOUT, query.fetch_all(&mut *self.transaction)).await?;
        let mut shelves = self.shelves.clone();
        for row in rows {
            let read = || -> Result<_, sqlx::Error> {
                let sums = Sums {
                    entries: row.try_get("entries")?,
                    text_words: row.try_get("text_words")?,
                    title_words: row.try_get("title_words")?,
                };
                Ok(((row.try_get("kind")?, language_of(&row)?.tag()), sums))
            };
            let (key, sums) = read().map_err(|error| super::super::sort(&error))?;
            shelves.entry(key).or_default().add(sums, 1);
        }
        Ok(shelves)
    }

    /// Takes out what is no longer known.
    pub async fn remove_gone(&mut self) -> Result<(), StoreError> {
        const GONE: &str = "select distinct document from search_words w where tenant = $1 and not exists
            (select from documents d where d.tenant = w.tenant and d.id = w.document)";
        within(WRITE_TIMEOUT, async {
            let gone: Vec<String> =
                sqlx::query_scalar(GONE).bind(self.tenant.as_str()).fetch_all(&mut *self.transaction).await?;
            self.take_out(&gone).await
        })
        .await
    }

    /// Up to `rows_max` documents that changed, after an id.
    pub async fn changed_after(&mut self, after: &str, rows_max: u32) -> Result<Vec<SnapshotDocument>, StoreError> {
        let since = sample::Since { newer_than: self.revision, after, rows_max: i64::from(rows_max) };
        within(WRITE_TIMEOUT, sample::snapshot_documents(&mut self.transaction, &self.tenant, since)).await
    }

    /// Puts these entries in the place of all that these documents had.
    pub async fn replace(&mut self, documents: &[String], entries: &[Entry]) -> Result<(), StoreError> {
        within(WRITE_TIMEOUT, async {
            self.take_out(documents).await?;
            // What holds no word is not among those that are counted by words, and could not be taken out again.
            for entry in entries.iter().filter(|entry| !entry.words.is_empty()) {
                self.count(entry.kind, entry.language, entry.sums(), 1);
                entry.words.iter().for_each(|(term, _)| *self.terms.entry(*term).or_default() += 1);
            }
            put_words(&mut self.transaction, &self.tenant, entries).await?;
            put_meanings(&mut self.transaction, &self.tenant, entries).await
        })
        .await
    }

    /// Shows it to everybody; the version that is in now comes back.
    pub async fn finish(mut self: Box<Self>) -> Result<i64, StoreError> {
        within(WRITE_TIMEOUT, async {
            self.write_counts().await?;
            let query = sqlx::query("update search_bases set revision = $2 where tenant = $1");
            query.bind(self.tenant.as_str()).bind(self.version).execute(&mut *self.transaction).await?;
            self.transaction.commit().await?;
            Ok(self.version)
        })
        .await
    }

    async fn clear(&mut self) -> Result<(), sqlx::Error> {
        for sql in [
            "delete from search_words where tenant = $1",
            "delete from search_meanings where tenant = $1",
            "delete from search_terms where tenant = $1",
            "delete from search_shelves where tenant = $1",
        ] {
            sqlx::query(sql).bind(self.tenant.as_str()).execute(&mut *self.transaction).await?;
        }
        self.revision = 0;
        Ok(())
    }

    async fn take_out(&mut self, documents: &[String]) -> Result<(), sqlx::Error> {
        const WORDS: &str = "delete from search_words where tenant = $1 and document = any($2)
            returning kind, language, text_words, title_words, terms";
        const MEANINGS: &str = "delete from search_meanings where tenant = $1
            and kind in ('text', 'question') and document = any($2)";
        if documents.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(WORDS).bind(self.tenant.as_str()).bind(documents);
        for row in query.fetch_all(&mut *self.transaction).await? {
            let (text, title): (i32, i32) = (row.try_get("text_words")?, row.try_get("title_words")?);
            let sums = Sums { entries: 1, text_words: text.into(), title_words: title.into() };
            self.count(row.try_get("kind")?, language_of(&row)?, sums, -1);
            for term in row.try_get::<Vec<i32>, _>("terms")? {
                *self.terms.entry(term).or_default() -= 1;
            }
        }
        let query = sqlx::query(MEANINGS).bind(self.tenant.as_str()).bind(documents);
        query.execute(&mut *self.transaction).await.map(drop)
    }

    fn count(&mut self, kind: &str, language: Language, sums: Sums, sign: i64) {
        self.shelves.entry((kind.to_owned(), language.tag())).or_default().add(sums, sign);
    }

    async fn write_counts(&mut self) -> Result<(), sqlx::Error> {
        const TERMS: &str = "
            insert into search_terms select $1, row.* from unnest($2::int[], $3::int[]) as row
            on conflict (tenant, term) do update set entries = search_terms.entries + excluded.entries";
        const SHELVES: &str = "
            insert into search_shelves values ($1, $2, $3, $4, $5, $6)
            on conflict (tenant, kind, language) do update set entries = search_shelves.entries + $4,
                text_words = search_shelves.text_words + $5, title_words = search_shelves.title_words + $6";
        const UNUSED: &str = "delete from search_terms where tenant = $1 and entries <= 0 and term = any($2)";
        let changed: Vec<(i32, i32)> = std::mem::take(&mut self.terms).into_iter().filter(|(_, by)| *by != 0).collect();
        let (terms, by): (Vec<i32>, Vec<i32>) = changed.into_iter().unzip();
        let query = sqlx::query(TERMS).bind(self.tenant.as_str()).bind(&terms).bind(by);
        query.execute(&mut *self.transaction).await?;
        sqlx::query(UNUSED).bind(self.tenant.as_str()).bind(&terms).execute(&mut *self.transaction).await?;
        for ((kind, language), sums) in std::mem::take(&mut self.shelves) {
            let query = sqlx::query(SHELVES).bind(self.tenant.as_str()).bind(kind).bind(language);
            let query = query.bind(sums.entries).bind(sums.text_words).bind(sums.title_words);
            query.execute(&mut *self.transaction).await?;
        }
        Ok(())
    }
}

impl Sums {
    fn add(&mut self, other: Self, sign: i64) {
        self.entries += sign * other.entries;
        self.text_words += sign * other.text_words;
        self.title_words += sign * other.title_words;
    }
}

impl Entry {
    fn sums(&self) -> Sums {
        Sums { entries: 1, text_words: self.text_words.into(), title_words: self.title_words.into() }
    }
}

async fn put_words(connection: &mut PgConnection, tenant: &TenantId, entries: &[Entry]) -> Result<(), sqlx::Error> {
    // The terms are the keys of the weights; written once, as text, because an array of arrays cannot be unnested.
    const SQL: &str = "
        insert into search_words (tenant, document, kind, ordinal, language, text_words, title_words, terms, words)
        select $1::text, document, kind, ordinal, language, text_words, title_words, terms::int[], words::sparsevec
        from unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::int[], $7::int[], $8::text[], $9::text[])
            as row (document, kind, ordinal, language, text_words, title_words, terms, words)";
    let worded: Vec<&Entry> = entries.iter().filter(|entry| !entry.words.is_empty()).collect();
    let terms = |entry: &&Entry| {
        let terms: Vec<String> = entry.words.iter().map(|(term, _)| term.to_string()).collect();
        format!("{{{}}}", terms.join(","))
    };
    let query = sqlx::query(SQL)
        .bind(tenant.as_str())
        .bind(column(&worded, |entry| entry.document.clone()))
        .bind(column(&worded, |entry| entry.kind))
        .bind(column(&worded, |entry| entry.ordinal))
        .bind(column(&worded, |entry| entry.language.tag()))
        .bind(column(&worded, |entry| entry.text_words))
        .bind(column(&worded, |entry| entry.title_words))
        .bind(worded.iter().map(terms).collect::<Vec<_>>())
        .bind(column(&worded, |entry| sparse(&entry.words)));
    query.execute(connection).await.map(drop)
}

async fn put_meanings(connection: &mut PgConnection, tenant: &TenantId, entries: &[Entry]) -> Result<(), sqlx::Error> {
    const SQL: &str = "
        insert into search_meanings (tenant, document, kind, ordinal, language, embedding)
        select $1::text, document, kind, ordinal, language, embedding::halfvec
        from unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::text[])
            as row (document, kind, ordinal, language, embedding)";
    let embedded: Vec<&Entry> = entries.iter().filter(|entry| entry.embedding.is_some()).collect();
    let written = |entry: &Entry| {
        let numbers: Vec<String> = entry.embedding.iter().flatten().map(f32::to_string).collect();
        format!("[{}]", numbers.join(","))
    };
    let query = sqlx::query(SQL)
        .bind(tenant.as_str())
        .bind(column(&embedded, |entry| entry.document.clone()))
        .bind(column(&embedded, |entry| entry.kind))
        .bind(column(&embedded, |entry| entry.ordinal))
        .bind(column(&embedded, |entry| entry.language.tag()))
        .bind(column(&embedded, written));
    query.execute(connection).await.map(drop)
}

fn column<T>(entries: &[&Entry], pick: impl Fn(&Entry) -> T) -> Vec<T> {
    entries.iter().map(|entry| pick(entry)).collect()
}
