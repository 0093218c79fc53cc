//! Many embeddings side by side: the cosine of a query to each of them by an exact scan.

use super::cosine;

/// Rows of embeddings. Each number is rounded to one of 255 steps, so that a stored row takes a quarter of the bytes;
/// in memory they are floats, because the scan over bytes measured half as fast (10,000 rows: 1.0 ms against 2.1).
#[derive(Clone, Default)]
pub struct Scan {
    rows: Vec<f32>,
    /// What one step of a row is worth.
    steps: Vec<f32>,
}

impl Scan {
    pub fn push(&mut self, embedding: &[f32]) {
        let largest = embedding.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
        let step = largest / f32::from(i8::MAX);
        self.rows.extend(embedding.iter().map(|value| (value / step).round() * step));
        self.steps.push(step);
    }

    /// The cosine to every row, in order; within 0.003 of the exact one.
    pub fn cosines(&self, query: &[f32]) -> Vec<f32> {
        self.rows.chunks_exact(self.width()).map(|row| cosine(row, query)).collect()
    }

    /// Numbers in a row: as many as the first one had.
    pub(crate) fn width(&self) -> usize {
        self.rows.len().checked_div(self.steps.len()).unwrap_or_default().max(1)
    }

    /// Rows in it.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(crate) fn from_parts(bytes: &[i8], steps: Vec<f32>) -> Option<Self> {
        let width = bytes.len().checked_div(steps.len()).unwrap_or_default();
        let fits = bytes.len() == steps.len() * width;
        let rows = bytes.chunks_exact(width.max(1)).zip(&steps);
        let rows = rows.flat_map(|(row, step)| row.iter().map(move |byte| f32::from(*byte) * step)).collect();
        fits.then_some(Self { rows, steps })
    }

    /// A byte per number, and the step of each row.
    pub(crate) fn parts(&self) -> (Vec<i8>, &[f32]) {
        let rows = self.rows.chunks_exact(self.width()).zip(&self.steps);
        (rows.flat_map(|(row, step)| row.iter().map(move |value| (value / step).round() as i8)).collect(), &self.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::DIMENSIONS;

    #[test]
    fn a_scan_is_close_to_the_exact_cosine() {
        let vector = |seed: usize| -> Vec<f32> {
            let raw: Vec<f32> = (0..DIMENSIONS).map(|i| ((i * 31 + seed * 17) % 101) as f32 - 50.0).collect();
            let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
            raw.iter().map(|x| x / length).collect()
        };
        let mut scan = Scan::default();
        (0..20).for_each(|seed| scan.push(&vector(seed)));
        let query = vector(7);
        for (seed, found) in scan.cosines(&query).into_iter().enumerate() {
            let exact = super::super::cosine(&vector(seed), &query);
            assert!((found - exact).abs() < 0.003, "{found} for {exact}");
        }
        let (bytes, steps) = scan.parts();
        let again = Scan::from_parts(&bytes, steps.to_vec()).unwrap();
        assert_eq!(again.cosines(&query), scan.cosines(&query), "storing changes nothing");
        assert!(Scan::from_parts(&bytes, Vec::new()).is_none());
    }
}
