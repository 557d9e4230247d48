//! The matrix product, in float32 or with operands rounded to bfloat16 (`bf16.rs`): panels of B packed once and shared,
//! blocks of A packed by the task that uses them (in bfloat16 once for all tasks), tiles in registers (`micro.rs`), bias
//! and activation applied while a block is in cache.
//!
//! After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008). The order of
//! the sum over k depends on k alone: not on m, n, the threads or the split (decision 6).

use std::cell::RefCell;

use super::bf16;
use super::bf16_pack::{self, Lines};
use super::element::Element;
use super::elementwise::{self, Activation};
use super::micro::{PanelA, PanelB, TileC, View, pack_panel, tile};
use crate::cpu::{Compute, Cpu};
use crate::memory::Buffer;

/// Steps of k that stay in cache together; also where partial sums are rounded to memory.
const K_BLOCK: usize = 384;
/// Rows of A that a task packs at a time.
const ROW_BLOCK: usize = 96;
/// Rows of A in a task where A is packed before: the more rows, the less often B is read.
const ROW_BLOCK_OF_PAIRS: usize = 256;
/// Columns of C in a task, so that its block of C stays in the second-level cache for the epilogue.
const COLUMN_BLOCK: usize = 512;

thread_local! {
    /// Packed A of the task at hand.
    static BLOCK_OF_A: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
    /// Packed B of the product at hand (the calling thread's).
    static PANELS_OF_B: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
    /// A in units of bfloat16.
    static UNITS_OF_A: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
}

/// Borrows a growing buffer of this thread.
pub(crate) fn with_scratch<R>(
    key: &'static std::thread::LocalKey<RefCell<Buffer>>,
    len: usize,
    f: impl FnOnce(&mut [f32]) -> R,
) -> R {
    key.with(|cell| {
        let mut buffer = cell.borrow_mut();
        if buffer.len() < len {
            *buffer = Buffer::zeroed(len.next_multiple_of(1 << 14));
        }
        f(&mut buffer[..len])
    })
}

/// A matrix `[k, n]` in panels of `2 * LANES` columns: `[n / width][k][width]`, zero beyond n.
/// For a linear layer's weight `[out, in]` (`k` = in, `n` = out), ready for any number of rows; or a stack of such
/// matrices, one behind the other.
#[derive(Debug)]
pub struct PackedMatrix {
    panels: Buffer,
    k: usize,
    n: usize,
    width: usize,
}

impl PackedMatrix {
    /// Packs the transpose of a row-major weight `[n, k]`.
    pub fn from_weight(cpu: &Cpu, weight: &[f32], n: usize, k: usize) -> Self {
        Self::from_stack(cpu, weight, 1, n, k)
    }

    /// Packs the transpose of each of `count` row-major weights `[n, k]`.
    pub fn from_stack(cpu: &Cpu, weights: &[f32], count: usize, n: usize, k: usize) -> Self {
        assert!(n.checked_mul(k).is_some_and(|len| holds(weights.len(), count, len)), "not {count} of {n} x {k}");
        let width = tile(cpu.isa()).1;
        let padded = n.div_ceil(width) * width * k;
        let mut panels = Buffer::zeroed(count * padded);
        for (weight, panels) in weights.chunks_exact((n * k).max(1)).zip(panels.chunks_exact_mut(padded.max(1))) {
            pack_b(cpu, View::rows(weight.as_ptr(), k).transposed(), k, n, panels);
        }
        Self { panels, k, n, width }
    }

    /// The panels of matrix `index` of a stack.
    fn panels_of(&self, index: usize) -> &[f32] {
        let padded = self.n.div_ceil(self.width) * self.width * self.k;
        &self.panels[index * padded..][..padded]
    }

    /// The inner dimension.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.panels[..])
    }

    /// Column `n` of the matrix, which is row `n` of the weight; `to` has `k` numbers.
    pub fn copy_column(&self, column: usize, to: &mut [f32]) {
        assert!(column < self.n && to.len() == self.k);
        let panel = &self.panels[column / self.width * self.width * self.k..][..self.width * self.k];
        for (value, row) in to.iter_mut().zip(panel.chunks_exact(self.width)) {
            *value = row[column % self.width];
        }
    }
}

/// Where B comes from.
#[derive(Clone, Copy)]
pub enum MatrixB<'a> {
    /// Row-major `[k, n]`.
    Plain(&'a [f32]),
    /// Row-major `[n, k]`: a linear layer's weight.
    Transposed(&'a [f32]),
    /// Packed before.
    Packed(&'a PackedMatrix),
    /// One matrix of a stack that was packed before.
    PackedOf(&'a PackedMatrix, usize),
}

/// What is done to a block of C when its sums are complete.
#[derive(Default)]
pub struct Epilogue<'a> {
    /// `[n]`, added to each row.
    pub bias: Option<&'a [f32]>,
    /// Applied to C (with bias) into another matrix `[m, n]`.
    pub activation: Option<(Activation, &'a mut [f32])>,
}

/// A row-major matrix or its transpose, as the left operand.
#[derive(Clone, Copy)]
pub enum MatrixA<'a> {
    /// `[m, k]`
    Plain(&'a [f32]),
    /// `[k, m]`
    Transposed(&'a [f32]),
}

/// Whether `len` numbers are a matrix of this size. A product that wraps is none.
fn holds(len: usize, rows: usize, columns: usize) -> bool {
    rows.checked_mul(columns) == Some(len)
}

/// How the tile reads A.
#[derive(Clone, Copy)]
enum Left {
    /// From a block that each task packs for itself, or where it is.
    Block,
    /// Where it is.
    Read(View),
    /// From panels of a tile's rows.
    Panels(*const f32),
}

struct Task {
    element: Element,
    cpu_tile: (usize, usize),
    m: usize,
    n: usize,
    k: usize,
    a: View,
    left: Left,
    panels: *const f32,
    c: *mut f32,
    /// Distance between rows of C.
    stride: usize,
    accumulate: bool,
    bias: *const f32,
    activation: Option<(Activation, *mut f32)>,
}

// SAFETY: tasks read A and B and write disjoint blocks of C.
unsafe impl Sync for Task {}

/// `C[m, n] (+)= A B`, then the epilogue.
///
/// # Panics
/// When a slice does not have the size that m, n and k say: a mistake of the caller.
pub fn gemm(
    cpu: &Cpu,
    size: (usize, usize, usize),
    a: MatrixA<'_>,
    b: MatrixB<'_>,
    c: &mut [f32],
    accumulate: bool,
    epilogue: Epilogue<'_>,
) {
    gemm_in_slabs(cpu, size, a, b, c, accumulate, epilogue, SLAB);
}

#[allow(clippy::too_many_arguments)] // as `gemm`, and the size of a slab
fn gemm_in_slabs(
    cpu: &Cpu,
    (m, n, k): (usize, usize, usize),
    a: MatrixA<'_>,
    b: MatrixB<'_>,
    c: &mut [f32],
    accumulate: bool,
    epilogue: Epilogue<'_>,
    slab: usize,
) {
    assert!(holds(c.len(), m, n), "C is not {m} x {n}");
    let a = match a {
        MatrixA::Plain(a) => {
            assert!(holds(a.len(), m, k), "A is not {m} x {k}");
            View::rows(a.as_ptr(), k)
        }
        MatrixA::Transposed(a) => {
            assert!(holds(a.len(), m, k), "A is not {k} x {m}");
            View::rows(a.as_ptr(), m).transposed()
        }
    };
    if let Some(bias) = epilogue.bias {
        assert_eq!(bias.len(), n, "bias is not {n}");
    }
    let activation = epilogue.activation.map(|(activation, output)| {
        assert!(holds(output.len(), m, n), "the activation's output is not {m} x {n}");
        (activation, output.as_mut_ptr())
    });
    if m == 0 || n == 0 {
        return;
    }
    let cpu_tile = tile(cpu.isa());
    let bias = epilogue.bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
    let (element, panels, c) = (Element::F32, std::ptr::null(), c.as_mut_ptr());
    let left = Left::Block;
    let mut task = Task { element, cpu_tile, m, n, k, a, left, panels, c, stride: n, accumulate, bias, activation };
    let mut run_packed = |packed: &PackedMatrix, index: usize| {
        assert!((packed.k, packed.n, packed.width) == (k, n, cpu_tile.1), "B was packed for another product");
        task.panels = packed.panels_of(index).as_ptr();
        run_tasks(cpu, &task);
    };
    let view = match b {
        MatrixB::Packed(packed) => return run_packed(packed, 0),
        MatrixB::PackedOf(stack, index) => return run_packed(stack, index),
        MatrixB::Plain(b) => {
            assert!(holds(b.len(), k, n), "B is not {k} x {n}");
            View::rows(b.as_ptr(), n)
        }
        MatrixB::Transposed(b) => {
            assert!(holds(b.len(), k, n), "B is not {n} x {k}");
            View::rows(b.as_ptr(), k).transposed()
        }
    };
    match cpu.compute() {
        Compute::F32 => pack_and_run(cpu, view, &mut task),
        Compute::Bf16 => in_pairs(cpu, view, &task, slab),
    }
}

fn pack_and_run(cpu: &Cpu, b: View, task: &mut Task) {
    let len = task.n.div_ceil(task.cpu_tile.1) * task.cpu_tile.1 * task.k;
    with_scratch(&PANELS_OF_B, len, |panels| {
        pack_b(cpu, b, task.k, task.n, panels);
        task.panels = panels.as_ptr();
        run_tasks(cpu, task);
    });
}

/// Rounds both operands to bfloat16, in units of two along k, and multiplies those, slab by slab. A is read where its units
/// lie, or in panels that all tasks share; B is in panels.
fn in_pairs(cpu: &Cpu, b: View, whole: &Task, slab: usize) {
    let (m, n, k) = (whole.m, whole.n, whole.k);
    let (tile_rows, width) = whole.cpu_tile;
    let (lines, depth) = cut(m.min(n), m.max(n), bf16::units(k), slab);
    let (rows, columns) = if n > m { (m, lines) } else { (lines, n) };
    with_scratch(&UNITS_OF_A, rows.next_multiple_of(tile_rows) * depth, |units_of_a| {
        with_scratch(&PANELS_OF_B, columns.next_multiple_of(width) * depth, |panels| {
            for first in (0..k.max(1)).step_by(2 * depth.max(1)) {
                let k = (k - first).min(2 * depth);
                let mut slab = Task { element: Element::of(cpu), k: bf16::units(k), ..*whole };
                slab.accumulate = whole.accumulate || first > 0;
                if first + k < whole.k {
                    (slab.bias, slab.activation) = (std::ptr::null(), None);
                }
                for start in (0..m.max(n)).step_by(lines) {
                    let (row, column) = if n > m { (0, start) } else { (start, 0) };
                    (slab.m, slab.n) = ((m - row).min(rows), (n - column).min(columns));
                    // SAFETY: the slab is inside of A, B and C, whose sizes were asserted; its units fit.
                    unsafe {
                        if start == 0 || row > 0 {
                            let len = slab.m.next_multiple_of(tile_rows) * slab.k;
                            let a = whole.a.at(row, first);
                            slab.left = pair_a(cpu, a, (slab.m, k), tile_rows, &mut units_of_a[..len]);
                        }
                        if start == 0 || column > 0 {
                            let len = slab.n.next_multiple_of(width) * slab.k;
                            pack_pairs(cpu, b.at(first, column).transposed(), (slab.n, k), width, &mut panels[..len]);
                            slab.panels = panels.as_ptr();
                        }
                        slab.start_at(whole, row, column);
                    }
                    run_tasks(cpu, &slab);
                }
            }
        });
    });
}

impl Task {
    /// Where C, bias and activation of a slab begin.
    ///
    /// # Safety
    /// `(row, column)` is inside of the whole task's C.
    unsafe fn start_at(&mut self, whole: &Self, row: usize, column: usize) {
        let at = row * self.stride + column;
        // SAFETY: the caller's promise.
        unsafe {
            self.c = whole.c.add(at);
            if !self.bias.is_null() {
                self.bias = whole.bias.add(column);
            }
            if let (Some((_, to)), Some((_, from))) = (&mut self.activation, whole.activation) {
                *to = from.add(at);
            }
        }
    }
}

/// Units of an operand that are packed at a time: 4 MiB, which stay in the last-level cache until they are multiplied.
const SLAB: usize = 1 << 20;

/// How the larger operand of a product is cut: its lines in a slab, and units of k in a slab, of which both operands have
/// the same. (For products that fit: all of them.)
fn cut(smaller: usize, larger: usize, depth: usize, slab: usize) -> (usize, usize) {
    let blocks = || (slab / 2 / smaller / K_BLOCK).max(1) * K_BLOCK;
    let depth = if smaller * depth <= slab { depth } else { blocks().min(depth) };
    let lines = if 2 * larger * depth <= 3 * slab { larger } else { (slab / depth).next_multiple_of(COLUMN_BLOCK) };
    (lines.clamp(1, larger.max(1)), depth)
}

/// Numbers of a block of A that a thread packs for itself in float32: for the planner.
pub const BLOCK_OF_A_LEN: usize = ROW_BLOCK * K_BLOCK;

/// Numbers (of 32 bits) that packing A and B takes for a product, beside [`BLOCK_OF_A_LEN`] per thread: for the planner.
pub fn packed_lens(compute: Compute, (m, n, k): (usize, usize, usize)) -> [usize; 2] {
    match compute {
        Compute::F32 => [0, n * k],
        Compute::Bf16 => {
            let (lines, depth) = cut(m.min(n), m.max(n), bf16::units(k), SLAB);
            if n > m { [m * depth, lines * depth] } else { [lines * depth, n * depth] }
        }
    }
}

/// Numbers in a task of packing: worth waking a thread for.
const PACK_CHUNK: usize = 1 << 14;

/// A in units: row by row if it lies so, since the tile reads a few rows as well as a panel; else in panels.
///
/// # Safety
/// The view holds `m x k` numbers; `units` has room for m rows (rounded up to a tile).
unsafe fn pair_a(cpu: &Cpu, view: View, (m, k): (usize, usize), tile_rows: usize, units: &mut [f32]) -> Left {
    let depth = bf16::units(k);
    if view.column_stride != 1 {
        // SAFETY: the caller's promise.
        unsafe { pack_pairs(cpu, view, (m, k), tile_rows, units) };
        return Left::Panels(units.as_ptr());
    }
    struct Shared(View);
    // SAFETY: read only.
    unsafe impl Sync for Shared {}
    let shared = &Shared(view);
    let rows = (PACK_CHUNK / k.max(1)).max(1);
    cpu.pool().split([(&mut units[..m * depth], rows * depth)], |index, [units]| {
        for (i, to) in units.chunks_mut(depth.max(1)).enumerate() {
            // SAFETY: a row of the view.
            let from = unsafe { std::slice::from_raw_parts(shared.0.at(index * rows + i, 0).start, k) };
            bf16::pair_row(cpu.isa(), from, to);
        }
    });
    Left::Read(View::rows(units.as_ptr(), depth))
}

/// Lines of a matrix in panels of units. Each task reads memory in order: some lines, or some steps of all lines.
///
/// # Safety
/// The view holds `lines x k` numbers; `panels` has room for the lines (rounded up to the width).
unsafe fn pack_pairs(cpu: &Cpu, view: View, (lines, k): (usize, usize), width: usize, panels: &mut [f32]) {
    struct Shared(Lines, *mut f32);
    // SAFETY: each task writes its own lines or steps.
    unsafe impl Sync for Shared {}
    let depth = bf16::units(k);
    assert_eq!(panels.len(), lines.next_multiple_of(width) * depth);
    let shared = &Shared(Lines { from: view, lines, k }, panels.as_mut_ptr());
    let by_lines = view.column_stride == 1;
    // Whole strips of 16 lines, or panels of more; steps by 16.
    let (all, one, least) = if by_lines { (lines, k, width.next_multiple_of(16)) } else { (depth, 2 * lines, 16) };
    let group = (PACK_CHUNK / (least * one).max(1)).max(1) * least;
    cpu.pool().run(all.div_ceil(group), &|index| {
        let some = index * group..((index + 1) * group).min(all);
        let (lines, steps) = if by_lines { (some, 0..depth) } else { (0..lines, some) };
        // SAFETY: the caller's promise.
        unsafe { bf16_pack::pack(cpu.isa(), shared.0, lines, steps, width, shared.1) };
    });
}

/// Packs B `[k, n]` into panels, one task per panel and block of k.
fn pack_b(cpu: &Cpu, view: View, k: usize, n: usize, panels: &mut [f32]) {
    struct Shared(View, *mut f32);
    // SAFETY: each task writes its own part of the panels.
    unsafe impl Sync for Shared {}
    let width = tile(cpu.isa()).1;
    assert_eq!(panels.len(), n.div_ceil(width) * width * k);
    let shared = Shared(view, panels.as_mut_ptr());
    let shared = &shared;
    let step_blocks = k.div_ceil(K_BLOCK);
    let count = n.div_ceil(width);
    let pack = move |panel: usize| {
        for block in 0..step_blocks {
            let (first, column) = (block * K_BLOCK, panel * width);
            let steps = (k - first).min(K_BLOCK);
            // SAFETY: the view holds `[k, n]`; the target is this task's part of the panels.
            unsafe {
                let from = shared.0.at(first, column).transposed();
                let to = shared.1.add(panel * width * k + first * width);
                pack_panel(cpu.isa(), from, (n - column).min(width), steps, width, to);
            }
        }
    };
    // A task worth waking a thread for has some thousands of numbers.
    let group = (8192 / (width * k).max(1)).max(1);
    cpu.pool().run(count.div_ceil(group), &|task| (task * group..((task + 1) * group).min(count)).for_each(pack));
}

/// Cuts C into blocks and computes them. The larger operand is cut: its blocks are read from memory once, while the smaller
/// operand stays in cache.
fn run_tasks(cpu: &Cpu, task: &Task) {
    let (tile_rows, tile_columns) = task.cpu_tile;
    let rows_max = if task.element == Element::F32 { ROW_BLOCK } else { ROW_BLOCK_OF_PAIRS };
    let mut row_block = rows_max.next_multiple_of(tile_rows);
    let mut column_block = COLUMN_BLOCK.next_multiple_of(tile_columns);
    // Small products: enough tasks for every thread, at least a few tiles each.
    let wanted = 4 * cpu.pool().threads();
    let count = |rows: usize, columns: usize| task.m.div_ceil(rows) * task.n.div_ceil(columns);
    let by_columns = task.n > task.m;
    for cuts_columns in [by_columns, !by_columns] {
        if cuts_columns {
            while column_block > 2 * tile_columns && count(row_block, column_block) < wanted {
                column_block = (column_block / 2).next_multiple_of(tile_columns);
            }
        } else {
            while row_block > 4 * tile_rows && count(row_block, column_block) < wanted {
                row_block = (row_block / 2).next_multiple_of(tile_rows);
            }
        }
    }
    if count(row_block, column_block) > 1 && task.m * task.n * task.k < 32_768 {
        (row_block, column_block) = (task.m.next_multiple_of(tile_rows), task.n.next_multiple_of(tile_columns));
    }
    let (row_blocks, column_blocks) = (task.m.div_ceil(row_block), task.n.div_ceil(column_block));
    cpu.pool().run(row_blocks * column_blocks, &|index| {
        let (row, column) = match by_columns {
            true => (index % row_blocks * row_block, index / row_blocks * column_block),
            false => (index / column_blocks * row_block, index % column_blocks * column_block),
        };
        let rows = row_block.min(task.m - row);
        let columns = column_block.min(task.n - column);
        // SAFETY: blocks of different indices do not overlap; the operands have the asserted sizes.
        unsafe { compute_block(cpu, task, row, rows, column, columns) };
    });
}

/// # Safety
/// The block is inside of C and no other thread writes it.
unsafe fn compute_block(cpu: &Cpu, task: &Task, row: usize, rows: usize, column: usize, columns: usize) {
    let (tile_rows, _) = task.cpu_tile;
    let isa = cpu.isa();
    // One tile of rows, or few columns: A is read where it is, since packing would cost more than it saves.
    let packs = matches!(task.left, Left::Block) && rows > tile_rows && task.n > 2 * task.cpu_tile.1;
    let scratch = if packs { rows.next_multiple_of(tile_rows) * K_BLOCK } else { 0 };
    with_scratch(&BLOCK_OF_A, scratch, |block| {
        let mut first = 0;
        loop {
            let steps = (task.k - first).min(K_BLOCK);
            // SAFETY: the block of A and the panels of B hold rows, steps and columns as asserted in `gemm`.
            unsafe {
                let view = match task.left {
                    Left::Block => task.a.at(row, first),
                    Left::Read(view) => view.at(row, first),
                    Left::Panels(start) => View::rows(start, 0),
                };
                if packs {
                    for panel in (0..rows).step_by(tile_rows) {
                        let lines = (rows - panel).min(tile_rows);
                        pack_panel(
                            isa,
                            view.at(panel, 0),
                            lines,
                            steps,
                            tile_rows,
                            block.as_mut_ptr().add(panel * steps),
                        );
                    }
                }
                let a = |panel: usize| {
                    if let Left::Panels(start) = task.left {
                        let start = start.add((row + panel) * task.k + first * tile_rows);
                        PanelA { start, row_stride: 1, k_stride: tile_rows }
                    } else if packs {
                        PanelA { start: block.as_ptr().add(panel * steps), row_stride: 1, k_stride: tile_rows }
                    } else {
                        PanelA {
                            start: view.at(panel, 0).start,
                            row_stride: view.row_stride,
                            k_stride: view.column_stride,
                        }
                    }
                };
                multiply_panels(cpu, task, a, (row, rows), (column, columns), (first, steps));
            }
            first += steps;
            if first >= task.k {
                break;
            }
        }
    });
    // SAFETY: the block is complete and still this task's.
    unsafe { finish_block(cpu, task, row, rows, column, columns) };
}

/// # Safety
/// As `compute_block`.
unsafe fn multiply_panels(
    cpu: &Cpu,
    task: &Task,
    a: impl Fn(usize) -> PanelA,
    (row, rows): (usize, usize),
    (column, columns): (usize, usize),
    (first, steps): (usize, usize),
) {
    let (tile_rows, width) = task.cpu_tile;
    for tile_column in (column..column + columns).step_by(width) {
        for tile_row in (0..rows).step_by(tile_rows) {
            // SAFETY: the tile is inside of the block.
            unsafe {
                let start = task.panels.add(tile_column * task.k + first * width);
                let c = TileC {
                    start: task.c.add((row + tile_row) * task.stride + tile_column),
                    row_stride: task.stride,
                    rows: (rows - tile_row).min(tile_rows),
                    columns: (column + columns - tile_column).min(width),
                    accumulate: task.accumulate || first > 0,
                };
                let b = PanelB { start, k_stride: width };
                task.element.multiply_tile(cpu.isa(), steps, a(tile_row), b, c);
            }
        }
    }
}

/// # Safety
/// As `compute_block`.
unsafe fn finish_block(cpu: &Cpu, task: &Task, row: usize, rows: usize, column: usize, columns: usize) {
    if task.bias.is_null() && task.activation.is_none() {
        return;
    }
    for i in row..row + rows {
        let offset = i * task.stride + column;
        // SAFETY: a row of this task's block, of C and of the activation's output.
        unsafe {
            let c = std::slice::from_raw_parts_mut(task.c.add(offset), columns);
            let bias =
                if task.bias.is_null() { &[][..] } else { std::slice::from_raw_parts(task.bias.add(column), columns) };
            match task.activation {
                None => elementwise::add_assign(cpu.isa(), bias, c),
                Some((activation, output)) => {
                    if !bias.is_empty() {
                        elementwise::add_assign(cpu.isa(), bias, c);
                    }
                    let output = std::slice::from_raw_parts_mut(output.add(offset), columns);
                    elementwise::activate(cpu.isa(), activation, c, output);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    fn noise(seed: u32, len: usize) -> Vec<f32> {
        let mix = |i: u32| (i ^ seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
        (0..len as u32).map(|i| (mix(i) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    /// C and the activation's output, in slabs of this size.
    fn run(cpu: &Cpu, (m, n, k): (usize, usize, usize), form: usize, accumulate: bool, slab: usize) -> Vec<f32> {
        let (a, b, bias) = (noise(1, m * k), noise(2, n * k), noise(3, n));
        let (mut c, mut output) = (noise(4, m * n), vec![0.0; m * n]);
        let (a, b) = match form {
            0 => (MatrixA::Plain(&a[..]), MatrixB::Transposed(&b)),
            1 => (MatrixA::Plain(&a[..]), MatrixB::Plain(&b)),
            _ => (MatrixA::Transposed(&a[..]), MatrixB::Plain(&b)),
        };
        let epilogue = Epilogue { bias: Some(&bias), activation: Some((Activation::Silu, &mut output)) };
        gemm_in_slabs(cpu, (m, n, k), a, b, &mut c, accumulate, epilogue, slab);
        [c, output].concat()
    }

    #[test]
    fn slabs_give_the_bits_of_the_whole() {
        // Cut along n, along m, along k, both ways; not at all.
        let sizes =
            [(5, 1200, 70), (1200, 5, 70), (5, 1200, 1601), (1100, 9, 1537), (7, 40, 2400), (33, 33, 5), (1, 1, 3000)];
        for isa in Isa::available() {
            for threads in [1, 3] {
                let cpu = &Cpu::with_isa(isa, threads).computing(Compute::Bf16);
                for size in sizes {
                    for (form, accumulate) in [(0, false), (1, true), (2, false), (2, true), (0, true)] {
                        let whole = run(cpu, size, form, accumulate, usize::MAX / 4);
                        for slab in [1, 1000, 4000] {
                            let got = run(cpu, size, form, accumulate, slab);
                            let same = got.iter().zip(&whole).all(|(x, y)| x.to_bits() == y.to_bits());
                            assert!(same, "{} {size:?} form {form}, slabs of {slab}", isa.name());
                        }
                    }
                }
            }
        }
        let (lines, depth) = cut(5, 1200, 801, 1000);
        assert_eq!((lines, depth), (512, 384), "the sizes above are cut both ways");
    }

    #[test]
    fn a_slab_is_no_larger_than_the_operands() {
        for (smaller, larger, depth) in [(8192, 8192, 192), (1, 1, 0), (3, 50_257, 384), (256, 768, 25_129)] {
            let (lines, cut_depth) = cut(smaller, larger, depth, SLAB);
            assert!(lines <= larger && cut_depth <= depth, "{smaller} {larger} {depth}: {lines} {cut_depth}");
        }
    }
}
