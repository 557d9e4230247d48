//! The tile of the matrix product: at most `TILE_ROWS` rows by `2 * LANES` columns in registers.
//!
//! Each element of C is one chain of fused multiply-adds over k in ascending order, whatever the tile's
//! height, so a row's result does not depend on how many other rows are computed with it (decision 6).

use super::simd::Simd;
use super::{Isa, Level, kernel};

/// Rows and columns of a tile.
pub fn tile(isa: Isa) -> (usize, usize) {
    fn of<S: Simd>(_: S) -> (usize, usize) {
        (S::TILE_ROWS, 2 * S::LANES)
    }
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => of(super::avx512::Avx512),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => of(super::avx2::Avx2),
        _ => of(super::portable::Portable),
    }
}

/// A panel of A: element `(row, k)` is at `start + row * row_stride + k * k_stride`.
#[derive(Clone, Copy)]
pub struct PanelA {
    /// Element (0, 0).
    pub start: *const f32,
    /// Distance between rows.
    pub row_stride: usize,
    /// Distance along k.
    pub k_stride: usize,
}

/// A panel of B: `2 * LANES` readable columns in each of the k rows, `k_stride` apart.
#[derive(Clone, Copy)]
pub struct PanelB {
    /// Row 0, column 0.
    pub start: *const f32,
    /// Distance between rows.
    pub k_stride: usize,
}

/// Where the tile goes.
#[derive(Clone, Copy)]
pub struct TileC {
    /// Element (0, 0).
    pub start: *mut f32,
    /// Distance between rows.
    pub row_stride: usize,
    /// Rows to write, at most `TILE_ROWS`.
    pub rows: usize,
    /// Columns to write, at most `2 * LANES`.
    pub columns: usize,
    /// Adds to what is there instead of replacing it.
    pub accumulate: bool,
}

/// What the numbers of a panel of B are stored as. Products and sums are float32.
trait Stored {
    /// Numbers in a unit of 32 bits.
    const IN_A_UNIT: usize;

    /// Reads `LANES` numbers, `at` numbers behind `step`.
    ///
    /// # Safety
    /// They are there.
    unsafe fn load<S: Simd>(s: S, step: *const f32, at: usize) -> S::F32;
}

/// float32.
struct Singles;
/// Half precision, two in a unit of 32 bits.
struct Halves;
/// Signed bytes, four in a unit.
struct Bytes;

impl Stored for Singles {
    const IN_A_UNIT: usize = 1;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, step: *const f32, at: usize) -> S::F32 {
        // SAFETY: the caller's promise.
        unsafe { s.load(step.add(at)) }
    }
}

impl Stored for Halves {
    const IN_A_UNIT: usize = 2;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, step: *const f32, at: usize) -> S::F32 {
        // SAFETY: the caller's promise.
        unsafe { s.load_halves(step.cast::<u16>().add(at)) }
    }
}

impl Stored for Bytes {
    const IN_A_UNIT: usize = 4;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, step: *const f32, at: usize) -> S::F32 {
        // SAFETY: the caller's promise.
        unsafe { s.load_bytes(step.cast::<i8>().add(at)) }
    }
}

/// What is read after a tile: as many bytes as the tile reads of B are fetched from there, a few at each step. The processor
/// foresees long runs only, and fetching much at once makes it wait.
type Ahead = *const f32;

/// Units of 32 bits in a cache line.
const LINE: usize = 16;

/// A tile of `PANELS` panels of B, `panel` units apart.
///
/// # Safety
/// As [`multiply_tile`], for each of the panels.
#[inline(always)]
unsafe fn tile_of_rows<S: Simd, B: Stored, const ROWS: usize, const PANELS: usize>(
    s: S,
    k: usize,
    a: PanelA,
    b: PanelB,
    (panel, mut ahead): (usize, Option<Ahead>),
    c: TileC,
) {
    let zero = s.splat(0.0);
    let mut fetch = || {
        let Some(ahead) = &mut ahead else { return };
        let units = PANELS * 2 * S::LANES / B::IN_A_UNIT;
        for line in (0..units).step_by(LINE) {
            s.prefetch(ahead.wrapping_add(line));
        }
        *ahead = ahead.wrapping_add(units);
    };
    let mut sums = [[[zero; 2]; ROWS]; PANELS];
    // SAFETY: the caller of `multiply_tile` or `multiply_stored` promises that the panels hold k rows and C the tile.
    unsafe {
        let load = |row: *const f32, index: usize| {
            let row = row.add(index * panel);
            (B::load(s, row, 0), B::load(s, row, S::LANES))
        };
        let mut row = b.start;
        let mut column = a.start;
        if a.row_stride == 1 {
            for _ in 0..k {
                fetch();
                for (index, sums) in sums.iter_mut().enumerate() {
                    let (b0, b1) = load(row, index);
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let x = s.splat(*column.add(i));
                        *sums = [s.fma(x, b0, sums[0]), s.fma(x, b1, sums[1])];
                    }
                }
                row = row.add(b.k_stride);
                column = column.add(a.k_stride);
            }
        } else {
            let starts: [*const f32; ROWS] = std::array::from_fn(|i| a.start.add(i * a.row_stride));
            let mut at = 0;
            for _ in 0..k {
                fetch();
                for (index, sums) in sums.iter_mut().enumerate() {
                    let (b0, b1) = load(row, index);
                    for i in 0..ROWS {
                        let x = s.splat(*starts[i].add(at));
                        sums[i] = [s.fma(x, b0, sums[i][0]), s.fma(x, b1, sums[i][1])];
                    }
                }
                row = row.add(b.k_stride);
                at += a.k_stride;
            }
        }
        let width = 2 * S::LANES;
        for (index, sums) in sums.iter().enumerate() {
            let columns = c.columns.saturating_sub(index * width).min(width);
            store_tile(s, sums, TileC { start: c.start.add(index * width), columns, ..c });
        }
    }
}

/// Writes a tile's sums, or adds them.
///
/// # Safety
/// C is writable for ROWS rows of `c.columns`.
#[inline(always)]
pub(super) unsafe fn store_tile<S: Simd, const ROWS: usize>(s: S, sums: &[[S::F32; 2]; ROWS], c: TileC) {
    for (i, sum) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let to = c.start.add(i * c.row_stride);
            for (half, &value) in sum.iter().enumerate() {
                let (to, n) = (to.add(half * S::LANES), c.columns.saturating_sub(half * S::LANES).min(S::LANES));
                if n == S::LANES {
                    s.store(to, if c.accumulate { s.add(s.load(to), value) } else { value });
                } else if n > 0 {
                    s.store_first(to, n, if c.accumulate { s.add(s.load_first(to, n), value) } else { value });
                }
            }
        }
    }
}

/// Calls a function of a constant number of rows with a number of rows that is known at run time, at most 8:
/// `for_rows!(rows, f::<S, _>(arguments))`, where `_` is the number.
macro_rules! for_rows {
    ($rows:expr, $f:ident::<$($type:ident,)* _ $(, $constant:literal)*>$arguments:tt) => {
        match $rows {
            1 => $f::<$($type,)* 1 $(, $constant)*>$arguments,
            2 => $f::<$($type,)* 2 $(, $constant)*>$arguments,
            3 => $f::<$($type,)* 3 $(, $constant)*>$arguments,
            4 => $f::<$($type,)* 4 $(, $constant)*>$arguments,
            5 => $f::<$($type,)* 5 $(, $constant)*>$arguments,
            6 => $f::<$($type,)* 6 $(, $constant)*>$arguments,
            7 => $f::<$($type,)* 7 $(, $constant)*>$arguments,
            8 => $f::<$($type,)* 8 $(, $constant)*>$arguments,
            _ => {}
        }
    };
}
pub(super) use for_rows;

#[inline(always)]
fn multiply_tile_body<S: Simd>(s: S, k: usize, a: PanelA, b: PanelB, c: TileC) {
    debug_assert!(c.rows <= S::TILE_ROWS && c.columns <= 2 * S::LANES);
    // SAFETY: see `multiply_tile`.
    unsafe { for_rows!(c.rows, tile_of_rows::<S, Singles, _, 1>(s, k, a, b, (0, None), c)) }
}

kernel!(fn multiply_tile_any(k: usize, a: PanelA, b: PanelB, c: TileC) = multiply_tile_body);

/// C (+)= A B for one tile.
///
/// # Safety
/// The panels hold `k` steps (B with full width), C is writable and disjoint from both.
#[inline]
pub unsafe fn multiply_tile(isa: Isa, k: usize, a: PanelA, b: PanelB, c: TileC) {
    multiply_tile_any(isa, k, a, b, c);
}

/// What the numbers of B are, where it lies in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredAs {
    /// float32.
    F32,
    /// Half precision, two in a unit of 32 bits.
    F16,
    /// Signed bytes, four in a unit.
    I8,
}

/// Rows of a tile that leave room for a second panel beside it: then few rows have enough chains to keep the processor busy.
const fn tall(tile_rows: usize) -> usize {
    tile_rows / 2
}

/// Rows up to which [`multiply_stored`] takes two panels at once.
pub fn two_panel_rows(isa: Isa) -> usize {
    tall(tile(isa).0)
}

#[inline(always)]
fn multiply_stored_body<S: Simd, B: Stored>(
    s: S,
    k: usize,
    a: PanelA,
    b: PanelB,
    (panel, ahead): (usize, Ahead),
    c: TileC,
) {
    debug_assert!(c.rows <= S::TILE_ROWS && c.columns <= 4 * S::LANES);
    debug_assert!(c.columns <= 2 * S::LANES || c.rows <= tall(S::TILE_ROWS));
    // SAFETY: see `multiply_stored`.
    unsafe {
        if c.columns > 2 * S::LANES {
            match c.rows {
                1 => tile_of_rows::<S, B, 1, 2>(s, k, a, b, (panel, Some(ahead)), c),
                2 => tile_of_rows::<S, B, 2, 2>(s, k, a, b, (panel, Some(ahead)), c),
                3 => tile_of_rows::<S, B, 3, 2>(s, k, a, b, (panel, Some(ahead)), c),
                _ => tile_of_rows::<S, B, 4, 2>(s, k, a, b, (panel, Some(ahead)), c),
            }
        } else if ahead.is_null() {
            for_rows!(c.rows, tile_of_rows::<S, B, _, 1>(s, k, a, b, (panel, None), c))
        } else {
            for_rows!(c.rows, tile_of_rows::<S, B, _, 1>(s, k, a, b, (panel, Some(ahead)), c))
        }
    }
}

#[inline(always)]
fn multiply_singles_body<S: Simd>(s: S, k: usize, a: PanelA, b: PanelB, next: (usize, Ahead), c: TileC) {
    multiply_stored_body::<S, Singles>(s, k, a, b, next, c);
}
#[inline(always)]
fn multiply_halves_body<S: Simd>(s: S, k: usize, a: PanelA, b: PanelB, next: (usize, Ahead), c: TileC) {
    multiply_stored_body::<S, Halves>(s, k, a, b, next, c);
}
#[inline(always)]
fn multiply_bytes_body<S: Simd>(s: S, k: usize, a: PanelA, b: PanelB, next: (usize, Ahead), c: TileC) {
    multiply_stored_body::<S, Bytes>(s, k, a, b, next, c);
}
kernel!(fn multiply_singles(k: usize, a: PanelA, b: PanelB, next: (usize, Ahead), c: TileC) = multiply_singles_body);
kernel!(fn multiply_halves(k: usize, a: PanelA, b: PanelB, next: (usize, Ahead), c: TileC) = multiply_halves_body);
kernel!(fn multiply_bytes(k: usize, a: PanelA, b: PanelB, next: (usize, Ahead), c: TileC) = multiply_bytes_body);

/// C (+)= A B for one tile of at most `TILE_ROWS` rows by one panel of B, or [`two_panel_rows`] rows by two panels, `next.0`
/// units of 32 bits apart. The sums are those of [`multiply_tile`] with B widened, in the same order. Meanwhile as many bytes
/// as are read of B are fetched from `next.1`, which may be any address; null for nothing.
///
/// # Safety
/// The panels hold `k` steps (B with full width, `k_stride` units apart), C is writable and disjoint from both.
#[inline]
pub unsafe fn multiply_stored(
    isa: Isa,
    stored: StoredAs,
    k: usize,
    a: PanelA,
    b: PanelB,
    next: (usize, Ahead),
    c: TileC,
) {
    match stored {
        StoredAs::F32 => multiply_singles(isa, k, a, b, next, c),
        StoredAs::F16 => multiply_halves(isa, k, a, b, next, c),
        StoredAs::I8 => multiply_bytes(isa, k, a, b, next, c),
    }
}

/// A matrix anywhere in memory: element `(row, column)` is at `start + row * row_stride + column * column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Element (0, 0).
    pub start: *const f32,
    /// Distance between rows.
    pub row_stride: usize,
    /// Distance between columns.
    pub column_stride: usize,
}

impl View {
    /// A row-major matrix whose rows are `row_stride` apart.
    pub fn rows(start: *const f32, row_stride: usize) -> Self {
        Self { start, row_stride, column_stride: 1 }
    }

    /// The transpose.
    pub fn transposed(self) -> Self {
        Self { start: self.start, row_stride: self.column_stride, column_stride: self.row_stride }
    }

    /// The matrix that begins at `(row, column)`.
    ///
    /// # Safety
    /// The element must be inside of the matrix, or one past its end.
    pub unsafe fn at(self, row: usize, column: usize) -> Self {
        // SAFETY: the caller's promise.
        Self { start: unsafe { self.start.add(row * self.row_stride + column * self.column_stride) }, ..self }
    }
}

/// Four vectors' worth of a transposition at a time would need shuffles per instruction set; copying
/// 8 x 8 blocks keeps both sides in cache lines that are already there, and is portable.
///
/// # Safety
/// As [`pack_panel`].
#[inline(always)]
unsafe fn pack_lines<S: Simd>(s: S, from: View, lines: usize, steps: usize, width: usize, to: *mut f32) {
    // SAFETY: see `pack_panel`.
    unsafe {
        if from.row_stride == 1 {
            // The lines of the panel lie side by side: copy vectors.
            for step in 0..steps {
                let (source, target) = (from.start.add(step * from.column_stride), to.add(step * width));
                let mut at = 0;
                while at < width {
                    let n = lines.saturating_sub(at).min(S::LANES);
                    let value = if n == S::LANES { s.load(source.add(at)) } else { s.load_first(source.add(at), n) };
                    let room = (width - at).min(S::LANES);
                    if room == S::LANES {
                        s.store(target.add(at), value)
                    } else {
                        s.store_first(target.add(at), room, value)
                    }
                    at += S::LANES;
                }
            }
            return;
        }
        let mut step = 0;
        while step < steps {
            let count = (steps - step).min(16);
            for line in 0..width {
                let target = to.add(step * width + line);
                if line < lines {
                    let source = from.start.add(line * from.row_stride + step * from.column_stride);
                    for i in 0..count {
                        *target.add(i * width) = *source.add(i * from.column_stride);
                    }
                } else {
                    for i in 0..count {
                        *target.add(i * width) = 0.0;
                    }
                }
            }
            step += count;
        }
    }
}

#[inline(always)]
fn pack_panel_body<S: Simd>(s: S, from: View, lines: usize, steps: usize, width: usize, to: *mut f32) {
    // SAFETY: see `pack_panel`.
    unsafe { pack_lines(s, from, lines, steps, width, to) }
}

kernel!(fn pack_panel_any(from: View, lines: usize, steps: usize, width: usize, to: *mut f32) = pack_panel_body);

/// Packs `lines` rows of a view into a panel `[steps][width]`, zero beyond `lines`: element
/// `(line, step)` goes to `to[step * width + line]`.
///
/// # Safety
/// The view holds `lines x steps`, `to` is writable for `steps * width`, `lines <= width`.
pub unsafe fn pack_panel(isa: Isa, from: View, lines: usize, steps: usize, width: usize, to: *mut f32) {
    debug_assert!(lines <= width);
    #[cfg(target_arch = "x86_64")]
    if isa.level() == Level::Avx512
        && from.column_stride == 1
        && lines == width
        && width.is_multiple_of(8)
        && steps >= 16
    {
        // SAFETY: AVX-512 was detected; bounds are the caller's promise.
        unsafe { transpose::pack(from, steps, width, to) };
        return;
    }
    pack_panel_any(isa, from, lines, steps, width, to);
}

#[cfg(target_arch = "x86_64")]
mod transpose {
    //! The transposing pack for AVX-512: 8 rows of 16 become 16 half-columns of 8.

    use std::arch::x86_64::*;

    use super::View;

    /// # Safety
    /// AVX-512 is there; as for `pack_panel`, with `lines == width`, a multiple of 8, and unit column stride.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub unsafe fn pack(from: View, steps: usize, width: usize, to: *mut f32) {
        let whole = steps / 8 * 8;
        for line in (0..width).step_by(8) {
            for step in (0..whole).step_by(8) {
                // SAFETY: the block is inside of the view, its transpose inside of the panel.
                unsafe {
                    let source = from.start.add(line * from.row_stride + step);
                    block(source, from.row_stride, to.add(step * width + line), width);
                }
            }
            for step in whole..steps {
                for i in 0..8 {
                    // SAFETY: as above.
                    unsafe { *to.add(step * width + line + i) = *from.start.add((line + i) * from.row_stride + step) }
                }
            }
        }
    }

    /// Transposes 8 x 8.
    ///
    /// # Safety
    /// `from` is readable, and `to` writable, for eight rows of eight numbers, so far apart; the processor has the features.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn block(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the caller's promise.
        let row = |i: usize| unsafe { _mm256_loadu_ps(from.add(i * from_stride)) };
        let r: [__m256; 8] = [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)];
        let low = |i: usize| _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        let high = |i: usize| _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        let (t0, t2, t4, t6) = (low(0), low(1), low(2), low(3));
        let (t1, t3, t5, t7) = (high(0), high(1), high(2), high(3));
        let u = [
            _mm256_shuffle_ps::<0x44>(t0, t2),
            _mm256_shuffle_ps::<0xEE>(t0, t2),
            _mm256_shuffle_ps::<0x44>(t1, t3),
            _mm256_shuffle_ps::<0xEE>(t1, t3),
            _mm256_shuffle_ps::<0x44>(t4, t6),
            _mm256_shuffle_ps::<0xEE>(t4, t6),
            _mm256_shuffle_ps::<0x44>(t5, t7),
            _mm256_shuffle_ps::<0xEE>(t5, t7),
        ];
        for i in 0..4 {
            // SAFETY: the caller's promise.
            unsafe {
                _mm256_storeu_ps(to.add(i * to_stride), _mm256_permute2f128_ps::<0x20>(u[i], u[i + 4]));
                _mm256_storeu_ps(to.add((i + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(u[i], u[i + 4]));
            }
        }
    }
}
