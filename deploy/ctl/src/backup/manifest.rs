//! What a backup consists of: its last file, without which it is none.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use talkfleet_shared::bus::StreamFacts;

/// The file's name.
const MANIFEST: &str = "manifest.json";

/// The shape of a backup; a later one is refused.
pub(super) const FORMAT: u32 = 1;

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// The build that made it.
    pub(super) talkfleet: String,
    pub(super) nats_server: String,
    pub(super) postgresql: String,
    /// Unix milliseconds by the broker's clock.
    pub(super) began_at_ms: u64,
    pub(super) ended_at_ms: u64,
    /// Tells whether receipts of forgotten customers belong to this desk.
    pub(super) salt: String,
    /// In the order in which they were taken.
    pub(super) streams: Vec<StreamFile>,
    pub(super) tables: Vec<TableFile>,
}

/// A stream, a bucket or an object store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StreamFile {
    pub(super) stream: String,
    #[serde(flatten)]
    pub(super) file: Piece,
    pub(super) messages: u64,
    pub(super) first_sequence: u64,
    pub(super) last_sequence: u64,
    pub(super) consumers: u64,
    pub(super) facts: StreamFacts,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TableFile {
    pub(super) table: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: u64,
    #[serde(flatten)]
    pub(super) file: Piece,
}

/// A file of the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    /// Below the backup's folder.
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Manifest {
    pub(super) fn bytes(&self) -> u64 {
        self.pieces().map(|piece| piece.bytes).sum()
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.streams.iter().map(|stream| &stream.file).chain(self.tables.iter().map(|table| &table.file))
    }

    /// Writes it, under its name only when it is whole.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let partial = folder.join(format!("{MANIFEST}.partial"));
        super::file::write_whole(&partial, &serde_json::to_vec_pretty(self)?)?;
        fs::rename(&partial, folder.join(MANIFEST)).context("the manifest cannot be named")
    }

    /// Reads it, and holds every file against it.
    pub(super) fn verified(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).with_context(|| {
            format!("{} cannot be read: this is no backup, or one that was not finished", path.display())
        })?;
        let manifest: Self = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        if manifest.format > FORMAT {
            bail!(
                "the backup has format {}, this build reads up to {FORMAT}; use talkfleet {}",
                manifest.format,
                manifest.talkfleet
            );
        }
        let wrong: Vec<String> = manifest.pieces().filter_map(|piece| piece.problem(folder)).collect();
        if !wrong.is_empty() {
            bail!("the backup is damaged: {}; nothing was touched, take another one", wrong.join("; "));
        }
        Ok(manifest)
    }
}

impl Piece {
    /// Where it lies; a manifest cannot lead out of its folder.
    pub(super) fn at(&self, folder: &Path) -> PathBuf {
        let name = |part: &str| !part.is_empty() && part != "." && part != "..";
        match self.path.split('/').all(name) {
            true => folder.join(&self.path),
            false => folder.join("(no file of this backup)"),
        }
    }

    fn problem(&self, folder: &Path) -> Option<String> {
        let found = digest(&self.at(folder));
        match found {
            Err(error) => Some(format!("{} cannot be read ({error})", self.path)),
            Ok((bytes, _)) if bytes != self.bytes => {
                Some(format!("{} has {bytes} bytes and should have {}", self.path, self.bytes))
            }
            Ok((_, sha256)) if sha256 != self.sha256 => Some(format!("{} is not what was written", self.path)),
            Ok(_) => None,
        }
    }
}

/// How long a file is, and its SHA-256 in hexadecimal.
fn digest(path: &Path) -> std::io::Result<(u64, String)> {
    let (mut file, mut hash, mut bytes) = (fs::File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, talkfleet_shared::hex::hex(&hash.finalize())));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}
