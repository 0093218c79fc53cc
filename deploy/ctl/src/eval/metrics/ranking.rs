//! PURE: recall, reciprocal rank and discounted gain of ranked lists in which one document or a few are right.

use serde::Serialize;

/// How deep reciprocal ranks and gains are read.
pub const DEPTH: usize = 10;

/// Means over questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Ranking {
    pub questions: usize,
    /// Share of questions with a right document first, and among the first five.
    pub recall_at_1: f64,
    pub recall_at_5: f64,
    /// Mean of 1/rank of the first right document among ten, else 0.
    pub mrr_at_10: f64,
    /// Normalised discounted cumulative gain over ten, a right document being worth 1 (Järvelin and Kekäläinen, 2002).
    pub ndcg_at_10: f64,
}

/// The places, from 1, at which the right documents of one question came, and how many there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Places {
    pub found: Vec<usize>,
    pub right: usize,
}

impl Places {
    pub fn of(ranked: &[&str], right: &[String]) -> Self {
        let is_right = |id: &&str| right.iter().any(|right| right == id);
        let found = ranked.iter().zip(1..).filter(|(id, _)| is_right(id)).map(|(_, place)| place).collect();
        Self { found, right: right.len() }
    }

    /// The first right one, if it is among so many.
    pub fn first_within(&self, depth: usize) -> Option<usize> {
        self.found.first().copied().filter(|place| *place <= depth)
    }

    fn gain(&self) -> f64 {
        let discounted = |place: usize| 1.0 / ((place + 1) as f64).log2();
        let found: f64 = self.found.iter().filter(|place| **place <= DEPTH).map(|place| discounted(*place)).sum();
        let ideal: f64 = (1..=self.right.min(DEPTH)).map(discounted).sum();
        if ideal > 0.0 { found / ideal } else { 0.0 }
    }
}

impl Ranking {
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Places>) -> Self {
        let mut sum = Self::default();
        for places in all {
            let within = |depth| if places.first_within(depth).is_some() { 1.0 } else { 0.0 };
            sum.questions += 1;
            sum.recall_at_1 += within(1);
            sum.recall_at_5 += within(5);
            sum.mrr_at_10 += places.first_within(DEPTH).map_or(0.0, |place| 1.0 / place as f64);
            sum.ndcg_at_10 += places.gain();
        }
        let mean = |sum_of: f64| sum_of / sum.questions.max(1) as f64;
        Self {
            questions: sum.questions,
            recall_at_1: mean(sum.recall_at_1),
            recall_at_5: mean(sum.recall_at_5),
            mrr_at_10: mean(sum.mrr_at_10),
            ndcg_at_10: mean(sum.ndcg_at_10),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    fn places(ranked: &[&str], right: &[&str]) -> Places {
        Places::of(ranked, &right.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn figures_calculated_by_hand() {
        // First, third, and not at all.
        let all = [places(&["a", "b"], &["a"]), places(&["x", "y", "a"], &["a"]), places(&["x"], &["a"])];
        let found = Ranking::of(&all);
        near(found.recall_at_1, 1.0 / 3.0);
        near(found.recall_at_5, 2.0 / 3.0);
        near(found.mrr_at_10, (1.0 + 1.0 / 3.0) / 3.0);
        near(found.ndcg_at_10, (1.0 + 1.0 / 4f64.log2()) / 3.0);
        // Two right ones, at places 1 and 4: (1 + 1/log2 5) / (1 + 1/log2 3).
        let two = Ranking::of(&[places(&["a", "x", "y", "b"], &["a", "b"])]);
        near(two.ndcg_at_10, (1.0 + 1.0 / 5f64.log2()) / (1.0 + 1.0 / 3f64.log2()));
        near(Ranking::of(&[]).ndcg_at_10, 0.0);
    }

    #[test]
    fn the_eleventh_place_counts_for_nothing() {
        let ranked = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "a"];
        let found = Ranking::of(&[places(&ranked, &["a"])]);
        assert_eq!((found.mrr_at_10, found.ndcg_at_10), (0.0, 0.0));
    }

    proptest! {
        #[test]
        fn figures_keep_their_order(ranked in Just((0..12u8).collect::<Vec<_>>()).prop_shuffle(), right in 0..14u8) {
            let ranked: Vec<String> = ranked.iter().map(u8::to_string).collect();
            let ranked: Vec<&str> = ranked.iter().map(String::as_str).collect();
            let found = Ranking::of(&[Places::of(&ranked, &[right.to_string()])]);
            prop_assert!(found.recall_at_1 <= found.recall_at_5);
            // With one right document: 1/rank ≤ 1/log2(1+rank) ≤ 1.
            prop_assert!(found.recall_at_1 <= found.mrr_at_10 && found.mrr_at_10 <= found.ndcg_at_10 && found.ndcg_at_10 <= 1.0);
        }
    }
}
