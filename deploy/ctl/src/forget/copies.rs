//! What lies in Redis: memories and copies by conversation, notes of requests, limits of users.

use std::time::Instant;

use anyhow::{Context, Result};
use talkfleet_shared::id::{ConversationId, TenantId};
use talkfleet_worker::copies::{Copies, Copy, Cursor, Kind};

use super::{
    place::Place,
    search::{Found, Item, Search},
};

/// What of a key is theirs.
enum Part {
    Nothing,
    Whole,
    Members(Vec<Vec<u8>>),
}

/// Looks through Redis. In the `first` look that erases, every copy of an answer goes: nobody can tell whose question made
/// it, and it costs a call of the model to make it again.
pub(super) async fn look(servers: &[Copies], search: &mut Search, erase: bool, first: bool) -> Result<Place> {
    let (began, mut place) = (Instant::now(), Place::new("Redis"));
    for copies in servers {
        look_at(copies, search, (erase, first), &mut place).await?;
    }
    Ok(place.took(began.elapsed()))
}

async fn look_at(copies: &Copies, search: &mut Search, (erase, first): (bool, bool), place: &mut Place) -> Result<()> {
    let mut at = Some(Cursor::default());
    while let Some(from) = at {
        let (some, next) = copies.step(from).await.context("Redis cannot be looked through")?;
        at = next;
        for copy in some {
            place.looked_at += 1;
            let part = part(search, &copy, first);
            match &part {
                Part::Nothing => continue,
                Part::Whole => place.theirs += 1,
                Part::Members(members) => place.theirs += members.len() as u64,
            }
            if erase {
                place.erased += match part {
                    Part::Nothing => 0,
                    Part::Whole => copies.erase(&[copy.key]).await?,
                    Part::Members(members) => copies.erase_members(&copy.key, &members).await?,
                };
            }
        }
    }
    Ok(())
}

fn part(search: &mut Search, copy: &Copy, first: bool) -> Part {
    let tenant = &copy.name.tenant;
    if !search.concerns(tenant) {
        return Part::Nothing;
    }
    let whole = |theirs| if theirs { Part::Whole } else { Part::Nothing };
    match &copy.name.kind {
        Kind::Memory(conversation) => {
            let members = theirs_of_memory(search, tenant, conversation, copy);
            if members.is_empty() { Part::Nothing } else { Part::Members(members) }
        }
        Kind::History(conversation) => {
            let turns = copy.turns();
            // Every turn is looked at, since each teaches.
            let judged = turns.iter().map(|turn| {
                let item = Item {
                    tenant: Some(tenant),
                    user: turn.user.as_ref(),
                    conversation: Some(conversation),
                    request: Some(&turn.id),
                    at_ms: turn.asked_at_ms,
                    text: Some(&turn.question),
                    raw: &[],
                };
                search.judge(&item) == Found::Theirs
            });
            whole(judged.fold(false, |any, theirs| any | theirs))
        }
        Kind::Limit(user) => {
            let item = Item { tenant: Some(tenant), user: Some(user), ..Item::default() };
            // Who comes again is counted again; that is no trace of what was.
            whole(first && search.judge(&item) == Found::Theirs)
        }
        Kind::Answer if first => Part::Whole,
        Kind::Answer | Kind::Other => {
            let raw: Vec<&[u8]> =
                [copy.key.as_bytes()].into_iter().chain(copy.values.iter().map(Vec::as_slice)).collect();
            whole(search.judge(&Item { tenant: Some(tenant), raw: &raw, ..Item::default() }) != Found::Anothers)
        }
    }
}

fn theirs_of_memory(
    search: &mut Search,
    tenant: &TenantId,
    conversation: &ConversationId,
    copy: &Copy,
) -> Vec<Vec<u8>> {
    let mut theirs = Vec::new();
    for (member, kept) in copy.exchanges() {
        let item = Item {
            tenant: Some(tenant),
            user: kept.user.as_ref(),
            conversation: Some(conversation),
            request: Some(&kept.request),
            at_ms: kept.request.made_at_ms().unwrap_or_default(),
            text: Some(&kept.question),
            raw: &[],
        };
        if search.judge(&item) == Found::Theirs {
            theirs.push(member.to_vec());
        }
    }
    theirs
}
