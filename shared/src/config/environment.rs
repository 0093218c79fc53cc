//! The environment's layer: `TALKFLEET_<SECTION>__<KEY>` holds a value, `TALKFLEET_<SECTION>__<KEY>_FILE` the path of a file that does.

use std::{collections::BTreeMap, path::Path};

use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{ENV_PREFIX, plain_value, secret_file};

/// What follows the name of a variable whose value is the path of a file.
pub(super) const FILE: &str = "_FILE";

/// What the environment says of the sections that a program knows.
#[derive(Debug, Default)]
pub(super) struct Environment {
    values: Dict,
    /// Where a value came from that lay in a file, by its key: the variable and the path.
    pub(super) from_files: BTreeMap<String, String>,
    /// Why a variable cannot be used; names it and its file, never what is in there.
    pub(super) problems: Vec<String>,
    /// What can be used and should not stay so.
    pub(super) warnings: Vec<String>,
}

impl Environment {
    /// Reads the variables of sections that `defaults` know; other programs of the fleet may share the environment.
    pub(super) fn read(defaults: &toml::Table, variables: impl Iterator<Item = (String, String)>) -> Self {
        let mut read = Self::default();
        let mut named = BTreeMap::<Vec<String>, String>::new();
        for (variable, text) in variables {
            let Some(mut key) = key_of(&variable).filter(|key| defaults.contains_key(&key[0])) else { continue };
            let file = match known(defaults, &key) {
                // A key may end like this by itself: `nats.credentials_file` is a path, and stays one.
                Some(_) => false,
                None => strip_file(&mut key),
            };
            if let Some(other) = named.insert(key.clone(), variable.clone()) {
                read.problems.push(format!("{other} and {variable} are both set; leave one of them out"));
                continue;
            }
            let value = match file {
                false => match (known(defaults, &key), plain_value(&text)) {
                    (Some(toml::Value::String(_)), value) if value.as_str().is_none() => Value::from(text),
                    (_, value) => value,
                },
                true => match read.value_of_file(&variable, &text) {
                    Some(content) => {
                        read.from_files.insert(key.join("."), format!("{variable}, {text}"));
                        match known(defaults, &key) {
                            None | Some(toml::Value::String(_)) => Value::from(content),
                            Some(_) => plain_value(&content),
                        }
                    }
                    None => continue,
                },
            };
            insert(&mut read.values, &key, value);
        }
        read
    }

    fn value_of_file(&mut self, variable: &str, path: &str) -> Option<String> {
        let path = Path::new(path);
        match secret_file::read(path) {
            Ok(content) => {
                self.warnings.extend(secret_file::warning(variable, path));
                Some(content)
            }
            Err(problem) => {
                self.problems.push(format!("{variable}: {problem}"));
                None
            }
        }
    }
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("the environment")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// The key that a variable sets: `nats`, `url`; None for one that is not ours.
fn key_of(variable: &str) -> Option<Vec<String>> {
    let upper = variable.to_ascii_uppercase();
    let key: Vec<String> = upper.strip_prefix(ENV_PREFIX)?.split("__").map(str::to_ascii_lowercase).collect();
    (key.len() > 1 && key.iter().all(|part| !part.is_empty())).then_some(key)
}

/// Takes the ending of a path's variable off a key, if it has it.
fn strip_file(key: &mut [String]) -> bool {
    let Some(last) = key.last_mut() else { return false };
    match last.strip_suffix(&FILE.to_ascii_lowercase()).filter(|stem| !stem.is_empty()) {
        Some(stem) => {
            *last = stem.to_owned();
            true
        }
        None => false,
    }
}

/// The default of a key.
pub(super) fn known<'a>(defaults: &'a toml::Table, key: &[String]) -> Option<&'a toml::Value> {
    let (last, tables) = key.split_last()?;
    let mut table = defaults;
    for name in tables {
        table = table.get(name)?.as_table()?;
    }
    table.get(last)
}

fn insert(dict: &mut Dict, key: &[String], value: Value) {
    match key {
        [] => {}
        [last] => {
            dict.insert(last.clone(), value);
        }
        [table, rest @ ..] => {
            let mut inner = dict.remove(table).and_then(Value::into_dict).unwrap_or_default();
            insert(&mut inner, rest, value);
            dict.insert(table.clone(), Value::from(inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    const DEFAULTS: &str = "[nats]\nurl = ''\nshards = 4\ncredentials_file = ''\n[model]\napi_key = ''\nwords = []\n\
                            [channels.default]\nburst = 'queue'\n";

    fn read(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Environment::read(&DEFAULTS.parse().unwrap(), variables)
    }

    fn file(content: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[track_caller]
    fn check(variables: &[(&str, &str)], path: [&str; 2], expected: impl Into<Value>) {
        let read = read(variables);
        assert_eq!(read.problems, Vec::<String>::new());
        let found = read.values.get(path[0]).and_then(|section| section.as_dict()?.get(path[1])).cloned();
        assert_eq!(found, Some(expected.into()));
    }

    #[test]
    fn a_variable_is_read_as_its_key_wants_it() {
        check(&[("TALKFLEET_NATS__SHARDS", "7")], ["nats", "shards"], 7u8);
        check(&[("TALKFLEET_MODEL__API_KEY", "0815")], ["model", "api_key"], "0815");
        check(&[("TALKFLEET_MODEL__API_KEY", "\"quoted\"")], ["model", "api_key"], "quoted");
        check(&[("TALKFLEET_MODEL__WORDS", "[\"a\"]")], ["model", "words"], vec!["a"]);
        check(&[("TALKFLEET_NATS__CREDENTIALS_FILE", "/no/such")], ["nats", "credentials_file"], "/no/such");
        assert!(read(&[("TALKFLEET_OTHER__KEY", "1"), ("TALKFLEET_DATA", "x"), ("PATH", "y")]).values.is_empty());
    }

    #[test]
    fn a_value_may_lie_in_a_file() {
        let secret = file(b"0815 \"x\"\n", 0o600);
        let path = secret.path().to_str().unwrap();
        check(&[("TALKFLEET_MODEL__API_KEY_FILE", path)], ["model", "api_key"], "0815 \"x\"");
        let number = file(b"9\r\n", 0o640);
        check(&[("TALKFLEET_NATS__SHARDS_FILE", number.path().to_str().unwrap())], ["nats", "shards"], 9u8);
        let list = file(b"[\"a\", \"b\"]", 0o600);
        check(&[("TALKFLEET_MODEL__WORDS_FILE", list.path().to_str().unwrap())], ["model", "words"], vec!["a", "b"]);
        let read = read(&[("TALKFLEET_CHANNELS__SMS__BURST_FILE", path)]);
        assert!(read.from_files["channels.sms.burst"].contains(path), "{:?}", read.from_files);
        assert_eq!(read.warnings, Vec::<String>::new());
    }

    #[track_caller]
    fn refused(variables: &[(&str, &str)], expected: &str) {
        let problems = read(variables).problems.join("\n");
        assert!(problems.contains(expected), "{problems}");
        assert!(!problems.contains("geheim"), "{problems}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_what_is_in_it() {
        const KEY: &str = "TALKFLEET_MODEL__API_KEY_FILE";
        let good = file(b"geheim", 0o600);
        let path = good.path().to_str().unwrap();
        refused(&[("TALKFLEET_MODEL__API_KEY", "geheim"), (KEY, path)], "are both set; leave one of them out");
        refused(&[(KEY, path), ("TALKFLEET_MODEL__API_KEY", "")], "TALKFLEET_MODEL__API_KEY are both set");
        refused(&[(KEY, "/no/such/file")], "TALKFLEET_MODEL__API_KEY_FILE: the file /no/such/file does not exist");
        refused(&[(KEY, "")], "TALKFLEET_MODEL__API_KEY_FILE: names no file");
        refused(&[(KEY, "/dev/null")], "is no regular file");
        refused(&[(KEY, file(b"\n", 0o600).path().to_str().unwrap())], "is empty");
        refused(&[(KEY, file(b"geheim\xff", 0o600).path().to_str().unwrap())], "is no UTF-8 text");
        refused(&[(KEY, file(&[b'x'; 65_537], 0o600).path().to_str().unwrap())], "more than 65536 bytes");
        refused(&[(KEY, file(b"geheim", 0o602).path().to_str().unwrap())], "may be overwritten by anybody");
    }

    #[test]
    fn a_file_that_anybody_may_read_is_named() {
        let loose = file(b"geheim", 0o644);
        let warnings = read(&[("TALKFLEET_MODEL__API_KEY_FILE", loose.path().to_str().unwrap())]).warnings;
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("may be read by anybody on this machine (mode 644); chmod 600"), "{warnings:?}");
    }
}
