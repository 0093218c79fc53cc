//! PURE: how fast turns are asked again, and when the live fleet is left alone.

use std::{fmt, str::FromStr, time::Duration};

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Speed {
    /// This many times as fast as it was asked; 1 is as it was.
    Times(f64),
    /// As fast as it goes.
    Max,
}

impl FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "give original, max, or how many times as fast, such as 10x";
        match text {
            "original" => Ok(Self::Times(1.0)),
            "max" => Ok(Self::Max),
            _ => {
                let times: f64 = text.strip_suffix('x').and_then(|n| n.parse().ok()).ok_or(WRONG)?;
                if times.is_finite() && times > 0.0 { Ok(Self::Times(times)) } else { Err(WRONG) }
            }
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}x"),
            Self::Max => f.write_str("max"),
        }
    }
}

impl Speed {
    /// How long after the first turn this one is due.
    pub(super) fn due(self, first_ms: u64, asked_ms: u64) -> Duration {
        match self {
            Self::Max => Duration::ZERO,
            Self::Times(times) => Duration::from_millis(asked_ms.saturating_sub(first_ms)).div_f64(times),
        }
    }
}

/// What the live fleet's lag leaves to a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Gate {
    #[default]
    Open,
    /// Each turn waits a little first.
    Narrow,
    /// No turn begins.
    Shut,
}

impl Gate {
    /// Shut above the most that may lie there, narrow above half of it; once shut, not open before it has fallen to half.
    pub(super) fn after(self, lag: u64, lag_max: u64) -> Self {
        match lag {
            lag if lag > lag_max => Self::Shut,
            lag if lag <= lag_max / 2 => Self::Open,
            _ if self == Self::Shut => Self::Shut,
            _ => Self::Narrow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_due_as_it_was_asked_or_sooner() {
        let due = |speed: &str| speed.parse::<Speed>().unwrap().due(1_000, 11_000);
        assert_eq!(due("original"), Duration::from_secs(10));
        assert_eq!(due("4x"), Duration::from_millis(2_500));
        assert_eq!(due("max"), Duration::ZERO);
        for text in ["", "x", "0x", "-1x", "NaNx", "infx", "10", "fast"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_gate_shuts_above_the_bound_and_opens_at_half() {
        let walk = [0, 60, 101, 60, 50, 100].into_iter().scan(Gate::Open, |gate, lag| {
            *gate = gate.after(lag, 100);
            Some(*gate)
        });
        let expected = [Gate::Open, Gate::Narrow, Gate::Shut, Gate::Shut, Gate::Open, Gate::Narrow];
        assert!(walk.eq(expected));
        assert_eq!(Gate::Open.after(0, 0), Gate::Open);
        assert_eq!(Gate::Open.after(1, 0), Gate::Shut);
    }
}
