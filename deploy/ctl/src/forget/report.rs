//! What was forgotten where, and what a last look found: for people, for scripts, and as a receipt that names nobody.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use talkfleet_shared::forgotten::Tombstone;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{place::Place, search::Search};

/// Digits of a mark by which people name it.
const SHORT_CHARS: usize = 12;

/// What no look of ours reaches, for whoever answers the customer.
const ELSEWHERE: &str = "Not looked at: backups (a restore applies the list of the forgotten), logs and the audit log (ids, never \
                         words), and what a model's provider keeps.";

/// What was done, and what the last look came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(super) what: &'static str,
    /// The entry of the list, and the fingerprint of the salt under which it is one; None for the whole list.
    pub(super) mark: Option<(String, Tombstone, String)>,
    pub(super) places: Vec<Place>,
    pub(super) files: Vec<Place>,
    pub(super) looks: usize,
    pub(super) conversations: usize,
    pub(super) requests: usize,
    /// Their messages, and those of them that nobody else has said.
    pub(super) texts: (usize, usize),
    pub(super) took: Duration,
}

impl Report {
    pub(super) fn of(search: &Search, places: Vec<Place>, looks: usize, files: Vec<Place>) -> Self {
        Self {
            what: "list",
            places,
            files,
            looks,
            conversations: search.conversations().len(),
            requests: search.requests().len(),
            texts: search.texts(),
            ..Self::default()
        }
    }

    /// Whether the last look found nothing of theirs.
    pub(crate) fn is_clean(&self) -> bool {
        self.places.iter().all(Place::is_clean)
    }

    /// How many things were erased.
    pub(crate) fn erased(&self) -> u64 {
        self.places.iter().map(|place| place.erased).sum()
    }

    /// What may be kept for ever; None where nobody new was forgotten.
    pub(super) fn receipt(&self) -> Option<Receipt> {
        let (mark, tombstone, salt) = self.mark.clone()?;
        let places = self.places.iter().map(|place| {
            let Place { name, looked_at, theirs, erased, retold, mentions, .. } = place.clone();
            Place { name, looked_at, theirs, erased, retold, mentions, ..Place::default() }
        });
        Some(Receipt {
            talkfleet: env!("CARGO_PKG_VERSION").into(),
            what: self.what.into(),
            mark,
            tombstone,
            salt,
            looks: self.looks,
            clean: self.is_clean(),
            places: places.map(|place| json!(place)).collect(),
        })
    }

    pub(super) fn json(&self, receipt: Option<&Path>) -> Value {
        json!({
            "what": self.what,
            "mark": self.mark.as_ref().map(|(mark, ..)| mark),
            "until_ms": self.mark.as_ref().map(|(_, tombstone, _)| tombstone.at_ms),
            "clean": self.is_clean(),
            "looks": self.looks,
            "conversations": self.conversations,
            "requests": self.requests,
            "texts": self.texts.0,
            "texts_told_apart": self.texts.1,
            "places": self.places,
            "files": self.files,
            "receipt": receipt,
            "took_ms": self.took.as_millis() as u64,
        })
    }

    pub(super) fn lines(&self, receipt: Option<&Path>) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<24} {:>10} {:>8} {:>8} {:>8} {:>9} {:>10}",
            "PLACE", "LOOKED AT", "ERASED", "THEIRS", "RETOLD", "MENTIONS", "A SECOND"
        )];
        for place in self.places.iter().chain(&self.files) {
            let Place { name, looked_at, theirs, erased, retold, mentions, per_s, .. } = place;
            lines.push(format!(
                "{name:<24} {looked_at:>10} {erased:>8} {theirs:>8} {retold:>8} {mentions:>9} {per_s:>10}"
            ));
        }
        for place in self.places.iter().chain(&self.files).filter(|place| !place.mentioned_at.is_empty()) {
            lines.push(format!("{} names or quotes them at {}", place.name, place.mentioned_at.join(", ")));
        }
        lines.push(String::new());
        lines.push(self.sentence());
        lines.extend(receipt.map(|path| format!("The receipt, which names nobody: {}", path.display())));
        lines.push(ELSEWHERE.into());
        lines
    }

    fn sentence(&self) -> String {
        let known = format!(
            "{} conversations, {} requests, {} messages ({} that nobody else has said)",
            self.conversations, self.requests, self.texts.0, self.texts.1
        );
        let seconds = self.took.as_secs_f64();
        let Some((mark, tombstone, _)) = &self.mark else {
            return format!("{known}; {} looks, {seconds:.1} s", self.looks);
        };
        let short = &mark[..SHORT_CHARS.min(mark.len())];
        let until = OffsetDateTime::from_unix_timestamp_nanos(i128::from(tombstone.at_ms) * 1_000_000);
        let until = until.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default();
        let found = match self.is_clean() {
            true => "the last look found nothing of theirs",
            false => "the last look FOUND SOMETHING: see above, mend it and forget again",
        };
        format!(
            "Forgotten: {} {short} of {}, all that was asked until {until}.\n{known}; {} looks, {seconds:.1} s; {found}.",
            self.what, tombstone.tenant, self.looks
        )
    }
}

/// What is kept of a forgetting: enough to do it again to a backup, and nothing of whom it was about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) talkfleet: String,
    pub(crate) what: String,
    pub(crate) mark: String,
    #[serde(flatten)]
    pub(crate) tombstone: Tombstone,
    /// The fingerprint of the salt under which the mark was made.
    pub(crate) salt: String,
    looks: usize,
    clean: bool,
    places: Vec<Value>,
}

impl Receipt {
    /// Writes it into a folder that is the operator's alone.
    pub(super) fn keep(&self, folder: &Path) -> Result<PathBuf> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path =
            folder.join(format!("{}-{}.json", self.tombstone.at_ms, &self.mark[..SHORT_CHARS.min(self.mark.len())]));
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        Ok(path)
    }
}

/// Every receipt of a folder.
pub(crate) fn read_receipts(folder: &Path) -> Result<Vec<Receipt>> {
    let mut receipts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read_to_string(&path)?;
            receipts.push(serde_json::from_str(&text).with_context(|| format!("{} is no receipt", path.display()))?);
        }
    }
    Ok(receipts)
}
