//! Passes over one or a few slices of equal length.

use super::simd::Simd;
use super::{kernel, math};

/// A function applied to each number between two linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// GELU, exact: `x/2 (1 + erf(x / sqrt 2))` (Hendrycks and Gimpel 2016), as BERT has it.
    Gelu,
    /// GELU, tanh form (the same paper), as GPT-2 has it.
    GeluTanh,
    /// SiLU (Elfwing et al. 2017).
    Silu,
    /// `max(x, 0)`
    Relu,
    /// `max(x, 0)^2` (So et al. 2021, "Primer").
    ReluSquared,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`
    Sigmoid,
}

impl Activation {
    /// Every one, for tests.
    pub const ALL: [Self; 7] =
        [Self::Gelu, Self::GeluTanh, Self::Silu, Self::Relu, Self::ReluSquared, Self::Tanh, Self::Sigmoid];

    /// The formula in float64: what the kernels are held to.
    pub fn reference(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match self {
            Self::Gelu => 0.5 * x * math::erfc_reference(-x / std::f64::consts::SQRT_2),
            Self::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }
            Self::Silu => x * sigmoid(x),
            Self::Relu => x.max(0.0),
            Self::ReluSquared => x.max(0.0).powi(2),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => sigmoid(x),
        }
    }
}

/// Runs `$expression` for vectors at `$at`, whole ones first, then the rest.
macro_rules! for_vectors {
    ($s:ident, $len:expr, |$at:ident, $load:ident, $store:ident| $body:block) => {{
        let len: usize = $len;
        let mut $at = 0;
        {
            #[allow(unused_macros)]
            macro_rules! $load {
                ($x:expr) => {
                    // SAFETY: `at + LANES <= len`, and every slice has this length.
                    unsafe { $s.load($x.as_ptr().add($at)) }
                };
            }
            #[allow(unused_macros)]
            macro_rules! $store {
                ($y:expr, $v:expr) => {{
                    let v = $v;
                    // SAFETY: as above.
                    unsafe { $s.store($y.as_mut_ptr().add($at), v) }
                }};
            }
            while $at + S::LANES <= len {
                $body;
                $at += S::LANES;
            }
        }
        if $at < len {
            let rest = len - $at;
            #[allow(unused_macros)]
            macro_rules! $load {
                ($x:expr) => {
                    // SAFETY: `rest` numbers are left.
                    unsafe { $s.load_first($x.as_ptr().add($at), rest) }
                };
            }
            #[allow(unused_macros)]
            macro_rules! $store {
                ($y:expr, $v:expr) => {{
                    let v = $v;
                    // SAFETY: as above.
                    unsafe { $s.store_first($y.as_mut_ptr().add($at), rest, v) }
                }};
            }
            $body;
        }
    }};
}
pub(super) use for_vectors;

#[inline(always)]
fn add_assign_body<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for_vectors!(s, y.len(), |at, load, store| { store!(y, s.add(load!(y), load!(x))) });
}
kernel!(
    /// `y += x`
    pub fn add_assign(x: &[f32], y: &mut [f32]) = add_assign_body
);

#[inline(always)]
fn add_scaled_body<S: Simd>(s: S, scale: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let scale = s.splat(scale);
    for_vectors!(s, y.len(), |at, load, store| { store!(y, s.fma(load!(x), scale, load!(y))) });
}
kernel!(
    /// `y += scale x`
    pub fn add_scaled(scale: f32, x: &[f32], y: &mut [f32]) = add_scaled_body
);

#[inline(always)]
fn scaled_sum_body<S: Simd>(s: S, alpha: f32, x: &[f32], beta: f32, y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let (alpha, beta) = (s.splat(alpha), s.splat(beta));
    for_vectors!(s, y.len(), |at, load, store| { store!(y, s.fma(alpha, load!(x), s.mul(beta, load!(y)))) });
}
kernel!(
    /// `y = alpha x + beta y`
    pub fn scaled_sum(alpha: f32, x: &[f32], beta: f32, y: &mut [f32]) = scaled_sum_body
);

#[inline(always)]
fn scale_body<S: Simd>(s: S, scale: f32, y: &mut [f32]) {
    let scale = s.splat(scale);
    for_vectors!(s, y.len(), |at, load, store| { store!(y, s.mul(load!(y), scale)) });
}
kernel!(
    /// `y *= scale`
    pub fn scale(scale: f32, y: &mut [f32]) = scale_body
);

#[inline(always)]
fn exponential_body<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for_vectors!(s, y.len(), |at, load, store| { store!(y, math::exp(s, load!(x))) });
}
kernel!(
    /// `y = e^x`, within the bounds of [`math::exp`].
    pub fn exponential(x: &[f32], y: &mut [f32]) = exponential_body
);

#[inline(always)]
fn sum_of_squares_body<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut sum = s.splat(0.0);
    for_vectors!(s, x.len(), |at, load, store| {
        let v = load!(x);
        sum = s.fma(v, v, sum);
    });
    s.sum(sum)
}
kernel!(
    /// `sum x^2`
    pub fn sum_of_squares(x: &[f32]) -> f32 = sum_of_squares_body
);

#[inline(always)]
fn dot_body<S: Simd>(s: S, x: &[f32], y: &[f32]) -> f32 {
    assert_eq!(x.len(), y.len());
    let mut sum = s.splat(0.0);
    for_vectors!(s, x.len(), |at, load, store| { sum = s.fma(load!(x), load!(y), sum) });
    s.sum(sum)
}
kernel!(
    /// `sum x y`
    pub fn dot(x: &[f32], y: &[f32]) -> f32 = dot_body
);

/// The table of activations: runs `$map!(|v| f(v), f'(v))` for the one that is asked for, so that the choice stands outside of
/// the loop over the numbers.
macro_rules! for_activation {
    ($s:ident, $activation:expr, $map:ident) => {{
        let zero = $s.splat(0.0);
        match $activation {
            Activation::Gelu => $map!(|v| math::gelu($s, v), math::gelu_derivative($s, v)),
            Activation::GeluTanh => $map!(|v| math::gelu_tanh($s, v), math::gelu_tanh_derivative($s, v)),
            Activation::Silu => $map!(|v| math::silu($s, v), math::silu_derivative($s, v)),
            // The slope is 1 where x > 0: x clamped to [0, tiny], then blown up to 1.
            Activation::Relu => {
                $map!(
                    |v| $s.max(zero, v),
                    $s.min($s.splat(1.0), $s.mul($s.splat(1e38), $s.mul($s.splat(1e38), $s.max(zero, v))))
                )
            }
            Activation::ReluSquared => $map!(
                |v| {
                    let positive = $s.max(zero, v);
                    $s.mul(positive, positive)
                },
                $s.mul($s.splat(2.0), $s.max(zero, v))
            ),
            Activation::Tanh => $map!(|v| math::tanh($s, v), {
                let t = math::tanh($s, v);
                $s.sub($s.splat(1.0), $s.mul(t, t))
            }),
            Activation::Sigmoid => $map!(|v| math::sigmoid($s, v), {
                let q = math::sigmoid($s, v);
                $s.mul(q, $s.sub($s.splat(1.0), q))
            }),
        }
    }};
}

#[inline(always)]
fn activate_body<S: Simd>(s: S, activation: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    macro_rules! map {
        (|$v:ident| $f:expr, $slope:expr) => {
            for_vectors!(s, y.len(), |at, load, store| {
                let $v = load!(x);
                store!(y, $f)
            })
        };
    }
    for_activation!(s, activation, map);
}
kernel!(
    /// `y = f(x)`
    pub fn activate(activation: Activation, x: &[f32], y: &mut [f32]) = activate_body
);

#[inline(always)]
fn activate_backward_body<S: Simd>(s: S, activation: Activation, x: &[f32], dy: &mut [f32]) {
    assert_eq!(x.len(), dy.len());
    macro_rules! scale_by_slope {
        (|$v:ident| $f:expr, $slope:expr) => {
            for_vectors!(s, dy.len(), |at, load, store| {
                let $v = load!(x);
                store!(dy, s.mul(load!(dy), $slope))
            })
        };
    }
    for_activation!(s, activation, scale_by_slope);
}
kernel!(
    /// `dy *= f'(x)`
    pub fn activate_backward(activation: Activation, x: &[f32], dy: &mut [f32]) = activate_backward_body
);

#[inline(always)]
fn gated_body<S: Simd>(s: S, activation: Activation, gate: &[f32], up: &[f32], y: &mut [f32]) {
    assert!(gate.len() == y.len() && up.len() == y.len());
    macro_rules! gate_up {
        (|$v:ident| $f:expr, $slope:expr) => {
            for_vectors!(s, y.len(), |at, load, store| {
                let $v = load!(gate);
                store!(y, s.mul($f, load!(up)))
            })
        };
    }
    for_activation!(s, activation, gate_up);
}
kernel!(
    /// The gated linear unit (Shazeer 2020): `y = f(gate) up`
    pub fn gated(activation: Activation, gate: &[f32], up: &[f32], y: &mut [f32]) = gated_body
);

#[inline(always)]
#[allow(clippy::too_many_arguments)] // as the formula has them
fn gated_backward_body<S: Simd>(
    s: S,
    activation: Activation,
    gate: &[f32],
    up: &[f32],
    dy: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) {
    assert!([gate.len(), up.len(), dgate.len(), dup.len()].iter().all(|&len| len == dy.len()));
    macro_rules! both {
        (|$v:ident| $f:expr, $slope:expr) => {
            for_vectors!(s, dy.len(), |at, load, store| {
                let ($v, d) = (load!(gate), load!(dy));
                store!(dgate, s.mul(s.mul(d, load!(up)), $slope));
                store!(dup, s.mul(d, $f));
            })
        };
    }
    for_activation!(s, activation, both);
}
kernel!(
    /// `dgate = dy up f'(gate)`, `dup = dy f(gate)`
    pub fn gated_backward(
        activation: Activation,
        gate: &[f32],
        up: &[f32],
        dy: &[f32],
        dgate: &mut [f32],
        dup: &mut [f32],
    ) = gated_backward_body
);

#[inline(always)]
fn soft_cap_body<S: Simd>(s: S, cap: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let (all, share) = (s.splat(cap), s.splat(1.0 / cap));
    for_vectors!(s, y.len(), |at, load, store| { store!(y, s.mul(all, math::tanh(s, s.mul(share, load!(x))))) });
}
kernel!(
    /// `y = cap tanh(x / cap)`
    pub fn soft_cap(cap: f32, x: &[f32], y: &mut [f32]) = soft_cap_body
);

/// Zeroes each number with probability `rate` and scales the others by `1 / (1 - rate)` (Srivastava
/// et al. 2014). Which ones: a hash of `(key, offset + i)`, the same for any split and in backward.
pub fn dropout(rate: f32, key: u64, offset: u64, y: &mut [f32]) {
    let threshold = (f64::from(rate) * 4_294_967_296.0) as u32;
    let keep = 1.0 / (1.0 - rate);
    let (low, high) = (key as u32, (key >> 32) as u32);
    for (i, y) in y.iter_mut().enumerate() {
        let counter = offset + i as u64;
        // "lowbias32" (Wellons 2018) twice, the key mixed in between; the compiler vectorizes it.
        let mut h = (counter as u32) ^ low;
        h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
        h = (h ^ (h >> 15)).wrapping_mul(0x846c_a68b);
        h ^= (h >> 16) ^ high ^ (counter >> 32) as u32;
        h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
        h = (h ^ (h >> 15)).wrapping_mul(0x846c_a68b);
        h ^= h >> 16;
        *y = if h < threshold { 0.0 } else { *y * keep };
    }
}

#[inline(always)]
fn rotate_body<S: Simd>(s: S, cosines: &[f32], sines: &[f32], direction: f32, low: &mut [f32], high: &mut [f32]) {
    assert!([cosines.len(), sines.len(), high.len()].iter().all(|&len| len == low.len()));
    let direction = s.splat(direction);
    for_vectors!(s, low.len(), |at, load, store| {
        let (cos, sin) = (load!(cosines), s.mul(load!(sines), direction));
        let (a, b) = (load!(low), load!(high));
        store!(low, s.sub(s.mul(a, cos), s.mul(b, sin)));
        store!(high, s.fma(b, cos, s.mul(a, sin)));
    });
}
kernel!(
    /// `(low, high) = (low cos - high sin, high cos + low sin)`; `direction` -1 turns back.
    pub fn rotate(cosines: &[f32], sines: &[f32], direction: f32, low: &mut [f32], high: &mut [f32]) = rotate_body
);
