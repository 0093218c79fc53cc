//! `talkfleet dead drop`: dead letters deleted for good.

use std::process::ExitCode;

use anyhow::Result;

use super::{Which, Whose, confirmed, letters, numbers};
use crate::{
    audit::{Deed, noted},
    connect::Output,
};

/// Delete dead letters for good; the outcome of their requests stays `failed`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    whose: Whose,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let bus = args.output.connect.bus().await?;
    let chosen = args.which.choose(&bus, args.whose.tenant.as_ref()).await?;
    let wanted = chosen.rows.len();
    if wanted > 0 && !confirmed(&format!("Deleting {} for good", letters(wanted)), args.yes)? {
        println!("nothing was deleted");
        return Ok(ExitCode::FAILURE);
    }
    let each = async {
        let mut dropped = 0;
        for row in &chosen.rows {
            dropped += usize::from(bus.drop_dead(row.id).await?);
        }
        Ok(dropped)
    };
    let dropped = match wanted {
        0 => 0,
        _ => noted(&args.output.connect, Deed::new("dead.drop").on(numbers(&chosen.rows)), each).await?,
    };
    let gone = chosen.gone.len() + wanted - dropped;
    match (args.output.json, gone) {
        (true, _) => println!("{}", serde_json::json!({ "dropped": dropped, "gone": gone })),
        (false, 0) => println!("{} deleted", letters(dropped)),
        (false, _) => println!("{} deleted, {gone} not found", letters(dropped)),
    }
    Ok(ExitCode::SUCCESS)
}
