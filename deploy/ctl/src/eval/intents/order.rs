//! PURE: intents in an order in which those that are confused stand together, and the groups that they form.

use std::collections::BTreeMap;

use crate::eval::metrics::classes::Counts;

/// The most intents of one group: a table that one screen holds.
const GROUP_MAX: usize = 10;

/// All intents, in groups: those with the most confusion first, those without any last and alone.
///
/// Pairs are joined from the most confused down, as Kruskal joins the edges of a tree (Proc. Am. Math. Soc. 7, 1956), end to
/// end, so that neighbours in a group are confused with one another.
pub fn groups(counts: &Counts, names: &[String]) -> Vec<Vec<String>> {
    let mut weights: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (truth, found, n) in counts.confusions() {
        *weights.entry((truth.min(found), truth.max(found))).or_default() += n;
    }
    let mut pairs: Vec<_> = weights.iter().map(|((a, b), n)| (*a, *b, *n)).collect();
    pairs.sort_by_key(|(a, b, n)| (std::cmp::Reverse(*n), *a, *b));
    let mut groups: Vec<Vec<&str>> = names.iter().map(|name| vec![name.as_str()]).collect();
    for (a, b, _) in pairs {
        let at = |name: &str| groups.iter().position(|group| group.contains(&name));
        let (Some(first), Some(second)) = (at(a), at(b)) else { continue };
        if first == second || groups[first].len() + groups[second].len() > GROUP_MAX {
            continue;
        }
        let taken = groups.swap_remove(first.max(second));
        let kept = &mut groups[first.min(second)];
        join(kept, taken, a, b);
    }
    let weight = |group: &Vec<&str>| {
        let within = weights.iter().filter(|((a, b), _)| group.contains(a) && group.contains(b));
        within.map(|(_, n)| n).sum::<usize>()
    };
    groups.sort_by_cached_key(|group| (std::cmp::Reverse(weight(group)), group.iter().min().copied()));
    groups.into_iter().map(|group| group.into_iter().map(str::to_owned).collect()).collect()
}

/// Puts one chain at an end of the other, with the confused pair as near to one another as that allows.
fn join<'a>(kept: &mut Vec<&'a str>, mut taken: Vec<&'a str>, a: &str, b: &str) {
    let own = |group: &[&str]| group.iter().position(|name| *name == a || *name == b).unwrap_or_default();
    if own(kept) < kept.len() / 2 {
        kept.reverse();
    }
    if own(&taken) >= taken.len().div_ceil(2) {
        taken.reverse();
    }
    kept.append(&mut taken);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn confused_intents_stand_together() {
        let mut counts = Counts::default();
        for (truth, found, n) in [("a", "a", 50), ("a", "d", 5), ("d", "a", 4), ("b", "c", 3), ("d", "b", 1)] {
            (0..n).for_each(|_| counts.add(truth, found));
        }
        let names = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(groups(&counts, &names), [vec!["a", "d", "b", "c"], vec!["e"]]);
    }

    proptest! {
        #[test]
        fn every_intent_is_in_one_group(pairs in prop::collection::vec((0u8..30, 0u8..30), 0..200)) {
            let names: Vec<String> = (0..30u8).map(|n| format!("i{n}")).collect();
            let mut counts = Counts::default();
            pairs.iter().for_each(|(a, b)| counts.add(&format!("i{a}"), &format!("i{b}")));
            let found = groups(&counts, &names);
            prop_assert!(found.iter().all(|group| (1..=GROUP_MAX).contains(&group.len())));
            let mut all: Vec<String> = found.concat();
            all.sort();
            let mut expected = names.clone();
            expected.sort();
            prop_assert_eq!(all, expected);
            prop_assert_eq!(groups(&counts, &names), found.clone(), "the same every time");
        }
    }
}
