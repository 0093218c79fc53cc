//! The network behind the encoder: pieces to vectors, three n-gram convolutions, a mean, three dense layers.

use super::DIMENSIONS;
use super::archive::Arrays;
use super::arithmetic::{Norm, sum_of, tanh_all};
use super::integers::Integers;

/// The embedding table comes in 17 blocks with a scale of their own each; piece `id` lies in block `id % 17`.
const BLOCKS: usize = 17;
const BLOCK_ROWS: usize = 7_530;

/// Width of one convolution.
const CHANNELS: usize = 256;

/// The convolutions: pieces in the window, and how many of them stand left of the middle.
const ORDERS: [(usize, usize); 3] = [(2, 0), (3, 1), (5, 2)];

/// What the dense layers see of a piece: its embedding and the three convolutions beside it.
const FEATURES: usize = DIMENSIONS + ORDERS.len() * CHANNELS;
const HIDDEN: usize = 320;

pub(super) struct Network {
    blocks: Vec<Vec<u8>>,
    scale: Vec<f32>,
    low: Vec<f32>,
    /// The three convolutions' input projections side by side.
    projection: Integers<i16>,
    projection_norm: Norm,
    convolutions: Vec<[Integers<i16>; 2]>,
    features_norm: Norm,
    mean: Integers<i16>,
    mean_bias: Vec<f32>,
    dense: Dense,
}

/// The layers after the mean, by the names that the package gives them.
struct Dense {
    d0: Integers<i16>,
    d1: Integers<i16>,
    d2: Integers<i16>,
    d3: Integers<i16>,
    p1: Integers<i16>,
    p3: Integers<i16>,
}

impl Network {
    pub(super) fn build(arrays: &mut Arrays) -> Result<Self, String> {
        let blocks = (1..=BLOCKS)
            .map(|i| arrays.bytes(&format!("q{i}"), &[BLOCK_ROWS, DIMENSIONS]))
            .collect::<Result<_, _>>()?;
        let epsilon = arrays.floats("eps", &[])?.first().copied().unwrap_or_default();
        let matrix = |arrays: &mut Arrays, name: &str, rows: usize, columns: usize| {
            let values = arrays.floats(name, &[rows, columns])?;
            Ok::<_, String>(Integers::of_floats(&values, rows, vec![0.0; columns]))
        };
        let mut convolutions = Vec::new();
        let (mut projections, mut bias, mut gain, mut shift) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (order, _) in ORDERS {
            projections.push(arrays.floats(&format!("proj{order}"), &[DIMENSIONS, CHANNELS])?);
            bias.append(&mut arrays.floats(&format!("proj_b{order}"), &[CHANNELS])?);
            gain.append(&mut arrays.floats(&format!("ln_g{order}"), &[CHANNELS])?);
            shift.append(&mut arrays.floats(&format!("ln_b{order}"), &[CHANNELS])?);
            let mut layer = |step: usize| {
                let weights = arrays.floats(&format!("w{step}_{order}"), &[order * CHANNELS, CHANNELS])?;
                let bias = arrays.floats(&format!("b{step}_{order}"), &[CHANNELS])?;
                Ok::<_, String>(Integers::of_floats(&weights, order * CHANNELS, bias))
            };
            convolutions.push([layer(1)?, layer(2)?]);
        }
        let rows =
            (0..DIMENSIONS).flat_map(|row| projections.iter().map(move |part| &part[row * CHANNELS..][..CHANNELS]));
        let weights: Vec<f32> = rows.flatten().copied().collect();
        Ok(Self {
            blocks,
            scale: arrays.floats("scale", &[BLOCKS])?,
            low: arrays.floats("lo", &[BLOCKS])?,
            projection: Integers::of_floats(&weights, DIMENSIONS, bias),
            projection_norm: Norm { gain, bias: shift, epsilon },
            convolutions,
            features_norm: Norm {
                gain: arrays.floats("ln_g", &[FEATURES])?,
                bias: arrays.floats("ln_b", &[FEATURES])?,
                epsilon,
            },
            mean: matrix(arrays, "cnn_W", FEATURES, DIMENSIONS)?,
            mean_bias: arrays.floats("cnn_b", &[DIMENSIONS])?,
            dense: Dense {
                d0: matrix(arrays, "d0", DIMENSIONS, HIDDEN)?,
                d1: matrix(arrays, "d1", HIDDEN, HIDDEN)?,
                d2: matrix(arrays, "d2", HIDDEN, DIMENSIONS)?,
                d3: matrix(arrays, "d3", DIMENSIONS, DIMENSIONS)?,
                p1: matrix(arrays, "p1", DIMENSIONS, HIDDEN)?,
                p3: matrix(arrays, "p3", HIDDEN, DIMENSIONS)?,
            },
        })
    }

    pub(super) fn vocabulary(&self) -> usize {
        BLOCKS * BLOCK_ROWS
    }

    /// Embeddings of texts given as piece ids. They run as one flat batch, so that each weight is fetched once; a
    /// window never reaches into the neighbouring text.
    pub(super) fn encode(&self, texts: &[Vec<u32>]) -> Vec<Vec<f32>> {
        if texts.is_empty() {
            return Vec::new();
        }
        let mut embeddings = Vec::with_capacity(texts.iter().map(Vec::len).sum::<usize>() * DIMENSIONS);
        texts.iter().flatten().for_each(|id| embeddings.extend(self.embedding(*id)));
        let mut projected = self.projection.multiply(&embeddings);
        self.projection_norm.apply(&mut projected);
        let mut features = vec![0.0; embeddings.len() / DIMENSIONS * FEATURES];
        for (row, embedding) in features.chunks_exact_mut(FEATURES).zip(embeddings.chunks_exact(DIMENSIONS)) {
            row[..DIMENSIONS].copy_from_slice(embedding);
        }
        for (index, (layers, order)) in self.convolutions.iter().zip(ORDERS).enumerate() {
            let from = index * CHANNELS;
            let input = projected.chunks_exact(ORDERS.len() * CHANNELS).flat_map(|row| &row[from..][..CHANNELS]);
            let mut rows: Vec<f32> = input.copied().collect();
            for layer in layers {
                rows = convolve(layer, &rows, texts, order);
            }
            for (row, channels) in features.chunks_exact_mut(FEATURES).zip(rows.chunks_exact(CHANNELS)) {
                row[DIMENSIONS + from..][..CHANNELS].copy_from_slice(channels);
            }
        }
        self.features_norm.apply(&mut features);
        self.dense(&self.means(&features, texts))
    }

    fn embedding(&self, id: u32) -> impl Iterator<Item = f32> {
        let (row, block) = (id as usize / BLOCKS, id as usize % BLOCKS);
        let (scale, low) = (self.scale[block], self.low[block]);
        self.blocks[block][row * DIMENSIONS..][..DIMENSIONS].iter().map(move |byte| f32::from(*byte) * scale + low)
    }

    /// Per text the sum over its pieces by the root of their number. The projection is linear, so it is applied to
    /// the sum, once a text instead of once a piece.
    fn means(&self, features: &[f32], texts: &[Vec<u32>]) -> Vec<f32> {
        let mut sums = vec![0.0; texts.len() * FEATURES];
        let mut rows = features.chunks_exact(FEATURES);
        for (sum, text) in sums.chunks_exact_mut(FEATURES).zip(texts) {
            for row in rows.by_ref().take(text.len()) {
                super::matrix::add_scaled(sum, 1.0, row);
            }
        }
        let mut means = self.mean.multiply(&sums);
        for (mean, text) in means.chunks_exact_mut(DIMENSIONS).zip(texts) {
            let count = text.len() as f32;
            for (value, bias) in mean.iter_mut().zip(&self.mean_bias) {
                *value = (*value + count * bias) / count.sqrt();
            }
        }
        means
    }

    fn dense(&self, means: &[f32]) -> Vec<Vec<f32>> {
        let Dense { d0, d1, d2, d3, p1, p3 } = &self.dense;
        let y0 = relu(d0.multiply(means));
        let y1 = relu(sum_of(p1.multiply(means), &d1.multiply(&y0)));
        let y2 = relu(d2.multiply(&y1));
        let z = sum_of(p3.multiply(&y1), &d3.multiply(&y2));
        z.chunks_exact(DIMENSIONS)
            .map(|row| {
                let mut row = row.to_vec();
                tanh_all(&mut row);
                let length = super::cosine(&row, &row).sqrt().max(f32::EPSILON);
                row.into_iter().map(|x| x / length).collect()
            })
            .collect()
    }
}

/// One convolution with its shortcut: `input + relu(window × weights + bias)`; outside the text the window is zero.
fn convolve(weights: &Integers<i16>, input: &[f32], texts: &[Vec<u32>], (order, left): (usize, usize)) -> Vec<f32> {
    let mut windows = vec![0.0; input.len() * order];
    let mut start = 0;
    for text in texts {
        let end = start + text.len();
        for at in start..end {
            let window = &mut windows[at * order * CHANNELS..][..order * CHANNELS];
            for (slot, part) in window.chunks_exact_mut(CHANNELS).enumerate() {
                if let Some(from) = (at + slot).checked_sub(left).filter(|from| (start..end).contains(from)) {
                    part.copy_from_slice(&input[from * CHANNELS..][..CHANNELS]);
                }
            }
        }
        start = end;
    }
    sum_of(relu(weights.multiply(&windows)), input)
}

fn relu(mut values: Vec<f32>) -> Vec<f32> {
    values.iter_mut().for_each(|x| *x = x.max(0.0));
    values
}
