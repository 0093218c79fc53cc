//! The command tree: every command's help is the manual of that command.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    ask, audit, backup, bench, chaos, conversation, database, dead, doctor, eval, forget, health, intents, keys,
    knowledge, publish, rehearse, release, replay, schema, topology, up,
};

/// An AI customer-service desk over NATS: start it, ask it, feed it, look after it.
#[derive(Debug, Parser)]
#[command(name = "talkfleet", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the whole desk on this machine: engines, demo, gateway and workers
    Up(up::Args),
    /// Ask a question and watch the answer stream in
    Ask(ask::Args),
    /// Publish a file of messages onto the queue and count what comes back
    Publish(publish::Args),
    /// Ask recorded traffic again of a candidate and compare its answers with the baseline's
    Replay(Box<replay::Args>),
    /// What the desk answers from: articles, added, listed and removed
    #[command(subcommand)]
    Knowledge(knowledge::Command),
    /// What customers want: intents, trained, listed and rolled back
    #[command(subcommand)]
    Intents(intents::Command),
    /// Measure intents, retrieval and answers on your own labelled files, as a page, text and JSON
    #[command(subcommand)]
    Eval(eval::Command),
    /// API keys of tenants
    #[command(subcommand)]
    Keys(keys::Command),
    /// Who owns a conversation: the bot, or a person who took it
    #[command(subcommand)]
    Conversation(conversation::Command),
    /// Messages that could not be processed: looked at, mended, asked again
    #[command(subcommand)]
    Dead(dead::Command),
    /// A candidate beside the stable workers: its share of the conversations, promoted or taken back
    #[command(subcommand)]
    Release(release::Command),
    /// Forget a customer or a conversation everywhere, with proof
    Forget(Box<forget::Args>),
    /// Copy streams and database into a folder, while the desk runs
    Backup(backup::Args),
    /// Put a backup back
    Restore(backup::RestoreArgs),
    /// What operators changed, and who did
    #[command(subcommand)]
    Audit(audit::Command),
    /// Streams, consumers and buckets at the broker
    #[command(subcommand)]
    Topology(topology::Command),
    /// The database's schema
    #[command(subcommand)]
    Database(database::Command),
    /// Schemas that are written from the code
    #[command(subcommand)]
    Schema(schema::Command),
    /// Measure what a fleet carries, how fast it answers, and what a turn costs which process
    Bench(Box<bench::Args>),
    #[command(name = bench::clients::COMMAND, hide = true)]
    BenchClient,
    #[command(name = bench::AXUM_COMMAND, hide = true)]
    BenchAxum(bench::AxumArgs),
    /// Break a real fleet on purpose and hold what comes against the promises
    Chaos(chaos::Args),
    /// Rehearse the manifests' autoscaling on real workers, through a day's load in minutes
    Rehearse(Box<rehearse::Args>),
    /// Tell what is wrong with this machine or these engines, and what to do
    Doctor(doctor::Args),
    /// Ask a gateway or worker whether it is ready; exit code 1 when it is not
    Health(health::Args),
    /// Print shell completions
    Completions { shell: clap_complete::Shell },
}

/// Runs a command; every error is one sentence on standard error.
pub async fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Up(args) => up::run(args).await,
        Command::Ask(args) => ask::run(args).await,
        Command::Publish(args) => publish::run(args).await,
        Command::Replay(args) => replay::run(*args).await,
        Command::Knowledge(command) => knowledge::run(command).await,
        Command::Intents(command) => intents::run(command).await,
        Command::Eval(command) => eval::run(command).await,
        Command::Schema(command) => schema::run(command).await,
        Command::Conversation(command) => conversation::run(command).await,
        Command::Database(command) => database::run(command).await,
        Command::Dead(command) => dead::run(command).await,
        Command::Backup(args) => backup::run(args).await,
        Command::Restore(args) => backup::restore(args).await,
        Command::Forget(args) => forget::run(*args).await,
        Command::Audit(command) => audit::run(command).await,
        Command::Keys(command) => keys::run(command).await,
        Command::Release(command) => release::run(command).await,
        Command::Topology(command) => topology::run(command).await,
        Command::Bench(args) => bench::run(*args).await,
        Command::BenchClient => bench::client().await,
        Command::BenchAxum(args) => bench::axum(args).await,
        Command::Chaos(args) => chaos::run(args).await,
        Command::Rehearse(args) => rehearse::run(*args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Health(args) => health::run(args).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "talkfleet", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("talkfleet: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_holds_together() {
        Cli::command().debug_assert();
    }
}
