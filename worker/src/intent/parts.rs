//! The trained classifiers, without the judgement on top: what each says of a text, and what they say together.

use super::embed::{Embeddings, Joint};
use super::features::{Sparse, Vocabulary};
use super::fusion::Fusion;
use super::kernel::{self, Kernel};
use super::linear::Linear;
use super::neighbours::Neighbours;
use super::neural::{Neural, log_sum_exp};
use super::tier::{Message, Tier};

/// Signs that the judgement weighs; see [`Reading`].
pub(super) const SIGNS: usize = 11;

/// The signs that are read elsewhere too: the lead, the share of known n-grams, and by tier the nearest example.
pub(super) const LEAD: usize = 0;
pub(super) const KNOWN: usize = 2;
pub(super) const NEAREST: [usize; 2] = [6, 9];

/// Leads beyond this say nothing more: the classifiers are certain.
const LEAD_MAX: f32 = 12.0;

const SEED: u64 = 20_260_901;

/// What a training is given: texts that are taught, and embeddings of all.
pub(super) struct Lesson<'a> {
    pub(super) texts: Vec<&'a str>,
    /// The class after the last intent is 'out of scope'.
    pub(super) labels: Vec<usize>,
    pub(super) multilingual: Vec<&'a [f32]>,
    pub(super) joint: Vec<&'a [f32]>,
    pub(super) joint_by: &'a Joint,
    pub(super) intents: usize,
    /// Whether 'out of scope' is learnt as a class; its texts are neighbours in any case.
    pub(super) outside_is_a_class: bool,
}

pub(super) struct Parts {
    pub(super) vocabulary: Vocabulary,
    pub(super) linear: Linear,
    pub(super) multilingual: Option<Embedded>,
    pub(super) transformer: Option<Embedded>,
    pub(super) joint_by: Joint,
    /// Intents; the classifiers may know one class more, which is 'out of scope'.
    pub(super) intents: usize,
}

/// A classifier of embeddings, and the embeddings that it was taught with.
pub(super) struct Embedded {
    pub(super) head: Head,
    pub(super) neighbours: Neighbours,
}

pub(super) enum Head {
    Kernel(Kernel),
    Network(Neural),
}

/// What the classifiers up to some tier say of one text, each for itself.
pub(super) struct Voices {
    pub(super) tier: Tier,
    /// Log-probability of every class, by tier.
    pub(super) said: Vec<Vec<f32>>,
    /// What the second tier and the third have read.
    rows: [Vec<f32>; 2],
    /// The largest raw score of an intent, by tier.
    largest: [f32; 3],
    known_share: f32,
}

/// What they say together.
pub(super) struct Reading {
    /// Fused log-probability of every intent.
    pub(super) scores: Vec<f32>,
    pub(super) best: usize,
    /// What the judgement weighs: 0 lead over the second, 1 lead of the best over 'out of scope', 2 share of known
    /// n-grams, 3 whether all classifiers agree, 4 largest margin of the n-grams; then of the multilingual encoder, and
    /// of the transformer: largest logit, cosine to the nearest example of the best three, and to the nearest text out
    /// of scope. What a tier does not know is 0.
    pub(super) signs: [f32; SIGNS],
}

impl<'a> Lesson<'a> {
    /// The texts at the given places.
    pub(super) fn of(
        texts: &[&'a str],
        labels: &[usize],
        embeddings: &'a Embeddings,
        intents: usize,
        outside_is_a_class: bool,
        kept: &[usize],
    ) -> Self {
        let rows = |rows: &'a [Vec<f32>]| kept.iter().filter_map(|at| Some(rows.get(*at)?.as_slice())).collect();
        Self {
            texts: kept.iter().map(|at| texts[*at]).collect(),
            labels: kept.iter().map(|at| labels[*at]).collect(),
            multilingual: rows(&embeddings.multilingual),
            joint: rows(&embeddings.joint),
            joint_by: &embeddings.joint_by,
            intents,
            outside_is_a_class,
        }
    }

    fn classes(&self) -> usize {
        self.intents + usize::from(self.outside_is_a_class)
    }
}

impl Parts {
    /// The three classifiers, side by side on the cores there are.
    pub(super) fn train(lesson: &Lesson<'_>, progress: &mut dyn FnMut(f32)) -> Self {
        let classes = lesson.classes();
        let taught: Vec<usize> = (0..lesson.texts.len()).filter(|at| lesson.labels[*at] < classes).collect();
        let labels: Vec<usize> = taught.iter().map(|at| lesson.labels[*at]).collect();
        let (vocabulary, linear, multilingual, transformer) = std::thread::scope(|scope| {
            let transformer = scope.spawn(|| Embedded::train(lesson, &lesson.joint, &taught, &labels, &mut |_| {}));
            let texts: Vec<&str> = taught.iter().map(|at| lesson.texts[*at]).collect();
            let vocabulary = Vocabulary::build(&texts);
            let vectors: Vec<Sparse> = texts.iter().map(|text| vocabulary.vector(text).entries).collect();
            let multilingual = Embedded::train(lesson, &lesson.multilingual, &taught, &labels, progress);
            let linear = Linear::train(&vectors, &labels, classes, vocabulary.len(), SEED);
            let transformer = transformer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (vocabulary, linear, multilingual, transformer)
        });
        let joint_by = lesson.joint_by.clone();
        Self { vocabulary, linear, multilingual, transformer, joint_by, intents: lesson.intents }
    }

    pub(super) fn embedded(&self, tier: Tier) -> Option<&Embedded> {
        match tier {
            Tier::Words => None,
            Tier::Multilingual => self.multilingual.as_ref(),
            Tier::Transformer => self.transformer.as_ref(),
        }
    }

    /// Asks the cheapest classifier.
    pub(super) fn listen(&self, text: &str) -> Voices {
        let vector = self.vocabulary.vector(text);
        let margins = self.linear.margins(&vector.entries);
        let largest = [largest(&margins[..self.intents]), 0.0, 0.0];
        let said = vec![log_softmax(margins)];
        Voices { tier: Tier::Words, said, rows: [Vec::new(), Vec::new()], largest, known_share: vector.known_share }
    }

    /// Asks the next classifier too; false when there is none, or the message cannot be read by it.
    pub(super) fn listen_on(&self, voices: &mut Voices, message: &Message<'_>) -> bool {
        let next = match voices.tier {
            Tier::Words => Tier::Multilingual,
            Tier::Multilingual => Tier::Transformer,
            Tier::Transformer => return false,
        };
        let Some(embedded) = self.embedded(next) else { return false };
        let Some(embedding) = message.embedding(next) else { return false };
        let row = match next {
            Tier::Transformer => self.joint_by.join(Some(embedding), &voices.rows[0]),
            _ => embedding.to_vec(),
        };
        self.hear(voices, next, embedded, row);
        true
    }

    fn hear(&self, voices: &mut Voices, tier: Tier, embedded: &Embedded, row: Vec<f32>) {
        let logits = embedded.head.logits(&row);
        voices.rows[tier as usize - 1] = row;
        voices.largest[tier as usize] = largest(&logits[..self.intents]);
        voices.said.push(log_softmax(logits));
        voices.tier = tier;
    }

    /// Asks all classifiers about a text of the training set, whose embeddings are at hand.
    pub(super) fn listen_to_all(&self, text: &str, rows: [Option<&[f32]>; 2]) -> Voices {
        let mut voices = self.listen(text);
        for (tier, row) in [Tier::Multilingual, Tier::Transformer].into_iter().zip(rows) {
            if let Some((embedded, row)) = self.embedded(tier).zip(row) {
                self.hear(&mut voices, tier, embedded, row.to_vec());
            }
        }
        voices
    }

    /// What the classifiers up to `tier` say together.
    pub(super) fn read(&self, voices: &Voices, tier: Tier, fusion: &Fusion) -> Reading {
        let said = &voices.said[..=(tier as usize)];
        let mut scores = fusion.fuse(tier, said);
        let outside = scores.split_off(self.intents).first().copied();
        let order = three_best(&scores);
        let best = order[0];
        let lead = order.get(1).map_or(LEAD_MAX, |second| scores[best] - scores[*second]);
        let agree = said.iter().all(|voice| voice[best] >= largest(&voice[..self.intents]));
        let mut signs = [0.0; SIGNS];
        signs[LEAD] = lead.min(LEAD_MAX);
        signs[1] = outside.map_or(0.0, |outside| (scores[best] - outside).clamp(-LEAD_MAX, LEAD_MAX));
        signs[KNOWN] = voices.known_share;
        signs[3] = if agree { 1.0 } else { 0.0 };
        signs[4] = voices.largest[0];
        for (at, row) in voices.rows.iter().enumerate().take(tier as usize) {
            let asked = if at == 0 { Tier::Multilingual } else { Tier::Transformer };
            let Some(embedded) = self.embedded(asked) else { continue };
            let nearest = |class: usize| embedded.neighbours.nearest(class, row);
            signs[5 + 3 * at] = voices.largest[at + 1];
            signs[NEAREST[at]] = order.iter().map(|class| nearest(*class)).fold(0.0, f32::max);
            signs[7 + 3 * at] = nearest(self.intents);
        }
        Reading { best, scores, signs }
    }
}

impl Embedded {
    fn train(
        lesson: &Lesson<'_>,
        rows: &[&[f32]],
        taught: &[usize],
        labels: &[usize],
        progress: &mut dyn FnMut(f32),
    ) -> Option<Self> {
        if rows.is_empty() {
            return None;
        }
        let classes = lesson.classes();
        let known: Vec<&[f32]> = taught.iter().map(|at| rows[*at]).collect();
        let head = if known.len() <= kernel::EXAMPLES_MAX {
            Head::Kernel(Kernel::train(&known, labels, classes))
        } else {
            Head::Network(Neural::train(&known, labels, classes, SEED, progress))
        };
        Some(Self { head, neighbours: Neighbours::build(rows, &lesson.labels, lesson.intents + 1) })
    }
}

impl Head {
    fn logits(&self, embedding: &[f32]) -> Vec<f32> {
        match self {
            Self::Kernel(kernel) => kernel.logits(embedding),
            Self::Network(network) => network.logits(embedding),
        }
    }
}

pub(super) fn log_softmax(mut values: Vec<f32>) -> Vec<f32> {
    let total = log_sum_exp(&values);
    values.iter_mut().for_each(|value| *value -= total);
    values
}

/// The best three, best first.
pub(super) fn three_best(scores: &[f32]) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(4);
    for at in 0..scores.len() {
        let place = best.iter().position(|other| scores[at] > scores[*other]).unwrap_or(best.len());
        if place < 3 {
            best.insert(place, at);
            best.truncate(3);
        }
    }
    best
}

fn largest(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}
