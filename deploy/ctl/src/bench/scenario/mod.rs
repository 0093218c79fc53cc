//! What is measured, by name.

mod apart; // roles in one process and in three
pub(super) mod delivery; // one delivery class at a rate
mod idle; // nothing at all
mod overload; // more than a fleet carries
mod saturate; // the most that a fleet carries
mod soak;
mod sockets; // many that are held open
mod spike; // much within a second // for long

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
    Apart,
    Sockets,
    Overload,
    Spike,
    Idle,
    Soak,
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
    Scenario {
        needs_own_fleet: true,
        ..about("apart", Kind::Apart, "roles in one process and in three, in turns on the same fleet")
    },
    Scenario {
        needs_own_fleet: true,
        face: Some(Face::Ws),
        ..about(
            "sockets",
            Kind::Sockets,
            "--sockets held open over two gateways, each with a message in ten seconds that is answered in pieces",
        )
    },
    about(
        "overload",
        Kind::Overload,
        "3 and 5 times what is carried, then half: goodput, refusals, and when all is well again",
    ),
    about("spike", Kind::Spike, "a tenth of --rate, all of it within a second, a tenth again"),
    Scenario {
        needs_own_fleet: true,
        ..about("idle", Kind::Idle, "memory and CPU without any message, and how soon `talkfleet up` is there")
    },
    about("soak", Kind::Soak, "half an hour at a steady rate: memory, descriptors, consumers and keys must stay flat"),
];

impl Scenario {
    pub(super) fn is_delivery(&self) -> bool {
        self.kind == Kind::Delivery
    }

    /// How it asks, when the arguments say this.
    pub(super) fn face(&self, asked: Face) -> Face {
        self.face.unwrap_or(asked)
    }
}

pub(super) async fn run(bench: &mut Bench, scenario: &Scenario) -> Result<Outcome> {
    match scenario.kind {
        Kind::Delivery => delivery::run(bench, scenario).await,
        Kind::Saturate => saturate::run(bench).await,
        Kind::Apart => apart::run(bench).await,
        Kind::Sockets => sockets::run(bench).await,
        Kind::Overload => overload::run(bench).await,
        Kind::Spike => spike::run(bench).await,
        Kind::Idle => idle::run(bench).await,
        Kind::Soak => soak::run(bench).await,
    }
}
