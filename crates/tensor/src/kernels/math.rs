//! Elementary functions on vectors, with their error bounds (held by tests in `elementwise.rs`).

use super::simd::Simd;

/// `e^x`. Relative error at most 2e-7 on [-87, 88]; below -87.3 it is about 1e-38, never zero.
/// Cody and Waite's reduction with a polynomial of degree six on [-ln2/2, ln2/2].
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let x = s.min(s.splat(88.37), s.max(s.splat(-87.33), x));
    let magic = s.splat(12_582_912.0); // 1.5 * 2^23: adding and subtracting it rounds to an integer
    let n = s.sub(s.fma(x, s.splat(std::f32::consts::LOG2_E), magic), magic);
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        p = s.fma(p, r, s.splat(c));
    }
    let p = s.add(s.fma(p, s.mul(r, r), r), s.splat(1.0));
    s.mul(p, s.power_of_two(n))
}

/// `1 / (1 + e^-x)`. Absolute error at most 2e-7.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// `tanh x` as `1 - 2 / (1 + e^2x)`. Absolute error at most 3e-7.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    s.sub(one, s.div(s.splat(2.0), s.add(one, exp(s, s.add(x, x)))))
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;

/// GELU, tanh form (Hendrycks and Gimpel 2016): `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`,
/// computed as `x sigmoid(2u)`.
#[inline(always)]
pub fn gelu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let x2 = s.mul(x, x);
    let u2 = s.mul(x, s.fma(x2, s.splat(2.0 * SQRT_2_OVER_PI * GELU_CUBIC), s.splat(2.0 * SQRT_2_OVER_PI)));
    s.mul(x, sigmoid(s, u2))
}

/// The derivative of [`gelu`]: with `q = sigmoid(2u)`, `q + x q (1 - q) 2u'`.
#[inline(always)]
pub fn gelu_derivative<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let x2 = s.mul(x, x);
    let a = s.splat(2.0 * SQRT_2_OVER_PI);
    let u2 = s.mul(x, s.fma(x2, s.splat(2.0 * SQRT_2_OVER_PI * GELU_CUBIC), a));
    let du2 = s.fma(x2, s.splat(6.0 * SQRT_2_OVER_PI * GELU_CUBIC), a);
    let q = sigmoid(s, u2);
    let slope = s.mul(s.mul(q, s.sub(s.splat(1.0), q)), du2);
    s.fma(x, slope, q)
}

/// SiLU (Elfwing et al. 2017): `x sigmoid(x)`.
#[inline(always)]
pub fn silu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.mul(x, sigmoid(s, x))
}

/// The derivative of [`silu`]: `q + x q (1 - q)`.
#[inline(always)]
pub fn silu_derivative<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let q = sigmoid(s, x);
    s.fma(s.mul(x, q), s.sub(s.splat(1.0), q), q)
}
