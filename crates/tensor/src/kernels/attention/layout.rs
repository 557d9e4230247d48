//! How the operands of attention's products lie, and the product of small blocks.

use std::ptr::null;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyValueType {
    /// float32: the cached run has the bits of the run without a cache.
    F32,
    /// Half precision; what is beyond its range becomes its largest number.
    F16,
    /// bfloat16, and so are queries and probabilities: products take half the time where the processor has instructions for
    /// them (see [`Self::fitting`]).
    Bf16,
    /// Codes of 8 bits, with a float32 scale for each position, key head and side.
    Q8,
}

impl KeyValueType {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Q8];

    /// The one of 16 bits that is fastest here.
    pub fn fitting(isa: Isa) -> Self {
        if bf16::is_fast(isa) { Self::Bf16 } else { Self::F16 }
    }

    /// The word for flags and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
        }
    }

    /// What products with float32 read.
    fn stored_as(self) -> StoredAs {
        match self {
            Self::F32 => StoredAs::F32,
            Self::F16 => StoredAs::F16,
            Self::Q8 => StoredAs::I8,
            Self::Bf16 => unreachable!("multiplied in pairs"),
        }
    }
}

/// Where the panels of a packed operand are: distances in units from a panel to the next one, and from a step to the next one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panels {
    next: usize,
    step: usize,
}

/// A packed operand on the right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Right {
    start: *const f32,
    panels: Panels,
    ahead: *const f32,
}

impl Right {
    pub(super) fn new(start: *const f32, panels: Panels) -> Self {
        Self { start, panels, ahead: null() }
    }

    /// What is read later and as long, to be fetched meanwhile. It may be any address.
    pub(super) fn then(self, ahead: *const f32) -> Self {
        Self { ahead, ..self }
    }
}

/// The halves of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Keys,
    Values,
}

/// How a block of keys and values of one key head lies, in units of 32 bits. In float32 and what is narrower:
/// `keys[width][64]`, then `values[64][width]`, rows rounded up to a tile's columns, so that a block is read from its
/// beginning to its end, which the processor foresees; of codes then the scales of 64 keys and of 64 values. In bfloat16
/// `keys[64 / tile][depth][tile]` and `values[width / tile][32][tile]`, pairs along the middle dimension
/// share a unit, and a block of training that is not full has fewer steps.
#[derive(Debug, Clone, Copy)]
pub struct BlockLayout {
    pub(super) isa: Isa,
    pub(super) element: Element,
    pub(super) kind: KeyValueType,
    tile: usize,
    pub(super) width: usize,
    /// The width, rounded up to a tile's columns.
    pub(super) columns: usize,
}

impl BlockLayout {
    /// For heads of `width`: what a cache holds.
    pub fn new(isa: Isa, width: usize, kind: KeyValueType) -> Self {
        let pairs = Element::Pairs { fast: bf16::is_fast(isa) };
        let element = if kind == KeyValueType::Bf16 { pairs } else { Element::F32 };
        Self::of(isa, element, kind, width)
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

    /// Units of `count` numbers, or in bfloat16 of pairs, side by side.
    fn row(&self, count: usize) -> usize {
        match self.kind {
            KeyValueType::F32 | KeyValueType::Bf16 => count,
            KeyValueType::F16 => count / 2,
            KeyValueType::Q8 => count / 4,
        }
    }

    /// Units of 64 lines packed over the width.
    pub(super) fn keys_len(&self) -> usize {
        self.depth() * self.row(KEY_BLOCK)
    }

    /// Units of 64 positions packed as rows.
    pub(super) fn rows_len(&self) -> usize {
        self.element.units(KEY_BLOCK) * self.row(self.columns)
    }

    /// Units of a head's row.
    pub(super) fn depth(&self) -> usize {
        self.element.units(self.width)
    }

    /// Panels over the width.
    pub(super) fn over_width(&self) -> Panels {
        self.panels(self.depth(), KEY_BLOCK)
    }

    /// Panels over `count` positions.
    pub(super) fn over_positions(&self, count: usize) -> Panels {
        // A block of a cache will be full some day.
        let count = if self.kind == KeyValueType::Bf16 { KEY_BLOCK } else { count };
        self.panels(self.element.units(count), self.columns)
    }

    /// Where the unit is that has the numbers of key `slot` in columns `2 unit` and `2 unit + 1`, in pairs.
    pub(super) fn key_pair_at(&self, slot: usize, unit: usize) -> usize {
        (slot / self.tile * self.depth() + unit) * self.tile + slot % self.tile
    }

    /// Where the unit is that has column `column` of the values of positions `2 pair` and `2 pair + 1`, in pairs.
    pub(super) fn value_pair_at(&self, pair: usize, column: usize) -> usize {
        let panel = column / self.tile * self.element.units(KEY_BLOCK);
        self.keys_len() + (panel + pair) * self.tile + column % self.tile
    }

    fn panels(&self, steps: usize, columns: usize) -> Panels {
        match self.element {
            Element::F32 => Panels { next: self.row(self.tile), step: self.row(columns) },
            Element::Pairs { .. } => Panels { next: steps * self.tile, step: self.tile },
        }
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

    /// For products over the width (scores).
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
            pack_panel(isa, from, count, width, KEY_BLOCK, to);
        }
    }

    /// For products over positions.
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
            pack_panel(isa, from.transposed(), width, count, self.columns, to);
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

    /// C[m, n] (+)= A[m, k] B, where B lies in panels of `tile` columns; of each tile of rows (its first row and its number
    /// of rows) only the part that `part` says.
    ///
    /// # Safety
    /// A is readable and C writable for m rows and every part; the panels hold the columns (rounded up) of every step.
    #[inline]
    pub(super) unsafe fn multiply(
        &self,
        m: usize,
        a: View,
        b: Right,
        (c, c_stride): (*mut f32, usize),
        accumulate: bool,
        part: impl Fn(usize, usize) -> Part,
    ) {
        let (tile_rows, width) = tile(self.isa);
        for row in (0..m).step_by(tile_rows) {
            let rows = (m - row).min(tile_rows);
            let Part { columns, first, end } = part(row, rows);
            let (first, end) = (self.element.unit_of(first), self.element.units(end));
            let k = end.saturating_sub(first);
            let two = self.element == Element::F32 && rows <= two_panel_rows(self.isa);
            let columns_max = if two { 2 * width } else { width };
            // What the first rows fetched is there for the others.
            let mut ahead = if row == 0 { b.ahead } else { null() };
            for column in (0..columns).step_by(columns_max) {
                // SAFETY: the caller's promise.
                unsafe {
                    let start = a.at(row, first).start;
                    let a = PanelA { start, row_stride: a.row_stride, k_stride: a.column_stride };
                    let Panels { next, step } = b.panels;
                    let b = PanelB { start: b.start.add(column / width * next + first * step), k_stride: step };
                    let start = c.add(row * c_stride + column);
                    let columns = (columns - column).min(columns_max);
                    let c = TileC { start, row_stride: c_stride, rows, columns, accumulate };
                    match self.element {
                        Element::F32 => multiply_stored(self.isa, self.kind.stored_as(), k, a, b, (next, ahead), c),
                        Element::Pairs { fast } => bf16::multiply_tile(self.isa, fast, k, a, b, ahead, c),
                    }
                    if !ahead.is_null() {
                        ahead = ahead.wrapping_add(k * self.row(columns_max));
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
