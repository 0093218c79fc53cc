//! The worker's binary: arguments → configuration → run → exit code.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use talkfleet_shared::{config::parse_setting, lifecycle};
use talkfleet_worker::config::WorkerConfig;

/// Turns are made of many short-lived texts, which glibc's allocator spends a quarter of a gateway's CPU on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A worker of a Talkfleet desk: it recognises intents, searches the knowledge, answers, and keeps the archive.
///
/// One process plays all four roles unless --roles names some of them; start as many processes as the load needs.
/// Every key of the configuration has a default, so that no argument is needed next to NATS, Redis and PostgreSQL on
/// their usual ports. A file overrides the defaults, the environment (TALKFLEET_<SECTION>__<KEY>, or …_FILE with the path
/// of a file that holds the value) the file, and flags override everything. SIGTERM lets running turns finish, hands back the rest, and exits with 0.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A TOML file with the keys that shall differ from the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What this process does, such as --roles intent,retrieval; roles.enabled in the configuration
    #[arg(long, value_name = "ROLE", value_delimiter = ',', value_parser = ["intent", "retrieval", "response", "archive"])]
    roles: Vec<String>,
    /// One key, such as --set roles.response_concurrency=128; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    set: Vec<(String, String)>,
    /// Only say whether the configuration is sound
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("talkfleet-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    let mut flags = arguments.set;
    if !arguments.roles.is_empty() {
        flags.push(("roles.enabled".into(), format!("[\"{}\"]", arguments.roles.join("\",\""))));
    }
    let config = WorkerConfig::load(arguments.config.as_deref(), &flags)?;
    let warnings = config.warnings();
    if arguments.check {
        println!("the configuration is sound");
        warnings.iter().for_each(|warning| println!("but {warning}"));
        return Ok(());
    }
    let log = config.log.clone();
    lifecycle::serve(&log, &warnings, |shutdown| talkfleet_worker::run(config, shutdown))
        .map_err(anyhow::Error::from_boxed)
}
