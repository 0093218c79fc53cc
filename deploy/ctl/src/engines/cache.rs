//! The folder of unpacked packages: an entry is whole or absent, whoever is killed while it is made.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use talkfleet_shared::hex::hex;

use super::error::EngineError;
use super::packages::Package;

const WORKSHOP: &str = ".making-";
const MANIFEST: &str = "manifest.json";
/// How often a second process looks whether the first has done the fetching.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// So much of the checksum as keeps two files of one version apart in a folder's name.
const CHECKSUM_IN_NAME_CHARS: usize = 12;

#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
}

/// Written last, and so also the proof that an entry was finished.
#[derive(Serialize, Deserialize)]
struct Manifest {
    sha256: String,
    file_bytes: BTreeMap<String, u64>,
}

impl Cache {
    pub(super) fn new(root: &Path) -> Cache {
        Cache { root: root.to_path_buf() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the useful part of a package lies, once it is whole.
    pub(super) fn home(&self, package: &Package) -> PathBuf {
        self.entry(package).join(&package.wheel.home)
    }

    /// Compares every file's size with the manifest: what was cut short or cleaned away by a stranger is fetched again.
    pub(super) fn is_whole(&self, package: &Package) -> bool {
        let entry = self.entry(package);
        let manifest = fs::read(entry.join(MANIFEST)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        manifest.is_some_and(|manifest: Manifest| {
            let as_noted = |(file, bytes): (&String, &u64)| {
                fs::metadata(entry.join(file)).is_ok_and(|found| found.is_file() && found.len() == *bytes)
            };
            manifest.sha256 == package.wheel.sha256 && manifest.file_bytes.iter().all(as_noted)
        })
    }

    /// One process at a time adds to the cache. The lock ends with the returned file, or with the process.
    pub(super) async fn lock(&self) -> Result<File, EngineError> {
        create_public_dir(&self.root).map_err(EngineError::folder(&self.root))?;
        let path = self.root.join("lock");
        let file = File::options().create(true).append(true).open(&path).map_err(EngineError::folder(&path))?;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    self.sweep();
                    return Ok(file);
                }
                Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
                Err(fs::TryLockError::Error(source)) => return Err(EngineError::Folder { path, source }),
            }
        }
    }

    /// A private folder on the cache's own disk, so that what is made in it can be renamed into place.
    pub(super) fn workshop(&self) -> Result<tempfile::TempDir, EngineError> {
        tempfile::Builder::new().prefix(WORKSHOP).tempdir_in(&self.root).map_err(EngineError::folder(&self.root))
    }

    /// Checks a downloaded wheel, unpacks it beside its place and moves it there.
    pub(super) fn install(&self, package: &Package, wheel: &Path) -> Result<(), EngineError> {
        let found = sha256_of(wheel).map_err(EngineError::folder(wheel))?;
        if found != package.wheel.sha256 {
            let expected = package.wheel.sha256.clone();
            return Err(EngineError::Checksum { package: package.wheel.file.clone(), expected, found });
        }
        let workshop = self.workshop()?;
        let made = workshop.path().join("entry");
        let file_bytes =
            unpack(wheel, &package.wheel.take, &made).map_err(|fault| self.unpack_error(package, &fault))?;
        self.settle(package, workshop.path(), &made, file_bytes)
    }

    /// Gives another cache's whole entry a second place, by hard links where the disk allows it.
    pub(super) fn adopt(&self, package: &Package, from: &Cache) -> Result<(), EngineError> {
        let source = from.entry(package);
        let text = fs::read(source.join(MANIFEST)).map_err(EngineError::folder(&source))?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|fault| EngineError::folder(&source)(fault.into()))?;
        let workshop = self.workshop()?;
        let made = workshop.path().join("entry");
        for file in manifest.file_bytes.keys() {
            let (old, new) = (source.join(file), made.join(file));
            let linked = create_parents(&made, file).and_then(|()| fs::hard_link(&old, &new));
            linked.or_else(|_| fs::copy(&old, &new).map(drop)).map_err(EngineError::folder(&new))?;
        }
        self.settle(package, workshop.path(), &made, manifest.file_bytes)
    }

    fn settle(
        &self,
        package: &Package,
        workshop: &Path,
        made: &Path,
        file_bytes: BTreeMap<String, u64>,
    ) -> Result<(), EngineError> {
        let entry = self.entry(package);
        let manifest = Manifest { sha256: package.wheel.sha256.clone(), file_bytes };
        let settle = || {
            fs::write(made.join(MANIFEST), serde_json::to_vec(&manifest)?)?;
            if entry.exists() {
                fs::rename(&entry, workshop.join("broken"))?;
            }
            fs::rename(made, &entry)
        };
        settle().map_err(EngineError::folder(&entry))
    }

    /// Whoever holds the lock is alone, so every workshop still there belongs to somebody who was killed.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(WORKSHOP) {
                // What cannot be removed takes room and harms nothing.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn entry(&self, package: &Package) -> PathBuf {
        let Package { package, version, wheel, .. } = package;
        let checksum = wheel.sha256.get(..CHECKSUM_IN_NAME_CHARS).unwrap_or(&wheel.sha256);
        self.root.join(format!("{package}-{version}-{checksum}"))
    }

    fn unpack_error(&self, package: &Package, fault: &io::Error) -> EngineError {
        if fault.kind() == io::ErrorKind::StorageFull {
            return EngineError::DiskFull { folder: self.root.clone(), needed_bytes: package.wheel.bytes * 3 };
        }
        let (reason, install) = (fault.to_string(), package.install().to_owned());
        EngineError::Package { package: package.wheel.file.clone(), reason, install }
    }
}

/// Everyone may read and walk it: PostgreSQL runs as an unprivileged id when we are root.
pub(super) fn create_public_dir(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

fn sha256_of(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher)?;
    Ok(hex(&hasher.finalize()))
}

fn unpack(wheel: &Path, take: &[String], into: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?)?;
    let mut file_bytes = BTreeMap::new();
    create_public_dir(into)?;
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        let name = file.name()?.into_owned();
        if !file.is_file() || !take.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if file.enclosed_name().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds a path that leads out of it"));
        }
        create_parents(into, &name)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // Wheels do not always keep the executable bit, so the content decides.
        let runs = bytes.starts_with(b"\x7fELF") || bytes.starts_with(b"#!");
        let path = into.join(&name);
        let mut place = File::create_new(&path)?;
        place.write_all(&bytes)?;
        place.set_permissions(fs::Permissions::from_mode(if runs { 0o755 } else { 0o644 }))?;
        file_bytes.insert(name, bytes.len() as u64);
    }
    match file_bytes.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, "nothing of what is needed is in it")),
        false => Ok(file_bytes),
    }
}

fn create_parents(root: &Path, file: &str) -> io::Result<()> {
    let mut folder = root.to_path_buf();
    create_public_dir(&folder)?;
    for part in Path::new(file).parent().into_iter().flat_map(Path::components) {
        folder.push(part);
        create_public_dir(&folder)?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::packages::Wheel;
    use super::*;

    /// A wheel made on the spot, and the package that pins it.
    pub(in super::super) fn wheel(folder: &Path, files: &[(&str, &[u8])]) -> (PathBuf, Package) {
        let path = folder.join("tool-1.0-py3-none-any.whl");
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap();
        let wheel = Wheel {
            file: "tool-1.0-py3-none-any.whl".into(),
            sha256: sha256_of(&path).unwrap(),
            bytes: fs::metadata(&path).unwrap().len(),
            take: vec!["tool/".into()],
            home: "tool/bin".into(),
        };
        let text = |text: &str| text.to_owned();
        let (title, gives, licence, install) = (text("tool"), text("a tool"), text("MIT"), Some(text("the tool")));
        (
            path,
            Package { title, package: text("tool"), version: text("1.0"), gives, licence, install, major: None, wheel },
        )
    }

    const FILES: &[(&str, &[u8])] =
        &[("tool/bin/run", b"#!/bin/sh\n"), ("tool/share/words", b"words"), ("other/file", b"not taken")];

    #[test]
    fn a_wheel_is_unpacked_as_far_as_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, package) = wheel(folder.path(), FILES);
        let cache = Cache::new(folder.path());
        assert!(!cache.is_whole(&package));
        cache.install(&package, &file).unwrap();
        assert!(cache.is_whole(&package));
        let mode = |file: &str| fs::metadata(cache.entry(&package).join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("tool/bin/run"), mode("tool/share/words"), mode("tool/bin")), (0o755, 0o644, 0o755));
        assert!(!cache.entry(&package).join("other").exists());
        assert!(cache.home(&package).join("run").is_file());
    }

    #[test]
    fn a_file_that_is_not_the_pinned_one_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (file, package) = wheel(folder.path(), FILES);
        fs::write(&file, b"something else").unwrap();
        let cache = Cache::new(folder.path());
        let fault = cache.install(&package, &file).unwrap_err();
        assert!(matches!(fault, EngineError::Checksum { .. }), "{fault}");
        assert!(!cache.entry(&package).exists());
    }

    #[track_caller]
    fn check_is_mended(harm: impl Fn(&Path)) {
        let folder = tempfile::tempdir().unwrap();
        let (file, package) = wheel(folder.path(), FILES);
        let cache = Cache::new(folder.path());
        cache.install(&package, &file).unwrap();
        harm(&cache.entry(&package));
        assert!(!cache.is_whole(&package));
        cache.install(&package, &file).unwrap();
        assert!(cache.is_whole(&package));
    }

    #[test]
    fn a_broken_entry_is_seen_and_made_again() {
        check_is_mended(|entry| fs::remove_file(entry.join("tool/share/words")).unwrap());
        check_is_mended(|entry| fs::write(entry.join("tool/bin/run"), b"#!").unwrap());
        check_is_mended(|entry| fs::remove_file(entry.join(MANIFEST)).unwrap());
        check_is_mended(|entry| fs::write(entry.join(MANIFEST), b"{\"sha2").unwrap());
    }

    #[test]
    fn a_wheel_that_reaches_out_of_its_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, package) = wheel(folder.path(), &[("tool/../../outside", b"x")]);
        let cache = Cache::new(folder.path());
        assert!(cache.install(&package, &file).is_err());
        assert!(!folder.path().join("outside").exists());
    }

    #[test]
    fn a_second_place_takes_over_a_whole_entry() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (file, package) = wheel(first.path(), FILES);
        Cache::new(first.path()).install(&package, &file).unwrap();
        let other = Cache::new(second.path());
        other.adopt(&package, &Cache::new(first.path())).unwrap();
        assert!(other.is_whole(&package));
    }
}
