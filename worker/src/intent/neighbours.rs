//! The training examples as embeddings, one byte a number: how near is the nearest one to a new text?

use crate::encoder::{DIMENSIONS, dot};

/// Examples kept of one intent; more change the nearest distance by less than its noise.
const EXAMPLES_PER_CLASS_MAX: usize = 150;

/// Embeddings have unit length, and their largest number seen is 0.3: this keeps two and a half digits.
const SCALE: f32 = 400.0;

/// Embeddings by class.
pub(super) struct Neighbours {
    pub(super) classes: Vec<Vec<i8>>,
}

impl Neighbours {
    pub(super) fn build(embeddings: &[&[f32]], labels: &[usize], classes: usize) -> Self {
        let mut rows: Vec<Vec<&[f32]>> = vec![Vec::new(); classes];
        for (embedding, label) in embeddings.iter().zip(labels) {
            rows[*label].push(embedding);
        }
        let quantise = |x: &f32| (x * SCALE).round() as i8;
        let keep = |rows: Vec<&[f32]>| {
            let stride = rows.len().div_ceil(EXAMPLES_PER_CLASS_MAX).max(1);
            rows.iter().step_by(stride).flat_map(|row| row.iter().map(quantise)).collect()
        };
        Self { classes: rows.into_iter().map(keep).collect() }
    }

    /// The cosine to the class's nearest example, about; 0 for a class without any.
    pub(super) fn nearest(&self, class: usize, embedding: &[f32]) -> f32 {
        let mut row = [0.0; DIMENSIONS];
        let rows = self.classes[class].chunks_exact(DIMENSIONS);
        rows.map(|bytes| {
            row.iter_mut().zip(bytes).for_each(|(x, byte)| *x = f32::from(*byte));
            dot(&row, embedding) / SCALE
        })
        .fold(0.0, f32::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_example_of_a_class() {
        let unit = |at: usize| -> Vec<f32> { (0..DIMENSIONS).map(|k| if k / 16 == at { 0.25 } else { 0.0 }).collect() };
        let (a, b) = (unit(1), unit(2));
        let neighbours = Neighbours::build(&[&a, &b], &[0, 1], 3);
        assert!((neighbours.nearest(0, &a) - 1.0).abs() < 0.01);
        assert_eq!(neighbours.nearest(1, &a), 0.0);
        assert_eq!(neighbours.nearest(2, &a), 0.0);
    }
}
