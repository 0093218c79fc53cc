//! Which files of a folder are read: regular ones, in order; links, devices and the like are named and left alone.

use std::{
    borrow::Cow,
    fs::{self, File, FileType},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{FILE_BYTES_MAX, FILES_MAX, FOLDER_DEPTH_MAX, Skipped, shown};

/// What was named to be added: a folder, or one file.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    /// Where it lies, by which a later addition knows it again.
    pub root: String,
    pub files: Vec<FoundFile>,
    pub skipped: Vec<Skipped>,
    /// Whether every file of it was seen: only then is one that is missing a removed one.
    pub complete: bool,
}

/// A file to be read.
#[derive(Debug, Clone)]
pub struct FoundFile {
    /// Its path below the root, with `/` between folders.
    pub path: String,
    pub content: Content,
}

/// Where a file's bytes are.
#[derive(Debug, Clone)]
pub enum Content {
    Disk(PathBuf),
    /// It travels within the program.
    Embedded(&'static [u8]),
}

impl Folder {
    /// Finds the files of a folder, or the one file that a path names.
    pub fn open(path: &Path) -> io::Result<Self> {
        // What the operator typed may be a link; nothing below it may.
        let root = path.canonicalize()?;
        let mut folder = Self { root: root.to_string_lossy().into_owned(), complete: true, ..Self::default() };
        let kind = root.metadata()?.file_type();
        if kind.is_dir() {
            folder.walk(&root);
            folder.files.sort_by(|a, b| a.path.cmp(&b.path));
        } else {
            let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
            folder.take(name, root, kind);
            folder.complete = false;
        }
        Ok(folder)
    }

    fn walk(&mut self, root: &Path) {
        let mut waiting = vec![(root.to_owned(), String::new(), 0)];
        while let Some((folder, below, depth)) = waiting.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    self.incomplete(&below, &format!("the folder cannot be opened ({error})"));
                    continue;
                }
            };
            for entry in entries.filter_map(Result::ok) {
                let name = entry.file_name().to_string_lossy().into_owned();
                // `.git`, editors' backups and the like are nobody's knowledge.
                if name.starts_with('.') {
                    continue;
                }
                let path = if below.is_empty() { name } else { format!("{below}/{name}") };
                if self.files.len() + self.skipped.len() >= FILES_MAX {
                    return self.incomplete(
                        &path,
                        &format!("the folder holds more than {FILES_MAX} files; add its parts one by one"),
                    );
                }
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && depth < FOLDER_DEPTH_MAX => {
                        waiting.push((entry.path(), path, depth + 1))
                    }
                    Ok(kind) if kind.is_dir() => {
                        self.incomplete(&path, &format!("it lies more than {FOLDER_DEPTH_MAX} folders deep"));
                    }
                    Ok(kind) => self.take(path, entry.path(), kind),
                    Err(error) => self.incomplete(&path, &format!("it cannot be looked at ({error})")),
                }
            }
        }
    }

    fn take(&mut self, path: String, file: PathBuf, kind: FileType) {
        match unfit(kind) {
            None => self.files.push(FoundFile { path, content: Content::Disk(file) }),
            Some(why) => self.skipped.push(Skipped { file: shown(&path), why: why.into() }),
        }
    }

    fn incomplete(&mut self, path: &str, why: &str) {
        self.complete = false;
        self.skipped.push(Skipped { file: shown(path), why: why.into() });
    }
}

fn unfit(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_symlink() {
        Some("it is a link, and links are not followed")
    } else if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        Some("it is a device, a pipe or a socket")
    } else {
        Some("it is no regular file")
    }
}

impl FoundFile {
    /// The file's bytes, at most [`FILE_BYTES_MAX`] of them.
    pub(super) fn bytes(&self) -> Result<Cow<'static, [u8]>, String> {
        let path = match &self.content {
            Content::Embedded(bytes) => return Ok(Cow::Borrowed(bytes)),
            Content::Disk(path) => path,
        };
        let unreadable = |error: io::Error| format!("it cannot be read ({error})");
        // Between looking and opening it may have become a link or a pipe: neither is followed, neither is waited for.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = File::options().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        if let Some(why) = unfit(about.file_type()) {
            return Err(why.into());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(about.len().min(FILE_BYTES_MAX)).unwrap_or_default());
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("it is larger than {} MiB; split it", FILE_BYTES_MAX >> 20));
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    #[test]
    fn only_regular_files_are_taken() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir_all(at("en")).unwrap();
        fs::write(at("en/b.md"), "b").unwrap();
        fs::write(at("a.md"), "a").unwrap();
        fs::write(at("line\nbreak.md"), "x").unwrap();
        fs::write(at(".hidden.md"), "x").unwrap();
        symlink("/etc/passwd", at("link.md")).unwrap();
        symlink(home.path(), at("loop")).unwrap();
        let _socket = UnixListener::bind(at("socket.md")).unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let paths: Vec<_> = folder.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["a.md", "en/b.md", "line\nbreak.md"]);
        let mut skipped: Vec<_> = folder.skipped.iter().map(|one| one.file.as_str()).collect();
        skipped.sort_unstable();
        assert_eq!(skipped, ["link.md", "loop", "socket.md"]);
        assert!(folder.complete);
    }

    #[test]
    fn a_file_is_bounded_and_never_a_link() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("big.txt");
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let file = |path: &Path| FoundFile { path: "x".into(), content: Content::Disk(path.to_owned()) };
        assert!(file(&path).bytes().unwrap_err().contains("20 MiB"));
        let link = home.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(file(&link).bytes().unwrap_err().contains("cannot be read"));
        assert!(file(Path::new("/dev/zero")).bytes().unwrap_err().contains("device"));
        assert!(Folder::open(&home.path().join("none")).is_err());
    }
}
