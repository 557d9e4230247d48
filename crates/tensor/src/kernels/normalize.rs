//! LayerNorm (Ba et al. 2016) and RMSNorm (Zhang and Sennrich 2019), a row at a time.

use super::elementwise::for_vectors;
use super::kernel;
use super::simd::Simd;

/// Which statistics are taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `(x - mean) / sqrt(variance + epsilon)`
    Layer,
    /// `x / sqrt(mean of squares + epsilon)`
    Rms,
    /// The same, times `1 + weight` in place of `weight` (Gemma).
    RmsPlusOne,
}

impl NormKind {
    /// Every one, for tests.
    pub const ALL: [Self; 3] = [Self::Layer, Self::Rms, Self::RmsPlusOne];

    /// What is added to the weight.
    pub fn weight_offset(self) -> f32 {
        if self == Self::RmsPlusOne { 1.0 } else { 0.0 }
    }
}

/// What backward needs of a row: its mean (0 for RMSNorm) and the reciprocal of its deviation.
pub type RowStatistics = [f32; 2];

#[inline(always)]
fn forward_body<S: Simd>(
    s: S,
    kind: NormKind,
    epsilon: f32,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    y: &mut [f32],
) -> RowStatistics {
    assert!(x.len() == y.len() && weight.len() == y.len() && (bias.is_empty() || bias.len() == y.len()));
    let n = x.len() as f32;
    let mut sum = s.splat(0.0);
    let mut mean = 0.0;
    if kind == NormKind::Layer {
        for_vectors!(s, x.len(), |at, load, store| { sum = s.add(sum, load!(x)) });
        mean = s.sum(sum) / n;
    }
    // The deviations are summed apart from the mean: E[x^2] - E[x]^2 would cancel. The last, partial vector
    // apart too: the zeros that would fill it up deviate by -mean.
    let mut squares = s.splat(0.0);
    let mean_all = s.splat(mean);
    let whole = x.len() / S::LANES * S::LANES;
    for_vectors!(s, whole, |at, load, store| {
        let d = s.sub(load!(x), mean_all);
        squares = s.fma(d, d, squares);
    });
    let rest: f32 = x[whole..].iter().map(|x| (x - mean) * (x - mean)).sum();
    let variance = (s.sum(squares) + rest) / n;
    let scale = 1.0 / (variance + epsilon).sqrt();
    let (scale_all, offset) = (s.splat(scale), s.splat(kind.weight_offset()));
    if bias.is_empty() {
        for_vectors!(s, x.len(), |at, load, store| {
            let normal = s.mul(s.sub(load!(x), mean_all), scale_all);
            store!(y, s.mul(normal, s.add(load!(weight), offset)));
        });
    } else {
        for_vectors!(s, x.len(), |at, load, store| {
            let normal = s.mul(s.sub(load!(x), mean_all), scale_all);
            store!(y, s.fma(normal, s.add(load!(weight), offset), load!(bias)));
        });
    }
    [mean, scale]
}
kernel!(
    /// One row: `y = normal(x) (weight + offset) + bias` (`bias` empty for none); returns the row's statistics.
    pub fn forward(kind: NormKind, epsilon: f32, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) -> RowStatistics = forward_body
);

#[inline(always)]
#[allow(clippy::too_many_arguments)] // as the formula has them
fn backward_body<S: Simd>(
    s: S,
    kind: NormKind,
    [mean, scale]: RowStatistics,
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
    accumulate: bool,
) {
    let len = x.len();
    assert!([weight.len(), dy.len(), dx.len(), dweight.len()].iter().all(|&other| other == len));
    assert!(dbias.is_empty() || dbias.len() == len);
    let (mean, scale_all, zero, offset) = (s.splat(mean), s.splat(scale), s.splat(0.0), s.splat(kind.weight_offset()));
    let (mut sum_d, mut sum_dn) = (zero, zero);
    for_vectors!(s, len, |at, load, store| {
        let normal = s.mul(s.sub(load!(x), mean), scale_all);
        let gradient = load!(dy);
        let d = s.mul(gradient, s.add(load!(weight), offset));
        sum_d = s.add(sum_d, d);
        sum_dn = s.fma(d, normal, sum_dn);
        store!(dweight, s.fma(gradient, normal, load!(dweight)));
    });
    if !dbias.is_empty() {
        for_vectors!(s, len, |at, load, store| { store!(dbias, s.add(load!(dbias), load!(dy))) });
    }
    let n = len as f32;
    let mean_d = s.splat(if kind == NormKind::Layer { s.sum(sum_d) / n } else { 0.0 });
    let mean_dn = s.splat(s.sum(sum_dn) / n);
    for_vectors!(s, len, |at, load, store| {
        let normal = s.mul(s.sub(load!(x), mean), scale_all);
        let d = s.mul(load!(dy), s.add(load!(weight), offset));
        let gradient = s.mul(s.sub(s.sub(d, mean_d), s.mul(normal, mean_dn)), scale_all);
        store!(dx, if accumulate { s.add(load!(dx), gradient) } else { gradient });
    });
}
kernel!(
    /// One row of backward: `dweight += dy normal`, `dbias += dy` (empty for none), `dx (+)=` the rest.
    pub fn backward(
        kind: NormKind,
        statistics: RowStatistics,
        x: &[f32],
        weight: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        dweight: &mut [f32],
        dbias: &mut [f32],
        accumulate: bool,
    ) = backward_body
);
