//! How the operands of attention's products lie, and the product of small blocks.

use super::super::bf16_pack::{self, Lines};
use super::super::element::Element;
use super::super::micro::{PanelA, PanelB, TileC, View, pack_panel, tile};
use super::super::rows::SCORE_COLUMNS;
use super::super::{Isa, bf16};
use crate::cpu::Cpu;

/// Positions in a block of keys and values.
pub const KEY_BLOCK: usize = SCORE_COLUMNS;
/// Queries handled together: as many as keys, so that the last block of each is equally full. In bfloat16 the steps of a
/// block that is not full follow from its positions, and both sides must count the same.
pub const QUERY_BLOCK: usize = KEY_BLOCK;

/// How a block of keys and values of one key head lies: `keys[64 / tile][width][tile]`, then
/// `values[width / tile][64][tile]`, both zero beyond their end. In bfloat16 (training only) pairs along the middle
/// dimension share a unit, and a block that is not full has fewer steps.
#[derive(Debug, Clone, Copy)]
pub struct BlockLayout {
    pub(super) isa: Isa,
    pub(super) element: Element,
    tile: usize,
    pub(super) width: usize,
    columns: usize,
}

impl BlockLayout {
    /// For heads of `width`, in float32: what a cache holds.
    pub fn new(isa: Isa, width: usize) -> Self {
        Self::of(isa, Element::F32, width)
    }

    /// For heads of `width` in what `cpu` computes products in.
    pub(super) fn computing(cpu: &Cpu, width: usize) -> Self {
        Self::of(cpu.isa(), Element::of(cpu), width)
    }

    fn of(isa: Isa, element: Element, width: usize) -> Self {
        let tile = tile(isa).1;
        Self { isa, element, tile, width, columns: width.next_multiple_of(tile) }
    }

    /// Units of a block.
    #[allow(clippy::len_without_is_empty)] // a block is never empty
    pub fn len(&self) -> usize {
        self.keys_len() + self.rows_len()
    }

    /// Units of 64 lines packed over the width.
    pub(super) fn keys_len(&self) -> usize {
        KEY_BLOCK * self.depth()
    }

    /// Units of 64 positions packed as rows.
    pub(super) fn rows_len(&self) -> usize {
        self.element.units(KEY_BLOCK) * self.columns
    }

    /// Units of a head's row.
    pub(super) fn depth(&self) -> usize {
        self.element.units(self.width)
    }

    /// Units of a panel over the width.
    pub(super) fn over_width(&self) -> usize {
        self.depth() * self.tile
    }

    /// Units of a panel over `count` positions.
    pub(super) fn over_positions(&self, count: usize) -> usize {
        self.tile * if self.element == Element::F32 { KEY_BLOCK } else { self.element.units(count) }
    }

    /// Puts one position's key and value (each `width` numbers) into a block.
    ///
    /// # Panics
    /// When the sizes do not fit: a mistake of the caller.
    pub fn write(&self, block: &mut [f32], slot: usize, key: &[f32], value: &[f32]) {
        assert!(slot < KEY_BLOCK && block.len() == self.len() && key.len() == self.width && value.len() == self.width);
        assert!(self.element == Element::F32, "a cache holds float32");
        let (keys, values) = block.split_at_mut(self.keys_len());
        let panel = &mut keys[slot / self.tile * self.tile * self.width..];
        for (i, &x) in key.iter().enumerate() {
            panel[i * self.tile + slot % self.tile] = x;
        }
        for (i, chunk) in value.chunks(self.tile).enumerate() {
            values[(i * KEY_BLOCK + slot) * self.tile..][..chunk.len()].copy_from_slice(chunk);
        }
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
            for column in (0..columns).step_by(width) {
                // SAFETY: the caller's promise.
                unsafe {
                    let start = a.at(row, first).start;
                    let a = PanelA { start, row_stride: a.row_stride, k_stride: a.column_stride };
                    let b = PanelB { start: b.add(column / width * panel + first * width), k_stride: width };
                    let start = c.add(row * c_stride + column);
                    let columns = (columns - column).min(width);
                    let c = TileC { start, row_stride: c_stride, rows, columns, accumulate };
                    self.element.multiply_tile(self.isa, end.saturating_sub(first), a, b, c);
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
