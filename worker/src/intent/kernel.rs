//! The embedding classifier of small sets: kernel ridge regression with a Gaussian kernel, solved in closed form.
//!
//! With 36 examples an intent it is right more often than the network (86.1 against 81.5 % on the demo's intents,
//! cross-validated, fused with the n-grams) and the whole training takes a quarter of the time; its cost grows with the cube of the examples, so larger sets
//! take the network (Rasmussen & Williams 2006, "Gaussian Processes for Machine Learning", 2.2 and 6.5).

use crate::encoder::{Matrix, Scan, add_scaled, cosine};

/// Examples up to which the kernel is used: the factor of 2,000 takes 8 MB while training, and a message is compared
/// with each of them.
pub(super) const EXAMPLES_MAX: usize = 3_000;

/// Ridge; in a trial on the demo's intents 0.3 was 0.8 points worse.
const RIDGE: f32 = 0.1;

/// Regression answers lie between −1 and 1; this makes them logits about as spread as the network's.
const LOGIT_SCALE: f32 = 12.0;

pub(super) struct Kernel {
    pub(super) examples: Scan,
    /// Row-major, a row per example, a column per class; `packed` is the same, ready for use.
    pub(super) weights: Vec<f32>,
    packed: Matrix,
}

impl Kernel {
    pub(super) fn train(embeddings: &[&[f32]], labels: &[usize], classes: usize) -> Self {
        let lower = cholesky(embeddings);
        let mut weights = vec![0.0; embeddings.len() * classes];
        let other = -1.0 / (classes as f32 - 1.0).max(1.0);
        for class in 0..classes {
            let target = labels.iter().map(|label| if *label == class { 1.0 } else { other }).collect();
            for (row, weight) in weights.chunks_exact_mut(classes).zip(solve(&lower, target)) {
                row[class] = weight;
            }
        }
        let mut examples = Scan::default();
        embeddings.iter().for_each(|embedding| examples.push(embedding));
        let packed = Matrix::pack(&weights, embeddings.len(), classes);
        Self { examples, weights, packed }
    }

    pub(super) fn from_parts(examples: Scan, weights: Vec<f32>, classes: usize) -> Option<Self> {
        let rows = examples.len();
        let packed = (rows > 0 && weights.len() == rows * classes).then(|| Matrix::pack(&weights, rows, classes))?;
        Some(Self { examples, weights, packed })
    }

    /// The logit of every class.
    pub(super) fn logits(&self, embedding: &[f32]) -> Vec<f32> {
        let near: Vec<f32> = self.examples.cosines(embedding).into_iter().map(similarity).collect();
        self.packed.multiply(&near).into_iter().map(|answer| answer * LOGIT_SCALE).collect()
    }
}

/// Gaussian of the distance: embeddings of unit length are √(2 − 2·cosine) apart.
fn similarity(cosine: f32) -> f32 {
    (2.0 * cosine - 2.0).exp()
}

/// The lower factor of the kernel matrix plus ridge, row after row.
fn cholesky(embeddings: &[&[f32]]) -> Vec<Vec<f32>> {
    let mut lower: Vec<Vec<f32>> = Vec::with_capacity(embeddings.len());
    for (at, embedding) in embeddings.iter().enumerate() {
        let mut row = Vec::with_capacity(at + 1);
        for (other, done) in embeddings.iter().zip(&lower) {
            let column = row.len();
            row.push((similarity(cosine(embedding, other)) - cosine(&row, &done[..column])) / done[column]);
        }
        // Positive but for rounding: the ridge bounds the matrix's smallest eigenvalue from below.
        let rest = similarity(cosine(embedding, embedding)) + RIDGE - cosine(&row, &row);
        row.push(rest.max(RIDGE * 0.1).sqrt());
        lower.push(row);
    }
    lower
}

/// Solves `lower · lowerᵀ · x = target`, forwards and back.
fn solve(lower: &[Vec<f32>], mut target: Vec<f32>) -> Vec<f32> {
    for (at, row) in lower.iter().enumerate() {
        target[at] = (target[at] - cosine(&row[..at], &target[..at])) / row[at];
    }
    for (at, row) in lower.iter().enumerate().rev() {
        target[at] /= row[at];
        let known = target[at];
        add_scaled(&mut target[..at], -known, &row[..at]);
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::DIMENSIONS;
    use crate::intent::random::Random;

    #[test]
    fn it_separates_clouds_and_survives_being_stored() {
        let mut random = Random::new(1);
        let mut around = |centre: usize| -> Vec<f32> {
            let raw: Vec<f32> =
                (0..DIMENSIONS).map(|k| if k % 4 == centre { 1.0 } else { 0.0 } + random.unit() * 0.8).collect();
            let length = cosine(&raw, &raw).sqrt();
            raw.iter().map(|x| x / length).collect()
        };
        let rows: Vec<Vec<f32>> = (0..60).map(|i| around(i % 3)).collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let labels: Vec<usize> = (0..60).map(|i| i % 3).collect();
        let kernel = Kernel::train(&rows[..45], &labels[..45], 3);
        for (row, label) in rows.iter().zip(&labels) {
            let logits = kernel.logits(row);
            let best = (0..3).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            assert_eq!(best, *label, "{logits:?}");
        }
        let again = Kernel::from_parts(kernel.examples.clone(), kernel.weights.clone(), 3).unwrap();
        assert_eq!(again.logits(rows[50]), kernel.logits(rows[50]));
        assert!(Kernel::from_parts(Scan::default(), Vec::new(), 3).is_none());
    }
}
