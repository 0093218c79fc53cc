//! `talkfleet`, the operator's command: arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    talkfleet::cli::run(talkfleet::cli::Cli::parse()).await
}
