//! Attention with an online softmax, forward and backward, in blocks of 64 queries by 64 keys.
//!
//! Rabe and Staats 2021; Dao et al. 2022 ("FlashAttention"). The T x T matrix never exists. Keys and
//! values of 64 positions lie in a *block* (see [`BlockLayout`]), packed for the matrix product; training
//! packs them in scratch memory, in the type that products are computed in; the engine's cache keeps them so, in
//! a [`KeyValueType`]. Blocks, and the chunks of blocks whose sums are merged, begin at fixed positions of the sequence, therefore a
//! query's result does not depend on how its prompt was split, on neighbours or on threads (decision 6).

mod backward;
mod cached;
mod forward;
mod layout;

use std::cell::RefCell;
use std::ops::Range;

use backward::{SegmentGradients, backward_segment};
pub use cached::forward_cached;
use forward::forward_segment;
use layout::QUERY_BLOCK;
pub use layout::{BlockLayout, KEY_BLOCK, KeyValueType};

use super::rows::Scoring;
use crate::cpu::Cpu;
use crate::memory::Buffer;
use crate::operation::Segment;

thread_local! {
    static SCRATCH: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
}

/// Sizes and options of one attention.
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
    /// A query sees so many positions at most, itself counted (sliding window); where it sees later ones, as many of those.
    pub window: Option<usize>,
    /// Scores become `c tanh(score / c)` (Gemma Team 2024, "Gemma 2").
    pub soft_cap: Option<f32>,
    /// From a score the distance times [`Heads::slope`] is taken (Press et al. 2022, "ALiBi").
    pub alibi: bool,
    /// A query sees no later position. Without it, it sees its whole segment, and there is no cache.
    pub causal: bool,
}

impl Heads {
    /// Causal attention to every position, with nothing but a factor on the scores.
    pub const fn new(query: usize, key: usize, width: usize, scale: f32) -> Self {
        Self { query, key, width, scale, window: None, soft_cap: None, alibi: false, causal: true }
    }

    /// Numbers in a row of queries, keys and values side by side.
    ///
    /// # Panics
    /// When there is no such number: a mistake of the caller.
    pub fn row(&self) -> usize {
        let heads = self.key.checked_mul(2).and_then(|keys| keys.checked_add(self.query));
        heads.and_then(|heads| heads.checked_mul(self.width)).expect("a row of heads is smaller than memory")
    }

    /// The slope of query head `head` under [`Heads::alibi`]: of a power of two of heads, n, the powers of `2^(-8/n)`; of
    /// another number, those of the power of two below it, then every other one of twice as many (Press et al. 2022,
    /// section 3 and their code).
    pub fn slope(&self, head: usize) -> f32 {
        let below = 1 << self.query.max(1).ilog2();
        let step = |index: usize, heads: usize| (-8.0 * index as f64 / heads as f64).exp2() as f32;
        if head < below { step(head + 1, below) } else { step(2 * (head - below) + 1, 2 * below) }
    }

    /// How products of query head `head` become scores.
    fn scoring(&self, head: usize) -> Scoring {
        let slope = if self.alibi { self.slope(head) } else { 0.0 };
        Scoring { scale: self.scale, soft_cap: self.soft_cap, slope }
    }

    /// Columns that each of `count` queries from `position` sees of `keys` keys from `base`, in a sequence of `len`: first, end.
    fn seen(&self, position: usize, count: usize, (base, keys): (usize, usize), len: usize) -> [Columns; QUERY_BLOCK] {
        let mut seen = [(0, 0); QUERY_BLOCK];
        for (row, seen) in seen.iter_mut().enumerate().take(count) {
            let sight = self.sight(position + row, len);
            let end = sight.end.saturating_sub(base).min(keys);
            *seen = (sight.start.saturating_sub(base).min(end), end);
        }
        seen
    }

    /// The end of the columns that any query up to `last` sees, as in [`Self::seen`].
    fn seen_until(&self, last: usize, (base, keys): (usize, usize), len: usize) -> usize {
        self.sight(last, len).end.saturating_sub(base).min(keys)
    }

    /// Positions that a query at `position` sees in a sequence of `len`.
    fn sight(&self, position: usize, len: usize) -> Range<usize> {
        let (back, ahead) = self.reach(position, len);
        back..if self.causal { position + 1 } else { ahead }
    }

    /// Positions whose queries see the key at `position` in a sequence of `len`.
    fn onlookers(&self, position: usize, len: usize) -> Range<usize> {
        let (back, ahead) = self.reach(position, len);
        (if self.causal { position } else { back })..ahead
    }

    /// The first position within the window of `position`, and the end of those.
    fn reach(&self, position: usize, len: usize) -> (usize, usize) {
        self.window.map_or((0, len), |window| {
            ((position + 1).saturating_sub(window), position.saturating_add(window).min(len))
        })
    }
}

/// First column and end.
type Columns = (usize, usize);

/// Rows of a training segment: queries, keys and values side by side, outputs, and what backward needs.
#[derive(Clone, Copy)]
struct SegmentRows {
    /// `[rows, Heads::row()]`
    qkv: *const f32,
    /// `[rows, query heads * width]`
    output: *mut f32,
    /// `[rows, query heads]`
    log_sum: *mut f32,
    /// First row of the segment.
    start: usize,
    /// Its rows.
    len: usize,
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
    let layout = BlockLayout::computing(cpu, heads.width);
    cpu.pool().run(segments.len() * heads.key, &|task| {
        let segment = segments[task / heads.key];
        let rows = SegmentRows { start: segment.start, len: segment.len, ..shared.rows };
        // SAFETY: sizes were checked; each task has its own head of its own segment.
        unsafe { forward_segment(layout, heads, rows, task % heads.key) };
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
    let layout = BlockLayout::computing(cpu, heads.width);
    cpu.pool().run(segments.len() * heads.key, &|task| {
        let segment = segments[task / heads.key];
        let rows = SegmentRows { start: segment.start, len: segment.len, ..shared.rows };
        // SAFETY: as in `forward`.
        unsafe { backward_segment(layout, heads, rows, shared.gradients, task % heads.key) };
    });
}
