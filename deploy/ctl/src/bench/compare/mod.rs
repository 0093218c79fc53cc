//! What else is measured beside the desk, driven alike and in turns with it.

pub(super) mod axum; // a bare handler

use anyhow::Result;

use super::{args::Rival, report::Outcome, scenario::Scenario, subject::Bench};

pub(super) async fn run(_bench: &mut Bench, _scenario: &Scenario, _rival: Rival) -> Result<Outcome> {
    Ok(Outcome::skipped("not yet"))
}
