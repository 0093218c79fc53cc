//! PURE: which replica a read may go to.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Lsn;

/// Samples of the primary that are kept: one a second, for longer than the greatest lag that a configuration allows.
const SAMPLES_MAX: usize = 700;

/// Where the primary's log stood, and when.
#[derive(Debug, Default)]
pub struct Track(VecDeque<(Instant, Lsn)>);

impl Track {
    pub fn note(&mut self, now: Instant, primary: Lsn) {
        // Going back means another primary; what was noted of the one before says nothing about it.
        if self.0.back().is_some_and(|(_, before)| *before > primary) {
            self.0.clear();
        }
        self.0.push_back((now, primary));
        if self.0.len() > SAMPLES_MAX {
            self.0.pop_front();
        }
    }

    /// How far behind a replica is at most, that has come to `replayed`; None when nobody knows.
    ///
    /// It holds all that the primary held at the newest sample that it has reached. While the primary is away nothing is
    /// written, and a replica that has all of it is not behind.
    pub fn lag(&self, replayed: Lsn, now: Instant) -> Option<Duration> {
        let (_, newest) = self.0.back()?;
        if replayed >= *newest {
            return Some(Duration::ZERO);
        }
        let (reached_at, _) = self.0.iter().rev().find(|(_, primary)| *primary <= replayed)?;
        Some(now.saturating_duration_since(*reached_at))
    }
}

/// What is known of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Standing {
    /// It does not answer, or is no replica.
    #[default]
    Away,
    Replays {
        replayed: Lsn,
        lag: Option<Duration>,
    },
}

impl Standing {
    /// Whether it has come to `seen` and is not too far behind.
    fn serves(self, seen: Lsn, lag_max: Duration) -> bool {
        match self {
            Self::Away => false,
            Self::Replays { replayed, lag } => replayed >= seen && lag.is_some_and(|lag| lag <= lag_max),
        }
    }
}

/// One of the replicas that serve, each in its turn; None sends the read to the primary.
pub fn choose(replicas: &[Standing], seen: Lsn, lag_max: Duration, turn: usize) -> Option<usize> {
    let serving: Vec<usize> = (0..replicas.len()).filter(|place| replicas[*place].serves(seen, lag_max)).collect();
    serving.get(turn.checked_rem(serving.len())?).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: Duration = Duration::from_secs(2);

    fn lsn(n: u64) -> Lsn {
        Lsn::parse(&format!("{:X}/{:X}", n >> 32, n & 0xFFFF_FFFF)).unwrap()
    }

    #[test]
    fn lag_is_told_by_the_clock_and_never_too_small() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut track = Track::default();
        assert_eq!(track.lag(lsn(5), start), None);
        for n in 0..10_u32 {
            track.note(start + second * n, lsn(u64::from(n) * 100));
        }
        let now = start + second * 9;
        assert_eq!(track.lag(lsn(900), now), Some(Duration::ZERO));
        assert_eq!(track.lag(lsn(899), now), Some(second));
        assert_eq!(track.lag(lsn(0), now), Some(second * 9));
        assert_eq!(track.lag(lsn(900), now + second * 60), Some(Duration::ZERO), "nothing was written since");
        track.note(now, lsn(50));
        assert_eq!(track.lag(lsn(40), now), None, "another primary, and nobody knows");
    }

    #[test]
    fn reads_go_round_those_that_serve() {
        let at = |replayed, lag_ms: u64| Standing::Replays {
            replayed: lsn(replayed),
            lag: Some(Duration::from_millis(lag_ms)),
        };
        let replicas = [at(10, 0), Standing::Away, at(20, 1_000), at(30, 5_000)];
        let turns = |seen| (0..4).map(|turn| choose(&replicas, lsn(seen), MAX, turn)).collect::<Vec<_>>();
        assert_eq!(turns(0), [Some(0), Some(2), Some(0), Some(2)]);
        assert_eq!(turns(15), [Some(2); 4], "only one has what was written");
        assert_eq!(turns(25), [None; 4], "the one that has it is too far behind");
        assert_eq!(choose(&[], lsn(0), MAX, 3), None);
    }

    fn standing() -> impl Strategy<Value = Standing> {
        prop_oneof![
            Just(Standing::Away),
            (0..100_u64, proptest::option::of(0..10_000_u64)).prop_map(|(replayed, lag)| Standing::Replays {
                replayed: lsn(replayed),
                lag: lag.map(Duration::from_millis)
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_read_never_goes_where_its_write_is_not(
            replicas in proptest::collection::vec(standing(), 0..6), seen in 0..100_u64, turn: usize,
        ) {
            match choose(&replicas, lsn(seen), MAX, turn) {
                Some(place) => prop_assert!(replicas[place].serves(lsn(seen), MAX)),
                None => prop_assert!(replicas.iter().all(|replica| !replica.serves(lsn(seen), MAX))),
            }
        }
    }
}
