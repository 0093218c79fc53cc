//! PURE: which stretch of the traffic is meant, as somebody types it: a time, so long ago, or a place in the journal.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// One end of a stretch as it was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// `seq:N`, a place in the journal.
    Sequence(u64),
    At(OffsetDateTime),
    /// `2h`: so long before now.
    Ago(Duration),
}

/// A stretch of the traffic, by when it was asked or by where it lies in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stretch {
    /// Asked in `from_ms..to_ms`, Unix milliseconds.
    Asked { from_ms: u64, to_ms: u64 },
    /// The journal's messages `from..=to`.
    Journal { from: u64, to: u64 },
}

impl FromStr for Edge {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "give a time as 2026-01-31T09:00:00Z, how long ago as 90s, 30m, 2h or 7d, now, or seq:N";
        if let Some(number) = text.strip_prefix("seq:") {
            return number.parse().map(Self::Sequence).map_err(|_| WRONG);
        }
        if text == "now" {
            return Ok(Self::Ago(Duration::ZERO));
        }
        if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
            return Ok(Self::At(at));
        }
        let (number, unit) = text.split_at(text.char_indices().next_back().map_or(0, |(at, _)| at));
        let number: i64 = number.parse().ok().filter(|n| (0..=1_000_000).contains(n)).ok_or(WRONG)?;
        Ok(Self::Ago(match unit {
            "s" => Duration::seconds(number),
            "m" => Duration::minutes(number),
            "h" => Duration::hours(number),
            "d" => Duration::days(number),
            _ => return Err(WRONG),
        }))
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(number) => write!(f, "seq:{number}"),
            Self::At(at) => write!(f, "{}", at.format(&Rfc3339).unwrap_or_default()),
            Self::Ago(ago) => write!(f, "{}s", ago.whole_seconds()),
        }
    }
}

impl Stretch {
    /// Both ends together; the error says why there is no such stretch.
    pub(super) fn new(from: Edge, to: Edge, now: OffsetDateTime) -> Result<Self, &'static str> {
        let at = |edge| match edge {
            Edge::At(at) => Some(millis(at)),
            Edge::Ago(ago) => Some(millis(now.saturating_sub(ago))),
            Edge::Sequence(_) => None,
        };
        let stretch = match (from, to) {
            (Edge::Sequence(from), Edge::Sequence(to)) => Self::Journal { from: from.max(1), to },
            (Edge::Sequence(from), Edge::Ago(ago)) if ago.is_zero() => {
                Self::Journal { from: from.max(1), to: u64::MAX }
            }
            (from, to) => match (at(from), at(to)) {
                (Some(from_ms), Some(to_ms)) => Self::Asked { from_ms, to_ms },
                _ => return Err("--from and --to are both times, or both seq:N"),
            },
        };
        let empty = match stretch {
            Self::Asked { from_ms, to_ms } => from_ms >= to_ms,
            Self::Journal { from, to } => from > to,
        };
        if empty { Err("--from has to lie before --to") } else { Ok(stretch) }
    }
}

impl fmt::Display for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ms: u64| {
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
            at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| ms.to_string())
        };
        match self {
            Self::Asked { from_ms, to_ms } => write!(f, "asked from {} to {}", time(*from_ms), time(*to_ms)),
            Self::Journal { from, to: u64::MAX } => write!(f, "the journal from {from}"),
            Self::Journal { from, to } => write!(f, "the journal's {from} to {to}"),
        }
    }
}

pub(super) fn millis(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: &str, to: &str, expected: Result<Stretch, &str>) {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let found = Stretch::new(from.parse().unwrap(), to.parse().unwrap(), now);
        assert_eq!(found, expected, "{from} to {to}");
    }

    #[test]
    fn a_stretch_is_two_times_or_two_places() {
        let now = 1_800_000_000_000;
        check("2h", "now", Ok(Stretch::Asked { from_ms: now - 7_200_000, to_ms: now }));
        check("1970-01-01T00:00:01Z", "90s", Ok(Stretch::Asked { from_ms: 1_000, to_ms: now - 90_000 }));
        check("seq:0", "seq:9", Ok(Stretch::Journal { from: 1, to: 9 }));
        check("seq:7", "now", Ok(Stretch::Journal { from: 7, to: u64::MAX }));
        check("seq:7", "2h", Err("--from and --to are both times, or both seq:N"));
        check("1m", "2h", Err("--from has to lie before --to"));
    }

    #[test]
    fn nonsense_is_no_edge() {
        for text in ["", "h", "2", "-2h", "2w", "seq:", "seq:x", "2026-13-01T00:00:00Z", "二時", "9999999999d"] {
            assert!(text.parse::<Edge>().is_err(), "{text}");
        }
    }
}
