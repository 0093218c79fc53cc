//! Who may decide: a tier that is sure enough, by thresholds that held-out texts have chosen.

use serde::{Deserialize, Serialize};

use super::tier::Tier;

/// Shares of texts decided rightly that are the same for all that held-out texts can tell: 2 of 1,800. Among the same the
/// cascade spends what it may on the dearest tier. To take the cheapest of them was tried: it took the held-out texts' luck
/// for knowledge, and lost 0.011 of HWU64's test for a tenth of the dearest tier's price.
const SAME: f32 = 0.0012;

/// What may be lost of the texts out of scope against always asking the dearest tier: there are few of them, or intents
/// left out stand for them.
const LOSS_OUTSIDE_MAX: f32 = 0.02;

/// What a decision costs when a tier has the last word, the transformer's being 1, of texts of one length: it costs an
/// encoder twice as much to read twice as much. What HWU64 and BANKING77 measured: 0.02, 0.4 to 0.6 and 2.5 to 3.8 ms.
const COSTS: [f32; 3] = [0.01, 0.16, 1.0];

/// What the mean decision about a text in scope may cost at most; the promise is a fifth of the transformer. Texts out of
/// scope are not counted: intents left out stand for them, of which most are doubtful, and counted they used up the price
/// for the others.
const COST_MAX: f32 = 0.18;

/// Thresholds that are tried for each tier, at even shares of the held-out texts.
const TRIES: usize = 50;

/// The confidence from which the first two tiers decide.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cascade {
    sure: [f32; 2],
}

/// One held-out text: by tier, as far as it could be read, how sure the tier is and whether its decision is right.
pub(super) struct Trial {
    pub(super) tiers: Vec<(f32, bool)>,
    pub(super) in_scope: bool,
    /// How much the text stands for.
    pub(super) weight: f32,
    pub(super) chars: f32,
}

/// What came of the trials.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(super) struct Outcome {
    pub(super) right: f32,
    /// Of the texts in scope, the share that was recognised rightly; of the others, the share declined.
    pub(super) right_inside: f32,
    pub(super) right_outside: f32,
    /// Of the texts in scope, against asking the transformer always.
    pub(super) cost: f32,
    /// Share that the dearest tier decided.
    pub(super) escalated: f32,
}

impl Default for Cascade {
    fn default() -> Self {
        Self { sure: [f32::INFINITY; 2] }
    }
}

impl Cascade {
    /// The thresholds that decide most texts in scope rightly within the price; of those that are level, the ones that ask
    /// the dearest tier most.
    pub(super) fn fit(trials: &[Trial]) -> Self {
        let always = Self::default().outcome(trials);
        let (words, multilingual) = (candidates(trials, 0), candidates(trials, 1));
        let pairs = words.iter().flat_map(|first| multilingual.iter().map(|second| Self { sure: [*first, *second] }));
        let tried: Vec<(Self, Outcome)> = pairs.map(|cascade| (cascade, cascade.outcome(trials))).collect();
        let worth = |found: &Outcome| {
            let loses_outside = found.right_outside < always.right_outside - LOSS_OUTSIDE_MAX;
            found.right_inside - if loses_outside { 1.0 } else { 0.0 }
        };
        let affordable = || tried.iter().filter(|(_, found)| found.cost <= COST_MAX);
        let most = affordable().map(|(_, found)| worth(found)).fold(f32::NEG_INFINITY, f32::max);
        let level = affordable().filter(|(_, found)| worth(found) >= most - SAME);
        let chosen = level.max_by(|(_, a), (_, b)| a.escalated.total_cmp(&b.escalated));
        chosen.map_or_else(Self::default, |(cascade, _)| *cascade)
    }

    /// Whether this tier is sure enough.
    pub(super) fn decides(&self, tier: Tier, confidence: f32) -> bool {
        self.sure.get(tier as usize).is_none_or(|sure| confidence >= *sure)
    }

    pub(super) fn outcome(&self, trials: &[Trial]) -> Outcome {
        let total_of =
            |wanted: fn(&&Trial) -> bool| trials.iter().filter(wanted).map(|trial| trial.weight).sum::<f32>();
        let (inside, outside) = (total_of(|trial| trial.in_scope), total_of(|trial| !trial.in_scope));
        let total = inside + outside;
        let read: f32 = trials.iter().filter(|trial| trial.in_scope).map(|trial| trial.weight * trial.chars).sum();
        let mut sum = Outcome::default();
        for trial in trials {
            let last = trial.tiers.len() - 1;
            let sure = |(tier, (confidence, _)): (&Tier, &(f32, bool))| self.decides(*tier, *confidence);
            let at = Tier::ALL.iter().zip(&trial.tiers).position(sure).unwrap_or(last).min(last);
            let share = trial.weight / total;
            if trial.tiers[at].1 {
                sum.right += share;
                sum.right_inside += if trial.in_scope { trial.weight / inside } else { 0.0 };
                sum.right_outside += if trial.in_scope { 0.0 } else { trial.weight / outside };
            }
            sum.cost += if trial.in_scope { COSTS[at] * trial.weight * trial.chars / read } else { 0.0 };
            sum.escalated += if at == Tier::Transformer as usize { share } else { 0.0 };
        }
        sum
    }
}

/// Confidences at even shares of the texts that were read by a tier after this one, and 'never'.
fn candidates(trials: &[Trial], tier: usize) -> Vec<f32> {
    let able = trials.iter().filter(|trial| trial.tiers.len() > tier + 1);
    let mut sorted: Vec<f32> = able.map(|trial| trial.tiers[tier].0).collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let at = |share: usize| sorted.get(share * sorted.len() / TRIES).copied();
    (0..TRIES).filter_map(at).chain([f32::INFINITY]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials() -> Vec<Trial> {
        let trial = |at: usize| {
            let sure = at as f32 / 1000.0;
            // The cheap tier errs in half of what it is least sure of; the next in a tenth of that, the last never.
            Trial {
                tiers: vec![(sure, at >= 100 || at.is_multiple_of(2)), (sure, at >= 40), (sure, true)],
                in_scope: true,
                weight: 1.0,
                chars: 20.0,
            }
        };
        (0..1000).map(trial).collect()
    }

    #[test]
    fn it_spends_its_price_and_loses_nothing() {
        let trials = trials();
        let cascade = Cascade::fit(&trials);
        let found = cascade.outcome(&trials);
        assert!(found.right >= 1.0 - SAME, "{found:?}");
        assert!(found.cost <= COST_MAX && found.escalated > 0.1, "{found:?}");
        assert!(cascade.decides(Tier::Transformer, 0.0));
        assert!(!cascade.decides(Tier::Words, 0.01) && cascade.decides(Tier::Words, 0.5));
    }

    #[test]
    fn where_everything_helps_the_price_decides() {
        let hard = |at: usize| {
            let tiers = vec![(at as f32, false), (at as f32, false), (0.0, true)];
            Trial { tiers, in_scope: !at.is_multiple_of(9), weight: 1.0, chars: 20.0 }
        };
        let trials: Vec<Trial> = (0..500).map(hard).collect();
        let found = Cascade::fit(&trials).outcome(&trials);
        assert!(found.cost <= COST_MAX && found.right > 0.1, "{found:?}");
    }

    #[test]
    fn a_long_text_costs_more() {
        let trial = |chars| Trial { tiers: vec![(0.0, true); 3], in_scope: true, weight: 1.0, chars };
        let cheap = Cascade { sure: [0.0; 2] };
        assert!((cheap.outcome(&[trial(10.0), trial(90.0)]).cost - COSTS[0]).abs() < 1e-6);
        let (mut long, mut short) = (trial(90.0), trial(10.0));
        (long.tiers[0].0, short.tiers[0].0) = (-1.0, 1.0);
        let found = cheap.outcome(&[long, short]);
        assert!((found.cost - (0.9 * COSTS[1] + 0.1 * COSTS[0])).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn with_one_tier_there_is_nothing_to_choose() {
        let trials = vec![Trial { tiers: vec![(0.1, true)], in_scope: true, weight: 1.0, chars: 20.0 }];
        let cascade = Cascade::fit(&trials);
        assert_eq!(cascade.outcome(&trials).right, 1.0);
        assert_eq!(Cascade::fit(&[]).outcome(&[]), Outcome::default());
    }
}
