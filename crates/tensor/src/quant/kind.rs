//! The kinds of stored weights that products are computed with, and how a tile of 16 rows of each lies in memory.

/// How the numbers of a weight are stored: ggml's types (ggml.h, `enum ggml_type`) and the floating-point ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(non_camel_case_types, reason = "the names are the format's own")]
pub enum WeightKind {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// 8 bits, a scale for 32.
    Q8_0,
    /// 4 bits around zero, a scale for 32.
    Q4_0,
    /// 4 bits, a scale and an offset for 32.
    Q4_1,
    /// 5 bits around zero, a scale for 32.
    Q5_0,
    /// 5 bits, a scale and an offset for 32.
    Q5_1,
    /// 2 bits; 4 bits of scale and of minimum for 16.
    Q2_K,
    /// 3 bits around zero; 6 bits of scale for 16.
    Q3_K,
    /// 4 bits; 6 bits of scale and of minimum for 32.
    Q4_K,
    /// 5 bits; 6 bits of scale and of minimum for 32.
    Q5_K,
    /// 6 bits around zero; 8 bits of scale for 16.
    Q6_K,
}

use WeightKind as K;

/// Name, numbers and bytes of a block of the file.
const TABLE: [(WeightKind, &str, usize, usize); 13] = [
    (K::F32, "F32", 1, 4),
    (K::F16, "F16", 1, 2),
    (K::BF16, "BF16", 1, 2),
    (K::Q8_0, "Q8_0", 32, 34),
    (K::Q4_0, "Q4_0", 32, 18),
    (K::Q4_1, "Q4_1", 32, 20),
    (K::Q5_0, "Q5_0", 32, 22),
    (K::Q5_1, "Q5_1", 32, 24),
    (K::Q2_K, "Q2_K", 256, 84),
    (K::Q3_K, "Q3_K", 256, 110),
    (K::Q4_K, "Q4_K", 256, 144),
    (K::Q5_K, "Q5_K", 256, 176),
    (K::Q6_K, "Q6_K", 256, 210),
];

/// Rows of a tile: the 32-bit lanes of a register of 512 bits.
pub const TILE_ROWS: usize = 16;
/// Numbers of a row that the kernels take in one step.
pub const STEP: usize = 32;

impl WeightKind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.into_iter().map(|row| row.0)
    }

    /// ggml's name of the type.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        TABLE.into_iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Numbers of a block of the file.
    pub fn block_numbers(self) -> usize {
        TABLE[self as usize].2
    }

    /// Bytes of a block of the file.
    pub fn block_bytes(self) -> usize {
        TABLE[self as usize].3
    }

    /// Bytes of a row of `columns` numbers in the file; none if they are no whole blocks.
    pub fn row_bytes(self, columns: usize) -> Option<usize> {
        let whole = columns.is_multiple_of(self.block_numbers());
        whole.then(|| columns / self.block_numbers())?.checked_mul(self.block_bytes())
    }

    /// How codes lie in a tile; none for floating-point kinds.
    pub fn layout(self) -> Option<TileLayout> {
        let (low_bits, high_bits, group, minima, zero_bits) = match self {
            K::F32 | K::F16 | K::BF16 => return None,
            K::Q8_0 => (8, 0, 32, false, 7),
            K::Q4_0 => (4, 0, 32, false, 3),
            K::Q4_1 | K::Q4_K => (4, 0, 32, true, 0),
            K::Q5_0 => (4, 1, 32, false, 4),
            K::Q5_1 | K::Q5_K => (4, 1, 32, true, 0),
            K::Q2_K => (2, 0, 16, true, 0),
            K::Q3_K => (2, 1, 16, false, 2),
            K::Q6_K => (4, 2, 16, false, 5),
        };
        let super_steps = self.block_numbers() / STEP;
        Some(TileLayout { low_bits, high_bits, group, minima, zero_bits, super_steps })
    }
}

/// A tile: 16 rows of a weight in steps of 32 columns, each step with its codes and scales:
///
/// - lower bits of the codes: registers of 64 bytes, byte `4 row + column % 4` of register `column / 4` (8 bits), in
///   the nibble `column / 4 % 2` of register `column / 8` (4 bits), in the pair of bits `column / 4 % 4` of register
///   `column / 16` (2 bits);
/// - higher bits likewise (2 bits; or 1 bit: bit `column / 4` of one register);
/// - where a block of the file is a step: scales, then offsets, of 16 bits for each row; where it is eight steps (K
///   types): for each group scales of 8 bits, then minima, in Q2_K both in one byte; the units of both, of 16 bits, stand
///   before the first of the eight steps.
///
/// Codes of kinds around zero are stored too high by `2^zero_bits`, because `VPDPBUSD` multiplies unsigned codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileLayout {
    /// Bits in the first part of the codes: 8, 4 or 2.
    pub low_bits: usize,
    /// Bits in the second part: 0, 1 or 2.
    pub high_bits: usize,
    /// Columns that share a scale: 32 or 16.
    pub group: usize,
    /// Whether groups have an offset or minimum.
    pub minima: bool,
    /// Codes are stored too high by two to this power; 0 where they are not.
    pub zero_bits: usize,
    /// Steps of a block of the file: 1, or 8 for the K types.
    pub super_steps: usize,
}

impl TileLayout {
    /// Bytes of the codes of a step.
    pub const fn code_bytes(&self) -> usize {
        (self.low_bits + self.high_bits) * 64
    }

    /// Bytes of a step.
    pub const fn step_bytes(&self) -> usize {
        let groups = STEP / self.group;
        let scales = if self.super_steps == 1 {
            2 * TILE_ROWS * (1 + self.minima as usize)
        } else if self.group == 16 {
            TILE_ROWS * groups
        } else {
            TILE_ROWS * groups * (1 + self.minima as usize)
        };
        self.code_bytes() + scales
    }

    /// Bytes before the first of the steps that share units.
    pub const fn header_bytes(&self) -> usize {
        if self.super_steps == 1 { 0 } else { 2 * TILE_ROWS * (1 + self.minima as usize) }
    }

    /// Bytes of a tile of rows of `columns`.
    pub const fn tile_bytes(&self, columns: usize) -> usize {
        let steps = columns / STEP;
        steps / self.super_steps * self.header_bytes() + steps * self.step_bytes()
    }

    /// Where a step begins in its tile, and the units of its block.
    pub const fn step_at(&self, step: usize) -> (usize, usize) {
        let block = step / self.super_steps * (self.header_bytes() + self.super_steps * self.step_bytes());
        (block + self.header_bytes() + step % self.super_steps * self.step_bytes(), block)
    }

    /// Register and lowest bit of the lower part of the code of `column` (of the step).
    pub(crate) const fn low_at(&self, column: usize) -> (usize, usize) {
        let per_register = 8 / self.low_bits;
        (column / 4 / per_register, column / 4 % per_register * self.low_bits)
    }

    /// Register and bit of the higher part.
    pub(crate) const fn high_at(&self, column: usize) -> (usize, usize) {
        let per_register = 8 / self.high_bits;
        (column / 4 / per_register, column / 4 % per_register * self.high_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, kind) in WeightKind::all().enumerate() {
            assert_eq!((kind as usize, WeightKind::named(kind.name())), (index, Some(kind)));
        }
    }

    #[test]
    fn a_tile_is_at_most_five_percent_larger_than_the_rows_in_the_file() {
        for kind in WeightKind::all() {
            let Some(layout) = kind.layout() else { continue };
            let (tile, rows) = (layout.tile_bytes(1024), TILE_ROWS * kind.row_bytes(1024).unwrap());
            assert!(tile >= rows && tile * 100 <= rows * 105, "{}: {tile} for {rows}", kind.name());
        }
        assert_eq!(WeightKind::Q4_K.row_bytes(288), None);
    }
}
