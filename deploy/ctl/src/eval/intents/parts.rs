//! PURE: a file dealt out: into parts for cross-validation, and into shares for the learning curve, each intent evenly.

use std::collections::BTreeMap;

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::data::Labelled;

/// The same parts on every machine and in every run.
const SEED: u64 = 20_261_123;

/// Which of `folds` parts every line belongs to: each intent is dealt out evenly, in shuffled order.
pub fn folds(lines: &[Labelled], folds: usize) -> Vec<usize> {
    let mut parts = vec![0; lines.len()];
    for (number, class) in shuffled(lines).into_iter().enumerate() {
        for (dealt, at) in class.into_iter().enumerate() {
            parts[at] = (dealt + number) % folds;
        }
    }
    parts
}

/// The first share of every intent, at least one line of each; a larger share holds all of a smaller one.
pub fn first(lines: &[Labelled], share: f64) -> Vec<usize> {
    let of = |class: Vec<usize>| {
        let count = (class.len() as f64 * share).round().max(1.0) as usize;
        class.into_iter().take(count)
    };
    let mut chosen: Vec<usize> = shuffled(lines).into_iter().flat_map(of).collect();
    chosen.sort_unstable();
    chosen
}

/// The lines of each intent, out of scope included, in shuffled order.
fn shuffled(lines: &[Labelled]) -> Vec<Vec<usize>> {
    let mut classes: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        classes.entry(line.intent.as_deref()).or_default().push(at);
    }
    let mut random = StdRng::seed_from_u64(SEED);
    let mut classes: Vec<Vec<usize>> = classes.into_values().collect();
    classes.iter_mut().for_each(|class| class.shuffle(&mut random));
    classes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(labels: &[u8]) -> Vec<Labelled> {
        let line = |label: &u8| Labelled { text: String::new(), intent: (*label > 0).then(|| label.to_string()) };
        labels.iter().map(line).collect()
    }

    proptest! {
        #[test]
        fn each_intent_is_dealt_out_evenly(labels in prop::collection::vec(0u8..5, 1..200), count in 2usize..6) {
            let parts = folds(&lines(&labels), count);
            for label in 0..5 {
                let own: Vec<usize> = parts.iter().zip(&labels).filter(|(_, own)| **own == label).map(|(part, _)| *part).collect();
                let sizes: Vec<usize> = (0..count).map(|part| own.iter().filter(|own| **own == part).count()).collect();
                prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
            }
        }

        #[test]
        fn a_larger_share_holds_a_smaller_one(labels in prop::collection::vec(0u8..5, 1..200), share in 0.05..1.0f64) {
            let lines = lines(&labels);
            let (few, more) = (first(&lines, share / 2.0), first(&lines, share));
            prop_assert!(few.iter().all(|at| more.contains(at)));
            prop_assert_eq!(first(&lines, 1.0), (0..labels.len()).collect::<Vec<_>>());
            let all = |chosen: &[usize]| chosen.iter().map(|at| labels[*at]).collect::<std::collections::BTreeSet<_>>();
            prop_assert_eq!(all(&few).len(), labels.iter().collect::<std::collections::BTreeSet<_>>().len());
        }
    }
}
