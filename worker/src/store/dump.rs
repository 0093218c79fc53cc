//! Every table as PostgreSQL writes it down itself, as of one moment, and back again: whole or not at all.
//!
//! By COPY over the connection that there is anyway, and not by pg_dump: its program would have to be of the server's version
//! and lie where the operator's command runs.

use std::io;

use futures::TryStreamExt;
use sqlx::{Connection, PgConnection};

use super::{READ_TIMEOUT, Store, StoreError, sort, within};

/// Tables in an order in which they can be filled; those that searching is done by are made from them again.
const TABLES: [&str; 6] = ["knowledge", "documents", "passages", "turns", "feedback", "usage"];

/// A table with its columns, in the order in which its rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub table: String,
    pub columns: Vec<String>,
}

/// Why tables could not be written down or filled.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the table {0} is none of ours")]
    Unknown(String),
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl From<sqlx::Error> for DumpError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(sort(&error))
    }
}

/// All tables as of one moment.
pub struct Dump(PgConnection);

/// Tables that are being filled; nobody sees a row before [`Fill::commit`].
pub struct Fill(PgConnection);

impl Store {
    /// What the server calls itself.
    pub async fn server_version(&self) -> Result<String, StoreError> {
        within(READ_TIMEOUT, sqlx::query_scalar("show server_version").fetch_one(&self.pool)).await
    }

    /// Rows of our tables, those that have any; a table that is not there has none.
    pub async fn rows_there(&self) -> Result<Vec<(&'static str, i64)>, StoreError> {
        let mut there = Vec::new();
        for table in TABLES {
            let exists = sqlx::query_scalar("select to_regclass($1) is not null").bind(table);
            if !within(READ_TIMEOUT, exists.fetch_one(&self.pool)).await? {
                continue;
            }
            // Whether there is one at all; a big table is not counted.
            let sql = sqlx::AssertSqlSafe(format!("select count(*) from (select from {table} limit 1) as first"));
            match within(READ_TIMEOUT, sqlx::query_scalar(sql).fetch_one(&self.pool)).await? {
                0 => {}
                rows => there.push((table, rows)),
            }
        }
        Ok(there)
    }

    /// Begins to write tables down, all as of now, whatever is written meanwhile.
    pub async fn dump(&self) -> Result<Dump, StoreError> {
        self.begin("begin isolation level repeatable read, read only").await.map(Dump)
    }

    /// Begins to fill tables; with `replace`, what they hold goes, once it is committed.
    pub async fn fill(&self, replace: bool) -> Result<Fill, StoreError> {
        let mut connection = self.begin("begin").await?;
        if replace {
            let sql = sqlx::AssertSqlSafe(format!("truncate {}", TABLES.join(", ")));
            sqlx::query(sql).execute(&mut connection).await.map_err(|error| sort(&error))?;
        }
        Ok(Fill(connection))
    }

    async fn begin(&self, how: &'static str) -> Result<PgConnection, StoreError> {
        within(READ_TIMEOUT, async {
            let mut connection = self.pool.acquire().await?.detach();
            sqlx::query(how).execute(&mut connection).await?;
            // A big table takes as long as it takes.
            sqlx::query("set local statement_timeout = 0").execute(&mut connection).await?;
            Ok(connection)
        })
        .await
    }
}

impl Dump {
    /// The tables that there are.
    pub async fn shapes(&mut self) -> Result<Vec<Shape>, DumpError> {
        const SQL: &str = "
            select column_name::text from information_schema.columns
            where table_schema = current_schema() and table_name = $1 order by ordinal_position";
        let mut shapes = Vec::new();
        for table in TABLES {
            let columns: Vec<String> = sqlx::query_scalar(SQL).bind(table).fetch_all(&mut self.0).await?;
            if !columns.is_empty() {
                shapes.push(Shape { table: table.to_owned(), columns });
            }
        }
        Ok(shapes)
    }

    /// Writes a table down; how many rows it has.
    pub async fn table(
        &mut self,
        shape: &Shape,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<i64, DumpError> {
        let sql = sqlx::AssertSqlSafe(format!("select count(*) from {}", shape.table));
        let rows: i64 = sqlx::query_scalar(sql).fetch_one(&mut self.0).await?;
        let copy = format!("copy {} to stdout (format binary)", shape.named()?);
        let mut pieces = self.0.copy_out_raw(&copy).await?;
        while let Some(piece) = pieces.try_next().await? {
            take(&piece)?;
        }
        Ok(rows)
    }
}

impl Fill {
    /// Fills a table; how many rows it was.
    pub async fn table(
        &mut self,
        shape: &Shape,
        mut next: impl FnMut() -> io::Result<Option<Vec<u8>>>,
    ) -> Result<u64, DumpError> {
        let copy = format!("copy {} from stdin (format binary)", shape.named()?);
        let mut into = self.0.copy_in_raw(&copy).await?;
        loop {
            match next() {
                Ok(Some(piece)) => _ = into.send(&piece[..]).await?,
                Ok(None) => return Ok(into.finish().await?),
                Err(error) => {
                    let _ = into.abort("what was to be filled in cannot be read").await;
                    return Err(error.into());
                }
            }
        }
    }

    /// From here on everybody sees it.
    pub async fn commit(mut self) -> Result<(), DumpError> {
        sqlx::query("commit").execute(&mut self.0).await?;
        self.0.close().await?;
        Ok(())
    }
}

impl Shape {
    /// `table (column, column)`, if it is one of ours and nothing else stands in it: a file may claim anything.
    fn named(&self) -> Result<String, DumpError> {
        let plain = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if !TABLES.contains(&self.table.as_str()) || !self.columns.iter().all(plain) {
            return Err(DumpError::Unknown(format!("{} ({})", self.table, self.columns.join(", "))));
        }
        Ok(format!("{} ({})", self.table, self.columns.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cannot_name_what_it_likes() {
        let shape =
            |table: &str, column: &str| Shape { table: table.into(), columns: vec!["tenant".into(), column.into()] };
        assert_eq!(shape("turns", "asked_at").named().unwrap(), "turns (tenant, asked_at)");
        for (table, column) in
            [("pg_authid", "a"), ("turns", "a) from program 'x' --"), ("turns; drop", "a"), ("turns", "")]
        {
            assert!(matches!(shape(table, column).named(), Err(DumpError::Unknown(_))), "{table} {column}");
        }
    }
}
