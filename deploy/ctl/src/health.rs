//! `talkfleet health`: whether a gateway or worker says that it is ready, for containers that have no other program to ask with.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;

/// How long an answer is waited for; who asks gives up after three seconds.
const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The admin port of the process, as its admin.listen; 0.0.0.0 is asked at this machine
    #[arg(long, env = "TALKFLEET_ADMIN__LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    admin: String,
}

/// What `/readyz` says.
#[derive(Debug, Deserialize)]
struct Said {
    ready: bool,
    missing: BTreeMap<String, String>,
}

pub(crate) async fn run(Args { admin }: Args) -> Result<ExitCode> {
    let asked = asked(&admin);
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let answer = client.get(format!("http://{asked}/readyz")).send().await;
    let answer =
        answer.map_err(|_| anyhow!("nobody answers at {asked}; give the process's admin.listen by --admin"))?;
    let said: Said = answer.json().await.with_context(|| format!("what answers at {asked} is no part of Talkfleet"))?;
    println!("{}", if said.ready { "ready" } else { "not ready" });
    for (part, why) in said.missing {
        println!("{part}: {why}");
    }
    Ok(if said.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where somebody on the same machine reaches what listens there.
fn asked(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0" | "[::]" | "", port)) => format!("127.0.0.1:{port}"),
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_here() {
        for (listen, expected) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "127.0.0.1:9090"),
            (":9090", "127.0.0.1:9090"),
            ("10.0.0.3:9090", "10.0.0.3:9090"),
            ("[::1]:9090", "[::1]:9090"),
        ] {
            assert_eq!(asked(listen), expected);
        }
    }
}
