//! Elements that are floats of 4 bits (E2M1: sign, two bits of exponent, one of fraction): MXFP4, NVFP4.
//!
//! Open Compute Project 2023, "Microscaling Formats (MX) Specification", version 1.0, section 5.

use super::{scale_groups, unpack};

/// The values of E2M1, doubled so that they are integers; the scales below are halved.
const DOUBLED_E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// A scale of type E8M0, then 32 elements.
pub fn widen_mxfp4(block: &[u8; 17], values: &mut [f32; 32]) {
    let codes = unpack::<4, 16, 32>(&block[1..]).map(|code| DOUBLED_E2M1[usize::from(code)]);
    scale_groups(values, &codes, &[half_of_e8m0(block[0])]);
}

/// Four scales of type E4M3 (without its sign), then 16 elements for each.
pub fn widen_nvfp4(block: &[u8; 36], values: &mut [f32; 64]) {
    let codes = unpack::<4, 8, 64>(&block[4..]).map(|code| DOUBLED_E2M1[usize::from(code)]);
    scale_groups(values, &codes, &[block[0], block[1], block[2], block[3]].map(half_of_e4m3));
}

/// Half of a power of two: 2^(bits − 127) / 2.
fn half_of_e8m0(bits: u8) -> f32 {
    match bits {
        0 | 1 => f32::from_bits(0x0020_0000 << bits), // below the smallest normal number
        _ => f32::from_bits(u32::from(bits - 1) << 23),
    }
}

/// Half of an E4M3 number; its NaN is zero, as in ggml.
fn half_of_e4m3(bits: u8) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 3 & 15), f32::from(bits & 7));
    match (bits, exponent) {
        (0x7f, _) => 0.0,
        (_, 0) => fraction * 2f32.powi(-10),
        _ => (1.0 + fraction / 8.0) * 2f32.powi(exponent - 8),
    }
}
