//! AVX-512 with `VPDPBUSD`: in a lane, four unsigned codes of a row of the weight times four signed codes of `x`.

use std::arch::x86_64::*;

use super::{Out, Panel};
use crate::quant::{STEP, TILE_ROWS, TileLayout, WeightKind};

/// The layout that the constants name. No shared units and no header: `SUPER` 1; widened: `SUPER` 0.
const fn layout<const LOW: usize, const HIGH: usize, const GROUP: usize, const SUPER: usize, const MINIMA: bool>()
-> TileLayout {
    TileLayout { low_bits: LOW, high_bits: HIGH, group: GROUP, minima: MINIMA, zero_bits: 0, super_steps: SUPER }
}

/// The codes of four columns, `4 g …`, of 16 rows.
///
/// # Safety
/// A whole step lies at `step`, and `g` is below 8. The features of [`direct`].
#[inline(always)]
unsafe fn codes<const LOW: usize, const HIGH: usize>(step: *const u8, g: usize) -> __m512i {
    // SAFETY: the caller's promise: a whole step; this is only inlined where the features are on.
    unsafe {
        let register = |at: usize| _mm512_loadu_si512(step.add(at).cast());
        let low = match LOW {
            8 => return register(g * 64),
            4 => {
                let pair = register(g / 2 * 64);
                let shifted = if g.is_multiple_of(2) { pair } else { _mm512_srli_epi16::<4>(pair) };
                _mm512_and_si512(shifted, _mm512_set1_epi8(15))
            }
            _ => {
                let four = register(g / 4 * 64);
                let shifted = match g % 4 {
                    0 => four,
                    1 => _mm512_srli_epi16::<2>(four),
                    2 => _mm512_srli_epi16::<4>(four),
                    _ => _mm512_srli_epi16::<6>(four),
                };
                _mm512_and_si512(shifted, _mm512_set1_epi8(3))
            }
        };
        let high = match HIGH {
            0 => return low,
            2 => {
                let four = register(LOW * 64 + g / 4 * 64);
                let shifted = match g % 4 {
                    0 => _mm512_slli_epi16::<4>(four),
                    1 => _mm512_slli_epi16::<2>(four),
                    2 => four,
                    _ => _mm512_srli_epi16::<2>(four),
                };
                _mm512_and_si512(shifted, _mm512_set1_epi8(0x30))
            }
            _ => {
                let eight = register(LOW * 64);
                let shifted = match (LOW as i32) - g as i32 {
                    4 => _mm512_slli_epi16::<4>(eight),
                    3 => _mm512_slli_epi16::<3>(eight),
                    2 => _mm512_slli_epi16::<2>(eight),
                    1 => _mm512_slli_epi16::<1>(eight),
                    0 => eight,
                    -1 => _mm512_srli_epi16::<1>(eight),
                    -2 => _mm512_srli_epi16::<2>(eight),
                    -3 => _mm512_srli_epi16::<3>(eight),
                    -4 => _mm512_srli_epi16::<4>(eight),
                    _ => _mm512_srli_epi16::<5>(eight),
                };
                _mm512_and_si512(shifted, _mm512_set1_epi8(1 << LOW))
            }
        };
        _mm512_or_si512(low, high)
    }
}

/// 16 numbers of half precision.
///
/// # Safety
/// 32 bytes lie at `from`. The features of [`direct`].
#[inline(always)]
unsafe fn halves(from: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
}

/// 16 signed bytes as numbers.
///
/// # Safety
/// The features of [`direct`].
#[inline(always)]
unsafe fn from_bytes(bytes: __m128i) -> __m512 {
    // SAFETY: only inlined where the features are on.
    unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)) }
}

/// Scales and offsets of a group of a step; `units` are those of its block.
///
/// # Safety
/// A whole step lies at `step`, and it has the group. The features of [`direct`].
#[inline(always)]
unsafe fn scales<const LOW: usize, const HIGH: usize, const GROUP: usize, const SUPER: usize, const MINIMA: bool>(
    step: *const u8,
    units: [__m512; 2],
    group: usize,
) -> (__m512, __m512) {
    // SAFETY: the caller's promise: a whole step.
    unsafe {
        let at = step.add((LOW + HIGH) * 64);
        let none = _mm512_setzero_ps();
        if SUPER == 0 {
            let at = at.cast::<f32>();
            let offset = if MINIMA { _mm512_loadu_ps(at.add((STEP / GROUP + group) * 16)) } else { none };
            return (_mm512_loadu_ps(at.add(group * 16)), offset);
        }
        if SUPER == 1 {
            return (halves(at), if MINIMA { halves(at.add(32)) } else { none });
        }
        let bytes = _mm_loadu_si128(at.add(group * 16).cast());
        if MINIMA && GROUP == 16 {
            let nibbles = _mm_set1_epi8(15);
            let minima = from_bytes(_mm_and_si128(_mm_srli_epi16::<4>(bytes), nibbles));
            let scale = _mm512_mul_ps(units[0], from_bytes(_mm_and_si128(bytes, nibbles)));
            return (scale, negative(_mm512_mul_ps(units[1], minima)));
        }
        let scale = _mm512_mul_ps(units[0], from_bytes(bytes));
        if !MINIMA {
            return (scale, none);
        }
        let minima = from_bytes(_mm_loadu_si128(at.add(16).cast()));
        (scale, negative(_mm512_mul_ps(units[1], minima)))
    }
}

/// With the other sign.
///
/// # Safety
/// The features of [`direct`].
#[inline(always)]
unsafe fn negative(x: __m512) -> __m512 {
    // SAFETY: only inlined where the features are on.
    unsafe { _mm512_xor_ps(x, _mm512_set1_ps(-0.0)) }
}

/// The units of a block whose first step begins at `header`.
///
/// # Safety
/// A whole header of this layout lies at `header`. The features of [`direct`].
#[inline(always)]
unsafe fn units<const SUPER: usize, const MINIMA: bool>(header: *const u8) -> [__m512; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let none = _mm512_setzero_ps();
        if SUPER <= 1 { [none; 2] } else { [halves(header), if MINIMA { halves(header.add(32)) } else { none }] }
    }
}

/// The sums of a tile and a panel of `ROWS` rows.
///
/// # Safety
/// As [`direct`], with a panel `ROWS` wide.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn tile<
    const LOW: usize,
    const HIGH: usize,
    const GROUP: usize,
    const SUPER: usize,
    const MINIMA: bool,
    const ROWS: usize,
>(
    tile: *const u8,
    steps: usize,
    panel: Panel,
    out: Out,
) {
    let layout = const { layout::<LOW, HIGH, GROUP, SUPER, MINIMA>() };
    let step_bytes = if SUPER == 0 { super::widened_step_bytes(&layout) } else { layout.step_bytes() };
    let groups = STEP / GROUP;
    // SAFETY: the caller's promise: `out` has these rows and columns.
    let mut sums: [__m512; ROWS] = unsafe { begin(out) };
    let (mut at, mut units_of) = (tile, [_mm512_setzero_ps(); 2]);
    let (mut x, mut x_scales, mut side) = (panel.codes, panel.scales, panel.side);
    for step in 0..steps {
        // SAFETY: the caller's promise: the tile and the panel hold `steps` steps.
        unsafe {
            if SUPER > 1 && step % SUPER == 0 {
                units_of = units::<SUPER, MINIMA>(at);
                at = at.add(layout.header_bytes());
            }
            if SUPER > 0 {
                for line in (0..step_bytes).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(PREFETCH_BYTES + line).cast());
                }
            }
            let mut scaled = [_mm512_setzero_ps(); ROWS];
            for group in 0..groups {
                let mut products = [_mm512_setzero_si512(); ROWS];
                if !MINIMA {
                    for (row, product) in products.iter_mut().enumerate() {
                        *product = _mm512_set1_epi32(*side.add(row).cast::<i32>());
                    }
                }
                for g in group * (8 / groups)..(group + 1) * (8 / groups) {
                    let w = codes::<LOW, HIGH>(at, g);
                    for (row, product) in products.iter_mut().enumerate() {
                        let x = _mm512_set1_epi32(x.add((g * ROWS + row) * 4).cast::<i32>().read_unaligned());
                        *product = _mm512_dpbusd_epi32(*product, w, x);
                    }
                }
                let (scale, offset) = scales::<LOW, HIGH, GROUP, SUPER, MINIMA>(at, units_of, group);
                for row in 0..ROWS {
                    scaled[row] = add_scaled(products[row], scale, scaled[row], group);
                    if MINIMA {
                        sums[row] = _mm512_fmadd_ps(offset, _mm512_set1_ps(*side.add(row)), sums[row]);
                    }
                }
                side = side.add(ROWS);
            }
            for (row, (sum, scaled)) in sums.iter_mut().zip(scaled).enumerate() {
                *sum = _mm512_fmadd_ps(scaled, _mm512_set1_ps(*x_scales.add(row)), *sum);
            }
            at = at.add(step_bytes);
            x = x.add(STEP * ROWS);
            x_scales = x_scales.add(ROWS);
        }
    }
    // SAFETY: the caller's promise: `out` has room for these rows and columns.
    unsafe { end(&sums, out) };
}

/// The products of a group of a step times their scales, with those of the group before.
///
/// # Safety
/// The features of [`direct`].
#[inline(always)]
unsafe fn add_scaled(products: __m512i, scale: __m512, before: __m512, group: usize) -> __m512 {
    // SAFETY: only inlined where the features are on.
    unsafe {
        let products = _mm512_cvtepi32_ps(products);
        if group == 0 { _mm512_mul_ps(products, scale) } else { _mm512_fmadd_ps(products, scale, before) }
    }
}

/// How far ahead a weight is asked for, which is read once: what memory answers with in the time of a miss, and some more.
const PREFETCH_BYTES: usize = 16 << 10;

#[inline(always)]
fn mask(columns: usize) -> u16 {
    (u32::MAX >> (32 - columns)) as u16
}

/// Zeros, or the sums of the columns before.
///
/// # Safety
/// What `out` has of `ROWS` rows may be read. The features of [`direct`].
#[inline(always)]
unsafe fn begin<const ROWS: usize>(out: Out) -> [__m512; ROWS] {
    // SAFETY: the caller's promise; masked beyond the columns that there are.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); ROWS];
        if out.goes_on {
            for (row, sum) in sums.iter_mut().enumerate().take(out.rows) {
                *sum = _mm512_maskz_loadu_ps(mask(out.columns), out.y.add(row * out.stride));
            }
        }
        sums
    }
}

/// Writes the sums, with the bias if there is one.
///
/// # Safety
/// Nobody else reads or writes what `out` has of `ROWS` rows. The features of [`direct`].
#[inline(always)]
unsafe fn end<const ROWS: usize>(sums: &[__m512; ROWS], out: Out) {
    // SAFETY: the caller's promise; masked beyond the columns that there are.
    unsafe {
        let mask = mask(out.columns);
        let bias = if out.bias.is_null() { _mm512_setzero_ps() } else { _mm512_maskz_loadu_ps(mask, out.bias) };
        for (row, sum) in sums.iter().enumerate().take(out.rows) {
            let sum = if out.bias.is_null() { *sum } else { _mm512_add_ps(*sum, bias) };
            _mm512_mask_storeu_ps(out.y.add(row * out.stride), mask, sum);
        }
    }
}

/// Writes the steps of a tile with codes of 8 bits and float32 scales and offsets.
///
/// # Safety
/// As [`widen`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn widen_tile<
    const LOW: usize,
    const HIGH: usize,
    const GROUP: usize,
    const SUPER: usize,
    const MINIMA: bool,
>(
    tile: *const u8,
    steps: std::ops::Range<usize>,
    to: *mut u8,
) {
    let layout = const { layout::<LOW, HIGH, GROUP, SUPER, MINIMA>() };
    let groups = STEP / GROUP;
    // SAFETY: the caller's promise: the tile has these steps.
    let mut at =
        unsafe { tile.add(if SUPER > 1 { layout.step_at(steps.start).1 } else { layout.step_at(steps.start).0 }) };
    let (mut to, mut units_of) = (to, [_mm512_setzero_ps(); 2]);
    for step in steps {
        // SAFETY: the caller's promise: so many steps on both sides.
        unsafe {
            if SUPER > 1 && step % SUPER == 0 {
                units_of = units::<SUPER, MINIMA>(at);
                at = at.add(layout.header_bytes());
            }
            for g in 0..8 {
                _mm512_storeu_si512(to.add(g * 64).cast(), codes::<LOW, HIGH>(at, g));
            }
            let scales_at = to.add(512).cast::<f32>();
            for group in 0..groups {
                let (scale, offset) = scales::<LOW, HIGH, GROUP, SUPER, MINIMA>(at, units_of, group);
                _mm512_storeu_ps(scales_at.add(group * 16), scale);
                if MINIMA {
                    _mm512_storeu_ps(scales_at.add((groups + group) * 16), offset);
                }
            }
            at = at.add(layout.step_bytes());
            to = to.add(super::widened_step_bytes(&layout));
        }
    }
}

/// Calls `$function::<LOW, HIGH, GROUP, SUPER, MINIMA, $rows>` for a kind.
macro_rules! for_kind {
    ($kind:expr, $function:ident, [$($rows:tt)*], $arguments:tt) => {
        match $kind {
            WeightKind::Q8_0 => $function::<8, 0, 32, 1, false $($rows)*> $arguments,
            WeightKind::Q4_0 => $function::<4, 0, 32, 1, false $($rows)*> $arguments,
            WeightKind::Q4_1 => $function::<4, 0, 32, 1, true $($rows)*> $arguments,
            WeightKind::Q5_0 => $function::<4, 1, 32, 1, false $($rows)*> $arguments,
            WeightKind::Q5_1 => $function::<4, 1, 32, 1, true $($rows)*> $arguments,
            WeightKind::Q2_K => $function::<2, 0, 16, 8, true $($rows)*> $arguments,
            WeightKind::Q3_K => $function::<2, 1, 16, 8, false $($rows)*> $arguments,
            WeightKind::Q4_K => $function::<4, 0, 32, 8, true $($rows)*> $arguments,
            WeightKind::Q5_K => $function::<4, 1, 32, 8, true $($rows)*> $arguments,
            WeightKind::Q6_K => $function::<4, 2, 16, 8, false $($rows)*> $arguments,
            WeightKind::F32 | WeightKind::F16 | WeightKind::BF16 => unreachable!("no codes"),
        }
    };
}

/// Widened in registers, for a panel of up to four rows.
///
/// # Safety
/// `VPDPBUSD` is there; the tile of this kind and the panel hold `steps` steps; `out` has room.
pub(super) unsafe fn direct(kind: WeightKind, at: *const u8, steps: usize, panel: Panel, out: Out) {
    // SAFETY: the caller's promise.
    unsafe {
        match panel.width {
            1 => for_kind!(kind, tile, [, 1], (at, steps, panel, out)),
            2 => for_kind!(kind, tile, [, 2], (at, steps, panel, out)),
            _ => for_kind!(kind, tile, [, 4], (at, steps, panel, out)),
        }
    }
}

/// # Safety
/// As [`direct`]; `steps` begin where a block does; `to` has room for them.
pub(super) unsafe fn widen(kind: WeightKind, at: *const u8, steps: std::ops::Range<usize>, to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { for_kind!(kind, widen_tile, [], (at, steps, to)) }
}

/// Two widened tiles, `distance` bytes apart, and `ROWS` rows of a panel of `WIDTH`.
///
/// # Safety
/// As [`multiply_pair`], with a panel `WIDTH` wide, which has `ROWS` rows from its first.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn pair<const GROUP: usize, const MINIMA: bool, const ROWS: usize, const WIDTH: usize>(
    tile: *const u8,
    distance: usize,
    steps: usize,
    panel: Panel,
    out: [Out; 2],
) {
    let layout = const { layout::<8, 0, GROUP, 0, MINIMA>() };
    let groups = STEP / GROUP;
    // SAFETY: the caller's promise: `out` has these rows and columns.
    let mut sums: [[__m512; ROWS]; 2] = unsafe { [begin(out[0]), begin(out[1])] };
    let mut at = tile;
    let (mut x, mut x_scales, mut side) = (panel.codes, panel.scales, panel.side);
    for _ in 0..steps {
        // SAFETY: the caller's promise: the tiles and the panel hold `steps` steps.
        unsafe {
            let mut products = [[[_mm512_setzero_si512(); ROWS]; 2]; 2];
            if !MINIMA {
                for (group, products) in products.iter_mut().enumerate().take(groups) {
                    for row in 0..ROWS {
                        let begin = _mm512_set1_epi32(*side.add(group * WIDTH + row).cast::<i32>());
                        products.iter_mut().for_each(|products| products[row] = begin);
                    }
                }
            }
            // The groups in turn: one group's sums alone would wait for each other.
            for g in 0..8 / groups {
                for (group, products) in products.iter_mut().enumerate().take(groups) {
                    let g = group * (8 / groups) + g;
                    let w = [codes::<8, 0>(at, g), codes::<8, 0>(at.add(distance), g)];
                    for row in 0..ROWS {
                        let x = _mm512_set1_epi32(x.add((g * WIDTH + row) * 4).cast::<i32>().read_unaligned());
                        for (products, w) in products.iter_mut().zip(w) {
                            products[row] = _mm512_dpbusd_epi32(products[row], w, x);
                        }
                    }
                }
            }
            let mut scaled = [[_mm512_setzero_ps(); ROWS]; 2];
            for (group, products) in products.iter().enumerate().take(groups) {
                let none = [_mm512_setzero_ps(); 2];
                let of_tiles = [
                    scales::<8, 0, GROUP, 0, MINIMA>(at, none, group),
                    scales::<8, 0, GROUP, 0, MINIMA>(at.add(distance), none, group),
                ];
                for row in 0..ROWS {
                    for (tile, (scale, offset)) in of_tiles.into_iter().enumerate() {
                        scaled[tile][row] = add_scaled(products[tile][row], scale, scaled[tile][row], group);
                        if MINIMA {
                            let sum = &mut sums[tile][row];
                            *sum = _mm512_fmadd_ps(offset, _mm512_set1_ps(*side.add(group * WIDTH + row)), *sum);
                        }
                    }
                }
            }
            side = side.add(groups * WIDTH);
            for row in 0..ROWS {
                let x_scale = _mm512_set1_ps(*x_scales.add(row));
                for (sums, scaled) in sums.iter_mut().zip(&scaled) {
                    sums[row] = _mm512_fmadd_ps(scaled[row], x_scale, sums[row]);
                }
            }
            at = at.add(super::widened_step_bytes(&layout));
            x = x.add(STEP * WIDTH);
            x_scales = x_scales.add(WIDTH);
        }
    }
    // SAFETY: the caller's promise: `out` has room for these rows and columns.
    unsafe { sums.iter().zip(out).for_each(|(sums, out)| end(sums, out)) };
}

/// # Safety
/// As [`direct`], with two widened tiles, `distance` bytes apart.
pub(super) unsafe fn multiply_pair(
    layout: &TileLayout,
    at: *const u8,
    distance: usize,
    steps: usize,
    panel: Panel,
    out: [Out; 2],
) {
    macro_rules! rows {
        ($minima:literal, $rows:literal) => {
            pair::<32, $minima, $rows, $rows>(at, distance, steps, panel, out)
        };
    }
    // In groups of 16 there are more sums than registers for six rows.
    macro_rules! halves {
        ($minima:literal, $rows:literal, $width:literal) => {{
            pair::<16, $minima, $rows, $width>(at, distance, steps, panel, out);
            if $width > $rows && out[0].rows > $rows {
                let out = out.map(|out| out.below($rows));
                pair::<16, $minima, $rows, $width>(at, distance, steps, panel.below($rows), out);
            }
        }};
    }
    // SAFETY: the caller's promise.
    unsafe {
        match (layout.group, layout.minima, panel.width) {
            (16, false, 1) => halves!(false, 1, 1),
            (16, false, 2) => halves!(false, 2, 2),
            (16, false, 4) => halves!(false, 2, 4),
            (16, false, _) => halves!(false, 3, 6),
            (16, true, 1) => halves!(true, 1, 1),
            (16, true, 2) => halves!(true, 2, 2),
            (16, true, 4) => halves!(true, 2, 4),
            (16, true, _) => halves!(true, 3, 6),
            (_, false, 1) => rows!(false, 1),
            (_, false, 2) => rows!(false, 2),
            (_, false, 4) => rows!(false, 4),
            (_, false, _) => rows!(false, 6),
            (_, true, 1) => rows!(true, 1),
            (_, true, 2) => rows!(true, 2),
            (_, true, 4) => rows!(true, 4),
            (_, true, _) => rows!(true, 6),
        }
    }
}

/// # Safety
/// As [`direct`], with a widened tile.
pub(super) unsafe fn multiply_widened(layout: &TileLayout, at: *const u8, steps: usize, panel: Panel, out: Out) {
    macro_rules! rows {
        ($group:literal, $minima:literal) => {
            match panel.width {
                1 => tile::<8, 0, $group, 0, $minima, 1>(at, steps, panel, out),
                2 => tile::<8, 0, $group, 0, $minima, 2>(at, steps, panel, out),
                4 => tile::<8, 0, $group, 0, $minima, 4>(at, steps, panel, out),
                _ => tile::<8, 0, $group, 0, $minima, 6>(at, steps, panel, out),
            }
        };
    }
    // SAFETY: the caller's promise.
    unsafe {
        match (layout.group, layout.minima) {
            (16, false) => rows!(16, false),
            (16, true) => rows!(16, true),
            (_, false) => rows!(32, false),
            (_, true) => rows!(32, true),
        }
    }
}

/// 16 numbers of a column of a tile.
///
/// # Safety
/// The tile has this column. The features of [`direct`].
#[inline(always)]
unsafe fn column<const KIND: usize>(tile: *const u8, column: usize) -> __m512 {
    // SAFETY: the caller's promise: the tile has this column.
    unsafe {
        match KIND {
            0 => _mm512_loadu_ps(tile.cast::<f32>().add(column * TILE_ROWS)),
            1 => halves(tile.add(column * 2 * TILE_ROWS)),
            _ => {
                let bits = _mm256_loadu_si256(tile.add(column * 2 * TILE_ROWS).cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
            }
        }
    }
}

/// The sums of a tile and `ROWS` rows of `x`.
///
/// # Safety
/// The tile has `k` columns, `x` has `ROWS` rows of `k`, `out` room for them. The features of [`direct`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn float_rows<const KIND: usize, const ROWS: usize>(
    tile: *const u8,
    k: usize,
    x: (*const f32, usize),
    out: Out,
) {
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for index in 0..k {
        // SAFETY: the caller's promise: k columns, and ROWS rows of `x`.
        unsafe {
            let w = column::<KIND>(tile, index);
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_fmadd_ps(w, _mm512_set1_ps(*x.0.add(row * x.1 + index)), *sum);
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { end(&sums, out) };
}

/// A tile of a floating-point kind times all rows of `x` (first row, distance between rows).
///
/// # Safety
/// AVX-512 is there; the tile has `k` columns, `x` has `out.rows` rows; `out` has room.
pub(super) unsafe fn floats(kind: WeightKind, tile: *const u8, k: usize, x: (*const f32, usize), out: Out) {
    let mut row = 0;
    while row < out.rows {
        let rows = out.rows - row;
        // SAFETY: the rest of the rows.
        let (x, out) = unsafe { ((x.0.add(row * x.1), x.1), Out { y: out.y.add(row * out.stride), rows, ..out }) };
        macro_rules! rows {
            ($rows:literal) => {
                match kind {
                    WeightKind::F32 => float_rows::<0, $rows>(tile, k, x, out),
                    WeightKind::F16 => float_rows::<1, $rows>(tile, k, x, out),
                    _ => float_rows::<2, $rows>(tile, k, x, out),
                }
            };
        }
        // SAFETY: the caller's promise; as many rows as there are.
        unsafe {
            match rows {
                12.. => rows!(12),
                4..12 => rows!(4),
                _ => rows!(1),
            }
        }
        row += match rows {
            12.. => 12,
            4..12 => 4,
            _ => 1,
        };
    }
}

/// Rounds 32 numbers: their codes, the sums of the first and of the last 16 codes, and the scale (see `round_step`).
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn round_step(x: &[f32; STEP]) -> (__m256i, [i32; 2], f32) {
    // SAFETY: 32 numbers.
    let x = unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(16))] };
    let top = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(x[0]), _mm512_abs_ps(x[1])));
    // Quiet and signalling NaN, both infinities.
    let strange = _mm512_fpclass_ps_mask::<0x99>(x[0]) | _mm512_fpclass_ps_mask::<0x99>(x[1]);
    let scale = if strange == 0 { top / 127.0 } else { f32::NAN };
    let inverse = _mm512_set1_ps(super::activations::inverse(top));
    let codes = x.map(|x| _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x, inverse))));
    let codes = _mm256_set_m128i(codes[1], codes[0]);
    let fours = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), codes);
    let pairs = _mm256_hadd_epi32(fours, fours);
    let sums = _mm256_hadd_epi32(pairs, pairs);
    (codes, [_mm256_extract_epi32::<0>(sums), _mm256_extract_epi32::<4>(sums)], scale)
}

/// See `activations::round_row`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
pub(super) fn round_row(x: &[f32], row: usize, width: usize, codes: &mut [f32], scales: &mut [f32], sums: &mut [f32]) {
    for (step, x) in x.as_chunks::<STEP>().0.iter().enumerate() {
        let (rounded, [first, last], scale) = round_step(x);
        let mut units = [0f32; 8];
        // SAFETY: eight units.
        unsafe { _mm256_storeu_si256(units.as_mut_ptr().cast(), rounded) };
        let codes = &mut codes[step * 8 * width..][..8 * width];
        for (codes, unit) in codes.chunks_exact_mut(width).zip(units) {
            codes[row] = unit;
        }
        sums[step * 2 * width + row] = f32::from_bits(first as u32);
        sums[(step * 2 + 1) * width + row] = f32::from_bits(last as u32);
        scales[step * width + row] = scale;
    }
}
