//! Stored floating-point numbers as `f32`, and back. Widening is exact; narrowing to floats rounds to nearest, ties to
//! even, and narrowing to quantized blocks is described with each type in `blocks`.

use tsumugi_base::half;

use crate::blocks;
use crate::element_type::ElementType;
use crate::error::FilesError;
use crate::stored_tensor::TensorView;

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
                *value = half::from_f16(u16::from_le_bytes(*bytes));
            }
        }
        ElementType::BF16 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = half::from_bf16(u16::from_le_bytes(*bytes));
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
        ElementType::F16 => bytes.extend(values.iter().flat_map(|&value| half::to_f16(value).to_le_bytes())),
        ElementType::BF16 => bytes.extend(values.iter().flat_map(|&value| half::to_bf16(value).to_le_bytes())),
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
