//! `x` rounded to 8 bits, in panels of rows that lie side by side.

use super::super::kernel;
use super::super::simd::Simd;
use super::Panel;
use crate::cpu::Cpu;
use crate::quant::{STEP, TileLayout};

/// Rows of a panel: their sums in float32 and in integers fill the registers of AVX-512. (Six rows by two tiles read less,
/// but were slower by a sixth.)
pub(super) const PANEL_ROWS: usize = 6;

/// Rows of the last panel, filled up with zeros: the widths that kernels exist for.
fn width_of(rows: usize) -> usize {
    match rows {
        0..=2 => rows.max(1),
        3..=4 => 4,
        _ => PANEL_ROWS,
    }
}

/// Rows with those that fill up the last panel.
fn padded(m: usize) -> usize {
    let whole = m / PANEL_ROWS * PANEL_ROWS;
    if m == whole { m } else { whole + width_of(m - whole) }
}

/// What makes `side` what it is for a layout: columns of a group, whether it has offsets, bits that codes are too high by.
type Side = (usize, bool, usize);

/// What [`Activations::prepare`] makes for this layout.
pub(super) fn side_of(layout: &TileLayout) -> Side {
    (layout.group, layout.minima, layout.zero_bits)
}

/// Rounded rows, in scratch memory.
pub(super) struct Activations<'a> {
    m: usize,
    k: usize,
    codes: &'a mut [f32],
    scales: &'a mut [f32],
    /// Integers: sums of 16 codes.
    sums: &'a mut [f32],
    side: &'a mut [f32],
    /// What `side` was made for.
    prepared: Option<Side>,
}

impl<'a> Activations<'a> {
    /// Numbers of memory for `m` rows of `k`.
    pub fn len(m: usize, k: usize) -> usize {
        padded(m) * (k / 4 + k / STEP + k / 16 + k / 16)
    }

    /// Rounds `x [m, k]`.
    pub fn round(cpu: &Cpu, m: usize, x: &[f32], memory: &'a mut [f32]) -> Self {
        let (k, rows) = (x.len() / m, padded(m));
        let (codes, rest) = memory.split_at_mut(rows * k / 4);
        let (scales, rest) = rest.split_at_mut(rows * k / STEP);
        let (sums, side) = rest.split_at_mut(rows * k / 16);
        let chunks = [PANEL_ROWS * k / 4, PANEL_ROWS * k / STEP, PANEL_ROWS * k / 16];
        let outputs = [(&mut *codes, chunks[0]), (&mut *scales, chunks[1]), (&mut *sums, chunks[2])];
        cpu.pool().split(outputs, |panel, [codes, scales, sums]| {
            let rows = (m - panel * PANEL_ROWS).min(PANEL_ROWS);
            let x = &x[panel * PANEL_ROWS * k..][..rows * k];
            let width = width_of(rows);
            if width > rows {
                [&mut *codes, &mut *scales, &mut *sums].into_iter().for_each(|part| part.fill(0.0));
            }
            for (row, x) in x.chunks_exact(k).enumerate() {
                #[cfg(target_arch = "x86_64")]
                if super::is_fast(cpu.isa()) {
                    // SAFETY: AVX-512 with `VPDPBUSD` is there.
                    unsafe { super::avx512::round_row(x, row, width, codes, scales, sums) };
                    continue;
                }
                round_row(cpu.isa(), x, row, width, codes, scales, sums);
            }
        });
        Self { m, k, codes, scales, sums, side, prepared: None }
    }

    /// Makes `side` for kinds of such a layout: where codes are stored too high, minus the sum of the codes of a group
    /// times what they are too high by; where groups have offsets, that sum times the scale of `x`.
    pub fn prepare(&mut self, cpu: &Cpu, wanted: Side) {
        if self.prepared == Some(wanted) {
            return;
        }
        self.prepared = Some(wanted);
        let (k, sums, scales) = (self.k, &*self.sums, &*self.scales);
        let rows = padded(self.m);
        let per_row = k / wanted.0;
        let side = &mut self.side[..rows * per_row];
        cpu.pool().split([(side, PANEL_ROWS * per_row)], |panel, [side]| {
            let width = side.len() / per_row;
            let sums = &sums[panel * PANEL_ROWS * k / 16..][..width * k / 16];
            let scales = &scales[panel * PANEL_ROWS * k / STEP..][..width * k / STEP];
            prepare_panel(cpu.isa(), wanted, width, sums, scales, side);
        });
    }

    /// One panel, from a step on.
    pub fn panel(&self, index: usize, step: usize) -> Panel {
        let (row, k) = (index * PANEL_ROWS, self.k);
        let width = width_of((self.m - row).min(PANEL_ROWS));
        let group = self.prepared.map_or(STEP, |(group, ..)| group);
        Panel {
            width,
            codes: self.codes[row * k / 4 + step * STEP / 4 * width..].as_ptr().cast(),
            scales: self.scales[row * k / STEP + step * width..].as_ptr(),
            side: self.side[row * k / group + step * STEP / group * width..].as_ptr(),
        }
    }
}

fn integer(x: f32) -> i32 {
    x.to_bits() as i32
}

#[inline(always)]
fn prepare_body<S: Simd>(
    _: S,
    (group, minima, zero_bits): Side,
    width: usize,
    sums: &[f32],
    scales: &[f32],
    side: &mut [f32],
) {
    let parts = group / 16;
    for (index, side) in side.chunks_exact_mut(width).enumerate() {
        let sums = &sums[index * parts * width..][..parts * width];
        let scales = &scales[index * group / STEP * width..][..width];
        for (row, side) in side.iter_mut().enumerate() {
            let sum: i32 = (0..parts).map(|part| integer(sums[part * width + row])).sum();
            *side = match minima {
                true => scales[row] * sum as f32,
                false => f32::from_bits((-(sum << zero_bits)) as u32),
            };
        }
    }
}

kernel!(fn prepare_panel(
    wanted: Side,
    width: usize,
    sums: &[f32],
    scales: &[f32],
    side: &mut [f32],
) = prepare_body);

#[inline(always)]
fn round_row_body<S: Simd>(
    _: S,
    x: &[f32],
    row: usize,
    width: usize,
    codes: &mut [f32],
    scales: &mut [f32],
    sums: &mut [f32],
) {
    for (step, x) in x.as_chunks::<STEP>().0.iter().enumerate() {
        let (rounded, scale) = round_step(x);
        for (group, code) in rounded.as_chunks::<4>().0.iter().enumerate() {
            codes[(step * 8 + group) * width + row] = f32::from_bits(u32::from_le_bytes(code.map(|code| code as u8)));
        }
        for (half, codes) in rounded.as_chunks::<16>().0.iter().enumerate() {
            let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
            sums[(step * 2 + half) * width + row] = f32::from_bits(sum as u32);
        }
        scales[step * width + row] = scale;
    }
}

kernel!(fn round_row(
    x: &[f32],
    row: usize,
    width: usize,
    codes: &mut [f32],
    scales: &mut [f32],
    sums: &mut [f32],
) = round_row_body);

/// 32 numbers as codes and a scale: the largest magnitude becomes 127, the others the nearest code, ties to even. The
/// scale is NaN where a number is not finite, so that it shows.
#[inline(always)]
fn round_step(x: &[f32; STEP]) -> ([i8; STEP], f32) {
    let mut largest = [0f32; 8];
    let mut strange = [0f32; 8];
    for x in x.as_chunks::<8>().0 {
        for i in 0..8 {
            largest[i] = if x[i].abs() > largest[i] { x[i].abs() } else { largest[i] };
            strange[i] += 0.0 * x[i]; // NaN where x is not finite
        }
    }
    let (mut top, mut wrong) = (0f32, 0f32);
    for i in 0..8 {
        top = if largest[i] > top { largest[i] } else { top };
        wrong += strange[i];
    }
    let inverse = inverse(top);
    let mut codes = [0i8; STEP];
    for (code, x) in codes.iter_mut().zip(x) {
        // Adding 1.5 * 2^23 leaves the nearest integer in the lowest bits; NaN leaves any byte.
        *code = ((x * inverse + 12_582_912.0).to_bits() & 0xff) as u8 as i8;
    }
    (codes, top / 127.0 + wrong)
}

/// What makes the largest magnitude 127; 0 where that is 0, or so small that its inverse overflows.
#[inline(always)]
pub(super) fn inverse(top: f32) -> f32 {
    let inverse = 127.0 / top;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The rounding of one row: codes, and the scale of every 32.
pub fn round_row_reference(x: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let steps = x.as_chunks::<STEP>().0.iter().map(|x| {
        let top = x.iter().fold(0f32, |top, x| top.max(x.abs()));
        let code = |x: &f32| if top > 0.0 { (x * (127.0 / top)).round_ties_even() as i8 } else { 0 };
        (x.iter().map(code).collect::<Vec<_>>(), top / 127.0)
    });
    let (codes, scales): (Vec<_>, Vec<_>) = steps.unzip();
    (codes.concat(), scales)
}
