//! What stands between the encoders' products: normalisation, softmax, and the curves of their layers.
//!
//! Plain loops over blocks of sixteen, which the compiler turns into vector instructions wherever it may use them: so each
//! is inlined into the `call` of a type, not into a closure, which the compiler may leave outside.

use pulp::{Arch, NullaryFnOnce};

/// Numbers that are worked on together; every width in the models is a multiple.
pub(super) const LANES: usize = 16;

/// [`gelu`] of every number.
pub(super) fn gelu_all(values: &mut [f32]) {
    Arch::new().dispatch(Gelu(values));
}

/// [`tanh`] of every number.
pub(super) fn tanh_all(values: &mut [f32]) {
    Arch::new().dispatch(Tanh(values));
}

/// Layer normalisation: row by row the mean becomes 0 and the variance 1, then `gain` and `bias` apply.
pub(super) struct Norm {
    pub(super) gain: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) epsilon: f32,
}

impl Norm {
    pub(super) fn apply(&self, rows: &mut [f32]) {
        Arch::new().dispatch(Rows { norm: self, rows });
    }
}

/// `a + b`, number by number.
pub(super) fn sum_of(mut a: Vec<f32>, b: &[f32]) -> Vec<f32> {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    a
}

struct Gelu<'a>(&'a mut [f32]);

impl NullaryFnOnce for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.0.iter_mut().for_each(|x| *x = gelu(*x));
    }
}

struct Tanh<'a>(&'a mut [f32]);

impl NullaryFnOnce for Tanh<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.0.iter_mut().for_each(|x| *x = tanh(*x));
    }
}

struct Rows<'a> {
    norm: &'a Norm,
    rows: &'a mut [f32],
}

impl NullaryFnOnce for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Norm { gain, bias, epsilon } = self.norm;
        self.rows.chunks_exact_mut(gain.len()).for_each(|row| normalise(row, gain, bias, *epsilon));
    }
}

/// `x / (1 + |x|)`-like shortcuts change meanings; this is the exact curve to 2e-7: `x · Φ(x)` by the rational
/// approximation of erf in Abramowitz and Stegun, 7.1.26.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    const POLYNOMIAL: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let tail = POLYNOMIAL.iter().fold(0.0, |sum, factor| sum * t + factor) * t * exp(-z * z);
    // tail = 1 − erf(z): half of it is what lies beyond |x|.
    let below = 0.5 * tail;
    x * if x < 0.0 { below } else { 1.0 - below }
}

/// `e^x` for `x` ≤ 0, to a few units in the last place; 0 below −87.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = x - whole * LN_2_HIGH - whole * LN_2_LOW;
    const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let series = POLYNOMIAL.iter().fold(0.0, |sum, factor| sum * rest + factor) * rest * rest + rest + 1.0;
    series * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// The hyperbolic tangent, to 3e-7.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let fading = exp(-2.0 * x.abs());
    ((1.0 - fading) / (1.0 + fading)).copysign(x)
}

#[inline(always)]
fn normalise(row: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    let width = row.len() as f32;
    let mean = sum(row, |x| x) / width;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / width;
    let scale = (variance + epsilon).sqrt().recip();
    for ((x, gain), bias) in row.iter_mut().zip(gain).zip(bias) {
        *x = (*x - mean) * scale * gain + bias;
    }
}

/// The weights that scores come to; what is −∞ weighs nothing.
#[inline(always)]
pub(super) fn softmax(scores: &mut [[f32; LANES]]) {
    let mut highest = [f32::NEG_INFINITY; LANES];
    for chunk in &*scores {
        for (highest, score) in highest.iter_mut().zip(chunk) {
            *highest = if *score > *highest { *score } else { *highest };
        }
    }
    let highest = highest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut totals = [0.0; LANES];
    for chunk in &mut *scores {
        for (total, score) in totals.iter_mut().zip(chunk) {
            *score = exp(*score - highest);
            *total += *score;
        }
    }
    let scale = totals.iter().sum::<f32>().recip();
    scores.as_flattened_mut().iter_mut().for_each(|score| *score *= scale);
}

#[inline(always)]
pub(super) fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += of(*x);
        }
    }
    lanes.into_iter().chain(rest.iter().map(|x| of(*x))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_the_library_s() {
        for step in 0..8_700 {
            let x = -step as f32 * 0.01;
            let (found, exact) = (exp(x), x.exp());
            assert!((found - exact).abs() <= exact * 4e-7, "{x}: {found} for {exact}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    /// Values of `x · Φ(x)` by a double-precision erfc elsewhere.
    #[test]
    fn gelu_is_the_exact_curve() {
        let table = [
            (-6.0, -5.919_525_7e-9),
            (-3.0, -0.004_049_694),
            (-1.0, -0.158_655_25),
            (-0.1, -0.046_017_215),
            (0.0, 0.0),
            (0.5, 0.345_731_23),
            (2.0, 1.954_499_7),
            (8.0, 8.0),
        ];
        for (x, exact) in table {
            assert!((gelu(x) - exact).abs() < 3e-7 * (1.0 + x.abs()), "{x}: {} for {exact}", gelu(x));
        }
    }

    #[test]
    fn tanh_is_the_library_s() {
        for step in -2_000..2_000 {
            let x = step as f32 * 0.01;
            assert!((tanh(x) - x.tanh()).abs() < 3e-7, "{x}: {} for {}", tanh(x), x.tanh());
        }
    }

    #[test]
    fn a_normal_row_and_weights_that_sum_to_one() {
        let mut row: Vec<f32> = (0..40).map(|i| i as f32).collect();
        normalise(&mut row, &[2.0; 40], &[1.0; 40], 1e-12);
        assert!((sum(&row, |x| x) / 40.0 - 1.0).abs() < 1e-5);
        assert!((sum(&row, |x| (x - 1.0) * (x - 1.0)) / 40.0 - 4.0).abs() < 1e-4);
        let mut scores = [[f32::NEG_INFINITY; LANES]];
        scores[0][..3].copy_from_slice(&[1.0, 2.0, 3.0]);
        softmax(&mut scores);
        assert!((scores[0][2] - 0.665_240_9).abs() < 1e-6 && scores[0][3] < 1e-30, "{scores:?}");
    }
}
