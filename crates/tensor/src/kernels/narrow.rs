//! float32 to the narrow numbers that a cache of keys and values holds.

use super::elementwise::for_vectors;
use super::kernel;
use super::simd::Simd;

/// The largest number of half precision.
const HALF_MAX: f32 = 65504.0;

#[inline(always)]
fn to_halves_body<S: Simd>(s: S, from: &[f32], to: &mut [u16]) {
    assert_eq!(from.len(), to.len());
    let (lowest, highest) = (s.splat(-HALF_MAX), s.splat(HALF_MAX));
    let narrow = |x: S::F32| s.max(lowest, s.min(highest, x));
    let whole = from.len() / S::LANES * S::LANES;
    // SAFETY: whole vectors lie inside of both; of the last numbers only those that are there are read.
    unsafe {
        for at in (0..whole).step_by(S::LANES) {
            s.store_halves(to.as_mut_ptr().add(at), narrow(s.load(from.as_ptr().add(at))));
        }
        let rest = &from[whole..];
        let mut last = [0; 16];
        s.store_halves(last.as_mut_ptr(), narrow(s.load_first(rest.as_ptr(), rest.len())));
        to[whole..].copy_from_slice(&last[..rest.len()]);
    }
}
kernel!(
    /// Rounds to half precision, to nearest; what is beyond its range becomes its largest number, NaN stays NaN.
    pub fn to_halves(from: &[f32], to: &mut [u16]) = to_halves_body
);

#[inline(always)]
fn to_codes_body<S: Simd>(s: S, from: &[f32], to: &mut [i8]) -> f32 {
    assert_eq!(from.len(), to.len());
    // A vector's maximum forgets a NaN, a sum does not; `0 x` is 0, or NaN where `x` is no number.
    let zero = s.splat(0.0);
    let (mut largest, mut no_number) = (zero, zero);
    for_vectors!(s, from.len(), |at, load, store| {
        let x = load!(from);
        largest = s.max(largest, s.max(s.sub(zero, x), x));
        no_number = s.fma(x, zero, no_number);
    });
    let scale = s.largest(largest) / 127.0 + s.sum(no_number);
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    for (to, &x) in to.iter_mut().zip(from) {
        *to = (x * inverse).round_ties_even() as i8;
    }
    scale
}
kernel!(
    /// Codes from -127 to 127 of numbers, and their scale: `x` is about `code * scale`. The scale of what holds a NaN or an infinity is NaN.
    pub fn to_codes(from: &[f32], to: &mut [i8]) -> f32 = to_codes_body
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::half::{from_f16, to_f16};

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * 0.7).sin() * 3.0_f32.powi(i as i32 % 5)).collect()
    }

    #[test]
    fn halves_are_the_nearest_and_stay_in_range() {
        for isa in Isa::available() {
            for len in 0..70 {
                let mut from = numbers(len);
                for (x, odd) in from.iter_mut().zip([f32::INFINITY, 1e6, -1e6, f32::NAN, 65519.0]) {
                    *x = odd;
                }
                let mut to = vec![0; len];
                to_halves(isa, &from, &mut to);
                for (&x, &half) in from.iter().zip(&to) {
                    let within = if x.is_nan() { x } else { x.clamp(-HALF_MAX, HALF_MAX) };
                    assert_eq!(from_f16(half).is_nan(), x.is_nan());
                    assert!(x.is_nan() || half == to_f16(within), "{} {len}: {x} is {half:x}", isa.name());
                }
            }
        }
    }

    #[test]
    fn codes_are_within_half_a_step_and_use_the_whole_range() {
        for isa in Isa::available() {
            for len in 1..70 {
                let from = numbers(len);
                let mut to = vec![0; len];
                let scale = to_codes(isa, &from, &mut to);
                for (x, &code) in from.iter().zip(&to) {
                    assert!((x - f32::from(code) * scale).abs() <= 0.501 * scale, "{} {len}", isa.name());
                }
                assert!(from.iter().all(|&x| x == 0.0) || to.iter().any(|code| code.abs() == 127));
            }
        }
    }

    #[test]
    fn what_is_no_number_spoils_its_codes() {
        for isa in Isa::available() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in 0..20 {
                    let mut from = numbers(20);
                    from[at] = bad;
                    assert!(to_codes(isa, &from, &mut [0; 20]).is_nan(), "{} {bad} at {at}", isa.name());
                }
            }
            assert_eq!(to_codes(isa, &[0.0; 9], &mut [1; 9]), 0.0);
        }
    }
}
