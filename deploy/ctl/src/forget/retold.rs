//! PURE: turns of others that tell what somebody said before them in the same conversation.

use talkfleet_shared::chat::TurnRecord;

use super::search::{Found, Item, Search};

/// Somebody else's record without what it tells of a conversation of theirs; None when it is theirs, or tells nothing.
///
/// A handover's summary quotes whoever spoke before, cut short, so that looking for whole messages would miss it.
pub(super) fn retelling(
    search: &Search,
    item: &Item<'_>,
    found: Found,
    read: impl FnOnce() -> Option<TurnRecord>,
) -> Option<TurnRecord> {
    if found == Found::Theirs || !search.shares(item) {
        return None;
    }
    let record = read().filter(|record| record.summary.is_some())?;
    Some(TurnRecord { summary: None, ..record })
}
