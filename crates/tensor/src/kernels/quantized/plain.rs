//! The same products with AVX2, and without any vector instructions that must be asked for.

use super::super::simd::Simd;
use super::super::{Isa, Level, kernel};
use super::{Out, Panel, widened_step_bytes};
use crate::half::{from_bf16, from_f16};
use crate::quant::{STEP, TILE_ROWS, TileLayout, WeightKind, code_of, scale_and_offset};

#[inline(always)]
fn widen_body<S: Simd>(_: S, layout: &TileLayout, tile: &[u8], first: usize, to: &mut [u8]) {
    let zero = if layout.zero_bits > 0 { 1 << layout.zero_bits } else { 0 };
    let groups = STEP / layout.group;
    for (step, to) in (first..).zip(to.chunks_exact_mut(widened_step_bytes(layout))) {
        let from = &tile[layout.step_at(step).0..][..layout.step_bytes()];
        let (codes, scales) = to.split_at_mut(512);
        for (index, code) in codes.iter_mut().enumerate() {
            let (g, lane, within) = (index / 64, index % 64 / 4, index % 4);
            *code = (code_of(layout, from, g * 4 + within, lane) + zero) as u8;
        }
        for group in 0..groups {
            for lane in 0..TILE_ROWS {
                let (scale, offset) = scale_and_offset(layout, tile, step, group, lane);
                scales[(group * TILE_ROWS + lane) * 4..][..4].copy_from_slice(&scale.to_ne_bytes());
                if layout.minima {
                    scales[((groups + group) * TILE_ROWS + lane) * 4..][..4].copy_from_slice(&offset.to_ne_bytes());
                }
            }
        }
    }
}

kernel!(
    /// Writes the steps of a tile from `first` on with codes of 8 bits and float32 scales and offsets.
    pub(super) fn widen(layout: &TileLayout, tile: &[u8], first: usize, to: &mut [u8]) = widen_body
);

/// The sums of a tile and a panel, one row of `x` after the other.
///
/// # Safety
/// The widened tile and the panel hold `steps` steps; `out` has room.
pub(super) unsafe fn multiply_widened(
    isa: Isa,
    layout: &TileLayout,
    tile: *const u8,
    steps: usize,
    panel: Panel,
    out: Out,
) {
    for row in 0..panel.width.min(out.rows) {
        // SAFETY: the caller's promise; nobody else has these rows and columns.
        let y = unsafe { std::slice::from_raw_parts_mut(out.y.add(row * out.stride), out.columns) };
        let mut sums = [0f32; TILE_ROWS];
        if out.goes_on {
            sums[..y.len()].copy_from_slice(y);
        }
        // SAFETY: the caller's promise; AVX2 is there where it is called.
        unsafe {
            match isa.level() {
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 | Level::Avx512 => avx2::row(layout, tile, steps, panel, row, &mut sums),
                _ => row_of_panel(layout, tile, steps, panel, row, &mut sums),
            }
            put(&sums, y, out.bias);
        }
    }
}

/// # Safety
/// `bias` is null or has as many numbers as `y`.
unsafe fn put(sums: &[f32; TILE_ROWS], y: &mut [f32], bias: *const f32) {
    for (column, (y, sum)) in y.iter_mut().zip(sums).enumerate() {
        // SAFETY: the caller's promise.
        *y = if bias.is_null() { *sum } else { *sum + unsafe { *bias.add(column) } };
    }
}

/// Adds the sums of a tile and a row of a panel.
///
/// # Safety
/// The widened tile and the panel hold `steps` steps, and the panel has the row.
unsafe fn row_of_panel(
    layout: &TileLayout,
    tile: *const u8,
    steps: usize,
    panel: Panel,
    row: usize,
    sums: &mut [f32; TILE_ROWS],
) {
    let groups = STEP / layout.group;
    for step in 0..steps {
        // SAFETY: the caller's promise: `steps` steps.
        unsafe {
            let at = tile.add(step * widened_step_bytes(layout));
            let scales = at.add(512).cast::<f32>();
            let x_scale = *panel.scales.add(step * panel.width + row);
            let mut scaled = [0f32; TILE_ROWS];
            for group in 0..groups {
                let side = *panel.side.add((step * groups + group) * panel.width + row);
                let mut products = [if layout.minima { 0 } else { side.to_bits() as i32 }; TILE_ROWS];
                for g in group * (8 / groups)..(group + 1) * (8 / groups) {
                    let x = panel.codes.add(((step * 8 + g) * panel.width + row) * 4);
                    for (lane, product) in products.iter_mut().enumerate() {
                        for i in 0..4 {
                            *product += i32::from(*at.add(g * 64 + lane * 4 + i)) * i32::from(*x.add(i));
                        }
                    }
                }
                for lane in 0..TILE_ROWS {
                    scaled[lane] += products[lane] as f32 * *scales.add(group * TILE_ROWS + lane);
                    if layout.minima {
                        sums[lane] += *scales.add((groups + group) * TILE_ROWS + lane) * side;
                    }
                }
            }
            sums.iter_mut().zip(scaled).for_each(|(sum, scaled)| *sum += scaled * x_scale);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{Panel, STEP, TILE_ROWS, TileLayout, widened_step_bytes};

    /// As `row_of_panel`. `VPMADDUBSW` adds two products in 16 bits: codes of up to 6 bits cannot overflow; those of 8 bits
    /// become signed, and their signs move to `x`.
    ///
    /// # Safety
    /// As [`super::row_of_panel`], and the processor has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn row(
        layout: &TileLayout,
        tile: *const u8,
        steps: usize,
        panel: Panel,
        row: usize,
        sums: &mut [f32; TILE_ROWS],
    ) {
        let groups = STEP / layout.group;
        let signed = layout.low_bits == 8;
        let (ones, sign_bits) = (_mm256_set1_epi16(1), _mm256_set1_epi8(-128));
        // SAFETY: sixteen sums.
        let mut totals = unsafe { [_mm256_loadu_ps(sums.as_ptr()), _mm256_loadu_ps(sums.as_ptr().add(8))] };
        for step in 0..steps {
            // SAFETY: the caller's promise: `steps` steps.
            unsafe {
                let at = tile.add(step * widened_step_bytes(layout));
                let scales = at.add(512).cast::<f32>();
                let x_scale = _mm256_set1_ps(*panel.scales.add(step * panel.width + row));
                let mut scaled = [_mm256_setzero_ps(); 2];
                for group in 0..groups {
                    let side = *panel.side.add((step * groups + group) * panel.width + row);
                    let begin = if layout.minima || signed { 0 } else { side.to_bits() as i32 };
                    let mut products = [_mm256_set1_epi32(begin); 2];
                    for g in group * (8 / groups)..(group + 1) * (8 / groups) {
                        let x = panel.codes.add(((step * 8 + g) * panel.width + row) * 4);
                        let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
                        for (half, product) in products.iter_mut().enumerate() {
                            let w = _mm256_loadu_si256(at.add(g * 64 + half * 32).cast());
                            let pairs = if signed {
                                let w = _mm256_xor_si256(w, sign_bits);
                                _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                            } else {
                                _mm256_maddubs_epi16(w, x)
                            };
                            *product = _mm256_add_epi32(*product, _mm256_madd_epi16(pairs, ones));
                        }
                    }
                    for half in 0..2 {
                        let lane = group * TILE_ROWS + half * 8;
                        let product = _mm256_cvtepi32_ps(products[half]);
                        // In the order of the AVX-512 kernels: the same bits. (A first sum to 0 is exact.)
                        scaled[half] = _mm256_fmadd_ps(product, _mm256_loadu_ps(scales.add(lane)), scaled[half]);
                        if layout.minima {
                            let offset = _mm256_loadu_ps(scales.add(groups * TILE_ROWS + lane));
                            totals[half] = _mm256_fmadd_ps(offset, _mm256_set1_ps(side), totals[half]);
                        }
                    }
                }
                for (total, scaled) in totals.iter_mut().zip(scaled) {
                    *total = _mm256_fmadd_ps(scaled, x_scale, *total);
                }
            }
        }
        for (total, sums) in totals.into_iter().zip(sums.as_chunks_mut::<8>().0) {
            // SAFETY: eight numbers.
            unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), total) };
        }
    }
}

#[inline(always)]
fn widen_floats_body<S: Simd>(_: S, kind: WeightKind, tile: &[u8], to: &mut [f32]) {
    match kind {
        WeightKind::F32 => {
            for (to, bytes) in to.iter_mut().zip(tile.as_chunks::<4>().0) {
                *to = f32::from_le_bytes(*bytes);
            }
        }
        WeightKind::F16 => {
            for (to, bytes) in to.iter_mut().zip(tile.as_chunks::<2>().0) {
                *to = from_f16(u16::from_le_bytes(*bytes));
            }
        }
        _ => {
            for (to, bytes) in to.iter_mut().zip(tile.as_chunks::<2>().0) {
                *to = from_bf16(u16::from_le_bytes(*bytes));
            }
        }
    }
}

kernel!(
    /// A tile of a floating-point kind as float32, `[columns][16]`.
    pub(super) fn widen_floats(kind: WeightKind, tile: &[u8], to: &mut [f32]) = widen_floats_body
);

#[inline(always)]
fn floats_body<S: Simd>(s: S, tile: &[f32], x: &[f32], sums: &mut [f32; TILE_ROWS]) {
    let mut parts = [s.splat(0.0); 8];
    for (w, &x) in tile.as_chunks::<TILE_ROWS>().0.iter().zip(x) {
        let x = s.splat(x);
        for (part, w) in parts.iter_mut().zip(w.chunks_exact(S::LANES.min(TILE_ROWS))) {
            // SAFETY: a chunk has as many numbers as a register.
            *part = s.fma(unsafe { s.load(w.as_ptr()) }, x, *part);
        }
    }
    for (part, sums) in parts.into_iter().zip(sums.chunks_exact_mut(S::LANES.min(TILE_ROWS))) {
        // SAFETY: as above.
        unsafe { s.store(sums.as_mut_ptr(), part) };
    }
}

kernel!(fn floats_of_row(tile: &[f32], x: &[f32], sums: &mut [f32; TILE_ROWS]) = floats_body);

/// A widened tile of a floating-point kind times all rows of `x` (first row, distance between rows).
///
/// # Safety
/// `x` has `out.rows` rows of `k`; `out` has room.
pub(super) unsafe fn floats(isa: Isa, tile: &[f32], k: usize, x: (*const f32, usize), out: Out) {
    for row in 0..out.rows {
        let mut sums = [0.0; TILE_ROWS];
        // SAFETY: the caller's promise.
        unsafe {
            floats_of_row(isa, tile, std::slice::from_raw_parts(x.0.add(row * x.1), k), &mut sums);
            let y = std::slice::from_raw_parts_mut(out.y.add(row * out.stride), out.columns);
            put(&sums, y, out.bias);
        }
    }
}
