//! The matrix product with weights in their own width: `y = x W^T + bias`, where `W` is a
//! [`QuantizedMatrix`] and `x` is rounded to 8 bits with a scale for every 32 numbers.
//!
//! Codes are multiplied as integers, four to a lane, 16 rows of the weight at a time; their sums are exact. Each step of 32
//! columns adds `scale_x (scale_w sum)` to a float32 sum (of two groups, where they have 16 columns, the sum of both), in the
//! order of the columns: one order for every number of rows, split and thread, and for both ways through the weight (decision
//! 6). With `VPDPBUSD`, codes are widened in registers for up to [`DIRECT_ROWS`] rows, and the product is as fast as memory is
//! read; for more rows, and elsewhere, a tile is widened into the first-level cache and serves all rows.
//!
//! Floating-point kinds are widened to float32 and not rounded; nor is `x` there.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod pack;
mod plain;

use std::cell::RefCell;
use std::ops::Range;

pub use activations::round_row_reference;
use activations::{Activations, PANEL_ROWS};
pub(crate) use pack::pack_tile;

use super::Isa;
use super::gemm::with_scratch;
use crate::cpu::Cpu;
use crate::memory::Buffer;
use crate::quant::{Piece, QuantizedMatrix, STEP, TILE_ROWS, TileLayout, WeightKind};

/// Rows of `x` up to which a tile is not widened first.
const DIRECT_ROWS: usize = 4;
/// Steps of a tile that are widened at a time, a multiple of those in a block: the tile stays in the first-level cache, and
/// what passes by of 512 rows of `x` in the second-level cache.
const WIDENED_STEPS: usize = 24;
/// Bytes of a weight in a task of few rows, about.
const TASK_BYTES: usize = 32 << 10;
/// Products of a task of many rows, at least.
const TASK_PRODUCTS: usize = 1 << 20;

thread_local! {
    static X: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
    static WIDENED: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
    /// A tile of a weight that was not packed before.
    static TILE: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
}

/// Where a tile's sums go.
#[derive(Clone, Copy)]
pub(super) struct Out {
    /// First row, first of up to 16 columns.
    y: *mut f32,
    /// Distance between rows.
    stride: usize,
    /// Rows that there are; a panel may have more.
    rows: usize,
    /// Columns that there are.
    columns: usize,
    /// As many as columns, or null.
    bias: *const f32,
    /// Adds to the sums that are there.
    goes_on: bool,
}

/// One panel of `x`: `width` rows side by side.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    width: usize,
    /// `[columns / 4][width][4]`
    codes: *const i8,
    /// `[steps][width]`
    scales: *const f32,
    /// `[groups][width]`: what makes up for codes that are stored too high (integers), or what offsets are multiplied
    /// with (float32); see [`Activations::prepare`].
    side: *const f32,
}

impl Out {
    /// The rows from `row` on.
    ///
    /// # Safety
    /// There are more than `row`.
    unsafe fn below(self, row: usize) -> Self {
        // SAFETY: the caller's promise.
        Self { y: unsafe { self.y.add(row * self.stride) }, rows: self.rows - row, ..self }
    }
}

impl Panel {
    /// The rows from `row` on, which still lie `width` apart.
    ///
    /// # Safety
    /// There are more than `row`.
    unsafe fn below(self, row: usize) -> Self {
        // SAFETY: the caller's promise: the panel has more rows.
        unsafe {
            Self { codes: self.codes.add(4 * row), scales: self.scales.add(row), side: self.side.add(row), ..self }
        }
    }
}

#[derive(Clone, Copy)]
struct Task<'a> {
    isa: Isa,
    m: usize,
    x: *const f32,
    activations: Option<&'a Activations<'a>>,
    y: *mut f32,
    stride: usize,
    bias: Option<&'a [f32]>,
}

// SAFETY: tasks write disjoint columns of `y`.
unsafe impl Sync for Task<'_> {}

/// `y [m, n] = x [m, k] W^T (+ bias)`.
///
/// # Panics
/// When a slice does not have the size that `m` and the weight say: a mistake of the caller.
pub fn multiply(cpu: &Cpu, m: usize, x: &[f32], weight: &QuantizedMatrix, bias: Option<&[f32]>, y: &mut [f32]) {
    assert!(bias.is_none_or(|bias| bias.len() == weight.rows()), "bias is not {}", weight.rows());
    multiply_pieces(cpu, m, x, weight.columns(), weight.pieces(), bias, y);
}

/// `y [m, n] = x [m, k] W^T` by the n rows `rows` of the weight, such as those of one expert of many.
///
/// # Panics
/// As [`multiply`], and when the rows begin or end inside of a piece.
pub fn multiply_rows(cpu: &Cpu, m: usize, x: &[f32], weight: &QuantizedMatrix, rows: Range<usize>, y: &mut [f32]) {
    multiply_pieces(cpu, m, x, weight.columns(), weight.pieces_of(rows), None, y);
}

fn multiply_pieces(cpu: &Cpu, m: usize, x: &[f32], k: usize, pieces: &[Piece], bias: Option<&[f32]>, y: &mut [f32]) {
    let n = pieces.iter().map(|piece| piece.rows).sum();
    assert_eq!(m.checked_mul(k), Some(x.len()), "x is not {m} x {k}");
    assert_eq!(m.checked_mul(n), Some(y.len()), "y is not {m} x {n}");
    if m == 0 {
        return;
    }
    let rounds = pieces.iter().any(|piece| piece.kind.layout().is_some());
    let len = if rounds { Activations::len(m, k) } else { 0 };
    with_scratch(&X, len, |memory| {
        let mut activations = rounds.then(|| Activations::round(cpu, m, x, memory));
        let mut first = 0;
        let prepared = |piece: &Piece| piece.kind.layout().map(|layout| activations::side_of(&layout));
        for alike in pieces.chunk_by(|a, b| prepared(a) == prepared(b)) {
            if let (Some(activations), Some(side)) = (&mut activations, prepared(&alike[0])) {
                activations.prepare(cpu, side);
            }
            let task = Task {
                isa: cpu.isa(),
                m,
                x: x.as_ptr(),
                activations: activations.as_ref(),
                y: y.as_mut_ptr(),
                stride: n,
                bias,
            };
            task.multiply(cpu, alike, first, k);
            first += alike.iter().map(|piece| piece.rows).sum::<usize>();
        }
    });
}

/// Whether this processor multiplies bytes four to a lane with these kernels.
pub fn is_fast(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return isa.level() == super::Level::Avx512 && is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Bytes of a step of a widened tile: codes of 8 bits, then float32 scales, then offsets.
pub(super) const fn widened_step_bytes(layout: &TileLayout) -> usize {
    512 + STEP / layout.group * 64 * (1 + layout.minima as usize)
}

impl Task<'_> {
    /// Tiles of a piece that a thread takes at a time.
    fn tiles_at_once(&self, piece: &Piece, k: usize, threads: usize) -> usize {
        let tiles = piece.tiles();
        if self.m <= DIRECT_ROWS {
            // As fast as memory is read: parts alike, so that no thread waits for the others.
            let tasks = (tiles * piece.tile_bytes / TASK_BYTES).clamp(1, 4 * threads);
            return tiles.div_ceil(tasks).max(1);
        }
        // Tiles are multiplied in pairs.
        TASK_PRODUCTS.div_ceil(self.m * k.max(1) * TILE_ROWS).next_multiple_of(2)
    }

    /// The columns of some pieces, which follow each other from column `first` of `y` on.
    fn multiply(&self, cpu: &Cpu, pieces: &[Piece], first: usize, k: usize) {
        let threads = cpu.pool().threads();
        let tasks_of = |piece: &Piece| piece.tiles().div_ceil(self.tiles_at_once(piece, k, threads));
        cpu.pool().run(pieces.iter().map(tasks_of).sum(), &|mut index| {
            let mut first = first;
            for piece in pieces {
                let tasks = tasks_of(piece);
                if index >= tasks {
                    (index, first) = (index - tasks, first + piece.rows);
                    continue;
                }
                let at_once = self.tiles_at_once(piece, k, threads);
                let tiles = index * at_once..((index + 1) * at_once).min(piece.tiles());
                // SAFETY: the piece's columns are inside of the rows of `y`.
                let task =
                    Self { y: unsafe { self.y.add(first) }, bias: self.bias.map(|bias| &bias[first..]), ..*self };
                // SAFETY: sizes were checked by `multiply`; no other task has these columns.
                return unsafe { task.tiles(piece, k, tiles) };
            }
        });
    }

    /// Some tiles of a piece whose columns begin at `self.y`.
    ///
    /// # Safety
    /// The sizes fit; nobody else has these columns.
    unsafe fn tiles(&self, piece: &Piece, k: usize, tiles: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe {
            match piece.kind.layout() {
                None => self.floats(piece, k, tiles),
                Some(_) if self.m <= DIRECT_ROWS && is_fast(self.isa) => self.direct(piece, k, tiles),
                Some(layout) => self.widened(piece, &layout, k, tiles),
            }
        }
    }

    /// Where the sums of tile `index` go, from row `row` of `x`.
    ///
    /// # Safety
    /// The piece has the tile, and `x` the row.
    unsafe fn out(&self, piece: &Piece, index: usize, row: usize) -> Out {
        let column = index * TILE_ROWS;
        Out {
            // SAFETY: inside of `y`.
            y: unsafe { self.y.add(row * self.stride + column) },
            stride: self.stride,
            rows: self.m - row,
            columns: (piece.rows - column).min(TILE_ROWS),
            bias: self.bias.map_or(std::ptr::null(), |bias| bias[column..].as_ptr()),
            goes_on: false,
        }
    }

    /// Up to [`DIRECT_ROWS`] rows: codes are widened in registers.
    ///
    /// # Safety
    /// As [`Self::tiles`], and the processor has the instructions of [`is_fast`].
    unsafe fn direct(&self, piece: &Piece, k: usize, tiles: Range<usize>) {
        #[cfg(target_arch = "x86_64")]
        if let Some(activations) = self.activations {
            let panel = activations.panel(0, 0);
            with_scratch(&TILE, piece.tile_scratch(), |scratch| {
                for index in tiles {
                    let tile = piece.tile(self.isa, index, scratch).as_ptr();
                    // SAFETY: the tile holds `k / 32` steps, the panel too.
                    unsafe { avx512::direct(piece.kind, tile, k / STEP, panel, self.out(piece, index, 0)) };
                }
            });
        }
    }

    /// Any number of rows: tiles are widened first, two at a time, some steps at a time.
    ///
    /// # Safety
    /// As [`Self::direct`].
    unsafe fn widened(&self, piece: &Piece, layout: &TileLayout, k: usize, tiles: std::ops::Range<usize>) {
        let Some(activations) = self.activations else { return };
        let steps = k / STEP;
        let bytes = steps.min(WIDENED_STEPS) * widened_step_bytes(layout);
        let scratch_of_tile = piece.tile_scratch();
        with_scratch(&TILE, 2 * scratch_of_tile, |scratch| {
            let (first_scratch, second_scratch) = scratch.split_at_mut(scratch_of_tile);
            with_scratch(&WIDENED, 2 * bytes / size_of::<f32>(), |memory| {
                let memory = memory.as_mut_ptr().cast::<u8>();
                for first in tiles.clone().step_by(2) {
                    let pair = first..(first + 2).min(tiles.end);
                    let last = piece.tile(self.isa, pair.end - 1, second_scratch);
                    let both = [if pair.len() == 2 { piece.tile(self.isa, first, first_scratch) } else { last }, last];
                    for begin in (0..steps).step_by(WIDENED_STEPS) {
                        let part = begin..(begin + WIDENED_STEPS).min(steps);
                        // SAFETY: the scratch has room for these steps of two tiles, and the tiles have them.
                        unsafe {
                            for (index, tile) in both.into_iter().enumerate().take(pair.len()) {
                                widen(self.isa, piece.kind, layout, tile, part.clone(), memory.add(index * bytes));
                            }
                            self.part(piece, layout, pair.clone(), (memory, bytes), part, (steps, activations));
                        }
                    }
                }
            });
        });
    }

    /// Steps `part` of one or two tiles, widened at `memory`, `bytes` apart, times every panel.
    ///
    /// # Safety
    /// As [`Self::direct`]; the tiles are widened.
    unsafe fn part(
        &self,
        piece: &Piece,
        layout: &TileLayout,
        tiles: std::ops::Range<usize>,
        (memory, bytes): (*const u8, usize),
        part: std::ops::Range<usize>,
        (steps, activations): (usize, &Activations<'_>),
    ) {
        for index in 0..self.m.div_ceil(PANEL_ROWS) {
            let panel = activations.panel(index, part.start);
            // SAFETY: the caller's promise; the panel has these steps, too.
            unsafe {
                let out = |tile| Out {
                    goes_on: part.start > 0,
                    bias: if part.end == steps { self.out(piece, tile, 0).bias } else { std::ptr::null() },
                    ..self.out(piece, tile, index * PANEL_ROWS)
                };
                #[cfg(target_arch = "x86_64")]
                if tiles.len() == 2 && is_fast(self.isa) {
                    let outs = [out(tiles.start), out(tiles.start + 1)];
                    avx512::multiply_pair(layout, memory, bytes, part.len(), panel, outs);
                    continue;
                }
                for tile in tiles.clone() {
                    let at = memory.add((tile - tiles.start) * bytes);
                    multiply_widened(self.isa, layout, at, part.len(), panel, out(tile));
                }
            }
        }
    }

    /// A floating-point kind.
    ///
    /// # Safety
    /// As [`Self::tiles`].
    unsafe fn floats(&self, piece: &Piece, k: usize, tiles: Range<usize>) {
        let x = (self.x, k);
        with_scratch(&TILE, piece.tile_scratch(), |scratch| {
            #[cfg(target_arch = "x86_64")]
            if self.isa.level() == super::Level::Avx512 {
                for index in tiles {
                    let tile = piece.tile(self.isa, index, scratch).as_ptr();
                    // SAFETY: the tile holds k columns, `x` m rows of k.
                    unsafe { avx512::floats(piece.kind, tile, k, x, self.out(piece, index, 0)) };
                }
                return;
            }
            with_scratch(&WIDENED, k * TILE_ROWS, |memory| {
                for index in tiles {
                    plain::widen_floats(self.isa, piece.kind, piece.tile(self.isa, index, scratch), memory);
                    // SAFETY: as above.
                    unsafe { plain::floats(self.isa, memory, k, x, self.out(piece, index, 0)) };
                }
            });
        });
    }
}

/// Writes steps of a tile with codes of 8 bits and float32 scales.
///
/// # Safety
/// The tile has these steps, and `to` room for them.
unsafe fn widen(isa: Isa, kind: WeightKind, layout: &TileLayout, tile: &[u8], steps: Range<usize>, to: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    if is_fast(isa) {
        // SAFETY: the caller's promise.
        return unsafe { avx512::widen(kind, tile.as_ptr(), steps, to) };
    }
    // SAFETY: the caller's promise: room for the steps.
    let to = unsafe { std::slice::from_raw_parts_mut(to, steps.len() * widened_step_bytes(layout)) };
    plain::widen(isa, layout, tile, steps.start, to);
}

/// The sums of a widened tile and a panel.
///
/// # Safety
/// The widened tile and the panel hold `steps` steps; `out` has room.
unsafe fn multiply_widened(isa: Isa, layout: &TileLayout, tile: *const u8, steps: usize, panel: Panel, out: Out) {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if is_fast(isa) {
            return avx512::multiply_widened(layout, tile, steps, panel, out);
        }
        plain::multiply_widened(isa, layout, tile, steps, panel, out);
    }
}
