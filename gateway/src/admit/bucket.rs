//! PURE: how much may be drawn, and how often? Token buckets in their arrival-time form (GCRA): one time stamp says how full a bucket is.

use std::{collections::HashMap, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// Buckets above which the full ones are thrown away: 100,000 cost about 10 MB.
const BUCKETS_MAX: usize = 100_000;

/// How many units flow into a bucket within a window, and how many it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    pub units: u64,
    pub window: Duration,
    pub burst: u64,
}

impl Rate {
    /// Units a minute, and how many of them at once; both above 0.
    pub const fn of(per_minute: u32, burst: u32) -> Self {
        Self { units: per_minute as u64, window: MINUTE, burst: burst as u64 }
    }

    /// Requests a minute, and how many of them at once; None when there is no limit.
    pub fn per_minute(requests: u32, burst: u32) -> Option<Self> {
        (requests > 0).then(|| Self::of(requests, burst.max(1)))
    }

    /// What a day may cost, all of it at once if need be; None when there is no limit.
    pub fn per_day(units: u64) -> Option<Self> {
        (units > 0).then_some(Self { units, window: DAY, burst: units })
    }

    /// How long it takes until so many units have flowed in.
    pub fn time_for(self, units: u64) -> Duration {
        let nanos = self.window.as_nanos() * u128::from(units) / u128::from(self.units.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How far from full a bucket may be: the whole of it.
    pub fn depth(self) -> Duration {
        self.time_for(self.burst)
    }
}

/// What is wanted of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    /// One unit, or a refusal.
    Take,
    /// A refusal when it is empty; nothing is taken, since nobody knows yet what it will cost.
    Look,
    /// So many units, whatever is left: they were spent.
    Debit(u64),
    /// So many units come back, since the request that took them was refused elsewhere.
    Return(u64),
}

impl Wish {
    /// Units that must be there.
    pub fn needs(self) -> Option<u64> {
        match self {
            Self::Take | Self::Look => Some(1),
            Self::Debit(_) | Self::Return(_) => None,
        }
    }

    /// Units that are gone afterwards.
    pub fn takes(self) -> u64 {
        match self {
            Self::Take => 1,
            Self::Look | Self::Return(_) => 0,
            Self::Debit(units) => units,
        }
    }

    /// Units that are there again afterwards.
    pub fn gives(self) -> u64 {
        match self {
            Self::Return(units) => units,
            Self::Take | Self::Look | Self::Debit(_) => 0,
        }
    }
}

/// Which limit a bucket stands for; its name in `RateLimit-Policy`.
pub type Policy = &'static str;

/// One bucket's part in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    pub policy: Policy,
    /// The bucket's name, the same on every gateway.
    pub key: String,
    pub rate: Rate,
    pub wish: Wish,
}

/// What came of a request's draws: all of them, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// How far each bucket is from full now.
    Drawn(Vec<Duration>),
    /// The first bucket that does not have what is needed, and when it will.
    Refused { at: usize, wait: Duration },
}

/// What is left after a request was let in; it becomes the `RateLimit-*` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests a minute.
    pub limit: u64,
    /// Requests that could come right now.
    pub remaining: u64,
    /// When the bucket is full again.
    pub reset: Duration,
}

/// The tightest of the buckets that count requests.
pub fn allowance(draws: &[Draw], from_full: &[Duration]) -> Option<Allowance> {
    let counted = draws.iter().zip(from_full).filter(|(draw, _)| draw.wish == Wish::Take);
    let left = counted.map(|(Draw { rate, .. }, reset)| {
        let room = rate.depth().saturating_sub(*reset).as_nanos();
        let remaining = room / rate.time_for(1).as_nanos().max(1);
        Allowance { limit: rate.units, remaining: remaining as u64, reset: *reset }
    });
    left.min_by_key(|allowance| allowance.remaining)
}

/// A bucket; the default is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// When it is full again, on the clock of `now`.
    full_at: Duration,
}

impl Bucket {
    /// Takes one unit, or says how long to wait for it.
    pub fn take(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let wait = self.wait(rate, 1, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.debit(rate, 1, now);
        Ok(())
    }

    /// How long until so many units are there.
    fn wait(self, rate: Rate, units: u64, now: Duration) -> Duration {
        (self.full_at.max(now) + rate.time_for(units)).saturating_sub(now + rate.depth())
    }

    /// Takes units whether or not they are there; how far from full it is then.
    fn debit(&mut self, rate: Rate, units: u64, now: Duration) -> Duration {
        self.full_at = self.full_at.max(now) + rate.time_for(units);
        self.full_at - now
    }
}

/// Buckets by their names.
#[derive(Debug, Default)]
pub struct Buckets {
    /// One that is not there is full.
    kept: HashMap<String, Bucket>,
}

impl Buckets {
    /// Draws from all of a request's buckets; a refusal draws from none.
    pub fn draw(&mut self, draws: &[Draw], now: Duration) -> Verdict {
        for (at, Draw { key, rate, wish, .. }) in draws.iter().enumerate() {
            let bucket = self.kept.get(key).copied().unwrap_or_default();
            let wait = wish.needs().map_or(Duration::ZERO, |units| bucket.wait(*rate, units, now));
            if !wait.is_zero() {
                return Verdict::Refused { at, wait };
            }
        }
        // A full bucket says nothing and need not be kept.
        if self.kept.len() > BUCKETS_MAX {
            self.kept.retain(|_, bucket| bucket.full_at > now);
        }
        let debit = |Draw { key, rate, wish, .. }: &Draw| {
            let bucket = self.kept.entry(key.clone()).or_default();
            bucket.full_at = bucket.full_at.saturating_sub(rate.time_for(wish.gives()));
            bucket.debit(*rate, wish.takes(), now)
        };
        Verdict::Drawn(draws.iter().map(debit).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn draw(key: &str, rate: Option<Rate>, wish: Wish) -> Draw {
        Draw { policy: "user", key: key.into(), rate: rate.unwrap(), wish }
    }

    fn take(key: &str, per_minute: u32, burst: u32) -> Draw {
        draw(key, Rate::per_minute(per_minute, burst), Wish::Take)
    }

    #[test]
    fn a_burst_is_let_in_then_one_a_second() {
        let (mut buckets, draws) = (Buckets::default(), [take("a", 60, 3)]);
        let mut ask = |ms| match buckets.draw(&draws, at(ms)) {
            Verdict::Drawn(from_full) => Ok(allowance(&draws, &from_full).unwrap().remaining),
            Verdict::Refused { wait, .. } => Err(wait),
        };
        assert_eq!([ask(0), ask(0), ask(0)], [Ok(2), Ok(1), Ok(0)]);
        assert_eq!((ask(0), ask(400)), (Err(at(1_000)), Err(at(600))));
        assert!(ask(1_000).is_ok());
        assert_eq!(Rate::per_minute(0, 5), None);
    }

    #[test]
    fn what_one_bucket_refuses_is_taken_from_none() {
        let mut buckets = Buckets::default();
        let draws = [take("user", 60, 9), take("tenant", 60, 1)];
        assert!(matches!(buckets.draw(&draws, at(0)), Verdict::Drawn(_)));
        assert_eq!(buckets.draw(&draws, at(0)), Verdict::Refused { at: 1, wait: at(1_000) });
        assert_eq!(buckets.kept["user"].full_at, at(1_000), "only the first one's");
    }

    #[test]
    fn what_was_spent_is_owed_until_it_has_flowed_in() {
        let mut buckets = Buckets::default();
        let day = Rate::per_day(86_400);
        let look = [draw("t", day, Wish::Look)];
        let spend = |units| [draw("t", day, Wish::Debit(units))];
        assert!(matches!(buckets.draw(&look, at(0)), Verdict::Drawn(_)));
        buckets.draw(&spend(86_399), at(0));
        assert!(matches!(buckets.draw(&look, at(0)), Verdict::Drawn(_)), "one is left");
        buckets.draw(&spend(11), at(0));
        assert_eq!(
            buckets.draw(&look, at(0)),
            Verdict::Refused { at: 0, wait: at(11_000) },
            "ten more than there were"
        );
        assert!(matches!(buckets.draw(&look, at(11_000)), Verdict::Drawn(_)));
    }

    proptest! {
        #[test]
        fn no_number_of_buckets_lets_in_more_than_their_rates_and_bursts(
            asks in prop::collection::vec((0u64..300, 0usize..5, 0usize..2), 1..300),
            user_per_minute in 1u32..6_000,
            tenant_per_minute in 1u32..6_000,
            burst in 1u32..50,
        ) {
            let (mut buckets, mut now, mut let_in) = (Buckets::default(), 0, HashMap::<String, u64>::new());
            for (wait, user, tenant) in asks {
                now += wait;
                let draws = [
                    take(&format!("u{user}"), user_per_minute, burst),
                    take(&format!("t{tenant}"), tenant_per_minute, burst * 2),
                ];
                if let Verdict::Drawn(_) = buckets.draw(&draws, at(now)) {
                    draws.iter().for_each(|draw| *let_in.entry(draw.key.clone()).or_default() += 1);
                }
                for draw in &draws {
                    let most = draw.rate.burst + now * draw.rate.units / 60_000 + 1;
                    let got = let_in.get(&draw.key).copied().unwrap_or_default();
                    prop_assert!(got <= most, "{got} of {most} for {}", draw.key);
                }
            }
        }

        #[test]
        fn whoever_waits_as_told_is_let_in(before in 1usize..100, per_minute in 1u32..6_000, burst in 1u32..50) {
            let (mut buckets, draws) = (Buckets::default(), [take("a", per_minute, burst)]);
            let refused = (0..before).filter_map(|_| match buckets.draw(&draws, at(0)) {
                Verdict::Refused { wait, .. } => Some(wait),
                Verdict::Drawn(_) => None,
            });
            if let Some(wait) = refused.last() {
                prop_assert!(matches!(buckets.draw(&draws, wait), Verdict::Drawn(_)));
            }
        }
    }
}
