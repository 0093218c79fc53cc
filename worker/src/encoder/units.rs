//! The vector units that multiply pairs of 16-bit integers: AVX-512, AVX2, and plain loops for every other machine.
//!
//! One instruction multiplies 16 (or 32) numbers and adds neighbours into 32-bit sums: half the instructions of the
//! same product in floats, on any x86 since 2013, and exact.

use pulp::bytemuck::Pod;
#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};

/// What a product needs of a machine. A vector holds, for each of `COLUMNS` columns, the pair of weights of two
/// neighbouring rows.
pub(super) trait Unit: Copy {
    const COLUMNS: usize;
    /// Rows of input that share one pass over the weights: as many sums as the registers hold, two vectors a row.
    const ROWS_MAX: usize;
    /// 32-bit sums, one a column.
    type Sums: Pod;
    /// 16-bit pairs, one a column.
    type Words: Pod;
    /// The same in eight bits.
    type Bytes: Pod;

    fn widen(self, bytes: Self::Bytes) -> Self::Words;
    fn repeat(self, pair: i32) -> Self::Words;
    /// `sums + the two products of each pair`.
    fn add_products(self, sums: Self::Sums, a: Self::Words, b: Self::Words) -> Self::Sums;
}

#[cfg(target_arch = "x86_64")]
impl Unit for V4 {
    const COLUMNS: usize = 16;
    const ROWS_MAX: usize = 12;
    type Sums = pulp::i32x16;
    type Words = pulp::i16x32;
    type Bytes = pulp::i8x32;

    #[inline(always)]
    fn widen(self, bytes: Self::Bytes) -> Self::Words {
        self.convert_i8x32_to_i16x32(bytes)
    }

    #[inline(always)]
    fn repeat(self, pair: i32) -> Self::Words {
        pulp::cast(self.splat_i32x16(pair))
    }

    #[inline(always)]
    fn add_products(self, sums: Self::Sums, a: Self::Words, b: Self::Words) -> Self::Sums {
        self.wrapping_add_i32x16(sums, self.multiply_wrapping_add_adjacent_i16x32(a, b))
    }
}

#[cfg(target_arch = "x86_64")]
impl Unit for V3 {
    const COLUMNS: usize = 8;
    const ROWS_MAX: usize = 6;
    type Sums = pulp::i32x8;
    type Words = pulp::i16x16;
    type Bytes = pulp::i8x16;

    #[inline(always)]
    fn widen(self, bytes: Self::Bytes) -> Self::Words {
        self.convert_i8x16_to_i16x16(bytes)
    }

    #[inline(always)]
    fn repeat(self, pair: i32) -> Self::Words {
        pulp::cast(self.splat_i32x8(pair))
    }

    #[inline(always)]
    fn add_products(self, sums: Self::Sums, a: Self::Words, b: Self::Words) -> Self::Sums {
        self.wrapping_add_i32x8(sums, self.multiply_wrapping_add_adjacent_i16x16(a, b))
    }
}

/// Loops that the compiler turns into whatever the machine has (NEON on ARM).
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Unit for Plain {
    const COLUMNS: usize = 8;
    const ROWS_MAX: usize = 6;
    type Sums = [i32; 8];
    type Words = [i16; 16];
    type Bytes = [i8; 16];

    #[inline(always)]
    fn widen(self, bytes: Self::Bytes) -> Self::Words {
        bytes.map(i16::from)
    }

    #[inline(always)]
    fn repeat(self, pair: i32) -> Self::Words {
        pulp::cast([pair; 8])
    }

    #[inline(always)]
    fn add_products(self, sums: Self::Sums, a: Self::Words, b: Self::Words) -> Self::Sums {
        std::array::from_fn(|column| {
            let product = |at: usize| i32::from(a[at]) * i32::from(b[at]);
            sums[column].wrapping_add(product(2 * column).wrapping_add(product(2 * column + 1)))
        })
    }
}

/// The best unit of this machine.
#[derive(Clone, Copy)]
pub(super) enum Machine {
    #[cfg(target_arch = "x86_64")]
    V4(V4),
    #[cfg(target_arch = "x86_64")]
    V3(V3),
    Plain,
}

impl Machine {
    pub(super) fn here() -> Self {
        Self::all().into_iter().next().unwrap_or(Self::Plain)
    }

    /// Every unit that runs here, the best first.
    pub(super) fn all() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            found.extend(V4::try_new().map(Self::V4));
            found.extend(V3::try_new().map(Self::V3));
        }
        found.push(Self::Plain);
        found
    }

    pub(super) fn columns(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::V4(_) => V4::COLUMNS,
            #[cfg(target_arch = "x86_64")]
            Self::V3(_) => V3::COLUMNS,
            Self::Plain => Plain::COLUMNS,
        }
    }
}
