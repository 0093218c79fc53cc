//! PURE: who is served next? A bounded line for when there is no room: lanes by priority, turns between tenants, and nobody waits long.
//!
//! Between tenants it goes round robin: a request is one unit of work to the gateway, so deficits (DRR) would all be zero. A
//! full line drops from the tenant who has most in it, as fair queueing in routers does (McKenney 1990), so that one who asks
//! for five times their share pays for it alone. Within a tenant it is adaptive LIFO (Maurer, 'Fail at Scale', ACM Queue 2015):
//! first come first served, until the first one has waited half of the dwell time; from then on the newest first. First come
//! first served would make everybody wait the whole dwell time under a lasting overload and serve those whose time is nearly
//! over; the number of those who are refused is the same.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

/// How urgent a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Lane {
    /// Somebody waits for the answer.
    #[default]
    Interactive,
    /// Nobody does: a report, a re-run, a test.
    Batch,
}

impl Lane {
    /// The most urgent first.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Batch];

    /// As a client calls it. One may lower oneself and cannot raise; a word that is not known is a hint that is not taken.
    pub fn named(word: Option<&str>) -> Self {
        match word {
            Some(word) if word.trim().eq_ignore_ascii_case("batch") => Self::Batch,
            _ => Self::Interactive,
        }
    }

    /// The word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

/// Somebody who waits.
#[derive(Debug)]
struct Waiting<T> {
    ticket: T,
    since: Instant,
}

/// One lane: each tenant's requests, and whose turn it is.
#[derive(Debug)]
struct Tenants<K, T> {
    waiting: HashMap<K, VecDeque<Waiting<T>>>,
    /// Everybody who has something waiting, the next one first.
    turns: VecDeque<K>,
    len: usize,
}

/// Everybody who waits for room.
#[derive(Debug)]
pub struct Queue<K, T> {
    lanes: [Tenants<K, T>; Lane::ALL.len()],
    /// The most that may wait.
    waiting_max: usize,
    /// The longest that anybody waits.
    dwell: Duration,
}

impl<K: Clone + Eq + Hash, T> Queue<K, T> {
    pub fn new(waiting_max: usize, dwell: Duration) -> Self {
        Self { lanes: std::array::from_fn(|_| Tenants::default()), waiting_max, dwell }
    }

    /// How many wait in a lane.
    pub fn len(&self, lane: Lane) -> usize {
        self.lanes[lane as usize].len
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.len == 0)
    }

    /// Lets somebody wait; whoever has to leave for it comes back: those whose time is over, and if the line is full still,
    /// one of the tenant who has most in it, from the lowest lane that is not above the newcomer's; else the newcomer.
    #[must_use = "whoever has to leave must be told"]
    pub fn push(&mut self, key: K, lane: Lane, ticket: T, now: Instant) -> Vec<T> {
        let mut leaving = self.expire(now);
        self.lanes[lane as usize].push(key, Waiting { ticket, since: now });
        if Lane::ALL.iter().map(|lane| self.len(*lane)).sum::<usize>() > self.waiting_max {
            let lowest = self.lanes[lane as usize..].iter_mut().rev().find(|lane| lane.len > 0);
            leaving.extend(lowest.and_then(Tenants::drop_from_longest));
        }
        leaving
    }

    /// Who is served next, and since when they wait; `still_waits` says who has left meanwhile.
    pub fn pop(&mut self, now: Instant, still_waits: impl Fn(&T) -> bool) -> Option<(T, Lane, Instant)> {
        for lane in Lane::ALL {
            while let Some(next) = self.lanes[lane as usize].pop(now, self.dwell) {
                if still_waits(&next.ticket) {
                    return Some((next.ticket, lane, next.since));
                }
            }
        }
        None
    }

    /// Those whose time is over.
    #[must_use = "whoever has to leave must be told"]
    pub fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut over = Vec::new();
        for lane in &mut self.lanes {
            lane.expire(now, self.dwell, &mut over);
        }
        over
    }
}

impl<K, T> Default for Tenants<K, T> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), turns: VecDeque::new(), len: 0 }
    }
}

impl<K: Clone + Eq + Hash, T> Tenants<K, T> {
    fn push(&mut self, key: K, newcomer: Waiting<T>) {
        self.len += 1;
        if let Some(theirs) = self.waiting.get_mut(&key) {
            theirs.push_back(newcomer);
            return;
        }
        self.turns.push_back(key.clone());
        self.waiting.insert(key, VecDeque::from([newcomer]));
    }

    fn pop(&mut self, now: Instant, dwell: Duration) -> Option<Waiting<T>> {
        while let Some(key) = self.turns.pop_front() {
            let Some(theirs) = self.waiting.get_mut(&key) else { continue };
            let waits = |first: Option<&Waiting<T>>| first.map(|first| now.saturating_duration_since(first.since));
            while waits(theirs.front()).is_some_and(|waited| waited >= dwell) {
                theirs.pop_front();
                self.len -= 1;
            }
            let is_late = waits(theirs.front()).is_some_and(|waited| waited >= dwell / 2);
            let next = if is_late { theirs.pop_back() } else { theirs.pop_front() };
            if theirs.is_empty() {
                self.waiting.remove(&key);
            } else {
                self.turns.push_back(key);
            }
            if next.is_some() {
                self.len -= 1;
                return next;
            }
        }
        None
    }

    /// The oldest of the tenant who has most waiting: their time is over soonest.
    fn drop_from_longest(&mut self) -> Option<T> {
        let longest = self.waiting.iter().max_by_key(|(_, theirs)| theirs.len())?.0.clone();
        let theirs = self.waiting.get_mut(&longest)?;
        let dropped = theirs.pop_front()?;
        self.len -= 1;
        if theirs.is_empty() {
            self.forget(&longest);
        }
        Some(dropped.ticket)
    }

    fn expire(&mut self, now: Instant, dwell: Duration, over: &mut Vec<T>) {
        if self.len == 0 {
            return;
        }
        for theirs in self.waiting.values_mut() {
            while theirs.front().is_some_and(|first| now.saturating_duration_since(first.since) >= dwell) {
                over.extend(theirs.pop_front().map(|waiting| waiting.ticket));
                self.len -= 1;
            }
        }
        self.waiting.retain(|_, theirs| !theirs.is_empty());
        self.turns.retain(|key| self.waiting.contains_key(key));
    }

    fn forget(&mut self, key: &K) {
        self.waiting.remove(key);
        self.turns.retain(|other| other != key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DWELL: Duration = Duration::from_millis(50);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn next(queue: &mut Queue<u8, u32>, now: Instant) -> Option<u32> {
        queue.pop(now, |_| true).map(|(ticket, ..)| ticket)
    }

    #[test]
    fn tenants_take_turns_and_the_urgent_come_first() {
        let (mut queue, now) = (Queue::new(100, DWELL), Instant::now());
        for ticket in 0..5 {
            assert!(queue.push(1, Lane::Interactive, ticket, now).is_empty());
        }
        assert!(queue.push(2, Lane::Batch, 30, now).is_empty());
        assert!(queue.push(2, Lane::Interactive, 20, now).is_empty());
        let served: Vec<_> = std::iter::from_fn(|| next(&mut queue, now)).collect();
        assert_eq!(served, [0, 20, 1, 2, 3, 4, 30]);
        assert!(queue.is_empty());
    }

    #[test]
    fn under_overload_the_newest_is_served_first() {
        let (mut queue, start) = (Queue::new(100, DWELL), Instant::now());
        for ticket in 0..40 {
            assert!(queue.push(1, Lane::Interactive, ticket, start + ms(u64::from(ticket))).is_empty());
        }
        assert_eq!(next(&mut queue, start + ms(24)), Some(0), "in order while nobody waited long");
        assert_eq!(next(&mut queue, start + ms(40)), Some(39));
        assert_eq!(next(&mut queue, start + ms(200)), None, "nobody waits that long");
    }

    #[test]
    fn a_full_line_drops_of_whoever_has_most_in_it() {
        let (mut queue, now) = (Queue::new(4, DWELL), Instant::now());
        for ticket in 0..4 {
            assert!(queue.push(1, Lane::Interactive, ticket, now).is_empty());
        }
        assert_eq!(queue.push(2, Lane::Interactive, 10, now), [0]);
        assert_eq!(queue.push(2, Lane::Batch, 20, now), [20], "what is less urgent pushes nobody out");
        assert_eq!(queue.len(Lane::Interactive), 4);
    }

    /// Requests a second that are offered, by tenant, and what each of them got of it.
    fn shares(offered: &[u64], served_per_s: u64) -> Vec<f64> {
        let (mut queue, start) = (Queue::new(200, DWELL), Instant::now());
        let mut served = vec![0_u64; offered.len()];
        for ms_now in 0..4_000_u64 {
            let now = start + ms(ms_now);
            for (tenant, rate) in offered.iter().enumerate() {
                let due = |at: u64| at * rate / 1_000;
                for _ in due(ms_now)..due(ms_now + 1) {
                    drop(queue.push(tenant as u8, Lane::Interactive, tenant as u32, now));
                }
            }
            for _ in ms_now * served_per_s / 1_000..(ms_now + 1) * served_per_s / 1_000 {
                if let Some(tenant) = next(&mut queue, now) {
                    served[tenant as usize] += 1;
                }
            }
        }
        served.iter().zip(offered).map(|(got, rate)| *got as f64 / (rate * 4) as f64).collect()
    }

    #[test]
    fn one_tenant_at_five_times_their_share_leaves_the_others_theirs() {
        let got = shares(&[5_000, 1_000, 1_000, 1_000], 4_000);
        assert!(got[1..].iter().all(|share| *share >= 0.95), "{got:?}");
        assert!(got[0] <= 0.25, "{got:?}");
        let got = shares(&[5_000, 900, 900, 900], 4_000);
        assert!(got[0] >= 0.25 && got[1..].iter().all(|share| *share >= 0.99), "what is left is theirs: {got:?}");
    }

    proptest! {
        /// Whoever comes whenever and is served whenever: nobody is lost or served twice, nobody waits longer than the dwell
        /// time, no lane is overtaken by one below it, and no tenant is passed over while another is served twice.
        #[test]
        fn nobody_starves_waits_long_or_is_overtaken(
            steps in prop::collection::vec((0u64..20, 0u8..4, any::<bool>(), 0u8..3), 1..300),
            waiting_max in 1usize..30,
        ) {
            let (mut queue, mut now) = (Queue::new(waiting_max, DWELL), Instant::now());
            let mut open: HashMap<u32, (u8, Lane, Instant)> = HashMap::new();
            let mut passed_over: HashMap<(u8, Lane), HashMap<u8, u32>> = HashMap::new();
            for (number, (wait, tenant, batch, pops)) in steps.into_iter().enumerate() {
                now += ms(wait);
                let lane = if batch { Lane::Batch } else { Lane::Interactive };
                open.insert(number as u32, (tenant, lane, now));
                for left in queue.push(tenant, lane, number as u32, now) {
                    let (tenant, lane, _) = open.remove(&left).unwrap();
                    passed_over.remove(&(tenant, lane));
                }
                prop_assert!(open.len() <= waiting_max);
                passed_over.retain(|(other, l), _| open.values().any(|(t, lane, _)| (t, lane) == (other, l)));
                for _ in 0..pops {
                    let Some((ticket, lane, since)) = queue.pop(now, |_| true) else {
                        prop_assert!(open.values().all(|(.., since)| now - *since >= DWELL));
                        open.clear();
                        break;
                    };
                    let (tenant, its_lane, came) = open.remove(&ticket).unwrap();
                    prop_assert_eq!((lane, since), (its_lane, came));
                    prop_assert!(now - came < DWELL);
                    open.retain(|_, (.., since)| now - *since < DWELL);
                    prop_assert!(open.values().all(|(_, other, _)| lane == Lane::Interactive || *other == Lane::Batch));
                    passed_over.remove(&(tenant, lane));
                    let waiting: std::collections::HashSet<u8> = open.values().filter(|(_, l, _)| *l == lane).map(|(t, ..)| *t).collect();
                    for other in waiting.iter().filter(|other| **other != tenant) {
                        let times = passed_over.entry((*other, lane)).or_default().entry(tenant).or_default();
                        *times += 1;
                        prop_assert!(*times <= 2, "{other} was passed over for {tenant} again and again");
                    }
                    passed_over.retain(|(other, l), _| *l != lane || waiting.contains(other));
                }
            }
        }
    }
}
