//! Types of 256 elements in groups whose scales are themselves quantized: Q2_K to Q6_K, and Q8_K.
//!
//! Kawrakow 2023, llama.cpp pull request 1684. Q2_K, Q4_K and Q5_K have a minimum for each group, which is taken off
//! (`scale · code − minimum`); the codes of Q3_K and Q6_K lie around zero. How codes are chosen: `k_search`.

use super::k_search::{AffineCodes, AffineSearch, affine_codes, centered_codes};
use super::{half, pack, scale_groups, shift_groups, unpack};

/// For each 16 elements 4 bits of scale and 4 of minimum; codes of 2 bits; the units of both.
pub fn widen_q2_k(block: &[u8; 84], values: &mut [f32; 256]) {
    let (scales, minima) = (block[..16].iter().map(|byte| byte & 15), block[..16].iter().map(|byte| byte >> 4));
    let groups = scales_and_offsets::<16>(half(block, 80), scales, half(block, 82), minima);
    shift_groups(values, &unpack::<2, 32, 256>(&block[16..80]), &groups);
}

/// The third bits of the codes, their lower two; for each 16 elements a scale of 6 bits, 32 too high; its unit. Codes
/// are 4 too high.
pub fn widen_q3_k(block: &[u8; 110], values: &mut [f32; 256]) {
    let (third, lower) = (unpack::<1, 32, 256>(&block[..32]), unpack::<2, 32, 256>(&block[32..96]));
    let codes: [i8; 256] = std::array::from_fn(|i| (lower[i] | third[i] << 2) as i8 - 4);
    let (lower, upper) = (unpack::<4, 8, 16>(&block[96..104]), unpack::<2, 4, 16>(&block[104..108]));
    let unit = half(block, 108);
    let scales: [f32; 16] =
        std::array::from_fn(|group| unit * f32::from((lower[group] | upper[group] << 4) as i8 - 32));
    scale_groups(values, &codes, &scales);
}

/// The units of scales and minima; for each 32 elements 6 bits of both; codes of 4 bits.
pub fn widen_q4_k(block: &[u8; 144], values: &mut [f32; 256]) {
    let (scales, minima) = unpack_six_bits(&block[4..16]);
    let groups = scales_and_offsets::<8>(half(block, 0), scales, half(block, 2), minima);
    shift_groups(values, &unpack::<4, 32, 256>(&block[16..]), &groups);
}

/// As Q4_K, with the fifth bits before the lower four.
pub fn widen_q5_k(block: &[u8; 176], values: &mut [f32; 256]) {
    let (scales, minima) = unpack_six_bits(&block[4..16]);
    let groups = scales_and_offsets::<8>(half(block, 0), scales, half(block, 2), minima);
    let (fifth, lower) = (unpack::<1, 32, 256>(&block[16..48]), unpack::<4, 32, 256>(&block[48..]));
    let codes: [u8; 256] = std::array::from_fn(|i| lower[i] | fifth[i] << 4);
    shift_groups(values, &codes, &groups);
}

/// The lower 4 bits of the codes, their upper two; for each 16 elements a scale of 8 bits; its unit. Codes are 32 too
/// high.
pub fn widen_q6_k(block: &[u8; 210], values: &mut [f32; 256]) {
    let (lower, upper) = (unpack::<4, 64, 256>(&block[..128]), unpack::<2, 32, 256>(&block[128..192]));
    let codes: [i8; 256] = std::array::from_fn(|i| (lower[i] | upper[i] << 4) as i8 - 32);
    let scales: [f32; 16] = std::array::from_fn(|group| half(block, 208) * f32::from(block[192 + group] as i8));
    scale_groups(values, &codes, &scales);
}

/// A scale of 32 bits, codes of 8 bits, and the sums of 16 codes each, which serve products only.
pub fn widen_q8_k(block: &[u8; 292], values: &mut [f32; 256]) {
    let codes: [i8; 256] = std::array::from_fn(|i| block[4 + i] as i8);
    scale_groups(values, &codes, &[f32::from_bits(super::word(block, 0))]);
}

fn scales_and_offsets<const GROUPS: usize>(
    scale_unit: f32,
    scales: impl IntoIterator<Item = u8>,
    minimum_unit: f32,
    minima: impl IntoIterator<Item = u8>,
) -> [(f32, f32); GROUPS] {
    let mut groups = [(0.0, 0.0); GROUPS];
    for ((group, scale), minimum) in groups.iter_mut().zip(scales).zip(minima) {
        *group = (scale_unit * f32::from(scale), -(minimum_unit * f32::from(minimum)));
    }
    groups
}

/// Eight scales and eight minima of 6 bits. The first four of each stand in the lower bits of bytes 0 to 7, in whose
/// upper bits are the upper bits of the last four; bytes 8 to 11 have their lower bits.
fn unpack_six_bits(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let last = |i: usize, lower: u8| lower | packed[i] >> 6 << 4;
    let scales = std::array::from_fn(|i| if i < 4 { packed[i] & 63 } else { last(i - 4, packed[i + 4] & 15) });
    let minima = std::array::from_fn(|i| if i < 4 { packed[i + 4] & 63 } else { last(i, packed[i + 4] >> 4) });
    (scales, minima)
}

/// The inverse of [`unpack_six_bits`].
fn pack_six_bits(scales: &[u8; 8], minima: &[u8; 8], packed: &mut [u8]) {
    for i in 0..4 {
        packed[i] = scales[i] | scales[i + 4] >> 4 << 6;
        packed[i + 4] = minima[i] | minima[i + 4] >> 4 << 6;
        packed[i + 8] = scales[i + 4] & 15 | (minima[i + 4] & 15) << 4;
    }
}

/// The inverse of [`widen_q2_k`], by search.
pub fn search_q2_k(values: &[f32; 256]) -> [u8; 84] {
    let search = AffineSearch { code_max: 3, scale_max: 15, first: -0.5, steps: 15, absolute: true };
    let found = affine_codes::<16, 16>(values, &search);
    let mut block = [0; 84];
    for (byte, (scale, minimum)) in block.iter_mut().zip(found.scales.iter().zip(&found.minima)) {
        *byte = scale | minimum << 4;
    }
    pack::<2, 32>(&found.codes, &mut block[16..80]);
    put_units(&found, &mut block[80..]);
    block
}

/// The inverse of [`widen_q3_k`], by search.
pub fn search_q3_k(values: &[f32; 256]) -> [u8; 110] {
    let found = centered_codes(values, 4, 32);
    let scales = found.scales.map(|scale| (scale + 32) as u8);
    let mut block = [0; 110];
    pack::<1, 32>(&found.codes.map(|code| code >> 2), &mut block[..32]);
    pack::<2, 32>(&found.codes, &mut block[32..96]);
    pack::<4, 8>(&scales, &mut block[96..104]);
    pack::<2, 4>(&scales.map(|scale| scale >> 4), &mut block[104..108]);
    block[108..].copy_from_slice(&found.unit.to_le_bytes());
    block
}

/// The inverse of [`widen_q4_k`], by search.
pub fn search_q4_k(values: &[f32; 256]) -> [u8; 144] {
    let search = AffineSearch { code_max: 15, scale_max: 63, first: -1.0, steps: 20, absolute: false };
    let found = affine_codes::<8, 32>(values, &search);
    let mut block = [0; 144];
    put_units(&found, &mut block);
    pack_six_bits(&found.scales, &found.minima, &mut block[4..16]);
    pack::<4, 32>(&found.codes, &mut block[16..]);
    block
}

/// The inverse of [`widen_q5_k`], by search.
pub fn search_q5_k(values: &[f32; 256]) -> [u8; 176] {
    let search = AffineSearch { code_max: 31, scale_max: 63, first: -0.5, steps: 15, absolute: false };
    let found = affine_codes::<8, 32>(values, &search);
    let mut block = [0; 176];
    put_units(&found, &mut block);
    pack_six_bits(&found.scales, &found.minima, &mut block[4..16]);
    pack::<1, 32>(&found.codes.map(|code| code >> 4), &mut block[16..48]);
    pack::<4, 32>(&found.codes, &mut block[48..]);
    block
}

/// The inverse of [`widen_q6_k`], by search.
pub fn search_q6_k(values: &[f32; 256]) -> [u8; 210] {
    let found = centered_codes(values, 32, 128);
    let mut block = [0; 210];
    pack::<4, 64>(&found.codes, &mut block[..128]);
    pack::<2, 32>(&found.codes.map(|code| code >> 4), &mut block[128..192]);
    block[192..208].copy_from_slice(&found.scales.map(|scale| scale as i8 as u8));
    block[208..].copy_from_slice(&found.unit.to_le_bytes());
    block
}

fn put_units<const GROUPS: usize>(found: &AffineCodes<GROUPS>, bytes: &mut [u8]) {
    bytes[..2].copy_from_slice(&found.scale_unit.to_le_bytes());
    bytes[2..4].copy_from_slice(&found.minimum_unit.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_of_six_bits_come_back() {
        let scales: [u8; 8] = std::array::from_fn(|i| (i * 9) as u8);
        let minima: [u8; 8] = std::array::from_fn(|i| 63 - (i * 5) as u8);
        let mut packed = [0; 12];
        pack_six_bits(&scales, &minima, &mut packed);
        assert_eq!(unpack_six_bits(&packed), (scales, minima));
    }
}
