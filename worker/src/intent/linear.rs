//! The n-gram classifier: one linear SVM a class, trained by dual coordinate descent, kept as one byte a weight.
//!
//! Hsieh et al. 2008, "A Dual Coordinate Descent Method for Large-scale Linear SVM" (LIBLINEAR's L2-loss solver).

use super::features::Sparse;
use super::random::Random;

/// The price of a training error: LIBLINEAR's default, not tuned.
const COST: f32 = 1.0;

/// Rounds over the examples. Chosen for training time; more were not tried.
const ROUNDS: usize = 12;

/// Every so many rounds all examples are looked at; in between only those that hold the boundary up, which for one class
/// against the rest are few.
const FULL_ROUND_EVERY: usize = 4;

/// A constant feature in place of a bias.
const BIAS: f32 = 1.0;

pub(super) struct Linear {
    pub(super) classes: usize,
    /// Feature after feature, one weight per class.
    pub(super) table: Vec<i8>,
    /// What one step of a class's weights is worth.
    pub(super) steps: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl Linear {
    /// Trains one class against the rest, class after class, on all cores that the machine grants.
    pub(super) fn train(vectors: &[Sparse], labels: &[usize], classes: usize, features: usize, seed: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(classes.max(1));
        let mut columns: Vec<(usize, Vec<f32>)> = std::thread::scope(|scope| {
            let work = (0..threads).map(|first| {
                scope.spawn(move || {
                    let solve = |class| (class, one_against_rest(vectors, labels, class, features, seed));
                    (first..classes).step_by(threads).map(solve).collect::<Vec<_>>()
                })
            });
            let running: Vec<_> = work.collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        columns.sort_unstable_by_key(|(class, _)| *class);
        let mut linear = Self { classes, table: vec![0; features * classes], steps: Vec::new(), bias: Vec::new() };
        for (class, weights) in columns {
            let largest =
                weights[..features].iter().fold(f32::MIN_POSITIVE, |largest, weight| largest.max(weight.abs()));
            let step = largest / f32::from(i8::MAX);
            linear.steps.push(step);
            linear.bias.push(weights[features] * BIAS);
            for (feature, weight) in weights[..features].iter().enumerate() {
                linear.table[feature * classes + class] = (weight / step).round() as i8;
            }
        }
        linear
    }

    /// The margin of every class.
    pub(super) fn margins(&self, vector: &Sparse) -> Vec<f32> {
        let mut sums = vec![0.0; self.classes];
        for (feature, value) in vector {
            let row = &self.table[*feature as usize * self.classes..][..self.classes];
            for (sum, weight) in sums.iter_mut().zip(row) {
                *sum += value * f32::from(*weight);
            }
        }
        for ((sum, step), bias) in sums.iter_mut().zip(&self.steps).zip(&self.bias) {
            *sum = *sum * step + bias;
        }
        sums
    }
}

/// The weights of one class, the bias last.
fn one_against_rest(vectors: &[Sparse], labels: &[usize], class: usize, features: usize, seed: u64) -> Vec<f32> {
    let mut weights = vec![0.0_f32; features + 1];
    let mut duals = vec![0.0_f32; vectors.len()];
    let mut order: Vec<usize> = (0..vectors.len()).collect();
    let mut random = Random::new(seed ^ class as u64);
    let diagonal = 0.5 / COST;
    // Every vector has unit length, so this is the diagonal of the kernel matrix for each of them.
    let curvature = 1.0 + BIAS * BIAS + diagonal;
    for round in 0..ROUNDS {
        let full = round % FULL_ROUND_EVERY == 0;
        random.shuffle(&mut order);
        for &at in order.iter().filter(|at| full || duals[**at] > 0.0).collect::<Vec<_>>() {
            let sign = if labels[at] == class { 1.0 } else { -1.0 };
            let product: f32 = vectors[at].iter().map(|(feature, value)| weights[*feature as usize] * value).sum();
            let gradient = sign * (product + weights[features] * BIAS) - 1.0 + diagonal * duals[at];
            let dual = (duals[at] - gradient / curvature).max(0.0);
            let change = (dual - duals[at]) * sign;
            duals[at] = dual;
            if change != 0.0 {
                for (feature, value) in &vectors[at] {
                    weights[*feature as usize] += change * value;
                }
                weights[features] += change * BIAS;
            }
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separable_classes_are_separated_whatever_the_machine() {
        let vectors: Vec<Sparse> = (0..60).map(|i| vec![(i % 3, 0.8), (3 + i % 7, 0.6)]).collect();
        let labels: Vec<usize> = (0..60).map(|i| i % 3).collect();
        let linear = Linear::train(&vectors, &labels, 3, 10, 1);
        for (vector, label) in vectors.iter().zip(&labels) {
            let margins = linear.margins(vector);
            let best = (0..3).max_by(|a, b| margins[*a].total_cmp(&margins[*b])).unwrap();
            assert_eq!(best, *label);
            assert!(margins[best] > 0.0, "{margins:?}");
        }
        assert_eq!(linear.table, Linear::train(&vectors, &labels, 3, 10, 1).table);
    }
}
