//! What one element of a stored tensor is, and how many bytes its smallest whole unit, a block, has.

use std::fmt;

/// The element types of the safetensors format (version 0.8 of its reader) and of GGUF (ggml's `enum ggml_type`).
/// From `Q4_0` on they are quantized: a block of elements shares one or more scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(non_camel_case_types, missing_docs, reason = "the names are the formats' own; the table below gives the sizes")]
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
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Q8_K,
    IQ1_S,
    IQ1_M,
    IQ2_XXS,
    IQ2_XS,
    IQ2_S,
    IQ3_XXS,
    IQ3_S,
    IQ4_NL,
    IQ4_XS,
    Q1_0,
    Q2_0,
    TQ1_0,
    TQ2_0,
    MXFP4,
    NVFP4,
}

use ElementType as E;

/// Type, its name in its format, elements and bytes of a block, its number in GGUF (ggml.h, `enum ggml_type`).
type Row = (ElementType, &'static str, u64, u64, Option<u32>);

const TABLE: [Row; 48] = [
    (E::Bool, "BOOL", 1, 1, None),
    (E::F4, "F4", 2, 1, None),
    (E::F6E2M3, "F6_E2M3", 4, 3, None),
    (E::F6E3M2, "F6_E3M2", 4, 3, None),
    (E::U8, "U8", 1, 1, None),
    (E::I8, "I8", 1, 1, Some(24)),
    (E::F8E5M2, "F8_E5M2", 1, 1, None),
    (E::F8E4M3, "F8_E4M3", 1, 1, None),
    (E::F8E8M0, "F8_E8M0", 1, 1, None),
    (E::F8E4M3Fnuz, "F8_E4M3FNUZ", 1, 1, None),
    (E::F8E5M2Fnuz, "F8_E5M2FNUZ", 1, 1, None),
    (E::I16, "I16", 1, 2, Some(25)),
    (E::U16, "U16", 1, 2, None),
    (E::F16, "F16", 1, 2, Some(1)),
    (E::BF16, "BF16", 1, 2, Some(30)),
    (E::I32, "I32", 1, 4, Some(26)),
    (E::U32, "U32", 1, 4, None),
    (E::F32, "F32", 1, 4, Some(0)),
    (E::I64, "I64", 1, 8, Some(27)),
    (E::U64, "U64", 1, 8, None),
    (E::F64, "F64", 1, 8, Some(28)),
    (E::C64, "C64", 1, 8, None),
    (E::Q4_0, "Q4_0", 32, 18, Some(2)),
    (E::Q4_1, "Q4_1", 32, 20, Some(3)),
    (E::Q5_0, "Q5_0", 32, 22, Some(6)),
    (E::Q5_1, "Q5_1", 32, 24, Some(7)),
    (E::Q8_0, "Q8_0", 32, 34, Some(8)),
    (E::Q2_K, "Q2_K", 256, 84, Some(10)),
    (E::Q3_K, "Q3_K", 256, 110, Some(11)),
    (E::Q4_K, "Q4_K", 256, 144, Some(12)),
    (E::Q5_K, "Q5_K", 256, 176, Some(13)),
    (E::Q6_K, "Q6_K", 256, 210, Some(14)),
    (E::Q8_K, "Q8_K", 256, 292, Some(15)),
    (E::IQ1_S, "IQ1_S", 256, 50, Some(19)),
    (E::IQ1_M, "IQ1_M", 256, 56, Some(29)),
    (E::IQ2_XXS, "IQ2_XXS", 256, 66, Some(16)),
    (E::IQ2_XS, "IQ2_XS", 256, 74, Some(17)),
    (E::IQ2_S, "IQ2_S", 256, 82, Some(22)),
    (E::IQ3_XXS, "IQ3_XXS", 256, 98, Some(18)),
    (E::IQ3_S, "IQ3_S", 256, 110, Some(21)),
    (E::IQ4_NL, "IQ4_NL", 32, 18, Some(20)),
    (E::IQ4_XS, "IQ4_XS", 256, 136, Some(23)),
    (E::Q1_0, "Q1_0", 128, 18, Some(41)),
    (E::Q2_0, "Q2_0", 64, 18, Some(42)),
    (E::TQ1_0, "TQ1_0", 256, 54, Some(34)),
    (E::TQ2_0, "TQ2_0", 256, 66, Some(35)),
    (E::MXFP4, "MXFP4", 32, 17, Some(39)),
    (E::NVFP4, "NVFP4", 64, 36, Some(40)),
];

impl ElementType {
    /// Every type there is.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.into_iter().map(|row| row.0)
    }

    /// The name, as its format spells it.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// Elements of a block: 1 for numbers of whole bytes.
    pub fn block_elements(self) -> u64 {
        TABLE[self as usize].2
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> u64 {
        TABLE[self as usize].3
    }

    /// Whether elements share a scale: such a type stands in GGUF files only.
    pub fn is_quantized(self) -> bool {
        self >= Self::Q4_0
    }

    /// The type of that name in a safetensors header.
    pub fn from_safetensors_name(name: &str) -> Option<Self> {
        Self::all().find(|&element_type| !element_type.is_quantized() && element_type.name() == name)
    }

    /// The number of the type in a GGUF file; none if the format does not have it.
    pub fn gguf_number(self) -> Option<u32> {
        TABLE[self as usize].4
    }

    /// The type of that number in a GGUF file.
    pub fn from_gguf_number(number: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.4 == Some(number)).map(|row| row.0)
    }

    /// Bytes of a tensor of this shape (slowest axis first); none if they overflow or do not fill whole blocks. A
    /// quantized block never reaches from one row into the next.
    pub fn tensor_bytes(self, shape: &[usize]) -> Option<u64> {
        let elements = shape.iter().try_fold(1u64, |product, &axis| product.checked_mul(u64::try_from(axis).ok()?))?;
        let filled = if self.is_quantized() { shape.last().map_or(1, |&row| row as u64) } else { elements };
        let blocks = filled.is_multiple_of(self.block_elements()).then_some(elements / self.block_elements())?;
        blocks.checked_mul(self.block_bytes())
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
        for (i, (element_type, name, ..)) in TABLE.into_iter().enumerate() {
            assert_eq!(element_type as usize, i);
            let found = ElementType::from_safetensors_name(name);
            assert_eq!(found, (!element_type.is_quantized()).then_some(element_type));
            if let Some(number) = element_type.gguf_number() {
                assert_eq!(ElementType::from_gguf_number(number), Some(element_type));
            }
        }
        assert_eq!(ElementType::from_safetensors_name("f32"), None);
        assert_eq!(ElementType::from_gguf_number(4), None);
    }

    #[test]
    fn bytes_of_shapes() {
        assert_eq!(ElementType::F32.tensor_bytes(&[]), Some(4));
        assert_eq!(ElementType::BF16.tensor_bytes(&[3, 5]), Some(30));
        assert_eq!(ElementType::F32.tensor_bytes(&[0, usize::MAX]), Some(0));
        assert_eq!(ElementType::F32.tensor_bytes(&[1 << 32, 1 << 32]), None);
        assert_eq!(ElementType::F32.tensor_bytes(&[1 << 62]), None);
        assert_eq!(ElementType::F4.tensor_bytes(&[3]), None);
        assert_eq!(ElementType::F4.tensor_bytes(&[2, 3]), Some(3));
        assert_eq!(ElementType::F6E2M3.tensor_bytes(&[4]), Some(3));
        assert_eq!(ElementType::Q4_0.tensor_bytes(&[3, 64]), Some(108));
        assert_eq!(ElementType::Q4_0.tensor_bytes(&[64, 3]), None);
        assert_eq!(ElementType::Q4_K.tensor_bytes(&[0, 256]), Some(0));
        assert_eq!(ElementType::Q4_K.tensor_bytes(&[]), None);
    }
}
