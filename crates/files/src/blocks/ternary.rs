//! One scale and codes of one or two bits, or of one of three values: Q1_0, Q2_0, TQ1_0, TQ2_0.

use super::{half, scale_groups, unpack};

/// Scale, then the signs: 1 is plus.
pub fn widen_q1_0(block: &[u8; 18], values: &mut [f32; 128]) {
    let codes = unpack::<1, 1, 128>(&block[2..]).map(|sign| 2 * sign as i8 - 1);
    scale_groups(values, &codes, &[half(block, 0)]);
}

/// Scale, then codes of 2 bits for −1, 0, 1, 2.
pub fn widen_q2_0(block: &[u8; 18], values: &mut [f32; 64]) {
    let codes = unpack::<2, 1, 64>(&block[2..]).map(|code| code as i8 - 1);
    scale_groups(values, &codes, &[half(block, 0)]);
}

/// Codes −1, 0, 1, five to a byte (the last four bytes: four), then the scale. The digits of a byte in base 3 are those
/// of a fraction of 256, the first digit first: times 3 brings the next one above the point.
pub fn widen_tq1_0(block: &[u8; 54], values: &mut [f32; 256]) {
    let digit = |byte: u8, place: u32| ((u16::from(byte.wrapping_mul(3u8.pow(place))) * 3) >> 8) as i8 - 1;
    let mut codes = [0; 256];
    let mut rest = &mut codes[..];
    for (bytes, digits) in [(0..32, 5), (32..48, 5), (48..52, 4)] {
        for place in 0..digits {
            let (run, after) = rest.split_at_mut(bytes.len());
            for (code, &byte) in run.iter_mut().zip(&block[bytes.clone()]) {
                *code = digit(byte, place);
            }
            rest = after;
        }
    }
    scale_groups(values, &codes, &[half(block, 52)]);
}

/// Codes of 2 bits for −1, 0, 1, then the scale.
pub fn widen_tq2_0(block: &[u8; 66], values: &mut [f32; 256]) {
    let codes = unpack::<2, 32, 256>(block).map(|code| code as i8 - 1);
    scale_groups(values, &codes, &[half(block, 64)]);
}
