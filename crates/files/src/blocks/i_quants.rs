//! Types whose codes are numbers of points of a grid, or of a table of unequal steps: IQ1, IQ2, IQ3, IQ4.
//!
//! Kawrakow 2024, llama.cpp pull requests 4773 (IQ2_XXS), 4856 (IQ2_XS), 5196 (IQ3_XXS), 5590 (IQ4_NL), 5676 (IQ3_S),
//! 5721 (IQ2_S), 5747 (IQ4_XS), 5999 (IQ1_S), 6302 (IQ1_M). A point is the magnitudes of four or eight neighbours;
//! their signs are stored apart.

use super::grids::{IQ1, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};
use super::{half, half_bits, scale_groups, unpack, word};
use tsumugi_base::half::from_f16;

/// Magnitudes of the IQ2 grids.
const IQ2_STEPS: [i8; 3] = [8, 25, 43];
/// Magnitudes of the IQ3_XXS grid.
const IQ3_XXS_STEPS: [i8; 8] = [4, 12, 20, 28, 36, 44, 52, 62];
/// Magnitudes of the IQ3_S grid.
const IQ3_S_STEPS: [i8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];
/// Values of IQ4 codes: steps that are finer near zero.
const IQ4_STEPS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Scale; for each 32 elements the numbers of four points and a word of their signs (7 bits each) and scale (4 bits).
pub fn widen_iq2_xxs(block: &[u8; 66], values: &mut [f32; 256]) {
    let mut codes = [0; 256];
    let scales: [f32; 8] = std::array::from_fn(|group| {
        let (at, about) = (2 + 8 * group, word(block, 6 + 8 * group));
        for (i, codes) in codes[32 * group..][..32].as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *codes = signed_iq2(IQ2_XXS[usize::from(block[at + i])], even_signs(about >> (7 * i)));
        }
        scale_of_nibble(half(block, 0), about >> 28) * 0.25
    });
    scale_groups(values, &codes, &scales);
}

/// Scale; 32 points of 9 bits with 7 bits of signs; a scale of 4 bits for each 16 elements.
pub fn widen_iq2_xs(block: &[u8; 74], values: &mut [f32; 256]) {
    let mut codes = [0; 256];
    for (i, codes) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let point = half_bits(block, 2 + 2 * i);
        *codes = signed_iq2(IQ2_XS[usize::from(point & 511)], even_signs(u32::from(point >> 9)));
    }
    scale_groups(values, &codes, &iq2_scales(half(block, 0), &block[66..]));
}

/// Scale; lower 8 bits of 32 points; their signs; the upper 2 bits; a scale of 4 bits for each 16 elements.
pub fn widen_iq2_s(block: &[u8; 82], values: &mut [f32; 256]) {
    let upper = unpack::<2, 1, 32>(&block[66..74]);
    let mut codes = [0; 256];
    for (i, codes) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let point = usize::from(block[2 + i]) | usize::from(upper[i]) << 8;
        *codes = signed_iq2(IQ2_S[point], block[34 + i]);
    }
    scale_groups(values, &codes, &iq2_scales(half(block, 0), &block[74..]));
}

fn iq2_scales(scale: f32, nibbles: &[u8]) -> [f32; 16] {
    unpack::<4, 1, 16>(nibbles).map(|nibble| scale_of_nibble(scale, u32::from(nibble)) * 0.25)
}

/// Scale; 64 points of four elements; for each 32 elements a word of signs and scale as in IQ2_XXS.
pub fn widen_iq3_xxs(block: &[u8; 98], values: &mut [f32; 256]) {
    let about = |group: usize| word(block, 66 + 4 * group);
    let mut codes = [0; 256];
    for (i, codes) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let points = [2 + 2 * i, 3 + 2 * i].map(|at| IQ3_XXS[usize::from(block[at])]);
        *codes = signed_iq3(points, &IQ3_XXS_STEPS, even_signs(about(i / 4) >> (7 * (i % 4))));
    }
    let scales: [f32; 8] = std::array::from_fn(|group| scale_of_nibble(half(block, 0), about(group) >> 28) * 0.5);
    scale_groups(values, &codes, &scales);
}

/// Scale; lower 8 bits of 64 points of four elements; the ninth bits; signs; a scale of 4 bits for each 32 elements.
pub fn widen_iq3_s(block: &[u8; 110], values: &mut [f32; 256]) {
    let ninth = unpack::<1, 1, 64>(&block[66..74]);
    let point = |i: usize| IQ3_S[usize::from(block[2 + i]) | usize::from(ninth[i]) << 8];
    let mut codes = [0; 256];
    for (i, codes) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *codes = signed_iq3([point(2 * i), point(2 * i + 1)], &IQ3_S_STEPS, block[74 + i]);
    }
    scale_groups(values, &codes, &unpack::<4, 1, 8>(&block[106..]).map(|nibble| half(block, 0) * odd(nibble)));
}

/// Scale; lower 8 bits of 32 points; for each 32 elements 16 bits: the upper 3 of four points, a scale of 3, a shift.
pub fn widen_iq1_s(block: &[u8; 50], values: &mut [f32; 256]) {
    let about: [u16; 8] = std::array::from_fn(|group| half_bits(block, 34 + 2 * group));
    let mut codes = [0; 256];
    for (i, codes) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let about = about[i / 4];
        let point = usize::from(block[2 + i]) | usize::from(about >> (3 * (i % 4)) & 7) << 8;
        *codes = shifted_iq1(IQ1[point], about & 0x8000 != 0);
    }
    scale_groups(values, &codes, &about.map(|about| half(block, 0) * odd((about >> 12 & 7) as u8) * 0.125));
}

/// Lower 8 bits of 32 points; for each a nibble: its upper 3 bits and its shift; four words of 16 bits: scales of 3 bits
/// for each 16 elements, and a nibble each of the block's scale.
pub fn widen_iq1_m(block: &[u8; 56], values: &mut [f32; 256]) {
    let about = unpack::<4, 1, 32>(&block[32..48]);
    let mut codes = [0; 256];
    for (i, codes) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let point = usize::from(block[i]) | usize::from(about[i] & 7) << 8;
        *codes = shifted_iq1(IQ1[point], about[i] & 8 != 0);
    }
    let words: [u16; 4] = std::array::from_fn(|i| half_bits(block, 48 + 2 * i));
    let scale = from_f16(words[0] >> 12 | words[1] >> 8 & 0x00f0 | words[2] >> 4 & 0x0f00 | words[3] & 0xf000);
    let scales: [f32; 16] =
        std::array::from_fn(|group| scale * odd((words[group / 4] >> (3 * (group % 4)) & 7) as u8) * 0.125);
    scale_groups(values, &codes, &scales);
}

/// Scale, then codes of 4 bits.
pub fn widen_iq4_nl(block: &[u8; 18], values: &mut [f32; 32]) {
    let codes = unpack::<4, 16, 32>(&block[2..]).map(|code| IQ4_STEPS[usize::from(code)]);
    scale_groups(values, &codes, &[half(block, 0)]);
}

/// Scale; upper 2 and lower 4 bits of a scale for each 32 elements, 32 too high; codes of 4 bits.
pub fn widen_iq4_xs(block: &[u8; 136], values: &mut [f32; 256]) {
    let (upper, lower) = (unpack::<2, 1, 8>(&block[2..4]), unpack::<4, 1, 8>(&block[4..8]));
    let codes = unpack::<4, 16, 256>(&block[8..]).map(|code| IQ4_STEPS[usize::from(code)]);
    let scales: [f32; 8] =
        std::array::from_fn(|group| half(block, 0) * f32::from((lower[group] | upper[group] << 4) as i8 - 32));
    scale_groups(values, &codes, &scales);
}

fn scale_of_nibble(scale: f32, nibble: u32) -> f32 {
    scale * (0.5 + nibble as f32)
}

/// The odd number of that rank.
fn odd(rank: u8) -> f32 {
    f32::from(2 * rank + 1)
}

/// Eight signs (1 is minus) from seven: the eighth makes their number even.
fn even_signs(seven: u32) -> u8 {
    let seven = (seven & 127) as u8;
    seven | (seven.count_ones() as u8 & 1) << 7
}

fn signed(magnitude: i8, signs: u8, i: usize) -> i8 {
    if signs >> i & 1 == 0 { magnitude } else { -magnitude }
}

/// A point of eight ranks of 2 bits.
fn signed_iq2(point: u16, signs: u8) -> [i8; 8] {
    std::array::from_fn(|i| signed(IQ2_STEPS[usize::from(point >> (2 * i) & 3)], signs, i))
}

/// Two points of four ranks of 3 bits.
fn signed_iq3(points: [u16; 2], steps: &[i8; 8], signs: u8) -> [i8; 8] {
    std::array::from_fn(|i| signed(steps[usize::from(points[i / 4] >> (3 * (i % 4)) & 7)], signs, i))
}

/// A point of eight ranks of 2 bits for −1, 0, 1, moved by an eighth down or up; in eighths.
fn shifted_iq1(point: u16, down: bool) -> [i8; 8] {
    let shift = if down { -1 } else { 1 };
    std::array::from_fn(|i| 8 * ((point >> (2 * i) & 3) as i8 - 1) + shift)
}
