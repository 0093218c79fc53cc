//! Small dense products on whatever vector unit the machine has (AVX-512, AVX2 with FMA, NEON, else scalar).
//!
//! `pulp` chooses the instructions at run time behind a safe face, so one binary runs everywhere and `unsafe` stays
//! forbidden here. BLAS would bring threads and a C toolchain for matrices that fit the second-level cache.

use pulp::{Arch, Simd, WithSimd};

/// Rows of input that share one pass over a panel: 6 × 2 accumulators fill AVX2's 16 registers without spilling.
const ROWS: usize = 6;

/// A weight matrix, packed for [`Matrix::multiply`]: panels of two vectors' width, each panel row after row.
pub(crate) struct Matrix {
    rows: usize,
    columns: usize,
    panel: usize,
    data: Vec<f32>,
}

impl Matrix {
    /// Packs a row-major `rows × columns` matrix; the last panel is filled up with zeros.
    pub(crate) fn pack(values: &[f32], rows: usize, columns: usize) -> Self {
        let panel = 2 * Arch::new().dispatch(Lanes);
        let mut data = vec![0.0; columns.div_ceil(panel) * panel * rows];
        for (index, packed) in data.chunks_exact_mut(panel).enumerate() {
            let (block, row) = (index / rows, index % rows);
            let from = block * panel;
            let width = panel.min(columns - from);
            packed[..width].copy_from_slice(&values[row * columns + from..][..width]);
        }
        Self { rows, columns, panel, data }
    }

    /// `input × self`, row after row. The input's length is a multiple of this matrix's rows.
    pub(crate) fn multiply(&self, input: &[f32]) -> Vec<f32> {
        let mut output = vec![0.0; input.len() / self.rows * self.columns];
        Arch::new().dispatch(Product { matrix: self, input, output: &mut output });
        output
    }
}

/// The dot product of two equally long slices.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    Arch::new().dispatch(Dot(a, b))
}

/// `y += factor · x`.
pub(crate) fn add_scaled(y: &mut [f32], factor: f32, x: &[f32]) {
    Arch::new().dispatch(AddScaled { y, factor, x });
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

struct Product<'a> {
    matrix: &'a Matrix,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { matrix, input, output } = self;
        for (index, panel) in matrix.data.chunks_exact(matrix.panel * matrix.rows).enumerate() {
            let weights = S::as_simd_f32s(panel).0;
            let from = index * matrix.panel;
            let width = matrix.panel.min(matrix.columns - from);
            let inputs = input.chunks(ROWS * matrix.rows);
            let outputs = output.chunks_mut(ROWS * matrix.columns);
            for (input, output) in inputs.zip(outputs) {
                let write = Window { columns: matrix.columns, from, width };
                match input.len() / matrix.rows {
                    1 => block::<S, 1>(simd, weights, input, output, write),
                    2 => block::<S, 2>(simd, weights, input, output, write),
                    3 => block::<S, 3>(simd, weights, input, output, write),
                    4 => block::<S, 4>(simd, weights, input, output, write),
                    5 => block::<S, 5>(simd, weights, input, output, write),
                    _ => block::<S, ROWS>(simd, weights, input, output, write),
                }
            }
        }
    }
}

/// Which columns of the output a panel fills.
#[derive(Clone, Copy)]
struct Window {
    columns: usize,
    from: usize,
    width: usize,
}

#[inline(always)]
fn block<S: Simd, const N: usize>(simd: S, weights: &[S::f32s], input: &[f32], output: &mut [f32], write: Window) {
    let depth = weights.len() / 2;
    let rows: [&[f32]; N] = std::array::from_fn(|row| &input[row * depth..][..depth]);
    let mut sums = [[simd.splat_f32s(0.0); 2]; N];
    for (k, pair) in weights.as_chunks::<2>().0.iter().enumerate() {
        for row in 0..N {
            let x = simd.splat_f32s(rows[row][k]);
            sums[row][0] = simd.mul_add_e_f32s(x, pair[0], sums[row][0]);
            sums[row][1] = simd.mul_add_e_f32s(x, pair[1], sums[row][1]);
        }
    }
    for (row, sum) in sums.iter().enumerate() {
        let sum: &[f32] = pulp::bytemuck::cast_slice(sum);
        output[row * write.columns + write.from..][..write.width].copy_from_slice(&sum[..write.width]);
    }
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl WithSimd for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (a, a_tail) = S::as_simd_f32s(self.0);
        let (b, b_tail) = S::as_simd_f32s(self.1);
        let mut sums = [simd.splat_f32s(0.0); 4];
        let (a, b) = (a.as_chunks::<4>(), b.as_chunks::<4>());
        for (a, b) in a.0.iter().zip(b.0) {
            for lane in 0..4 {
                sums[lane] = simd.mul_add_e_f32s(a[lane], b[lane], sums[lane]);
            }
        }
        for (a, b) in a.1.iter().zip(b.1) {
            sums[0] = simd.mul_add_e_f32s(*a, *b, sums[0]);
        }
        let sum = simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3]));
        simd.reduce_sum_f32s(sum) + a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum::<f32>()
    }
}

struct AddScaled<'a> {
    y: &'a mut [f32],
    factor: f32,
    x: &'a [f32],
}

impl WithSimd for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (y, y_tail) = S::as_mut_simd_f32s(self.y);
        let (x, x_tail) = S::as_simd_f32s(self.x);
        let factor = simd.splat_f32s(self.factor);
        for (y, x) in y.iter_mut().zip(x) {
            *y = simd.mul_add_e_f32s(factor, *x, *y);
        }
        for (y, x) in y_tail.iter_mut().zip(x_tail) {
            *y += self.factor * x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_is_the_schoolbook_one() {
        for (n, rows, columns) in [(1, 3, 5), (7, 40, 33), (13, 64, 96)] {
            let value = |i: usize| (i * 37 % 19) as f32 - 9.0;
            let input: Vec<f32> = (0..n * rows).map(value).collect();
            let weights: Vec<f32> = (0..rows * columns).map(|i| value(i + 5)).collect();
            let found = Matrix::pack(&weights, rows, columns).multiply(&input);
            for row in 0..n {
                for column in 0..columns {
                    let sum: f32 = (0..rows).map(|k| input[row * rows + k] * weights[k * columns + column]).sum();
                    assert_eq!(found[row * columns + column], sum, "{n}x{rows}x{columns} at {row},{column}");
                }
            }
        }
    }

    #[test]
    fn dot_and_add_reach_the_tail() {
        let a: Vec<f32> = (0..77).map(|i| i as f32).collect();
        let b = vec![2.0; 77];
        assert_eq!(dot(&a, &b), 77.0 * 76.0);
        let mut y = vec![1.0; 77];
        add_scaled(&mut y, 3.0, &a);
        assert_eq!(y[76], 1.0 + 3.0 * 76.0);
    }
}
