//! `talkfleet database`: the schema, brought up to date by whoever owns it.

use std::process::ExitCode;

use anyhow::Result;

use crate::connect::Connect;

/// From so many passages in all on pgvector finds meanings by a graph: the workers' own `retrieval.graph_from`.
const GRAPH_FROM: i64 = 20_000;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Bring the schema up to date, and let each role of deploy/sql/roles.sql do what its part needs; for workers whose user
    /// may not (database.migrate = false)
    Migrate(Migrate),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {
    /// Make the tables of retrieval.backend = "pgvector" too, and its graph once there are enough passages
    #[arg(long)]
    search: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    let Command::Migrate(Migrate { search, connect }) = command;
    let store = connect.store().await?;
    store.migrate().await?;
    if search {
        store.search_prepare().await?;
        store.search_graph(GRAPH_FROM).await?;
    }
    store.grant().await?;
    println!("the schema is up to date");
    Ok(ExitCode::SUCCESS)
}
