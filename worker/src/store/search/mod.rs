//! The tables that PostgreSQL is searched by when it is the retrieval's backend; all of it follows from the knowledge.

/// Candidates and their scores.
mod find;

/// Bringing the tables up to date: one process at a time, seen by all at once.
mod sync;

use super::{Store, StoreError, WRITE_TIMEOUT, knowledge::language_of, within};

pub use self::{
    find::{Asked, Frequencies, Key, MatchedWords, Near, Scored, Shelf, TextOf},
    sync::{Entry, SearchSync, Sums, SyncStart},
};

/// The tables' layout; another one found is dropped and made anew.
const LAYOUT: i32 = 1;

const TABLES: &str = include_str!("../../../../schemas/search/pgvector.sql");

/// Processes that prepare the tables at once wait for one another; a number that nothing else locks.
const LOCK: i64 = 0x7461_6c6b_7365_6172;

/// sparsevec and halfvec came with it.
const PGVECTOR_MIN: (u32, u32) = (0, 7);

impl Store {
    /// Makes the extension and the tables, unless they are there.
    pub async fn search_prepare(&self) -> Result<(), StoreError> {
        self.make_extension().await?;
        let there = within(WRITE_TIMEOUT, async {
            let mut transaction = self.pool.begin().await?;
            sqlx::query("select pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
            let made: bool = sqlx::query_scalar("select to_regclass('search_layout') is not null")
                .fetch_one(&mut *transaction)
                .await?;
            let layout: Option<i32> = match made {
                true => {
                    sqlx::query_scalar("select layout from search_layout").fetch_optional(&mut *transaction).await?
                }
                false => None,
            };
            if layout != Some(LAYOUT) && !self.migrates {
                return Ok(false);
            }
            if layout != Some(LAYOUT) {
                const DROP: &str = "drop table if exists search_layout, search_bases, search_shelves, search_terms,
                    search_words, search_meanings";
                sqlx::raw_sql(DROP).execute(&mut *transaction).await?;
                sqlx::raw_sql(TABLES).execute(&mut *transaction).await?;
                let noted = sqlx::query("insert into search_layout values ($1)").bind(LAYOUT);
                noted.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(true)
        })
        .await?;
        if there { Ok(()) } else { Err(StoreError::Behind("the search's tables are not there (--search)".into())) }
    }

    async fn make_extension(&self) -> Result<(), StoreError> {
        const VERSION: &str = "select extversion from pg_extension where extname = 'vector'";
        let version = || within(WRITE_TIMEOUT, sqlx::query_scalar(VERSION).fetch_optional(&self.pool));
        let mut found: Option<String> = version().await?;
        if found.is_none() {
            let made = sqlx::raw_sql("create extension if not exists vector").execute(&self.pool);
            match within(WRITE_TIMEOUT, made).await {
                Err(StoreError::Away(why)) => return Err(StoreError::Away(why)),
                // Two that make it at once: one of them fails, and it is there.
                Err(error) if version().await?.is_none() => return Err(StoreError::NoVector(error.to_string())),
                Err(_) | Ok(_) => found = version().await?,
            }
        }
        let found = found.unwrap_or_default();
        match parts(&found) {
            Some(parts) if parts >= PGVECTOR_MIN => Ok(()),
            _ => Err(StoreError::NoVector(format!("found version '{found}'"))),
        }
    }
}

fn parts(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// `{3:0.5,7:1}/1000000000`, as pgvector reads it.
fn sparse(weights: &[(i32, f32)]) -> String {
    let pairs: Vec<String> = weights.iter().map(|(term, weight)| format!("{term}:{weight}")).collect();
    format!("{{{}}}/{TERMS_MAX}", pairs.join(","))
}

/// Terms are numbers from 1 to this; pgvector's own limit.
pub const TERMS_MAX: i32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_written_as_pgvector_reads_them() {
        assert_eq!(sparse(&[(3, 0.5), (7, 1.0)]), "{3:0.5,7:1}/1000000000");
        assert_eq!(sparse(&[]), "{}/1000000000");
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parts("0.8.5").unwrap() >= PGVECTOR_MIN && parts("0.10.0").unwrap() >= PGVECTOR_MIN);
        assert!(parts("0.6.2").unwrap() < PGVECTOR_MIN);
        assert_eq!(parts(""), None);
    }
}
