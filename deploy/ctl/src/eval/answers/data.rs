//! What is asked of the desk, and what is expected of it.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use talkfleet_shared::chat::{Kind, MessageText};

use crate::{
    eval::read::{self, Row},
    knowledge::shown,
};

/// What the desk should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Expect {
    Answer,
    Refusal,
    Handover,
    SmallTalk,
}

impl Expect {
    pub fn name(self) -> &'static str {
        self.kind().name()
    }

    pub fn kind(self) -> Kind {
        match self {
            Self::Answer => Kind::Answer,
            Self::Refusal => Kind::Refusal,
            Self::Handover => Kind::Handover,
            Self::SmallTalk => Kind::SmallTalk,
        }
    }
}

/// One labelled question.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub id: String,
    pub text: MessageText,
    pub expect: Option<Expect>,
    /// Which documents may be cited: by id, by title, or by the last part of their address.
    pub documents: Vec<String>,
    /// What the answer holds, in one of these wordings.
    pub answers: Vec<String>,
}

pub fn questions(files: &[PathBuf]) -> Result<Vec<Question>> {
    let mut all = Vec::new();
    for file in files {
        for (number, row) in (1..).zip(read::rows(file)?) {
            all.push(question(&row, number)?);
        }
    }
    Ok(all)
}

/// The questions of a file's text, and what is expected of each.
pub(crate) fn asked(text: &str) -> Result<Vec<(String, Option<&'static str>)>> {
    let rows = read::parse("the file", text)?;
    let asked = (1..).zip(&rows).map(|(number, row)| question(row, number));
    asked.map(|asked| asked.map(|question| (question.text.into(), question.expect.map(Expect::name)))).collect()
}

fn question(row: &Row, number: usize) -> Result<Question> {
    let name = if row.names("question") || !row.names("text") { "question" } else { "text" };
    let text = row.text(name)?;
    let text = MessageText::parse(&text).map_err(|error| row.wrong(&format!("its {name} {error}")))?;
    let documents = row.texts(if row.names("article") { "article" } else { "document" })?;
    let answers = row.texts("answer")?;
    let expect = match row.optional("expect")? {
        Some(word) => {
            let known = Expect::from_str(&word, true);
            Some(known.map_err(|_| {
                row.wrong(&format!("it expects '{}'; write answer, refusal, handover or small_talk", shown(&word)))
            })?)
        }
        None if !documents.is_empty() || !answers.is_empty() => Some(Expect::Answer),
        // As in files of intents: no intent at all means out of scope.
        None if row.names("intent") && row.optional("intent")?.is_none() => Some(Expect::Refusal),
        None => None,
    };
    Ok(Question { id: row.optional("id")?.unwrap_or_else(|| number.to_string()), text, expect, documents, answers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<Expect>) {
        let rows = read::parse("f", line).unwrap();
        assert_eq!(question(&rows[0], 1).unwrap().expect, expected);
    }

    #[test]
    fn what_is_expected_follows_from_what_is_labelled() {
        check("{\"question\": \"a\", \"document\": \"returns\"}", Some(Expect::Answer));
        check("{\"question\": \"a\", \"answer\": [\"5 days\", \"five days\"]}", Some(Expect::Answer));
        check("{\"question\": \"a\", \"expect\": \"handover\", \"answer\": \"x\"}", Some(Expect::Handover));
        check("{\"text\": \"2+2\", \"intent\": null, \"article\": null}", Some(Expect::Refusal));
        check("{\"text\": \"hi\", \"intent\": \"greeting\", \"article\": null}", None);
        check("question,expect\nhi,small_talk\n", Some(Expect::SmallTalk));
        let rows = read::parse("f", "{\"question\": \"a\", \"expect\": \"joke\"}").unwrap();
        let error = format!("{:#}", question(&rows[0], 1).unwrap_err());
        assert!(error.contains("line 1: it expects 'joke'; write answer, refusal"), "{error}");
    }
}
