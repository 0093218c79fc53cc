//! Training: embeddings, held-out parts for everything that is chosen, then all classifiers on everything.

use std::collections::HashMap;

use super::background::{self, Known};
use super::calibrate::{Judgement, Outcome, Sample, Validation};
use super::cascade::{Cascade, Trial};
use super::embed::Embeddings;
use super::fusion::{Fusion, Heard};
use super::model::{Class, IntentModel};
use super::parts::{LEAD, Lesson, Parts, Voices};
use super::random::Random;
use super::tier::Tier;
use super::{IntentSet, Kind, ScopeCost};
use crate::encoder::Encoders;

const SEED: u64 = 20_260_902;

/// Parts of the cross-validation; each part is judged by a model that has not seen it.
const FOLDS: usize = 5;

/// In a small set more parts: a model that has seen eight of ten examples is much worse than the finished one, and its
/// doubts are no measure for that one's. Here a training takes a fraction of a second.
const FOLDS_OF_A_SMALL_SET: usize = 10;
const SMALL_SET_EXAMPLES: usize = 600;

/// From this size on one part is judged instead of all five, which keeps training within a minute: 600 held-out
/// examples then place the thresholds.
const ONE_FOLD_FROM_EXAMPLES: usize = 3_000;

/// Where one part is judged, half of the texts out of scope are in it: a fifth of a hundred would place no threshold.
const ONE_FOLD_OUTSIDE_SHARES: usize = 2;

/// Out-of-scope texts from which they become a class of their own; fewer teach only what they say.
const OUT_OF_SCOPE_CLASS_FROM: usize = 8;

/// Below this many out-of-scope texts of the set's own, whole intents are left out of each fold and their examples stand
/// for the unknown that is near.
const LEAVE_INTENTS_OUT_BELOW: usize = 20;

/// From this many intents on one can be left out and two be told apart.
const LEAVE_INTENTS_OUT_FROM_INTENTS: usize = 3;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    #[error("{0} intent(s) with examples: a model tells at least two apart, so add examples")]
    TooFewIntents(usize),
}

/// Trains a model: every tier that the encoders allow, the transformer's beside the multilingual encoder only.
/// Deterministic. `progress` hears the share done, 0..1. Without encoders the n-gram classifier works alone.
pub fn train(set: &IntentSet, encoders: &Encoders, progress: &mut dyn FnMut(f32)) -> Result<IntentModel, TrainError> {
    let corpus = Corpus::gather(set, encoders, &mut |share| progress(0.4 * share))?;
    let folds = corpus.folds();
    let mut judged = Vec::new();
    for fold in 0..corpus.folds_judged() {
        let unknown = |class: usize| corpus.leaves_intents_out() && class % corpus.parts() == fold;
        let kept: Vec<usize> =
            (0..corpus.texts.len()).filter(|at| folds[*at] != fold && !unknown(corpus.labels[*at])).collect();
        let parts = Parts::train(&corpus.lesson(&kept), &mut |share| {
            progress(0.4 + 0.3 * (fold as f32 + share) / corpus.folds_judged() as f32);
        });
        let held = (0..corpus.texts.len()).filter(|at| folds[*at] == fold).map(|at| {
            let truth = if unknown(corpus.labels[at]) { Truth::Unknown } else { Truth::Class(corpus.labels[at]) };
            let text = corpus.texts[at];
            Held { truth, voices: parts.listen_to_all(text, corpus.rows(at)), chars: text.chars().count() }
        });
        judged.push(Judged { held: held.collect(), parts });
    }
    let choices = Choices::make(&corpus, &judged, set.scope);
    drop(judged);
    let everything: Vec<usize> = (0..corpus.texts.len()).collect();
    let parts = Parts::train(&corpus.lesson(&everything), &mut |share| progress(0.7 + 0.3 * share));
    progress(1.0);
    let Choices { fusion, judgements, cascade, validation } = choices;
    Ok(IntentModel { classes: corpus.classes, parts, fusion, judgements, cascade, validation })
}

/// The training texts with their classes; the class after the last intent is 'out of scope'.
struct Corpus<'a> {
    classes: Vec<Class>,
    texts: Vec<&'a str>,
    labels: Vec<usize>,
    embeddings: Embeddings,
    /// Texts out of scope that the set brought itself, and with those of the background.
    own_outside: usize,
    outside: usize,
}

/// A fold's classifiers, and what they say of the texts that they have not seen.
struct Judged {
    parts: Parts,
    held: Vec<Held>,
}

struct Held {
    truth: Truth,
    voices: Voices,
    chars: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Truth {
    Class(usize),
    /// An intent that was kept from the classifiers on purpose.
    Unknown,
}

impl<'a> Corpus<'a> {
    fn gather(set: &'a IntentSet, encoders: &Encoders, progress: &mut dyn FnMut(f32)) -> Result<Self, TrainError> {
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
        let (taught, own_outside) = (texts.len(), set.out_of_scope.len());
        let background = background::lines(&texts, own_outside);
        texts.extend(set.out_of_scope.iter().map(String::as_str));
        texts.extend(background);
        labels.resize(texts.len(), classes.len());
        let embeddings = Embeddings::of(&texts, encoders, progress);
        let mut corpus = Self { classes, texts, labels, embeddings, own_outside, outside: own_outside };
        corpus.drop_background_near_to(taught);
        Ok(corpus)
    }

    /// What a tenant teaches is in scope, also where the background thinks otherwise.
    fn drop_background_near_to(&mut self, taught: usize) {
        let from = taught + self.own_outside;
        let known = |at: usize| Known::new(self.texts[at], self.embeddings.multilingual.get(at).map(Vec::as_slice));
        let examples: Vec<Known<'_>> = (0..taught).map(known).collect();
        let is_kept = |at: usize| {
            let line = known(at);
            at < from || !examples.iter().any(|example| example.is_near(&line))
        };
        let kept: Vec<bool> = (0..self.texts.len()).map(is_kept).collect();
        drop(examples);
        self.embeddings.retain(&kept);
        let mut at = kept.iter();
        self.texts.retain(|_| at.next().copied().unwrap_or_default());
        self.labels.truncate(self.texts.len());
        self.outside = self.texts.len() - taught;
    }

    fn lesson<'b>(&'b self, kept: &[usize]) -> Lesson<'b> {
        let outside_is_a_class = self.outside >= OUT_OF_SCOPE_CLASS_FROM;
        Lesson::of(&self.texts, &self.labels, &self.embeddings, self.classes.len(), outside_is_a_class, kept)
    }

    fn rows(&self, at: usize) -> [Option<&[f32]>; 2] {
        [&self.embeddings.multilingual, &self.embeddings.joint].map(|rows| rows.get(at).map(Vec::as_slice))
    }

    fn leaves_intents_out(&self) -> bool {
        self.own_outside < LEAVE_INTENTS_OUT_BELOW && self.classes.len() >= LEAVE_INTENTS_OUT_FROM_INTENTS
    }

    fn folds_judged(&self) -> usize {
        if self.texts.len() >= ONE_FOLD_FROM_EXAMPLES { 1 } else { self.parts() }
    }

    fn parts(&self) -> usize {
        if self.texts.len() < SMALL_SET_EXAMPLES { FOLDS_OF_A_SMALL_SET } else { FOLDS }
    }

    /// Which part every text belongs to: each class is dealt out evenly, in shuffled order.
    fn folds(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.texts.len()).collect();
        Random::new(SEED).shuffle(&mut order);
        let mut dealt = vec![0; self.classes.len() + 1];
        let mut folds = vec![0; self.texts.len()];
        for at in order {
            let label = self.labels[at];
            let outside = label == self.classes.len() && self.folds_judged() == 1;
            let shares = if outside { ONE_FOLD_OUTSIDE_SHARES } else { self.parts() };
            folds[at] = (dealt[label] + label) % shares;
            dealt[label] += 1;
        }
        folds
    }
}

/// What the held-out texts have chosen.
struct Choices {
    fusion: Fusion,
    judgements: [Judgement; 3],
    cascade: Cascade,
    validation: Validation,
}

impl Choices {
    fn make(corpus: &Corpus<'_>, judged: &[Judged], cost: ScopeCost) -> Self {
        let held = || judged.iter().flat_map(|fold| fold.held.iter().map(move |held| (&fold.parts, held)));
        let heard: Vec<Heard<'_>> = held()
            .filter_map(|(_, held)| match held.truth {
                Truth::Class(truth) if truth < held.voices.said[0].len() => {
                    Some(Heard { said: &held.voices.said, truth })
                }
                _ => None,
            })
            .collect();
        let fusion = Fusion::fit(&heard);
        // By tier, a sample of every text that the tier could read.
        let samples = Tier::ALL.map(|tier| {
            let able = held().filter(|(_, held)| held.voices.tier >= tier);
            able.map(|(parts, held)| {
                let reading = parts.read(&held.voices, tier, &fusion);
                let outcome = match held.truth {
                    Truth::Class(truth) if truth == reading.best => Outcome::Right,
                    Truth::Class(truth) if truth < corpus.classes.len() => Outcome::Wrong,
                    _ => Outcome::OutOfScope,
                };
                Sample { signs: reading.signs, outcome }
            })
            .collect::<Vec<_>>()
        });
        let fitted: Vec<(Judgement, Validation)> =
            samples.iter().map(|samples| Judgement::fit(samples, cost)).collect();
        let dearest = (0..Tier::ALL.len()).rev().find(|tier| !samples[*tier].is_empty()).unwrap_or_default();
        let validation = fitted[dearest].1;
        let judgements = std::array::from_fn(|tier| fitted[tier.min(dearest)].0.clone());
        let trials = trials(&samples, held().map(|(_, held)| held), &judgements);
        let cascade = Cascade::fit(&trials);
        let outcome = cascade.outcome(&trials);
        let validation = Validation { escalated: outcome.escalated, cascade: outcome.right, ..validation };
        Self { fusion, judgements, cascade, validation }
    }
}

/// Each held-out text once, with what every tier that could read it decided. A tier that declines a text in scope is wrong
/// only where the dearest would have taken it: where to decline is the thresholds' matter.
fn trials<'a>(
    samples: &[Vec<Sample>; 3],
    held: impl Iterator<Item = &'a Held>,
    judgements: &[Judgement; 3],
) -> Vec<Trial> {
    let mut next = [0; 3];
    let (inside, outside) = super::calibrate::weights(&samples[0]);
    let mut trial = |held: &Held| {
        let read = Tier::ALL.into_iter().filter(|tier| *tier <= held.voices.tier).map(|tier| {
            let tier = tier as usize;
            let sample = &samples[tier][next[tier]];
            next[tier] += 1;
            (judgements[tier].verdict(&sample.signs), sample.signs[LEAD], sample.outcome)
        });
        let read: Vec<_> = read.collect();
        let taken = read.last().is_some_and(|(verdict, ..)| verdict.recognised);
        let in_scope = read.last().is_some_and(|(.., outcome)| *outcome != Outcome::OutOfScope);
        let decided = read.iter().map(|(verdict, lead, outcome)| {
            let right = match outcome {
                Outcome::Right => verdict.recognised || !taken,
                Outcome::Wrong => false,
                Outcome::OutOfScope => !verdict.recognised,
            };
            (verdict.margin(*lead), right)
        });
        let weight = if in_scope { inside } else { outside };
        Trial { tiers: decided.collect(), in_scope, weight, chars: held.chars as f32 }
    };
    held.map(&mut trial).collect()
}

/// What cross-validation said of the finished model.
impl IntentModel {
    pub fn validation(&self) -> Validation {
        self.validation
    }
}
