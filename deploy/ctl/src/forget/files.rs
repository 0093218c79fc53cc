//! What lies in folders on disk, such as those of replays: named, and left to whoever owns them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};

use super::{
    place::Place,
    search::{Found, Item, Search},
};

/// Looks through the files below a folder.
pub(super) fn look(folder: &Path, search: &mut Search) -> Result<Place> {
    let (began, mut place) = (Instant::now(), Place::new(folder.display().to_string()));
    let tenant = search.tenant().cloned();
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        place.looked_at += 1;
        // In JSON a text is as it was said but for quotes and line breaks.
        let item = Item { tenant: tenant.as_ref(), raw: &[&bytes], ..Item::default() };
        if search.judge(&item) != Found::Anothers {
            place.mention(file.display().to_string());
        }
    }
    Ok(place.took(began.elapsed()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let listed = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    for entry in listed {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}
