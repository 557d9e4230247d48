//! How the operands of attention's products lie, and the product of small blocks.

use super::super::bf16_pack::{self, Lines};
use super::super::element::Element;
use super::super::micro::{PanelA, PanelB, StoredAs, TileC, View, multiply_stored, pack_panel, tile, two_panel_rows};
use super::super::rows::SCORE_COLUMNS;
use super::super::{Isa, bf16};
use crate::cpu::Cpu;

/// Positions in a block of keys and values.
pub const KEY_BLOCK: usize = SCORE_COLUMNS;
/// Queries handled together: as many as keys, so that the last block of each is equally full. In bfloat16 the steps of a
/// block that is not full follow from its positions, and both sides must count the same.
pub const QUERY_BLOCK: usize = KEY_BLOCK;

/// What keys and values are kept as in a cache. Scores and sums are float32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyValueType {
    /// float32: the cached run has the bits of the run without a cache.
    F32,
    /// Half precision; what is beyond its range becomes its largest number.
    #[default]
    F16,
    /// Codes of 8 bits, with a float32 scale for each position, key head and side.
    Q8,
}

impl KeyValueType {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8];

    /// The word for flags and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
        }
    }

    fn stored_as(self) -> StoredAs {
        match self {
            Self::F32 => StoredAs::F32,
            Self::F16 => StoredAs::F16,
            Self::Q8 => StoredAs::I8,
        }
    }
}

/// The halves of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Keys,
    Values,
}

/// How a block of keys and values of one key head lies, in units of 32 bits: `keys[64 / tile][width][tile]`, then
/// `values[width / tile][64][tile]`, both zero beyond their end; of codes then the scales of 64 keys and of 64 values. In
/// bfloat16 (training only) pairs along the middle dimension share a unit, and a block that is not full has fewer steps.
#[derive(Debug, Clone, Copy)]
pub struct BlockLayout {
    pub(super) isa: Isa,
    pub(super) element: Element,
    pub(super) kind: KeyValueType,
    pub(super) tile: usize,
    pub(super) width: usize,
    columns: usize,
}

impl BlockLayout {
    /// For heads of `width`: what a cache holds.
    pub fn new(isa: Isa, width: usize, kind: KeyValueType) -> Self {
        Self::of(isa, Element::F32, kind, width)
    }

    /// For heads of `width` in what `cpu` computes products in.
    pub(super) fn computing(cpu: &Cpu, width: usize) -> Self {
        Self::of(cpu.isa(), Element::of(cpu), KeyValueType::F32, width)
    }

    fn of(isa: Isa, element: Element, kind: KeyValueType, width: usize) -> Self {
        let tile = tile(isa).1;
        Self { isa, element, kind, tile, width, columns: width.next_multiple_of(tile) }
    }

    /// Units of a block.
    #[allow(clippy::len_without_is_empty)] // a block is never empty
    pub fn len(&self) -> usize {
        self.keys_len() + self.rows_len() + if self.kind == KeyValueType::Q8 { 2 * KEY_BLOCK } else { 0 }
    }

    /// Units of a step of a panel.
    fn step(&self) -> usize {
        match self.kind {
            KeyValueType::F32 => self.tile,
            KeyValueType::F16 => self.tile / 2,
            KeyValueType::Q8 => self.tile / 4,
        }
    }

    /// Units of 64 lines packed over the width.
    pub(super) fn keys_len(&self) -> usize {
        KEY_BLOCK / self.tile * self.over_width()
    }

    /// Units of 64 positions packed as rows.
    pub(super) fn rows_len(&self) -> usize {
        self.element.units(KEY_BLOCK) * self.columns / self.tile * self.step()
    }

    /// Units of a head's row.
    pub(super) fn depth(&self) -> usize {
        self.element.units(self.width)
    }

    /// Units of a panel over the width.
    pub(super) fn over_width(&self) -> usize {
        self.depth() * self.step()
    }

    /// Units of a panel over `count` positions.
    pub(super) fn over_positions(&self, count: usize) -> usize {
        self.step() * if self.element == Element::F32 { KEY_BLOCK } else { self.element.units(count) }
    }

    /// Where the scales of 64 positions begin in a block of codes.
    pub(super) fn scales_at(&self, side: Side) -> usize {
        self.keys_len() + self.rows_len() + if side == Side::Keys { 0 } else { KEY_BLOCK }
    }

    /// The scales of `count` positions, where a block has some.
    ///
    /// # Safety
    /// `block` is readable for `len()`, and the scales of `count` positions were written.
    pub(super) unsafe fn scales<'a>(&self, block: *const f32, side: Side, count: usize) -> Option<&'a [f32]> {
        // SAFETY: the caller's promise.
        let scales = || unsafe { std::slice::from_raw_parts(block.add(self.scales_at(side)), count) };
        (self.kind == KeyValueType::Q8).then(scales)
    }

    /// Packs `count` positions.
    ///
    /// # Safety
    /// The views hold `count` rows of `width`; `block` is writable for `len()`.
    pub(super) unsafe fn pack(&self, key: View, value: View, count: usize, block: *mut f32) {
        // SAFETY: the caller's promise; panels follow each other inside of the block.
        unsafe {
            self.pack_lines(key, count, block);
            self.pack_rows(value, count, block.add(self.keys_len()));
        }
    }

    /// `[64 / tile][depth][tile]`: panels for products over the width (scores).
    ///
    /// # Safety
    /// `from` holds `count` rows of `width`, `to` is writable for `keys_len()`.
    pub(super) unsafe fn pack_lines(&self, from: View, count: usize, to: *mut f32) {
        let Self { isa, tile, width, .. } = *self;
        // SAFETY: the caller's promise.
        unsafe {
            if let Element::Pairs { .. } = self.element {
                let what = Lines { from, lines: count, k: width };
                return bf16_pack::pack(isa, what, 0..count, 0..self.depth(), tile, to);
            }
            for first in (0..count).step_by(tile) {
                pack_panel(isa, from.at(first, 0), (count - first).min(tile), width, tile, to.add(first * width));
            }
        }
    }

    /// `[width / tile][units of 64][tile]`: panels for products over positions.
    ///
    /// # Safety
    /// `from` holds `count` rows of `width`, `to` is writable for `rows_len()`.
    pub(super) unsafe fn pack_rows(&self, from: View, count: usize, to: *mut f32) {
        let Self { isa, tile, width, .. } = *self;
        // SAFETY: the caller's promise.
        unsafe {
            if let Element::Pairs { .. } = self.element {
                let what = Lines { from: from.transposed(), lines: width, k: count };
                return bf16_pack::pack(isa, what, 0..width, 0..self.element.units(count), tile, to);
            }
            for first in (0..width).step_by(tile) {
                let lines = from.at(0, first).transposed();
                pack_panel(isa, lines, (width - first).min(tile), count, tile, to.add(first * KEY_BLOCK));
            }
        }
    }

    /// Units that [`Self::left`] takes for 64 rows of a head, and for 64 rows of 64 numbers: none in float32.
    pub(super) fn left_lens(&self) -> (usize, usize) {
        match self.element {
            Element::F32 => (0, 0),
            Element::Pairs { .. } => (QUERY_BLOCK * self.depth(), QUERY_BLOCK * self.element.units(KEY_BLOCK)),
        }
    }

    /// Rows of a head that [`Self::left`] has put at `to`, rows `depth()` apart.
    pub(super) fn left_at(&self, from: View, to: *const f32) -> View {
        if self.element == Element::F32 { from } else { View::rows(to, self.depth()) }
    }

    /// `count` rows of `k` numbers as left operands of products over k: where they are, or in units at `to`, rows `stride`
    /// apart.
    ///
    /// # Safety
    /// `from` holds the rows, which have unit column stride; `to` is writable for `count * stride`.
    pub(super) unsafe fn left(&self, from: View, (count, k): (usize, usize), to: *mut f32, stride: usize) -> View {
        if self.element == Element::F32 {
            return from;
        }
        // SAFETY: the caller's promise.
        unsafe { bf16::pair_rows(self.isa, (from.start, from.row_stride), (count, k), (to, stride)) };
        View::rows(to, stride)
    }

    /// `count` rows of `k` numbers as left operands at `to`, one after the other.
    ///
    /// # Safety
    /// As [`Self::left`].
    pub(super) unsafe fn gather(&self, from: View, (count, k): (usize, usize), to: *mut f32) {
        let stride = self.element.units(k);
        // SAFETY: the caller's promise.
        unsafe {
            if self.element != Element::F32 {
                return bf16::pair_rows(self.isa, (from.start, from.row_stride), (count, k), (to, stride));
            }
            for row in 0..count {
                std::ptr::copy_nonoverlapping(from.at(row, 0).start, to.add(row * stride), k);
            }
        }
    }

    /// The transpose of `count` rows of 64 numbers as the left operand of products over the rows: where they are, or in
    /// units at `to`.
    ///
    /// # Safety
    /// `from` holds `count` rows of 64 numbers; `to` is writable for half of 64 x 64.
    pub(super) unsafe fn left_transposed(&self, from: *const f32, count: usize, to: *mut f32) -> View {
        let lines = View::rows(from, KEY_BLOCK).transposed();
        if self.element == Element::F32 {
            return lines;
        }
        let what = Lines { from: lines, lines: KEY_BLOCK, k: count };
        // SAFETY: the caller's promise; one panel of 64 lines.
        unsafe { bf16_pack::pack(self.isa, what, 0..KEY_BLOCK, 0..self.element.units(count), KEY_BLOCK, to) };
        View::rows(to, KEY_BLOCK).transposed()
    }

    /// C[m, n] (+)= A[m, k] B, where B lies in panels of `tile` columns, `panel` units apart; of each tile of rows (its
    /// first row and its number of rows) only the part that `part` says.
    ///
    /// # Safety
    /// A is readable and C writable for m rows and every part; the panels hold the columns (rounded up) of every step.
    #[inline]
    pub(super) unsafe fn multiply(
        &self,
        m: usize,
        a: View,
        (b, panel): (*const f32, usize),
        (c, c_stride): (*mut f32, usize),
        accumulate: bool,
        part: impl Fn(usize, usize) -> Part,
    ) {
        let (tile_rows, width) = tile(self.isa);
        for row in (0..m).step_by(tile_rows) {
            let rows = (m - row).min(tile_rows);
            let Part { columns, first, end } = part(row, rows);
            let (first, end) = (self.element.unit_of(first), self.element.units(end));
            let (k, step) = (end.saturating_sub(first), self.step());
            let panels = if self.element == Element::F32 && rows <= two_panel_rows(self.isa) { 2 } else { 1 };
            for column in (0..columns).step_by(panels * width) {
                // SAFETY: the caller's promise.
                unsafe {
                    let start = a.at(row, first).start;
                    let a = PanelA { start, row_stride: a.row_stride, k_stride: a.column_stride };
                    let b = PanelB { start: b.add(column / width * panel + first * step), k_stride: step };
                    let start = c.add(row * c_stride + column);
                    let columns = (columns - column).min(panels * width);
                    let c = TileC { start, row_stride: c_stride, rows, columns, accumulate };
                    match self.element {
                        Element::F32 => multiply_stored(self.isa, self.kind.stored_as(), k, a, b, panel, c),
                        Element::Pairs { fast } => bf16::multiply_tile(self.isa, fast, k, a, b, c),
                    }
                }
            }
        }
    }
}

/// Which part of a tile of rows is computed: columns up to `columns`, and the numbers of k from `first` to `end`.
/// What causality makes zero is left out; a sum without its zeros is the same sum.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub columns: usize,
    pub first: usize,
    pub end: usize,
}
