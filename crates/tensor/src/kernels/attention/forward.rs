//! Forward: queries against blocks of keys and values, with an online softmax.

use std::cell::RefCell;

use super::super::elementwise;
use super::super::gemm::with_scratch;
use super::super::micro::View;
use super::super::rows::{self, OnlineSoftmax, ScoreRows, Scoring};
use super::layout::{BlockLayout, KEY_BLOCK, Part, QUERY_BLOCK};
use super::{Heads, SCRATCH, SegmentRows};
use crate::memory::Buffer;

thread_local! {
    static QUERIES: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
}

/// One key head of one sequence: new queries against all blocks of keys.
pub(super) struct HeadTask {
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

/// Up to 64 queries of one head.
struct Queries {
    rows: View,
    count: usize,
    /// Of the first.
    position: usize,
    /// Of the sequence.
    len: usize,
    scoring: Scoring,
}

/// Working memory of a block of queries.
struct Work<'a> {
    /// `[64, 64]`
    scores: &'a mut [f32],
    /// `[64, width]`
    sums: &'a mut [f32],
    /// The queries in units of bfloat16 `[64, depth]`; empty in float32.
    queries: &'a mut [f32],
    /// The probabilities in units of bfloat16 `[64, 32]`; empty in float32.
    probabilities: &'a mut [f32],
}

/// Attention of a head task over `blocks`, which hold the positions `0 .. start + count`.
///
/// # Safety
/// The pointers are valid for the rows said; `block(i)` is a block of this layout holding positions
/// `64 i …`; no other thread writes the output.
pub(super) unsafe fn attend(layout: BlockLayout, heads: &Heads, task: &HeadTask, block: impl Fn(usize) -> *const f32) {
    let width = layout.width;
    let (queries, probabilities) = layout.left_lens();
    with_scratch(&QUERIES, QUERY_BLOCK * (KEY_BLOCK + width) + queries + probabilities, |scratch| {
        let (scores, rest) = scratch.split_at_mut(QUERY_BLOCK * KEY_BLOCK);
        let (sums, rest) = rest.split_at_mut(QUERY_BLOCK * width);
        let (queries, probabilities) = rest.split_at_mut(queries);
        let mut work = Work { scores, sums, queries, probabilities };
        for first in (0..task.count).step_by(QUERY_BLOCK) {
            let count = (task.count - first).min(QUERY_BLOCK);
            for head in 0..heads.query / heads.key {
                // SAFETY: the caller's promise; the head's columns are inside of each row.
                unsafe {
                    let queries = Queries {
                        rows: task.query.at(first, head * width),
                        count,
                        position: task.start + first,
                        len: task.start + task.count,
                        scoring: heads.scoring(task.head + head),
                    };
                    let states = attend_block(layout, heads, &queries, &mut work, &block);
                    for (row, state) in states.iter().enumerate().take(count) {
                        let to = task.output.add((first + row) * task.output_stride + head * width);
                        let to = std::slice::from_raw_parts_mut(to, width);
                        to.copy_from_slice(&work.sums[row * width..][..width]);
                        elementwise::scale(layout.isa, 1.0 / state.sum, to);
                        if !task.log_sum.is_null() {
                            *task.log_sum.add((first + row) * task.log_sum_stride + head) = state.log_sum();
                        }
                    }
                }
            }
        }
    });
}

/// Some queries against all keys that they see: leaves the unscaled sums in `work.sums`.
///
/// # Safety
/// As [`attend`].
unsafe fn attend_block(
    layout: BlockLayout,
    heads: &Heads,
    queries: &Queries,
    work: &mut Work,
    block: impl Fn(usize) -> *const f32,
) -> [OnlineSoftmax; QUERY_BLOCK] {
    let (isa, width) = (layout.isa, layout.width);
    let &Queries { rows, count, position, len, scoring } = queries;
    let mut states = [OnlineSoftmax::EMPTY; QUERY_BLOCK];
    // SAFETY: `queries` has room for units of 64 rows.
    let query = unsafe { layout.left(rows, (count, width), work.queries.as_mut_ptr(), layout.depth()) };
    let first_block = heads.sight(position, len).start / KEY_BLOCK;
    for index in first_block..heads.sight(position + count - 1, len).end.div_ceil(KEY_BLOCK) {
        let fresh = index == first_block;
        let base = index * KEY_BLOCK;
        let keys = (len - base).min(KEY_BLOCK);
        let start = block(index);
        let seen_by_tile = |row, rows| heads.seen_until(position + row + rows - 1, (base, keys), len);
        let scored = |row, rows| Part { columns: seen_by_tile(row, rows), first: 0, end: width };
        let scores = (work.scores.as_mut_ptr(), KEY_BLOCK);
        // SAFETY: the block holds `keys` positions; scores are ours.
        unsafe { layout.multiply(count, query, (start, layout.over_width()), scores, false, scored) };
        let seen = heads.seen(position, count, (base, keys), len);
        let ahead = base as f32 - position as f32;
        let rows = ScoreRows { seen: &seen[..count], keys, scoring, ahead };
        let sums = if fresh { &mut [][..] } else { &mut *work.sums };
        rows::online_softmax_rows(isa, work.scores, rows, &mut states, sums, width);
        let mixed = |row, rows| Part { columns: width, first: 0, end: seen_by_tile(row, rows) };
        let scores = View::rows(work.scores.as_ptr(), KEY_BLOCK);
        let stride = layout.element.units(KEY_BLOCK);
        // SAFETY: as above; `probabilities` has room for units of 64 rows.
        unsafe {
            let probabilities = layout.left(scores, (count, keys), work.probabilities.as_mut_ptr(), stride);
            let values = (start.add(layout.keys_len()), layout.over_positions(keys));
            layout.multiply(count, probabilities, values, (work.sums.as_mut_ptr(), width), !fresh, mixed);
        }
    }
    states
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
                query: qkv.at(0, head * group * width),
                output: rows.output.add(rows.start * heads.query * width + head * group * width),
                output_stride: heads.query * width,
                log_sum: rows.log_sum.add(rows.start * heads.query + head * group),
                log_sum_stride: heads.query,
                head: head * group,
                count: rows.len,
                start: 0,
            };
            attend(layout, heads, &task, |index| scratch.as_ptr().add(index * layout.len()));
        }
    });
}
