//! Files that hold secrets: read whole, bounded, and never told; those that others may read or write are named.

use std::{fs, io::Read, os::unix::fs::PermissionsExt, path::Path};

/// The most bytes of a file that holds one value.
const VALUE_BYTES_MAX: u64 = 65_536;

/// The content without the newline at its end; else why it cannot be used, in words that hold nothing of it.
pub(super) fn read(path: &Path) -> Result<String, String> {
    usable(path)?;
    let shown = path.display();
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(VALUE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("the file {shown} cannot be read: {error}"))?;
    if bytes.len() as u64 > VALUE_BYTES_MAX {
        return Err(format!("the file {shown} has more than {VALUE_BYTES_MAX} bytes; it should hold one value"));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("the file {shown} is no UTF-8 text"))?;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() {
        return Err(format!("the file {shown} is empty"));
    }
    Ok(line.to_owned())
}

/// Whether a file can be read and nobody else on this machine may replace what is in it.
pub(super) fn usable(path: &Path) -> Result<(), String> {
    if path.as_os_str().is_empty() {
        return Err("names no file".into());
    }
    let shown = path.display();
    let found = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("the file {shown} does not exist"),
        _ => format!("the file {shown} cannot be read: {error}"),
    })?;
    if !found.is_file() {
        return Err(format!("{shown} is no regular file"));
    }
    if found.permissions().mode() & 0o002 != 0 {
        return Err(format!("the file {shown} may be overwritten by anybody on this machine; chmod 600 it"));
    }
    fs::File::open(path).map(drop).map_err(|error| format!("the file {shown} cannot be read: {error}"))
}

/// A sentence when anybody on this machine may read the file. Only that: within a container, where a mounted secret often
/// has such a mode, there may be nobody else.
pub(super) fn warning(named_by: &str, path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let said = || {
        let shown = path.display();
        format!("{named_by}: the file {shown} may be read by anybody on this machine (mode {mode:03o}); chmod 600 it")
    };
    (mode & 0o004 != 0).then(said)
}
