//! `talkfleet dead`: messages that could not be processed, listed by cause, looked at, mended, asked again, dropped.

mod drop; // deleted for good
mod edit; // mended, checked as an ask before it is stored
mod list; // by cause, or one by one
mod redrive; // asked again, at a rate, until each has its outcome
mod show; // everything about one of them

/// PURE: what became of a redrive.
mod ended;

/// PURE: groups, lanes and what a body looks like to people.
mod group;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Result, bail};
use talkfleet_shared::{
    bus::{Bus, DeadHead},
    id::TenantId,
};

pub(crate) use self::edit::edited;
use self::group::Row;
use crate::connect::parse_tenant;

/// Digits of a fingerprint that must be given: fewer name too many causes by chance.
const FINGERPRINT_CHARS_MIN: usize = 4;

/// Each command's arguments say what it does.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    List(list::Args),
    Show(show::Args),
    Edit(edit::Args),
    Redrive(redrive::Args),
    Drop(drop::Args),
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List(args) => list::run(args).await,
        Command::Show(args) => show::run(args).await,
        Command::Edit(args) => edit::run(args).await,
        Command::Redrive(args) => redrive::run(args).await,
        Command::Drop(args) => drop::run(args).await,
    }
}

/// Which dead letters are meant.
#[derive(Debug, clap::Args)]
#[group(id = "which", required = true)]
struct Which {
    /// Their numbers, as `list` and `list --all` show them
    #[arg(value_name = "ID", conflicts_with_all = ["fingerprint", "all"])]
    ids: Vec<u64>,
    /// Those of one cause, by its fingerprint or how that begins
    #[arg(long, value_name = "F", value_parser = parse_fingerprint, conflicts_with = "all")]
    fingerprint: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
}

/// What a selection came to.
struct Chosen {
    rows: Vec<Row>,
    /// Numbers under which there is nothing (any more).
    gone: Vec<u64>,
}

impl Which {
    /// Whether many may be meant by few words.
    fn is_wide(&self) -> bool {
        self.ids.is_empty()
    }

    async fn choose(&self, bus: &Bus, tenant: Option<&TenantId>) -> Result<Chosen> {
        let mut chosen = Chosen { rows: Vec::new(), gone: Vec::new() };
        for id in &self.ids {
            match bus.dead_letter(*id).await?.filter(|dead| tenant.is_none() || dead.head.tenant.as_ref() == tenant) {
                Some(dead) => chosen.rows.push(row(&dead.head)),
                None => chosen.gone.push(*id),
            }
        }
        if self.is_wide() {
            let mut letters = bus.dead_letters(tenant).await?;
            while let Some(head) = letters.next().await? {
                let row = row(&head);
                if self.fingerprint.as_ref().is_none_or(|begin| row.fingerprint.starts_with(begin.as_str())) {
                    chosen.rows.push(row);
                }
            }
        }
        Ok(chosen)
    }
}

fn parse_fingerprint(text: &str) -> Result<String, String> {
    let plain = text.len() >= FINGERPRINT_CHARS_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let why = || format!("give at least {FINGERPRINT_CHARS_MIN} of the digits that `talkfleet dead list` shows");
    plain.then(|| text.to_ascii_lowercase()).ok_or_else(why)
}

/// The tenant whose letters are meant; without one, everybody's.
#[derive(Debug, clap::Args)]
struct Whose {
    /// Only this tenant's; `_` names those of which not even the tenant is known
    #[arg(long, value_parser = parse_tenant)]
    tenant: Option<TenantId>,
}

fn row(head: &DeadHead) -> Row {
    let stored = head.stored_at;
    let (hour, minute, second) = (stored.hour(), stored.minute(), stored.second());
    Row {
        id: head.sequence,
        tenant: head.tenant.as_ref().map_or("_", TenantId::as_str).to_owned(),
        stored_at_ms: (stored.unix_timestamp_nanos() / 1_000_000) as u64,
        stored_at: format!("{} {hour:02}:{minute:02}:{second:02}", stored.date()),
        fingerprint: head.fingerprint(),
        reason: group::printable(head.reason()),
        origin: head.origin().to_owned(),
        redrive_of: head.redrive_of(),
    }
}

/// Asks on a terminal; without one, only `--yes` will do.
fn confirmed(what: &str, yes: bool) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        bail!("{what} wants a word from you, and there is no terminal to ask at; give --yes");
    }
    eprint!("{what}? [y/N] ");
    std::io::stderr().flush()?;
    let mut said = String::new();
    std::io::stdin().read_line(&mut said)?;
    Ok(matches!(said.trim(), "y" | "Y" | "yes"))
}

/// Letters by their numbers, as the audit log tells of them.
fn numbers(rows: &[Row]) -> String {
    rows.iter().map(|row| row.id.to_string()).collect::<Vec<_>>().join(" ")
}

/// `1 dead letter`, `7 dead letters`.
fn letters(count: usize) -> String {
    format!("{count} dead letter{}", if count == 1 { "" } else { "s" })
}
