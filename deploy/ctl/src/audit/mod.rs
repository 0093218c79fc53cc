//! The audit log: a command that changes something notes it in one line, and `talkfleet audit` reads what was noted.

/// `talkfleet audit list`.
mod list;

/// PURE: entries before and after a deed, put together.
mod story;

/// Who sits at this terminal, as the machine knows them.
mod whence;

use std::{fmt::Display, process::ExitCode};

use anyhow::{Context, Result};
use talkfleet_shared::{
    audit::{AuditEntry, DeedState, audit_text},
    bus::BusError,
    id::TenantId,
};

use crate::connect::Connect;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    List(list::Args),
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List(args) => list::run(args).await,
    }
}

/// What an operator is about to change.
#[derive(Debug)]
pub(crate) struct Deed {
    action: &'static str,
    tenant: Option<TenantId>,
    on: String,
    makes_the_log: bool,
}

impl Deed {
    /// `area.verb`, such as `keys.revoke`.
    pub(crate) fn new(action: &'static str) -> Self {
        Self { action, tenant: None, on: String::new(), makes_the_log: false }
    }

    /// Whose data it is about.
    pub(crate) fn of(self, tenant: &TenantId) -> Self {
        Self { tenant: Some(tenant.clone()), ..self }
    }

    /// What it is about: ids, versions, counts. The log outlives what it tells of, so nothing that a customer said and
    /// nothing that tells who they are; of a person who is forgotten, a digest.
    pub(crate) fn on(self, what: impl Display) -> Self {
        Self { on: audit_text(&what.to_string()), ..self }
    }

    /// It may be what makes the log in the first place.
    pub(crate) fn that_makes_the_log(self) -> Self {
        Self { makes_the_log: true, ..self }
    }
}

/// Makes a change and notes it, before and after: what cannot be noted is not done.
pub(crate) async fn noted<T>(connect: &Connect, deed: Deed, change: impl Future<Output = Result<T>>) -> Result<T> {
    let bus = connect.bus().await?;
    let entry = entry_of(&deed, connect);
    match bus.write_audit(&entry).await {
        Err(BusError::Missing(_)) if deed.makes_the_log => {}
        begun => begun.context("nothing was changed, because it could not be noted in the audit log")?,
    }
    let done = change.await;
    let state = if done.is_ok() { DeedState::Done } else { DeedState::Failed };
    let told = bus.write_audit(&AuditEntry { state, ..entry }).await;
    // Of a failure the failure is told, whatever became of its note.
    let done = done?;
    told.context("it was done, but the audit log could not be told so")?;
    Ok(done)
}

fn entry_of(deed: &Deed, connect: &Connect) -> AuditEntry {
    let from = whence::here();
    AuditEntry {
        id: AuditEntry::new_id(),
        operator: connect.operator.clone().unwrap_or_else(|| from.account.clone()),
        from: from.to_string(),
        action: deed.action.to_owned(),
        tenant: deed.tenant.clone(),
        on: deed.on.clone(),
        state: DeedState::Begun,
        by: format!("talkfleet/{}", env!("CARGO_PKG_VERSION")),
    }
}
