//! Causal attention with an online softmax, forward and backward, in blocks of 64 queries by 64 keys.
//!
//! Rabe and Staats 2021; Dao et al. 2022 ("FlashAttention"). The T x T matrix never exists. Keys and
//! values of 64 positions lie in a *block* (see [`BlockLayout`]), packed for the matrix product; training
//! packs them in scratch memory, the engine's cache keeps them so. Blocks begin at fixed positions of
//! the sequence, therefore a query's result does not depend on chunking or neighbours (decision 6).

use std::cell::RefCell;

use super::micro::{PanelA, PanelB, TileC, View, multiply_tile, pack_panel, tile};
use super::rows::{self, OnlineSoftmax};
use super::{Isa, elementwise, gemm::with_scratch};
use crate::cpu::Cpu;
use crate::memory::Buffer;
use crate::operation::{CachedRows, KeyValueBlocks, Segment};

/// Positions in a block of keys and values.
pub const KEY_BLOCK: usize = 64;
/// Queries handled together.
const QUERY_BLOCK: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
}

/// Sizes of one attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key/value heads; divides `query` (Ainslie et al. 2023).
    pub key: usize,
    /// Width of a head.
    pub width: usize,
    /// Factor of the scores, usually `1 / sqrt(width)`.
    pub scale: f32,
    /// A query sees so many positions at most, itself counted (sliding window).
    pub window: Option<usize>,
}

impl Heads {
    /// Numbers in a row of queries, keys and values side by side.
    ///
    /// # Panics
    /// When there is no such number: a mistake of the caller.
    pub fn row(&self) -> usize {
        let heads = self.key.checked_mul(2).and_then(|keys| keys.checked_add(self.query));
        heads.and_then(|heads| heads.checked_mul(self.width)).expect("a row of heads is smaller than memory")
    }

    /// First position that a query at `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// How a block of keys and values of one key head lies: `keys[64 / tile][width][tile]`, then
/// `values[width / tile][64][tile]`, both zero beyond their end.
#[derive(Debug, Clone, Copy)]
pub struct BlockLayout {
    isa: Isa,
    tile: usize,
    width: usize,
    columns: usize,
}

impl BlockLayout {
    /// For heads of `width`.
    pub fn new(isa: Isa, width: usize) -> Self {
        let tile = tile(isa).1;
        Self { isa, tile, width, columns: width.next_multiple_of(tile) }
    }

    /// Numbers in a block.
    #[allow(clippy::len_without_is_empty)] // a block is never empty
    pub fn len(&self) -> usize {
        KEY_BLOCK * (self.width + self.columns)
    }

    /// Puts one position's key and value (each `width` numbers) into a block.
    pub fn write(&self, block: &mut [f32], slot: usize, key: &[f32], value: &[f32]) {
        assert!(slot < KEY_BLOCK && block.len() == self.len() && key.len() == self.width && value.len() == self.width);
        let (keys, values) = block.split_at_mut(KEY_BLOCK * self.width);
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
    unsafe fn pack(&self, key: View, value: View, count: usize, block: *mut f32) {
        // SAFETY: the caller's promise; panels follow each other inside of the block.
        unsafe {
            pack_keys(self.isa, key, count, self.width, self.tile, block);
            pack_rows(self.isa, value, count, self.width, self.tile, block.add(KEY_BLOCK * self.width));
        }
    }
}

/// `[64 / tile][width][tile]`: panels for products over the width (scores).
///
/// # Safety
/// `from` holds `count` rows of `width`, `to` is writable for `64 * width`.
unsafe fn pack_keys(isa: Isa, from: View, count: usize, width: usize, tile: usize, to: *mut f32) {
    for first in (0..count).step_by(tile) {
        // SAFETY: the caller's promise.
        unsafe { pack_panel(isa, from.at(first, 0), (count - first).min(tile), width, tile, to.add(first * width)) };
    }
}

/// `[width / tile][64][tile]`: panels for products over positions.
///
/// # Safety
/// `from` holds `count` rows of `width`, `to` is writable for `64 * width.next_multiple_of(tile)`.
unsafe fn pack_rows(isa: Isa, from: View, count: usize, width: usize, tile: usize, to: *mut f32) {
    for first in (0..width).step_by(tile) {
        // SAFETY: the caller's promise.
        unsafe {
            let lines = from.at(0, first).transposed();
            pack_panel(isa, lines, (width - first).min(tile), count, tile, to.add(first * KEY_BLOCK));
        }
    }
}

/// Which part of a tile of rows is computed: columns up to `columns`, and the steps of k from `first` to `end`.
/// What causality makes zero is left out; a sum without its zeros is the same sum.
#[derive(Clone, Copy)]
struct Part {
    columns: usize,
    first: usize,
    end: usize,
}

/// C[m, n] (+)= A[m, k] B, where B lies in panels of `tile` columns, `panel` numbers apart; of each tile of rows
/// (its first row and its number of rows) only the part that `part` says.
///
/// # Safety
/// A is readable and C writable for m rows and every part; the panels hold the columns (rounded up) of every step.
#[inline]
unsafe fn multiply(
    isa: Isa,
    m: usize,
    a: View,
    (b, panel): (*const f32, usize),
    (c, c_stride): (*mut f32, usize),
    accumulate: bool,
    part: impl Fn(usize, usize) -> Part,
) {
    let (tile_rows, width) = tile(isa);
    for row in (0..m).step_by(tile_rows) {
        let rows = (m - row).min(tile_rows);
        let Part { columns, first, end } = part(row, rows);
        for column in (0..columns).step_by(width) {
            // SAFETY: the caller's promise.
            unsafe {
                let start = a.at(row, first).start;
                let a = PanelA { start, row_stride: a.row_stride, k_stride: a.column_stride };
                let b = PanelB { start: b.add(column / width * panel + first * width), k_stride: width };
                let start = c.add(row * c_stride + column);
                let columns = (columns - column).min(width);
                let c = TileC { start, row_stride: c_stride, rows, columns, accumulate };
                multiply_tile(isa, end.saturating_sub(first), a, b, c);
            }
        }
    }
}

/// One key head of one sequence: new queries against all blocks of keys.
pub struct HeadTask {
    /// Query head `i` of the group: `[count]` rows of `width`, at `query + i * width`.
    pub query: View,
    /// Its output, rows `output_stride` apart, at `output + i * width`.
    pub output: *mut f32,
    /// Distance between rows of the output.
    pub output_stride: usize,
    /// Log-sums per query and head of the group, rows `log_sum_stride` apart; null when not wanted.
    pub log_sum: *mut f32,
    /// Distance between rows of `log_sum`.
    pub log_sum_stride: usize,
    /// New queries.
    pub count: usize,
    /// Position of the first query; keys before it are in the blocks already.
    pub start: usize,
}

/// Attention of a head task over `blocks`, which hold the positions `0 .. start + count`.
///
/// # Safety
/// The pointers are valid for the rows said; `block(i)` is a block of this layout holding positions
/// `64 i …`; no other thread writes the output.
pub unsafe fn attend(layout: BlockLayout, heads: &Heads, task: &HeadTask, block: impl Fn(usize) -> *const f32) {
    let (isa, width) = (layout.isa, layout.width);
    let scratch = QUERY_BLOCK * (KEY_BLOCK + width + 2);
    with_scratch(&QUERIES, scratch, |scratch| {
        let (scores, rest) = scratch.split_at_mut(QUERY_BLOCK * KEY_BLOCK);
        let (sums, _) = rest.split_at_mut(QUERY_BLOCK * width);
        for first in (0..task.count).step_by(QUERY_BLOCK) {
            let count = (task.count - first).min(QUERY_BLOCK);
            for head in 0..heads.query / heads.key {
                let mut states = [OnlineSoftmax::EMPTY; QUERY_BLOCK];
                // SAFETY: the head's columns are inside of each row.
                let query = unsafe { task.query.at(first, head * width) };
                let position = task.start + first;
                let blocks = heads.first_seen(position) / KEY_BLOCK..(position + count).div_ceil(KEY_BLOCK);
                let mut fresh = true;
                for index in blocks {
                    let base = index * KEY_BLOCK;
                    let keys = (position + count - base).min(KEY_BLOCK);
                    let start = block(index);
                    // SAFETY: the block holds `keys` positions; scores and sums are ours.
                    unsafe {
                        let to = (scores.as_mut_ptr(), KEY_BLOCK);
                        // The last query of a tile sees the most keys.
                        let seen = |row: usize, rows: usize| (position + row + rows).saturating_sub(base).min(keys);
                        let scored = |row, rows| Part { columns: seen(row, rows), first: 0, end: width };
                        multiply(isa, count, query, (start, width * layout.tile), to, false, scored);
                        for (row, state) in states.iter_mut().enumerate().take(count) {
                            let end = (position + row + 1).saturating_sub(base).min(keys);
                            let begin = heads.first_seen(position + row).saturating_sub(base).min(end);
                            let row_scores = &mut scores[row * KEY_BLOCK..][..keys];
                            let (next, correction) =
                                rows::online_softmax(isa, row_scores, begin, end, heads.scale, *state);
                            *state = next;
                            if !fresh {
                                elementwise::scale(isa, correction, &mut sums[row * width..][..width]);
                            }
                        }
                        let values = (start.add(KEY_BLOCK * width), KEY_BLOCK * layout.tile);
                        let a = View::rows(scores.as_ptr(), KEY_BLOCK);
                        let mixed = |row, rows| Part { columns: width, first: 0, end: seen(row, rows) };
                        multiply(isa, count, a, values, (sums.as_mut_ptr(), width), !fresh, mixed);
                    }
                    fresh = false;
                }
                for (row, state) in states.iter().enumerate().take(count) {
                    // SAFETY: the output's row belongs to this task.
                    unsafe {
                        let to = task.output.add((first + row) * task.output_stride + head * width);
                        let to = std::slice::from_raw_parts_mut(to, width);
                        to.copy_from_slice(&sums[row * width..][..width]);
                        elementwise::scale(isa, 1.0 / state.sum, to);
                        if !task.log_sum.is_null() {
                            *task.log_sum.add((first + row) * task.log_sum_stride + head) = state.log_sum();
                        }
                    }
                }
            }
        }
    });
}

thread_local! {
    static QUERIES: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
}

/// Rows of a training segment: queries, keys and values side by side, outputs, and what backward needs.
#[derive(Clone, Copy)]
pub struct SegmentRows {
    /// `[rows, Heads::row()]`
    pub qkv: *const f32,
    /// `[rows, query heads * width]`
    pub output: *mut f32,
    /// `[rows, query heads]`
    pub log_sum: *mut f32,
    /// First row of the segment.
    pub start: usize,
    /// Its rows.
    pub len: usize,
}

/// Forward of key head `head` of one training segment.
///
/// # Safety
/// The pointers hold the rows of the segment; no other thread has this head of this segment.
pub unsafe fn forward_segment(isa: Isa, heads: &Heads, rows: SegmentRows, head: usize) {
    let layout = BlockLayout::new(isa, heads.width);
    let (stride, width, group) = (heads.row(), heads.width, heads.query / heads.key);
    let blocks = rows.len.div_ceil(KEY_BLOCK);
    with_scratch(&SCRATCH, blocks * layout.len(), |scratch| {
        // SAFETY: rows and columns are inside of the segment's rows.
        unsafe {
            let qkv = View::rows(rows.qkv.add(rows.start * stride), stride);
            let (keys, values) = (heads.query * width, (heads.query + heads.key) * width);
            for block in 0..blocks {
                let (first, count) = (block * KEY_BLOCK, (rows.len - block * KEY_BLOCK).min(KEY_BLOCK));
                let (key, value) = (qkv.at(first, keys + head * width), qkv.at(first, values + head * width));
                layout.pack(key, value, count, scratch.as_mut_ptr().add(block * layout.len()));
            }
            let task = HeadTask {
                query: qkv.at(0, head * group * width),
                output: rows.output.add(rows.start * heads.query * width + head * group * width),
                output_stride: heads.query * width,
                log_sum: rows.log_sum.add(rows.start * heads.query + head * group),
                log_sum_stride: heads.query,
                count: rows.len,
                start: 0,
            };
            attend(layout, heads, &task, |index| scratch.as_ptr().add(index * layout.len()));
        }
    });
}

/// Gradients of a training segment.
#[derive(Clone, Copy)]
pub struct SegmentGradients {
    /// `[rows, query heads * width]`
    pub doutput: *const f32,
    /// `[rows, Heads::row()]`, written.
    pub dqkv: *mut f32,
}

/// The packed operands of one query head in backward.
struct Packed {
    blocks: usize,
    /// Numbers of one packed block of any kind.
    block: usize,
    start: *mut f32,
}

impl Packed {
    /// Kinds: keys over width, values over width, keys as rows, queries as rows, output gradients as rows.
    const KINDS: usize = 5;

    fn at(&self, kind: usize, block: usize) -> *mut f32 {
        debug_assert!(kind < Self::KINDS && block < self.blocks);
        // SAFETY: inside of the scratch memory, which has KINDS * blocks * block numbers.
        unsafe { self.start.add((kind * self.blocks + block) * self.block) }
    }
}

/// Backward of key head `head` of one training segment: gradients of its queries, key and value.
///
/// # Safety
/// As [`forward_segment`], after it.
pub unsafe fn backward_segment(isa: Isa, heads: &Heads, rows: SegmentRows, gradients: SegmentGradients, head: usize) {
    let (tile, width, stride) = (tile(isa).1, heads.width, heads.row());
    let group = heads.query / heads.key;
    let blocks = rows.len.div_ceil(KEY_BLOCK);
    let block = KEY_BLOCK * width.next_multiple_of(tile);
    let len = Packed::KINDS * blocks * block + 2 * QUERY_BLOCK * KEY_BLOCK + rows.len;
    with_scratch(&SCRATCH, len, |scratch| {
        let (packed, rest) = scratch.split_at_mut(Packed::KINDS * blocks * block);
        let (tiles, delta) = rest.split_at_mut(2 * QUERY_BLOCK * KEY_BLOCK);
        let packed = Packed { blocks, block, start: packed.as_mut_ptr() };
        // SAFETY: rows and columns are inside of the segment's rows.
        unsafe {
            let qkv = View::rows(rows.qkv.add(rows.start * stride), stride);
            let (keys, values) = (heads.query * width, (heads.query + heads.key) * width);
            for index in 0..blocks {
                let (first, count) = (index * KEY_BLOCK, (rows.len - index * KEY_BLOCK).min(KEY_BLOCK));
                let (key, value) = (qkv.at(first, keys + head * width), qkv.at(first, values + head * width));
                pack_keys(isa, key, count, width, tile, packed.at(0, index));
                pack_keys(isa, value, count, width, tile, packed.at(1, index));
                pack_rows(isa, key, count, width, tile, packed.at(2, index));
            }
            for query in 0..group {
                let query_head = head * group + query;
                prepare_query_head(isa, heads, rows, gradients, query_head, &packed, delta);
                for key_block in 0..blocks {
                    for query_block in key_block..blocks {
                        let pair = Pair { query_head, head, key_block, query_block, first_head: query == 0 };
                        backward_pair(isa, heads, rows, gradients, &packed, tiles, delta, pair);
                    }
                }
            }
        }
    });
}

/// Packs a head's queries and output gradients, and sums `delta = sum dO O` per row.
///
/// # Safety
/// As `backward_segment`.
unsafe fn prepare_query_head(
    isa: Isa,
    heads: &Heads,
    rows: SegmentRows,
    gradients: SegmentGradients,
    query_head: usize,
    packed: &Packed,
    delta: &mut [f32],
) {
    let (tile, width) = (tile(isa).1, heads.width);
    let row_len = heads.query * width;
    // SAFETY: rows and columns are inside of the segment's rows.
    unsafe {
        let qkv = View::rows(rows.qkv.add(rows.start * heads.row()), heads.row());
        let doutput = View::rows(gradients.doutput.add(rows.start * row_len), row_len);
        for index in 0..packed.blocks {
            let (first, count) = (index * KEY_BLOCK, (rows.len - index * KEY_BLOCK).min(KEY_BLOCK));
            pack_rows(isa, qkv.at(first, query_head * width), count, width, tile, packed.at(3, index));
            pack_rows(isa, doutput.at(first, query_head * width), count, width, tile, packed.at(4, index));
        }
        for (row, delta) in delta.iter_mut().enumerate() {
            let offset = (rows.start + row) * row_len + query_head * width;
            let d = std::slice::from_raw_parts(gradients.doutput.add(offset), width);
            let o = std::slice::from_raw_parts(rows.output.add(offset), width);
            *delta = elementwise::dot(isa, d, o);
        }
    }
}

struct Pair {
    query_head: usize,
    head: usize,
    key_block: usize,
    query_block: usize,
    first_head: bool,
}

/// One block of queries against one block of keys: its share of dQ, dK and dV.
///
/// # Safety
/// As `backward_segment`.
#[allow(clippy::too_many_arguments)]
unsafe fn backward_pair(
    isa: Isa,
    heads: &Heads,
    rows: SegmentRows,
    gradients: SegmentGradients,
    packed: &Packed,
    tiles: &mut [f32],
    delta: &[f32],
    pair: Pair,
) {
    let (tile, width, stride) = (tile(isa).1, heads.width, heads.row());
    let Pair { query_head, head, key_block, query_block, first_head } = pair;
    let (first_query, first_key) = (query_block * QUERY_BLOCK, key_block * KEY_BLOCK);
    let queries = (rows.len - first_query).min(QUERY_BLOCK);
    let keys = (rows.len - first_key).min(KEY_BLOCK);
    let (scores, dscores) = tiles.split_at_mut(QUERY_BLOCK * KEY_BLOCK);
    // SAFETY: rows and columns are inside of the segment's rows; this task alone writes this head's gradients.
    unsafe {
        let qkv = View::rows(rows.qkv.add(rows.start * stride), stride);
        let doutput = View::rows(gradients.doutput.add(rows.start * heads.query * width), heads.query * width);
        let (q, d_o) = (qkv.at(first_query, query_head * width), doutput.at(first_query, query_head * width));
        let over_width = width * tile;
        // The last query of a tile of queries sees the most keys; the first key of a tile of keys is seen the earliest.
        let seen = |row: usize, rows: usize| (first_query + row + rows).saturating_sub(first_key).min(keys);
        let seen_from = |key: usize| (first_key + key).saturating_sub(first_query).min(queries);
        let scored = |row, rows| Part { columns: seen(row, rows), first: 0, end: width };
        multiply(
            isa,
            queries,
            q,
            (packed.at(0, key_block), over_width),
            (scores.as_mut_ptr(), KEY_BLOCK),
            false,
            scored,
        );
        multiply(
            isa,
            queries,
            d_o,
            (packed.at(1, key_block), over_width),
            (dscores.as_mut_ptr(), KEY_BLOCK),
            false,
            scored,
        );
        for row in 0..queries {
            let position = first_query + row;
            let end = (position + 1).saturating_sub(first_key).min(keys);
            let begin = heads.first_seen(position).saturating_sub(first_key).min(end);
            let log_sum = *rows.log_sum.add((rows.start + position) * heads.query + query_head);
            let (p, d) = (&mut scores[row * KEY_BLOCK..][..keys], &mut dscores[row * KEY_BLOCK..][..keys]);
            rows::attention_gradient(isa, p, d, begin, end, heads.scale, log_sum, delta[position]);
        }
        let over_rows = KEY_BLOCK * tile;
        let gradient = |row: usize, column: usize| (gradients.dqkv.add((rows.start + row) * stride + column), stride);
        let (p, ds) = (View::rows(scores.as_ptr(), KEY_BLOCK), View::rows(dscores.as_ptr(), KEY_BLOCK));
        let fresh = first_head && query_block == key_block;
        let dk = gradient(first_key, (heads.query + head) * width);
        let dv = gradient(first_key, (heads.query + heads.key + head) * width);
        let dq = gradient(first_query, query_head * width);
        let by_key = |key, _| Part { columns: width, first: seen_from(key), end: queries };
        multiply(isa, keys, p.transposed(), (packed.at(4, query_block), over_rows), dv, !fresh, by_key);
        multiply(isa, keys, ds.transposed(), (packed.at(3, query_block), over_rows), dk, !fresh, by_key);
        let by_query = |row, rows| Part { columns: width, first: 0, end: seen(row, rows) };
        multiply(isa, queries, ds, (packed.at(2, key_block), over_rows), dq, key_block > 0, by_query);
    }
}

/// What the tasks of one attention share.
#[derive(Clone, Copy)]
struct Shared {
    rows: SegmentRows,
    gradients: SegmentGradients,
}

// SAFETY: tasks write disjoint heads and rows.
unsafe impl Sync for Shared {}

fn check_segments(segments: &[Segment], rows: usize) -> bool {
    let mut covered = 0;
    for segment in segments {
        // Two tasks must not write one row. A sum that wraps ends nowhere.
        let end = segment.start.checked_add(segment.len).filter(|&end| segment.start >= covered && end <= rows);
        covered = end.unwrap_or_else(|| panic!("{segment:?} of {rows} rows, {covered} taken"));
    }
    segments.iter().map(|segment| segment.len).sum::<usize>() == rows
}

/// Attention of all segments: `qkv [rows, Heads::row()]` to `output [rows, query heads * width]` and
/// `log_sum [rows, query heads]`. Rows of no segment come out 0.
///
/// # Panics
/// When sizes do not fit, or segments overlap or are out of order: mistakes of the caller.
pub fn forward(cpu: &Cpu, heads: &Heads, qkv: &[f32], segments: &[Segment], output: &mut [f32], log_sum: &mut [f32]) {
    let rows = qkv.len() / heads.row();
    assert!(output.len() == rows * heads.query * heads.width && log_sum.len() == rows * heads.query);
    if !check_segments(segments, rows) {
        output.fill(0.0);
        log_sum.fill(0.0);
    }
    let whole =
        SegmentRows { qkv: qkv.as_ptr(), output: output.as_mut_ptr(), log_sum: log_sum.as_mut_ptr(), start: 0, len: 0 };
    let gradients = SegmentGradients { doutput: std::ptr::null(), dqkv: std::ptr::null_mut() };
    let shared = &Shared { rows: whole, gradients };
    cpu.pool().run(segments.len() * heads.key, &|task| {
        let segment = segments[task / heads.key];
        let rows = SegmentRows { start: segment.start, len: segment.len, ..shared.rows };
        // SAFETY: sizes were checked; each task has its own head of its own segment.
        unsafe { forward_segment(cpu.isa(), heads, rows, task % heads.key) };
    });
}

/// The gradient of [`forward`]: writes `dqkv`, zero for rows of no segment.
///
/// # Panics
/// As [`forward`].
#[allow(clippy::too_many_arguments)]
pub fn backward(
    cpu: &Cpu,
    heads: &Heads,
    qkv: &[f32],
    segments: &[Segment],
    output: &mut [f32],
    log_sum: &mut [f32],
    doutput: &[f32],
    dqkv: &mut [f32],
) {
    let rows = qkv.len() / heads.row();
    assert!(output.len() == rows * heads.query * heads.width && log_sum.len() == rows * heads.query);
    assert!(doutput.len() == output.len() && dqkv.len() == qkv.len());
    if !check_segments(segments, rows) {
        dqkv.fill(0.0);
    }
    let whole =
        SegmentRows { qkv: qkv.as_ptr(), output: output.as_mut_ptr(), log_sum: log_sum.as_mut_ptr(), start: 0, len: 0 };
    let shared =
        &Shared { rows: whole, gradients: SegmentGradients { doutput: doutput.as_ptr(), dqkv: dqkv.as_mut_ptr() } };
    cpu.pool().run(segments.len() * heads.key, &|task| {
        let segment = segments[task / heads.key];
        let rows = SegmentRows { start: segment.start, len: segment.len, ..shared.rows };
        // SAFETY: as in `forward`.
        unsafe { backward_segment(cpu.isa(), heads, rows, shared.gradients, task % heads.key) };
    });
}

/// Attention of new rows to the keys and values in a cache, which has them already.
///
/// # Panics
/// When sizes do not fit, or rows overlap or are out of order: mistakes of the caller.
pub fn forward_cached(
    cpu: &Cpu,
    heads: &Heads,
    layer: usize,
    qkv: &[f32],
    cached: &[CachedRows],
    cache: &dyn KeyValueBlocks,
    output: &mut [f32],
) {
    let rows = qkv.len() / heads.row();
    assert_eq!(output.len(), rows * heads.query * heads.width);
    let mut covered = 0;
    for new in cached {
        let (end, last) = (new.start.checked_add(new.len), new.position.checked_add(new.len));
        // Two tasks must not write one row. A sum that wraps ends nowhere.
        let end = end.filter(|&end| new.start >= covered && end <= rows && last.is_some());
        covered = end.unwrap_or_else(|| panic!("{new:?} of {rows} rows, {covered} taken"));
    }
    if cached.iter().map(|new| new.len).sum::<usize>() < rows {
        output.fill(0.0);
    }
    let layout = BlockLayout::new(cpu.isa(), heads.width);
    let group = heads.query / heads.key * heads.width;
    let whole =
        SegmentRows { qkv: qkv.as_ptr(), output: output.as_mut_ptr(), log_sum: std::ptr::null_mut(), start: 0, len: 0 };
    let shared =
        &Shared { rows: whole, gradients: SegmentGradients { doutput: std::ptr::null(), dqkv: std::ptr::null_mut() } };
    cpu.pool().run(cached.len() * heads.key, &|task| {
        let (new, head) = (cached[task / heads.key], task % heads.key);
        let block = |index: usize| {
            let block = cache.block(layer, new.sequence, head, index);
            assert_eq!(block.len(), layout.len(), "a block of another layout");
            block.as_ptr()
        };
        // SAFETY: sizes were checked; each task has its own head of its own rows.
        unsafe {
            let task = HeadTask {
                query: View::rows(shared.rows.qkv.add(new.start * heads.row() + head * group), heads.row()),
                output: shared.rows.output.add(new.start * heads.query * heads.width + head * group),
                output_stride: heads.query * heads.width,
                log_sum: std::ptr::null_mut(),
                log_sum_stride: 0,
                count: new.len,
                start: new.position,
            };
            attend(layout, heads, &task, block);
        }
    });
}
