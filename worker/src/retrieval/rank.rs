//! PURE: how scores by words and scores by meaning become one order, and which of them comes first.
//!
//! Per query both scores are standardised over all passages and mixed by a weight. Reciprocal-rank fusion throws away
//! how far ahead the best one is, and lost up to six points against the better list (see QUALITY.md).

pub(super) use super::rows::Spread;

/// Weight of meaning against words in a base of articles. On the tuning halves nDCG@10 is best at 0.4–0.5 for XQuAD in
/// both languages and CMRC2018. Standardised scores already follow each question: words that match rarely stand far
/// out. A weight that falls with how well the words' best covers the question, or with how far it leads, was fitted
/// besides and gained 0.1 points.
const MEANING_WEIGHT: f32 = 0.45;

/// The same where titles are questions, as in a FAQ, which customers say in other words: StackFAQ is best at 0.5–0.7.
const FAQ_MEANING_WEIGHT: f32 = 0.6;

/// Weight of a document's wordings against its passage. Chosen with the two below on the demo's own wordings: each
/// asked of the base without itself (no wording covers the question: 0 is best, 0.5 costs 4 points) and each asked of
/// the other language's articles (one does: 0.5–0.8 are best, 34 points above 0).
const WORDINGS_WEIGHT: f32 = 0.5;

/// Weight of the nearest wording's meaning against the words of the document with all its wordings.
const WORDINGS_MEANING_WEIGHT: f32 = 0.6;

/// How far behind the nearest wording another still counts, in cosine. On the demo's wordings, each asked of the base
/// without itself, 0.1 is 1 point (English) and 2 points (Chinese) better than the nearest alone.
const WORDINGS_SOFTNESS: f32 = 0.1;

/// Weight of meaning against words, and of the transformer against the multilingual encoder, where there are both. On
/// the tuning halves of StackFAQ, XQuAD and the demo's paraphrases, 0.7–0.8 and 0.6–1 are within half a point.
const TRANSFORMER_WEIGHT: f32 = 0.8;
const TRANSFORMER_SHARE: f32 = 0.8;

/// A passage in another language than the question must lead by this many deviations: the customer may not read it.
const OTHER_LANGUAGE_PENALTY: f32 = 3.0;

/// What an operator may turn; the defaults are measured on the demo and the public sets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// 0: words only, 1: meaning only; in a base of articles.
    pub meaning_weight: f32,
    /// The same where every title is a question; in between, in between.
    pub faq_meaning_weight: f32,
    /// 0: a document's wordings count for nothing, 1: they alone decide between documents that have some.
    pub wordings_weight: f32,
    /// Weight of both meanings against words where a passage has a transformer's embedding too, and the transformer's
    /// share of them.
    pub transformer_weight: f32,
    pub transformer_share: f32,
    pub other_language_penalty: f32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            meaning_weight: MEANING_WEIGHT,
            faq_meaning_weight: FAQ_MEANING_WEIGHT,
            wordings_weight: WORDINGS_WEIGHT,
            transformer_weight: TRANSFORMER_WEIGHT,
            transformer_share: TRANSFORMER_SHARE,
            other_language_penalty: OTHER_LANGUAGE_PENALTY,
        }
    }
}

/// The mean and deviation of each score over the passages that it is measured against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spreads {
    pub(super) words: Spread,
    pub(super) meaning: Spread,
    pub(super) deep: Spread,
    /// Whether the base speaks the customer's language.
    pub(super) any_same: bool,
}

/// One passage's scores for a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) slot: usize,
    /// BM25, 0 where no word matches.
    pub(super) words: f32,
    /// Cosine; `None` when the query or the passage has no embedding.
    pub(super) meaning: Option<f32>,
    /// The transformer's cosine, on the same terms.
    pub(super) deep: Option<f32>,
    /// Deviations of its document by the wordings it brings, if it brings any.
    pub(super) wordings: Option<f32>,
    pub(super) same_language: bool,
}

/// The scores of one document by the wordings it brings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Worded {
    /// BM25 of the whole document, its wordings included.
    pub(super) words: f32,
    /// Cosine of the nearest wordings, taken together.
    pub(super) meaning: Option<f32>,
    /// Whether it belongs to those that others are measured against.
    pub(super) counts: bool,
}

/// The cosines of a document's three nearest wordings, nearest first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nearest([f32; 3]);

impl Default for Nearest {
    fn default() -> Self {
        Self([f32::NEG_INFINITY; 3])
    }
}

impl Nearest {
    pub(super) fn add(&mut self, mut cosine: f32) {
        for kept in &mut self.0 {
            if cosine > *kept {
                std::mem::swap(kept, &mut cosine);
            }
        }
    }

    /// A soft maximum: several near wordings say more than one, and one that is the question itself outdoes them all.
    pub(super) fn together(self) -> Option<f32> {
        let sum: f32 = self.0.iter().map(|cosine| (cosine / WORDINGS_SOFTNESS).exp()).sum();
        (sum > 0.0).then(|| WORDINGS_SOFTNESS * sum.ln())
    }
}

/// A candidate in its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ranked {
    pub(super) candidate: Candidate,
    /// Deviations above the mean of all passages.
    pub(super) mixed: f32,
}

/// The best `count` candidates, best first.
pub(super) fn rank(candidates: &[Candidate], spreads: &Spreads, count: usize, tuning: &Tuning) -> Vec<Ranked> {
    let mixed = |candidate: &Candidate| {
        let words = spreads.words.deviations(candidate.words);
        let meaning = candidate.meaning.map(|cosine| spreads.meaning.deviations(cosine));
        let deep = candidate.deep.map(|cosine| spreads.deep.deviations(cosine));
        let text = match (meaning, deep) {
            (Some(meaning), Some(deep)) => {
                mix(tuning.transformer_weight, mix(tuning.transformer_share, deep, meaning), words)
            }
            (None, Some(deep)) => mix(tuning.transformer_weight, deep, words),
            (Some(meaning), None) => mix(tuning.meaning_weight, meaning, words),
            (None, None) => words,
        };
        // A document without wordings is judged by its text in their place.
        let score = candidate.wordings.map_or(text, |wordings| mix(tuning.wordings_weight, wordings, text));
        let foreign = spreads.any_same && !candidate.same_language;
        score - if foreign { tuning.other_language_penalty } else { 0.0 }
    };
    let mut ranked: Vec<Ranked> =
        candidates.iter().map(|candidate| Ranked { candidate: *candidate, mixed: mixed(candidate) }).collect();
    let order = |a: &Ranked, b: &Ranked| b.mixed.total_cmp(&a.mixed).then(a.candidate.slot.cmp(&b.candidate.slot));
    if ranked.len() > count && count > 0 {
        ranked.select_nth_unstable_by(count - 1, order);
    }
    ranked.truncate(count);
    ranked.sort_unstable_by(order);
    ranked
}

/// Documents with wordings below which their scores have no spread of their own: that of one would say that it is as near
/// as the mean, however near it is. The passages' stands for it.
pub(super) const WORDED_MIN: usize = 8;

/// Deviations of each document by its wordings.
pub(super) fn by_wordings(worded: &[Worded], passages: &Spreads) -> Vec<f32> {
    let counted = || worded.iter().filter(|document| document.counts);
    let (words, meaning) = if counted().count() < WORDED_MIN {
        (passages.words, passages.meaning)
    } else {
        let words = Spread::of(counted().map(|document| document.words));
        (words, Spread::of(counted().filter_map(|document| document.meaning)))
    };
    worded.iter().map(|document| document.deviations(words, meaning)).collect()
}

impl Worded {
    /// Deviations, where the scores of all documents are spread like this.
    pub(super) fn deviations(&self, words: Spread, meaning: Spread) -> f32 {
        let words = words.deviations(self.words);
        self.meaning.map_or(words, |cosine| mix(WORDINGS_MEANING_WEIGHT, meaning.deviations(cosine), words))
    }
}

impl Tuning {
    /// For a base of which that share of the titles are questions. A FAQ has some that are none ("Delivery to islands"),
    /// so half of them make one.
    pub(super) fn for_base(self, question_titles: f32) -> Self {
        let faq = (2.0 * question_titles).min(1.0);
        Self { meaning_weight: mix(faq, self.faq_meaning_weight, self.meaning_weight), ..self }
    }
}

fn mix(weight: f32, a: f32, b: f32) -> f32 {
    weight * a + (1.0 - weight) * b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(slot: usize, words: f32, meaning: f32) -> Candidate {
        Candidate { slot, words, meaning: Some(meaning), deep: None, wordings: None, same_language: true }
    }

    /// Spreads over the candidates themselves.
    fn spreads(candidates: &[Candidate]) -> Spreads {
        let any_same = candidates.iter().any(|candidate| candidate.same_language);
        let counted = || candidates.iter().filter(|candidate| candidate.same_language || !any_same);
        Spreads {
            words: Spread::of(counted().map(|candidate| candidate.words)),
            meaning: Spread::of(counted().filter_map(|candidate| candidate.meaning)),
            deep: Spread::of(counted().filter_map(|candidate| candidate.deep)),
            any_same,
        }
    }

    fn order(candidates: &[Candidate], tuning: &Tuning) -> Vec<usize> {
        rank(candidates, &spreads(candidates), 10, tuning).iter().map(|ranked| ranked.candidate.slot).collect()
    }

    #[test]
    fn the_weight_decides_between_words_and_meaning() {
        let candidates =
            [candidate(0, 10.0, 0.1), candidate(1, 0.0, 0.9), candidate(2, 0.0, 0.1), candidate(3, 0.0, 0.0)];
        assert_eq!(order(&candidates, &Tuning { meaning_weight: 0.0, ..Tuning::default() })[0], 0);
        assert_eq!(order(&candidates, &Tuning { meaning_weight: 1.0, ..Tuning::default() })[0], 1);
    }

    #[test]
    fn a_base_of_questions_is_searched_by_meaning_more() {
        let weight = |share| Tuning::default().for_base(share).meaning_weight;
        assert_eq!((weight(0.0), weight(0.5), weight(1.0)), (MEANING_WEIGHT, FAQ_MEANING_WEIGHT, FAQ_MEANING_WEIGHT));
        assert!(weight(0.2) > MEANING_WEIGHT && weight(0.2) < FAQ_MEANING_WEIGHT);
    }

    #[test]
    fn the_transformer_has_its_share_where_it_has_read_the_passage() {
        let mut candidates = [candidate(0, 0.0, 0.9), candidate(1, 0.0, 0.1), candidate(2, 0.0, 0.2)];
        for (candidate, deep) in candidates.iter_mut().zip([0.1, 0.9, 0.2]) {
            candidate.deep = Some(deep);
        }
        assert_eq!(order(&candidates, &Tuning { transformer_share: 0.0, ..Tuning::default() })[0], 0);
        assert_eq!(order(&candidates, &Tuning { transformer_share: 1.0, ..Tuning::default() })[0], 1);
        candidates.iter_mut().for_each(|candidate| candidate.meaning = None);
        assert_eq!(order(&candidates, &Tuning { transformer_share: 0.0, ..Tuning::default() })[0], 1);
    }

    #[test]
    fn the_customers_language_comes_first_when_there_is_a_choice() {
        let mut candidates = [candidate(0, 0.0, 0.55), candidate(1, 0.0, 0.5), candidate(2, 0.0, 0.1)];
        candidates[0].same_language = false;
        assert_eq!(order(&candidates, &Tuning::default())[0], 1);
        candidates.iter_mut().for_each(|candidate| candidate.same_language = false);
        assert_eq!(order(&candidates, &Tuning::default())[0], 0, "an answer in another language beats none");
    }

    #[test]
    fn a_wording_leads_to_the_passage_of_its_document() {
        let near = |meaning| Worded { words: 0.0, meaning: Some(meaning), counts: true };
        let passages = Spread { mean: 0.4, deviation: 0.06 };
        let none = Spread::default();
        let spreads = Spreads { words: none, meaning: passages, deep: none, any_same: true };
        let deviations = by_wordings(&[near(0.9), near(0.3), near(0.2)], &spreads);
        let mut candidates = [0.30, 0.35, 0.45, 0.40].map(|meaning| candidate(0, 0.0, meaning));
        for (slot, (candidate, document)) in candidates.iter_mut().zip([0, 0, 1, 2]).enumerate() {
            (candidate.slot, candidate.wordings) = (slot, Some(deviations[document]));
        }
        let first = |weight| order(&candidates, &Tuning { wordings_weight: weight, ..Tuning::default() })[0];
        assert_eq!(first(0.0), 2, "by their texts alone");
        assert_eq!(first(0.6), 1, "the better passage of the document whose wording is near");
    }

    #[test]
    fn several_near_wordings_outdo_one_and_none_outdoes_the_question_itself() {
        let together = |cosines: &[f32]| {
            let mut nearest = Nearest::default();
            cosines.iter().for_each(|cosine| nearest.add(*cosine));
            nearest.together()
        };
        assert_eq!(together(&[]), None);
        assert!((together(&[0.7]).unwrap() - 0.7).abs() < 1e-6);
        assert!(together(&[0.1, 0.6, 0.2, 0.58, 0.59]) > together(&[0.62, 0.1, 0.1]));
        assert!(together(&[1.0, 0.3]) > together(&[0.85, 0.85, 0.85, 0.85]));
    }

    #[test]
    fn words_alone_rank_too_and_ties_keep_their_order() {
        let plain = |slot, words| Candidate { meaning: None, ..candidate(slot, words, 0.0) };
        assert_eq!(order(&[plain(0, 0.0), plain(1, 2.0), plain(2, 0.0)], &Tuning::default()), [1, 0, 2]);
        assert!(order(&[], &Tuning::default()).is_empty());
    }
}
