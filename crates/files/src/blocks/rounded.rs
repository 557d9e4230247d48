//! Types of 32 elements whose codes are the nearest ones: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! Of Q4_0 and Q5_0 the scale is such that the value of the largest magnitude gets the lowest code, which has no
//! counterpart above; of Q4_1 and Q5_1 the codes span from the lowest value to the highest.

use super::{half, pack, scale_groups, shift_groups, unpack, word};
use tsumugi_base::half::to_f16;

/// Scale, then codes of 4 bits, 8 too high.
pub fn widen_q4_0(block: &[u8; 18], values: &mut [f32; 32]) {
    let codes = unpack::<4, 16, 32>(&block[2..]).map(|code| code as i8 - 8);
    scale_groups(values, &codes, &[half(block, 0)]);
}

/// Scale, offset, codes of 4 bits.
pub fn widen_q4_1(block: &[u8; 20], values: &mut [f32; 32]) {
    shift_groups(values, &unpack::<4, 16, 32>(&block[4..]), &[(half(block, 0), half(block, 2))]);
}

/// Scale, the fifth bits, the lower four; 16 too high.
pub fn widen_q5_0(block: &[u8; 22], values: &mut [f32; 32]) {
    let codes = five_bits(word(block, 2), &block[6..]).map(|code| code as i8 - 16);
    scale_groups(values, &codes, &[half(block, 0)]);
}

/// Scale, offset, the fifth bits, the lower four.
pub fn widen_q5_1(block: &[u8; 24], values: &mut [f32; 32]) {
    shift_groups(values, &five_bits(word(block, 4), &block[8..]), &[(half(block, 0), half(block, 2))]);
}

/// Scale, then codes of 8 bits.
pub fn widen_q8_0(block: &[u8; 34], values: &mut [f32; 32]) {
    let codes: [i8; 32] = std::array::from_fn(|i| block[2 + i] as i8);
    scale_groups(values, &codes, &[half(block, 0)]);
}

fn five_bits(fifth: u32, lower: &[u8]) -> [u8; 32] {
    let lower = unpack::<4, 16, 32>(lower);
    std::array::from_fn(|i| lower[i] | ((fifth >> i & 1) as u8) << 4)
}

/// The inverse of [`widen_q4_0`], to the nearest code.
pub fn round_q4_0(values: &[f32; 32]) -> [u8; 18] {
    let mut block = [0; 18];
    let codes = codes_around_zero(values, 8.0, &mut block);
    pack::<4, 16>(&codes, &mut block[2..]);
    block
}

/// The inverse of [`widen_q4_1`], to the nearest code.
pub fn round_q4_1(values: &[f32; 32]) -> [u8; 20] {
    let mut block = [0; 20];
    let codes = codes_from_lowest(values, 15.0, &mut block);
    pack::<4, 16>(&codes, &mut block[4..]);
    block
}

/// The inverse of [`widen_q5_0`], to the nearest code.
pub fn round_q5_0(values: &[f32; 32]) -> [u8; 22] {
    let mut block = [0; 22];
    let codes = codes_around_zero(values, 16.0, &mut block);
    pack::<1, 1>(&codes.map(|code| code >> 4), &mut block[2..6]);
    pack::<4, 16>(&codes, &mut block[6..]);
    block
}

/// The inverse of [`widen_q5_1`], to the nearest code.
pub fn round_q5_1(values: &[f32; 32]) -> [u8; 24] {
    let mut block = [0; 24];
    let codes = codes_from_lowest(values, 31.0, &mut block);
    pack::<1, 1>(&codes.map(|code| code >> 4), &mut block[4..8]);
    pack::<4, 16>(&codes, &mut block[8..]);
    block
}

/// The inverse of [`widen_q8_0`], to the nearest code, halves away from zero.
pub fn round_q8_0(values: &[f32; 32]) -> [u8; 34] {
    let scale = values.iter().fold(0f32, |highest, value| highest.max(value.abs())) / 127.0;
    let inverse = inverse_or_zero(scale);
    let mut block = [0; 34];
    put_half(&mut block, 0, scale);
    for (code, value) in block[2..].iter_mut().zip(values) {
        *code = round_half_away(value * inverse) as u8;
    }
    block
}

/// Codes of `scale · (code − middle)`; the scale goes to byte 0 of the block.
fn codes_around_zero(values: &[f32; 32], middle: f32, block: &mut [u8]) -> [u8; 32] {
    let extreme = values.iter().fold(0f32, |extreme, &value| if value.abs() > extreme.abs() { value } else { extreme });
    let scale = extreme / -middle;
    put_half(block, 0, scale);
    let inverse = inverse_or_zero(scale);
    let highest = 2.0 * middle - 1.0;
    values.map(|value| (value * inverse + (middle + 0.5)).min(highest) as u8)
}

/// Codes `0 ..= highest` of `scale · code + lowest`; the scale goes to byte 0 of the block, the lowest value to byte 2.
fn codes_from_lowest(values: &[f32; 32], highest: f32, block: &mut [u8]) -> [u8; 32] {
    let lowest = values.iter().copied().fold(f32::INFINITY, f32::min);
    let scale = (values.iter().copied().fold(f32::NEG_INFINITY, f32::max) - lowest) / highest;
    put_half(block, 0, scale);
    put_half(block, 2, lowest);
    let inverse = inverse_or_zero(scale);
    values.map(|value| ((value - lowest) * inverse + 0.5).min(highest) as u8)
}

/// `value.round()` for magnitudes below 2⁷: without a call, so that a loop of it becomes vectors.
fn round_half_away(value: f32) -> i8 {
    let whole = value.abs() as i32;
    let magnitude = whole + i32::from(value.abs() - whole as f32 >= 0.5);
    (if value < 0.0 { -magnitude } else { magnitude }) as i8
}

fn inverse_or_zero(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

pub(super) fn put_half(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&to_f16(value).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_away_from_zero() {
        for value in [0.0, 0.5, 0.49999997, 1.5, 2.5, 126.5, 127.0f32] {
            for value in [value, value.next_down(), value.next_up(), -value, -value.next_up()] {
                assert_eq!(f32::from(round_half_away(value)), value.round() + 0.0, "{value}");
            }
        }
    }
}
