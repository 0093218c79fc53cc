//! The gateway's binary: arguments → configuration → run → exit code.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use talkfleet_gateway::config::GatewayConfig;
use talkfleet_shared::{
    lifecycle::{self, Shutdown},
    telemetry,
};

/// The front door of a Talkfleet desk: HTTP, server-sent events, WebSocket, an OpenAI-compatible face, and NATS.
///
/// Every key of the configuration has a default, so that no argument is needed next to a NATS server on its usual port.
/// A file overrides the defaults, the environment (TALKFLEET_<SECTION>__<KEY>) the file, and --set everything.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A TOML file with the keys that shall differ from the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One key, such as --set http.listen=0.0.0.0:8080; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Only say whether the configuration is sound
    #[arg(long)]
    check: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write section.key=value")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
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
    if arguments.check {
        println!("the configuration is sound");
        return Ok(());
    }
    telemetry::init(&config.log).map_err(anyhow::Error::msg)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let shutdown = Shutdown::new();
        lifecycle::on_signals(shutdown.clone())?;
        Ok(talkfleet_gateway::run(config, shutdown).await?)
    })
}
