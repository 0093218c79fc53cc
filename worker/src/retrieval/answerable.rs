//! PURE: whether the best passage answers the question at all.

/// What speaks for a passage being an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Signs {
    pub(super) meaning: Option<f32>,
    /// Cosine of the document's nearest wordings, taken together.
    pub(super) wording: Option<f32>,
    /// Share of the query's weight (by rarity) that the passage's words cover, 0..1.
    pub(super) coverage: f32,
    /// Deviations above the mean.
    pub(super) mixed: f32,
    /// Passages that both are measured against: the best of many stands out farther than the best of few.
    pub(super) passages: usize,
}

impl Signs {
    /// The logarithm of the passages, within the sizes that the curves were fitted to.
    pub(super) fn size(&self) -> f32 {
        (self.passages as f32).clamp(PASSAGES_MIN, PASSAGES_MAX).ln()
    }
}

/// How likely the passage answers the question, 0..1: a logistic curve by what the base has.
///
/// Fitted (`figures::answerable`, tuning halves) to what came first for questions that the base answers, against what
/// came first for questions of other bases and, half their weight, for questions whose document was taken out. Ordinary
/// bases, articles that customers ask about in words of their own, count three times a public set, whose questions
/// repeat the words of the paragraph. With a sixth of the weight those taken out were told from the others worse (mean
/// AUROC 80 against 83) and those of other bases hardly better (92.6 against 92.0). The gap to the next document, the
/// deviations of the cosine alone, the cosines of the best sentence and of the title and the number of the question's
/// words gained nothing besides. The fit has also seen half of 335 questions that a stranger asked of four bases, which
/// are not kept here; without them `figures::answerable` prints some -1.5, 8.5, 2.1, 0.5, -0.8, which is surer of itself
/// and declines six points more of what such bases answer.
pub(super) fn answers(signs: &Signs) -> f32 {
    let size = signs.size();
    let sum = match (signs.meaning, signs.wording) {
        (Some(_), Some(wording)) => WORDED[0] + WORDED[1] * wording + WORDED[2] * signs.mixed,
        (Some(cosine), None) => {
            let [constant, by_cosine, by_coverage, by_mixed, by_size] = BOTH;
            constant + by_cosine * cosine + by_coverage * signs.coverage + by_mixed * signs.mixed + by_size * size
        }
        (None, _) => WORDS[0] + WORDS[1] * signs.coverage + WORDS[2] * signs.mixed + WORDS[3] * size,
    };
    1.0 / (1.0 + (-sum).exp())
}

/// Of a document that brings wordings: constant, the wordings' cosine, deviations. Its passage's cosine and coverage
/// are left out: beside the deviations they came out below nothing. It is of an earlier fit, without the ordinary
/// bases: a new one declines three points fewer of what such a base answers, and up to 20 fewer of what was taken out.
const WORDED: [f32; 3] = [-11.45, 12.09, 1.78];
/// Constant, cosine, coverage, deviations, the logarithm of the passages.
const BOTH: [f32; 5] = [-1.01, 6.65, 2.05, 0.82, -0.91];
/// Constant, coverage, deviations, the logarithm of the passages. The constant is 0.3 below the fitted one: words alone
/// took one of three questions of other bases for their own.
const WORDS: [f32; 4] = [-1.54, 6.22, 0.24, -0.51];

/// The sizes of base that the curves were fitted to; a larger base counts as the largest.
const PASSAGES_MIN: f32 = 30.0;
const PASSAGES_MAX: f32 = 1_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_evidence_is_never_less_likely() {
        let signs = Signs { meaning: Some(0.3), wording: None, coverage: 0.5, mixed: 3.0, passages: 100 };
        assert!(answers(&Signs { meaning: Some(0.6), ..signs }) > answers(&signs));
        assert!(answers(&Signs { coverage: 0.1, ..signs }) < answers(&signs));
        assert!(answers(&Signs { mixed: 1.0, ..signs }) < answers(&signs));
        let near = |wording| answers(&Signs { wording: Some(wording), ..signs });
        assert!(near(0.8) > near(0.4));
    }
}
