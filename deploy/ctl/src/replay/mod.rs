//! `talkfleet replay`: recorded traffic against another fleet, and what it answers differently.

use talkfleet_shared::chat::TurnRecord;

/// What differs between the sides, as a page, as JSON and as a verdict.
pub mod report;

/// One recorded turn with what the baseline answered twice and the candidate once.
#[derive(Debug, Clone)]
pub struct Triple {
    pub original: TurnRecord,
    pub baseline_a: Option<TurnRecord>,
    pub baseline_b: Option<TurnRecord>,
    pub candidate: Option<TurnRecord>,
}
