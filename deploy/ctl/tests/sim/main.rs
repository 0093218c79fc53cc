//! Simulation: the gateway's and the turn's logic on a model of the broker, under whatever faults a seed deals out.
//!
//! `cargo test --test sim` plays twenty thousand seeds. A failing one is printed; `TALKFLEET_SIM_SEED=n cargo test --test sim
//! one -- --nocapture` plays it again and tells what happened, `TALKFLEET_SIM_SEEDS=n` plays more or fewer of them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

/// A customer who comes back until there is an outcome.
mod customer;

/// What must hold at the end.
mod laws;

/// A fleet, its customers, and what happens to them.
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use talkfleet_shared::{bus::model::Law, chance};

use crate::world::{Played, Shape};

/// Seeds in an ordinary run, and within how many a broken promise must have been noticed.
const SEEDS: u64 = 20_000;
const NOTICED_WITHIN: u64 = 300;

/// Plays a seed; what was violated comes back with what led there.
fn play(seed: u64, broken: Option<Law>) -> Played {
    chance::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(world::play(Shape::draw(), broken))));
    // What killed processes left behind must not draw from the next seed.
    drop(runtime);
    chance::unseed();
    played.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Played { violations: vec![format!("panic: {}", words.unwrap_or_default())], ..Played::default() }
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Plays seeds on every core until one of them violates a law; how many that were, and the seed.
fn search(seeds: u64, broken: Option<Law>) -> (Played, Option<(u64, Played)>) {
    let (next, found_at) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let threads = thread::available_parallelism().map_or(1, |n| n.get());
    let players = || {
        let mut sum = Played::default();
        let mut found = None;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || seed > found_at.load(Ordering::Relaxed) {
                return (sum, found);
            }
            let played = play(seed, broken);
            if played.violations.is_empty() {
                sum.add(&played);
            } else {
                found_at.fetch_min(seed, Ordering::Relaxed);
                found = Some((seed, played));
            }
        }
    };
    thread::scope(|scope| {
        let players: Vec<_> = (0..threads).map(|_| scope.spawn(players)).collect();
        let (mut sum, mut first) = (Played::default(), None::<(u64, Played)>);
        for (played, found) in players.into_iter().map(|player| player.join().unwrap()) {
            sum.add(&played);
            first = first.into_iter().chain(found).min_by_key(|(seed, _)| *seed);
        }
        (sum, first)
    })
}

#[test]
fn every_seed_keeps_the_promises() {
    let (seeds, began) = (number("TALKFLEET_SIM_SEEDS").unwrap_or(SEEDS), Instant::now());
    let (sum, found) = search(seeds, None);
    if let Some((seed, played)) = found {
        played.violations.iter().for_each(|violation| println!("{violation}"));
        panic!("seed {seed} breaks a promise; TALKFLEET_SIM_SEED={seed} cargo test --test sim one -- --nocapture");
    }
    println!("{seeds} seeds in {:.1} s: {sum}", began.elapsed().as_secs_f64());
    // A simulation in which nothing happens would be green as well.
    let rare = sum.cancelled.min(sum.expired).min(sum.restarts);
    assert!(sum.answered > seeds && sum.kills > seeds && rare > seeds / 1_000, "{sum}");
}

#[test]
fn one_seed_is_played_again() {
    let Some(seed) = number("TALKFLEET_SIM_SEED") else { return };
    let played = play(seed, None);
    played.story.iter().for_each(|line| println!("{line}"));
    assert!(played.violations.is_empty(), "seed {seed}:\n{}", played.violations.join("\n"));
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    for seed in 0..20 {
        let (first, second) = (play(seed, None), play(seed, None));
        let differs = first.story.iter().zip(&second.story).position(|(a, b)| a != b);
        let at = differs.map(|at| (&first.story[at], &second.story[at]));
        assert!(first.story == second.story, "seed {seed} differs at line {differs:?}: {at:?}");
    }
}

#[test]
fn a_broker_that_breaks_a_promise_is_noticed() {
    for law in [Law::FirstWriterWins, Law::OneOpenMessage, Law::AtLeastOnce] {
        let (_, found) = search(NOTICED_WITHIN, Some(law));
        let (seed, played) =
            found.unwrap_or_else(|| panic!("{NOTICED_WITHIN} seeds did not notice that {law:?} is broken"));
        println!("{law:?}: noticed at seed {seed}: {}", played.violations[0]);
    }
}
