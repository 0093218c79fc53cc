//! `talkfleet doctor`: looks at this machine and at the engines it would use, changes nothing.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    connect::Connect,
    engines::{EngineOptions, Finding, Sources, State, doctor},
};

/// Look at this machine, its engines and a running fleet.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let options = EngineOptions::new(args.connect.data_dir(), Sources::from_environment());
    let mut findings = doctor(&options).await;
    findings.push(fleet(&args.connect).await);
    let sick = findings.iter().any(|finding| finding.state == State::Bad);
    match args.json {
        true => println!("{}", serde_json::Value::from(findings.iter().map(row).collect::<Vec<_>>())),
        false => findings.iter().for_each(|finding| println!("{finding}")),
    }
    Ok(if sick { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn fleet(connect: &Connect) -> Finding {
    let about = "running fleet".to_owned();
    if !connect.names_a_fleet() {
        return Finding { about, state: State::Good, found: "none; `talkfleet up` starts one".into(), advice: None };
    }
    match connect.bus().await.and_then(|bus| Ok(bus.server()?)) {
        Ok(server) => {
            let found =
                format!("NATS {} answers, JetStream {}", server.version, if server.jetstream { "on" } else { "off" });
            Finding { about, state: State::Good, found, advice: None }
        }
        Err(error) => Finding {
            about,
            state: State::Warning,
            found: format!("{error:#}"),
            advice: Some("start it again with `talkfleet up`".into()),
        },
    }
}

fn row(finding: &Finding) -> serde_json::Value {
    let state = match finding.state {
        State::Good => "good",
        State::Warning => "warning",
        State::Bad => "bad",
    };
    serde_json::json!({ "about": finding.about, "state": state, "found": finding.found, "advice": finding.advice })
}
