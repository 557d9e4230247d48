//! Softmax and cross-entropy of a row.

use super::elementwise::for_vectors;
use super::simd::Simd;
use super::{kernel, math};

#[inline(always)]
fn largest_of<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut largest = s.splat(f32::NEG_INFINITY);
    let whole = x.len() / S::LANES * S::LANES;
    for_vectors!(s, whole, |at, load, store| { largest = s.max(largest, load!(x)) });
    x[whole..].iter().fold(s.largest(largest), |m, &v| if v > m || v.is_nan() { v } else { m })
}

/// `y = e^(x - shift)` in place; returns the sum.
#[inline(always)]
fn exponentials<S: Simd>(s: S, shift: f32, x: &mut [f32]) -> f32 {
    let shift_all = s.splat(shift);
    let mut sum = s.splat(0.0);
    let whole = x.len() / S::LANES * S::LANES;
    for_vectors!(s, whole, |at, load, store| {
        let e = math::exp(s, s.sub(load!(x), shift_all));
        sum = s.add(sum, e);
        store!(x, e);
    });
    let mut rest = [0.0; 16];
    let tail = &mut x[whole..];
    if !tail.is_empty() {
        // SAFETY: the tail has fewer than LANES <= 16 numbers.
        unsafe {
            let e = math::exp(s, s.sub(s.load_first(tail.as_ptr(), tail.len()), shift_all));
            s.store_first(tail.as_mut_ptr(), tail.len(), e);
            s.store(rest.as_mut_ptr(), e);
        }
        rest[tail.len()..].fill(0.0);
    }
    s.sum(sum) + rest.iter().sum::<f32>()
}

#[inline(always)]
fn softmax_body<S: Simd>(s: S, x: &mut [f32]) -> f32 {
    let largest = largest_of(s, x);
    let sum = exponentials(s, largest, x);
    let scale = s.splat(1.0 / sum);
    for_vectors!(s, x.len(), |at, load, store| { store!(x, s.mul(load!(x), scale)) });
    largest + sum.ln()
}
kernel!(
    /// Softmax in place; returns the logarithm of the sum of exponentials.
    pub fn softmax(x: &mut [f32]) -> f32 = softmax_body
);

#[inline(always)]
fn cross_entropy_body<S: Simd>(s: S, logits: &mut [f32], target: usize, weight: f32) -> f32 {
    let at_target = logits[target];
    let largest = largest_of(s, logits);
    let sum = exponentials(s, largest, logits);
    let scale = s.splat(weight / sum);
    for_vectors!(s, logits.len(), |at, load, store| { store!(logits, s.mul(load!(logits), scale)) });
    logits[target] -= weight;
    largest + sum.ln() - at_target
}
kernel!(
    /// Returns `-log softmax(logits)[target]` in nats; the logits become `weight` times its gradient.
    pub fn cross_entropy(logits: &mut [f32], target: usize, weight: f32) -> f32 = cross_entropy_body
);

#[inline(always)]
fn softmax_backward_body<S: Simd>(s: S, y: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
    assert!(y.len() == dy.len() && y.len() == dx.len());
    let mut sum = s.splat(0.0);
    for_vectors!(s, y.len(), |at, load, store| { sum = s.fma(load!(y), load!(dy), sum) });
    let mean = s.splat(s.sum(sum));
    for_vectors!(s, y.len(), |at, load, store| {
        let d = s.mul(load!(y), s.sub(load!(dy), mean));
        store!(dx, if accumulate { s.add(load!(dx), d) } else { d });
    });
}
kernel!(
    /// `dx (+)= y (dy - sum y dy)`
    pub fn softmax_backward(y: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) = softmax_backward_body
);

/// The state of an online softmax (Milakov and Gimelshein 2018) over blocks of one row.
#[derive(Debug, Clone, Copy)]
pub struct OnlineSoftmax {
    /// The largest scaled score so far.
    pub largest: f32,
    /// The sum of exponentials relative to it.
    pub sum: f32,
}

impl OnlineSoftmax {
    /// Before the first block.
    pub const EMPTY: Self = Self { largest: f32::NEG_INFINITY, sum: 0.0 };

    /// The logarithm of the sum of all exponentials.
    pub fn log_sum(self) -> f32 {
        self.largest + self.sum.ln()
    }
}

/// The largest scaled score of a row.
#[inline(always)]
fn largest_score<S: Simd>(s: S, scores: &[f32; SCORE_COLUMNS], scale: f32) -> f32 {
    let mut largest = s.splat(f32::NEG_INFINITY);
    for_vectors!(s, SCORE_COLUMNS, |at, load, store| {
        largest = s.max(largest, s.mul(load!(scores), s.splat(scale)))
    });
    s.largest(largest)
}

/// Scores of a row become exponentials relative to `largest`; their sum.
#[inline(always)]
fn exponentials_of_scores<S: Simd>(s: S, scores: &mut [f32; SCORE_COLUMNS], scale: f32, largest: f32) -> f32 {
    let (mut sum, scale, largest) = (s.splat(0.0), s.splat(scale), s.splat(largest));
    for_vectors!(s, SCORE_COLUMNS, |at, load, store| {
        let e = math::exp(s, s.sub(s.mul(load!(scores), scale), largest));
        sum = s.add(sum, e);
        store!(scores, e);
    });
    s.sum(sum)
}

/// How the product of a query and a key becomes a score: `cap(scale product) - slope |distance|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scoring {
    /// Factor of the product.
    pub scale: f32,
    /// `cap(x)` is `c tanh(x / c)`; without it `x`.
    pub soft_cap: Option<f32>,
    /// What a step of distance between query and key takes off; 0 for nothing.
    pub slope: f32,
}

impl Scoring {
    /// A factor and nothing else.
    fn is_scale(self) -> bool {
        self.soft_cap.is_none() && self.slope == 0.0
    }

    /// The score, and its derivative by the product. `ahead`: how far the key is ahead of the query.
    #[inline(always)]
    fn score<S: Simd>(self, s: S, product: S::F32, ahead: S::F32) -> (S::F32, S::F32) {
        let scale = s.splat(self.scale);
        let scaled = s.mul(product, scale);
        let (capped, derivative) = match self.soft_cap {
            None => (scaled, scale),
            Some(cap) => {
                let t = math::tanh(s, s.mul(scaled, s.splat(1.0 / cap)));
                (s.mul(t, s.splat(cap)), s.mul(scale, s.sub(s.splat(1.0), s.mul(t, t))))
            }
        };
        let minus_distance = s.min(ahead, s.sub(s.splat(0.0), ahead));
        (s.fma(minus_distance, s.splat(self.slope), capped), derivative)
    }
}

/// Rows of scores against one block of keys.
#[derive(Debug, Clone, Copy)]
pub struct ScoreRows<'a> {
    /// Columns that each row sees: first, end.
    pub seen: &'a [(usize, usize)],
    /// Columns that are keys, of [`SCORE_COLUMNS`].
    pub keys: usize,
    /// What a column's product becomes.
    pub scoring: Scoring,
    /// Position of the first column less that of the first row.
    pub ahead: f32,
}

/// Distance between rows of scores.
pub const SCORE_COLUMNS: usize = 64;

/// 0, 1, 2, …
const COLUMNS: [f32; SCORE_COLUMNS] = {
    let mut columns = [0.0; SCORE_COLUMNS];
    let mut column = 0;
    while column < SCORE_COLUMNS {
        columns[column] = column as f32;
        column += 1;
    }
    columns
};

/// Products become scores in place; `ahead` of the row at hand.
#[inline(always)]
fn score_columns<S: Simd>(s: S, products: &mut [f32], first: usize, scoring: Scoring, ahead: f32) {
    let columns = &COLUMNS[first..][..products.len()];
    let ahead = s.splat(ahead);
    for_vectors!(s, products.len(), |at, load, store| {
        let (score, _) = scoring.score(s, load!(products), s.add(load!(columns), ahead));
        store!(products, score);
    });
}

/// Rows whose corrections are computed together, so that no row waits for its own.
const ROWS_AT_ONCE: usize = 16;

#[inline(always)]
fn online_softmax_rows_body<S: Simd>(
    s: S,
    scores: &mut [f32],
    rows: ScoreRows,
    states: &mut [OnlineSoftmax],
    sums: &mut [f32],
    width: usize,
) {
    let ScoreRows { seen, keys, scoring, ahead } = rows;
    let scale = if scoring.is_scale() { scoring.scale } else { 1.0 };
    // What is below every score after the scale.
    let unseen = f32::NEG_INFINITY.copysign(-scale);
    let scores = scores.as_chunks_mut::<SCORE_COLUMNS>().0;
    let groups = scores.chunks_mut(ROWS_AT_ONCE).zip(seen.chunks(ROWS_AT_ONCE)).zip(states.chunks_mut(ROWS_AT_ONCE));
    for (group, ((scores, seen), states)) in groups.enumerate() {
        let before = group * ROWS_AT_ONCE;
        let (mut largest, mut corrections) = ([0.0; ROWS_AT_ONCE], [0.0; ROWS_AT_ONCE]);
        for (row, ((scores, &(first, end)), state)) in scores.iter_mut().zip(seen).zip(&*states).enumerate() {
            if first < end && !scoring.is_scale() {
                score_columns(s, &mut scores[first..end], first, scoring, ahead - (before + row) as f32);
            }
            if first < end && (first, end) != (0, SCORE_COLUMNS) {
                scores[..first].fill(unseen);
                scores[end..].fill(unseen);
            }
            let block = if first < end { largest_score(s, scores, scale) } else { f32::NEG_INFINITY };
            largest[row] = if block > state.largest || block.is_nan() { block } else { state.largest };
            corrections[row] = state.largest - largest[row];
        }
        for_vectors!(s, ROWS_AT_ONCE, |at, load, store| { store!(corrections, math::exp(s, load!(corrections))) });
        for (row, ((scores, &(first, end)), state)) in scores.iter_mut().zip(seen).zip(states).enumerate() {
            if first >= end {
                scores[..keys].fill(0.0);
                continue;
            }
            let correction = if state.sum == 0.0 { 0.0 } else { corrections[row] };
            let sum = exponentials_of_scores(s, scores, scale, largest[row]);
            if (first, end) != (0, SCORE_COLUMNS) {
                scores[..first].fill(0.0);
                scores[end..].fill(0.0);
            }
            *state = OnlineSoftmax { largest: largest[row], sum: state.sum * correction + sum };
            if correction != 1.0 && !sums.is_empty() {
                let sums = &mut sums[(before + row) * width..][..width];
                let correction = s.splat(correction);
                for_vectors!(s, sums.len(), |at, load, store| { store!(sums, s.mul(load!(sums), correction)) });
            }
        }
    }
}
kernel!(
    /// One block of an online softmax for each row of `scores [rows, 64]`: products in the columns that the row sees become
    /// `e^(score - largest)`, those of other keys 0. Each row of `sums [rows, width]`, what was summed before, is
    /// scaled to the new largest; no sums: nothing was summed before.
    pub fn online_softmax_rows(scores: &mut [f32], rows: ScoreRows<'_>, states: &mut [OnlineSoftmax], sums: &mut [f32], width: usize) = online_softmax_rows_body
);

#[inline(always)]
fn merge_softmax_body<S: Simd>(
    s: S,
    state: &mut OnlineSoftmax,
    sums: &mut [f32],
    later: OnlineSoftmax,
    later_sums: &[f32],
) {
    assert_eq!(sums.len(), later_sums.len());
    if later.sum == 0.0 {
        return;
    }
    if state.sum == 0.0 {
        *state = later;
        sums.copy_from_slice(later_sums);
        return;
    }
    let rises = later.largest > state.largest;
    let behind = if rises { state.largest - later.largest } else { later.largest - state.largest };
    let factor = s.largest(math::exp(s, s.splat(behind)));
    let (own, other) = if rises { (factor, 1.0) } else { (1.0, factor) };
    let largest = if rises { later.largest } else { state.largest };
    *state = OnlineSoftmax { largest, sum: state.sum * own + later.sum * other };
    let (own, other) = (s.splat(own), s.splat(other));
    for_vectors!(s, sums.len(), |at, load, store| {
        store!(sums, s.fma(load!(later_sums), other, s.mul(load!(sums), own)));
    });
}
kernel!(
    /// Takes the state and the sums of a row over later keys into those of earlier ones. What saw no key changes nothing.
    pub fn merge_softmax(state: &mut OnlineSoftmax, sums: &mut [f32], later: OnlineSoftmax, later_sums: &[f32]) = merge_softmax_body
);

#[inline(always)]
fn scale_columns_body<S: Simd>(s: S, scores: &mut [f32], factors: &[f32]) {
    for scores in scores.as_chunks_mut::<SCORE_COLUMNS>().0 {
        let scores = &mut scores[..factors.len()];
        for_vectors!(s, factors.len(), |at, load, store| { store!(scores, s.mul(load!(scores), load!(factors))) });
    }
}
kernel!(
    /// The first columns of `scores [rows, 64]` times a factor for each.
    pub fn scale_columns(scores: &mut [f32], factors: &[f32]) = scale_columns_body
);

#[inline(always)]
#[allow(clippy::too_many_arguments)] // as the formula has them
fn attention_gradient_body<S: Simd>(
    s: S,
    scores: &mut [f32],
    dprobabilities: &mut [f32],
    (first, end): (usize, usize),
    scoring: Scoring,
    ahead: f32,
    log_sum: f32,
    delta: f32,
) {
    assert_eq!(scores.len(), dprobabilities.len());
    let (first, end) = (first.min(end), end);
    scores[..first].fill(0.0);
    scores[end..].fill(0.0);
    dprobabilities[..first].fill(0.0);
    dprobabilities[end..].fill(0.0);
    let (p, d) = (&mut scores[first..end], &mut dprobabilities[first..end]);
    let (scale, log_sum, delta) = (s.splat(scoring.scale), s.splat(log_sum), s.splat(delta));
    macro_rules! for_scores {
        (|$at:ident, $load:ident| $score:expr) => {
            for_vectors!(s, p.len(), |$at, $load, store| {
                let (score, derivative) = $score;
                let probability = math::exp(s, s.sub(score, log_sum));
                store!(p, probability);
                store!(d, s.mul(s.mul(probability, s.sub($load!(d), delta)), derivative));
            })
        };
    }
    if scoring.is_scale() {
        return for_scores!(|at, load| (s.mul(load!(p), scale), scale));
    }
    let (columns, ahead) = (&COLUMNS[first..end], s.splat(ahead));
    for_scores!(|at, load| scoring.score(s, load!(p), s.add(load!(columns), ahead)));
}

#[inline(always)]
fn attention_gradient_rows_body<S: Simd>(
    s: S,
    scores: &mut [f32],
    dprobabilities: &mut [f32],
    rows: ScoreRows,
    log_sums: &[f32],
    deltas: &[f32],
) {
    let ScoreRows { seen, keys, scoring, ahead } = rows;
    let (scores, _) = scores.as_chunks_mut::<SCORE_COLUMNS>();
    let (gradients, _) = dprobabilities.as_chunks_mut::<SCORE_COLUMNS>();
    let limits = seen.iter().zip(log_sums).zip(deltas);
    for (row, ((p, d), ((&seen, &log_sum), &delta))) in scores.iter_mut().zip(gradients).zip(limits).enumerate() {
        let (p, d) = (&mut p[..keys], &mut d[..keys]);
        attention_gradient_body(s, p, d, seen, scoring, ahead - row as f32, log_sum, delta);
    }
}
kernel!(
    /// Attention's backward for rows of `[rows, 64]`: products become probabilities, and the gradients of these the gradients
    /// of the products, in the columns that a row sees; zero in other keys' columns. A row's delta is its `sum dO O`.
    pub fn attention_gradient_rows(scores: &mut [f32], dprobabilities: &mut [f32], rows: ScoreRows<'_>, log_sums: &[f32], deltas: &[f32]) = attention_gradient_rows_body
);
