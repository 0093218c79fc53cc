//! PURE: the fewest causes that explain every changed turn, each turn under one of them, and which of them noise could explain.

use std::collections::{HashMap, HashSet};

use super::{
    causes::{Cause, World},
    compare::Turn,
    stage::{Class, Relation, Stage, classify},
    stats::{holm, more_than},
};

/// How rarely noise alone may get a cause named.
const LEVEL: f64 = 0.01;

/// One cause with the turns that are laid to it, as indices.
#[derive(Debug, Clone)]
pub struct Finding<'a> {
    pub stage: Stage,
    pub cause: Cause<'a>,
    pub turns: Vec<usize>,
    /// Turns in which the baseline's second run shows the same beside its first.
    pub noise: usize,
    /// How likely noise alone shows it at least this often in the candidate.
    pub chance: f64,
    /// Whether it is told from noise: the stage had none, or the cause is of a sort that noise does not make, or chance
    /// would have to be kinder than [`LEVEL`].
    pub sure: bool,
}

/// Explains the changed turns.
pub fn explain<'a>(turns: &[Turn<'a>], classes: &[Class], world: &World<'a>) -> Vec<Finding<'a>> {
    let mut findings = Vec::new();
    for stage in Stage::ALL {
        let changed: Vec<usize> = (0..turns.len()).filter(|i| classes[*i] == Class::Changed(stage)).collect();
        if changed.is_empty() {
            continue;
        }
        let causes = changed.iter().map(|i| (*i, world.causes(&turns[*i], stage))).collect();
        let noise: Vec<&Turn<'a>> = turns.iter().filter(|turn| stands_out_in_second(turn, stage)).collect();
        let noisy = turns.iter().any(|turn| turn.relation(stage).is_noise());
        findings.extend(judge(stage, cover(causes), &noise, noisy));
    }
    findings
}

/// Whether the second run would have been laid to this stage, had it been the candidate.
fn stands_out_in_second(turn: &Turn<'_>, stage: Stage) -> bool {
    turn.is_compared() && classify(&turn.relations.map(Relation::swapped)) == Class::Changed(stage)
}

/// Picks the cause that explains most turns, lays them to it, and goes on with the rest: the greedy set cover, which no
/// quick method betters by much (V. Chvátal, Math. Oper. Res. 4, 1979). Of equals, the more exact wins: it stands first.
fn cover<'a>(mut open: Vec<(usize, Vec<Cause<'a>>)>) -> Vec<(Cause<'a>, Vec<usize>)> {
    let mut counts: HashMap<Cause<'a>, (usize, usize)> = HashMap::new();
    for (_, causes) in &open {
        let mut seen = HashSet::new();
        for (rank, cause) in causes.iter().enumerate().filter(|(_, cause)| seen.insert(**cause)) {
            let count = counts.entry(*cause).or_insert((0, rank));
            count.0 += 1;
            count.1 = count.1.min(rank);
        }
    }
    let mut covered = Vec::new();
    while !open.is_empty() {
        let best = counts
            .iter()
            .max_by_key(|(cause, (turns, rank))| (*turns, std::cmp::Reverse(*rank), std::cmp::Reverse(**cause)));
        let Some(best) = best.map(|(cause, _)| *cause) else { break };
        let (taken, left): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, causes)| causes.contains(&best));
        for cause in taken.iter().flat_map(|(_, causes)| causes.iter().collect::<HashSet<_>>()) {
            if let Some(count) = counts.get_mut(cause) {
                count.0 = count.0.saturating_sub(1);
            }
        }
        counts.remove(&best);
        covered.push((best, taken.into_iter().map(|(turn, _)| turn).collect()));
        open = left;
    }
    covered
}

fn judge<'a>(
    stage: Stage,
    covered: Vec<(Cause<'a>, Vec<usize>)>,
    noise: &[&Turn<'a>],
    noisy: bool,
) -> Vec<Finding<'a>> {
    let echoes: Vec<usize> =
        covered.iter().map(|(cause, _)| noise.iter().filter(|turn| cause.explains(&turn.a, &turn.b)).count()).collect();
    let chances: Vec<f64> =
        covered.iter().zip(&echoes).map(|((_, turns), noise)| more_than(turns.len(), *noise)).collect();
    let stands = holm(&chances, LEVEL);
    let judged = covered.into_iter().zip(echoes).zip(chances.into_iter().zip(stands));
    judged
        .map(|(((cause, turns), noise), (chance, stands))| Finding {
            stage,
            cause,
            turns,
            noise,
            chance,
            sure: stands || !noisy || cause.is_certain(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_cause_is_named_and_the_more_exact_of_equals() {
        let (pair, gone) = (Cause::Intent { from: "a", to: "b" }, Cause::IntentGone { from: "a" });
        let other = Cause::Intent { from: "a", to: "c" };
        let covered = cover(vec![(0, vec![pair, gone]), (1, vec![pair, gone])]);
        assert_eq!(covered, [(pair, vec![0, 1])]);
        let covered = cover(vec![(0, vec![pair, gone]), (1, vec![pair, gone]), (2, vec![other, gone])]);
        assert_eq!(covered, [(gone, vec![0, 1, 2])]);
        let covered = cover(vec![(0, vec![pair]), (1, vec![pair]), (2, vec![other])]);
        assert_eq!(covered, [(pair, vec![0, 1]), (other, vec![2])]);
        assert_eq!(cover(vec![]), []);
    }
}
