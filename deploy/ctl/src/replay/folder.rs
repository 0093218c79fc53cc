//! The folder of a run: what was asked for, the turns, and what each side answered, line by line as it comes.
//!
//! Whoever starts the same run again in the same folder goes on where it stopped.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use talkfleet_shared::{
    chat::{ModelUse, TurnRecord},
    id::RequestId,
};

use super::{Side, conversations::Recorded, range::Stretch};

/// What a run is, written once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    /// Names the run; its requests and lanes are derived from it.
    pub(super) id: String,
    /// What was asked for, as it was typed.
    pub(super) arguments: Value,
    pub(super) stretch: Stretch,
    pub(super) model: ModelUse,
    /// The build that made it.
    pub(super) talkfleet: String,
}

/// A run's folder, held by this process.
pub(super) struct Folder {
    path: PathBuf,
    pub(super) run: Run,
    pub(super) turns: Vec<Recorded>,
    /// The kernel gives it back when this process ends, however it ends.
    _lock: File,
}

/// What a side answered, by the original's id.
pub(super) type Answers = HashMap<RequestId, TurnRecord>;

/// A line of a side's file.
#[derive(Serialize, Deserialize)]
struct Line<T> {
    original: RequestId,
    record: T,
}

const RUN: &str = "run.json";
const TURNS: &str = "turns.jsonl";

impl Folder {
    /// Takes up the run that lies in the folder, if one does; it has to be the same.
    pub(super) fn resume(path: &Path, arguments: &Value) -> Result<Option<Self>> {
        let Some(run) = read_run(path)? else { return Ok(None) };
        if run.arguments != *arguments {
            let known = run.arguments.as_object().into_iter().flatten();
            let differ: Vec<_> =
                known.filter(|(key, value)| arguments.get(key) != Some(value)).map(|(k, _)| k).collect();
            bail!(
                "{} holds another run (it differs in {}); give another folder in --report, or remove this one",
                path.display(),
                differ.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(", "),
            );
        }
        let lock = hold(path)?;
        let lines = whole_lines(&path.join(TURNS))?;
        let turns = lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>();
        let turns =
            turns.with_context(|| format!("{} cannot be read; remove the folder", path.join(TURNS).display()))?;
        Ok(Some(Self { path: path.to_owned(), run, turns, _lock: lock }))
    }

    /// Begins a run; the turns are written before the word that there is one.
    pub(super) fn begin(path: &Path, run: Run, turns: Vec<Recorded>) -> Result<Self> {
        let named = |error| format!("the folder {} cannot be used: {error}", path.display());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error: io::Error| anyhow::anyhow!(named(error)))?;
        let lock = hold(path)?;
        let mut file = BufWriter::new(private(&path.join(TURNS), true)?);
        for turn in &turns {
            serde_json::to_writer(&mut file, turn)?;
            file.write_all(b"\n")?;
        }
        file.into_inner()?.sync_all()?;
        let fresh = path.join("run.new");
        let mut file = private(&fresh, true)?;
        file.write_all(&serde_json::to_vec_pretty(&run)?)?;
        file.sync_all()?;
        fs::rename(&fresh, path.join(RUN))?;
        Ok(Self { path: path.to_owned(), run, turns, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What a side has answered so far.
    pub(super) fn answers(&self, side: Side) -> Result<Answers> {
        let lines = whole_lines(&self.file(side))?;
        let parse = |line: &String| -> Result<(RequestId, TurnRecord)> {
            let line: Line<TurnRecord> = serde_json::from_str(line)?;
            Ok((line.original, line.record))
        };
        let answers: Result<Answers> = lines.iter().map(parse).collect();
        answers.with_context(|| format!("{} cannot be read; remove the folder", self.file(side).display()))
    }

    /// Opens a side's file to add to it.
    pub(super) fn writer(&self, side: Side) -> Result<Writer> {
        let path = self.file(side);
        let mut file = private(&path, false)?;
        // A line that was cut off by a crash is written anew.
        let whole: u64 = whole_lines(&path)?.iter().map(|line| line.len() as u64 + 1).sum();
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Writer(BufWriter::new(file)))
    }

    fn file(&self, side: Side) -> PathBuf {
        self.path.join(format!("{}.jsonl", side.name()))
    }
}

/// Adds to a side's file.
pub(super) struct Writer(BufWriter<File>);

impl Writer {
    pub(super) fn add(&mut self, original: &RequestId, record: &TurnRecord) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, &Line { original: original.clone(), record })?;
        self.0.write_all(b"\n")
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn read_run(path: &Path) -> Result<Option<Run>> {
    let file = path.join(RUN);
    match fs::read(&file) {
        Ok(text) => {
            let run = serde_json::from_slice(&text);
            Ok(Some(run.with_context(|| format!("{} is no run of this build; remove the folder", file.display()))?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}

fn hold(path: &Path) -> Result<File> {
    let file = private(&path.join("lock"), false)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => bail!("another replay works in {}; wait for it, or give another folder in --report", path.display()),
    }
}

/// Customers' words lie in it: only its owner may read it.
fn private(path: &Path, empty: bool) -> Result<File> {
    let opened = File::options().read(true).write(true).create(true).truncate(empty).mode(0o600).open(path);
    opened.with_context(|| format!("{} cannot be written", path.display()))
}

/// The lines of a file that were written to their end; none when there is no such file.
fn whole_lines(path: &Path) -> Result<Vec<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    let mut reader = BufReader::new(file);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 || line.pop() != Some(b'\n') {
            return Ok(lines);
        }
        match String::from_utf8(line) {
            Ok(line) => lines.push(line),
            Err(_) => return Ok(lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_does_not_count() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("a.jsonl");
        fs::write(&path, "one\ntwo\nthr").unwrap();
        assert_eq!(whole_lines(&path).unwrap(), ["one", "two"]);
        assert!(whole_lines(&data.path().join("b.jsonl")).unwrap().is_empty());
    }

    #[test]
    fn a_folder_takes_up_its_own_run_and_no_other() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("out");
        let run = |speed: &str| Run {
            id: "r".into(),
            arguments: serde_json::json!({ "speed": speed, "from": "1h" }),
            stretch: Stretch::Journal { from: 1, to: 2 },
            model: ModelUse::Live,
            talkfleet: "0".into(),
        };
        assert!(Folder::resume(&path, &run("max").arguments).unwrap().is_none());
        let first = Folder::begin(&path, run("max"), Vec::new()).unwrap();
        let busy = Folder::resume(&path, &run("max").arguments).err().unwrap().to_string();
        assert!(busy.contains("another replay works in"), "{busy}");
        drop(first);
        assert_eq!(Folder::resume(&path, &run("max").arguments).unwrap().unwrap().run, run("max"));
        let other = Folder::resume(&path, &run("2x").arguments).err().unwrap().to_string();
        assert!(other.contains("it differs in speed"), "{other}");
    }
}
