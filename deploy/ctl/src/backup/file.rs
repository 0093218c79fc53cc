//! Files of a backup: the operator's alone, on the disk when they are done, and weighed while they are written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use anyhow::{Context, Result, bail};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use sha2::{Digest, Sha256};
use talkfleet_shared::{bus::CHUNK_BYTES, hex::hex};

use super::manifest::Piece;

/// Makes the folder, which must hold nothing yet.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("{} cannot be made", folder.display()))?;
    if fs::read_dir(folder)?.next().is_some() {
        bail!("{} is not empty; name a new folder for each backup", folder.display());
    }
    fs::DirBuilder::new().mode(0o700).create(folder.join("streams"))?;
    fs::DirBuilder::new().mode(0o700).create(folder.join("tables"))?;
    Ok(())
}

pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

fn create(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.with_context(|| format!("{} cannot be written", path.display()))
}

/// A file that is being written.
pub(super) struct Written<W> {
    into: W,
    path: String,
}

/// What counts and digests on the way to the disk.
pub(super) struct Weighed {
    file: io::BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Write for Weighed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Weighed {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self { file: io::BufWriter::new(create(path)?), hash: Sha256::new(), bytes: 0 })
    }

    fn done(mut self, path: String) -> Result<Piece> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(Piece { path, bytes: self.bytes, sha256: hex(&self.hash.finalize()) })
    }
}

impl Written<Weighed> {
    /// As it comes: the broker compresses by itself.
    pub(super) fn plain(folder: &Path, path: String) -> Result<Self> {
        Ok(Self { into: Weighed::open(&folder.join(&path))?, path })
    }

    pub(super) fn done(self) -> Result<Piece> {
        self.into.done(self.path)
    }
}

impl Written<GzEncoder<Weighed>> {
    /// Compressed, as fast as that goes.
    pub(super) fn compressed(folder: &Path, path: String) -> Result<Self> {
        Ok(Self { into: GzEncoder::new(Weighed::open(&folder.join(&path))?, Compression::fast()), path })
    }

    pub(super) fn done(self) -> Result<Piece> {
        self.into.finish()?.done(self.path)
    }
}

impl<W: Write> Written<W> {
    pub(super) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.into.write_all(bytes)
    }
}

/// Reads a file piece by piece.
pub(super) fn plain(path: &Path) -> io::Result<impl FnMut() -> io::Result<Option<Vec<u8>>> + use<>> {
    Ok(pieces(File::open(path)?))
}

/// The same, decompressed.
pub(super) fn decompressed(path: &Path) -> io::Result<impl FnMut() -> io::Result<Option<Vec<u8>>> + use<>> {
    Ok(pieces(GzDecoder::new(io::BufReader::new(File::open(path)?))))
}

fn pieces<R: Read>(mut from: R) -> impl FnMut() -> io::Result<Option<Vec<u8>>> + use<R> {
    move || {
        let mut piece = vec![0; CHUNK_BYTES];
        let mut filled = 0;
        while filled < piece.len() {
            match from.read(&mut piece[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        piece.truncate(filled);
        Ok((filled > 0).then_some(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_its_weight_is_that_of_the_file() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("b");
        make_folder(&folder).unwrap();
        assert!(make_folder(&folder).is_err(), "a backup is not written over another");
        let text = vec![7_u8; CHUNK_BYTES * 2 + 5];
        let mut file = Written::compressed(&folder, "tables/t".into()).unwrap();
        file.add(&text).unwrap();
        let piece = file.done().unwrap();
        let path = piece.at(&folder);
        assert_eq!(fs::metadata(&path).unwrap().len(), piece.bytes);
        let mut next = decompressed(&path).unwrap();
        let mut back = Vec::new();
        while let Some(piece) = next().unwrap() {
            assert!(piece.len() <= CHUNK_BYTES);
            back.extend(piece);
        }
        assert_eq!(back, text);
        let outside = Piece { path: "../t".into(), ..piece };
        assert!(outside.at(&folder).starts_with(&folder) && !outside.at(&folder).exists());
    }
}
