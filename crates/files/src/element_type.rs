//! What one element of a stored tensor is, and how many bits it has.

use std::fmt;

/// The element types of the safetensors format (version 0.8 of its reader), by our names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the format's own; the table below gives each its bits")]
pub enum ElementType {
    Bool,
    F4,
    F6E2M3,
    F6E3M2,
    U8,
    I8,
    F8E5M2,
    F8E4M3,
    F8E8M0,
    F8E4M3Fnuz,
    F8E5M2Fnuz,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    I64,
    U64,
    F64,
    C64,
}

/// Type, its name in a safetensors header, bits per element.
const TABLE: [(ElementType, &str, u64); 22] = [
    (ElementType::Bool, "BOOL", 8),
    (ElementType::F4, "F4", 4),
    (ElementType::F6E2M3, "F6_E2M3", 6),
    (ElementType::F6E3M2, "F6_E3M2", 6),
    (ElementType::U8, "U8", 8),
    (ElementType::I8, "I8", 8),
    (ElementType::F8E5M2, "F8_E5M2", 8),
    (ElementType::F8E4M3, "F8_E4M3", 8),
    (ElementType::F8E8M0, "F8_E8M0", 8),
    (ElementType::F8E4M3Fnuz, "F8_E4M3FNUZ", 8),
    (ElementType::F8E5M2Fnuz, "F8_E5M2FNUZ", 8),
    (ElementType::I16, "I16", 16),
    (ElementType::U16, "U16", 16),
    (ElementType::F16, "F16", 16),
    (ElementType::BF16, "BF16", 16),
    (ElementType::I32, "I32", 32),
    (ElementType::U32, "U32", 32),
    (ElementType::F32, "F32", 32),
    (ElementType::I64, "I64", 64),
    (ElementType::U64, "U64", 64),
    (ElementType::F64, "F64", 64),
    (ElementType::C64, "C64", 64),
];

impl ElementType {
    /// Every type there is.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.into_iter().map(|(element_type, _, _)| element_type)
    }

    /// The name in a safetensors header.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// Bits of one element; not always whole bytes.
    pub fn bits(self) -> u64 {
        TABLE[self as usize].2
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|entry| entry.1 == name).map(|entry| entry.0)
    }

    /// Bytes of a tensor of this shape; none if they overflow or do not fill whole bytes.
    pub fn tensor_bytes(self, shape: &[usize]) -> Option<u64> {
        let elements = shape.iter().try_fold(1u64, |product, &axis| product.checked_mul(u64::try_from(axis).ok()?))?;
        let bits = elements.checked_mul(self.bits())?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (i, (element_type, name, _)) in TABLE.into_iter().enumerate() {
            assert_eq!(element_type as usize, i);
            assert_eq!(ElementType::from_name(name), Some(element_type));
        }
        assert_eq!(ElementType::from_name("f32"), None);
    }

    #[test]
    fn bytes_of_shapes() {
        assert_eq!(ElementType::F32.tensor_bytes(&[]), Some(4));
        assert_eq!(ElementType::BF16.tensor_bytes(&[3, 5]), Some(30));
        assert_eq!(ElementType::F32.tensor_bytes(&[0, usize::MAX]), Some(0));
        assert_eq!(ElementType::F32.tensor_bytes(&[1 << 32, 1 << 32]), None);
        assert_eq!(ElementType::F4.tensor_bytes(&[3]), None);
        assert_eq!(ElementType::F6E2M3.tensor_bytes(&[4]), Some(3));
    }
}
