//! Who may decide: a tier whose decision is far enough from the next one, by thresholds that held-out texts have chosen.
//!
//! How far the best intent leads tells better than the tier's own confidence where a dearer tier would decide otherwise: at
//! the same price (12 % of the transformer's) HWU64's validation part was right in 93.4 % against 93.1, chosen on held-out
//! parts of `train` both times. Classifiers that were to foretell the gain itself did no better than the confidence.

use serde::{Deserialize, Serialize};

use super::tier::Tier;

/// Shares of texts decided rightly that are the same for all that held-out texts can tell; of few texts two are. Among the
/// same the cascade spends what it may on the dearest tier. To take the cheapest of them was tried: it took the held-out
/// texts' luck for knowledge, and lost 0.011 of HWU64's test for a tenth of the dearest tier's price.
const SAME: f32 = 0.0003;
const SAME_TEXTS_OF_FEW: f32 = 2.0;

/// Thresholds to either side whose mean a pair of thresholds is judged by: a lone peak is luck.
const SMOOTHED_BY: usize = 2;

/// Held-out texts in scope below which the dearest tier decides alone: one text is then most of a point, and what a
/// threshold seems to lose or spare is chance. From the second number on there are enough to see a loss of 0.3 points
/// (four texts); in between the price that may be paid falls evenly with their logarithm.
const DEAREST_BELOW: usize = 150;
const PRICED_FROM: usize = 1_200;

/// What may be lost of the texts out of scope against always asking the dearest tier: there are few of them, or intents
/// left out stand for them.
const LOSS_OUTSIDE_MAX: f32 = 0.02;

/// What a decision costs when a tier has the last word, the transformer's being 1, of texts of one length: it costs an
/// encoder twice as much to read twice as much. What HWU64 and BANKING77 measured: 0.02, 0.4 to 0.6 and 2.5 to 3.8 ms.
const COSTS: [f32; 3] = [0.01, 0.16, 1.0];

/// What the mean decision about a text in scope may cost at most; the promise is a fifth of the transformer, and new texts
/// are harder than held-out ones of the same collection: in CLINC150's validation part they cost a third more. Texts out of
/// scope are not counted: intents left out stand for them, of which most are doubtful, and counted they used up the price
/// for the others.
const COST_MAX: f32 = 0.145;

/// Thresholds that are tried for each tier, at even shares of the held-out texts.
const TRIES: usize = 50;

/// The margin from which the first two tiers decide.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cascade {
    sure: [f32; 2],
}

/// One held-out text: by tier, as far as it could be read, the decision's margin and whether it is right.
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

impl Trial {
    /// Whether it counts towards the price: it is in scope, and the transformer could have been asked. What only the first
    /// two tiers read is within the price whoever decides.
    fn is_priced(&self) -> bool {
        self.in_scope && self.tiers.len() == Tier::ALL.len()
    }
}

impl Default for Cascade {
    fn default() -> Self {
        Self { sure: [f32::INFINITY; 2] }
    }
}

impl Cascade {
    /// The thresholds that decide most texts in scope rightly within the price; of those that are level, the ones that ask
    /// the dearest tier most. Of few trials: always the dearest.
    pub(super) fn fit(trials: &[Trial]) -> Self {
        let inside = trials.iter().filter(|trial| trial.in_scope).count();
        let Some(cost_max) = cost_max(inside) else { return Self::default() };
        let same = if inside < PRICED_FROM { SAME_TEXTS_OF_FEW / inside as f32 } else { SAME };
        let always = Self::default().outcome(trials);
        let (words, multilingual) = (candidates(trials, 0), candidates(trials, 1));
        let cascade = |first: usize, second: usize| Self { sure: [words[first], multilingual[second]] };
        let row = |first| (0..multilingual.len()).map(|second| cascade(first, second).outcome(trials)).collect();
        let tried: Vec<Vec<Outcome>> = (0..words.len()).map(row).collect();
        let worth = |first: usize, second: usize| {
            let inside = around(&tried, first, second, |found| found.right_inside);
            let outside = around(&tried, first, second, |found| found.right_outside);
            inside - if outside < always.right_outside - LOSS_OUTSIDE_MAX { 1.0 } else { 0.0 }
        };
        let pairs = (0..words.len()).flat_map(|first| (0..multilingual.len()).map(move |second| (first, second)));
        let affordable = pairs.filter(|(first, second)| tried[*first][*second].cost <= cost_max);
        let judged: Vec<_> = affordable.map(|(first, second)| (first, second, worth(first, second))).collect();
        let most = judged.iter().map(|(.., worth)| *worth).fold(f32::NEG_INFINITY, f32::max);
        let level = judged.iter().filter(|(.., worth)| *worth >= most - same);
        let escalated = |first: usize, second: usize| tried[first][second].escalated;
        let chosen = level.max_by(|a, b| escalated(a.0, a.1).total_cmp(&escalated(b.0, b.1)));
        chosen.map_or_else(Self::default, |(first, second, _)| cascade(*first, *second))
    }

    /// Whether this tier is sure enough.
    pub(super) fn decides(&self, tier: Tier, margin: f32) -> bool {
        self.sure.get(tier as usize).is_none_or(|sure| margin >= *sure)
    }

    pub(super) fn outcome(&self, trials: &[Trial]) -> Outcome {
        let total_of =
            |wanted: fn(&&Trial) -> bool| trials.iter().filter(wanted).map(|trial| trial.weight).sum::<f32>();
        let (inside, outside) = (total_of(|trial| trial.in_scope), total_of(|trial| !trial.in_scope));
        let total = inside + outside;
        let read: f32 = trials.iter().filter(|trial| trial.is_priced()).map(|trial| trial.weight * trial.chars).sum();
        let mut sum = Outcome::default();
        for trial in trials {
            let last = trial.tiers.len() - 1;
            let sure = |(tier, (margin, _)): (&Tier, &(f32, bool))| self.decides(*tier, *margin);
            let at = Tier::ALL.iter().zip(&trial.tiers).position(sure).unwrap_or(last).min(last);
            let share = trial.weight / total;
            if trial.tiers[at].1 {
                sum.right += share;
                sum.right_inside += if trial.in_scope { trial.weight / inside } else { 0.0 };
                sum.right_outside += if trial.in_scope { 0.0 } else { trial.weight / outside };
            }
            sum.cost += if trial.is_priced() { COSTS[at] * trial.weight * trial.chars / read } else { 0.0 };
            sum.escalated += if at == Tier::Transformer as usize { share } else { 0.0 };
        }
        sum
    }
}

/// What the mean decision may cost when so many texts in scope were held out; `None`: whatever the dearest tier costs.
fn cost_max(inside: usize) -> Option<f32> {
    let span = (PRICED_FROM as f32 / DEAREST_BELOW as f32).ln();
    let known = (inside as f32 / DEAREST_BELOW as f32).ln() / span;
    (inside >= DEAREST_BELOW).then(|| 1.0 - known.min(1.0) * (1.0 - COST_MAX))
}

/// The mean of what was found at the thresholds around.
fn around(tried: &[Vec<Outcome>], first: usize, second: usize, read: fn(&Outcome) -> f32) -> f32 {
    let window = |at: usize, count: usize| at.saturating_sub(SMOOTHED_BY)..(at + SMOOTHED_BY + 1).min(count);
    let rows = &tried[window(first, tried.len())];
    let all = || rows.iter().flat_map(|row| &row[window(second, row.len())]).map(read);
    all().sum::<f32>() / all().count().max(1) as f32
}

/// Margins at even shares of the texts that were read by a tier after this one, and 'never'.
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

    /// So many held-out texts, of which the cheap tiers know all but the first hundred for a thousand.
    fn trials(count: usize) -> Vec<Trial> {
        let trial = |number: usize| {
            let at = number * 1000 / count;
            let sure = at as f32 / 1000.0;
            // The cheap tier errs in half of what it is least sure of; the next in a tenth of that, the last never.
            Trial {
                tiers: vec![(sure, at >= 100 || at.is_multiple_of(2)), (sure, at >= 40), (sure, true)],
                in_scope: true,
                weight: 1.0,
                chars: 20.0,
            }
        };
        (0..count).map(trial).collect()
    }

    #[test]
    fn it_spends_its_price_and_loses_nothing() {
        let trials = trials(2000);
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
        let trials: Vec<Trial> = (0..1500).map(hard).collect();
        let found = Cascade::fit(&trials).outcome(&trials);
        assert!(found.cost <= COST_MAX && found.right > 0.1, "{found:?}");
    }

    #[test]
    fn few_texts_choose_nothing_and_more_choose_with_care() {
        assert_eq!(Cascade::fit(&trials(DEAREST_BELOW - 1)), Cascade::default());
        let costs = [DEAREST_BELOW, 300, 600, PRICED_FROM, 9_000].map(|count| cost_max(count).unwrap());
        assert!((costs[0] - 1.0).abs() < 1e-6 && (costs[3] - COST_MAX).abs() < 1e-6 && costs[3] == costs[4]);
        assert!(costs.windows(2).all(|pair| pair[0] >= pair[1]), "{costs:?}");
        let found = Cascade::fit(&trials(300)).outcome(&trials(300));
        assert!(found.right >= 1.0 - SAME_TEXTS_OF_FEW / 300.0 && found.cost > COST_MAX, "{found:?}");
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
