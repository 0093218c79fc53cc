//! What customers asked, what they were answered, and what they thought of it.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::{Connection, Row, types::Json};
use talkfleet_shared::{
    chat::{Citation, Feedback, HistoryTurn, Outcome, Position, TurnRecord, Verdict},
    envelope::{self, Format},
    id::{ConversationId, RequestId, TenantId, UserId},
};

use super::{
    Lsn, READ_TIMEOUT, Store, StoreError, WRITE_TIMEOUT,
    read::{Reading, acquire, position_at},
    within,
};

/// How long a replica may take to tell a history before the primary is asked instead: half of what there is.
const REPLICA_PATIENCE: Duration = Duration::from_millis(300);

/// Inserts turns that are not there yet and counts the tokens of those alone, so that a second delivery costs nothing.
const INSERT_TURNS: &str = "
with fresh as (
    insert into turns (tenant, request, conversation, user_id, channel, question, language, intent, confidence, kind,
        rung, outcome, answer, citations, timings, usage, versions, attempt, frames, trace, asked_at, ended_at, body)
    select tenant, request, conversation, user_id, channel, question, language, intent, confidence, kind,
        rung, outcome, answer, citations::jsonb, timings::jsonb, usage::jsonb, versions::jsonb, attempt, frames, trace,
        to_timestamp(asked_at_ms / 1000.0), to_timestamp(ended_at_ms / 1000.0), body
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::real[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
        $17::text[], $18::int[], $19::int[], $20::text[], $21::bigint[], $22::bigint[], $23::bytea[])
        as row (tenant, request, conversation, user_id, channel, question, language, intent, confidence, kind,
        rung, outcome, answer, citations, timings, usage, versions, attempt, frames, trace, asked_at_ms, ended_at_ms,
        body)
    on conflict (tenant, request) do nothing
    returning tenant, (ended_at at time zone 'utc')::date as day, usage
), cost as (
    insert into usage (tenant, day, model, turns, prompt_tokens, completion_tokens)
    select tenant, day, usage->>'model', count(*), sum((usage->>'prompt_tokens')::bigint),
        sum((usage->>'completion_tokens')::bigint)
    from fresh where usage is not null group by 1, 2, 3 order by 1, 2, 3
    on conflict (tenant, day, model) do update set turns = usage.turns + excluded.turns,
        prompt_tokens = usage.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = usage.completion_tokens + excluded.completion_tokens
)
select count(*) from fresh";

/// The last verdict wins, also when an older one is delivered after it.
const INSERT_FEEDBACK: &str = "
insert into feedback (tenant, request, verdict, reason, user_id, given_at)
select tenant, request, verdict, reason, user_id, to_timestamp(given_at_ms / 1000.0)
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
    as row (tenant, request, verdict, reason, user_id, given_at_ms)
order by 1, 2
on conflict (tenant, request) do update set verdict = excluded.verdict, reason = excluded.reason,
    user_id = excluded.user_id, given_at = excluded.given_at
where feedback.given_at <= excluded.given_at";

/// How many rows a batch added; those that were there before are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    pub turns: u64,
    pub feedback: u64,
    /// From where on in its log the database holds them; None without replicas, where nobody asks.
    pub position: Option<Lsn>,
}

impl Store {
    /// Writes turns and verdicts in one transaction; of verdicts about the same request the caller keeps only the last.
    pub async fn write_archive(&self, turns: &[Journaled], feedback: &[Feedback]) -> Result<Written, StoreError> {
        let rows: Vec<TurnRow> = turns.iter().map(TurnRow::of).collect::<Result<_, _>>()?;
        within(WRITE_TIMEOUT, async {
            let mut connection = acquire(&self.pool, "primary", &self.metrics).await?;
            let mut transaction = connection.begin().await?;
            let mut written = Written::default();
            if !rows.is_empty() {
                let count: i64 = insert_turns(&rows).fetch_one(&mut *transaction).await?;
                written.turns = count.unsigned_abs();
            }
            if !feedback.is_empty() {
                written.feedback = insert_feedback(feedback).execute(&mut *transaction).await?.rows_affected();
            }
            transaction.commit().await?;
            if !self.replicas.is_empty() {
                written.position = Some(position_at(&mut connection).await?);
            }
            Ok(written)
        })
        .await
    }

    /// The archived turns of a conversation, oldest first; of more than `turns_max` the newest, and none that was written
    /// before `seen` is lacking.
    pub async fn history(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        turns_max: u32,
        seen: Lsn,
    ) -> Result<Vec<HistoryTurn>, StoreError> {
        const SQL: &str = "
            select request, user_id, question, jsonb_build_object('outcome', record->'outcome') as head, body,
                (extract(epoch from asked_at) * 1000)::bigint as asked_at_ms
            from turns where tenant = $1 and conversation = $2
            order by asked_at desc, request desc limit $3";
        let reading = Reading { seen, patience: REPLICA_PATIENCE };
        let mut turns: Vec<_> = self
            .read(reading, |mut connection| async move {
                let query = sqlx::query(SQL).bind(tenant.as_str()).bind(conversation.as_str());
                query.bind(i64::from(turns_max)).try_map(turn_of).fetch_all(&mut *connection).await
            })
            .await?;
        turns.reverse();
        Ok(turns)
    }

    /// Up to `rows_max` of the conversations that there are, from the one after `after`, in the order of their names.
    pub async fn conversations_after(
        &self,
        after: Option<&(TenantId, ConversationId)>,
        rows_max: u32,
    ) -> Result<Vec<(TenantId, ConversationId)>, StoreError> {
        const SQL: &str = "
            select distinct tenant, conversation from turns where (tenant, conversation) > ($1, $2)
            order by tenant, conversation limit $3";
        let (tenant, conversation) = after.map_or(("", ""), |(tenant, id)| (tenant.as_str(), id.as_str()));
        let query = sqlx::query_as(SQL).bind(tenant).bind(conversation).bind(i64::from(rows_max));
        // From the primary: what it has committed before this began must be on the list.
        let rows: Vec<(String, String)> = within(READ_TIMEOUT, query.fetch_all(&self.pool)).await?;
        let broken = |error: &dyn std::fmt::Display| StoreError::Broken(error.to_string());
        let parse = |(tenant, conversation): (String, String)| {
            let tenant = TenantId::parse(&tenant).map_err(|error| broken(&error))?;
            Ok((tenant, ConversationId::parse(&conversation).map_err(|error| broken(&error))?))
        };
        rows.into_iter().map(parse).collect()
    }

    /// One archived record.
    pub async fn record(&self, tenant: &TenantId, request: &RequestId) -> Result<Option<TurnRecord>, StoreError> {
        let query = sqlx::query("select record, body from turns where tenant = $1 and request = $2");
        let query = query.bind(tenant.as_str()).bind(request.as_str()).try_map(|row| kept(&row, "record"));
        within(READ_TIMEOUT, query.fetch_optional(&self.pool)).await
    }

    /// Archived records that were asked in `from_ms..to_ms`, oldest first, from the one after `after`: what replay
    /// reads when the journal has forgotten.
    pub async fn records(
        &self,
        tenant: &TenantId,
        from_ms: u64,
        to_ms: u64,
        after: Option<&TurnRecord>,
        rows_max: u32,
    ) -> Result<Vec<TurnRecord>, StoreError> {
        const SQL: &str = "
            select record, body from turns
            where tenant = $1 and asked_at >= to_timestamp($2 / 1000.0) and asked_at < to_timestamp($3 / 1000.0)
                and (asked_at, request) > (to_timestamp($4 / 1000.0), $5)
            order by asked_at, request limit $6";
        let position = after.map_or((0, ""), |record| (record.asked_at_ms, record.request.as_str()));
        let query = sqlx::query(SQL)
            .bind(tenant.as_str())
            .bind(millis(from_ms))
            .bind(millis(to_ms))
            .bind(millis(position.0))
            .bind(position.1)
            .bind(i64::from(rows_max))
            .try_map(|row| kept(&row, "record"));
        within(READ_TIMEOUT, query.fetch_all(&self.pool)).await
    }
}

impl Store {
    /// The tenants with turns that were asked in `from_ms..to_ms`.
    pub async fn tenants_of_records(&self, from_ms: u64, to_ms: u64) -> Result<Vec<TenantId>, StoreError> {
        const SQL: &str = "
            select distinct tenant from turns
            where asked_at >= to_timestamp($1 / 1000.0) and asked_at < to_timestamp($2 / 1000.0) order by tenant";
        let query = sqlx::query_scalar(SQL).bind(millis(from_ms)).bind(millis(to_ms));
        let tenants: Vec<String> = within(READ_TIMEOUT, query.fetch_all(&self.pool)).await?;
        let parse = |tenant: String| TenantId::parse(&tenant).map_err(|error| StoreError::Broken(error.to_string()));
        tenants.into_iter().map(parse).collect()
    }
}

fn turn_of(row: sqlx::postgres::PgRow) -> Result<HistoryTurn, sqlx::Error> {
    let id: &str = row.try_get("request")?;
    let user: Option<&str> = row.try_get("user_id")?;
    Ok(HistoryTurn {
        id: RequestId::parse(id).map_err(|error| sqlx::Error::Decode(error.into()))?,
        user: user.map(UserId::parse).transpose().map_err(|error| sqlx::Error::Decode(error.into()))?,
        question: row.try_get("question")?,
        outcome: kept::<Ended>(&row, "head")?.outcome,
        asked_at_ms: row.try_get::<i64, _>("asked_at_ms")?.unsigned_abs(),
    })
}

/// What history wants of a record.
#[derive(Deserialize)]
struct Ended {
    outcome: Outcome,
}

/// Reads a record, or a part of one, from its bytes; rows of older versions have it as JSON in `column`.
fn kept<T>(row: &sqlx::postgres::PgRow, column: &str) -> Result<T, sqlx::Error>
where
    T: DeserializeOwned + Send + Unpin + 'static,
{
    match row.try_get::<Option<&[u8]>, _>("body")? {
        Some(body) => {
            let read = Format::detect(None, body).and_then(|format| envelope::decode_large(body, format));
            read.map_err(|error| sqlx::Error::Decode(error.into()))
        }
        None => Ok(row.try_get::<Json<T>, _>(column)?.0),
    }
}

/// A record with the bytes that it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Journaled {
    pub record: TurnRecord,
    pub body: Bytes,
}

/// A record as columns: what is asked for often stands alone, the whole record beside it.
struct TurnRow<'a> {
    record: &'a TurnRecord,
    body: &'a [u8],
    question: String,
    kind: Option<&'static str>,
    rung: Option<&'static str>,
    answer: String,
    frames: i32,
    citations: String,
    timings: String,
    usage: Option<String>,
    versions: String,
}

impl<'a> TurnRow<'a> {
    fn of(Journaled { record, body }: &'a Journaled) -> Result<Self, StoreError> {
        let (answer, citations): (&str, &[Citation]) = match &record.outcome {
            Outcome::Answered { answer } => (&answer.text, &answer.citations),
            Outcome::Cancelled { text, .. } => (text, &[]),
            Outcome::Failed { .. } | Outcome::Expired { .. } => (&record.spoken, &[]),
        };
        let answered = match &record.outcome {
            Outcome::Answered { answer } => Some(answer),
            _ => None,
        };
        Ok(Self {
            record,
            body,
            question: without_nul(record.ask.text.as_str()),
            kind: answered.map(|answer| answer.kind.name()),
            rung: answered.map(|answer| answer.rung.name()),
            answer: without_nul(answer),
            frames: i32::try_from(record.frames(Position::default()).len()).unwrap_or(i32::MAX),
            citations: json(&citations)?,
            timings: json(&record.timings)?,
            usage: record.usage.as_ref().map(json).transpose()?,
            versions: json(&record.versions)?,
        })
    }
}

type Postgres = sqlx::Postgres;
type Arguments = sqlx::postgres::PgArguments;

fn insert_turns(rows: &[TurnRow<'_>]) -> sqlx::query::QueryScalar<'static, Postgres, i64, Arguments> {
    fn column<'a, T>(rows: &'a [TurnRow<'a>], pick: impl Fn(&'a TurnRow<'a>) -> T) -> Vec<T> {
        rows.iter().map(pick).collect()
    }
    let text = |pick: fn(&TurnRow<'_>) -> String| column(rows, pick);
    sqlx::query_scalar(INSERT_TURNS)
        .bind(text(|row| row.record.tenant.to_string()))
        .bind(text(|row| row.record.request.to_string()))
        .bind(text(|row| row.record.conversation.to_string()))
        .bind(column(rows, |row| row.record.ask.user.as_ref().map(ToString::to_string)))
        .bind(text(|row| row.record.ask.channel.to_string()))
        .bind(text(|row| row.question.clone()))
        .bind(text(|row| row.record.language.code().to_owned()))
        .bind(text(|row| without_nul(&row.record.intent.name)))
        .bind(column(rows, |row| row.record.intent.confidence))
        .bind(column(rows, |row| row.kind.map(str::to_owned)))
        .bind(column(rows, |row| row.rung.map(str::to_owned)))
        .bind(text(|row| row.record.outcome.name().to_owned()))
        .bind(text(|row| row.answer.clone()))
        .bind(text(|row| row.citations.clone()))
        .bind(text(|row| row.timings.clone()))
        .bind(column(rows, |row| row.usage.clone()))
        .bind(text(|row| row.versions.clone()))
        .bind(column(rows, |row| i32::try_from(row.record.attempt).unwrap_or(i32::MAX)))
        .bind(column(rows, |row| row.frames))
        .bind(column(rows, |row| row.record.trace.as_deref().map(without_nul)))
        .bind(column(rows, |row| millis(row.record.asked_at_ms)))
        .bind(column(rows, |row| millis(row.record.ended_at_ms)))
        .bind(column(rows, |row| row.body.to_vec()))
}

fn insert_feedback(verdicts: &[Feedback]) -> sqlx::query::Query<'static, Postgres, Arguments> {
    let word = |verdict: Verdict| match verdict {
        Verdict::Up => "up",
        Verdict::Down => "down",
    };
    sqlx::query(INSERT_FEEDBACK)
        .bind(verdicts.iter().map(|one| one.tenant.to_string()).collect::<Vec<_>>())
        .bind(verdicts.iter().map(|one| one.request.to_string()).collect::<Vec<_>>())
        .bind(verdicts.iter().map(|one| word(one.verdict).to_owned()).collect::<Vec<_>>())
        .bind(verdicts.iter().map(|one| one.reason.as_deref().map(without_nul)).collect::<Vec<_>>())
        .bind(verdicts.iter().map(|one| one.user.as_ref().map(ToString::to_string)).collect::<Vec<_>>())
        .bind(verdicts.iter().map(|one| millis(one.given_at_ms)).collect::<Vec<_>>())
}

/// JSON as PostgreSQL takes it: jsonb holds every text but one with a NUL in it.
fn json(value: &impl Serialize) -> Result<String, StoreError> {
    let rejected = |error: serde_json::Error| StoreError::Rejected(error.to_string());
    let text = serde_json::to_string(value).map_err(rejected)?;
    if !text.contains("\\u0000") {
        return Ok(text);
    }
    let mut tree = serde_json::from_str(&text).map_err(rejected)?;
    strip_nul(&mut tree);
    serde_json::to_string(&tree).map_err(rejected)
}

fn strip_nul(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => text.retain(|c| c != '\0'),
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip_nul),
        serde_json::Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(name, mut value)| {
                    strip_nul(&mut value);
                    (without_nul(&name), value)
                })
                .collect();
        }
        _ => {}
    }
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_dropped_and_an_escaped_backslash_is_not() {
        let value = serde_json::json!({ "a\0": ["x\0y", "\\u0000"], "n": 1 });
        assert_eq!(json(&value).unwrap(), r#"{"a":["xy","\\u0000"],"n":1}"#);
    }
}
