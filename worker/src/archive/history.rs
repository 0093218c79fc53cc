//! What was said in a conversation: the archive's rows and the records that are not archived yet, each turn once.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use talkfleet_shared::{
    bus::{Bus, BusError, Offer, ServiceCall},
    chat::{HistoryReply, HistoryRequest, HistoryTurn, Problem},
    error::Code,
    id::TenantId,
    lifecycle::Shutdown,
};

use crate::{
    guard::Guard,
    store::{Store, StoreError},
};

/// The most turns of one answer: what a screen can show, and far below the broker's largest message.
const TURNS_MAX: u32 = 200;

/// Calls under way at once; more would wait for one of the database's few connections until nobody listens.
const CALLS_MAX: usize = 256;

/// How long the database may take: half of what callers wait, so that a database that is away still leaves an answer
/// from the recent records.
const ARCHIVE_TIMEOUT: Duration = Duration::from_millis(700);

/// Answers `chat.v1.history.<tenant>` until shutdown.
pub async fn serve_history(bus: Bus, store: Store, guard: Guard, shutdown: Shutdown) {
    let offer = Offer {
        what: "history",
        description: "The turns of a conversation, oldest first",
        metadata: HashMap::new(),
        calls_max: CALLS_MAX,
    };
    let archive = Archive { store, guard };
    bus.serve(offer, &shutdown, |call| answer(bus.clone(), archive.clone(), call)).await;
}

/// The database, and what stands before it.
#[derive(Clone)]
struct Archive {
    store: Store,
    guard: Guard,
}

impl Archive {
    async fn turns(
        &self,
        tenant: &TenantId,
        question: &HistoryRequest,
        turns_max: u32,
    ) -> Result<Vec<HistoryTurn>, StoreError> {
        let left_alone = || StoreError::Away("it failed a moment ago and is left alone".into());
        let leave = self.guard.enter().ok_or_else(left_alone)?;
        let read = self.store.history(tenant, &question.conversation, turns_max);
        let read = tokio::time::timeout(ARCHIVE_TIMEOUT, read).await;
        let read = read.unwrap_or_else(|_| Err(StoreError::Away("it took too long".into())));
        leave.report(&read);
        read
    }
}

async fn answer(bus: Bus, archive: Archive, call: ServiceCall) -> Result<(), BusError> {
    match call.question::<HistoryRequest>() {
        Ok(question) => match history(&bus, &archive, call.tenant(), &question).await {
            Some(reply) => call.answer(&reply).await,
            None => call.refuse(&Problem::new(Code::HistoryAway)).await,
        },
        Err(error) => call.refuse(&Problem::because(Code::BadJson, error.to_string())).await,
    }
}

/// None when neither the database nor the broker can tell.
async fn history(bus: &Bus, archive: &Archive, tenant: &TenantId, question: &HistoryRequest) -> Option<HistoryReply> {
    let turns_max = question.turns_max.clamp(1, TURNS_MAX);
    let (archived, recent) =
        tokio::join!(archive.turns(tenant, question, turns_max), bus.records_of(tenant, &question.conversation));
    if let Err(error) = &archived {
        tracing::warn!(%error, "history without the archive");
    }
    if let Err(error) = &recent {
        tracing::warn!(%error, "history without the recent records");
    }
    if archived.is_err() && recent.is_err() {
        return None;
    }
    let recent = recent.unwrap_or_default().into_iter().map(HistoryTurn::from).collect();
    Some(HistoryReply { turns: merged(archived.unwrap_or_default(), recent, turns_max as usize) })
}

/// PURE: both accounts as one, oldest first, each request once, the newest kept.
fn merged(archived: Vec<HistoryTurn>, recent: Vec<HistoryTurn>, turns_max: usize) -> Vec<HistoryTurn> {
    let mut seen = HashSet::new();
    let mut turns: Vec<_> = archived.into_iter().chain(recent).filter(|turn| seen.insert(turn.id.clone())).collect();
    turns.sort_by(|a, b| (a.asked_at_ms, a.id.as_str()).cmp(&(b.asked_at_ms, b.id.as_str())));
    turns.split_off(turns.len().saturating_sub(turns_max))
}

#[cfg(test)]
mod tests {
    use talkfleet_shared::{chat::Outcome, id::RequestId};

    use super::*;

    fn turn(id: &str, asked_at_ms: u64) -> HistoryTurn {
        let outcome = Outcome::Cancelled { text: String::new(), by: None };
        HistoryTurn { id: RequestId::parse(id).unwrap(), user: None, question: "q".into(), outcome, asked_at_ms }
    }

    #[test]
    fn two_accounts_become_one() {
        let turns = merged(vec![turn("a", 1), turn("b", 2)], vec![turn("d", 4), turn("b", 2), turn("c", 2)], 3);
        let ids: Vec<_> = turns.iter().map(|turn| turn.id.as_str()).collect();
        assert_eq!(ids, ["b", "c", "d"]);
        assert!(merged(Vec::new(), Vec::new(), 3).is_empty());
    }
}
