//! `talkfleet`, the operator's command: arguments in, exit code out.

use std::{panic, process};

use clap::Parser;

/// Turns are made of many short-lived texts, which glibc's allocator spends a quarter of a gateway's CPU on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> process::ExitCode {
    end_with_the_reader();
    talkfleet::cli::run(talkfleet::cli::Cli::parse()).await
}

/// `talkfleet … | head`: whoever read has enough, which is no failure. Printing macros know no way but to panic, and a
/// default SIGPIPE would end `up` and `knowledge add` with each client or child that hangs up.
fn end_with_the_reader() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |why| match why.payload_as_str() {
        Some(text) if text.contains("Broken pipe") => process::exit(0),
        _ => usual(why),
    }));
}
