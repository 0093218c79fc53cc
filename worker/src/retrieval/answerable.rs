//! PURE: whether the best passage answers the question at all.

/// What speaks for a passage being an answer, in units that do not depend on the base's size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Signs {
    pub(super) meaning: Option<f32>,
    /// Cosine of the document's nearest wordings, taken together.
    pub(super) wording: Option<f32>,
    /// Share of the query's weight (by rarity) that the passage's words cover, 0..1.
    pub(super) coverage: f32,
    /// Deviations above the mean.
    pub(super) mixed: f32,
}

/// How likely the passage answers the question, 0..1: a logistic curve by what the base has.
///
/// Fitted (`figures::answerable`, tuning halves) to questions whose right passage came first, against what came first for
/// questions whose document was taken out and, three times their weight, for questions of other bases and off-topic
/// ones; every set counts the same. The gap to the next document, the best sentence's cosine and the share of the
/// question's words that no passage holds were tried besides: none moved the AUROC of a reported half by a point.
pub(super) fn answers(signs: &Signs) -> f32 {
    let sum = match (signs.meaning, signs.wording) {
        (Some(_), Some(wording)) => WORDED[0] + WORDED[1] * wording + WORDED[2] * signs.mixed,
        (Some(cosine), None) => BOTH[0] + BOTH[1] * cosine + BOTH[2] * signs.coverage + BOTH[3] * signs.mixed,
        (None, _) => WORDS[0] + WORDS[1] * signs.coverage + WORDS[2] * signs.mixed,
    };
    1.0 / (1.0 + (-sum).exp())
}

/// Of a document that brings wordings: constant, the wordings' cosine, deviations. Its passage's cosine and coverage are
/// left out: beside the deviations they came out below nothing.
const WORDED: [f32; 3] = [-11.45, 12.09, 1.78];
/// Constant, cosine, coverage, deviations.
const BOTH: [f32; 4] = [-9.40, 4.68, 4.43, 0.99];
/// Constant, coverage, deviations.
const WORDS: [f32; 3] = [-8.26, 7.44, 0.69];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_evidence_is_never_less_likely() {
        let signs = Signs { meaning: Some(0.3), wording: None, coverage: 0.5, mixed: 3.0 };
        assert!(answers(&Signs { meaning: Some(0.6), ..signs }) > answers(&signs));
        assert!(answers(&Signs { coverage: 0.1, ..signs }) < answers(&signs));
        assert!(answers(&Signs { mixed: 1.0, ..signs }) < answers(&signs));
        let near = |wording| answers(&Signs { wording: Some(wording), ..signs });
        assert!(near(0.8) > near(0.4));
    }
}
