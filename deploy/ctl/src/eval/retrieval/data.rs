//! Documents and questions out of files, and that they fit together.

use std::{collections::HashSet, path::PathBuf};

use anyhow::{Result, bail};

use crate::eval::read;

/// What may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub id: String,
    pub title: String,
    pub text: String,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub id: String,
    pub text: String,
    /// Which documents answer it; empty for one that none does.
    pub documents: Vec<String>,
    /// What the answer holds, in one of these wordings.
    pub answers: Vec<String>,
}

pub fn documents(files: &[PathBuf]) -> Result<Vec<Document>> {
    let (mut all, mut known) = (Vec::new(), HashSet::new());
    for file in files {
        for row in read::rows(file)? {
            let id = row.text("id")?;
            if !known.insert(id.clone()) {
                return Err(row.wrong(&format!("the document '{id}' stands there twice")));
            }
            all.push(Document { id, title: row.optional("title")?.unwrap_or_default(), text: row.text("text")? });
        }
    }
    Ok(all)
}

/// Questions whose documents are all there.
pub fn questions(files: &[PathBuf], documents: &[Document]) -> Result<Vec<Question>> {
    let known: HashSet<&str> = documents.iter().map(|document| document.id.as_str()).collect();
    let mut unknown = Vec::new();
    let mut all = Vec::new();
    for file in files {
        for (number, row) in (1..).zip(read::rows(file)?) {
            let wanted = row.texts("document")?;
            if wanted.is_empty() {
                row.text("question")?;
                return Err(
                    row.wrong("it names no \"document\"; questions that no document answers go to --unanswerable")
                );
            }
            unknown.extend(
                wanted
                    .iter()
                    .filter(|id| !known.contains(id.as_str()))
                    .map(|id| row.wrong(&format!("the document '{id}' is in no file of documents"))),
            );
            all.push(question(&row, number, wanted)?);
        }
    }
    match unknown.len() {
        0 => Ok(all),
        1 => Err(unknown.remove(0)),
        n => bail!("{} (and {} more such); add them, or take the questions out", unknown.remove(0), n - 1),
    }
}

/// Questions that no document answers; a column of documents is passed over.
pub fn unanswerable(files: &[PathBuf]) -> Result<Vec<Question>> {
    let mut all = Vec::new();
    for file in files {
        for (number, row) in (1..).zip(read::rows(file)?) {
            all.push(question(&row, number, Vec::new())?);
        }
    }
    Ok(all)
}

fn question(row: &read::Row, number: usize, documents: Vec<String>) -> Result<Question> {
    // A file of texts, such as one of intents, is one of questions as well.
    let name = if row.names("question") || !row.names("text") { "question" } else { "text" };
    Ok(Question {
        id: row.optional("id")?.unwrap_or_else(|| number.to_string()),
        text: row.text(name)?,
        documents,
        answers: row.texts("answer")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[track_caller]
    fn fails(questions_file: &str, part: &str) {
        let (_folder, path) = file(questions_file);
        let known = [Document { id: "a".into(), title: String::new(), text: "x".into() }];
        let error = format!("{:#}", questions(&[path], &known).unwrap_err());
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn a_question_knows_its_documents() {
        let (_folder, path) = file("{\"question\": \"why?\", \"document\": [\"a\", 7], \"answer\": \"so\"}\n");
        let known = ["a", "7"].map(|id| Document { id: id.into(), title: String::new(), text: "x".into() });
        let found = questions(&[path], &known).unwrap();
        assert_eq!((found[0].id.as_str(), found[0].documents.len(), found[0].answers[0].as_str()), ("1", 2, "so"));
        fails("{\"question\": \"why?\", \"document\": \"b\"}\n", "line 1: the document 'b' is in no file");
        fails("question,document\nq,b\nr,c\n", "(and 1 more such); add them");
        fails("question\nwhy?\n", "it names no \"document\"; questions that no document answers go to --unanswerable");
        fails("{\"query\": \"why?\", \"document\": \"a\"}\n", "it has no \"question\"; it has document, query");
    }

    #[test]
    fn a_document_stands_there_once() {
        let (_folder, path) = file("id,title,text\na,t,x\na,t,y\n");
        assert!(documents(&[path]).unwrap_err().to_string().contains("line 3: the document 'a' stands there twice"));
    }
}
