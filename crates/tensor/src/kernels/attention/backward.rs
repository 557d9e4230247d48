//! Backward: scores are computed again, block by block (Dao et al. 2022).

use std::ops::Range;

use super::super::elementwise;
use super::super::gemm::with_scratch;
use super::super::micro::View;
use super::super::rows::{self, ScoreRows};
use super::layout::{BlockLayout, KEY_BLOCK, Part, QUERY_BLOCK, Right};
use super::{Heads, SCRATCH, SegmentRows};

/// Gradients of a training segment.
#[derive(Clone, Copy)]
pub(super) struct SegmentGradients {
    /// `[rows, query heads * width]`
    pub doutput: *const f32,
    /// `[rows, Heads::row()]`, written.
    pub dqkv: *mut f32,
}

/// What is packed of each block of 64 positions.
#[derive(Clone, Copy)]
enum Kind {
    /// Keys, for products over the width.
    Keys,
    /// Values, for products over the width.
    Values,
    /// Keys, for products over positions.
    KeyRows,
    /// Queries of the head at hand, for products over positions.
    QueryRows,
    /// Gradients of the head's output, for products over positions.
    GradientRows,
    /// The head's queries as left operands; in float32 they are read where they are, and this is empty.
    Queries,
    /// The gradients of the head's output as left operands, likewise.
    Gradients,
}

/// The packed operands of one query head in backward, one block after the other for each kind.
struct Packed {
    blocks: usize,
    /// Units of 64 lines packed over the width, of 64 positions as rows, and of 64 rows as left operands.
    lens: [usize; 3],
    start: *mut f32,
}

impl Packed {
    fn len(&self) -> usize {
        let [lines, rows, left] = self.lens;
        self.blocks * (2 * lines + 3 * rows + 2 * left)
    }

    fn at(&self, kind: Kind, block: usize) -> *mut f32 {
        debug_assert!(block < self.blocks);
        let [lines, rows, left] = self.lens;
        let (before, len) = match kind {
            Kind::Keys => (0, lines),
            Kind::Values => (lines, lines),
            Kind::KeyRows => (2 * lines, rows),
            Kind::QueryRows => (2 * lines + rows, rows),
            Kind::GradientRows => (2 * lines + 2 * rows, rows),
            Kind::Queries => (2 * lines + 3 * rows, left),
            Kind::Gradients => (2 * lines + 3 * rows + left, left),
        };
        // SAFETY: inside of the scratch memory, which has `len()` units.
        unsafe { self.start.add(before * self.blocks + block * len) }
    }
}

/// What the pairs of blocks of one segment and head share.
struct Task<'a> {
    layout: BlockLayout,
    heads: &'a Heads,
    rows: SegmentRows,
    gradients: SegmentGradients,
    packed: Packed,
    /// `sum dO O` of each row, for the query head at hand.
    delta: &'a mut [f32],
    /// Scores, then probabilities `[64, 64]`.
    scores: &'a mut [f32],
    /// Gradients of probabilities, then of scores `[64, 64]`.
    dscores: &'a mut [f32],
    /// Probabilities transposed, gradients of scores transposed, and as they are, in units of bfloat16; empty in float32.
    units: [&'a mut [f32]; 3],
}

/// Backward of key head `head` of one training segment: gradients of its queries, key and value.
///
/// # Safety
/// As [`super::forward_segment`], after it.
pub(super) unsafe fn backward_segment(
    layout: BlockLayout,
    heads: &Heads,
    rows: SegmentRows,
    gradients: SegmentGradients,
    head: usize,
) {
    let (width, stride, group) = (heads.width, heads.row(), heads.query / heads.key);
    let (left, square) = layout.left_lens();
    let lens = [layout.keys_len(), layout.rows_len(), left];
    let mut packed = Packed { blocks: rows.len.div_ceil(KEY_BLOCK), lens, start: std::ptr::null_mut() };
    let scores = QUERY_BLOCK * KEY_BLOCK;
    with_scratch(&SCRATCH, packed.len() + 2 * scores + 3 * square + rows.len, |scratch| {
        let (all, rest) = scratch.split_at_mut(packed.len());
        packed.start = all.as_mut_ptr();
        let (scores, rest) = rest.split_at_mut(scores);
        let (dscores, rest) = rest.split_at_mut(scores.len());
        let (units, delta) = rest.split_at_mut(3 * square);
        let (first, units) = units.split_at_mut(square);
        let (second, third) = units.split_at_mut(square);
        let units = [first, second, third];
        let mut task = Task { layout, heads, rows, gradients, packed, delta, scores, dscores, units };
        // SAFETY: rows and columns are inside of the segment's rows.
        unsafe {
            let qkv = View::rows(rows.qkv.add(rows.start * stride), stride);
            let (keys, values) = (heads.query * width, (heads.query + heads.key) * width);
            for index in 0..task.packed.blocks {
                let (first, count) = (index * KEY_BLOCK, (rows.len - index * KEY_BLOCK).min(KEY_BLOCK));
                let (key, value) = (qkv.at(first, keys + head * width), qkv.at(first, values + head * width));
                layout.pack_lines(key, count, task.packed.at(Kind::Keys, index));
                layout.pack_lines(value, count, task.packed.at(Kind::Values, index));
                layout.pack_rows(key, count, task.packed.at(Kind::KeyRows, index));
            }
            for query in 0..group {
                let query_head = head * group + query;
                task.prepare(query_head);
                for key_block in 0..task.packed.blocks {
                    let query_blocks = task.onlookers(key_block);
                    for query_block in query_blocks.clone() {
                        let fresh_keys = query == 0 && query_block == query_blocks.start;
                        task.pair(Pair { query_head, head, key_block, query_block, fresh_keys });
                    }
                }
            }
        }
    });
}

struct Pair {
    query_head: usize,
    head: usize,
    key_block: usize,
    query_block: usize,
    /// Nothing was added to the gradients of these keys and values yet.
    fresh_keys: bool,
}

impl Pair {
    /// Positions of the first query and the first key.
    fn first(&self) -> (usize, usize) {
        (self.query_block * QUERY_BLOCK, self.key_block * KEY_BLOCK)
    }
}

impl Task<'_> {
    /// Blocks of queries of which some see a key of `key_block`.
    fn onlookers(&self, key_block: usize) -> Range<usize> {
        let (heads, len, first) = (self.heads, self.rows.len, key_block * KEY_BLOCK);
        let last = (first + KEY_BLOCK).min(len) - 1;
        heads.onlookers(first, len).start / QUERY_BLOCK..heads.onlookers(last, len).end.div_ceil(QUERY_BLOCK)
    }

    /// The rows of the segment from `first`, a head's columns: queries, and gradients of the output.
    ///
    /// # Safety
    /// As `backward_segment`.
    unsafe fn rows_of(&self, query_head: usize, first: usize) -> [View; 2] {
        let (heads, rows) = (self.heads, self.rows);
        let (width, len) = (heads.width, heads.query * heads.width);
        // SAFETY: the caller's promise.
        unsafe {
            let qkv = View::rows(rows.qkv.add(rows.start * heads.row()), heads.row());
            let doutput = View::rows(self.gradients.doutput.add(rows.start * len), len);
            [qkv.at(first, query_head * width), doutput.at(first, query_head * width)]
        }
    }

    /// Packs a head's queries and output gradients, and sums `delta = sum dO O` per row.
    ///
    /// # Safety
    /// As `backward_segment`.
    unsafe fn prepare(&mut self, query_head: usize) {
        let (layout, packed, rows) = (self.layout, &self.packed, self.rows);
        let (width, row_len) = (layout.width, self.heads.query * layout.width);
        // SAFETY: rows and columns are inside of the segment's rows.
        unsafe {
            for index in 0..packed.blocks {
                let (first, count) = (index * KEY_BLOCK, (rows.len - index * KEY_BLOCK).min(KEY_BLOCK));
                let [query, doutput] = self.rows_of(query_head, first);
                layout.pack_rows(query, count, packed.at(Kind::QueryRows, index));
                layout.pack_rows(doutput, count, packed.at(Kind::GradientRows, index));
                layout.left(query, (count, width), packed.at(Kind::Queries, index), layout.depth());
                layout.left(doutput, (count, width), packed.at(Kind::Gradients, index), layout.depth());
            }
            for (row, delta) in self.delta.iter_mut().enumerate() {
                let offset = (rows.start + row) * row_len + query_head * width;
                let d = std::slice::from_raw_parts(self.gradients.doutput.add(offset), width);
                let o = std::slice::from_raw_parts(rows.output.add(offset), width);
                *delta = elementwise::dot(layout.isa, d, o);
            }
        }
    }

    /// One block of queries against one block of keys: its share of dQ, dK and dV.
    ///
    /// # Safety
    /// As `backward_segment`.
    unsafe fn pair(&mut self, pair: Pair) {
        let Pair { query_head, head, key_block, query_block, fresh_keys } = pair;
        let (layout, heads, rows, width, stride) =
            (self.layout, self.heads, self.rows, self.heads.width, self.heads.row());
        let (first_query, first_key) = pair.first();
        let queries = (rows.len - first_query).min(QUERY_BLOCK);
        let keys = (rows.len - first_key).min(KEY_BLOCK);
        // SAFETY: rows and columns are inside of the segment's rows; this task alone writes this head's gradients.
        unsafe {
            self.probabilities(&pair, queries, keys);
            let units = layout.element.units(KEY_BLOCK);
            let [p, ds_by_key, ds] = &mut self.units;
            let p = layout.left_transposed(self.scores.as_ptr(), queries, p.as_mut_ptr());
            let ds_by_key = layout.left_transposed(self.dscores.as_ptr(), queries, ds_by_key.as_mut_ptr());
            let dscores = View::rows(self.dscores.as_ptr(), KEY_BLOCK);
            let ds = layout.left(dscores, (queries, keys), ds.as_mut_ptr(), units);
            let dqkv = self.gradients.dqkv;
            let gradient = |row: usize, column: usize| (dqkv.add((rows.start + row) * stride + column), stride);
            let dk = gradient(first_key, (heads.query + head) * width);
            let dv = gradient(first_key, (heads.query + heads.key + head) * width);
            let dq = gradient(first_query, query_head * width);
            let packed = |kind, block, count| Right::new(self.packed.at(kind, block), layout.over_positions(count));
            // The first key of a tile of keys is seen the earliest, the last one the longest.
            let row_of = |position: usize| position.saturating_sub(first_query).min(queries);
            let by_key = |key: usize, keys: usize| {
                let first = row_of(heads.onlookers(first_key + key, rows.len).start);
                let end = row_of(heads.onlookers(first_key + key + keys - 1, rows.len).end);
                Part { columns: width, first, end }
            };
            layout.multiply(keys, p, packed(Kind::GradientRows, query_block, queries), dv, !fresh_keys, by_key);
            layout.multiply(keys, ds_by_key, packed(Kind::QueryRows, query_block, queries), dk, !fresh_keys, by_key);
            let by_query = |row, tile| {
                let end = heads.seen_until(first_query + row + tile - 1, (first_key, keys), rows.len);
                Part { columns: width, first: 0, end }
            };
            let accumulate = key_block > heads.sight(first_query, rows.len).start / KEY_BLOCK;
            layout.multiply(queries, ds, packed(Kind::KeyRows, key_block, keys), dq, accumulate, by_query);
        }
    }

    /// Probabilities into `scores`, gradients of the unscaled scores into `dscores`; zero where a query does not see a key.
    ///
    /// # Safety
    /// As `backward_segment`.
    unsafe fn probabilities(&mut self, pair: &Pair, queries: usize, keys: usize) {
        let &Pair { query_head, key_block, query_block, .. } = pair;
        let (layout, heads, rows) = (self.layout, self.heads, self.rows);
        let (first_query, first_key) = pair.first();
        let scored = |row, tile| {
            let columns = heads.seen_until(first_query + row + tile - 1, (first_key, keys), rows.len);
            Part { columns, first: 0, end: layout.width }
        };
        // SAFETY: the caller's promise; packed units are read where they were put.
        unsafe {
            let [query, doutput] = self.rows_of(query_head, first_query);
            let query = layout.left_at(query, self.packed.at(Kind::Queries, query_block));
            let doutput = layout.left_at(doutput, self.packed.at(Kind::Gradients, query_block));
            for (a, kind, to) in [(query, Kind::Keys, &mut self.scores), (doutput, Kind::Values, &mut self.dscores)] {
                let b = Right::new(self.packed.at(kind, key_block), layout.over_width());
                layout.multiply(queries, a, b, (to.as_mut_ptr(), KEY_BLOCK), false, scored);
            }
            let mut log_sums = [0.0; QUERY_BLOCK];
            for (row, log_sum) in log_sums.iter_mut().enumerate().take(queries) {
                *log_sum = *rows.log_sum.add((rows.start + first_query + row) * heads.query + query_head);
            }
            let seen = heads.seen(first_query, queries, (first_key, keys), rows.len);
            let ahead = first_key as f32 - first_query as f32;
            let rows = ScoreRows { seen: &seen[..queries], keys, scoring: heads.scoring(query_head), ahead };
            let deltas = &self.delta[first_query..][..queries];
            rows::attention_gradient_rows(layout.isa, self.scores, self.dscores, rows, &log_sums, deltas);
        }
    }
}
