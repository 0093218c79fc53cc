//! Gates for CI: figures against limits and an exit code, the same for `replay`, `eval answers` and `bench`.

/// PURE: figures, limits, and one beside the other.
mod threshold;

pub(crate) use self::threshold::gauges;
pub use self::threshold::{Check, Found, Gauge, Sort, State, Threshold, ThresholdError, with_defaults, written};
