//! float32 matrices into panels of bfloat16 units (`bf16.rs`), rounded and rearranged in one pass.
//!
//! A panel `[units(k)][width]` holds `width` lines: rows of A or columns of B. Lines lie side by side in memory (each step
//! of k is a run of them: two runs are interleaved) or one after the other (each line is a run of k: blocks are transposed).

use std::ops::Range;

use super::Isa;
use super::bf16::{is_fast, units};
use super::micro::View;
use crate::half::to_bf16;

/// Lines that are packed together: a vector register of units.
const STRIP: usize = 16;

/// What to pack: element `(line, k)` of `from`, for `lines` lines of `k` numbers.
#[derive(Clone, Copy)]
pub struct Lines {
    /// One of its strides is 1.
    pub from: View,
    /// Lines.
    pub lines: usize,
    /// Numbers of a line.
    pub k: usize,
}

/// Packs some lines and steps into panels of `width` lines that follow each other; steps count units. Lines beyond the last
/// become zeros as far as a panel of `width`, or a strip of 16 lines, reaches.
///
/// # Safety
/// `what` holds its numbers, `lines` begins at a multiple of `width` and of 16, `steps` at a multiple of 16; `to` is
/// writable for all lines (rounded up to a multiple of `width`) times `units(k)`.
pub unsafe fn pack(isa: Isa, what: Lines, lines: Range<usize>, steps: Range<usize>, width: usize, to: *mut f32) {
    #[cfg(target_arch = "x86_64")]
    if is_fast(isa) {
        let target = fast::Target { to, width, depth: units(what.k), lines: what.lines };
        // SAFETY: detected; the caller's promise.
        unsafe {
            if what.from.column_stride == 1 {
                fast::transpose(what, lines, steps, target);
            } else {
                fast::interleave(what, lines, steps, target);
            }
        }
        return;
    }
    let _ = isa;
    // SAFETY: the caller's promise.
    unsafe { pack_any(what, lines, steps, width, to) }
}

/// [`pack`] on any processor.
///
/// # Safety
/// As [`pack`].
unsafe fn pack_any(what: Lines, lines: Range<usize>, steps: Range<usize>, width: usize, to: *mut f32) {
    let depth = units(what.k);
    for line in lines.start..lines.end.next_multiple_of(width).min(what.lines.next_multiple_of(width)) {
        // SAFETY: the caller's promise; what is beyond the last line or number is not read.
        unsafe {
            let to = to.add(line / width * width * depth + line % width);
            for step in steps.clone() {
                let at = |k: usize| if line < what.lines && k < what.k { *what.from.at(line, k).start } else { 0.0 };
                let unit = u32::from(to_bf16(at(2 * step))) | u32::from(to_bf16(at(2 * step + 1))) << 16;
                *to.add(step * width) = f32::from_bits(unit);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod fast {
    //! AVX-512 with BF16, 16 lines at a time.

    use std::arch::x86_64::*;
    use std::mem::transmute;
    use std::ops::Range;

    use super::{Lines, STRIP};

    /// Steps of a strip in a row: enough for a cache line of a narrow panel not to be left before it is full, few enough for
    /// the rows that are read to stay in cache for the next strip. A wide panel's step fills lines: a quarter was the fastest.
    const BLOCK: usize = 32;

    /// Where strips go.
    #[derive(Clone, Copy)]
    pub struct Target {
        /// All panels.
        pub to: *mut f32,
        /// Lines of a panel: 8, or a multiple of 16.
        pub width: usize,
        /// Steps of a panel.
        pub depth: usize,
        /// Lines of the matrix.
        pub lines: usize,
    }

    /// A strip's place in the panels: half of a panel of 32, or two panels of 8.
    #[derive(Clone, Copy)]
    struct Strip {
        to: *mut f32,
        /// Distance between steps.
        width: usize,
        /// From the first half of a step to the second, where the second is wanted.
        second: Option<usize>,
    }

    impl Target {
        /// Of the 16 lines from `line`.
        ///
        /// # Safety
        /// The strip begins inside of the panels.
        unsafe fn strip(self, line: usize) -> Strip {
            let Self { to, width, depth, lines } = self;
            let second = if width == 8 { (line + 8 < lines).then_some(8 * depth) } else { Some(8) };
            // SAFETY: the caller's promise.
            Strip { to: unsafe { to.add(line / width * width * depth + line % width) }, width, second }
        }
    }

    impl Strip {
        /// Writes a step; what no panel needs is left out.
        ///
        /// # Safety
        /// The step is inside of the panels.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
        unsafe fn put(self, units: __m512i, step: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                let to = self.to.add(step * self.width);
                match self.second {
                    Some(8) => _mm512_storeu_si512(to.cast(), units),
                    second => {
                        _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(units));
                        if let Some(second) = second {
                            _mm256_storeu_si256(to.add(second).cast(), _mm512_extracti64x4_epi64::<1>(units));
                        }
                    }
                }
            }
        }
    }

    /// A mask of the first `n` of 16.
    fn first(n: usize) -> __mmask16 {
        if n >= 16 { u16::MAX } else { (1 << n) - 1 }
    }

    /// The strips of some lines, and one of zeros where a panel of 32 needs it.
    fn strips(lines: &Range<usize>, target: Target) -> impl Iterator<Item = usize> + Clone + use<> {
        let end = lines.end.min(target.lines);
        let end = if lines.end >= target.lines { end.next_multiple_of(target.width) } else { end };
        (lines.start..end).step_by(STRIP)
    }

    /// Lines side by side.
    ///
    /// # Safety
    /// The instruction set is there; as `super::pack`.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    pub unsafe fn interleave(what: Lines, lines: Range<usize>, steps: Range<usize>, target: Target) {
        // The halves of what is converted together, by turns.
        let by_turns = _mm512_set_epi16(
            31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17,
            1, 16, 0,
        );
        let block_len = if target.width == 8 { BLOCK } else { BLOCK / 4 };
        let row_len = what.from.column_stride;
        for block in steps.clone().step_by(block_len) {
            for line in strips(&lines, target) {
                let mask = first(what.lines.saturating_sub(line));
                // SAFETY: masked beyond the lines, and the second row only where there is one.
                unsafe {
                    let strip = target.strip(line);
                    for step in block..(block + block_len).min(steps.end) {
                        let row = what.from.start.wrapping_add(2 * step * row_len + line);
                        prefetch(row);
                        prefetch(row.wrapping_add(row_len));
                        let has_second = if 2 * step + 1 < what.k { mask } else { 0 };
                        let low = _mm512_maskz_loadu_ps(mask, row);
                        let high = _mm512_maskz_loadu_ps(has_second, row.wrapping_add(row_len));
                        let halves = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                        strip.put(_mm512_permutexvar_epi16(by_turns, halves), step);
                    }
                }
            }
        }
    }

    /// Lines one after the other: 16 units of 16 lines at a time.
    ///
    /// # Safety
    /// As [`interleave`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    pub unsafe fn transpose(what: Lines, lines: Range<usize>, steps: Range<usize>, target: Target) {
        for line in strips(&lines, target) {
            let count = what.lines.saturating_sub(line).min(STRIP);
            // SAFETY: the strip is inside of the panels.
            let strip = unsafe { target.strip(line) };
            for step in steps.clone().step_by(16) {
                let rest = what.k - 2 * step;
                // SAFETY: whole blocks are inside of the matrix and the panel; others are masked and cut.
                unsafe {
                    let start = what.from.start.wrapping_add(line * what.from.row_stride + 2 * step);
                    if count == STRIP && rest >= 32 {
                        let units = transposed(std::array::from_fn(|i| {
                            let row = start.add(i * what.from.row_stride);
                            prefetch(row);
                            prefetch(row.wrapping_add(16));
                            pairs(_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(16)))
                        }));
                        for (i, units) in units.into_iter().enumerate() {
                            strip.put(units, step + i);
                        }
                        continue;
                    }
                    let (low, high) = (first(rest), first(rest.saturating_sub(16)));
                    let mut rows = [_mm512_setzero_si512(); STRIP];
                    for (i, row) in rows.iter_mut().enumerate().take(count) {
                        let start = start.add(i * what.from.row_stride);
                        let second = _mm512_maskz_loadu_ps(high, start.wrapping_add(16));
                        *row = pairs(_mm512_maskz_loadu_ps(low, start), second);
                    }
                    for (i, units) in transposed(rows).into_iter().enumerate().take(steps.end - step) {
                        strip.put(units, step + i);
                    }
                }
            }
        }
    }

    /// Numbers ahead that are fetched: rows lie too far apart for the processor to see what comes next.
    const AHEAD: usize = 128;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    fn prefetch(from: *const f32) {
        _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD).cast());
    }

    /// 16 units of 32 numbers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    fn pairs(first: __m512, second: __m512) -> __m512i {
        // SAFETY: both are 512 bits of any value.
        unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first)) }
    }

    /// 16 x 16 units: pairs of rows by 32 and 64 bits, then of quarters.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    fn transposed(r: [__m512i; 16]) -> [__m512i; 16] {
        let mut t = r;
        for i in (0..16).step_by(2) {
            t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
            t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
        }
        // u[4 g + c]: column c (of each quarter) of rows 4 g .. 4 g + 4.
        let mut u = t;
        for g in (0..16).step_by(4) {
            u[g] = _mm512_unpacklo_epi64(t[g], t[g + 2]);
            u[g + 1] = _mm512_unpackhi_epi64(t[g], t[g + 2]);
            u[g + 2] = _mm512_unpacklo_epi64(t[g + 1], t[g + 3]);
            u[g + 3] = _mm512_unpackhi_epi64(t[g + 1], t[g + 3]);
        }
        let mut out = r;
        for c in 0..4 {
            let (a, b) = (_mm512_shuffle_i32x4::<0x88>(u[c], u[4 + c]), _mm512_shuffle_i32x4::<0xdd>(u[c], u[4 + c]));
            let (d, e) =
                (_mm512_shuffle_i32x4::<0x88>(u[8 + c], u[12 + c]), _mm512_shuffle_i32x4::<0xdd>(u[8 + c], u[12 + c]));
            out[c] = _mm512_shuffle_i32x4::<0x88>(a, d);
            out[8 + c] = _mm512_shuffle_i32x4::<0xdd>(a, d);
            out[4 + c] = _mm512_shuffle_i32x4::<0x88>(b, e);
            out[12 + c] = _mm512_shuffle_i32x4::<0xdd>(b, e);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no machine of ours runs, an instruction set without bfloat16's instructions, gives the same units.
    #[test]
    fn every_processor_packs_the_same_units() {
        for isa in Isa::available() {
            for (lines, k) in [(1, 1), (1, 33), (7, 64), (16, 31), (17, 32), (40, 70), (64, 63)] {
                let numbers: Vec<f32> = (0..lines * k).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
                let one_after_the_other = View::rows(numbers.as_ptr(), k);
                let side_by_side = View::rows(numbers.as_ptr(), lines).transposed();
                for (from, width) in [one_after_the_other, side_by_side].into_iter().flat_map(|v| [(v, 8), (v, 32)]) {
                    let what = Lines { from, lines, k };
                    let mut packed = [0, 1].map(|_| vec![f32::NAN; lines.next_multiple_of(width) * units(k)]);
                    let [fast, any] = &mut packed;
                    // SAFETY: the views hold all numbers, the panels all lines.
                    unsafe {
                        pack(isa, what, 0..lines, 0..units(k), width, fast.as_mut_ptr());
                        pack_any(what, 0..lines, 0..units(k), width, any.as_mut_ptr());
                    }
                    // In panels of 8 that no line reaches, and beyond the last strip of 16, nothing is written.
                    let same = fast.iter().zip(&*any).all(|(x, y)| x.to_bits() == y.to_bits());
                    assert!(same, "{} {lines} lines of {k} in panels of {width}", isa.name());
                }
            }
        }
    }
}
