//! Whether the archive has written again what a server that was the primary may have taken along.

use super::{READ_TIMEOUT, Store, StoreError, WRITE_TIMEOUT, within};

impl Store {
    /// Whether what was written shortly before a history began was written again into it.
    pub async fn is_caught_up(&self, timeline: u32) -> Result<bool, StoreError> {
        const SQL: &str = "select exists (select from promotions where timeline = $1)";
        let query = sqlx::query_scalar(SQL).bind(i64::from(timeline));
        within(READ_TIMEOUT, query.fetch_one(&self.pool)).await
    }

    /// It was.
    pub async fn note_caught_up(&self, timeline: u32) -> Result<(), StoreError> {
        const SQL: &str = "insert into promotions (timeline) values ($1) on conflict do nothing";
        let query = sqlx::query(SQL).bind(i64::from(timeline));
        within(WRITE_TIMEOUT, query.execute(&self.pool)).await.map(drop)
    }
}
