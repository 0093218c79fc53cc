//! PURE: how alike two texts or two ranked lists are, from 0 to 1.

use std::collections::HashSet;

/// How much the top of a ranking outweighs its tail: with 0.9 the first ten places carry 86 % of the weight.
const RBO_PERSISTENCE: f64 = 0.9;

/// A text as it is compared: lower case, one space where there was any.
pub fn normalised(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.extend(word.chars().flat_map(char::to_lowercase));
    }
    plain
}

/// How alike two normalised texts are: Dice's coefficient over pairs of neighbouring characters (L. R. Dice, Ecology 26,
/// 1945), counted as often as they stand there. Pairs of characters need no words, so Chinese is measured like English.
pub fn dice(a: &str, b: &str) -> f64 {
    if a == b {
        return 1.0;
    }
    let (a, b) = (pairs(a), pairs(b));
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let (mut i, mut j, mut common) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, common) = (i + 1, j + 1, common + 1),
        }
    }
    2.0 * f64::from(common) / (a.len() + b.len()) as f64
}

/// The pairs of neighbouring characters, sorted; each end of the text pairs with nothing, so that one character has pairs.
fn pairs(text: &str) -> Vec<u64> {
    let mut before = 0;
    let mut pairs = Vec::with_capacity(text.len() + 1);
    for now in text.chars().map(u64::from).chain((!text.is_empty()).then_some(0)) {
        pairs.push(before << 32 | now);
        before = now;
    }
    pairs.sort_unstable();
    pairs
}

/// The share of all that both lists hold (Jaccard); 1 when both are empty.
pub fn jaccard(a: &[&str], b: &[&str]) -> f64 {
    let (a, b): (HashSet<_>, HashSet<_>) = (a.iter().collect(), b.iter().collect());
    let union = a.union(&b).count();
    if union == 0 { 1.0 } else { a.intersection(&b).count() as f64 / union as f64 }
}

/// Rank-biased overlap (Webber, Moffat and Zobel, ACM TOIS 28, 2010), cut at the longer list and scaled so that equal lists
/// give 1: agreement at the top counts more than at the tail.
pub fn rank_biased_overlap(a: &[&str], b: &[&str]) -> f64 {
    let depth = a.len().max(b.len());
    if depth == 0 {
        return 1.0;
    }
    let (mut seen_a, mut seen_b) = (HashSet::<&str>::new(), HashSet::<&str>::new());
    let (mut weight, mut sum, mut weights) = (1.0, 0.0, 0.0);
    for d in 0..depth {
        seen_a.extend(a.get(d));
        seen_b.extend(b.get(d));
        let widest = seen_a.len().max(seen_b.len()) as f64;
        sum += weight * seen_a.intersection(&seen_b).count() as f64 / widest;
        weights += weight;
        weight *= RBO_PERSISTENCE;
    }
    sum / weights
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, least: f64, most: f64) {
        let found = dice(&normalised(a), &normalised(b));
        assert!((least..=most).contains(&found), "{a:?} and {b:?}: {found}");
    }

    #[test]
    fn texts_are_as_alike_as_they_read() {
        check("Refunds take five days.", "refunds  take\nfive days.", 1.0, 1.0);
        check("Refunds take five days.", "Refunds take seven days.", 0.7, 0.95);
        check("Refunds take five days.", "Hello! What can I do for you?", 0.0, 0.3);
        check("退款将在五个工作日内到账。", "退款将在七个工作日内到账。", 0.8, 0.95);
        check("退款将在五个工作日内到账。", "您好！请问有什么可以帮您？", 0.0, 0.2);
        check("", "", 1.0, 1.0);
        check("a", "", 0.0, 0.0);
        check("是", "否", 0.0, 0.0);
    }

    #[test]
    fn rankings_are_told_from_the_top() {
        let [top, tail] = [["x", "b", "c", "d"], ["a", "b", "c", "x"]];
        let list = ["a", "b", "c", "d"];
        assert!(rank_biased_overlap(&list, &tail) > rank_biased_overlap(&list, &top));
        assert!((jaccard(&list, &top) - 0.6).abs() < 1e-9);
        assert!((rank_biased_overlap(&list, &["d", "c", "b", "a"]) - 1.0).abs() > 0.1);
    }

    proptest! {
        #[test]
        fn alike_is_symmetric_and_bounded(a in "[ab 退款]{0,12}", b in "[ab 退款]{0,12}") {
            let found = dice(&a, &b);
            prop_assert!((0.0..=1.0).contains(&found));
            prop_assert!((found - dice(&b, &a)).abs() < 1e-12);
            let (a, b): (Vec<&str>, Vec<&str>) = (a.split(' ').collect(), b.split(' ').collect());
            for measure in [jaccard, rank_biased_overlap] {
                let found = measure(&a, &b);
                prop_assert!((0.0..=1.0 + 1e-12).contains(&found));
                prop_assert!((found - measure(&b, &a)).abs() < 1e-12);
                prop_assert!((measure(&a, &a) - 1.0).abs() < 1e-12);
            }
        }
    }
}
