//! Quantized blocks as `f32`, and back.
//!
//! A block holds one code of 1 to 8 bits for each of its elements, and scales that the elements share: an element is
//! `scale · code`, or `scale · code + offset`. Layouts: ggml (MIT), `ggml-common.h`; the tests hold every type equal, to
//! the bit, to the `gguf` package of the same authors. This is the plain form that every faster kernel is held against.

mod four_bit_floats;
mod grids;
mod i_quants;
mod k_quants;
mod k_search;
mod rounded;
mod ternary;

use crate::element_type::ElementType;
use tsumugi_base::half::from_f16;

/// The largest magnitude that is quantized: the scales are binary16, and some types store an extreme in it as it is.
pub(crate) const MAGNITUDE_MAX: f32 = 65_504.0;

/// Widens whole blocks of `element_type` from `bytes` into `values`, which has exactly their elements. `None` if it is
/// not a quantized type.
pub(crate) fn dequantize(element_type: ElementType, bytes: &[u8], values: &mut [f32]) -> Option<()> {
    match element_type {
        ElementType::Q4_0 => each_block(bytes, values, rounded::widen_q4_0),
        ElementType::Q4_1 => each_block(bytes, values, rounded::widen_q4_1),
        ElementType::Q5_0 => each_block(bytes, values, rounded::widen_q5_0),
        ElementType::Q5_1 => each_block(bytes, values, rounded::widen_q5_1),
        ElementType::Q8_0 => each_block(bytes, values, rounded::widen_q8_0),
        ElementType::Q2_K => each_block(bytes, values, k_quants::widen_q2_k),
        ElementType::Q3_K => each_block(bytes, values, k_quants::widen_q3_k),
        ElementType::Q4_K => each_block(bytes, values, k_quants::widen_q4_k),
        ElementType::Q5_K => each_block(bytes, values, k_quants::widen_q5_k),
        ElementType::Q6_K => each_block(bytes, values, k_quants::widen_q6_k),
        ElementType::Q8_K => each_block(bytes, values, k_quants::widen_q8_k),
        ElementType::IQ1_S => each_block(bytes, values, i_quants::widen_iq1_s),
        ElementType::IQ1_M => each_block(bytes, values, i_quants::widen_iq1_m),
        ElementType::IQ2_XXS => each_block(bytes, values, i_quants::widen_iq2_xxs),
        ElementType::IQ2_XS => each_block(bytes, values, i_quants::widen_iq2_xs),
        ElementType::IQ2_S => each_block(bytes, values, i_quants::widen_iq2_s),
        ElementType::IQ3_XXS => each_block(bytes, values, i_quants::widen_iq3_xxs),
        ElementType::IQ3_S => each_block(bytes, values, i_quants::widen_iq3_s),
        ElementType::IQ4_NL => each_block(bytes, values, i_quants::widen_iq4_nl),
        ElementType::IQ4_XS => each_block(bytes, values, i_quants::widen_iq4_xs),
        ElementType::Q1_0 => each_block(bytes, values, ternary::widen_q1_0),
        ElementType::Q2_0 => each_block(bytes, values, ternary::widen_q2_0),
        ElementType::TQ1_0 => each_block(bytes, values, ternary::widen_tq1_0),
        ElementType::TQ2_0 => each_block(bytes, values, ternary::widen_tq2_0),
        ElementType::MXFP4 => each_block(bytes, values, four_bit_floats::widen_mxfp4),
        ElementType::NVFP4 => each_block(bytes, values, four_bit_floats::widen_nvfp4),
        _ => return None,
    }
    Some(())
}

/// Appends numbers, finite and at most [`MAGNITUDE_MAX`], which fill whole blocks, to bytes.
pub(crate) type Quantizer = fn(&[f32], &mut Vec<u8>);

/// What narrows to `element_type`. `None` if it is not a type that we quantize to.
pub(crate) fn quantizer(element_type: ElementType) -> Option<Quantizer> {
    Some(match element_type {
        ElementType::Q4_0 => |values, bytes| append_blocks(values, bytes, rounded::round_q4_0),
        ElementType::Q4_1 => |values, bytes| append_blocks(values, bytes, rounded::round_q4_1),
        ElementType::Q5_0 => |values, bytes| append_blocks(values, bytes, rounded::round_q5_0),
        ElementType::Q5_1 => |values, bytes| append_blocks(values, bytes, rounded::round_q5_1),
        ElementType::Q8_0 => |values, bytes| append_blocks(values, bytes, rounded::round_q8_0),
        ElementType::Q2_K => |values, bytes| append_blocks(values, bytes, k_quants::search_q2_k),
        ElementType::Q3_K => |values, bytes| append_blocks(values, bytes, k_quants::search_q3_k),
        ElementType::Q4_K => |values, bytes| append_blocks(values, bytes, k_quants::search_q4_k),
        ElementType::Q5_K => |values, bytes| append_blocks(values, bytes, k_quants::search_q5_k),
        ElementType::Q6_K => |values, bytes| append_blocks(values, bytes, k_quants::search_q6_k),
        _ => return None,
    })
}

fn each_block<const BYTES: usize, const ELEMENTS: usize>(
    bytes: &[u8],
    values: &mut [f32],
    widen: impl Fn(&[u8; BYTES], &mut [f32; ELEMENTS]),
) {
    for (block, values) in bytes.as_chunks().0.iter().zip(values.as_chunks_mut().0) {
        widen(block, values);
    }
}

fn append_blocks<const BYTES: usize, const ELEMENTS: usize>(
    values: &[f32],
    bytes: &mut Vec<u8>,
    narrow: impl Fn(&[f32; ELEMENTS]) -> [u8; BYTES],
) {
    for values in values.as_chunks().0 {
        bytes.extend_from_slice(&narrow(values));
    }
}

/// The codes of `BITS` bits in `packed`. Of every `RUN` bytes, the lowest bits are the next `RUN` codes, the bits above
/// them the `RUN` codes after those, and so on.
fn unpack<const BITS: usize, const RUN: usize, const CODES: usize>(packed: &[u8]) -> [u8; CODES] {
    let mut codes = [0; CODES];
    for (stretch, packed) in codes.chunks_exact_mut(RUN * 8 / BITS).zip(packed.as_chunks::<RUN>().0) {
        for (place, run) in stretch.chunks_exact_mut(RUN).enumerate() {
            for (code, byte) in run.iter_mut().zip(packed) {
                *code = byte >> (BITS * place) & (u8::MAX >> (8 - BITS));
            }
        }
    }
    codes
}

/// The inverse of [`unpack`]; `packed` is zero before. Bits of a code above its `BITS` are left out.
fn pack<const BITS: usize, const RUN: usize>(codes: &[u8], packed: &mut [u8]) {
    for (stretch, packed) in codes.chunks_exact(RUN * 8 / BITS).zip(packed.as_chunks_mut::<RUN>().0) {
        for (place, run) in stretch.chunks_exact(RUN).enumerate() {
            for (code, byte) in run.iter().zip(&mut *packed) {
                *byte |= (code & (u8::MAX >> (8 - BITS))) << (BITS * place);
            }
        }
    }
}

/// `values = scale · code`, with one scale for each group of `values.len() / scales.len()`.
fn scale_groups(values: &mut [f32], codes: &[i8], scales: &[f32]) {
    let group = values.len() / scales.len();
    for ((values, codes), scale) in values.chunks_exact_mut(group).zip(codes.chunks_exact(group)).zip(scales) {
        for (value, code) in values.iter_mut().zip(codes) {
            *value = scale * f32::from(*code);
        }
    }
}

/// `values = scale · code + offset`, in groups as in [`scale_groups`].
fn shift_groups(values: &mut [f32], codes: &[u8], scales_and_offsets: &[(f32, f32)]) {
    let group = values.len() / scales_and_offsets.len();
    let groups = values.chunks_exact_mut(group).zip(codes.chunks_exact(group));
    for ((values, codes), (scale, offset)) in groups.zip(scales_and_offsets) {
        for (value, code) in values.iter_mut().zip(codes) {
            *value = scale * f32::from(*code) + offset;
        }
    }
}

/// The binary16 number at byte `at`.
fn half(block: &[u8], at: usize) -> f32 {
    from_f16(half_bits(block, at))
}

/// The 16 bits at byte `at`, little-endian.
fn half_bits(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// The 32 bits at byte `at`, little-endian.
fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_every_width_come_back() {
        let codes: [u8; 64] = std::array::from_fn(|i| (i * 37 % 251) as u8);
        fn check<const BITS: usize, const RUN: usize>(codes: &[u8; 64]) {
            let codes = codes.map(|code| code & (u8::MAX >> (8 - BITS)));
            let mut packed = vec![0; 64 * BITS / 8];
            pack::<BITS, RUN>(&codes, &mut packed);
            assert_eq!(unpack::<BITS, RUN, 64>(&packed), codes, "{BITS} bits, runs of {RUN}");
        }
        check::<1, 1>(&codes);
        check::<1, 8>(&codes);
        check::<2, 1>(&codes);
        check::<2, 16>(&codes);
        check::<4, 8>(&codes);
        check::<4, 32>(&codes);
        assert_eq!(unpack::<2, 2, 8>(&[0b11_10_01_00, 0b00_00_00_01]), [0, 1, 1, 0, 2, 0, 3, 0]);
    }

    #[test]
    fn every_quantized_type_widens_its_own_blocks() {
        for element_type in ElementType::all() {
            let (elements, bytes) = (element_type.block_elements() as usize, element_type.block_bytes() as usize);
            let mut values = vec![f32::NAN; 3 * elements];
            let widened = dequantize(element_type, &vec![0; 3 * bytes], &mut values);
            assert_eq!(widened.is_some(), element_type.is_quantized(), "{element_type}");
            let untouched = values.iter().filter(|value| value.is_nan()).count();
            assert_eq!(untouched, if widened.is_some() { 0 } else { values.len() }, "{element_type}");
            let mut packed = Vec::new();
            if let Some(quantize) = quantizer(element_type) {
                quantize(&vec![1.0; 3 * elements], &mut packed);
                assert_eq!(packed.len(), 3 * bytes, "{element_type}");
            }
        }
    }
}
