//! What a scenario consists of: the load, the faults in time, what it needs, and what must be true afterwards.

use std::time::Duration;

use rand::rngs::StdRng;

use super::fault::Fault;

/// A fault at a moment after the load began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blow {
    pub(super) at: Duration,
    pub(super) fault: Fault,
}

/// What a scenario needs besides the ordinary fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// A small disk of its own for each nats-server, which takes root.
    SmallDisks,
    /// Disks whose unsynced writes can be lost, which takes root, under servers that sync always.
    LosableDisks,
    /// Responders whose clocks are this many seconds off, which takes the package faketime.
    OtherClocks(i64),
}

/// What must be true, besides the laws that hold always; a time is from the customer's view, above the usual one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// The longest time in which nobody got an answer, after each fault.
    pub(super) gap_max: Duration,
    /// How much longer than the median any answered turn may take.
    pub(super) extra_max: Duration,
    /// Tries that were refused or broken, of all customers.
    pub(super) errors_max: usize,
    /// Of all turns issued, 0 to 1.
    pub(super) answered_min: f64,
    /// Customers who had to see an answer begin anew.
    pub(super) restarts_min: usize,
    /// Of all answers, 0 to 1: made with something missing.
    pub(super) degraded_min: f64,
    /// Messages that end as `failed`.
    pub(super) failed_min: usize,
    pub(super) failed_max: usize,
}

pub(super) const S: fn(u64) -> Duration = Duration::from_secs;

impl Default for Expected {
    fn default() -> Self {
        Self {
            gap_max: S(6),
            extra_max: S(6),
            errors_max: usize::MAX,
            answered_min: 1.0,
            restarts_min: 0,
            degraded_min: 0.0,
            failed_min: 0,
            failed_max: 0,
        }
    }
}

/// One scenario.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// How long messages come in.
    pub(super) lasts: Duration,
    /// Messages a second.
    pub(super) rate: f64,
    /// How long the model pauses between two of its ten words.
    pub(super) word_gap: Duration,
    /// Messages that kill whoever asks the model about them, among the others.
    pub(super) poison: usize,
    /// What the desk may take for a turn.
    pub(super) budget: Duration,
    pub(super) needs: Needs,
    pub(super) blows: fn(&mut StdRng) -> Vec<Blow>,
    pub(super) expected: Expected,
}

impl Scenario {
    pub(super) fn new(
        name: &'static str,
        what: &'static str,
        lasts_s: u64,
        blows: fn(&mut StdRng) -> Vec<Blow>,
    ) -> Self {
        Self {
            name,
            what,
            lasts: S(lasts_s),
            rate: 20.0,
            word_gap: Duration::from_millis(20),
            poison: 0,
            budget: S(30),
            needs: Needs::Nothing,
            blows,
            expected: Expected::default(),
        }
    }

    pub(super) fn expect(self, expected: Expected) -> Self {
        Self { expected, ..self }
    }
}
