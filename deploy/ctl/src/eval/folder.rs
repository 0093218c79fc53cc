//! The folder of a report: the page, the JSON, the drawings as files of their own, and what was found line by line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::page::plot::Plot;

/// The files of a written report.
pub const PAGE: &str = "index.html";
pub const JSON: &str = "report.json";

/// Where a report is written to.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it at once: that it cannot be written to should be known before anything is measured.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| cannot(path))?;
        let probe = path.join(".talkfleet");
        fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).with_context(|| cannot(path))?;
        Ok(Self(path.to_owned()))
    }

    pub fn page(&self) -> PathBuf {
        self.0.join(PAGE)
    }

    /// Writes page and JSON.
    pub fn write(&self, page: &str, report: &impl Serialize) -> Result<()> {
        self.file(PAGE, page.as_bytes())?;
        self.file(JSON, &serde_json::to_vec_pretty(report)?)
    }

    /// Writes a drawing.
    pub fn plot(&self, name: &str, plot: &Plot<'_>) -> Result<()> {
        self.file(&format!("{name}.svg"), plot.alone().as_bytes())
    }

    /// Writes one JSON object a line.
    pub fn lines(&self, name: &str, lines: impl Iterator<Item = impl Serialize>) -> Result<()> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
        self.file(name, text.as_bytes())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        fs::write(&path, bytes).with_context(|| cannot(&path))
    }
}

fn cannot(path: &Path) -> String {
    format!("cannot write {}; choose a folder that you may write to with --out DIR", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_what_cannot_be_is_said_first() {
        let own = tempfile::tempdir().unwrap();
        let folder = Folder::open(&own.path().join("a/b")).unwrap();
        folder.write("<!doctype html>", &serde_json::json!({"a": 1})).unwrap();
        folder.lines("x.jsonl", [1, 2].iter()).unwrap();
        assert_eq!(fs::read_to_string(own.path().join("a/b/x.jsonl")).unwrap(), "1\n2\n");
        let error = format!("{:#}", Folder::open(&folder.page().join("c")).err().unwrap());
        assert!(error.contains("choose a folder"), "{error}");
    }
}
