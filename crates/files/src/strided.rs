//! Tensors whose elements do not lie in row-major order: transposed, sliced and expanded views of what a file holds.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::element_type::ElementType;

/// Where the elements of a view are among the bytes of its tensor. The first element is at their beginning.
#[derive(Debug, Clone)]
pub(crate) struct Strided {
    /// Length of each axis of the view, slowest first; its elements are as many as the tensor's.
    shape: Vec<usize>,
    /// From one element of an axis to the next, in elements.
    strides: Vec<usize>,
    /// Bytes of an element.
    element_bytes: usize,
    /// In row-major order, once somebody has asked.
    copy: OnceLock<Arc<[u8]>>,
}

/// Where a view lies: the bytes from its first to its last element, and the order in them if it is not row-major.
#[derive(Debug)]
pub(crate) struct Place {
    pub bytes: Range<usize>,
    pub strided: Option<Strided>,
}

/// Where the view of `storage` (a range of bytes) lies that begins `offset` elements into it. None if it reaches beyond
/// the storage, or its size cannot be counted.
pub(crate) fn place(
    storage: &Range<usize>,
    element_type: ElementType,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
) -> Option<Place> {
    let element_bytes = usize::try_from(element_type.tensor_bytes(&[1])?).ok()?;
    let elements = shape.iter().try_fold(1usize, |product, &axis| product.checked_mul(axis))?;
    if shape.len() != strides.len() {
        return None;
    }
    // An empty view may say any offset, and reaches for nothing.
    if elements == 0 {
        return Some(Place { bytes: storage.start..storage.start, strided: None });
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(0usize, |last, (&axis, &stride)| last.checked_add((axis - 1).checked_mul(stride)?))?;
    let start = storage.start.checked_add(offset.checked_mul(element_bytes)?)?;
    let end = start.checked_add(last.checked_add(1)?.checked_mul(element_bytes)?)?;
    if end > storage.end {
        return None;
    }
    let strided = (!is_row_major(shape, strides)).then(|| Strided {
        shape: shape.to_vec(),
        strides: strides.to_vec(),
        element_bytes,
        copy: OnceLock::new(),
    });
    Some(Place { bytes: start..end, strided })
}

/// The stride of an axis of one element does not matter.
fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&axis, &stride)| {
        let fits = axis == 1 || stride == expected;
        expected *= axis;
        fits
    })
}

impl Strided {
    /// Bytes of the copy.
    pub fn copy_bytes(&self) -> u64 {
        self.shape.iter().fold(self.element_bytes as u64, |bytes, &axis| bytes.saturating_mul(axis as u64))
    }

    /// The elements in row-major order; `bytes` are those of the place. Copied once.
    pub fn copy(&self, bytes: &[u8]) -> &Arc<[u8]> {
        self.copy.get_or_init(|| self.gather(bytes).into())
    }

    fn gather(&self, bytes: &[u8]) -> Vec<u8> {
        let mut copy = Vec::with_capacity(self.copy_bytes() as usize);
        let mut index = vec![0; self.shape.len()];
        let mut at = 0;
        loop {
            copy.extend_from_slice(&bytes[at * self.element_bytes..][..self.element_bytes]);
            // The next index, as an odometer counts.
            let counted = (0..index.len()).rev().any(|axis| {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    return true;
                }
                at -= index[axis] * self.strides[axis];
                index[axis] = 0;
                false
            });
            if !counted {
                return copy;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: element `i` of the view is element `offset + sum(i * strides)` of the storage.
    fn reference(storage: &[u8], offset: usize, shape: [usize; 3], strides: [usize; 3]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for i in 0..shape[0] {
            for j in 0..shape[1] {
                for k in 0..shape[2] {
                    let at = offset + i * strides[0] + j * strides[1] + k * strides[2];
                    bytes.extend(storage.get(2 * at..2 * at + 2)?);
                }
            }
        }
        Some(bytes)
    }

    #[test]
    fn every_small_view_is_as_defined() {
        let file: Vec<u8> = (0..40).collect();
        let storage = 6..36; // 15 elements of two bytes
        let lengths = [0, 1, 2, 3];
        let mut inside = 0;
        for shape in lengths.iter().flat_map(|&a| lengths.iter().flat_map(move |&b| lengths.map(|c| [a, b, c]))) {
            for code in 0..7 * 7 * 7 {
                let strides = [code / 49, code / 7 % 7, code % 7];
                for offset in [0, 1, 14, 15] {
                    let expected = reference(&file[storage.clone()], offset, shape, strides);
                    let found = place(&storage, ElementType::BF16, offset, &shape, &strides).map(|place| {
                        let bytes = &file[place.bytes];
                        place.strided.map_or(bytes.to_vec(), |strided| strided.copy(bytes).to_vec())
                    });
                    assert_eq!(found, expected, "{shape:?} {strides:?} {offset}");
                    inside += usize::from(found.is_some_and(|bytes| !bytes.is_empty()));
                }
            }
        }
        assert!(inside > 1000, "{inside}");
    }

    #[test]
    fn a_view_that_cannot_be_counted_has_no_place() {
        let storage = 0..16;
        let of = |offset, shape: &[usize], strides: &[usize]| place(&storage, ElementType::F32, offset, shape, strides);
        assert!(of(usize::MAX, &[1], &[1]).is_none());
        assert!(of(0, &[2], &[usize::MAX]).is_none());
        assert!(of(0, &[usize::MAX, 2], &[0, 0]).is_none());
        assert!(of(0, &[2, 2], &[1]).is_none());
        assert!(of(0, &[4], &[1]).is_some_and(|place| place.strided.is_none() && place.bytes == (0..16)));
        assert!(of(3, &[], &[]).is_some_and(|place| place.strided.is_none() && place.bytes == (12..16)));
        assert!(of(0, &[1, 4], &[77, 1]).is_some_and(|place| place.strided.is_none()));
        assert!(of(0, &[1 << 40], &[0]).is_some_and(|place| place.strided.unwrap().copy_bytes() == 4 << 40));
    }
}
