//! Candidates and their scores: four small questions to PostgreSQL, each about one tenant.

use std::{collections::HashMap, time::Duration};

use sqlx::{Connection, Postgres, Row, pool::PoolConnection, postgres::PgRow};
use talkfleet_shared::id::TenantId;

use super::{language_of, sparse};
use crate::{
    store::{Store, StoreError, read::Reading},
    text::Language,
};

/// How many neighbours the graph keeps in mind while it walks; 40 is pgvector's own.
const GRAPH_WALK: &str = "begin; set local hnsw.ef_search = 100; set local hnsw.iterative_scan = relaxed_order";

/// In how many entries each term stands; terms that stand nowhere are not in it.
pub type Frequencies = HashMap<i32, i64>;

/// Which entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub document: String,
    pub kind: String,
    pub ordinal: i32,
}

/// An entry's score, by words or by meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    pub key: Key,
    pub language: Language,
    pub score: f32,
}

/// The best entries of every shelf by words, and the sums over all that matched.
#[derive(Debug, Clone, Default)]
pub struct MatchedWords {
    pub best: Vec<Scored>,
    pub shelves: HashMap<(String, Language), Shelf>,
}

/// Sums of the scores of one kind and language.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shelf {
    pub sum: f64,
    pub squares: f64,
}

/// What is near in meaning is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Near<'a> {
    pub embedding: &'a [f32],
    pub kind: &'static str,
    pub count: i64,
    /// By the graph instead of one by one.
    pub by_graph: bool,
}

/// What a passage says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextOf {
    pub document: String,
    pub ordinal: i32,
    pub language: Language,
    pub title: String,
    pub url: String,
    pub text: String,
}

impl Store {
    /// In how many entries each of these terms stands.
    pub async fn search_frequencies(&self, tenant: &TenantId, terms: &[i32]) -> Result<Frequencies, StoreError> {
        const SQL: &str = "select term, entries::bigint from search_terms where tenant = $1 and term = any($2)";
        let found = self.search(|mut connection| async move {
            let query = sqlx::query_as::<_, (i32, i64)>(SQL).bind(tenant.as_str()).bind(terms);
            query.fetch_all(&mut *connection).await
        });
        Ok(found.await?.into_iter().collect())
    }

    /// The best `count` of every kind and language that hold one of `any`, scored by all the weights.
    pub async fn search_words(
        &self,
        tenant: &TenantId,
        weights: &[(i32, f32)],
        any: &[i32],
        count: i64,
    ) -> Result<MatchedWords, StoreError> {
        // The terms are told apart by tenant already; without the detour the planner may walk through all of a tenant's
        // rows instead of the few that hold a term.
        const SQL: &str = "
            with found as materialized (
                select tenant, document, kind, ordinal, language, (-(words <#> $2::sparsevec))::float8 as score
                from search_words where terms && $3
            ), shelves as (
                select kind, language, sum(score) as sum, sum(score * score) as squares
                from found where tenant = $1 group by kind, language
            )
            select best.document, s.kind, best.ordinal, s.language, best.score, s.sum, s.squares
            from shelves s cross join lateral (
                select document, ordinal, score from found f
                where f.tenant = $1 and f.kind = s.kind and f.language = s.language
                order by score desc, document, ordinal limit $4) as best";
        let found = self.search(|mut connection| async move {
            let query = sqlx::query(SQL).bind(tenant.as_str()).bind(sparse(weights)).bind(any).bind(count);
            query.fetch_all(&mut *connection).await
        });
        let mut matched = MatchedWords::default();
        for row in found.await? {
            let mut take = || -> Result<(), sqlx::Error> {
                let scored = scored_of(&row)?;
                let shelf = Shelf { sum: row.try_get("sum")?, squares: row.try_get("squares")? };
                matched.shelves.insert((scored.key.kind.clone(), scored.language), shelf);
                matched.best.push(scored);
                Ok(())
            };
            take().map_err(|error| super::super::sort(&error))?;
        }
        Ok(matched)
    }

    /// The nearest entries of a kind, with their cosines.
    pub async fn search_near(&self, tenant: &TenantId, near: Near<'_>) -> Result<Vec<Scored>, StoreError> {
        // Adding nothing to the distance keeps the planner from the graph, which knows nothing of tenants.
        const ONE_BY_ONE: &str = "
            select document, kind, ordinal, language, (-(embedding <#> $2::real[]::halfvec(512)))::float8 as score
            from search_meanings where tenant = $1 and kind = $3
            order by (embedding <#> $2::real[]::halfvec(512)) + 0 limit $4";
        const BY_GRAPH: &str = "
            select document, kind, ordinal, language, (-(embedding <#> $2::real[]::halfvec(512)))::float8 as score
            from search_meanings where tenant = $1 and kind = $3
            order by embedding <#> $2::real[]::halfvec(512) limit $4";
        let sql = if near.by_graph { BY_GRAPH } else { ONE_BY_ONE };
        self.search(|mut connection| async move {
            let query = sqlx::query(sql).bind(tenant.as_str()).bind(near.embedding).bind(near.kind).bind(near.count);
            let query = query.try_map(|row| scored_of(&row));
            if !near.by_graph {
                return query.fetch_all(&mut *connection).await;
            }
            let mut transaction = connection.begin_with(GRAPH_WALK).await?;
            let found = query.fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(found)
        })
        .await
    }

    /// The scores by words of these entries.
    pub async fn search_words_of(
        &self,
        tenant: &TenantId,
        weights: &[(i32, f32)],
        asked: &Asked<'_>,
    ) -> Result<Vec<Scored>, StoreError> {
        const SQL: &str = "
            select w.document, w.kind, w.ordinal, w.language, (-(w.words <#> $2::sparsevec))::float8 as score
            from search_words w where w.tenant = $1 and w.document = any($3)
                and (w.kind <> 'text' or w.document = any($4) and w.ordinal < $5)
            union
            select w.document, w.kind, w.ordinal, w.language, (-(w.words <#> $2::sparsevec))::float8
            from unnest($6::text[], $7::int[]) as k (document, ordinal)
            join search_words w on w.tenant = $1 and w.document = k.document and w.kind = 'text' and w.ordinal = k.ordinal";
        self.search(|mut connection| async move {
            let query = sqlx::query(SQL).bind(tenant.as_str()).bind(sparse(weights)).bind(asked.documents);
            let query = query.bind(asked.led).bind(asked.ordinal_end).bind(asked.texts.0).bind(asked.texts.1);
            query.try_map(|row| scored_of(&row)).fetch_all(&mut *connection).await
        })
        .await
    }

    /// The same by meaning.
    pub async fn search_meanings_of(
        &self,
        tenant: &TenantId,
        embedding: &[f32],
        asked: &Asked<'_>,
    ) -> Result<Vec<Scored>, StoreError> {
        const SQL: &str = "
            select m.document, m.kind, m.ordinal, m.language, (-(m.embedding <#> $2::real[]::halfvec(512)))::float8 as score
            from search_meanings m
            where m.tenant = $1 and m.kind in ('text', 'question') and m.document = any($3)
                and (m.kind <> 'text' or m.document = any($4) and m.ordinal < $5)
            union
            select m.document, m.kind, m.ordinal, m.language, (-(m.embedding <#> $2::real[]::halfvec(512)))::float8
            from unnest($6::text[], $7::int[]) as k (document, ordinal) join search_meanings m
                on m.tenant = $1 and m.document = k.document and m.kind = 'text' and m.ordinal = k.ordinal";
        self.search(|mut connection| async move {
            let query = sqlx::query(SQL).bind(tenant.as_str()).bind(embedding).bind(asked.documents);
            let query = query.bind(asked.led).bind(asked.ordinal_end).bind(asked.texts.0).bind(asked.texts.1);
            query.try_map(|row| scored_of(&row)).fetch_all(&mut *connection).await
        })
        .await
    }

    /// What these passages say; one that is no longer known is not in the answer.
    pub async fn search_texts(
        &self,
        tenant: &TenantId,
        documents: &[String],
        ordinals: &[i32],
    ) -> Result<Vec<TextOf>, StoreError> {
        const SQL: &str = "
            select p.document, p.ordinal, d.language, d.title, d.url, p.text
            from unnest($2::text[], $3::int[]) as k (document, ordinal)
            join passages p on p.tenant = $1 and p.document = k.document and p.kind = 'text' and p.ordinal = k.ordinal
            join documents d on d.tenant = $1 and d.id = k.document";
        self.search(|mut connection| async move {
            let query = sqlx::query(SQL).bind(tenant.as_str()).bind(documents).bind(ordinals);
            query.try_map(text_of).fetch_all(&mut *connection).await
        })
        .await
    }

    /// Asks a replica that has what this process has seen brought up to date, else the primary.
    async fn search<T, F>(&self, query: impl Fn(PoolConnection<Postgres>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let reading = Reading { seen: self.searched(), patience: SEARCH_TIMEOUT / 2 };
        match tokio::time::timeout(SEARCH_TIMEOUT, self.read(reading, query)).await {
            Ok(read) => read,
            Err(_) => Err(StoreError::Away(format!("no answer within {SEARCH_TIMEOUT:?}"))),
        }
    }
}

/// Entries whose scores are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Whose wordings count.
    pub documents: &'a [String],
    /// Those of them whose first passages are asked for, too, and how many.
    pub led: &'a [String],
    pub ordinal_end: i32,
    /// Documents and ordinals of passages, side by side.
    pub texts: (&'a [String], &'a [i32]),
}

/// How long one of these questions may take; a customer waits.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(1);

fn scored_of(row: &PgRow) -> Result<Scored, sqlx::Error> {
    let key = Key { document: row.try_get("document")?, kind: row.try_get("kind")?, ordinal: row.try_get("ordinal")? };
    Ok(Scored { key, language: language_of(row)?, score: row.try_get::<f64, _>("score")? as f32 })
}

fn text_of(row: PgRow) -> Result<TextOf, sqlx::Error> {
    Ok(TextOf {
        document: row.try_get("document")?,
        ordinal: row.try_get("ordinal")?,
        language: language_of(&row)?,
        title: row.try_get("title")?,
        url: row.try_get("url")?,
        text: row.try_get("text")?,
    })
}
