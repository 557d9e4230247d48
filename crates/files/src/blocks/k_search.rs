//! How the codes of the K-quants are chosen: each group looks for the scale (and minimum) of least weighted error
//! among a few candidates, the scales are rounded to multiples of the block's unit, and the codes are rounded to those.
//!
//! The search, its candidates and its weights: Kawrakow 2023, llama.cpp pull request 1684 and its successors (there
//! `make_qkx2_quants`, `make_qx_quants`, `make_q3_quants`). Given codes, the best scale and minimum are those of a
//! weighted least-squares line; given the scale, the best codes are the nearest. Q3_K and Q6_K here use both searches for
//! both types and the weights that ggml has for its importance matrices, √(2·mean(x²) + x²), which lowers their error.

use tsumugi_base::half::{from_f16, to_f16};

/// Half of the smallest scale that binary16 can hold: a group whose values are all smaller has no codes but zero.
const MAGNITUDE_MIN: f32 = 1.0 / (1u32 << 25) as f32;

/// What tells one affine type from another.
pub struct AffineSearch {
    /// Codes are `0 ..= code_max`.
    pub code_max: u8,
    /// Quantized scales and minima are `0 ..= scale_max`.
    pub scale_max: u8,
    /// Candidate `i` spreads the range of values over `code_max + first + i / 10` steps.
    pub first: f32,
    /// Candidates after the first.
    pub steps: u8,
    /// Sums errors, and weighs by magnitude, instead of summing squares: for the coarsest type.
    pub absolute: bool,
}

/// A block of `scale_unit · scale · code − minimum_unit · minimum`; the units are binary16.
pub struct AffineCodes<const GROUPS: usize> {
    pub scale_unit: u16,
    pub minimum_unit: u16,
    pub scales: [u8; GROUPS],
    pub minima: [u8; GROUPS],
    pub codes: [u8; 256],
}

/// The codes of a block in `GROUPS` groups of `LENGTH`.
pub fn affine_codes<const GROUPS: usize, const LENGTH: usize>(
    values: &[f32; 256],
    search: &AffineSearch,
) -> AffineCodes<GROUPS> {
    let groups = values.as_chunks::<LENGTH>().0;
    let fits: [(f32, f32); GROUPS] = std::array::from_fn(|i| affine_fit(&groups[i], search));
    let (scale_unit, scales) = multiples(fits.map(|fit| fit.0), search.scale_max);
    let (minimum_unit, minima) = multiples(fits.map(|fit| fit.1), search.scale_max);
    let mut codes = [0; 256];
    for (i, codes) in codes.as_chunks_mut::<LENGTH>().0.iter_mut().enumerate() {
        let scale = from_f16(scale_unit) * f32::from(scales[i]);
        let minimum = from_f16(minimum_unit) * f32::from(minima[i]);
        if scale > 0.0 {
            let code_max = f32::from(search.code_max);
            *codes = groups[i].map(|value| nearest((value + minimum) / scale).clamp(0.0, code_max) as u8);
        }
    }
    AffineCodes { scale_unit, minimum_unit, scales, minima, codes }
}

/// Numbers that are not negative as multiples, at most `multiple_max`, of one unit of binary16.
fn multiples<const N: usize>(numbers: [f32; N], multiple_max: u8) -> (u16, [u8; N]) {
    let multiple_max = f32::from(multiple_max);
    let unit = to_f16(numbers.into_iter().fold(0.0, f32::max) / multiple_max);
    if from_f16(unit) == 0.0 {
        return (0, [0; N]);
    }
    (unit, numbers.map(|number| nearest(number / from_f16(unit)).min(multiple_max) as u8))
}

/// `(scale, minimum)` of least error of `scale · code − minimum`; neither is negative.
fn affine_fit<const LENGTH: usize>(values: &[f32; LENGTH], search: &AffineSearch) -> (f32, f32) {
    let lowest = values.iter().copied().fold(0.0, f32::min);
    let highest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if highest - lowest < MAGNITUDE_MIN {
        return (0.0, -lowest);
    }
    let group = Weighted::of(values, search.absolute);
    let code_max = f32::from(search.code_max);
    // The codes when the values from −minimum to the highest are spread over that many steps.
    let codes_of = |minimum: f32, steps: f32| {
        let inverse = steps / (highest + minimum);
        values.map(|value| nearest(inverse * (value + minimum)).clamp(0.0, code_max))
    };
    let mut best = ((highest - lowest) / code_max, -lowest);
    let mut best_error = group.error(&codes_of(best.1, code_max), best);
    for step in 0..=search.steps {
        let codes = codes_of(best.1, code_max + search.first + 0.1 * f32::from(step));
        let Some(line) = group.line(&codes) else { continue };
        let error = group.error(&codes, line);
        if error < best_error {
            (best, best_error) = (line, error);
        }
    }
    best
}

/// The values of a group with their weights: large ones weigh more, since they carry more of a product.
struct Weighted<'a, const LENGTH: usize> {
    values: &'a [f32; LENGTH],
    weights: [f32; LENGTH],
    /// Σw
    w: f32,
    /// Σwx
    wx: f32,
    absolute: bool,
}

impl<'a, const LENGTH: usize> Weighted<'a, LENGTH> {
    fn of(values: &'a [f32; LENGTH], absolute: bool) -> Self {
        let mean_square = sum::<LENGTH>(|i| values[i] * values[i]) / LENGTH as f32;
        let floor = if absolute { 0.0 } else { mean_square.sqrt() };
        let weights = values.map(|value| floor + value.abs());
        Self {
            values,
            weights,
            w: sum::<LENGTH>(|i| weights[i]),
            wx: sum::<LENGTH>(|i| weights[i] * values[i]),
            absolute,
        }
    }

    /// `(scale, minimum)` of the line `scale · code − minimum` of least weighted squares whose minimum is not negative.
    /// None if all codes are one.
    fn line(&self, codes: &[f32; LENGTH]) -> Option<(f32, f32)> {
        let (w, wx) = (self.w, self.wx);
        let wc = sum::<LENGTH>(|i| self.weights[i] * codes[i]);
        let wcc = sum::<LENGTH>(|i| self.weights[i] * codes[i] * codes[i]);
        let wcx = sum::<LENGTH>(|i| self.weights[i] * codes[i] * self.values[i]);
        let determinant = w * wcc - wc * wc;
        if determinant.is_nan() || determinant <= 0.0 {
            return None;
        }
        let minimum = (wc * wcx - wcc * wx) / determinant;
        if minimum < 0.0 {
            return Some((wcx / wcc, 0.0));
        }
        Some(((w * wcx - wx * wc) / determinant, minimum))
    }

    /// The weighted sum of squared (or absolute) errors.
    fn error(&self, codes: &[f32; LENGTH], (scale, minimum): (f32, f32)) -> f32 {
        let error = |i: usize| scale * codes[i] - minimum - self.values[i];
        if self.absolute {
            sum::<LENGTH>(|i| self.weights[i] * error(i).abs())
        } else {
            sum::<LENGTH>(|i| self.weights[i] * error(i) * error(i))
        }
    }
}

/// The sum of `LENGTH` terms in eight lanes, a fixed order that the compiler can put into vectors.
fn sum<const LENGTH: usize>(term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; 8];
    for begin in (0..LENGTH).step_by(8) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(begin + lane);
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// A block of `unit · scale · (code − middle)`; the unit is binary16.
pub struct CenteredCodes {
    pub unit: u16,
    pub scales: [i16; 16],
    pub codes: [u8; 256],
}

/// The codes of a block in 16 groups of 16: codes are `0 .. 2 · middle`, scales `−scale_middle .. scale_middle`. The
/// largest scale gets the lowest number, which has no counterpart above.
pub fn centered_codes(values: &[f32; 256], middle: u8, scale_middle: u8) -> CenteredCodes {
    let groups = values.as_chunks::<16>().0;
    let (middle, scale_middle) = (f32::from(middle), f32::from(scale_middle));
    let mean_square = values.iter().map(|value| value * value).sum::<f32>() / 256.0;
    let fits: [f32; 16] = std::array::from_fn(|i| centered_fit(&groups[i], middle, 2.0 * mean_square));
    let largest = fits.into_iter().fold(0f32, |largest, fit| if fit.abs() > largest.abs() { fit } else { largest });
    let unit = to_f16(-largest / scale_middle);
    let unit_value = from_f16(unit);
    if unit_value == 0.0 {
        return CenteredCodes { unit: 0, scales: [0; 16], codes: [middle as u8; 256] };
    }
    let scales = fits.map(|fit| nearest(fit / unit_value).clamp(-scale_middle, scale_middle - 1.0) as i16);
    let mut codes = [middle as u8; 256];
    for (i, codes) in codes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = unit_value * f32::from(scales[i]);
        if scale != 0.0 {
            *codes = groups[i].map(|value| (nearest(value / scale).clamp(-middle, middle - 1.0) + middle) as u8);
        }
    }
    CenteredCodes { unit, scales, codes }
}

/// The scale of least weighted squared error of `scale · code`; its sign is the one that gives the value of the largest
/// magnitude a negative code. The weight of a value x is √(floor + x²).
fn centered_fit(values: &[f32; 16], middle: f32, floor: f32) -> f32 {
    let weights = values.map(|value| (floor + value * value).sqrt());
    let extreme = values.iter().fold(0f32, |extreme, &value| if value.abs() > extreme.abs() { value } else { extreme });
    if extreme.abs() < MAGNITUDE_MIN {
        return 0.0;
    }
    let mut best = Projection::default();
    let mut best_codes = [0.0; 16];
    for step in -9i8..=9 {
        let inverse = -(middle + 0.1 * f32::from(step)) / extreme;
        let codes = values.map(|value| nearest(inverse * value).clamp(-middle, middle - 1.0));
        let projection = Projection::of(values, &codes, &weights);
        if projection.merit() > best.merit() {
            (best, best_codes) = (projection, codes);
        }
    }
    improve_one_by_one(values, &weights, middle, &mut best_codes, best).scale()
}

/// Gives each value in turn the code that is nearest under the scale of all the others, where that lowers the error.
fn improve_one_by_one(
    values: &[f32; 16],
    weights: &[f32; 16],
    middle: f32,
    codes: &mut [f32; 16],
    mut best: Projection,
) -> Projection {
    const ROUNDS_MAX: u32 = 5;
    for _ in 0..ROUNDS_MAX {
        let mut changed = false;
        for ((&value, code), &weight) in values.iter().zip(&mut *codes).zip(weights) {
            let others = best.with(value, *code, -weight);
            if others.xc <= 0.0 || others.cc <= 0.0 {
                continue;
            }
            let new = nearest(value / others.scale()).clamp(-middle, middle - 1.0);
            let projection = others.with(value, new, weight);
            if new != *code && projection.merit() > best.merit() {
                (best, *code, changed) = (projection, new, true);
            }
        }
        if !changed {
            break;
        }
    }
    best
}

/// Weighted sums over a group: value times code, and code squared.
#[derive(Clone, Copy, Default)]
struct Projection {
    xc: f32,
    cc: f32,
}

impl Projection {
    fn of(values: &[f32; 16], codes: &[f32; 16], weights: &[f32; 16]) -> Self {
        let xc = sum::<16>(|i| weights[i] * values[i] * codes[i]);
        let cc = sum::<16>(|i| weights[i] * codes[i] * codes[i]);
        Self { xc, cc }
    }

    /// With one more element, or (with its weight negated) without it.
    fn with(self, value: f32, code: f32, weight: f32) -> Self {
        Self { xc: self.xc + weight * value * code, cc: self.cc + weight * code * code }
    }

    /// The best scale for these codes.
    fn scale(self) -> f32 {
        if self.cc > 0.0 { self.xc / self.cc } else { 0.0 }
    }

    /// How much of the squared error the best scale takes away.
    fn merit(self) -> f32 {
        self.xc * self.scale()
    }
}

/// The nearest integer, ties to even, for magnitudes below 2²²; beyond, a number near it. One addition and one
/// subtraction: `round_ties_even` is a call where the processor's rounding instruction may not be assumed.
fn nearest(value: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 · 2²³: the last bit of a sum near it is 1
    (value + MAGIC) - MAGIC
}
