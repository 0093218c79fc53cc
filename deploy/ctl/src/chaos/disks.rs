//! Disks of our own under the nats-servers: small ones that can be filled, and ones that forget what was not synced.
//!
//! A loss of power is what the backing file of a loop device looks like at that moment: what a program wrote and did not
//! sync lies in the page cache of the file system on it, not in the file. The file is copied, and the copy is mounted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::fault::Disks;

/// Room on a small disk: the streams of a scenario and some more.
const SMALL_MB: u64 = 192;

/// Room on a disk that forgets.
const LOSABLE_MB: u64 = 512;

/// The folders as they are.
pub(super) struct Plain;

impl Disks for Plain {
    fn folders(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn lose_what_was_not_synced(&self, _: &dyn Fn()) -> Result<()> {
        bail!("these disks lose nothing; the scenario needs disks of its own")
    }
}

/// Mounted disks; unmounted when dropped.
pub(super) struct Mounted {
    disks: Vec<Disk>,
}

struct Disk {
    folder: PathBuf,
    /// None for memory.
    image: Option<PathBuf>,
}

impl Mounted {
    /// A disk in memory over each folder.
    pub(super) fn small(folders: &[PathBuf]) -> Result<Self> {
        let mut mounted = Self { disks: Vec::new() };
        for folder in folders {
            let size = format!("size={SMALL_MB}m");
            run("mount", &["-t", "tmpfs", "-o", &size, "talkfleet-chaos", &text(folder)])?;
            mounted.disks.push(Disk { folder: folder.clone(), image: None });
        }
        Ok(mounted)
    }

    /// A file system in a file over each folder.
    pub(super) fn losable(folders: &[PathBuf], images: &Path) -> Result<Self> {
        let mut mounted = Self { disks: Vec::new() };
        for (number, folder) in folders.iter().enumerate() {
            let image = images.join(format!("disk-{number}.img"));
            fs::File::create(&image)?.set_len(LOSABLE_MB << 20)?;
            run("mkfs.ext4", &["-q", "-F", &text(&image)])?;
            run("mount", &["-o", "loop", &text(&image), &text(folder)])?;
            mounted.disks.push(Disk { folder: folder.clone(), image: Some(image) });
        }
        Ok(mounted)
    }
}

impl Disks for Mounted {
    fn folders(&self) -> Vec<PathBuf> {
        self.disks.iter().map(|disk| disk.folder.clone()).collect()
    }

    fn lose_what_was_not_synced(&self, stop: &dyn Fn()) -> Result<()> {
        let images = || self.disks.iter().filter_map(|disk| Some((disk, disk.image.as_ref()?)));
        for (_, image) in images() {
            fs::copy(image, image.with_extension("cut"))?;
        }
        stop();
        for (disk, image) in images() {
            // The server's configuration stays: it was written before the run, and a new one would change its name.
            run("umount", &["-l", &text(&disk.folder)])?;
            fs::rename(image.with_extension("cut"), image)?;
            run("mount", &["-o", "loop", &text(image), &text(&disk.folder)])?;
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for disk in &self.disks {
            let _ = run("umount", &["-l", &text(&disk.folder)]);
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let out = Command::new(program).args(args).output().with_context(|| format!("{program} cannot be run"))?;
    if !out.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
