//! What a training step reads.

use std::ops::Range;

/// Positions that attend to each other (causally) and to nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its first row.
    pub start: usize,
    /// Its rows.
    pub len: usize,
}

impl Segment {
    /// Its rows.
    pub fn rows(self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// `b` sequences of `t` positions, flattened: every field has `rows = b * t` entries, sequence after sequence.
/// The segments cover all rows in order, without gaps; none crosses from one sequence into the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// `b * t`.
    pub rows: usize,
    /// What the model reads.
    pub tokens: Vec<u32>,
    /// What it should say next: the token after, in the same segment. 0 where the weight is 0.
    pub targets: Vec<u32>,
    /// What each row's loss counts: 1, or 0 where nothing is trained (padding, a user's words, a segment's end).
    pub weights: Vec<f32>,
    /// Positions, from 0 in every segment.
    pub positions: Vec<u32>,
    /// No attention across these.
    pub segments: Vec<Segment>,
}

impl Batch {
    /// How many rows are trained.
    pub fn trained_rows(&self) -> usize {
        self.weights.iter().filter(|&&weight| weight > 0.0).count()
    }

    /// An empty batch with room for `rows`.
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self {
            rows: 0,
            tokens: Vec::with_capacity(rows),
            targets: Vec::with_capacity(rows),
            weights: Vec::with_capacity(rows),
            positions: Vec::with_capacity(rows),
            segments: Vec::new(),
        }
    }

    /// Appends a segment that predicts `ids[1..]` from `ids[..ids.len() - 1]`; `trained` is about the predicted ids.
    pub(crate) fn push_segment(&mut self, ids: &[u32], trained: impl Fn(usize) -> bool) {
        let len = ids.len() - 1;
        self.segments.push(Segment { start: self.rows, len });
        self.tokens.extend_from_slice(&ids[..len]);
        for (index, &id) in ids.iter().enumerate().skip(1) {
            let trained = trained(index);
            self.targets.push(if trained { id } else { 0 });
            self.weights.push(if trained { 1.0 } else { 0.0 });
        }
        self.positions.extend(0..len as u32);
        self.rows += len;
    }

    /// Appends `len` rows of padding as a segment of its own.
    pub(crate) fn push_padding(&mut self, len: usize, token: u32) {
        if len == 0 {
            return;
        }
        self.segments.push(Segment { start: self.rows, len });
        self.rows += len;
        self.tokens.resize(self.rows, token);
        self.targets.resize(self.rows, 0);
        self.weights.resize(self.rows, 0.0);
        self.positions.extend(0..len as u32);
    }
}

/// Where a trainer gets its batches from.
pub trait BatchSource: Send + Sync {
    /// Micro-batch `micro` of `step`; both count from 0. Asked twice, it gives the same.
    fn batch(&self, step: u64, micro: usize) -> Batch;

    /// Positions `t` of each sequence.
    fn context(&self) -> usize;

    /// How many sequences it goes through before it starts over; what an epoch is.
    fn sequences(&self) -> u64;
}
