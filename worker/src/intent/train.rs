//! Training: embeddings, cross-validation for the threshold, then both classifiers on everything.

use std::collections::HashMap;

use super::calibrate::{Judgement, Outcome, SIGNS, Sample, Validation};
use super::features::{Sparse, Vocabulary};
use super::kernel::{self, Kernel};
use super::linear::Linear;
use super::model::{Class, IntentModel};
use super::neighbours::Neighbours;
use super::neural::{Neural, log_sum_exp};
use super::random::Random;
use super::{IntentSet, Kind};
use crate::encoder::Encoder;

const SEED: u64 = 20_260_901;

/// Parts of the cross-validation; each part is judged by a model that has not seen it.
const FOLDS: usize = 5;

/// From this size on one part is judged instead of all five, which keeps training within a minute: 600 held-out
/// examples then place the threshold.
const ONE_FOLD_FROM_EXAMPLES: usize = 3_000;

/// Out-of-scope texts from which they become a class of their own; fewer teach only what they say.
const OUT_OF_SCOPE_CLASS_FROM: usize = 8;

/// Below this many out-of-scope texts, whole intents are left out of each fold and their examples stand for the
/// unknown.
const LEAVE_INTENTS_OUT_BELOW: usize = 20;

/// The margin of the SVM counts this much against the network's logits; fixed before any test set was looked at.
const MARGIN_SCALE: f32 = 4.0;

/// Texts that one thread encodes between two words of progress.
const ENCODE_CHUNK: usize = 256;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    #[error("{0} intent(s) with examples: a model tells at least two apart, so add examples")]
    TooFewIntents(usize),
}

/// Trains a model. Deterministic; 10,000 examples take well under a minute on two cores, embeddings included.
/// `progress` hears the share done, 0..1. Without an encoder the n-gram classifier works alone.
pub fn train(
    set: &IntentSet,
    encoder: Option<&Encoder>,
    progress: &mut dyn FnMut(f32),
) -> Result<IntentModel, TrainError> {
    let corpus = Corpus::gather(set, encoder, &mut |share| progress(0.3 * share))?;
    let folds = corpus.folds();
    let judged = if corpus.texts.len() >= ONE_FOLD_FROM_EXAMPLES { 1 } else { FOLDS };
    let (mut words, mut both) = (Vec::new(), Vec::new());
    for fold in 0..judged {
        let unknown = |class: usize| corpus.leaves_intents_out() && class % FOLDS == fold;
        let kept: Vec<usize> =
            (0..corpus.texts.len()).filter(|at| folds[*at] != fold && !unknown(corpus.labels[*at])).collect();
        let parts = Parts::train(&corpus, &kept, &mut |share| {
            progress(0.3 + 0.4 * (fold as f32 + share) / judged as f32);
        });
        for at in (0..corpus.texts.len()).filter(|at| folds[*at] == fold) {
            let truth = (!unknown(corpus.labels[at])).then_some(corpus.labels[at]);
            words.push(parts.judge(corpus.texts[at], None, truth));
            both.extend(corpus.embedding(at).map(|embedding| parts.judge(corpus.texts[at], Some(embedding), truth)));
        }
    }
    let everything: Vec<usize> = (0..corpus.texts.len()).collect();
    let parts = Parts::train(&corpus, &everything, &mut |share| progress(0.7 + 0.3 * share));
    let (judge_words, validation_words) = Judgement::fit(&words);
    let (judge_both, validation) =
        if both.is_empty() { (judge_words.clone(), validation_words) } else { Judgement::fit(&both) };
    progress(1.0);
    Ok(IntentModel { classes: corpus.classes, parts, judge_words, judge_both, validation })
}

/// The training texts with their classes; the class after the last intent is 'out of scope'.
struct Corpus<'a> {
    classes: Vec<Class>,
    texts: Vec<&'a str>,
    labels: Vec<usize>,
    embeddings: Vec<Vec<f32>>,
    out_of_scope: usize,
}

impl<'a> Corpus<'a> {
    fn gather(
        set: &'a IntentSet,
        encoder: Option<&Encoder>,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Self, TrainError> {
        let kinds: HashMap<&str, Kind> = set.intents.iter().map(|intent| (intent.name.as_str(), intent.kind)).collect();
        let mut classes: Vec<Class> = Vec::new();
        let mut index: HashMap<&str, usize> = HashMap::new();
        let (mut texts, mut labels) = (Vec::new(), Vec::new());
        for example in &set.examples {
            let name = example.intent.as_str();
            let label = *index.entry(name).or_insert_with(|| {
                classes.push(Class { name: name.to_owned(), kind: kinds.get(name).copied().unwrap_or_default() });
                classes.len() - 1
            });
            texts.push(example.text.as_str());
            labels.push(label);
        }
        if classes.len() < 2 {
            return Err(TrainError::TooFewIntents(classes.len()));
        }
        texts.extend(set.out_of_scope.iter().map(String::as_str));
        labels.resize(texts.len(), classes.len());
        let embeddings = encoder.map(|encoder| encode(encoder, &texts, progress)).unwrap_or_default();
        Ok(Self { classes, texts, labels, embeddings, out_of_scope: set.out_of_scope.len() })
    }

    fn embedding(&self, at: usize) -> Option<&[f32]> {
        self.embeddings.get(at).map(Vec::as_slice)
    }

    fn leaves_intents_out(&self) -> bool {
        self.out_of_scope < LEAVE_INTENTS_OUT_BELOW && self.classes.len() >= 2 * FOLDS
    }

    /// Which part every text belongs to: each class is dealt out evenly, in shuffled order.
    fn folds(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.texts.len()).collect();
        Random::new(SEED).shuffle(&mut order);
        let mut dealt = vec![0; self.classes.len() + 1];
        let mut folds = vec![0; self.texts.len()];
        for at in order {
            let label = self.labels[at];
            folds[at] = (dealt[label] + label) % FOLDS;
            dealt[label] += 1;
        }
        folds
    }
}

/// Embeds all texts, a thread per core, in the texts' order.
fn encode(encoder: &Encoder, texts: &[&str], progress: &mut dyn FnMut(f32)) -> Vec<Vec<f32>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut found = Vec::with_capacity(texts.len());
    for chunk in texts.chunks(ENCODE_CHUNK * threads) {
        std::thread::scope(|scope| {
            let share = chunk.len().div_ceil(threads);
            let running: Vec<_> =
                chunk.chunks(share).map(|part| scope.spawn(move || encoder.encode_many(part))).collect();
            found.extend(running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()));
        });
        progress(found.len() as f32 / texts.len() as f32);
    }
    found
}

/// The trained classifiers, without the judgement on top.
pub(super) struct Parts {
    pub(super) vocabulary: Vocabulary,
    pub(super) linear: Linear,
    pub(super) embedded: Option<Embedded>,
    /// Intents; the classifiers may know one class more, which is 'out of scope'.
    pub(super) intents: usize,
}

pub(super) struct Embedded {
    pub(super) head: Head,
    pub(super) neighbours: Neighbours,
}

/// Which classifier reads the embeddings.
pub(super) enum Head {
    Kernel(Kernel),
    Network(Neural),
}

impl Head {
    fn logits(&self, embedding: &[f32]) -> Vec<f32> {
        match self {
            Self::Kernel(kernel) => kernel.logits(embedding),
            Self::Network(network) => network.logits(embedding),
        }
    }

    /// What the n-grams' log-probabilities count beside this head's. In small sets the n-grams have seen too little:
    /// at equal weight they cost the kernel two points.
    fn words_share(&self) -> f32 {
        match self {
            Self::Kernel(_) => 0.2,
            Self::Network(_) => 1.0,
        }
    }
}

/// What the classifiers say of one text.
pub(super) struct Reading {
    /// Fused log-probability of every intent.
    pub(super) scores: Vec<f32>,
    pub(super) best: usize,
    /// What the judgement weighs: 0 lead over the second, 1 largest margin, 2 largest logit, 3 nearest example of the
    /// best three, 4 nearest out-of-scope example, 5 lead of the best over 'out of scope', 6 share of known n-grams,
    /// 7 whether both classifiers agree.
    pub(super) signs: [f32; SIGNS],
}

impl Parts {
    fn train(corpus: &Corpus, kept: &[usize], progress: &mut dyn FnMut(f32)) -> Self {
        let intents = corpus.classes.len();
        let classes = intents + usize::from(corpus.out_of_scope >= OUT_OF_SCOPE_CLASS_FROM);
        let taught: Vec<usize> = kept.iter().copied().filter(|at| corpus.labels[*at] < classes).collect();
        let texts: Vec<&str> = taught.iter().map(|at| corpus.texts[*at]).collect();
        let labels: Vec<usize> = taught.iter().map(|at| corpus.labels[*at]).collect();
        let vocabulary = Vocabulary::build(&texts);
        let vectors: Vec<Sparse> = texts.iter().map(|text| vocabulary.vector(text).entries).collect();
        let train_linear = || Linear::train(&vectors, &labels, classes, vocabulary.len(), SEED);
        let embedded = || {
            let embeddings: Vec<&[f32]> = kept.iter().filter_map(|at| corpus.embedding(*at)).collect();
            let all_labels: Vec<usize> = kept.iter().map(|at| corpus.labels[*at]).collect();
            let taught: Vec<&[f32]> = taught.iter().filter_map(|at| corpus.embedding(*at)).collect();
            let head = if taught.len() <= kernel::EXAMPLES_MAX {
                Head::Kernel(Kernel::train(&taught, &labels, classes))
            } else {
                Head::Network(Neural::train(&taught, &labels, classes, SEED, progress))
            };
            Embedded { head, neighbours: Neighbours::build(&embeddings, &all_labels, intents + 1) }
        };
        let has_embeddings = !corpus.embeddings.is_empty();
        let (linear, embedded) = std::thread::scope(|scope| {
            let linear = scope.spawn(train_linear);
            let embedded = has_embeddings.then(embedded);
            (linear.join(), embedded)
        });
        let linear = linear.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Self { vocabulary, linear, embedded, intents }
    }

    pub(super) fn read(&self, text: &str, embedding: Option<&[f32]>) -> Reading {
        let vector = self.vocabulary.vector(text);
        let margins = self.linear.margins(&vector.entries);
        let mut scores = log_softmax(margins.iter().map(|margin| margin * MARGIN_SCALE).collect());
        let best_of_words = best(&scores[..self.intents]);
        let embedded = self.embedded.as_ref().zip(embedding);
        let logits = embedded.map(|(embedded, embedding)| embedded.head.logits(embedding));
        if let Some((logits, (embedded, _))) = logits.as_ref().zip(embedded) {
            let share = embedded.head.words_share();
            scores
                .iter_mut()
                .zip(log_softmax(logits.clone()))
                .for_each(|(score, other)| *score = share * *score + other);
        }
        let outside = scores.split_off(self.intents).first().copied();
        let order = three_best(&scores);
        let best_intent = order[0];
        let lead = order.get(1).map_or(LEAD_MAX, |second| scores[best_intent] - scores[*second]);
        let nearest =
            |class: usize| embedded.map_or(0.0, |(embedded, query)| embedded.neighbours.nearest(class, query));
        let signs = [
            lead.min(LEAD_MAX),
            largest(&margins[..self.intents]),
            logits.as_ref().map_or(0.0, |logits| largest(&logits[..self.intents])),
            order.iter().map(|class| nearest(*class)).fold(0.0, f32::max),
            nearest(self.intents),
            outside.map_or(0.0, |outside| (scores[best_intent] - outside).clamp(-LEAD_MAX, LEAD_MAX)),
            vector.known_share,
            logits
                .as_ref()
                .map_or(0.0, |logits| if best(&logits[..self.intents]) == best_of_words { 1.0 } else { 0.0 }),
        ];
        Reading { best: best_intent, scores, signs }
    }

    fn judge(&self, text: &str, embedding: Option<&[f32]>, truth: Option<usize>) -> Sample {
        let reading = self.read(text, embedding);
        let outcome = match truth {
            Some(truth) if truth == reading.best => Outcome::Right,
            Some(truth) if truth < self.intents => Outcome::Wrong,
            _ => Outcome::OutOfScope,
        };
        Sample { signs: reading.signs, outcome }
    }
}

/// Leads beyond this say nothing more: both classifiers are certain.
const LEAD_MAX: f32 = 12.0;

fn log_softmax(mut values: Vec<f32>) -> Vec<f32> {
    let total = log_sum_exp(&values);
    values.iter_mut().for_each(|value| *value -= total);
    values
}

/// The best three, best first.
pub(super) fn three_best(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    order.truncate(3);
    order
}

fn best(scores: &[f32]) -> usize {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or_default()
}

fn largest(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// What cross-validation said of the finished model.
impl IntentModel {
    pub fn validation(&self) -> Validation {
        self.validation
    }
}
