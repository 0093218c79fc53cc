//! What is measured, by name.

mod delivery; // one delivery class at a rate
mod saturate; // the most that a fleet carries

use anyhow::Result;

use super::{driver::Face, report::Outcome, subject::Bench};

/// A scenario as `--list` tells it.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// The channel unless another is asked for.
    pub(super) channel: Option<&'static str>,
    /// The face that it is about.
    face: Option<Face>,
    pub(super) needs_own_fleet: bool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Delivery,
    Saturate,
}

const fn about(name: &'static str, kind: Kind, what: &'static str) -> Scenario {
    Scenario { name, what, channel: None, face: None, needs_own_fleet: false, kind }
}

pub(super) const ALL: &[Scenario] = &[
    about(
        "durable",
        Kind::Delivery,
        "messages at --rate that are stored before they are accepted, the default of every channel",
    ),
    Scenario {
        channel: Some("journaled"),
        ..about(
            "journaled",
            Kind::Delivery,
            "the same on a channel whose messages are answered at once, with a copy stored",
        )
    },
    Scenario {
        channel: Some("fast"),
        ..about("fast", Kind::Delivery, "the same on a channel whose messages are answered at once and stored nowhere")
    },
    about(
        "saturate",
        Kind::Saturate,
        "the rate goes up until an answer in a hundred fails or p99 exceeds --p99-limit-ms",
    ),
];

impl Scenario {
    /// How it asks, when the arguments say this.
    pub(super) fn face(&self, asked: Face) -> Face {
        self.face.unwrap_or(asked)
    }
}

pub(super) async fn run(bench: &mut Bench, scenario: &Scenario) -> Result<Outcome> {
    match scenario.kind {
        Kind::Delivery => delivery::run(bench, scenario).await,
        Kind::Saturate => saturate::run(bench).await,
    }
}
