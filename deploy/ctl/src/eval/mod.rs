//! `talkfleet eval`: how good intents, retrieval and answers are on a team's own labelled files, as text, JSON and a page.
//!
//! Intents and retrieval are measured in this process, with the code that the desk runs and no engine; answers are asked of a
//! running desk.

/// `eval answers`.
mod answers;

/// Labelled files as rows: JSON lines and CSV.
mod read;

/// CPU time, and work spread over the cores.
pub(crate) mod meter;

/// How far a long measurement is.
mod progress;

/// The folder of a report.
pub(crate) mod folder;

/// What the reports' pages share.
pub(crate) mod html;

/// PURE: what is counted, by its textbook definition.
mod metrics;

/// `eval intents`.
mod intents;

/// `eval retrieval`.
mod retrieval;

#[cfg(test)]
mod tests;

pub(crate) use self::{answers::asked as questions, intents::taught};

use std::process::ExitCode;

use anyhow::Result;

/// Each command's own arguments say what it is for.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Intents(Box<intents::Args>),
    Retrieval(Box<retrieval::Args>),
    Answers(Box<answers::Args>),
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Intents(args) => intents::run(*args).await,
        Command::Retrieval(args) => retrieval::run(*args).await,
        Command::Answers(args) => answers::run(*args).await,
    }
}
