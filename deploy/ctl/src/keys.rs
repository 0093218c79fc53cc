//! `talkfleet keys`: create, revoke and list API keys; gateways follow within a second.

use std::{process::ExitCode, time::SystemTime};

use anyhow::{Result, bail};
use talkfleet_shared::{
    bus::Bus,
    id::TenantId,
    keys::{self, KeyRecord},
    topology,
};

use crate::{
    audit::{Deed, noted},
    connect::{Connect, Output, parse_tenant},
};

/// Characters of a key's hash by which it is named in lists.
const SHORT_CHARS: usize = 12;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create a key for a tenant; it is shown once and kept nowhere
    Create {
        /// The tenant that the key speaks for
        #[arg(value_parser = parse_tenant)]
        tenant: TenantId,
        /// What to call it
        #[arg(long, default_value = "unnamed")]
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Revoke a key, given itself or the id that `list` shows
    Revoke {
        key: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// List the keys: id, tenant, name, age; never the keys themselves
    List {
        #[command(flatten)]
        output: Output,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Create { tenant, name, output: Output { json, connect } } => {
            let key = keys::create(&mut rand::rng());
            let deed = Deed::new("keys.create").of(&tenant).on(format!("{} {name}", short(&keys::hash(&key))));
            let made = async { put(&connect.bus().await?, &key, tenant.clone(), &name).await };
            noted(&connect, deed, made).await?;
            match json {
                true => {
                    println!("{}", serde_json::json!({ "key": key, "id": short(&keys::hash(&key)), "tenant": tenant }))
                }
                false => println!(
                    "{key}\n\nKeep it now: it is not shown again. Revoke it with `talkfleet keys revoke {}`.",
                    short(&keys::hash(&key))
                ),
            }
        }
        Command::Revoke { key, connect } => {
            let bus = connect.bus().await?;
            let hash = find(&bus, &key).await?;
            let gone = async { Ok(bus.remove(topology::KEYS, &hash).await?) };
            noted(&connect, Deed::new("keys.revoke").on(short(&hash)), gone).await?;
            println!("revoked {}", short(&hash));
        }
        Command::List { output: Output { json, connect } } => list(&connect.bus().await?, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Stores a key's record; again for the same key is harmless.
pub(crate) async fn put(bus: &Bus, key: &str, tenant: TenantId, name: &str) -> Result<()> {
    let created_at_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis() as u64;
    let record = KeyRecord { tenant, name: name.to_owned(), created_at_ms };
    bus.put(topology::KEYS, &keys::hash(key), serde_json::to_vec(&record)?.into()).await?;
    Ok(())
}

async fn records(bus: &Bus) -> Result<Vec<(String, KeyRecord)>> {
    let entries = bus.entries(topology::KEYS).await?;
    let record = |value: &[u8]| serde_json::from_slice(value).ok();
    Ok(entries.into_iter().filter_map(|entry| Some((entry.key, record(&entry.value?)?))).collect())
}

async fn find(bus: &Bus, key: &str) -> Result<String> {
    let hash = if key.starts_with(keys::KEY_PREFIX) { keys::hash(key) } else { key.to_owned() };
    let found: Vec<String> =
        records(bus).await?.into_iter().map(|(id, _)| id).filter(|id| id.starts_with(&hash)).collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("there is no such key; `talkfleet keys list` shows the ids"),
        _ => bail!("several keys begin like this; give more of the id"),
    }
}

async fn list(bus: &Bus, json: bool) -> Result<()> {
    let mut records = records(bus).await?;
    records.sort_by_key(|(_, record)| record.created_at_ms);
    if json {
        let rows: Vec<_> = records.iter().map(|(id, r)| serde_json::json!({ "id": short(id), "tenant": r.tenant, "name": r.name, "created_at_ms": r.created_at_ms })).collect();
        println!("{}", serde_json::Value::from(rows));
        return Ok(());
    }
    println!("{:<14} {:<20} NAME", "ID", "TENANT");
    for (id, record) in records {
        println!("{:<14} {:<20} {}", short(&id), record.tenant, record.name);
    }
    Ok(())
}

fn short(hash: &str) -> &str {
    &hash[..SHORT_CHARS.min(hash.len())]
}
