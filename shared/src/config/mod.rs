//! Configuration in layers: the compiled-in defaults (which are the manual) < a file < the environment < flags.

/// The environment's layer, values in files included.
mod environment;

/// Files that hold secrets.
mod secret_file;

/// Where NATS is, and how to be let in.
mod nats;

/// The files of a TLS connection.
mod tls;

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment,
    error::{Actual, Kind},
    providers::{Format, Toml},
    value::Value,
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use self::environment::Environment;
pub use self::{nats::NatsConfig, tls::TlsFiles};

/// Environment variables are `TALKFLEET_<SECTION>__<KEY>`, such as `TALKFLEET_NATS__URL`; with `_FILE` behind it one names
/// a file that holds the value.
pub const ENV_PREFIX: &str = "TALKFLEET_";

/// Where engines and models are kept once fetched: `$TALKFLEET_CACHE`, else `talkfleet` below `$XDG_CACHE_HOME`,
/// `~/.cache` or the temporary folder.
pub fn cache_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("TALKFLEET_CACHE").unwrap_or_else(|| {
        let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        caches.unwrap_or_else(std::env::temp_dir).join("talkfleet")
    })
}

/// The gateway's defaults and manual.
pub const GATEWAY_DEFAULTS: &str = include_str!("../../../schemas/config/gateway.toml");

/// The worker's defaults and manual.
pub const WORKER_DEFAULTS: &str = include_str!("../../../schemas/config/worker.toml");

/// Why a configuration was refused: every line names a key and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// A configuration that can tell which of its values contradict one another.
pub trait Checked {
    /// One line for each impossible value, naming its key.
    fn problems(&self) -> Vec<String>;

    /// Files that hold secrets, by the key that names each; empty paths are none.
    fn secret_files(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }
}

/// Reads the layers over `defaults`; `flags` are `section.key` with a TOML value or a plain text.
pub fn load<T>(defaults: &str, file: Option<&Path>, flags: &[(String, String)]) -> Result<T, ConfigError>
where
    T: DeserializeOwned + Checked,
{
    load_with(defaults, file, &environment(defaults), flags)
}

/// What a sound configuration should not stay like: secrets in files that anybody on this machine may read.
pub fn warnings(defaults: &str, config: &impl Checked) -> Vec<String> {
    let mut warnings = environment(defaults).warnings;
    let named = config.secret_files().into_iter().filter(|(_, path)| !path.is_empty());
    warnings.extend(named.filter_map(|(key, path)| secret_file::warning(key, Path::new(path))));
    warnings
}

fn load_with<T>(
    defaults: &str,
    file: Option<&Path>,
    env: &Environment,
    flags: &[(String, String)],
) -> Result<T, ConfigError>
where
    T: DeserializeOwned + Checked,
{
    if !env.problems.is_empty() {
        return Err(ConfigError(env.problems.clone()));
    }
    let mut figment = Figment::from(Toml::string(defaults));
    if let Some(path) = file {
        if !path.is_file() {
            return Err(ConfigError(vec![format!("the configuration file {} does not exist", path.display())]));
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    figment = figment.merge(env);
    for (key, value) in flags {
        figment = figment.merge((key.as_str(), plain_value(value)));
    }
    let config: T =
        figment.extract().map_err(|errors| ConfigError(errors.into_iter().map(|e| explain(&e, env)).collect()))?;
    let mut problems = config.problems();
    for (key, path) in config.secret_files().into_iter().filter(|(_, path)| !path.is_empty()) {
        problems.extend(secret_file::usable(Path::new(path)).err().map(|problem| format!("{key}: {problem}")));
    }
    if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
}

/// One section alone, from its defaults and the environment: for commands that need no more of a service's configuration.
pub fn section<T: DeserializeOwned>(defaults: &str, name: &str) -> Result<T, ConfigError> {
    let env = environment(defaults);
    if !env.problems.is_empty() {
        return Err(ConfigError(env.problems));
    }
    let figment = Figment::from(Toml::string(defaults)).merge(&env);
    figment.extract_inner(name).map_err(|errors| ConfigError(errors.into_iter().map(|e| explain(&e, &env)).collect()))
}

/// A value that lies in a file which `<variable>_FILE` names; for commands that read `variable` themselves.
pub fn value_of_file(variable: &str) -> Result<Option<String>, ConfigError> {
    let named_by = format!("{variable}{}", environment::FILE);
    match std::env::var_os(&named_by) {
        None => Ok(None),
        Some(path) => match secret_file::read(Path::new(&path)) {
            Ok(value) => Ok(Some(value)),
            Err(problem) => Err(ConfigError(vec![format!("{named_by}: {problem}")])),
        },
    }
}

fn environment(defaults: &str) -> Environment {
    let defaults = defaults.parse().unwrap_or_default();
    let text = |variable: std::ffi::OsString| variable.into_string().ok();
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
    Environment::read(&defaults, variables)
}

/// A flag's `section.key=value`; the error is a sentence for whoever typed it.
pub fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("give it as section.key=value")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// A flag's or variable's value as TOML would read it, else as a text.
fn plain_value(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| Value::from(text))
}

fn explain(error: &figment::Error, env: &Environment) -> String {
    let key = error.path.join(".");
    let file = env.from_files.get(&key).map(String::as_str);
    let name = file.or(error.metadata.as_ref().map(|metadata| &*metadata.name));
    let source = name.map(|name| format!(" (from {name})")).unwrap_or_default();
    match &error.kind {
        Kind::UnknownField(name, known) => {
            let full =
                if key.is_empty() || key.ends_with(name.as_str()) { key.clone() } else { format!("{key}.{name}") };
            let full = if full.is_empty() { name.clone() } else { full };
            let hint = nearest(name, known).map(|n| format!("; did you mean '{n}'?")).unwrap_or_default();
            format!("unknown key '{full}'{source}{hint}")
        }
        Kind::MissingField(name) => format!("key '{key}{}{name}' is missing", if key.is_empty() { "" } else { "." }),
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            // A text may be a secret that was put in the wrong place.
            let found = if matches!(found, Actual::Str(_)) { "a text".to_owned() } else { found.to_string() };
            format!("key '{key}'{source} should be {expected}, but is {found}")
        }
        other => {
            let other = undrawn(&other.to_string());
            if key.is_empty() {
                format!("the configuration{source}: {other}")
            } else {
                format!("key '{key}'{source}: {other}")
            }
        }
    }
}

/// TOML's complaint without the line that it draws: a password may stand there.
fn undrawn(complaint: &str) -> String {
    let drawn = |line: &str| line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|');
    complaint.lines().map(str::trim).filter(|line| !line.is_empty() && !drawn(line)).collect::<Vec<_>>().join(": ")
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().min_by_key(|candidate| distance(name, candidate))?;
    (distance(name, best) <= 1 + name.len() / 3).then_some(*best)
}

/// Levenshtein's distance over bytes; keys are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A value that is never printed: keys, passwords, addresses with passwords.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The value itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// An address that may carry a password; it prints without.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Url(String);

impl Url {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The address with its password, for the client that connects.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once("://") {
            Some((scheme, rest)) => {
                let (user, host) = rest.rsplit_once('@').map_or(("", rest), |(_, host)| ("…@", host));
                match has_plain_ports(host) {
                    true => write!(f, "{scheme}://{user}{}", without_query(host)),
                    // What stands where a port belongs is perhaps a password, or the rest of one.
                    false => write!(f, "{scheme}://…"),
                }
            }
            None if self.0.is_empty() => Ok(()),
            // No address at all, perhaps a secret that was put in the wrong place.
            None => f.write_str("…"),
        }
    }
}

/// Settings of a connection may hold a password too.
fn without_query(text: &str) -> Cow<'_, str> {
    text.split_once('?').map_or(Cow::Borrowed(text), |(address, _)| format!("{address}?…").into())
}

/// Whether whatever stands where a port belongs is one.
fn has_plain_ports(rest: &str) -> bool {
    let hosts = rest.split(['/', '?', '#']).next().unwrap_or_default().split(',');
    let is_port = |port: &str| port.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit());
    hosts.filter_map(|host| host.rsplit_once(':')).all(|(_, port)| is_port(port))
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Url {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where the admin port listens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    pub listen: String,
    /// How long the process may take to finish what it has begun.
    pub grace_ms: u64,
}

/// With less, nobody could be told where to come back.
const GRACE_MS_MIN: u64 = 5_000;

impl AdminConfig {
    /// How long the process may take to finish what it has begun.
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }

    /// One line for each impossible value.
    pub fn problems(&self) -> Vec<String> {
        let short = self.grace_ms < GRACE_MS_MIN;
        short.then(|| format!("admin.grace_ms is {}; give {GRACE_MS_MIN} or more", self.grace_ms)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        nats: SampleNats,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct SampleNats {
        url: Url,
        shards: u32,
    }

    impl Checked for Sample {
        fn problems(&self) -> Vec<String> {
            if self.nats.shards == 0 { vec!["nats.shards is 0; give 1 or more".into()] } else { Vec::new() }
        }
    }

    const DEFAULTS: &str = "[nats]\nurl = 'nats://u:secret@localhost:4222'\nshards = 4\n";

    fn flags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn env(name: &str, value: &str) -> Environment {
        Environment::read(&DEFAULTS.parse().unwrap(), std::iter::once((name.to_owned(), value.to_owned())))
    }

    #[track_caller]
    fn refused(file: &str, pairs: &[(&str, &str)], expected: &str) {
        let path = std::env::temp_dir().join(format!(
            "talkfleet-config-{}-{:x}.toml",
            std::process::id(),
            file.len() * 31 + pairs.len()
        ));
        std::fs::write(&path, file).unwrap();
        let env = Environment::default();
        let error = load_with::<Sample>(DEFAULTS, Some(&path), &env, &flags(pairs)).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn later_layers_win() {
        let env = env("TALKFLEET_NATS__SHARDS", "7");
        let config: Sample = load_with(DEFAULTS, None, &env, &[]).unwrap();
        assert_eq!(config.nats.shards, 7);
        let config: Sample = load_with(DEFAULTS, None, &env, &flags(&[("nats.shards", "9")])).unwrap();
        assert_eq!(config.nats.shards, 9);
    }

    #[test]
    fn a_value_that_is_no_number_is_told_by_where_it_came_from() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "geheim\n").unwrap();
        let path = file.path().to_str().unwrap();
        let env = env("TALKFLEET_NATS__SHARDS_FILE", path);
        let error = load_with::<Sample>(DEFAULTS, None, &env, &[]).unwrap_err().to_string();
        assert!(error.contains(&format!("(from TALKFLEET_NATS__SHARDS_FILE, {path})")), "{error}");
        assert!(error.contains("should be u32, but is a text") && !error.contains("geheim"), "{error}");
    }

    #[test]
    fn a_wrong_key_or_value_is_named() {
        refused("[nats]\nshard = 1", &[], "unknown key 'nats.shard'");
        refused("[nats]\nshard = 1", &[], "did you mean 'shards'?");
        refused("[nats]\nshards = 'many'", &[], "key 'nats.shards'");
        refused("", &[("nats.shards", "0")], "give 1 or more");
        refused("[nats", &[], "the configuration");
        refused("[nats]\nurl = \"nats://u:secret@localhost", &[], "line 2");
    }

    #[test]
    fn what_is_no_address_or_holds_settings_is_not_printed_whole() {
        let shown = |text: &str| Url::new(text).to_string();
        assert_eq!(shown("http://ann:geheim"), "http://…");
        assert_eq!(shown("http://ann:ge@h:eim"), "http://…");
        assert_eq!(shown("postgres://db:5432/desk?password=geheim"), "postgres://db:5432/desk?…");
        assert_eq!(shown("postgres://ann@a:1,b:2/desk?password=geheim"), "postgres://…@a:1,b:2/desk?…");
        for plain in ["nats://a:4222,b:4222", "redis://[::1]:6379/0", "https://host", "http://[::1]/x:y"] {
            assert_eq!(shown(plain), plain);
        }
    }

    #[test]
    fn an_address_prints_without_its_password() {
        let config: Sample = load_with(DEFAULTS, None, &Environment::default(), &[]).unwrap();
        assert_eq!(format!("{:?}", config.nats.url), "nats://…@localhost:4222");
        assert_eq!(format!("{:?}", Secret::new("k")), "Secret(…)");
    }

    #[test]
    fn a_near_miss_is_found() {
        assert_eq!(nearest("publish_timout_ms", &["url", "publish_timeout_ms"]), Some("publish_timeout_ms"));
        assert_eq!(nearest("zzz", &["url", "publish_timeout_ms"]), None);
    }
}
