//! The embedding classifier: one hidden layer with dropout on sentence embeddings, trained by AdamW.
//!
//! Casanueva et al. 2020 ("Efficient Intent Detection with Dual Sentence Encoders") showed such a head on frozen
//! encoders to be level with tuned BERT at a thousandth of the cost.

use super::random::Random;
use crate::encoder::Matrix;

const HIDDEN: usize = 384;
const BATCH: usize = 64;
const RATE: f32 = 1e-3;
const DECAY: f32 = 0.01;
/// Share of hidden units silenced in a step.
const DROPOUT: f32 = 0.4;
/// Share of the target that is spread over the other classes: keeps the top score from saturating, which is what
/// out-of-scope detection reads.
const SMOOTHING: f32 = 0.05;
/// Embeddings have unit length; the network wants numbers of about this.
const INPUT_SPREAD: f32 = 0.7;

/// Examples seen in total, whatever the set's size, within these rounds: small sets need more of them.
const EXAMPLES_SEEN: usize = 240_000;
const ROUNDS_MIN: usize = 16;
const ROUNDS_MAX: usize = 80;

pub(super) struct Neural {
    /// Numbers in an embedding.
    width: usize,
    first: Dense,
    second: Dense,
}

/// One layer; `values` row-major as trained and stored, `packed` as used.
struct Dense {
    values: Vec<f32>,
    packed: Matrix,
    bias: Vec<f32>,
}

impl Neural {
    /// Trains on embeddings and their classes. `progress` hears the share done.
    pub(super) fn train(
        embeddings: &[&[f32]],
        labels: &[usize],
        classes: usize,
        seed: u64,
        progress: &mut dyn FnMut(f32),
    ) -> Self {
        let mut random = Random::new(seed);
        let width = embeddings.first().map_or(0, |embedding| embedding.len());
        let mut trainer = Trainer::new(width, classes, &mut random);
        let mut order: Vec<usize> = (0..embeddings.len()).collect();
        let rounds = (EXAMPLES_SEEN / embeddings.len().max(1)).clamp(ROUNDS_MIN, ROUNDS_MAX);
        let batches = rounds * order.len().div_ceil(BATCH);
        let mut done = 0;
        for _ in 0..rounds {
            random.shuffle(&mut order);
            for batch in order.chunks(BATCH) {
                // Linear decay to nothing: the last rounds average the noise away.
                let rate = RATE * (1.0 - done as f32 / batches as f32);
                trainer.step(embeddings, labels, batch, rate, &mut random);
                done += 1;
            }
            progress(done as f32 / batches as f32);
        }
        trainer.finish()
    }

    pub(super) fn from_parts(parts: [Vec<f32>; 4]) -> Option<Self> {
        let [first, first_bias, second, second_bias] = parts;
        let hidden = first_bias.len();
        let width = first.len().checked_div(hidden)?;
        let fits = width > 0
            && !second.is_empty()
            && first.len() == width * hidden
            && second.len() == hidden * second_bias.len();
        fits.then(|| Self { width, first: Dense::new(first, first_bias), second: Dense::new(second, second_bias) })
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn parts(&self) -> [&[f32]; 4] {
        [&self.first.values, &self.first.bias, &self.second.values, &self.second.bias]
    }

    /// The logit of every class.
    pub(super) fn logits(&self, embedding: &[f32]) -> Vec<f32> {
        let scale = input_scale(self.width);
        let input: Vec<f32> = embedding.iter().map(|x| x * scale).collect();
        let mut hidden = self.first.apply(&input);
        hidden.iter_mut().for_each(|x| *x = x.max(0.0));
        self.second.apply(&hidden)
    }
}

impl Dense {
    fn new(values: Vec<f32>, bias: Vec<f32>) -> Self {
        let packed = Matrix::pack(&values, values.len() / bias.len(), bias.len());
        Self { values, packed, bias }
    }

    fn apply(&self, input: &[f32]) -> Vec<f32> {
        let mut output = self.packed.multiply(input);
        output.iter_mut().zip(&self.bias).for_each(|(x, bias)| *x += bias);
        output
    }
}

/// Weights under training, with AdamW's moments.
struct Trainer {
    width: usize,
    classes: usize,
    first: Parameters,
    first_bias: Parameters,
    second: Parameters,
    second_bias: Parameters,
    steps: i32,
}

struct Parameters {
    values: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl Trainer {
    fn new(width: usize, classes: usize, random: &mut Random) -> Self {
        Self {
            width,
            classes,
            first: Parameters::random(width * HIDDEN, width, random),
            first_bias: Parameters::of(vec![0.0; HIDDEN]),
            second: Parameters::random(HIDDEN * classes, HIDDEN, random),
            second_bias: Parameters::of(vec![0.0; classes]),
            steps: 0,
        }
    }

    /// Forward, backward and one update for a batch of examples.
    fn step(&mut self, embeddings: &[&[f32]], labels: &[usize], batch: &[usize], rate: f32, random: &mut Random) {
        let (rows, width, classes) = (batch.len(), self.width, self.classes);
        let input: Vec<f32> = batch.iter().flat_map(|at| embeddings[*at]).map(|x| x * input_scale(width)).collect();
        let mut hidden = Matrix::pack(&self.first.values, width, HIDDEN).multiply(&input);
        for row in hidden.chunks_exact_mut(HIDDEN) {
            for (x, bias) in row.iter_mut().zip(&self.first_bias.values) {
                let keep = random.unit() >= DROPOUT;
                *x = if keep { (*x + bias).max(0.0) / (1.0 - DROPOUT) } else { 0.0 };
            }
        }
        let mut errors = Matrix::pack(&self.second.values, HIDDEN, classes).multiply(&hidden);
        for (row, at) in errors.chunks_exact_mut(classes).zip(batch) {
            row.iter_mut().zip(&self.second_bias.values).for_each(|(x, bias)| *x += bias);
            let total = log_sum_exp(row);
            row.iter_mut().for_each(|x| *x = ((*x - total).exp() - SMOOTHING / classes as f32) / rows as f32);
            row[labels[*at]] -= (1.0 - SMOOTHING) / rows as f32;
        }
        let second_transposed = transpose(&self.second.values, HIDDEN, classes);
        let mut back = Matrix::pack(&second_transposed, classes, HIDDEN).multiply(&errors);
        for (x, active) in back.iter_mut().zip(&hidden) {
            *x = if *active > 0.0 { *x / (1.0 - DROPOUT) } else { 0.0 };
        }
        let second_gradient = Matrix::pack(&errors, rows, classes).multiply(&transpose(&hidden, rows, HIDDEN));
        let first_gradient = Matrix::pack(&back, rows, HIDDEN).multiply(&transpose(&input, rows, width));
        self.steps += 1;
        self.first.update(&first_gradient, rate, DECAY, self.steps);
        self.second.update(&second_gradient, rate, DECAY, self.steps);
        self.first_bias.update(&column_sums(&back, HIDDEN), rate, 0.0, self.steps);
        self.second_bias.update(&column_sums(&errors, classes), rate, 0.0, self.steps);
    }

    fn finish(self) -> Neural {
        Neural {
            width: self.width,
            first: Dense::new(self.first.values, self.first_bias.values),
            second: Dense::new(self.second.values, self.second_bias.values),
        }
    }
}

impl Parameters {
    fn of(values: Vec<f32>) -> Self {
        Self { mean: vec![0.0; values.len()], square: vec![0.0; values.len()], values }
    }

    /// He initialisation, uniform.
    fn random(count: usize, inputs: usize, random: &mut Random) -> Self {
        let range = (6.0 / inputs as f32).sqrt();
        Self::of((0..count).map(|_| (2.0 * random.unit() - 1.0) * range).collect())
    }

    /// AdamW (Loshchilov & Hutter 2019) with its authors' constants.
    fn update(&mut self, gradient: &[f32], rate: f32, decay: f32, steps: i32) {
        const MEAN: f32 = 0.9;
        const SQUARE: f32 = 0.999;
        let mean_scale = (1.0 - MEAN.powi(steps)).recip();
        let square_scale = (1.0 - SQUARE.powi(steps)).recip();
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((value, gradient), (mean, square)) in self.values.iter_mut().zip(gradient).zip(moments) {
            *mean = MEAN * *mean + (1.0 - MEAN) * gradient;
            *square = SQUARE * *square + (1.0 - SQUARE) * gradient * gradient;
            let step = *mean * mean_scale / ((*square * square_scale).sqrt() + 1e-8);
            *value -= rate * (step + decay * *value);
        }
    }
}

fn input_scale(width: usize) -> f32 {
    INPUT_SPREAD * (width as f32).sqrt()
}

/// `ln Σ eˣ`, without overflow.
pub(super) fn log_sum_exp(values: &[f32]) -> f32 {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    largest + values.iter().map(|x| (x - largest).exp()).sum::<f32>().ln()
}

fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (row, line) in values.chunks_exact(columns).enumerate() {
        for (column, value) in line.iter().enumerate() {
            out[column * rows + row] = *value;
        }
    }
    out
}

fn column_sums(values: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    for row in values.chunks_exact(columns) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::DIMENSIONS;

    #[test]
    fn it_learns_what_no_line_separates() {
        // Exclusive or of two halves of the embedding.
        let corner = |i: usize| -> Vec<f32> {
            let (a, b) = (i & 1 == 1, i & 2 == 2);
            let mut random = Random::new(i as u64);
            (0..DIMENSIONS)
                .map(|k| {
                    let side = if k < DIMENSIONS / 2 { a } else { b };
                    (if side { 0.04 } else { -0.04 }) + 0.02 * (random.unit() - 0.5)
                })
                .collect()
        };
        let embeddings: Vec<Vec<f32>> = (0..80).map(corner).collect();
        let rows: Vec<&[f32]> = embeddings.iter().map(Vec::as_slice).collect();
        let labels: Vec<usize> = (0..80).map(|i| usize::from((i & 1) == ((i >> 1) & 1))).collect();
        let mut last = 0.0;
        let network = Neural::train(&rows, &labels, 2, 3, &mut |share| last = share);
        assert_eq!(last, 1.0);
        for (row, label) in rows.iter().zip(&labels) {
            let logits = network.logits(row);
            assert_eq!(usize::from(logits[1] > logits[0]), *label, "{logits:?}");
        }
        let parts = network.parts().map(<[f32]>::to_vec);
        assert_eq!(Neural::from_parts(parts).unwrap().logits(rows[0]), network.logits(rows[0]));
        assert!(Neural::from_parts([vec![0.0; 3], vec![0.0], vec![], vec![]]).is_none());
    }
}
