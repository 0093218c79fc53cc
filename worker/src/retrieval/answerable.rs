//! PURE: whether the best passage answers the question at all.

/// What speaks for a passage being an answer, in units that do not depend on the base's size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Signs {
    pub(super) meaning: Option<f32>,
    /// Cosine of the document's nearest wordings, taken together.
    pub(super) wording: Option<f32>,
    /// Share of the query's weight (by rarity) that the passage's words cover, 0..1.
    pub(super) coverage: f32,
    /// Share of the query's weight (by rarity) that no passage's words cover, 0..1.
    pub(super) unseen: f32,
    /// Deviations above the mean.
    pub(super) mixed: f32,
    /// Deviations above the best passage of another document.
    pub(super) lead: f32,
}

/// How likely the passage answers the question, 0..1: a logistic curve, fitted to 830 questions of the demo and of XQuAD
/// in both languages whose right passage came first, against the best passage for questions that the base cannot
/// answer (off-topic, asked of the wrong base, or asked after their article was taken out). Of documents with wordings:
/// fitted to 153 of the demo's wordings, each asked of a base without itself, whose article came first, against the 120
/// out-of-scope texts of its intents and, at a twentieth of the weight, 280 wordings whose article was taken out.
pub(super) fn answers(signs: &Signs) -> f32 {
    let sum = match (signs.meaning, signs.wording) {
        (Some(cosine), Some(wording)) => {
            let near = WORDED[1] * cosine + WORDED[2] * wording;
            WORDED[0] + near + WORDED[3] * signs.coverage + WORDED[4] * signs.mixed
        }
        (Some(cosine), None) => BOTH[0] + BOTH[1] * cosine + BOTH[2] * signs.coverage + BOTH[3] * signs.mixed,
        (None, _) => WORDS[0] + WORDS[1] * signs.coverage + WORDS[2] * signs.mixed,
    };
    1.0 / (1.0 + (-sum).exp())
}

/// Constant, cosine, coverage, deviations.
const BOTH: [f32; 4] = [-8.12, 9.82, 3.82, 0.91];
/// Constant, cosine, the wording's cosine, coverage, deviations. The constant is lowered so that [`ANSWERABLE_FROM`]
/// declines 7 % of the right answers of the fit and 87 % of its out-of-scope texts.
const WORDED: [f32; 5] = [-6.0, 6.98, 2.73, 2.68, 0.38];
/// Constant, coverage, deviations.
const WORDS: [f32; 3] = [-8.26, 7.44, 0.69];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_evidence_is_never_less_likely() {
        let signs = Signs { meaning: Some(0.3), wording: None, coverage: 0.5, unseen: 0.0, mixed: 3.0, lead: 1.0 };
        assert!(answers(&Signs { meaning: Some(0.6), ..signs }) > answers(&signs));
        assert!(answers(&Signs { coverage: 0.1, ..signs }) < answers(&signs));
        assert!(answers(&Signs { mixed: 1.0, ..signs }) < answers(&signs));
        let near = |wording| answers(&Signs { wording: Some(wording), ..signs });
        assert!(near(0.8) > near(0.4));
    }
}
