//! Elementary functions on vectors, with their error bounds (held by tests in `elementwise.rs`).

use super::simd::Simd;

/// `e^x`. Relative error at most 2e-7 on [-87, 88]; below -87.3 it is about 1e-38, never zero.
/// Cody and Waite's reduction with a polynomial of degree six on [-ln2/2, ln2/2].
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (p, power) = exp_parts(s, x);
    s.mul(s.add(p, s.splat(1.0)), power)
}

/// `e^x` as `(1 + p) 2^n`, `|p| < 0.42`: `p`, which is small where `x` is, and `2^n`.
#[inline(always)]
fn exp_parts<S: Simd>(s: S, x: S::F32) -> (S::F32, S::F32) {
    let x = s.min(s.splat(88.37), s.max(s.splat(-87.33), x));
    let magic = s.splat(12_582_912.0); // 1.5 * 2^23: adding and subtracting it rounds to an integer
    let n = s.sub(s.fma(x, s.splat(std::f32::consts::LOG2_E), magic), magic);
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        p = s.fma(p, r, s.splat(c));
    }
    (s.fma(p, s.mul(r, r), r), s.power_of_two(n))
}

/// `1 / (1 + e^-x)`. Absolute error at most 2e-7.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// `tanh x` as `m / (m + 2)` with `m = e^2x - 1`. Relative error at most 4e-7: near zero it is `x`.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (p, power) = exp_parts(s, s.add(x, x));
    let m = s.fma(p, power, s.sub(power, s.splat(1.0)));
    s.div(m, s.add(m, s.splat(2.0)))
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;

/// GELU, tanh form (Hendrycks and Gimpel 2016): `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`,
/// computed as `x sigmoid(2u)`.
#[inline(always)]
pub fn gelu_tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let x2 = s.mul(x, x);
    let u2 = s.mul(x, s.fma(x2, s.splat(2.0 * SQRT_2_OVER_PI * GELU_CUBIC), s.splat(2.0 * SQRT_2_OVER_PI)));
    s.mul(x, sigmoid(s, u2))
}

/// The derivative of [`gelu_tanh`]: with `q = sigmoid(2u)`, `q + x q (1 - q) 2u'`.
#[inline(always)]
pub fn gelu_tanh_derivative<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let x2 = s.mul(x, x);
    let a = s.splat(2.0 * SQRT_2_OVER_PI);
    let u2 = s.mul(x, s.fma(x2, s.splat(2.0 * SQRT_2_OVER_PI * GELU_CUBIC), a));
    let du2 = s.fma(x2, s.splat(6.0 * SQRT_2_OVER_PI * GELU_CUBIC), a);
    let q = sigmoid(s, u2);
    let slope = s.mul(s.mul(q, s.sub(s.splat(1.0), q)), du2);
    s.fma(x, slope, q)
}

/// `|x|`, and the normal distribution's weight beyond it: `erfc(|x| / sqrt 2) / 2`, absolute error at most 1e-7.
/// A polynomial in `1 / (1 + p |x|)` times `e^(-x^2/2)` (Abramowitz and Stegun 1964, 7.1.26; its own error is 1.5e-7 of erf).
#[inline(always)]
fn normal_tail<S: Simd>(s: S, x: S::F32) -> (S::F32, S::F32) {
    let magnitude = s.max(s.sub(s.splat(0.0), x), x);
    let t = s.div(s.splat(1.0), s.fma(magnitude, s.splat(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2), s.splat(1.0)));
    let mut p = s.splat(0.5 * 1.061_405_4);
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = s.fma(p, t, s.splat(0.5 * c));
    }
    (magnitude, s.mul(s.mul(p, t), exp(s, s.mul(s.mul(x, x), s.splat(-0.5)))))
}

/// GELU, exact: `x Phi(x)`, which is `max(x, 0) - |x| tail`.
#[inline(always)]
pub fn gelu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (magnitude, tail) = normal_tail(s, x);
    s.sub(s.max(s.splat(0.0), x), s.mul(magnitude, tail))
}

/// The derivative of [`gelu`]: `Phi(x) + x phi(x)`.
#[inline(always)]
pub fn gelu_derivative<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (_, tail) = normal_tail(s, x);
    let sign = s.min(s.splat(1.0), s.max(s.splat(-1.0), s.mul(x, s.splat(1e30))));
    let distribution = s.fma(sign, s.sub(s.splat(0.5), tail), s.splat(0.5));
    let density = s.mul(exp(s, s.mul(s.mul(x, x), s.splat(-0.5))), s.splat(0.398_942_3));
    s.fma(x, density, distribution)
}

/// `1 - erf(x)` in float64, for references: the series of erf near zero, the continued fraction of erfc beyond.
pub fn erfc_reference(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc_reference(-x);
    }
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - std::f64::consts::FRAC_2_SQRT_PI * sum;
    }
    let fraction = (1..=60).rev().fold(x, |below, n| x + 0.5 * f64::from(n) / below);
    (-x * x).exp() / (fraction * std::f64::consts::PI.sqrt())
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

#[cfg(test)]
mod tests {
    use super::erfc_reference;

    #[test]
    fn the_reference_of_erfc_has_the_values_of_tables() {
        // Abramowitz and Stegun 1964, table 7.1, and its complement.
        let values = [(0.0, 1.0), (0.5, 0.479_500_122_2), (1.0, 0.157_299_207_1), (2.0, 0.004_677_734_98)];
        for (x, want) in values {
            assert!((erfc_reference(x) - want).abs() < 1e-10, "{x}");
            assert!((erfc_reference(-x) - (2.0 - want)).abs() < 1e-10, "-{x}");
        }
        assert!((erfc_reference(3.0) / 2.209_049_7e-5 - 1.0).abs() < 1e-8);
        let (below, above) = (erfc_reference(2.0 - 1e-12), erfc_reference(2.0));
        assert!((below / above - 1.0).abs() < 1e-10, "the two formulas meet");
    }
}
