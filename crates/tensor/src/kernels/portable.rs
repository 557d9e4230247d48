//! Portable vectors: arrays of eight that the compiler turns into whatever the target has.

use super::simd::Simd;
use crate::half::{from_f16, to_f16};

/// The instruction set of the compilation target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

type Lanes = [f32; 8];

#[inline(always)]
fn map2(a: Lanes, b: Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type F32 = Lanes;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 2;

    #[inline(always)]
    fn splat(self, x: f32) -> Lanes {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Lanes {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<Lanes>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: Lanes) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Lanes>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, n: usize) -> Lanes {
        // SAFETY: only `n` numbers are read, the caller's promise.
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize, x: Lanes) {
        for (i, &value) in x.iter().enumerate().take(n) {
            // SAFETY: only `n` numbers are written, the caller's promise.
            unsafe { *to.add(i) = value }
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(self, from: *const f32) -> (Lanes, Lanes) {
        // SAFETY: the caller's promise.
        let pairs = unsafe { from.cast::<[u32; 8]>().read_unaligned() };
        (pairs.map(|pair| f32::from_bits(pair << 16)), pairs.map(|pair| f32::from_bits(pair & 0xffff_0000)))
    }
    #[inline(always)]
    unsafe fn load_halves(self, from: *const u16) -> Lanes {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[u16; 8]>().read_unaligned() }.map(from_f16)
    }
    #[inline(always)]
    unsafe fn store_halves(self, to: *mut u16, x: Lanes) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[u16; 8]>().write_unaligned(x.map(to_f16)) }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, from: *const i8) -> Lanes {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[i8; 8]>().read_unaligned() }.map(f32::from)
    }
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}
    #[inline(always)]
    fn add(self, a: Lanes, b: Lanes) -> Lanes {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Lanes, b: Lanes) -> Lanes {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Lanes, b: Lanes) -> Lanes {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Lanes, b: Lanes) -> Lanes {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        // Not `mul_add`: without the instruction it is a call of a software routine.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn max(self, a: Lanes, b: Lanes) -> Lanes {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Lanes, b: Lanes) -> Lanes {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self, a: Lanes) -> Lanes {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn power_of_two(self, n: Lanes) -> Lanes {
        // Adding 1.5 * 2^23 + 127 puts the biased exponent into the low bits of the mantissa.
        n.map(|n| f32::from_bits((n + (12_582_912.0 + 127.0)).to_bits() << 23))
    }
    #[inline(always)]
    fn sum(self, a: Lanes) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    fn largest(self, a: Lanes) -> f32 {
        a.iter().fold(f32::NEG_INFINITY, |m, &x| if m > x { m } else { x })
    }
}
