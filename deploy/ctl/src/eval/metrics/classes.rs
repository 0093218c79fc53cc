//! PURE: accuracy, precision, recall and F1 of a classifier, one label a text.

use std::collections::BTreeMap;

use serde::Serialize;

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Class {
    pub name: String,
    /// Share right of what was taken for it; 0 when nothing was.
    pub precision: f64,
    /// Share of it that was recognised; 0 when there is none of it.
    pub recall: f64,
    /// Their harmonic mean; 0 when both are.
    pub f1: f64,
    /// How many there are of it.
    pub support: usize,
    /// How many were taken for it.
    pub taken: usize,
}

/// Pairs of (true, found) by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    pairs: BTreeMap<(String, String), usize>,
    total: usize,
    right: usize,
}

impl Counts {
    pub fn add(&mut self, truth: &str, found: &str) {
        *self.pairs.entry((truth.to_owned(), found.to_owned())).or_default() += 1;
        self.total += 1;
        self.right += usize::from(truth == found);
    }

    pub fn total(&self) -> usize {
        self.total
    }

    /// Share found right; 0 of nothing.
    pub fn accuracy(&self) -> f64 {
        share(self.right, self.total)
    }

    /// Every class that is true or found somewhere, by name.
    pub fn classes(&self) -> Vec<Class> {
        let mut rows: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
        for ((truth, found), n) in &self.pairs {
            rows.entry(truth).or_default().0 += n;
            rows.entry(found).or_default().1 += n;
            rows.entry(truth).or_default().2 += if truth == found { *n } else { 0 };
        }
        let class = |(name, (support, taken, right)): (&str, (usize, usize, usize))| {
            let (precision, recall) = (share(right, taken), share(right, support));
            let f1 = if right == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
            Class { name: name.to_owned(), precision, recall, f1, support, taken }
        };
        rows.into_iter().map(class).collect()
    }

    /// The mean F1 over every class that is true or found somewhere, each counting the same; 0 of nothing.
    pub fn macro_f1(&self) -> f64 {
        let classes = self.classes();
        classes.iter().map(|class| class.f1).sum::<f64>() / classes.len().max(1) as f64
    }

    /// What was taken for something else: (true, found, how often), the most frequent first, then by name.
    pub fn confusions(&self) -> Vec<(&str, &str, usize)> {
        let wrong = self.pairs.iter().filter(|((truth, found), _)| truth != found);
        let mut wrong: Vec<_> = wrong.map(|((truth, found), n)| (truth.as_str(), found.as_str(), *n)).collect();
        wrong.sort_by_key(|(truth, found, n)| (std::cmp::Reverse(*n), *truth, *found));
        wrong
    }

    /// How often the first was taken for the second.
    pub fn of(&self, truth: &str, found: &str) -> usize {
        self.pairs.get(&(truth.to_owned(), found.to_owned())).copied().unwrap_or_default()
    }
}

/// A part of a whole; 0 of nothing.
pub fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(pairs: &[(&str, &str)]) -> Counts {
        let mut counts = Counts::default();
        pairs.iter().for_each(|(truth, found)| counts.add(truth, found));
        counts
    }

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn figures_calculated_by_hand() {
        // a: 2 of 3 recognised, 2 of 3 taken for it right; b: 1 of 2 and 1 of 1; c: 1 of 1 and 1 of 2.
        let found = counts(&[("a", "a"), ("a", "a"), ("a", "c"), ("b", "b"), ("b", "a"), ("c", "c")]);
        near(found.accuracy(), 4.0 / 6.0);
        let classes = found.classes();
        let by_name: Vec<_> = classes.iter().map(|class| (class.name.as_str(), class.support, class.taken)).collect();
        assert_eq!(by_name, [("a", 3, 3), ("b", 2, 1), ("c", 1, 2)]);
        near(classes[0].f1, 2.0 / 3.0);
        near(classes[1].precision, 1.0);
        near(classes[1].recall, 0.5);
        near(classes[1].f1, 2.0 / 3.0);
        near(classes[2].f1, 2.0 / 3.0);
        near(found.macro_f1(), 2.0 / 3.0);
        assert_eq!(found.confusions(), [("a", "c", 1), ("b", "a", 1)]);
    }

    #[test]
    fn a_class_that_is_only_found_or_only_true_counts_as_zero() {
        // x is never found, y never true: F1 0, 0; z right. The mean over all three is 1/3.
        near(counts(&[("x", "y"), ("z", "z")]).macro_f1(), 1.0 / 3.0);
        near(Counts::default().macro_f1(), 0.0);
        near(Counts::default().accuracy(), 0.0);
    }

    proptest! {
        #[test]
        fn what_must_hold_of_every_table(pairs in prop::collection::vec((0u8..5, 0u8..5), 1..80)) {
            let mut found = Counts::default();
            pairs.iter().for_each(|(truth, guess)| found.add(&truth.to_string(), &guess.to_string()));
            let classes = found.classes();
            prop_assert_eq!(classes.iter().map(|class| class.support).sum::<usize>(), pairs.len());
            prop_assert_eq!(classes.iter().map(|class| class.taken).sum::<usize>(), pairs.len());
            let wrong: usize = found.confusions().iter().map(|(.., n)| n).sum();
            prop_assert!((found.accuracy() + share(wrong, pairs.len()) - 1.0).abs() < 1e-12);
            // The mean recall weighted by support is the accuracy.
            let weighted: f64 = classes.iter().map(|class| class.recall * class.support as f64).sum();
            prop_assert!((weighted / pairs.len() as f64 - found.accuracy()).abs() < 1e-9);
            prop_assert!(classes.iter().all(|class| class.f1 <= class.precision.max(class.recall) + 1e-12));
            prop_assert!((0.0..=1.0).contains(&found.macro_f1()));
        }
    }
}
