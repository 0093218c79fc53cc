//! What is told once everything is there: the ready file for programs, addresses and examples for people.

use std::{io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::{Context, Result};

use crate::connect::{Ready, default_data_dir};

/// Writes the ready file, whole or not at all, readable by its owner only: it holds passwords.
pub(super) fn write(file: &Path, ready: &Ready) -> Result<()> {
    write_secret(file, &format!("{}\n", serde_json::to_string_pretty(ready)?))
}

/// Writes a file that only its owner may read; a reader sees all of it or none.
pub(super) fn write_secret(file: &Path, text: &str) -> Result<()> {
    let failed = || format!("{} cannot be written", file.display());
    let aside = file.with_extension("part");
    let _ = std::fs::remove_file(&aside);
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.write(true).create_new(true).mode(0o600).open(&aside).with_context(failed)?;
    out.write_all(text.as_bytes()).with_context(failed)?;
    std::fs::rename(&aside, file).with_context(failed)
}

/// Where to go from here.
pub(super) fn text(ready: &Ready, data: &Path) -> String {
    let Ready { gateway, admin, nats, api_key, .. } = ready;
    let talkfleet = std::env::current_exe().map_or_else(|_| "talkfleet".into(), |path| path.display().to_string());
    let data_flag = if data == default_data_dir() { String::new() } else { format!(" --data {}", data.display()) };
    let question = r#"{"text":"Where is my parcel?"}"#;
    format!(
        "\nThe desk is open.

  chat page   {gateway}/
  API docs    {gateway}/docs
  metrics     {admin}/metrics   ready? {admin}/readyz
  data        {}

Ask over HTTP:
  curl -s {gateway}/v1/chat -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json' -d '{question}'

Ask over NATS:
  nats -s '{nats}' request chat.v1.chat.demo '{question}'

Ask from here:
  {talkfleet} ask{data_flag} \"How long does delivery take?\"

Ctrl-C finishes what is under way and stops everything.",
        data.display()
    )
}
