//! Intent files become an `IntentSet`: the desk's own YAML, Rasa's NLU YAML, or JSON lines.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Example, Intent, IntentSet, Kind, ScopeCost};

/// Largest file that is read: 100,000 examples of 100 characters and room to spare.
pub(crate) const FILE_BYTES_MAX: usize = 32 << 20;

/// Longest example; what is longer is a document that was put into the wrong file.
pub(crate) const EXAMPLE_CHARS_MAX: usize = 2_000;

/// Longest name of an intent. Letters of any script: a name stands in replies, records and reports, never in a subject, a
/// key or a metric's label.
const NAME_CHARS_MAX: usize = 64;

/// What a wrong decision about scope may cost: only the ratio counts, and beyond 10,000 to one nothing changes.
const SCOPE_COSTS: std::ops::RangeInclusive<f32> = 0.01..=100.0;

/// The only version of our own format so far.
const VERSION: u32 = 1;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("the intents file has {bytes} bytes and at most {FILE_BYTES_MAX} are read: split it")]
    TooLarge { bytes: usize },
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
    #[error("{0}")]
    Whole(String),
}

/// Reads an intents file; which of the three formats it is, is seen from its beginning.
pub fn parse(file: &str) -> Result<IntentSet, SourceError> {
    if file.len() > FILE_BYTES_MAX {
        return Err(SourceError::TooLarge { bytes: file.len() });
    }
    let file = file.trim_start_matches('\u{feff}');
    if file.trim().is_empty() {
        return Err(SourceError::Whole("the intents file is empty: name intents with examples".into()));
    }
    let set = if file.trim_start().starts_with('{') {
        json_lines(file)?
    } else if file.lines().any(|line| line.starts_with("nlu:")) {
        rasa(file)?
    } else {
        ours(file)?
    };
    checked(set)
}

/// The bounds of every set, wherever it was read from.
pub fn checked(set: IntentSet) -> Result<IntentSet, SourceError> {
    if let Some(example) = set.examples.iter().find(|example| example.text.chars().count() > EXAMPLE_CHARS_MAX) {
        let intent = &example.intent;
        return Err(SourceError::Whole(format!(
            "an example of {intent} is longer than {EXAMPLE_CHARS_MAX} characters"
        )));
    }
    let unnamed = set.intents.iter().map(|intent| &intent.name).find(|name| {
        name.is_empty()
            || name.chars().count() > NAME_CHARS_MAX
            || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '.' | '?' | '!'))
    });
    let ScopeCost { decline_good, answer_strange } = set.scope;
    if ![decline_good, answer_strange].iter().all(|cost| SCOPE_COSTS.contains(cost)) {
        return Err(SourceError::Whole(format!(
            "scope_cost is {decline_good} against {answer_strange}: give numbers from {} to {}",
            SCOPE_COSTS.start(),
            SCOPE_COSTS.end()
        )));
    }
    match unnamed {
        Some(name) => Err(SourceError::Whole(format!(
            "{name:?} cannot name an intent: take up to {NAME_CHARS_MAX} letters of any script, digits, '_', '-', '.' or '/', and no space"
        ))),
        None => Ok(set),
    }
}

/// Keys that the format does not know are refused: a misspelt `exmaples` would otherwise train nothing in silence.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OurFile {
    version: u32,
    intents: Vec<OurIntent>,
    #[serde(default)]
    out_of_scope: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    scope_cost: ScopeCost,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OurIntent {
    name: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    description: String,
    #[serde(default)]
    examples: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    replies: BTreeMap<String, Vec<String>>,
}

fn ours(file: &str) -> Result<IntentSet, SourceError> {
    let file: OurFile = serde_saphyr::from_str(file).map_err(|error| yaml_error(&error))?;
    if file.version != VERSION {
        return Err(SourceError::Whole(format!("version {} of the format is not known, {VERSION} is", file.version)));
    }
    let mut set = IntentSet {
        out_of_scope: file.out_of_scope.into_values().flatten().collect(),
        scope: file.scope_cost,
        ..IntentSet::default()
    };
    for intent in file.intents {
        if set.intents.iter().any(|other| other.name == intent.name) {
            return Err(SourceError::Whole(format!("intent {} stands in the file twice", intent.name)));
        }
        let examples = intent.examples.into_values().flatten();
        set.examples.extend(examples.map(|text| Example { text, intent: intent.name.clone() }));
        let OurIntent { name, kind, description, replies, .. } = intent;
        set.intents.push(Intent { name, kind, description, replies });
    }
    Ok(set)
}

#[derive(Deserialize)]
struct RasaFile {
    nlu: Vec<RasaItem>,
}

/// Synonyms, look-ups and regular expressions stand in the same list and are passed over.
#[derive(Deserialize)]
struct RasaItem {
    intent: Option<String>,
    #[serde(default)]
    examples: String,
}

fn rasa(file: &str) -> Result<IntentSet, SourceError> {
    let file: RasaFile = serde_saphyr::from_str(file).map_err(|error| yaml_error(&error))?;
    let mut set = IntentSet::default();
    for (name, examples) in file.nlu.into_iter().filter_map(|item| Some((item.intent?, item.examples))) {
        let texts = examples.lines().filter_map(|line| line.trim().strip_prefix("- ")).map(plain);
        if matches!(name.as_str(), "nlu_fallback" | "out_of_scope") {
            set.out_of_scope.extend(texts);
            continue;
        }
        add(&mut set, &name, texts);
    }
    Ok(set)
}

/// Rasa marks entities inside examples, `[Berlin](city)` or `[Berlin]{"entity": "city"}`: the words stay.
fn plain(example: &str) -> String {
    let mut out = String::with_capacity(example.len());
    let mut rest = example;
    while let Some((before, marked)) = rest.split_once('[') {
        let Some((word, after)) = marked.split_once(']') else { break };
        out.push_str(before);
        let close = match after.chars().next() {
            Some('(') => after.find(')'),
            Some('{') => after.find('}'),
            _ => None,
        };
        match close {
            Some(close) => {
                out.push_str(word);
                rest = &after[close + 1..];
            }
            None => {
                out.push_str(&rest[before.len()..rest.len() - after.len()]);
                rest = after;
            }
        }
    }
    out + rest
}

#[derive(Deserialize)]
struct JsonLine {
    text: String,
    intent: Option<String>,
}

fn json_lines(file: &str) -> Result<IntentSet, SourceError> {
    let mut set = IntentSet::default();
    for (line, content) in (1..).zip(file.lines()).filter(|(_, content)| !content.trim().is_empty()) {
        let item: JsonLine =
            serde_json::from_str(content).map_err(|error| SourceError::Line { line, what: error.to_string() })?;
        match item.intent {
            Some(intent) => add(&mut set, &intent, std::iter::once(item.text)),
            None => set.out_of_scope.push(item.text),
        }
    }
    Ok(set)
}

fn add(set: &mut IntentSet, name: &str, texts: impl Iterator<Item = String>) {
    if set.intents.iter().rev().all(|intent| intent.name != name) {
        set.intents.push(Intent { name: name.to_owned(), ..Intent::default() });
    }
    set.examples.extend(texts.map(|text| Example { text, intent: name.to_owned() }));
}

fn yaml_error(error: &serde_saphyr::Error) -> SourceError {
    let what = error.without_snippet().to_string();
    match error.location() {
        Some(location) => SourceError::Line { line: location.line(), what },
        None => SourceError::Whole(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_format() {
        let set = parse(
            "version: 1\nintents:\n  - name: greeting\n    kind: small_talk\n    description: \"says hello\"\n    examples:\n      en: [\"hi\", \"hello: you\"]\n      zh: [\"你好\"]\n    replies:\n      en: [\"Hello!\"]\nout_of_scope:\n  en: [\"what is 2+2\"]\n",
        )
        .unwrap();
        assert_eq!(set.intents[0].kind, Kind::SmallTalk);
        assert_eq!(parse("version: 1\nintents:\n  - name: 查话费余额\n").unwrap().intents[0].name, "查话费余额");
        assert_eq!(set.intents[0].replies["en"], ["Hello!"]);
        assert_eq!(set.examples.len(), 3);
        assert_eq!(set.out_of_scope, ["what is 2+2"]);
        assert_eq!(set.scope, ScopeCost::default());
        let set = parse("version: 1\nintents: []\nscope_cost: { decline_good: 3, answer_strange: 0.5 }\n").unwrap();
        assert_eq!((set.scope.decline_good, set.scope.answer_strange), (3.0, 0.5));
    }

    #[test]
    fn rasa_and_json_lines() {
        let set = parse(
            "version: \"3.1\"\nnlu:\n- intent: book\n  examples: |\n    - fly to [Berlin](city) on [1 May]{\"entity\": \"date\"}\n    - [x] marks the spot\n- synonym: NYC\n  examples: |\n    - New York\n",
        )
        .unwrap();
        let texts: Vec<_> = set.examples.iter().map(|example| example.text.as_str()).collect();
        assert_eq!(texts, ["fly to Berlin on 1 May", "[x] marks the spot"]);
        let set =
            parse("{\"text\": \"hi\", \"intent\": \"greet\"}\n\n{\"text\": \"2+2\", \"intent\": null}\n").unwrap();
        assert_eq!((set.examples.len(), set.out_of_scope.len()), (1, 1));
    }

    #[track_caller]
    fn check_error(file: &str, part: &str) {
        let error = parse(file).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn errors_say_where() {
        check_error("version: 1\nintents:\n  - name: a\n    exmaples: {}\n", "line 4");
        check_error("version: 1\nintents:\n  - name: a\n    kind: joke\n", "line 4");
        check_error("version: 7\nintents: []\n", "version 7");
        check_error("version: 1\nintents:\n  - name: a\n  - name: a\n", "twice");
        check_error("version: 1\nintents:\n  - name: \"a b\"\n", "cannot name");
        check_error(
            &format!("version: 1\nintents:\n  - name: \"{}\"\n", "查".repeat(NAME_CHARS_MAX + 1)),
            "cannot name",
        );
        check_error(" \n", "the intents file is empty: name intents with examples");
        check_error("version: 1\nintents: []\nscope_cost: { decline_good: 0 }\n", "scope_cost is 0 against 1");
        check_error("version: 1\nintents: []\nscope_cost: { decline: 2 }\n", "line 3");
        check_error("{\"text\": \"hi\", \"intent\": \"a\"}\n{\"text\": 5}\n", "line 2");
        check_error(&"x".repeat(FILE_BYTES_MAX + 1), "split it");
    }
}
