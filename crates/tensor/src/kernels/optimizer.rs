//! The parameter update.

use super::elementwise::for_vectors;
use super::kernel;
use super::simd::Simd;

/// One step's numbers of AdamW (Loshchilov and Hutter 2017), the same for every element of a slice.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled: `w -= learning_rate weight_decay w`.
    pub weight_decay: f32,
    /// `1 / (1 - beta1^t)`
    pub correction1: f32,
    /// `1 / (1 - beta2^t)`
    pub correction2: f32,
    /// Factor for the gradient: clipping by the global norm.
    pub gradient_scale: f32,
}

#[inline(always)]
fn adamw_body<S: Simd>(s: S, step: AdamWStep, gradient: &[f32], w: &mut [f32], first: &mut [f32], second: &mut [f32]) {
    assert!([gradient.len(), first.len(), second.len()].iter().all(|&len| len == w.len()));
    let (b1, b2) = (s.splat(step.beta1), s.splat(step.beta2));
    let (c1, c2) = (s.splat(1.0 - step.beta1), s.splat(1.0 - step.beta2));
    let (gradient_scale, epsilon) = (s.splat(step.gradient_scale), s.splat(step.epsilon));
    let keep = s.splat(1.0 - step.learning_rate * step.weight_decay);
    let (rate, correction2) = (s.splat(-step.learning_rate * step.correction1), s.splat(step.correction2));
    for_vectors!(s, w.len(), |at, load, store| {
        let g = s.mul(load!(gradient), gradient_scale);
        let m = s.fma(b1, load!(first), s.mul(c1, g));
        let v = s.fma(b2, load!(second), s.mul(c2, s.mul(g, g)));
        store!(first, m);
        store!(second, v);
        let denominator = s.add(s.sqrt(s.mul(v, correction2)), epsilon);
        store!(w, s.fma(rate, s.div(m, denominator), s.mul(load!(w), keep)));
    });
}
kernel!(
    /// Clipping, both moments, decay and update in one pass.
    pub fn adamw(step: AdamWStep, gradient: &[f32], w: &mut [f32], first: &mut [f32], second: &mut [f32]) = adamw_body
);

#[inline(always)]
fn nesterov_body<S: Simd>(
    s: S,
    momentum: f32,
    gradient_scale: f32,
    gradient: &[f32],
    mean: &mut [f32],
    ahead: &mut [f32],
) -> f32 {
    assert!([gradient.len(), mean.len()].iter().all(|&len| len == ahead.len()));
    let (kept, fresh) = (s.splat(momentum), s.splat((1.0 - momentum) * gradient_scale));
    let mut sum = s.splat(0.0);
    for_vectors!(s, ahead.len(), |at, load, store| {
        let g = s.mul(fresh, load!(gradient));
        let m = s.fma(kept, load!(mean), g);
        let u = s.fma(kept, m, g);
        store!(mean, m);
        store!(ahead, u);
        sum = s.fma(u, u, sum);
    });
    s.sum(sum)
}
kernel!(
    /// Clipping, the running mean `m = momentum m + (1 - momentum) g`, and Nesterov's step ahead of it,
    /// `u = momentum m + (1 - momentum) g`, in one pass; returns `sum u^2`.
    pub fn nesterov(momentum: f32, gradient_scale: f32, gradient: &[f32], mean: &mut [f32], ahead: &mut [f32]) -> f32 =
        nesterov_body
);
