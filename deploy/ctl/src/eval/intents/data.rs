//! Labelled texts out of files, and the set that a model is trained from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use talkfleet_worker::intent::{self, Example, Intent, IntentSet};

use crate::eval::read;

/// Labels that mean 'none of them' in a file of out-of-scope texts, as other tools write them.
const OUT_OF_SCOPE: [&str; 4] = ["oos", "out_of_scope", "nlu_fallback", "none"];

/// One labelled text; no intent means out of scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    pub text: String,
    pub intent: Option<String>,
}

/// Reads files of any of the formats.
pub fn read(files: &[PathBuf]) -> Result<Vec<Labelled>> {
    let mut all = Vec::new();
    for file in files {
        all.append(&mut read_one(file)?);
    }
    Ok(all)
}

/// Reads files whose texts belong to no intent; a column of intents may be missing.
pub fn read_out_of_scope(files: &[PathBuf]) -> Result<Vec<Labelled>> {
    let mut all = Vec::new();
    for file in files {
        for labelled in labelled(file, true)? {
            if let Some(intent) = labelled.intent.filter(|intent| !OUT_OF_SCOPE.contains(&intent.as_str())) {
                bail!(
                    "{} is a file of texts out of scope and has one of the intent '{intent}': \"{}\"; give labelled lines by --test",
                    file.display(),
                    labelled.text
                );
            }
            all.push(Labelled { text: labelled.text, intent: None });
        }
    }
    Ok(all)
}

fn read_one(file: &Path) -> Result<Vec<Labelled>> {
    labelled(file, false)
}

fn labelled(file: &Path, intent_may_miss: bool) -> Result<Vec<Labelled>> {
    let text = read::text(file)?;
    if is_yaml(file, &text) {
        let set = intent::parse(&text).with_context(|| file.display().to_string())?;
        let examples = set.examples.into_iter().map(|one| Labelled { text: one.text, intent: Some(one.intent) });
        let outside = set.out_of_scope.into_iter().map(|text| Labelled { text, intent: None });
        return Ok(examples.chain(outside).collect());
    }
    rows(file, &text, intent_may_miss)
}

fn rows(file: &Path, text: &str, intent_may_miss: bool) -> Result<Vec<Labelled>> {
    let row = |row: &read::Row| {
        if !intent_may_miss && !row.names("intent") {
            row.text("text")?;
            let what = row.without("intent");
            return Err(anyhow!("{what}; write null (in CSV nothing) for a text out of scope"));
        }
        Ok(Labelled { text: row.text("text")?, intent: row.optional("intent")? })
    };
    read::parse(&file.display().to_string(), text)?.iter().map(row).collect()
}

/// A file of any of the formats as the desk is taught by it: YAML with kinds and replies, rows with texts and names.
pub fn taught(file: &Path) -> Result<IntentSet> {
    let text = read::text(file)?;
    let found = match is_yaml(file, &text) {
        true => intent::parse(&text),
        false => intent::checked(set(&rows(file, &text, false)?)),
    };
    found.with_context(|| file.display().to_string())
}

/// Our own format and Rasa's begin their blocks at the margin.
fn is_yaml(file: &Path, text: &str) -> bool {
    let named = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml"));
    named || text.lines().any(|line| ["nlu:", "intents:"].iter().any(|key| line.starts_with(key)))
}

/// What a model is trained from.
pub fn set<'a>(lines: impl IntoIterator<Item = &'a Labelled>) -> IntentSet {
    let mut set = IntentSet::default();
    let mut known = std::collections::HashSet::new();
    for line in lines {
        match &line.intent {
            Some(intent) => {
                if known.insert(intent.as_str()) {
                    set.intents.push(Intent { name: intent.clone(), ..Intent::default() });
                }
                set.examples.push(Example { text: line.text.clone(), intent: intent.clone() });
            }
            None => set.out_of_scope.push(line.text.clone()),
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[track_caller]
    fn check(name: &str, text: &str) {
        let (_folder, path) = file(name, text);
        let found = read(&[path]).unwrap();
        let found: Vec<_> = found.iter().map(|line| (line.text.as_str(), line.intent.as_deref())).collect();
        assert_eq!(found, [("hi", Some("greet")), ("2+2", None)]);
    }

    #[test]
    fn every_format_says_the_same() {
        check("a.jsonl", "{\"text\": \"hi\", \"intent\": \"greet\"}\n{\"text\": \"2+2\", \"intent\": null}\n");
        check("a.csv", "\u{feff}text,intent\nhi,greet\n2+2,\n");
        check("a.yaml", "version: 1\nintents:\n  - name: greet\n    examples: {en: [hi]}\nout_of_scope: {en: [2+2]}\n");
        check(
            "nlu.yml",
            "version: \"3.1\"\nnlu:\n- intent: greet\n  examples: |\n    - hi\n- intent: nlu_fallback\n  examples: |\n    - 2+2\n",
        );
    }

    #[test]
    fn what_is_out_of_scope_has_no_intent() {
        let (_folder, path) = file("a.csv", "text\nhow is the weather\n");
        assert_eq!(read_out_of_scope(std::slice::from_ref(&path)).unwrap()[0].intent, None);
        let error = read(&[path]).unwrap_err().to_string();
        assert!(error.contains("no column \"intent\", only text; rename the columns; write null"), "{error}");
        let (_folder, path) = file("a.csv", "text,intent\na,oos\nb,refund\n");
        let error = read_out_of_scope(&[path]).unwrap_err().to_string();
        assert!(error.contains("the intent 'refund': \"b\""), "{error}");
    }
}
