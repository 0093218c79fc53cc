//! The gateway's binary: arguments → configuration → run → exit code.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use talkfleet_gateway::config::GatewayConfig;
use talkfleet_shared::{config::parse_setting, lifecycle};

/// Turns are made of many short-lived texts, which glibc's allocator spends a quarter of a gateway's CPU on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The front door of a Talkfleet desk: HTTP, server-sent events, WebSocket, an OpenAI-compatible face, and NATS.
///
/// Every key of the configuration has a default, so that no argument is needed next to a NATS server on its usual port.
/// A file overrides the defaults, the environment (TALKFLEET_<SECTION>__<KEY>, or …_FILE with the path of a file that holds
/// the value) the file, and --set everything.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A TOML file with the keys that shall differ from the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One key, such as --set http.listen=0.0.0.0:8080; may be repeated
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
            eprintln!("talkfleet-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    let config = GatewayConfig::load(arguments.config.as_deref(), &arguments.set)?;
    let warnings = config.warnings();
    if arguments.check {
        println!("the configuration is sound");
        warnings.iter().for_each(|warning| println!("but {warning}"));
        return Ok(());
    }
    let log = config.log.clone();
    lifecycle::serve(&log, &warnings, |shutdown| talkfleet_gateway::run(config, shutdown))
        .map_err(anyhow::Error::from_boxed)
}
