//! What a scenario consists of: the load, the faults in time, what it needs, and what must be true afterwards.

use std::time::Duration;

use rand::{Rng, rngs::StdRng};

use super::fault::Fault;

/// A fault at a moment after the load began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blow {
    pub(super) at: Duration,
    pub(super) fault: Fault,
}

pub(super) fn at(seconds: u64, fault: Fault) -> Blow {
    Blow { at: S(seconds), fault }
}

/// The same fault several times, this far apart, with a number of the seed's choice each time.
pub(super) fn often(rng: &mut StdRng, times: u64, every_s: u64, fault: impl Fn(usize) -> Fault) -> Vec<Blow> {
    (0..times).map(|n| at(3 + n * every_s, fault(rng.random_range(0..64)))).collect()
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
    /// How much longer than the median any answered turn may take, not counting the wait behind its customer's own
    /// messages and what had been made of it when its worker died: that grows with the answer, not with the fault.
    pub(super) extra_max: Duration,
    /// Tries that were refused or broken, of all customers.
    pub(super) errors_max: usize,
    /// Kinds of them that do not count.
    pub(super) errors_but: &'static [&'static str],
    /// Of all turns issued, 0 to 1.
    pub(super) answered_min: f64,
    /// How long a message may wait behind an earlier one of its conversation.
    pub(super) behind_max: Option<Duration>,
    /// From a blow until an answer that was cut off by it is begun anew.
    pub(super) anew_max: Option<Duration>,
    /// Customers who had to see an answer begin anew.
    pub(super) restarts_min: usize,
    /// Of all answers, 0 to 1: made with something missing.
    pub(super) degraded_min: f64,
    /// Messages that end as `failed`.
    pub(super) failed_min: usize,
    pub(super) failed_max: usize,
    /// Messages that are stopped.
    pub(super) cancelled_min: usize,
    /// Dead letters that the run must leave for people.
    pub(super) dead_min: usize,
    /// Processes that may end.
    pub(super) deaths_max: Option<u32>,
    /// The p99 of turns asked since the first fault, by that of those asked before it.
    pub(super) p99_factor_max: Option<f64>,
    /// What any gateway or worker may hold more than before.
    pub(super) memory_growth_max_mb: Option<u64>,
    /// How soon a customer is told yes or no while the fault lasts and is known.
    pub(super) told: Option<Told>,
    /// While the fault lasts, 99 % of all turns have a degraded answer; this long after its end none has.
    pub(super) degraded_until: Option<Duration>,
    /// How long after the last customer has gone all rows are in the archive.
    pub(super) archived_within: Duration,
}

/// How soon a customer is told that it cannot be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// Before that, it may as well be an election, which is waited for.
    pub(super) known_after: Duration,
    pub(super) within: Duration,
}

/// After the death of a leader the server's source of the journal waits 30 s for an answer that was lost with it, then
/// 12 s more before it asks again; neither can be set.
const SOURCE_RESUMES: Duration = Duration::from_secs(60);

pub(super) const S: fn(u64) -> Duration = Duration::from_secs;

impl Default for Expected {
    fn default() -> Self {
        Self {
            gap_max: S(6),
            extra_max: S(6),
            errors_max: usize::MAX,
            errors_but: &[],
            answered_min: 1.0,
            behind_max: None,
            anew_max: None,
            restarts_min: 0,
            degraded_min: 0.0,
            failed_min: 0,
            failed_max: 0,
            cancelled_min: 0,
            dead_min: 0,
            deaths_max: None,
            p99_factor_max: None,
            memory_growth_max_mb: None,
            told: None,
            degraded_until: None,
            archived_within: SOURCE_RESUMES,
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
