//! A door for fuzz targets: files that operators give to the command, read as its commands read them.

use std::path::Path;

use crate::{dead, eval, knowledge, publish, replay};

pub use knowledge::{Article, Reading};

/// A file of knowledge, by its name; read in this process.
pub fn article(path: &str, bytes: &[u8]) -> Result<Reading, String> {
    knowledge::read_here(path, bytes)
}

/// A labelled file as questions: text and what is expected.
pub fn labelled(text: &str) -> Result<Vec<(String, Option<&'static str>)>, String> {
    eval::questions(text).map_err(|error| format!("{error:#}"))
}

/// A file of messages: how many go out, and what is said of each line that does not.
pub fn messages(text: &str) -> (usize, Vec<String>) {
    publish::read(text)
}

/// A replay's folder that somebody may have tampered with: its turns and its answers, taken up for these arguments.
pub fn replay(folder: &Path, arguments: &serde_json::Value) -> Result<(usize, usize), String> {
    replay::take_up(folder, arguments).map_err(|error| format!("{error:#}"))
}

/// `--from` and `--speed` of a replay, as they are understood.
pub fn replay_flags(text: &str) -> Vec<String> {
    replay::flags(text)
}

/// A dead letter that somebody edited: the message that it becomes.
pub fn edited(text: &str) -> Result<Vec<u8>, String> {
    dead::edited(text).map_err(|error| format!("{error:#}"))
}
