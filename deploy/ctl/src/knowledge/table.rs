//! Questions and answers in CSV and JSON lines: each row is a document, and a bad row keeps no other out.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};
use talkfleet_shared::hex::hex;

use super::{Article, LINE_BYTES_MAX, QUESTION_CHARS_MAX, ROWS_MAX, Reading};

/// A column, and what people call it.
const COLUMNS: [(&str, &[&str]); 6] = [
    ("question", &["question", "q", "问题", "问"]),
    ("answer", &["answer", "a", "答案", "回答", "答"]),
    ("title", &["title", "标题"]),
    ("url", &["url", "link", "链接"]),
    ("id", &["id", "编号"]),
    ("category", &["category", "分类"]),
];

/// Reads CSV whose first row names the columns; commas, semicolons and tabs separate.
pub(super) fn read_csv(text: &str) -> Result<Reading, String> {
    let separator = separator(text.lines().next().unwrap_or_default());
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|_| "its first row cannot be read")?.clone();
    let columns: HashMap<&str, usize> =
        header.iter().enumerate().filter_map(|(at, name)| Some((column(name)?, at))).collect();
    if !columns.contains_key("question") || !columns.contains_key("answer") {
        return Err("its first row names no columns 'question' and 'answer'".into());
    }
    let mut rows = Rows::default();
    for record in reader.records() {
        let record = record.map_err(|error| match error.position() {
            Some(position) => format!("it is no valid CSV from line {} on", position.line()),
            None => "it is no valid CSV".into(),
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != header.len() {
            rows.skip(line, &format!("it has {} cells where the header has {}", record.len(), header.len()));
            continue;
        }
        rows.add(line, |name| columns.get(name).and_then(|at| record.get(*at)).map(str::to_owned))?;
    }
    Ok(rows.reading)
}

/// Reads one JSON object a line.
pub(super) fn read_jsonl(text: &str) -> Result<Reading, String> {
    let mut rows = Rows::default();
    for (line, content) in (1..).zip(text.lines()).filter(|(_, content)| !content.trim().is_empty()) {
        if content.len() > LINE_BYTES_MAX {
            rows.skip(line, &format!("it is longer than {} KiB", LINE_BYTES_MAX >> 10));
            continue;
        }
        let Ok(Value::Object(fields)) = serde_json::from_str(content) else {
            rows.skip(line, "it is no JSON object");
            continue;
        };
        let fields: HashMap<&str, &Value> =
            fields.iter().filter_map(|(name, value)| Some((column(name)?, value))).collect();
        rows.add(line, |name| match fields.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })?;
    }
    Ok(rows.reading)
}

fn separator(header: &str) -> u8 {
    let count = |separator: u8| header.bytes().filter(|byte| *byte == separator).count();
    [b',', b';', b'\t'].into_iter().rev().max_by_key(|separator| count(*separator)).unwrap_or(b',')
}

fn column(name: &str) -> Option<&'static str> {
    let name = name.trim().to_lowercase();
    COLUMNS.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(column, _)| *column)
}

#[derive(Default)]
struct Rows {
    reading: Reading,
}

impl Rows {
    fn add(&mut self, line: u64, cell: impl Fn(&str) -> Option<String>) -> Result<(), String> {
        if self.reading.articles.len() >= ROWS_MAX {
            return Err(format!("it has more than {ROWS_MAX} rows; split it"));
        }
        let cell = |name: &str| cell(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let (Some(question), Some(answer)) = (cell("question"), cell("answer")) else {
            self.skip(line, "its question or its answer is empty");
            return Ok(());
        };
        if question.len() + answer.len() > LINE_BYTES_MAX {
            self.skip(line, &format!("it is longer than {} KiB", LINE_BYTES_MAX >> 10));
            return Ok(());
        }
        if [&question, &answer].into_iter().any(|text| is_formula(text)) {
            self.skip(line, "it holds a spreadsheet formula where a text should be");
            return Ok(());
        }
        let title = cell("title");
        self.reading.articles.push(Article {
            // By its question: a row that is put in between leaves the ids of the others as they are.
            id: Some(cell("id").unwrap_or_else(|| format!("#{}", short_digest(&question)))),
            url: cell("url").unwrap_or_default(),
            category: cell("category").unwrap_or_default(),
            body: if title.is_some() { format!("## {question}\n\n{answer}") } else { answer },
            // What is too long for a customer's wording is found as text all the same.
            questions: Some(question.clone())
                .into_iter()
                .filter(|text| text.chars().count() <= QUESTION_CHARS_MAX)
                .collect(),
            title: title.unwrap_or(question),
        });
        Ok(())
    }

    fn skip(&mut self, line: u64, why: &str) {
        self.reading.skipped.push(format!("line {line}: {why}"));
    }
}

/// `=HYPERLINK(…`, `=1+2`, `=cmd|…`; a text may well begin with another sign.
fn is_formula(text: &str) -> bool {
    text.strip_prefix('=')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "(+-@\"'".contains(c)))
}

/// Twelve hexadecimal digits: among 50,000 questions two share them once in 200,000 tables.
fn short_digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_documents_and_bad_rows_are_named() {
        let reading = read_csv(
            "ID,Question,Answer,URL\n1,How to return?,\"Post it,\nfree.\",/r\n,Second?,Yes,\nragged,row\n4,=HYPERLINK(\"http://x\"),a,\n5,,a,\n",
        )
        .unwrap();
        let ids: Vec<_> = reading.articles.iter().map(|article| article.id.clone().unwrap()).collect();
        assert_eq!(ids[0], "1");
        assert!(ids[1].starts_with('#') && ids[1].len() == 13, "{ids:?}");
        assert_eq!(
            (reading.articles[0].title.as_str(), reading.articles[0].body.as_str()),
            ("How to return?", "Post it,\nfree.")
        );
        assert_eq!(reading.articles[0].questions, ["How to return?"]);
        assert_eq!(
            reading.skipped,
            [
                "line 5: it has 2 cells where the header has 4",
                "line 6: it holds a spreadsheet formula where a text should be",
                "line 7: its question or its answer is empty"
            ]
        );
    }

    #[test]
    fn other_separators_and_names() {
        let reading = read_csv("问题;答案;标题\n怎么退货？;七天内可退;退货\n").unwrap();
        assert_eq!(reading.articles[0].body, "## 怎么退货？\n\n七天内可退");
        assert_eq!(read_csv("q\ta\nx\ty\n").unwrap().articles.len(), 1);
        assert!(read_csv("name,value\n1,2\n").unwrap_err().contains("'question'"));
        assert!(read_csv("").unwrap_err().contains("'question'"));
    }

    #[test]
    fn json_lines_are_read_one_by_one() {
        let reading =
            read_jsonl("{\"q\": \"a?\", \"a\": \"b\", \"id\": 7}\n\nnot json\n[1]\n{\"q\": \"c?\"}\n").unwrap();
        assert_eq!(reading.articles.len(), 1);
        assert_eq!(reading.articles[0].id.as_deref(), Some("7"));
        assert_eq!(reading.skipped.len(), 3);
        let deep = format!("{{\"q\":{}", "[".repeat(100_000));
        assert_eq!(read_jsonl(&deep).unwrap().skipped, ["line 1: it is no JSON object"]);
    }

    #[test]
    fn a_formula_is_no_text() {
        for text in ["=1+2", "=HYPERLINK(\"a\")", "=@SUM(A1)", "=cmd|' /C calc'!A0"] {
            assert!(is_formula(text), "{text}");
        }
        for text in ["= means equal", "-5 degrees", "+49 30 1234", "@harbor on social media", "=", "=)"] {
            assert!(!is_formula(text), "{text}");
        }
    }
}
