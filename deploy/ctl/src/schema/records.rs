//! Examples of what buckets hold; a case that was released is never changed.

use anyhow::Result;
use talkfleet_shared::{
    forgotten::Tombstone,
    id::TenantId,
    keys::KeyRecord,
    owner::{Owner, OwnerRecord},
    release::{Rule, Share},
};
use talkfleet_worker::catalog::Pointer;

/// When each of them was made.
const AT_MS: u64 = 1_767_225_600_000;

pub(super) fn keys() -> Result<Vec<(&'static str, KeyRecord)>> {
    let full = KeyRecord { tenant: TenantId::parse("demo")?, name: "shop front".into(), created_at_ms: AT_MS };
    Ok(vec![("full", full)])
}

pub(super) fn owners() -> Vec<(&'static str, OwnerRecord)> {
    let human = OwnerRecord { owner: Owner::Human { name: "Ann".into() }, since_ms: AT_MS };
    vec![("bot", OwnerRecord { owner: Owner::Bot, ..human.clone() }), ("human", human)]
}

pub(super) fn tombstones() -> Result<Vec<(&'static str, Tombstone)>> {
    Ok(vec![("full", Tombstone { tenant: TenantId::parse("demo")?, at_ms: AT_MS })])
}

pub(super) fn rules() -> Result<Vec<(&'static str, Rule)>> {
    let trial = Rule { share: Share::parse("5%")?, version: "talkfleet/0.2.0".into(), set_at_ms: AT_MS };
    let whole = Rule { share: Share::ALL, ..trial.clone() };
    Ok(vec![("trial", trial), ("whole", whole)])
}

pub(super) fn pointers() -> Vec<(&'static str, Pointer)> {
    let version = "20260101T000000000Z";
    let intents = Pointer { version: version.into(), object: Some(format!("demo/{version}")) };
    vec![("knowledge", Pointer { object: None, ..intents.clone() }), ("intents", intents)]
}
