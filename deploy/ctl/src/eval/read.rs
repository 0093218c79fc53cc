//! Labelled files as rows: JSON lines, a JSON array or CSV, told apart by how they begin; every complaint names file and line.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::knowledge::{decode, shown};

/// The largest file: half a million labelled lines.
const FILE_BYTES_MAX: u64 = 128 << 20;

/// The most rows of one file.
const ROWS_MAX: usize = 500_000;

/// The longest name of a column.
const NAME_CHARS_MAX: usize = 32;

/// One labelled line.
#[derive(Debug)]
pub struct Row {
    file: String,
    line: u64,
    cells: HashMap<String, Value>,
    /// Its names come from the first row of a CSV file.
    is_csv: bool,
}

impl Row {
    /// What stands under a name; an error when it is missing, empty or no text.
    pub fn text(&self, name: &str) -> Result<String> {
        match self.optional(name)? {
            Some(text) => Ok(text),
            None if self.cells.contains_key(name) => Err(self.wrong(&format!("its {name} is empty"))),
            None => Err(self.without(name)),
        }
    }

    /// The same where it may be missing, null or empty.
    pub fn optional(&self, name: &str) -> Result<Option<String>> {
        let text = match self.cells.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(self.wrong(&format!("its {name} is no text"))),
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// One text or several.
    pub fn texts(&self, name: &str) -> Result<Vec<String>> {
        match self.cells.get(name) {
            Some(Value::Array(all)) => {
                let text = |value: &Value| match value {
                    Value::String(text) => Ok(text.clone()),
                    Value::Number(number) => Ok(number.to_string()),
                    _ => Err(self.wrong(&format!("its {name} holds what is no text"))),
                };
                all.iter().map(text).collect()
            }
            _ => Ok(self.optional(name)?.into_iter().collect()),
        }
    }

    pub fn names(&self, name: &str) -> bool {
        self.cells.contains_key(name)
    }

    /// A complaint about this row.
    pub fn wrong(&self, what: &str) -> anyhow::Error {
        anyhow!("{} line {}: {what}", self.file, self.line)
    }

    /// A complaint that nothing stands under a name. In CSV the first row is to blame: without its names a file has lost a
    /// customer's message to them, and that is not repeated.
    pub fn without(&self, name: &str) -> anyhow::Error {
        let mut names: Vec<&str> = self.cells.keys().map(String::as_str).collect();
        names.sort_unstable();
        let are_names = !names.is_empty() && names.iter().all(|name| is_name(name));
        let all = || names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ");
        match (self.is_csv, are_names) {
            (true, true) => {
                anyhow!("{}: its first row names no column \"{name}\", only {}; rename the columns", self.file, all())
            }
            (true, false) => anyhow!(
                "{}: the first row must name the columns, such as text,intent, and it names no \"{name}\"",
                self.file
            ),
            (false, _) if names.is_empty() => self.wrong(&format!("it has no \"{name}\"")),
            (false, _) => self.wrong(&format!("it has no \"{name}\"; it has {}", all())),
        }
    }
}

/// Whether somebody named a column so: one word of a programmer's.
fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// A file's text, whatever encoding an office saved it in.
pub fn text(path: &Path) -> Result<String> {
    let name = path.display();
    let about = std::fs::metadata(path).with_context(|| format!("{name} cannot be read"))?;
    if !about.is_file() {
        bail!("{name} is no regular file");
    }
    if about.len() > FILE_BYTES_MAX {
        bail!("{name} is larger than {} MiB; take a part of it", FILE_BYTES_MAX >> 20);
    }
    let bytes = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
    let text = decode(&bytes).map_err(|what| anyhow!("{name}: {what}"))?;
    if text.trim().is_empty() {
        bail!("{name} is empty");
    }
    Ok(text)
}

/// All rows of a file.
pub fn rows(path: &Path) -> Result<Vec<Row>> {
    parse(&path.display().to_string(), &text(path)?)
}

/// All rows of a file's text.
pub fn parse(file: &str, text: &str) -> Result<Vec<Row>> {
    let rows = match text.trim_start().chars().next() {
        Some('{') if is_spread(text) => objects(file, text)?,
        Some('{') => lines(file, text)?,
        Some('[') => array(file, text)?,
        _ => csv(file, text)?,
    };
    if rows.len() > ROWS_MAX {
        bail!("{file} has more than {ROWS_MAX} rows; take a part of it");
    }
    if rows.is_empty() {
        bail!("{file} names its columns and holds no row");
    }
    Ok(rows)
}

/// Whether the first object goes over several lines, as programs print JSON for people.
fn is_spread(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    serde_json::from_str::<Value>(first).is_err_and(|error| error.is_eof())
        && matches!(serde_json::Deserializer::from_str(text).into_iter::<Value>().next(), Some(Ok(_)))
}

/// Objects one after the other, each over several lines.
fn objects(file: &str, text: &str) -> Result<Vec<Row>> {
    let all: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
    let all = all.map_err(|error| anyhow!("{file} line {}: it is no JSON ({})", error.line(), short(&error)))?;
    if let [Value::Object(one)] = all.as_slice()
        && one.values().any(Value::is_array)
    {
        bail!("{file} is one JSON object around its rows; give the rows alone: an array, or one object a line");
    }
    numbered(file, all)
}

fn lines(file: &str, text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (line, content) in (1..).zip(text.lines()).filter(|(_, content)| !content.trim().is_empty()) {
        match serde_json::from_str(content) {
            Ok(Value::Object(cells)) => {
                rows.push(Row { file: file.to_owned(), line, cells: cells.into_iter().collect(), is_csv: false });
            }
            Ok(_) => bail!("{file} line {line}: it is no JSON object"),
            Err(error) => bail!("{file} line {line}: it is no JSON ({})", short(&error)),
        }
    }
    Ok(rows)
}

/// What is wrong and in which column: the line within one line is always 1.
fn short(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("{what}, column {}", error.column())
}

fn array(file: &str, text: &str) -> Result<Vec<Row>> {
    let all: Vec<Value> = serde_json::from_str(text).with_context(|| format!("{file} is no JSON array"))?;
    numbered(file, all)
}

/// Rows by their number.
fn numbered(file: &str, all: Vec<Value>) -> Result<Vec<Row>> {
    let row = |(line, value): (u64, Value)| match value {
        Value::Object(cells) => {
            Ok(Row { file: file.to_owned(), line, cells: cells.into_iter().collect(), is_csv: false })
        }
        _ => Err(anyhow!("{file}: item {line} is no JSON object")),
    };
    (1..).zip(all).map(row).collect()
}

/// The first row names the columns; commas, semicolons and tabs separate.
fn csv(file: &str, text: &str) -> Result<Vec<Row>> {
    let head = text.lines().next().unwrap_or_default();
    let count = |separator: u8| head.bytes().filter(|byte| *byte == separator).count();
    let separator = [b'\t', b';', b','].into_iter().max_by_key(|separator| count(*separator)).unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).flexible(true).from_reader(text.as_bytes());
    let names: Vec<String> = reader
        .headers()
        .map_err(|_| anyhow!("{file}: its first row cannot be read as names of columns"))?
        .iter()
        .map(|name| name.trim().to_lowercase())
        .collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| match error.position() {
            Some(position) => anyhow!("{file} is no valid CSV from line {} on", position.line()),
            None => anyhow!("{file} is no valid CSV"),
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != names.len() {
            bail!("{file} line {line}: it has {} cells where the first row names {}", record.len(), names.len());
        }
        let cells = names.iter().cloned().zip(record.iter().map(Value::from)).collect();
        rows.push(Row { file: file.to_owned(), line, cells, is_csv: true });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, Option<&str>)]) {
        let rows = parse("f", text).unwrap();
        let found: Vec<_> =
            rows.iter().map(|row| (row.text("text").unwrap(), row.optional("intent").unwrap())).collect();
        let found: Vec<_> = found.iter().map(|(text, intent)| (text.as_str(), intent.as_deref())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_shape_is_read() {
        let both = [("a, b", Some("x")), ("退货", None)];
        check("{\"text\": \"a, b\", \"intent\": \"x\"}\n\n{\"text\": \"退货\", \"intent\": null}\n", &both);
        check("[{\"text\": \"a, b\", \"intent\": \"x\"}, {\"text\": \"退货\"}]", &both);
        check("text,intent\n\"a, b\",x\n退货,\n", &both);
        check("Intent;TEXT\nx;a, b\n;退货\n", &both);
        check("{\n \"text\": \"a, b\",\n \"intent\": \"x\"\n}\n{\n \"text\": \"退货\"\n}\n", &both);
    }

    #[test]
    fn a_customers_message_is_no_name_of_a_column() {
        for text in ["\"where is my parcel\",track\nhi,greet\n", "退货,refund\n你好,greet\n"] {
            fails(text, "f: the first row must name the columns, such as text,intent");
            let error = parse("f", text).unwrap()[0].text("text").unwrap_err().to_string();
            assert!(!error.contains("parcel") && !error.contains("退货"), "{error}");
        }
    }

    #[track_caller]
    fn fails(text: &str, part: &str) {
        let error = parse("f", text).and_then(|rows| rows[0].text("text")).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn complaints_name_the_place() {
        fails("{\"text\": \"a\"}\n{\"text\": }\n", "f line 2: it is no JSON (expected value, column 10)");
        fails("{\"txt\": \"a\", \"intent\": \"b\"}\n", "f line 1: it has no \"text\"; it has intent, txt");
        fails("{\"text\": [1]}\n", "its text is no text");
        fails("question,answer\na,b\n", "f: its first row names no column \"text\", only answer, question; rename");
        fails("{\n \"intents\": [{\"text\": \"a\"}]\n}\n", "f is one JSON object around its rows");
        fails("text,intent\na\n", "f line 2: it has 1 cells where the first row names 2");
        fails("text,intent\n", "holds no row");
        fails("text,intent\n ,x\n", "its text is empty");
    }

    #[test]
    fn files_are_decoded_and_refused_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, b"\xef\xbb\xbftext,intent\r\nhello,greet\r\n").unwrap();
        assert_eq!(rows(&path).unwrap()[0].text("text").unwrap(), "hello", "a byte-order mark is no part of a name");
        std::fs::write(&path, b" \n").unwrap();
        assert!(rows(&path).unwrap_err().to_string().ends_with("is empty"));
        assert!(format!("{:#}", rows(folder.path()).unwrap_err()).contains("regular file"));
        assert!(format!("{:#}", rows(&folder.path().join("b")).unwrap_err()).contains("cannot be read"));
    }
}
