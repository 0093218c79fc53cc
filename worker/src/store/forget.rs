//! Looking through the archive for what is somebody's, and deleting it; and deleting what is older than the archive keeps.

use std::time::Duration;

use sqlx::{Row, postgres::PgRow};
use talkfleet_shared::{
    chat::TurnRecord,
    envelope::{self, Format},
    id::{ConversationId, RequestId, TenantId, UserId},
};

use super::{READ_TIMEOUT, Store, StoreError, WRITE_TIMEOUT, within};

/// Rows that are deleted by one statement: a second's work for the database at most.
const DELETED_AT_ONCE: usize = 1_000;

/// A row of the archive, to be looked through.
#[derive(Debug, Clone)]
pub struct ArchivedRow {
    pub tenant: TenantId,
    pub request: RequestId,
    /// None for a verdict.
    pub conversation: Option<ConversationId>,
    pub user: Option<UserId>,
    /// When it was asked or given, Unix milliseconds.
    pub at_ms: u64,
    /// What was asked, or why the verdict.
    pub text: String,
    /// The whole record; empty for a verdict.
    pub record: Vec<u8>,
}

/// A table of the archive in which something may be somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Turns,
    Feedback,
}

impl Table {
    pub const ALL: [Self; 2] = [Self::Turns, Self::Feedback];

    pub fn name(self) -> &'static str {
        match self {
            Self::Turns => "turns",
            Self::Feedback => "feedback",
        }
    }

    fn page(self) -> &'static str {
        match self {
            Self::Turns => {
                "select tenant, request, conversation, user_id, question as text,
                    coalesce(body, convert_to(record::text, 'UTF8')) as record,
                    (extract(epoch from asked_at) * 1000)::bigint as at_ms
                from turns where (tenant, request) > ($1, $2) and ($3::text is null or tenant = $3)
                order by tenant, request limit $4"
            }
            Self::Feedback => {
                "select tenant, request, null as conversation, user_id, coalesce(reason, '') as text,
                    ''::bytea as record, (extract(epoch from given_at) * 1000)::bigint as at_ms
                from feedback where (tenant, request) > ($1, $2) and ($3::text is null or tenant = $3)
                order by tenant, request limit $4"
            }
        }
    }

    fn delete(self) -> &'static str {
        match self {
            Self::Turns => "delete from turns where tenant = $1 and request = any($2)",
            Self::Feedback => "delete from feedback where tenant = $1 and request = any($2)",
        }
    }

    /// The rows of one tenant that are older than so many days by the database's clock, at most so many, oldest first.
    fn delete_before(self) -> &'static str {
        match self {
            Self::Turns => {
                "delete from turns where (tenant, request) in (
                    select tenant, request from turns where tenant = $1 and asked_at < now() - make_interval(days => $2)
                    order by asked_at limit $3)"
            }
            Self::Feedback => {
                "delete from feedback where (tenant, request) in (
                    select tenant, request from feedback where tenant = $1 and given_at < now() - make_interval(days => $2)
                    limit $3)"
            }
        }
    }
}

impl Store {
    /// Up to `rows_max` rows of a table in the order of their tenants and requests, from the one after `after`.
    pub async fn archived_page(
        &self,
        table: Table,
        tenant: Option<&TenantId>,
        after: Option<&ArchivedRow>,
        rows_max: u32,
    ) -> Result<Vec<ArchivedRow>, StoreError> {
        let first = tenant.map_or("", TenantId::as_str);
        let after = after.map_or((first, ""), |row| (row.tenant.as_str(), row.request.as_str()));
        let query = sqlx::query(table.page()).bind(after.0).bind(after.1).bind(tenant.map(TenantId::as_str));
        within(READ_TIMEOUT, query.bind(i64::from(rows_max)).try_map(row_of).fetch_all(&self.pool)).await
    }

    /// Deletes rows by their requests; those that are gone are fine. How many were there.
    pub async fn erase_archived(
        &self,
        table: Table,
        tenant: &TenantId,
        requests: &[RequestId],
    ) -> Result<u64, StoreError> {
        let mut erased = 0;
        for some in requests.chunks(DELETED_AT_ONCE) {
            let some: Vec<String> = some.iter().map(ToString::to_string).collect();
            let query = sqlx::query(table.delete()).bind(tenant.as_str()).bind(some);
            erased += within(WRITE_TIMEOUT, query.execute(&self.pool)).await?.rows_affected();
        }
        Ok(erased)
    }

    /// Puts another record in the place of one that is there, such as the same without what it tells of others. Whether there
    /// was one. Its columns stay: they hold nothing but the customer's own turn.
    pub async fn rewrite_archived(&self, record: &TurnRecord) -> Result<bool, StoreError> {
        const SQL: &str = "update turns set body = $3, record = null where tenant = $1 and request = $2";
        let body = envelope::encode(record, Format::MessagePack).map_err(|e| StoreError::Broken(e.to_string()))?;
        let query = sqlx::query(SQL).bind(record.tenant.as_str()).bind(record.request.as_str()).bind(body.to_vec());
        Ok(within(WRITE_TIMEOUT, query.execute(&self.pool)).await?.rows_affected() > 0)
    }

    /// Every tenant of the archive; by the index, a look for each of them.
    pub async fn archived_tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        const SQL: &str = "
            with recursive each as (
                (select tenant from turns order by tenant limit 1)
                union all
                select (select t.tenant from turns t where t.tenant > each.tenant order by t.tenant limit 1)
                from each where each.tenant is not null)
            select tenant from each where tenant is not null
            union select tenant from feedback";
        let tenants: Vec<String> = within(READ_TIMEOUT, sqlx::query_scalar(SQL).fetch_all(&self.pool)).await?;
        let parse = |tenant: String| TenantId::parse(&tenant).map_err(|error| StoreError::Broken(error.to_string()));
        tenants.into_iter().map(parse).collect()
    }

    /// Deletes a tenant's rows that are older than so many days, at most so many, the oldest first. How many there were.
    pub async fn erase_before(
        &self,
        table: Table,
        tenant: &TenantId,
        days: u32,
        rows_max: u32,
    ) -> Result<u64, StoreError> {
        let days = i32::try_from(days).unwrap_or(i32::MAX);
        let query = sqlx::query(table.delete_before()).bind(tenant.as_str()).bind(days).bind(i64::from(rows_max));
        within(WRITE_TIMEOUT, query.execute(&self.pool)).await.map(|done| done.rows_affected())
    }

    /// Whether this process alone deletes what is old, for as long as the answer is held; None when another does.
    pub async fn retention_turn(&self, within_time: Duration) -> Result<Option<RetentionTurn>, StoreError> {
        within(within_time, async {
            let mut connection = self.pool.acquire().await?.detach();
            let alone: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
                .bind(RETENTION_LOCK)
                .fetch_one(&mut connection)
                .await?;
            Ok(alone.then_some(RetentionTurn { _connection: connection }))
        })
        .await
    }
}

/// The right to delete what is old: a lock that ends with its connection, and so with this process.
pub struct RetentionTurn {
    _connection: sqlx::PgConnection,
}

/// Spells `tfretain`; no other lock of ours has a name.
const RETENTION_LOCK: i64 = 0x7466_7265_7461_696e;

fn row_of(row: PgRow) -> Result<ArchivedRow, sqlx::Error> {
    fn strange(error: talkfleet_shared::id::IdError) -> sqlx::Error {
        sqlx::Error::Decode(error.into())
    }
    let conversation: Option<&str> = row.try_get("conversation")?;
    let user: Option<&str> = row.try_get("user_id")?;
    Ok(ArchivedRow {
        tenant: TenantId::parse(row.try_get("tenant")?).map_err(strange)?,
        request: RequestId::parse(row.try_get("request")?).map_err(strange)?,
        conversation: conversation.map(ConversationId::parse).transpose().map_err(strange)?,
        user: user.map(UserId::parse).transpose().map_err(strange)?,
        at_ms: row.try_get::<i64, _>("at_ms")?.unsigned_abs(),
        text: row.try_get("text")?,
        record: row.try_get("record")?,
    })
}
