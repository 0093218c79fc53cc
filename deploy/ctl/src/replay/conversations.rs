//! PURE: recorded turns as whole conversations in their order, each turn with the memory that it had.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use talkfleet_shared::{
    chat::{Ask, ModelUse, Outcome, Replayed, TurnRecord},
    id::{ConversationId, TenantId},
};
use talkfleet_worker::{config::MemoryConfig, remembered};

/// A turn as it was, and the message that asks it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    pub original: TurnRecord,
    /// The message with the conversation's history as the desk remembered it then.
    pub ask: Ask,
}

/// The turns of one conversation, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conversation {
    /// Where its turns stand in the list of all.
    pub(super) turns: Vec<usize>,
}

/// Whose conversation it is.
pub(super) type Key = (TenantId, ConversationId);

pub(super) fn key(record: &TurnRecord) -> Key {
    (record.tenant.clone(), record.conversation.clone())
}

/// Gives every turn the history that the desk had when it was asked: the client's own account, else what was answered
/// before, as far as the memory reaches. `earlier` are turns before the stretch.
pub(super) fn with_memory(earlier: Vec<TurnRecord>, turns: Vec<TurnRecord>, memory: &MemoryConfig) -> Vec<Recorded> {
    let mut past: HashMap<Key, Vec<TurnRecord>> = HashMap::new();
    for record in in_order(earlier) {
        remember(past.entry(key(&record)).or_default(), &record, memory.turns_max);
    }
    let mut recorded = Vec::with_capacity(turns.len());
    for original in in_order(turns) {
        let past = past.entry(key(&original)).or_default();
        let mut ask = Ask { replayed: None, ..original.ask.clone() };
        if ask.history.is_none() {
            ask.history = Some(remembered(past.iter(), ask.user.as_ref(), original.asked_at_ms, memory));
        }
        remember(past, &original, memory.turns_max);
        recorded.push(Recorded { original, ask });
    }
    recorded
}

/// Keeps what later turns of the conversation may remember.
pub(super) fn remember(past: &mut Vec<TurnRecord>, record: &TurnRecord, turns_max: usize) {
    if record.ask.history.is_some() || !matches!(record.outcome, Outcome::Answered { .. }) {
        return;
    }
    past.push(TurnRecord { passages: Vec::new(), sources: None, ..record.clone() });
    if past.len() > turns_max {
        past.remove(0);
    }
}

fn in_order(mut records: Vec<TurnRecord>) -> Vec<TurnRecord> {
    records.sort_by(|a, b| (a.asked_at_ms, &a.request).cmp(&(b.asked_at_ms, &b.request)));
    records
}

/// Whole conversations, in the order in which they began.
pub(super) fn conversations(turns: &[Recorded]) -> Vec<Conversation> {
    let mut places: HashMap<Key, usize> = HashMap::new();
    let mut found: Vec<Conversation> = Vec::new();
    for (number, turn) in turns.iter().enumerate() {
        let place = *places.entry(key(&turn.original)).or_insert(found.len());
        match found.get_mut(place) {
            Some(conversation) => conversation.turns.push(number),
            None => found.push(Conversation { turns: vec![number] }),
        }
    }
    found
}

/// The message as a lane gets it.
pub(super) fn ask_again(turn: &Recorded, model: ModelUse) -> Ask {
    let recording = matches!(model, ModelUse::Recorded | ModelUse::RecordedOrLive);
    let call = turn.original.model_call.clone().filter(|_| recording);
    Ask { replayed: Some(Replayed { model, call }), ..turn.ask.clone() }
}

/// Whether a model was wanted and what it had said did not fit the prompt any more.
pub(super) fn missed(original: &TurnRecord, again: &TurnRecord) -> bool {
    let Some(call) = &original.model_call else { return false };
    match &again.model_call {
        Some(theirs) => theirs.prompt_digest != call.prompt_digest,
        None => wanted_a_model(again),
    }
}

fn wanted_a_model(record: &TurnRecord) -> bool {
    matches!(&record.outcome, Outcome::Answered { answer } if answer.degraded.iter().any(|what| what == "model"))
}
