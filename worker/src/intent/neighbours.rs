//! The training examples as embeddings: how near is the nearest one to a new text?

use crate::encoder::Scan;

/// Examples kept of one intent: bounds the artefact (77 KB an intent) and the scan of a message's three candidates.
const EXAMPLES_PER_CLASS_MAX: usize = 150;

/// Embeddings by class.
pub(super) struct Neighbours {
    pub(super) classes: Vec<Scan>,
}

impl Neighbours {
    pub(super) fn build(embeddings: &[&[f32]], labels: &[usize], classes: usize) -> Self {
        let mut rows: Vec<Vec<&[f32]>> = vec![Vec::new(); classes];
        for (embedding, label) in embeddings.iter().zip(labels) {
            rows[*label].push(embedding);
        }
        let keep = |rows: Vec<&[f32]>| {
            let stride = rows.len().div_ceil(EXAMPLES_PER_CLASS_MAX).max(1);
            let mut scan = Scan::default();
            rows.iter().step_by(stride).for_each(|row| scan.push(row));
            scan
        };
        Self { classes: rows.into_iter().map(keep).collect() }
    }

    /// The cosine to the class's nearest example, about; 0 for a class without any.
    pub(super) fn nearest(&self, class: usize, embedding: &[f32]) -> f32 {
        self.classes[class].cosines(embedding).into_iter().fold(0.0, f32::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::DIMENSIONS;

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
