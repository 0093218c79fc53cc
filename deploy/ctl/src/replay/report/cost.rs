//! PURE: what the models charged on each side, in tokens and, with prices, in money.

use schemars::JsonSchema;
use serde::Serialize;
use talkfleet_shared::chat::{TurnRecord, Usage};

use super::{
    Prices,
    changes::grouped,
    compare::{Turn, answer_of},
    latency::Sides,
};

/// A ratio of tokens within this of 1 is not worth a sentence.
const RATIO_MIN: f64 = 1.05;

/// What the models were used for, over the turns of which every side has a record.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Cost {
    pub turns: usize,
    pub prompt_tokens: Sides<u64>,
    pub completion_tokens: Sides<u64>,
    /// In the currency of the prices; 0 when none were given.
    pub money: Sides<f64>,
    pub currency: String,
    /// Candidate over the mean of the baseline's two: of money with prices, else of tokens.
    pub ratio: f64,
    /// The baseline's dearer run over its cheaper.
    pub noise_ratio: f64,
}

impl Cost {
    pub fn of(turns: &[Turn<'_>], prices: &Prices) -> Self {
        let mut used: [(u64, u64); 3] = Default::default();
        let mut counted = 0;
        for turn in turns {
            let Some(((a, b), c)) = turn.a.record.zip(turn.b.record).zip(turn.c.record) else { continue };
            counted += 1;
            for (sum, usage) in used.iter_mut().zip([a, b, c].map(usage)) {
                sum.0 += usage.map_or(0, |usage| u64::from(usage.prompt_tokens));
                sum.1 += usage.map_or(0, |usage| u64::from(usage.completion_tokens));
            }
        }
        let money = used.map(|(prompt, completion)| {
            (prompt as f64 * prices.prompt_per_1k + completion as f64 * prices.completion_per_1k) / 1_000.0
        });
        let tokens = used.map(|(prompt, completion)| (prompt + completion) as f64);
        let [a, b, c] = if money.iter().any(|sum| *sum > 0.0) { money } else { tokens };
        let over = |part: f64, whole: f64| if whole > 0.0 { Some(part / whole) } else { None };
        Self {
            turns: counted,
            prompt_tokens: sides(used.map(|(prompt, _)| prompt)),
            completion_tokens: sides(used.map(|(_, completion)| completion)),
            money: sides(money),
            currency: prices.currency.clone(),
            // Tokens out of none are as much more as a figure can say.
            ratio: over(c, (a + b) / 2.0).unwrap_or(if c > 0.0 { f64::MAX } else { 1.0 }),
            noise_ratio: over(a.max(b), a.min(b)).unwrap_or(1.0),
        }
    }

    /// Whether a model was paid at all.
    pub fn is_any(&self) -> bool {
        let both = [&self.prompt_tokens, &self.completion_tokens];
        both.iter().any(|tokens| tokens.baseline_a + tokens.baseline_b + tokens.candidate > 0)
    }

    /// Whether the difference is more than the baseline's own.
    pub fn is_told_from_noise(&self) -> bool {
        self.ratio.max(1.0 / self.ratio.max(f64::MIN_POSITIVE)) > RATIO_MIN.max(self.noise_ratio * self.noise_ratio)
    }

    pub fn sentence(&self) -> Option<String> {
        let tokens = |pick: fn(&Sides<u64>) -> u64| {
            let all = pick(&self.prompt_tokens) + pick(&self.completion_tokens);
            grouped((all as f64 / self.turns.max(1) as f64).round() as usize)
        };
        (self.is_any() && self.is_told_from_noise()).then(|| {
            let ratio = if self.ratio > 1_000.0 { "from none".into() } else { format!("×{:.2}", self.ratio) };
            let (now, before) = (tokens(|side| side.candidate), tokens(|side| side.baseline_a));
            let noise = self.noise_ratio;
            format!(
                "a turn takes {now} tokens instead of {before} ({ratio}; the baseline's own runs differ by ×{noise:.2})"
            )
        })
    }
}

fn usage(record: &TurnRecord) -> Option<&Usage> {
    record.usage.as_ref().or_else(|| answer_of(record)?.usage.as_ref())
}

fn sides<T>([baseline_a, baseline_b, candidate]: [T; 3]) -> Sides<T> {
    Sides { baseline_a, baseline_b, candidate }
}
