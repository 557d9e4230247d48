//! Attention with grouped queries over segments of a batch, or over the engine's cache.

use std::ops::Range;

use crate::kernels::attention::{self as kernel, Heads};
use crate::operation::{Backward, Forward, Needs, Operation};
use crate::tape::{Tape, Var};

struct Attention {
    heads: Heads,
    rows: usize,
    layer: usize,
}

impl Tape {
    /// Attention: `qkv [r, (h + 2g) d]` holds queries, keys and values side by side; returns `[r, h d]`.
    /// Rows attend within their segment (`Plan::set_segments`) or to their sequence's cache
    /// (`Plan::set_cached_rows`, where `layer` says which keys and values; causal only). Rows of no segment come out 0.
    ///
    /// # Panics
    /// When the width of `qkv` is another than the heads say, or their options mean nothing: mistakes of the model.
    pub fn attention(&mut self, qkv: Var, heads: Heads, layer: usize) -> Var {
        let (rows, width) = self.rows_columns(qkv);
        assert_eq!(width, heads.row(), "attention: qkv has {width} columns, the heads {}", heads.row());
        assert!(heads.key > 0 && heads.query.is_multiple_of(heads.key), "attention: key heads divide query heads");
        assert!(heads.window != Some(0), "attention: a window of 0 shows nothing");
        assert!(heads.soft_cap.is_none_or(|cap| cap > 0.0), "attention: a soft cap is above 0");
        self.record_one(Attention { heads, rows, layer }, &[qkv], &[rows, heads.query * heads.width])
    }
}

/// Positions that the query at `position` sees in a segment of `rows`.
pub fn sight_reference(heads: &Heads, position: usize, rows: usize) -> Range<usize> {
    let (back, ahead) = match heads.window {
        None => (0, rows),
        Some(window) => ((position + 1).saturating_sub(window), rows.min(position + window)),
    };
    back..if heads.causal { position + 1 } else { ahead }
}

/// The score of `product = q k` by query head `head`, `distance` positions apart.
pub fn score_reference(heads: &Heads, head: usize, product: f64, distance: usize) -> f64 {
    let scaled = product * f64::from(heads.scale);
    let capped = heads.soft_cap.map_or(scaled, |cap| f64::from(cap) * (scaled / f64::from(cap)).tanh());
    let slope = if heads.alibi { f64::from(heads.slope(head)) } else { 0.0 };
    capped - slope * distance as f64
}

/// The formula for one segment, in float64: `softmax(scores of Q K^T) V`.
pub fn attention_reference(qkv: &[f32], heads: &Heads) -> Vec<f32> {
    let (row, d) = (heads.row(), heads.width);
    let rows = qkv.len() / row;
    let at = |r: usize, column: usize| f64::from(qkv[r * row + column]);
    let mut out = vec![0.0; rows * heads.query * d];
    for t in 0..rows {
        for h in 0..heads.query {
            let g = h / (heads.query / heads.key);
            let sight = sight_reference(heads, t, rows);
            let score = |s: usize| -> f64 {
                let product: f64 = (0..d).map(|i| at(t, h * d + i) * at(s, (heads.query + g) * d + i)).sum();
                score_reference(heads, h, product, t.abs_diff(s))
            };
            let scores: Vec<f64> = sight.clone().map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let exponentials: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            for i in 0..d {
                let value = |s: usize| at(s, (heads.query + heads.key + g) * d + i);
                let mean: f64 = exponentials.iter().zip(sight.clone()).map(|(e, s)| e / sum * value(s)).sum();
                out[(t * heads.query + h) * d + i] = mean as f32;
            }
        }
    }
    out
}

impl Operation for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn saved_len(&self) -> usize {
        self.rows * self.heads.query
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 1, outputs: 1 }
    }

    fn forward_flops(&self) -> f64 {
        // Scores and values for the causal half of each pair; segments are not known here, so one per tape row
        // would overcount: the trainer adds attention by its segments.
        0.0
    }

    fn forward(&self, run: Forward<'_>) {
        let [out, _] = run.outputs;
        let qkv = run.inputs[0].values();
        match run.cache {
            Some(cache) => {
                kernel::forward_cached(run.cpu, &self.heads, self.layer, qkv, &run.feed.cached, cache, out);
            }
            None => kernel::forward(run.cpu, &self.heads, qkv, &run.feed.segments, out, run.saved),
        }
    }

    fn backward(&self, run: Backward<'_>) {
        let [dout, _] = run.doutputs;
        let [dqkv, ..] = run.dinputs;
        let [out, _] = run.outputs;
        let Some(dqkv) = dqkv else { return };
        // qkv has one reader, the attention itself, so nothing was put there before.
        assert!(!dqkv.accumulate, "attention: qkv has another reader; copy it first");
        let qkv = run.inputs[0].values();
        kernel::backward(run.cpu, &self.heads, qkv, &run.feed.segments, out, run.saved, dout, dqkv.values);
    }
}
