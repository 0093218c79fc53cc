//! PURE: embeddings by place: the nearest to a query in two passes, the first over one bit a number.
//!
//! A row is kept twice: as a byte a number, from which cosines are computed, and as the signs of its numbers. How many
//! signs differ from the query's tells which few hundred rows are worth a cosine. 100,000 rows of signs are 6 MB, where
//! the numbers are 50.

use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};

use super::shared::BLOCK;

/// Bits of one word of signs.
const WORD: usize = 64;

/// Up to so many rows every cosine is computed: the first pass would save nothing.
const EXACT_ROWS_MAX: usize = 1_024;

/// Rows that a spread is estimated from: the deviation is then within 3 % of that of all.
const SAMPLE_ROWS: usize = 512;

/// Rows that are compared by their numbers, at the least, and one more for so many rows. See the module's figures: the
/// ten nearest are among them for 99.8 % (10,000 English passages), 99.3 % (Chinese) and 99.5 % (100,000).
const NEAREST_MIN: usize = 300;
const ROWS_PER_NEAREST: usize = 150;

/// Rows of embeddings. A copy shares what has not changed since.
#[derive(Clone)]
pub(super) struct Rows {
    dimensions: usize,
    blocks: Vec<Arc<Block>>,
    live: usize,
}

#[derive(Clone)]
struct Block {
    /// [`BLOCK`] rows of signs.
    signs: Vec<u64>,
    /// [`BLOCK`] rows of numbers, each rounded to 255 steps.
    numbers: Vec<i8>,
    /// What one step of a row is worth; 0 marks a place without a row.
    steps: Vec<f32>,
}

/// Mean and deviation of a score over all passages.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Spread {
    pub(super) mean: f32,
    pub(super) deviation: f32,
}

impl Spread {
    pub(super) fn of(values: impl Iterator<Item = f32>) -> Self {
        let (mut count, mut sum, mut squares) = (0.0_f64, 0.0_f64, 0.0_f64);
        for value in values.map(f64::from) {
            count += 1.0;
            sum += value;
            squares += value * value;
        }
        Self::of_sums(count, sum, squares)
    }

    pub(super) fn of_sums(count: f64, sum: f64, squares: f64) -> Self {
        let mean = sum / count.max(1.0);
        let deviation = (squares / count.max(1.0) - mean * mean).max(0.0).sqrt();
        Self { mean: mean as f32, deviation: deviation as f32 }
    }

    /// 0 when all passages score the same.
    pub(super) fn deviations(&self, value: f32) -> f32 {
        if self.deviation > 1e-6 { (value - self.mean) / self.deviation } else { 0.0 }
    }
}

impl Rows {
    /// No rows yet, of that many numbers: a multiple of 64.
    pub(super) fn of(dimensions: usize) -> Self {
        Self { dimensions, blocks: Vec::new(), live: 0 }
    }

    /// Rows in it.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Puts a row at a place; one of another length is no row of these.
    pub(super) fn put(&mut self, place: usize, embedding: &[f32]) {
        if embedding.len() != self.dimensions {
            return;
        }
        while self.blocks.len() <= place / BLOCK {
            self.blocks.push(Arc::new(Block::of(self.dimensions)));
        }
        let block = Arc::make_mut(&mut self.blocks[place / BLOCK]);
        self.live += usize::from(block.steps[place % BLOCK] == 0.0);
        block.put(place % BLOCK, embedding);
    }

    pub(super) fn clear(&mut self, place: usize) {
        let Some(block) = self.blocks.get_mut(place / BLOCK) else { return };
        if block.steps[place % BLOCK] != 0.0 {
            Arc::make_mut(block).steps[place % BLOCK] = 0.0;
            self.live -= 1;
        }
    }

    pub(super) fn cosine(&self, place: usize, query: &[f32]) -> Option<f32> {
        let block = self.blocks.get(place / BLOCK)?;
        let (numbers, step) = block.row(place % BLOCK, self.dimensions)?;
        Some(step * Arch::new().dispatch(Product { numbers, query }))
    }

    /// Rows that are worth a cosine: among them are the ten nearest.
    pub(super) fn enough(&self) -> usize {
        NEAREST_MIN + self.live / ROWS_PER_NEAREST
    }

    /// The places of the `wanted` rows that are nearest by their signs and a few more, or of all when there are few, in
    /// the blocks that count.
    pub(super) fn near(&self, query: &[f32], wanted: usize, counts: impl Fn(usize) -> bool) -> Vec<usize> {
        let blocks: Vec<usize> = (0..self.blocks.len()).filter(|block| counts(*block)).collect();
        if self.live <= EXACT_ROWS_MAX {
            return blocks.into_iter().flat_map(|block| self.places(block)).collect();
        }
        let distances = self.distances(query, &blocks);
        let limit = limit(&distances, wanted);
        let near = distances.iter().enumerate().filter(|(_, distance)| **distance <= limit);
        near.map(|(at, _)| blocks[at / BLOCK] * BLOCK + at % BLOCK).collect()
    }

    /// By place, the cosine to every row: exact for the near ones, and told from the signs for the rest when they are
    /// many.
    pub(super) fn roughly(&self, query: &[f32]) -> Vec<Option<f32>> {
        let blocks: Vec<usize> = (0..self.blocks.len()).collect();
        let exact = |place: usize| self.cosine(place, query);
        if self.live <= EXACT_ROWS_MAX {
            return (0..blocks.len() * BLOCK).map(exact).collect();
        }
        let distances = self.distances(query, &blocks);
        let limit = limit(&distances, self.enough());
        let sampled = distances.iter().enumerate().step_by((self.live / SAMPLE_ROWS).max(1));
        let line = Line::through(sampled.filter_map(|(place, distance)| Some((f32::from(*distance), exact(place)?))));
        let cosine = |(place, distance): (usize, &u16)| match *distance {
            u16::MAX => None,
            near if near <= limit => exact(place),
            far => Some(line.at(f32::from(far))),
        };
        distances.iter().enumerate().map(cosine).collect()
    }

    /// Mean and deviation of the cosines to all rows in the blocks that count, from a sample when they are many.
    pub(super) fn spread(&self, query: &[f32], counts: impl Fn(usize) -> bool) -> Spread {
        let blocks: Vec<usize> = (0..self.blocks.len()).filter(|block| counts(*block)).collect();
        let places = blocks.len() * BLOCK;
        // Odd, so that documents of two passages, or of four, do not have the same one looked at each time.
        let stride = if places <= EXACT_ROWS_MAX { 1 } else { (places / SAMPLE_ROWS) | 1 };
        let place = |at: usize| blocks[at / BLOCK] * BLOCK + at % BLOCK;
        Spread::of((0..places).step_by(stride).filter_map(|at| self.cosine(place(at), query)))
    }

    /// For every place of the blocks, how many signs differ from the query's; the most where there is no row.
    fn distances(&self, query: &[f32], blocks: &[usize]) -> Vec<u16> {
        let signs = signs(query);
        let mut distances = vec![u16::MAX; blocks.len() * BLOCK];
        for (block, distances) in blocks.iter().zip(distances.chunks_exact_mut(BLOCK)) {
            let block = &self.blocks[*block];
            Arch::new().dispatch(Distances { signs: &block.signs, query: &signs, distances });
            for (distance, step) in distances.iter_mut().zip(&block.steps) {
                *distance = if *step == 0.0 { u16::MAX } else { *distance };
            }
        }
        distances
    }

    fn places(&self, block: usize) -> impl Iterator<Item = usize> {
        let steps = self.blocks[block].steps.iter().enumerate();
        steps.filter(|(_, step)| **step != 0.0).map(move |(at, _)| block * BLOCK + at)
    }
}

impl Block {
    fn of(dimensions: usize) -> Self {
        Self {
            signs: vec![0; BLOCK * dimensions / WORD],
            numbers: vec![0; BLOCK * dimensions],
            steps: vec![0.0; BLOCK],
        }
    }

    fn put(&mut self, at: usize, embedding: &[f32]) {
        let (length, words) = (embedding.len(), embedding.len() / WORD);
        let largest = embedding.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
        let step = largest / f32::from(i8::MAX);
        for (number, value) in self.numbers[at * length..][..length].iter_mut().zip(embedding) {
            *number = (value / step).round() as i8;
        }
        self.signs[at * words..][..words].copy_from_slice(&signs(embedding));
        self.steps[at] = step;
    }

    fn row(&self, at: usize, dimensions: usize) -> Option<(&[i8], f32)> {
        let step = self.steps[at];
        (step != 0.0).then(|| (&self.numbers[at * dimensions..][..dimensions], step))
    }
}

/// One bit a number: is it positive?
fn signs(embedding: &[f32]) -> Vec<u64> {
    let word = |numbers: &[f32]| numbers.iter().rev().fold(0, |word, number| word << 1 | u64::from(*number > 0.0));
    embedding.chunks(WORD).map(word).collect()
}

/// The straight line that is nearest to some points.
struct Line {
    slope: f32,
    at_zero: f32,
}

impl Line {
    fn through(points: impl Iterator<Item = (f32, f32)>) -> Self {
        let (mut count, mut x, mut y, mut xx, mut xy) = (0.0_f64, 0.0, 0.0, 0.0, 0.0);
        for (a, b) in points.map(|(a, b)| (f64::from(a), f64::from(b))) {
            (count, x, y, xx, xy) = (count + 1.0, x + a, y + b, xx + a * a, xy + a * b);
        }
        let width = count * xx - x * x;
        let slope = if width > 0.0 { (count * xy - x * y) / width } else { 0.0 };
        Self { slope: slope as f32, at_zero: ((y - slope * x) / count.max(1.0)) as f32 }
    }

    fn at(&self, x: f32) -> f32 {
        self.at_zero + self.slope * x
    }
}

/// The distance up to which `wanted` places or a few more lie.
fn limit(distances: &[u16], wanted: usize) -> u16 {
    let mut counts = [0_usize; 1_025];
    let farthest = counts.len() - 1;
    for distance in distances {
        counts[usize::from(*distance).min(farthest)] += 1;
    }
    let mut within = 0;
    let limit = counts[..farthest].iter().position(|count| {
        within += count;
        within >= wanted
    });
    // What has no row is farther than any.
    limit.unwrap_or(farthest - 1) as u16
}

struct Distances<'a> {
    signs: &'a [u64],
    query: &'a [u64],
    distances: &'a mut [u16],
}

impl WithSimd for Distances<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { signs, query, distances } = self;
        match <&[u64; 8]>::try_from(query) {
            // The usual length: the compiler keeps the query in registers.
            Ok(query) => {
                for (row, distance) in signs.as_chunks::<8>().0.iter().zip(distances) {
                    let mut differ = 0;
                    for at in 0..8 {
                        differ += (row[at] ^ query[at]).count_ones();
                    }
                    *distance = differ as u16;
                }
            }
            Err(_) => {
                for (row, distance) in signs.chunks_exact(query.len()).zip(distances) {
                    *distance =
                        row.iter().zip(query).map(|(row, query)| (row ^ query).count_ones()).sum::<u32>() as u16;
                }
            }
        }
    }
}

struct Product<'a> {
    numbers: &'a [i8],
    query: &'a [f32],
}

impl WithSimd for Product<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        // 32 sums at once: enough for two vectors of AVX-512 to be in flight, and plain enough to be vectorised.
        let mut sums = [0.0_f32; 32];
        let (numbers, query) = (self.numbers.as_chunks::<32>().0, self.query.as_chunks::<32>().0);
        for (numbers, query) in numbers.iter().zip(query) {
            for lane in 0..32 {
                sums[lane] += f32::from(numbers[lane]) * query[lane];
            }
        }
        sums.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unit vectors that are the same in every run; `near` pulls them towards one another.
    fn vector(seed: usize, near: f32) -> Vec<f32> {
        let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let raw: Vec<f32> = (0..512).map(|at| next() + near * (at as f32 * 0.7).sin()).collect();
        let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
        raw.iter().map(|x| x / length).collect()
    }

    #[test]
    fn cosines_are_close_to_the_exact_ones() {
        let mut rows = Rows::of(512);
        (0..20).for_each(|seed| rows.put(seed, &vector(seed, 0.3)));
        let query = vector(7, 0.3);
        for seed in 0..20 {
            let exact: f32 = vector(seed, 0.3).iter().zip(&query).map(|(a, b)| a * b).sum();
            assert!((rows.cosine(seed, &query).unwrap() - exact).abs() < 0.003);
        }
        assert_eq!((rows.cosine(20, &query), rows.cosine(5_000, &query), rows.len()), (None, None, 20));
        rows.put(3, &[1.0; 384]);
        assert_eq!(rows.len(), 20, "another encoder's embedding is none of these");
    }

    #[test]
    fn the_nearest_are_among_those_that_pass() {
        let mut rows = Rows::of(512);
        (0..5_000).for_each(|seed| rows.put(seed, &vector(seed, (seed % 10) as f32 * 0.1)));
        let (mut found, mut wanted) = (0, 0);
        for query in (0..40).map(|seed| vector(seed + 9_000, 0.8)) {
            let mut cosines: Vec<_> = (0..5_000).map(|at| (at, rows.cosine(at, &query).unwrap())).collect();
            cosines.sort_by(|a, b| b.1.total_cmp(&a.1));
            let near = rows.near(&query, rows.enough(), |_| true);
            assert!(near.len() < 600, "{}", near.len());
            found += cosines[..10].iter().filter(|(at, _)| near.contains(at)).count();
            wanted += 10;
            let exact = Spread::of(cosines.iter().map(|(_, cosine)| *cosine));
            let sampled = rows.spread(&query, |_| true);
            assert!((sampled.deviation / exact.deviation - 1.0).abs() < 0.15, "{sampled:?} for {exact:?}");
        }
        // Random vectors are nearly at right angles and the hardest: of real ones it is 99 % and more (`figures`).
        assert!(found * 10 >= wanted * 9, "{found} of {wanted}");
    }

    #[test]
    fn what_was_taken_away_is_not_near_and_a_copy_keeps_it() {
        let mut rows = Rows::of(512);
        (0..3_000).for_each(|seed| rows.put(seed, &vector(seed, 0.0)));
        let before = rows.clone();
        rows.clear(42);
        rows.clear(42);
        let query = vector(42, 0.0);
        assert_eq!((rows.len(), before.len()), (2_999, 3_000));
        assert!(
            !rows.near(&query, rows.enough(), |_| true).contains(&42)
                && before.near(&query, 300, |_| true).contains(&42)
        );
        assert!(before.near(&query, 300, |block| block != 0).iter().all(|place| *place >= BLOCK));
        let shared = rows.blocks.iter().zip(&before.blocks).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, rows.blocks.len() - 1);
    }
}
