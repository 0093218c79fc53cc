//! `talkfleet dead list`: the dead letters by cause, or one by one.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    Whose,
    group::{Group, Groups, Row},
    letters, row,
};
use crate::connect::Output;

/// List the dead letters by cause: how many, since when, why, and one of them to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One by one instead of by cause
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let bus = args.output.connect.bus().await?;
    let mut heads = bus.dead_letters(args.whose.tenant.as_ref()).await?;
    let (mut groups, mut rows, mut count) = (Groups::default(), Vec::new(), 0);
    while let Some(head) = heads.next().await? {
        count += 1;
        match args.all {
            true => rows.push(row(&head)),
            false => groups.add(&row(&head)),
        }
    }
    let groups = groups.sorted();
    match (args.output.json, args.all) {
        (true, true) => println!("{}", serde_json::to_string(&rows)?),
        (true, false) => println!("{}", serde_json::to_string(&groups)?),
        (false, _) if count == 0 => println!("there are no dead letters"),
        (false, true) => print_rows(&rows),
        (false, false) => print_groups(&groups, count),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_groups(groups: &[Group], count: usize) {
    println!(
        "{:<16} {:>7}  {:<19}  {:<19}  {:>8}  REASON",
        "FINGERPRINT", "COUNT", "FIRST (UTC)", "LAST (UTC)", "EXAMPLE"
    );
    for Group { fingerprint, count, first, last, example, reason, .. } in groups {
        println!("{fingerprint:<16} {count:>7}  {first}  {last}  {example:>8}  {reason}");
    }
    let causes = if groups.len() == 1 { "cause" } else { "causes" };
    println!("\n{} of {} {causes}; `talkfleet dead show EXAMPLE` tells more", letters(count), groups.len());
}

fn print_rows(rows: &[Row]) {
    println!("{:>8}  {:<19}  {:<16} {:<16} {:<40} REASON", "ID", "SINCE (UTC)", "FINGERPRINT", "TENANT", "FROM");
    for Row { id, stored_at, fingerprint, tenant, origin, reason, .. } in rows {
        println!("{id:>8}  {stored_at}  {fingerprint:<16} {tenant:<16} {origin:<40} {reason}");
    }
}
