//! Stored floating-point numbers as `f32`, and back. Widening is exact; narrowing to floats rounds to nearest, ties to
//! even, and narrowing to quantized blocks is described with each type in `blocks`.

use crate::blocks;
use crate::element_type::ElementType;
use crate::error::FilesError;
use crate::stored_tensor::TensorView;

/// The value of IEEE binary16 bits, exact.
pub fn f32_from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // The exponent is still biased by 15 instead of 127; multiplying by 2^112 mends it, for subnormals too.
    let value = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let special = if magnitude >= 0x7c00 << 13 { 0x7f80_0000 } else { 0 };
    f32::from_bits(value.to_bits() | special | sign)
}

/// The value of bfloat16 bits, exact.
pub fn f32_from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The bfloat16 nearest to `value`, ties to even. A NaN stays one.
pub fn bf16_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x0040; // quiet, so that it cannot become an infinity
    }
    let round_up = 0x7fff + (bits >> 16 & 1);
    (bits.wrapping_add(round_up) >> 16) as u16
}

/// The IEEE binary16 nearest to `value`, ties to even; beyond 65,504 an infinity. A NaN stays one.
pub fn f16_from_f32(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = value.to_bits() & 0x7fff_ffff;
    let rounded = if magnitude > 0x7f80_0000 {
        0x7e00
    } else if magnitude >= 0x4780_0000 {
        0x7c00 // 65,536 and more; what lies between 65,520 and it rounds up below
    } else if magnitude < 0x3880_0000 {
        // Subnormal: adding 0.5 puts the last bit of binary16 at the last bit of the sum, and the addition rounds.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits()
    } else {
        let round_up = 0xfff + (magnitude >> 13 & 1);
        (magnitude - ((127 - 15) << 23) + round_up) >> 13
    };
    sign | rounded as u16
}

/// The numbers of a tensor of type F32, F16, BF16 or of any quantized type, in its order.
pub fn to_f32(tensor: &TensorView<'_>) -> Result<Vec<f32>, FilesError> {
    let mut values = vec![0.0; tensor.element_count()];
    read_f32_into(tensor, &mut values)?;
    Ok(values)
}

/// [`to_f32`] into memory that is there already; `values` must have exactly the tensor's number of elements.
/// The bytes need no alignment.
pub fn read_f32_into(tensor: &TensorView<'_>, values: &mut [f32]) -> Result<(), FilesError> {
    let elements = tensor.element_count();
    if elements != values.len() {
        return Err(FilesError::Room { tensor: tensor.name.into(), elements, room: values.len() });
    }
    if tensor.element_type.tensor_bytes(tensor.shape) != Some(tensor.bytes.len() as u64) {
        return Err(FilesError::ViewBytes {
            tensor: tensor.name.into(),
            element_type: tensor.element_type,
            shape: tensor.shape.to_vec(),
            bytes: tensor.bytes.len(),
        });
    }
    widen(tensor, tensor.bytes, values)
}

/// The numbers from `first` on, as many as `values` has room for: both ends must be at whole blocks.
pub fn read_f32_at(tensor: &TensorView<'_>, first: usize, values: &mut [f32]) -> Result<(), FilesError> {
    let (element_type, block) = (tensor.element_type, tensor.element_type.block_elements());
    for elements in [first, values.len()] {
        if !(elements as u64).is_multiple_of(block) {
            return Err(FilesError::PartOfBlock { element_type, elements, block });
        }
    }
    let bytes_of = |elements: usize| usize::try_from(elements as u64 / block * element_type.block_bytes()).ok();
    let range = bytes_of(first).zip(first.checked_add(values.len()).and_then(bytes_of));
    let Some(bytes) = range.and_then(|(begin, end)| tensor.bytes.get(begin..end)) else {
        let (elements, room) = (tensor.element_count(), first.saturating_add(values.len()));
        return Err(FilesError::Room { tensor: tensor.name.into(), elements, room });
    };
    widen(tensor, bytes, values)
}

/// Widens `bytes`, a stretch of the tensor's, which has exactly the elements of `values`.
fn widen(tensor: &TensorView<'_>, bytes: &[u8], values: &mut [f32]) -> Result<(), FilesError> {
    match tensor.element_type {
        ElementType::F32 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        ElementType::F16 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f32_from_f16(u16::from_le_bytes(*bytes));
            }
        }
        ElementType::BF16 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f32_from_bf16(u16::from_le_bytes(*bytes));
            }
        }
        other => {
            let not_widened = || FilesError::NotWidened { tensor: tensor.name.into(), element_type: other };
            return blocks::dequantize(other, bytes, values).ok_or_else(not_widened);
        }
    }
    Ok(())
}

/// Appends `values`, whole rows, to `bytes` as F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 or Q2_K to Q6_K,
/// little-endian: what a writer stores. The same values give the same bytes, and every block depends on its own values
/// only. On an error `bytes` is as it was.
pub fn narrow_f32_into(values: &[f32], element_type: ElementType, bytes: &mut Vec<u8>) -> Result<(), FilesError> {
    match element_type {
        ElementType::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        ElementType::F16 => bytes.extend(values.iter().flat_map(|&value| f16_from_f32(value).to_le_bytes())),
        ElementType::BF16 => bytes.extend(values.iter().flat_map(|&value| bf16_from_f32(value).to_le_bytes())),
        other => {
            let quantize = blocks::quantizer(other).ok_or(FilesError::NotNarrowed { element_type: other })?;
            check_quantizable(values, other)?;
            quantize(values, bytes);
        }
    }
    Ok(())
}

fn check_quantizable(values: &[f32], element_type: ElementType) -> Result<(), FilesError> {
    let (elements, block) = (values.len(), element_type.block_elements());
    if !(elements as u64).is_multiple_of(block) {
        return Err(FilesError::PartOfBlock { element_type, elements, block });
    }
    let too_large = |value: &f32| value.is_nan() || value.abs() > blocks::MAGNITUDE_MAX;
    match values.iter().position(too_large) {
        Some(index) => Err(FilesError::NotQuantizable { element_type, index, value: values[index] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of binary16 (IEEE 754-2008, section 3.4), in double precision.
    fn f16_reference(bits: u16) -> f64 {
        let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff) / 1024.0);
        sign * match (exponent, fraction) {
            (0, _) => fraction * 2f64.powi(-14),
            (31, 0.0) => f64::INFINITY,
            (31, _) => f64::NAN,
            _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
        }
    }

    #[test]
    fn all_65536_binary16_numbers_widen_and_come_back() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (f32_from_f16(bits), f16_reference(bits));
            if expected.is_nan() {
                assert!(found.is_nan() && f32_from_f16(f16_from_f32(found)).is_nan(), "{bits:#06x}");
            } else {
                assert_eq!(f64::from(found), expected, "{bits:#06x}");
                assert_eq!(found.is_sign_negative(), bits & 0x8000 != 0, "{bits:#06x}");
                assert_eq!(f16_from_f32(found), bits, "{bits:#06x}");
            }
        }
    }

    #[test]
    fn between_two_binary16_numbers_the_nearer_one_wins_and_ties_go_to_even() {
        for bits in 0..0x7bffu16 {
            let (low, high) = (f32_from_f16(bits), f32_from_f16(bits + 1));
            let middle = (low + high) / 2.0; // exact: one bit more than binary16 has
            let even = bits + (bits & 1);
            assert_eq!(f16_from_f32(middle), even, "{bits:#06x}");
            assert_eq!(f16_from_f32(middle.next_down()), bits, "{bits:#06x}");
            assert_eq!(f16_from_f32(middle.next_up()), bits + 1, "{bits:#06x}");
            assert_eq!(f16_from_f32(-middle), even | 0x8000, "{bits:#06x}");
        }
        assert_eq!(f16_from_f32(65_519.0), 0x7bff);
        assert_eq!(f16_from_f32(65_520.0), 0x7c00);
        assert_eq!(f16_from_f32(f32::MAX), 0x7c00);
        assert_eq!(f16_from_f32(f32::NEG_INFINITY), 0xfc00);
        assert_eq!(f16_from_f32(1e-30), 0);
    }

    #[test]
    fn bfloat16_rounds_to_even_and_comes_back() {
        for bits in 0..=u16::MAX {
            let value = f32_from_bf16(bits);
            if value.is_nan() {
                assert!(f32_from_bf16(bf16_from_f32(value)).is_nan());
            } else {
                assert_eq!(bf16_from_f32(value), bits);
            }
        }
        assert_eq!(bf16_from_f32(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(bf16_from_f32(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(bf16_from_f32(f32::from_bits(0x3f80_8001)), 0x3f81);
        assert_eq!(bf16_from_f32(f32::MAX), 0x7f80);
        assert!(f32_from_bf16(bf16_from_f32(f32::from_bits(0x7f80_0001))).is_nan());
    }
}
