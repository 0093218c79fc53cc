//! The repository's files as text, and which of their lines are code.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that are not ours: build output, history, what tools leave behind.
const SKIPPED: [&str; 5] = ["target", ".git", "node_modules", "__pycache__", ".venv"];

/// A text file of the repository.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A sample that breaks a rule on purpose.
pub(crate) fn sample(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.into() }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every text file of the repository, sorted by path; others are told by bytes that are not UTF-8.
pub(crate) fn repository() -> Vec<File> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files);
    assert!(files.len() > 100, "the repository was not found: {} files", files.len());
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if let Some(text) = kind.is_file().then(|| fs::read_to_string(entry.path()).ok()).flatten() {
            files.push(File { path, text });
        }
    }
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file exists for tests only.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.contains("/tests/") || self.path.contains("/benches/") || name == "tests.rs"
    }

    /// The lines before the tests at the bottom, comments included.
    pub(crate) fn before_tests(&self) -> impl Iterator<Item = &str> {
        let mut lines = self.text.lines().peekable();
        std::iter::from_fn(move || {
            let line = lines.next()?;
            let module = lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
            (line != "#[cfg(test)]" || !module).then_some(line)
        })
    }

    /// Numbered lines of code: no comments, no tests.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let whole = !self.is_test();
        let lines = (1..).zip(self.before_tests()).filter(move |_| whole);
        lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(n, line)| match line.split_once(" // ") {
            Some((code, _)) => (n, code),
            None => (n, line),
        })
    }
}

/// Fails with every finding on a line of its own.
#[track_caller]
pub(crate) fn none(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// Fails unless the rule finds exactly one thing, and says `what` about it.
#[track_caller]
pub(crate) fn one(findings: &[String], what: &str) {
    assert!(findings.len() == 1 && findings[0].contains(what), "expected one finding '{what}', got {findings:#?}");
}

#[test]
fn code_is_what_neither_tests_nor_comments_are() {
    let file = sample("a/src/b.rs", "//! Why.\nlet a; // b\n#[cfg(test)]\nuse c;\n#[cfg(test)]\nmod tests {\nd\n}\n");
    assert_eq!(file.code().map(|(_, line)| line).collect::<Vec<_>>(), ["let a;", "#[cfg(test)]", "use c;"]);
}
