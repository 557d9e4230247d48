//! Forward: queries against blocks of keys and values, with an online softmax.

use std::cell::RefCell;
use std::ops::Range;

use super::super::element::Element;
use super::super::elementwise;
use super::super::gemm::with_scratch;
use super::super::micro::View;
use super::super::rows::{self, OnlineSoftmax, ScoreRows};
use super::layout::{BlockLayout, KEY_BLOCK, KeyValueType, Part, QUERY_BLOCK, Right, Side};
use super::{Heads, SCRATCH, SegmentRows};
use crate::memory::Buffer;

/// Blocks of keys in a chunk. Each chunk has an online softmax of its own, merged in ascending order: so the chunks of a long
/// sequence can be computed at the same time, with the bits that they have one after the other.
const CHUNK_BLOCKS: usize = 8;

thread_local! {
    static WORK: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
}

/// One key head of one sequence: new queries against all blocks of keys.
pub(super) struct HeadTask<'a> {
    pub layout: BlockLayout,
    pub heads: &'a Heads,
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
    /// The group's first query head.
    pub head: usize,
    /// New queries, the last of the sequence.
    pub count: usize,
    /// Position of the first query; keys before it are in the blocks already.
    pub start: usize,
}

/// Some heads of a group with the same queries of each: at most 64 rows, those of the first head first. Together they read
/// keys and values once.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowBlock {
    /// The first query.
    pub query: usize,
    /// Queries of each head.
    pub queries: usize,
    /// The first head, in the group.
    pub head: usize,
    /// Heads.
    pub heads: usize,
}

impl RowBlock {
    /// Those of `count` queries of a group of heads.
    pub(super) fn all(group: usize, count: usize) -> impl Iterator<Item = Self> {
        let (heads_max, queries_max) = (group.min(QUERY_BLOCK), Self::queries_max(group));
        (0..group).step_by(heads_max).flat_map(move |head| {
            let heads = (group - head).min(heads_max);
            let block = move |query: usize| Self { query, queries: (count - query).min(queries_max), head, heads };
            (0..count).step_by(queries_max).map(block)
        })
    }

    /// Most queries in a block.
    pub(super) fn queries_max(group: usize) -> usize {
        let fitting = QUERY_BLOCK / group.min(QUERY_BLOCK);
        // A multiple of a tile's rows, so that few tiles have rows of two heads.
        if fitting > 8 { fitting - fitting % 8 } else { fitting }
    }

    fn rows(self) -> usize {
        self.queries * self.heads
    }

    /// The last query, counted in the block, of some rows.
    fn last_query(self, row: usize, rows: usize) -> usize {
        let end = row % self.queries + rows;
        end.min(self.queries) - 1
    }
}

/// Sums and states of a row block over one chunk of keys.
pub(super) struct ChunkResult<'a> {
    /// `[rows, width]`, not divided by the states' sums.
    sums: &'a mut [f32],
    /// `[rows]`: largest score and sum of exponentials.
    states: &'a mut [[f32; 2]],
}

impl<'a> ChunkResult<'a> {
    /// Numbers of one.
    pub(super) fn len(rows: RowBlock, width: usize) -> usize {
        rows.rows() * (width + 2)
    }

    /// In `memory` of this length.
    pub(super) fn in_memory(rows: RowBlock, width: usize, memory: &'a mut [f32]) -> Self {
        let (sums, states) = memory.split_at_mut(rows.rows() * width);
        Self { sums, states: states.as_chunks_mut().0 }
    }

    fn set_states(&mut self, states: &[OnlineSoftmax]) {
        for (to, state) in self.states.iter_mut().zip(states) {
            *to = [state.largest, state.sum];
        }
    }

    fn state(&self, row: usize) -> OnlineSoftmax {
        let [largest, sum] = self.states[row];
        OnlineSoftmax { largest, sum }
    }
}

/// Working memory of a row block.
struct Work<'a> {
    /// `[64, 64]`
    scores: &'a mut [f32],
    /// Sums over all chunks until now `[64, width]`.
    total: &'a mut [f32],
    /// Sums over a chunk `[64, width]`.
    sums: &'a mut [f32],
    /// The queries `[64, depth]`.
    queries: &'a mut [f32],
    /// The probabilities in units of bfloat16 `[64, 32]`; empty in float32.
    probabilities: &'a mut [f32],
}

impl Work<'_> {
    fn with<R>(layout: BlockLayout, f: impl FnOnce(Work<'_>) -> R) -> R {
        let (scores, sums, queries) =
            (QUERY_BLOCK * KEY_BLOCK, QUERY_BLOCK * layout.width, QUERY_BLOCK * layout.depth());
        let (_, probabilities) = layout.left_lens();
        with_scratch(&WORK, scores + 2 * sums + queries + probabilities, |scratch| {
            let (scores, rest) = scratch.split_at_mut(scores);
            let (total, rest) = rest.split_at_mut(sums);
            let (sums, rest) = rest.split_at_mut(sums);
            let (queries, probabilities) = rest.split_at_mut(queries);
            f(Work { scores, total, sums, queries, probabilities })
        })
    }
}

impl HeadTask<'_> {
    /// Blocks of keys of which some query of the rows sees some.
    fn visible(&self, rows: RowBlock) -> Range<usize> {
        let (first, len) = (self.start + rows.query, self.start + self.count);
        let end = self.heads.sight(first + rows.queries - 1, len).end;
        self.heads.sight(first, len).start / KEY_BLOCK..end.div_ceil(KEY_BLOCK)
    }

    /// Chunks of keys of which some query of the rows sees some.
    pub(super) fn chunks(&self, rows: RowBlock) -> Range<usize> {
        let visible = self.visible(rows);
        visible.start / CHUNK_BLOCKS..visible.end.div_ceil(CHUNK_BLOCKS)
    }

    /// Those of the chunk that some query of the rows sees.
    pub(super) fn blocks(&self, rows: RowBlock, chunk: usize) -> Range<usize> {
        let visible = self.visible(rows);
        visible.start.max(chunk * CHUNK_BLOCKS)..visible.end.min((chunk + 1) * CHUNK_BLOCKS)
    }

    /// Attention of some rows to all that they see. Afterwards a block at `then` is probably wanted, if it is not null.
    ///
    /// # Safety
    /// The pointers are valid for the rows said; `block(i)` is a block of this layout holding positions `64 i …` up to the
    /// last query's; no other thread writes the rows' output.
    pub(super) unsafe fn attend(&self, rows: RowBlock, block: impl Fn(usize) -> *const f32, then: *const f32) {
        let (isa, width) = (self.layout.isa, self.layout.width);
        Work::with(self.layout, |mut work| {
            let mut states = [OnlineSoftmax::EMPTY; QUERY_BLOCK];
            let chunks = self.chunks(rows);
            // SAFETY: the caller's promise.
            unsafe {
                let query = self.gather(rows, work.queries);
                for chunk in chunks.clone() {
                    let then = if chunk + 1 < chunks.end { block((chunk + 1) * CHUNK_BLOCKS) } else { then };
                    if chunk == chunks.start {
                        // The first chunk's sums are the total.
                        std::mem::swap(&mut work.total, &mut work.sums);
                        states = self.attend_chunk(rows, query, chunk, &mut work, &block, then);
                        std::mem::swap(&mut work.total, &mut work.sums);
                        continue;
                    }
                    let later = self.attend_chunk(rows, query, chunk, &mut work, &block, then);
                    let sums = work.total.chunks_exact_mut(width).zip(work.sums.chunks_exact(width));
                    for ((state, later), (total, sums)) in states.iter_mut().zip(later).zip(sums).take(rows.rows()) {
                        rows::merge_softmax(isa, state, total, later, sums);
                    }
                }
                self.finish(rows, &|row| states[row], work.total);
            }
        });
    }

    /// Attention of some rows to one chunk.
    ///
    /// # Safety
    /// As [`Self::attend`].
    pub(super) unsafe fn attend_to_chunk(
        &self,
        rows: RowBlock,
        chunk: usize,
        result: &mut ChunkResult,
        block: impl Fn(usize) -> *const f32,
        then: *const f32,
    ) {
        Work::with(self.layout, |mut work| {
            // SAFETY: the caller's promise.
            let states = unsafe {
                let query = self.gather(rows, work.queries);
                self.attend_chunk(rows, query, chunk, &mut work, &block, then)
            };
            result.sums.copy_from_slice(&work.sums[..rows.rows() * self.layout.width]);
            result.set_states(&states);
        });
    }

    /// Merges the results of all chunks, in ascending order, and writes the output.
    ///
    /// # Safety
    /// As [`Self::attend`].
    pub(super) unsafe fn merge<'r>(&self, rows: RowBlock, mut results: impl Iterator<Item = ChunkResult<'r>>) {
        let (isa, width) = (self.layout.isa, self.layout.width);
        let Some(total) = results.next() else { return };
        for later in results {
            let sums = total.sums.chunks_exact_mut(width).zip(later.sums.chunks_exact(width));
            for (row, (to, sums)) in sums.enumerate() {
                let [largest, sum] = total.states[row];
                let mut state = OnlineSoftmax { largest, sum };
                rows::merge_softmax(isa, &mut state, to, later.state(row), sums);
                total.states[row] = [state.largest, state.sum];
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.finish(rows, &|row| total.state(row), total.sums) };
    }

    /// The rows' queries, one after the other.
    ///
    /// # Safety
    /// As [`Self::attend`]; `to` has room for them.
    unsafe fn gather(&self, rows: RowBlock, to: &mut [f32]) -> View {
        let (layout, size) = (self.layout, (rows.queries, self.layout.width));
        assert!(rows.rows() * layout.depth() <= to.len());
        for head in 0..rows.heads {
            // SAFETY: the head's columns are inside of each row; room was checked.
            unsafe {
                let from = self.query.at(rows.query, (rows.head + head) * layout.width);
                layout.gather(from, size, to.as_mut_ptr().add(head * rows.queries * layout.depth()));
            }
        }
        View::rows(to.as_ptr(), layout.depth())
    }

    /// Some rows against the keys of a chunk that they see: leaves the unscaled sums in `work.sums`.
    ///
    /// # Safety
    /// As [`Self::attend`].
    unsafe fn attend_chunk(
        &self,
        rows: RowBlock,
        query: View,
        chunk: usize,
        work: &mut Work,
        block: impl Fn(usize) -> *const f32,
        then: *const f32,
    ) -> [OnlineSoftmax; QUERY_BLOCK] {
        let (width, depth) = (self.layout.width, self.layout.depth());
        // SAFETY: the caller's promise; row `row` of the queries is one of them.
        unsafe {
            let states = self.attend_blocks(rows, query, self.blocks(rows, chunk), work, &block, then);
            // A value that only some of the rows see, or the other one of its pair, has the probability 0 for the others, and 0
            // times what is not finite is not 0. So that no row's bits depend on what it does not see, each is then computed
            // for itself. (Training in bfloat16 has no such care.)
            let in_pairs = self.layout.kind == KeyValueType::Bf16;
            let is_mixed = in_pairs || rows.queries > 1 && self.layout.element == Element::F32;
            if is_mixed && work.sums[..rows.rows() * width].iter().any(|sum| !sum.is_finite()) {
                // The first row's place is where each result arrives: it comes last.
                for row in (0..rows.rows()).rev() {
                    let (head, at) = (rows.head + row / rows.queries, rows.query + row % rows.queries);
                    let alone = RowBlock { query: at, queries: 1, head, heads: 1 };
                    let query = View::rows(query.at(row, 0).start, depth);
                    work.sums[..width].fill(0.0);
                    let (blocks, then) = (self.blocks(alone, chunk), std::ptr::null());
                    if in_pairs {
                        let copies = RefCell::new([const { Vec::new() }; 2]);
                        let seen = |index: usize| {
                            self.copy_of_seen(at, index, block(index), &mut copies.borrow_mut()[index % 2])
                        };
                        self.attend_blocks(alone, query, blocks, work, seen, then);
                    } else {
                        self.attend_blocks(alone, query, blocks, work, &block, then);
                    }
                    work.sums.copy_within(..width, row * width);
                }
            }
            states
        }
    }

    /// A copy of a block in pairs that is 0 where query `query` sees no value.
    ///
    /// # Safety
    /// As [`Self::attend`].
    unsafe fn copy_of_seen(&self, query: usize, index: usize, block: *const f32, copy: &mut Vec<f32>) -> *const f32 {
        let (layout, len) = (self.layout, self.start + self.count);
        copy.clear();
        // SAFETY: the caller's promise.
        copy.extend_from_slice(unsafe { std::slice::from_raw_parts(block, layout.len()) });
        let [(first, end), ..] = self.heads.seen(self.start + query, 1, (index * KEY_BLOCK, KEY_BLOCK), len);
        for slot in (0..KEY_BLOCK).filter(|slot| !(first..end).contains(slot)) {
            let half = if slot.is_multiple_of(2) { 0xffff_0000 } else { 0x0000_ffff };
            for column in 0..layout.width {
                let pair = &mut copy[layout.value_pair_at(slot / 2, column)];
                *pair = f32::from_bits(pair.to_bits() & half);
            }
        }
        copy.as_ptr()
    }

    /// [`Self::attend_chunk`] as long as all values are finite, or the rows are of one query that sees whole pairs.
    ///
    /// # Safety
    /// As [`Self::attend`].
    unsafe fn attend_blocks(
        &self,
        rows: RowBlock,
        query: View,
        blocks: Range<usize>,
        work: &mut Work,
        block: impl Fn(usize) -> *const f32,
        then: *const f32,
    ) -> [OnlineSoftmax; QUERY_BLOCK] {
        let Self { layout, heads, .. } = *self;
        let (position, len) = (self.start + rows.query, self.start + self.count);
        let (width, count) = (layout.width, rows.rows());
        let mut states = [OnlineSoftmax::EMPTY; QUERY_BLOCK];
        for index in blocks.clone() {
            let fresh = index == blocks.start;
            let base = index * KEY_BLOCK;
            let keys = (len - base).min(KEY_BLOCK);
            let start = block(index);
            let next = if index + 1 < blocks.end { block(index + 1) } else { then };
            let [values, next_values] = [start, next].map(|block| block.wrapping_add(layout.keys_len()));
            let seen_by_tile = |row, tile| heads.seen_until(position + rows.last_query(row, tile), (base, keys), len);
            let scored = |row, tile| Part { columns: seen_by_tile(row, tile), first: 0, end: width };
            let [(first, _), ..] = heads.seen(position, 1, (base, keys), len);
            let first = if rows.queries == 1 { first } else { 0 };
            let mixed = |row, tile| Part { columns: width, first, end: seen_by_tile(row, tile) };
            let scores = (work.scores.as_mut_ptr(), KEY_BLOCK);
            // SAFETY: the block holds `keys` positions; the working memory is ours and has room for 64 rows.
            unsafe {
                let keys_of_block = Right::new(start, layout.over_width()).then(next);
                layout.multiply(count, query, keys_of_block, scores, false, scored);
                if let Some(scales) = layout.scales(start, Side::Keys, keys) {
                    rows::scale_columns(layout.isa, &mut work.scores[..count * KEY_BLOCK], scales);
                }
                self.softmax(rows, (base, keys), work, &mut states, fresh);
                if let Some(scales) = layout.scales(start, Side::Values, keys) {
                    rows::scale_columns(layout.isa, &mut work.scores[..count * KEY_BLOCK], scales);
                }
                let scores = View::rows(work.scores.as_ptr(), KEY_BLOCK);
                let stride = layout.element.units(KEY_BLOCK);
                let probabilities = layout.left(scores, (count, keys), work.probabilities.as_mut_ptr(), stride);
                let values = Right::new(values, layout.over_positions(keys)).then(next_values);
                let sums = (work.sums.as_mut_ptr(), width);
                layout.multiply(count, probabilities, values, sums, !fresh, mixed);
            }
        }
        states
    }

    /// Products with the keys of a block become exponentials, head by head.
    fn softmax(
        &self,
        rows: RowBlock,
        (base, keys): (usize, usize),
        work: &mut Work,
        states: &mut [OnlineSoftmax],
        fresh: bool,
    ) {
        let (heads, width, queries) = (self.heads, self.layout.width, rows.queries);
        let position = self.start + rows.query;
        let seen = heads.seen(position, queries, (base, keys), self.start + self.count);
        for head in 0..rows.heads {
            let first = head * queries;
            let scoring = heads.scoring(self.head + rows.head + head);
            let scored = ScoreRows { seen: &seen[..queries], keys, scoring, ahead: base as f32 - position as f32 };
            let sums = if fresh { &mut [][..] } else { &mut work.sums[first * width..] };
            let scores = &mut work.scores[first * KEY_BLOCK..];
            rows::online_softmax_rows(self.layout.isa, scores, scored, &mut states[first..], sums, width);
        }
    }

    /// Writes the rows' output and log-sums.
    ///
    /// # Safety
    /// As [`Self::attend`].
    unsafe fn finish(&self, rows: RowBlock, state: &dyn Fn(usize) -> OnlineSoftmax, sums: &[f32]) {
        let width = self.layout.width;
        for (row, sums) in sums.chunks_exact(width).enumerate().take(rows.rows()) {
            let (head, query) = (rows.head + row / rows.queries, rows.query + row % rows.queries);
            // SAFETY: the head's columns are inside of each row.
            unsafe {
                let to = self.output.add(query * self.output_stride + head * width);
                let to = std::slice::from_raw_parts_mut(to, width);
                to.copy_from_slice(sums);
                elementwise::scale(self.layout.isa, 1.0 / state(row).sum, to);
                if !self.log_sum.is_null() {
                    *self.log_sum.add(query * self.log_sum_stride + head) = state(row).log_sum();
                }
            }
        }
    }
}

/// Forward of key head `head` of one training segment.
///
/// # Safety
/// The pointers hold the rows of the segment; no other thread has this head of this segment.
pub(super) unsafe fn forward_segment(layout: BlockLayout, heads: &Heads, rows: SegmentRows, head: usize) {
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
                layout,
                heads,
                query: qkv.at(0, head * group * width),
                output: rows.output.add(rows.start * heads.query * width + head * group * width),
                output_stride: heads.query * width,
                log_sum: rows.log_sum.add(rows.start * heads.query + head * group),
                log_sum_stride: heads.query,
                head: head * group,
                count: rows.len,
                start: 0,
            };
            for rows in RowBlock::all(group, rows.len) {
                task.attend(rows, |index| scratch.as_ptr().add(index * layout.len()), std::ptr::null());
            }
        }
    });
}
