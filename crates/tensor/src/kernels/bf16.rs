//! bfloat16 for the matrix product: pairs along k in one 32-bit unit, as `VDPBF16PS` reads them.
//!
//! A unit holds the numbers of an even k (low half) and of the next odd k (high half, zero beyond k), each rounded to
//! nearest, ties to even. A matrix of units is a float32 matrix of half the depth to the blocks and the epilogue of
//! `gemm.rs`, which serve both; packing (`bf16_pack.rs`) and the tile differ. Sums are float32.
//!
//! Where the processor has no such instruction, the tile widens both halves and does two fused multiply-adds: the same
//! formula, no faster than float32. (`VDPBF16PS` takes subnormal numbers as zero; the bound of the tests allows for it.)

use std::slice::{from_raw_parts, from_raw_parts_mut};

use super::micro::{PanelA, PanelB, TileC};
use super::simd::Simd;
use super::{Isa, kernel};
use crate::half::{from_bf16, to_bf16};

/// Whether this processor multiplies bfloat16 twice as fast as float32 with these kernels.
pub fn is_fast(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return isa.level() == super::Level::Avx512 && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

fn unit(low: f32, high: f32) -> f32 {
    f32::from_bits(u32::from(to_bf16(low)) | u32::from(to_bf16(high)) << 16)
}

/// Units of a row of `k` numbers.
pub fn units(k: usize) -> usize {
    k.div_ceil(2)
}

#[inline(always)]
fn pair_row_body<S: Simd>(_: S, from: &[f32], to: &mut [f32]) {
    let (pairs, rest) = from.as_chunks::<2>();
    for (unit_of, &[low, high]) in to.iter_mut().zip(pairs) {
        *unit_of = unit(low, high);
    }
    if let (&[last], Some(to)) = (rest, to.last_mut()) {
        *to = unit(last, 0.0);
    }
}

kernel!(fn pair_row_any(from: &[f32], to: &mut [f32]) = pair_row_body);

/// A row whose numbers follow each other along k: `from [k]` to `to [units(k)]`.
///
/// # Panics
/// When the lengths do not fit: a mistake of the caller.
pub fn pair_row(isa: Isa, from: &[f32], to: &mut [f32]) {
    assert_eq!(to.len(), units(from.len()));
    #[cfg(target_arch = "x86_64")]
    if is_fast(isa) {
        // SAFETY: detected; the lengths were checked.
        unsafe { dot::pair_row(from, to) };
        return;
    }
    pair_row_any(isa, from, to);
}

/// `count` rows of `k` numbers, `stride` apart, to rows of units, `units_stride` apart.
///
/// # Safety
/// Both hold their rows.
pub unsafe fn pair_rows(
    isa: Isa,
    (from, stride): (*const f32, usize),
    (count, k): (usize, usize),
    (to, units_stride): (*mut f32, usize),
) {
    if count > 0 && stride == k && k == 2 * units_stride {
        // SAFETY: the rows follow each other.
        unsafe { pair_row(isa, from_raw_parts(from, count * k), from_raw_parts_mut(to, count * units_stride)) };
        return;
    }
    for row in 0..count {
        // SAFETY: the caller's promise.
        unsafe {
            let numbers = from_raw_parts(from.add(row * stride), k);
            pair_row(isa, numbers, from_raw_parts_mut(to.add(row * units_stride), units(k)));
        }
    }
}

/// # Safety
/// As [`multiply_tile`].
#[inline(always)]
unsafe fn tile_of_rows<S: Simd, const ROWS: usize>(s: S, k: usize, a: PanelA, b: PanelB, c: TileC) {
    let mut sums = [[s.splat(0.0); 2]; ROWS];
    // SAFETY: the caller of `multiply_tile` promises that the panels hold k steps and C the tile.
    unsafe {
        for step in 0..k {
            let row = b.start.add(step * b.k_stride);
            let halves = [s.load_pairs(row), s.load_pairs(row.add(S::LANES))];
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = (*a.start.add(i * a.row_stride + step * a.k_stride)).to_bits();
                let (low, high) = (s.splat(from_bf16(x as u16)), s.splat(from_bf16((x >> 16) as u16)));
                for (sum, (b_low, b_high)) in sums.iter_mut().zip(halves) {
                    *sum = s.fma(high, b_high, s.fma(low, b_low, *sum));
                }
            }
        }
        super::micro::store_tile(s, &sums, c);
    }
}

#[inline(always)]
fn multiply_tile_body<S: Simd>(s: S, k: usize, a: PanelA, b: PanelB, c: TileC) {
    debug_assert!(c.rows <= S::TILE_ROWS && c.columns <= 2 * S::LANES);
    // SAFETY: see `multiply_tile`.
    unsafe { super::micro::for_rows!(c.rows, tile_of_rows::<S, _>(s, k, a, b, c)) }
}

kernel!(fn multiply_tile_any(k: usize, a: PanelA, b: PanelB, c: TileC) = multiply_tile_body);

/// C (+)= A B for one tile, where A and B are in units and k counts units. Each element of C is one chain over units in
/// ascending order, whatever the tile's height; within a unit the processor has its own order. Meanwhile as many bytes as are
/// read of B are fetched from `ahead`, which may be any address; null for nothing.
///
/// # Safety
/// The panels hold `k` steps (B with full width), C is writable and disjoint from both; `fast` is [`is_fast`]'s answer.
#[inline]
pub unsafe fn multiply_tile(isa: Isa, fast: bool, k: usize, a: PanelA, b: PanelB, ahead: *const f32, c: TileC) {
    #[cfg(target_arch = "x86_64")]
    if fast {
        // SAFETY: detected, and the caller's promise.
        unsafe { dot::multiply_tile(k, a, b, ahead, c) };
        return;
    }
    let _ = (fast, ahead);
    multiply_tile_any(isa, k, a, b, c);
}

#[cfg(target_arch = "x86_64")]
mod dot {
    //! AVX-512 with BF16: conversion and `VDPBF16PS`.

    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::super::avx512::Avx512;
    use super::super::micro::{PanelA, PanelB, TileC, for_rows, store_tile};
    use super::unit;

    /// # Safety
    /// The instruction set is there, and `to` has as many units as `from` gives.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    pub unsafe fn pair_row(from: &[f32], to: &mut [f32]) {
        let whole = from.len() / 32 * 32;
        // SAFETY: 32 numbers make 16 units, and both ends are inside.
        unsafe {
            for at in (0..whole).step_by(32) {
                let low = _mm512_loadu_ps(from.as_ptr().add(at));
                let high = _mm512_loadu_ps(from.as_ptr().add(at + 16));
                let units: __m512i = transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_si512(to.as_mut_ptr().add(at / 2).cast(), units);
            }
        }
        for (to, pair) in to[whole / 2..].iter_mut().zip(from[whole..].chunks(2)) {
            *to = unit(pair[0], pair.get(1).copied().unwrap_or(0.0));
        }
    }

    /// # Safety
    /// As [`super::multiply_tile`]; the processor has the features.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    unsafe fn tile_of_rows<const ROWS: usize, const AHEAD: bool>(
        k: usize,
        a: PanelA,
        b: PanelB,
        mut ahead: *const f32,
        c: TileC,
    ) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        // SAFETY: the caller of `multiply_tile` promises that the panels hold k steps and C the tile.
        unsafe {
            let load = |from: *const f32| transmute::<__m512i, __m512bh>(_mm512_loadu_si512(from.cast()));
            let splat = |from: *const f32| transmute::<__m512i, __m512bh>(_mm512_set1_epi32(from.cast::<i32>().read()));
            let mut row = b.start;
            let mut step = |x: [*const f32; ROWS]| {
                if AHEAD {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(16).cast());
                    ahead = ahead.wrapping_add(32);
                }
                let (b0, b1) = (load(row), load(row.add(16)));
                for (&x, sums) in x.iter().zip(&mut sums) {
                    let x = splat(x);
                    *sums = [_mm512_dpbf16_ps(sums[0], x, b0), _mm512_dpbf16_ps(sums[1], x, b1)];
                }
                row = row.add(b.k_stride);
            };
            if a.row_stride == 1 {
                for at in 0..k {
                    let column = a.start.add(at * a.k_stride);
                    step(std::array::from_fn(|i| column.add(i)));
                }
            } else {
                let starts: [*const f32; ROWS] = std::array::from_fn(|i| a.start.add(i * a.row_stride));
                for at in 0..k {
                    step(starts.map(|start| start.add(at * a.k_stride)));
                }
            }
            store_tile(Avx512, &sums, c);
        }
    }

    /// # Safety
    /// As for `super::multiply_tile`, with the instruction set there.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    pub unsafe fn multiply_tile(k: usize, a: PanelA, b: PanelB, ahead: *const f32, c: TileC) {
        // SAFETY: the caller's promise.
        unsafe {
            if ahead.is_null() {
                for_rows!(c.rows, tile_of_rows::<_, false>(k, a, b, ahead, c))
            } else {
                for_rows!(c.rows, tile_of_rows::<_, true>(k, a, b, ahead, c))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::micro::tile;
    use super::*;

    /// The tile for processors without the instruction, under every instruction set that is here; a machine with AVX-512 but
    /// without bfloat16 is none of ours.
    #[test]
    fn a_tile_without_the_instruction_is_the_sum_of_its_products() {
        for isa in Isa::available() {
            let (rows_max, width) = tile(isa);
            for (rows, columns, k) in [(1, 1, 1), (rows_max, width, 5), (2, width - 1, 33), (rows_max, 3, 64)] {
                let number = |i: usize| from_bf16(to_bf16((i as f32 * 0.61).sin()));
                let a: Vec<f32> = (0..rows * k).map(|i| unit(number(2 * i), number(2 * i + 1))).collect();
                let b: Vec<f32> = (0..width * k).map(|i| unit(number(3 * i), number(3 * i + 1))).collect();
                let mut c = vec![0.5; rows * columns];
                let panel_a = PanelA { start: a.as_ptr(), row_stride: k, k_stride: 1 };
                let panel_b = PanelB { start: b.as_ptr(), k_stride: width };
                let to = TileC { start: c.as_mut_ptr(), row_stride: columns, rows, columns, accumulate: true };
                // SAFETY: the panels hold k steps, C the tile.
                unsafe { multiply_tile(isa, false, k, panel_a, panel_b, std::ptr::null(), to) };
                let halves =
                    |unit: f32| [unit.to_bits() as u16, (unit.to_bits() >> 16) as u16].map(|x| f64::from(from_bf16(x)));
                for (i, &got) in c.iter().enumerate() {
                    let (row, column) = (i / columns, i % columns);
                    let products = (0..k).map(|step| {
                        let (x, y) = (halves(a[row * k + step]), halves(b[step * width + column]));
                        x[0] * y[0] + x[1] * y[1]
                    });
                    let want = 0.5 + products.sum::<f64>();
                    assert!((f64::from(got) - want).abs() < 1e-5 * k as f64, "{} {rows} {columns} {k}", isa.name());
                }
            }
        }
    }
}
