//! Products of rows with a matrix of small integers: the weights take 8 or 16 bits each, the sums are exact.
//!
//! A row of input becomes 16-bit integers on the way in, scaled by its largest number; how many of the 16 bits it may
//! use follows from the weights, so that no sum can overflow. With 8-bit weights that is nearly all of them.

use pulp::bytemuck::{Pod, cast_slice};

use super::units::{Machine, Plain, Unit};

/// Adding it leaves a float's nearest integer in its lowest bits: 1.5 · 2²³.
const ROUND: f32 = 12_582_912.0;

/// A packed weight: 8 bits that are widened on the way, or 16 as they are.
pub(super) trait Weight: Pod + Into<i32> {
    type Group<U: Unit>: Pod;

    fn load<U: Unit>(unit: U, group: Self::Group<U>) -> U::Words;
}

impl Weight for i8 {
    type Group<U: Unit> = U::Bytes;

    #[inline(always)]
    fn load<U: Unit>(unit: U, group: U::Bytes) -> U::Words {
        unit.widen(group)
    }
}

impl Weight for i16 {
    type Group<U: Unit> = U::Words;

    #[inline(always)]
    fn load<U: Unit>(_: U, group: U::Words) -> U::Words {
        group
    }
}

/// `rows × columns` weights, packed in panels of two vectors' width: in a panel pair of rows after pair of rows, in a
/// pair column after column.
pub(super) struct Integers<W> {
    machine: Machine,
    rows: usize,
    columns: usize,
    weights: Vec<W>,
    /// What one step of a column's weights is worth.
    steps: Vec<f32>,
    bias: Vec<f32>,
    /// The largest number that an input may be rounded to.
    input_max: f32,
}

impl<W: Weight> Integers<W> {
    /// Packs a row-major matrix. `steps` and `bias` are per column.
    pub(super) fn pack(values: &[W], rows: usize, steps: Vec<f32>, bias: Vec<f32>) -> Self {
        Self::pack_for(Machine::here(), values, rows, steps, bias)
    }

    fn pack_for(machine: Machine, values: &[W], rows: usize, steps: Vec<f32>, bias: Vec<f32>) -> Self {
        let (columns, panel, pairs) = (steps.len(), 2 * machine.columns(), rows.div_ceil(2));
        let mut weights = vec![W::zeroed(); columns.div_ceil(panel) * panel * pairs * 2];
        let mut sums = vec![0_i64; columns];
        for (row, values) in values.chunks_exact(columns).enumerate() {
            for (column, value) in values.iter().enumerate() {
                let place = (column / panel * pairs + row / 2) * panel + column % panel;
                weights[place * 2 + row % 2] = *value;
                sums[column] += i64::from((*value).into()).abs();
            }
        }
        let heaviest = sums.into_iter().max().unwrap_or_default().max(1);
        let input_max = (i64::from(i32::MAX) / heaviest).min(i64::from(i16::MAX)) as f32;
        Self { machine, rows, columns, weights, steps, bias, input_max }
    }

    /// `input × self + bias`, row after row. The input's length is a multiple of this matrix's rows.
    pub(super) fn multiply(&self, input: &[f32]) -> Vec<f32> {
        let mut output = vec![0.0; input.len() / self.rows * self.columns];
        let product = Product { matrix: self, input, output: &mut output };
        match self.machine {
            #[cfg(target_arch = "x86_64")]
            Machine::V4(unit) => unit.vectorize(On { unit, product }),
            #[cfg(target_arch = "x86_64")]
            Machine::V3(unit) => unit.vectorize(On { unit, product }),
            Machine::Plain => product.run(Plain),
        }
        output
    }
}

impl Integers<i16> {
    /// Rounds a row-major matrix of floats, each column to steps of its own. The bits that a sum has room for are
    /// shared out evenly, so that neither weights nor input are rounded the coarser: eleven to thirteen each.
    pub(super) fn of_floats(values: &[f32], rows: usize, bias: Vec<f32>) -> Self {
        let (mut largest, mut sums) = (vec![f32::MIN_POSITIVE; bias.len()], vec![0.0; bias.len()]);
        for row in values.chunks_exact(bias.len()) {
            for ((largest, sum), value) in largest.iter_mut().zip(&mut sums).zip(row) {
                *largest = largest.max(value.abs());
                *sum += value.abs();
            }
        }
        let heaviest = sums.iter().zip(&largest).map(|(sum, largest)| sum / largest).fold(1.0, f32::max);
        let word_max = (i32::MAX as f32 / heaviest).sqrt().floor().min(f32::from(i16::MAX));
        let steps: Vec<f32> = largest.into_iter().map(|largest| largest / word_max).collect();
        let rounded = values.chunks_exact(bias.len()).flat_map(|row| row.iter().zip(&steps));
        let rounded: Vec<i16> = rounded.map(|(value, step)| (value / step).round() as i16).collect();
        Self::pack(&rounded, rows, steps, bias)
    }
}

struct On<'a, U, W> {
    unit: U,
    product: Product<'a, W>,
}

impl<U: Unit, W: Weight> pulp::NullaryFnOnce for On<'_, U, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.product.run(self.unit);
    }
}

struct Product<'a, W> {
    matrix: &'a Integers<W>,
    input: &'a [f32],
    output: &'a mut [f32],
}

/// Rows that are multiplied together: where they begin, how many they are.
#[derive(Clone, Copy)]
struct Block {
    row: usize,
    rows: usize,
}

impl<W: Weight> Product<'_, W> {
    #[inline(always)]
    fn run<U: Unit>(self, unit: U) {
        let Self { matrix, input, output } = self;
        let (columns, panel, pairs) = (matrix.columns, 2 * U::COLUMNS, matrix.rows.div_ceil(2));
        let blocks = blocks(input.len() / matrix.rows, U::ROWS_MAX);
        let (rounded, steps) = round(input, matrix, &blocks);
        for (index, weights) in matrix.weights.chunks_exact(panel * pairs * 2).enumerate() {
            let weights = cast_slice::<W, W::Group<U>>(weights).as_chunks::<2>().0;
            let from = index * panel;
            let to = columns.min(from + panel);
            let (weight_steps, bias) = (&matrix.steps[from..to], &matrix.bias[from..to]);
            for Block { row, rows } in &blocks {
                let input = &rounded[row * pairs..][..rows * pairs];
                let write = |at: usize, sums: &[i32]| {
                    let step = steps[row + at];
                    let output = &mut output[(row + at) * columns..][from..to];
                    for (((output, sum), weight), bias) in output.iter_mut().zip(sums).zip(weight_steps).zip(bias) {
                        *output = *sum as f32 * (step * weight) + bias;
                    }
                };
                match rows {
                    1 => multiply::<U, W, 1>(unit, weights, input, write),
                    2 => multiply::<U, W, 2>(unit, weights, input, write),
                    3 => multiply::<U, W, 3>(unit, weights, input, write),
                    4 => multiply::<U, W, 4>(unit, weights, input, write),
                    5 => multiply::<U, W, 5>(unit, weights, input, write),
                    6 => multiply::<U, W, 6>(unit, weights, input, write),
                    7 => multiply::<U, W, 7>(unit, weights, input, write),
                    8 => multiply::<U, W, 8>(unit, weights, input, write),
                    9 => multiply::<U, W, 9>(unit, weights, input, write),
                    10 => multiply::<U, W, 10>(unit, weights, input, write),
                    11 => multiply::<U, W, 11>(unit, weights, input, write),
                    _ => multiply::<U, W, 12>(unit, weights, input, write),
                }
            }
        }
    }
}

#[inline(always)]
fn multiply<U: Unit, W: Weight, const N: usize>(
    unit: U,
    weights: &[[W::Group<U>; 2]],
    input: &[i32],
    mut write: impl FnMut(usize, &[i32]),
) {
    let mut sums = [[<U::Sums as pulp::bytemuck::Zeroable>::zeroed(); 2]; N];
    for (weights, pairs) in weights.iter().zip(input.as_chunks::<N>().0) {
        let [left, right] = weights.map(|group| W::load(unit, group));
        for (sums, pair) in sums.iter_mut().zip(pairs) {
            let pair = unit.repeat(*pair);
            sums[0] = unit.add_products(sums[0], left, pair);
            sums[1] = unit.add_products(sums[1], right, pair);
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        write(row, cast_slice(sums));
    }
}

/// As few blocks as can be, as even as can be.
fn blocks(rows: usize, rows_max: usize) -> Vec<Block> {
    let count = rows.div_ceil(rows_max);
    let start = |index: usize| index * rows / count;
    (0..count).map(|index| Block { row: start(index), rows: start(index + 1) - start(index) }).collect()
}

/// The input as pairs of 16-bit integers, in a block pair after pair of all its rows; and what a step of each row is
/// worth.
#[inline(always)]
fn round<W>(input: &[f32], matrix: &Integers<W>, blocks: &[Block]) -> (Vec<i32>, Vec<f32>) {
    let pairs = matrix.rows.div_ceil(2);
    let mut rounded = vec![0; input.len() / matrix.rows * pairs];
    let mut steps = Vec::with_capacity(input.len() / matrix.rows);
    let mut words = vec![0_i16; pairs * 2];
    for block in blocks {
        let into = &mut rounded[block.row * pairs..][..block.rows * pairs];
        for at in 0..block.rows {
            let row = &input[(block.row + at) * matrix.rows..][..matrix.rows];
            let largest = largest(row).max(f32::MIN_POSITIVE);
            let scale = matrix.input_max / largest;
            for (word, value) in words.iter_mut().zip(row) {
                *word = (value * scale + ROUND).to_bits() as i16;
            }
            steps.push(largest / matrix.input_max);
            for (slots, pair) in into.chunks_exact_mut(block.rows).zip(cast_slice::<i16, i32>(&words)) {
                slots[at] = *pair;
            }
        }
    }
    (rounded, steps)
}

/// The largest magnitude.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<16>();
    let mut lanes = [0.0_f32; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if value.abs() > *lane { value.abs() } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(0.0, |largest, value| largest.max(value.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers in, so that nothing is rounded and every unit has to find the schoolbook's result.
    fn check<W: Weight + TryFrom<i32>>(weight_max: i32) {
        for (n, rows, columns) in [(1, 4, 5), (7, 40, 33), (13, 64, 96), (30, 2, 64), (11, 7, 16)] {
            let value = |i: usize| (i * 37 % 19) as i32 - 9;
            let input: Vec<i32> = (0..n * rows).map(value).collect();
            let weight = |i: usize| W::try_from(value(i + 5) * weight_max / 9).ok().unwrap();
            let weights: Vec<W> = (0..rows * columns).map(weight).collect();
            let floats: Vec<f32> = input.iter().map(|x| *x as f32).collect();
            for machine in Machine::all() {
                let matrix = Integers::pack_for(machine, &weights, rows, vec![0.5; columns], vec![1.0; columns]);
                let found = matrix.multiply(&floats);
                for row in 0..n {
                    for column in 0..columns {
                        let product = |k: usize| input[row * rows + k] * weights[k * columns + column].into();
                        let sum = (0..rows).map(product).sum::<i32>() as f32 * 0.5 + 1.0;
                        let found = found[row * columns + column];
                        let near = 1e-3 * (rows as f32 * 9.0 * weight_max as f32);
                        assert!(
                            (found - sum).abs() < near,
                            "{n}x{rows}x{columns} at {row},{column}: {found} for {sum}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_product_is_the_schoolbook_one_on_every_unit() {
        check::<i8>(127);
        check::<i16>(2_000);
    }

    #[test]
    fn every_unit_finds_the_same_bits() {
        let weights: Vec<i8> = (0..384 * 100).map(|i| (i * 7919 % 255) as u8 as i8).collect();
        let input: Vec<f32> = (0..384 * 9).map(|i| ((i * 104_729 % 1_000) as f32 - 500.0) * 0.01).collect();
        let product =
            |machine| Integers::pack_for(machine, &weights, 384, vec![0.01; 100], vec![0.0; 100]).multiply(&input);
        let all: Vec<_> = Machine::all().into_iter().map(product).collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn the_heaviest_sum_does_not_overflow() {
        for machine in Machine::all() {
            let matrix = Integers::pack_for(machine, &vec![i16::MAX; 4_096], 4_096, vec![1.0], vec![0.0]);
            let found = matrix.multiply(&vec![3.0; 4_096])[0];
            let exact = 3.0 * 4_096.0 * f32::from(i16::MAX);
            assert!((found / exact - 1.0).abs() < 1e-6, "{found} for {exact}");
        }
    }

    #[test]
    fn rows_are_shared_out_evenly() {
        let sizes = |rows, max| blocks(rows, max).into_iter().map(|block| block.rows).collect::<Vec<_>>();
        assert_eq!(sizes(13, 6), [4, 4, 5]);
        assert_eq!(sizes(6, 6), [6]);
        assert_eq!(sizes(13, 12), [6, 7]);
        assert!(sizes(0, 6).is_empty());
    }
}
