//! Half precision and bfloat16 to float32; both are exact.

/// IEEE half precision.
#[inline(always)]
pub fn from_f16(bits: u16) -> f32 {
    let (sign, rest) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff));
    if rest >= 0x7c00 {
        return f32::from_bits(sign | 0x7f80_0000 | (rest & 0x3ff) << 13); // infinity, NaN
    }
    // The exponent is 112 too low; the product makes subnormal numbers normal.
    f32::from_bits(sign | rest << 13) * f32::from_bits(0x7780_0000)
}

/// bfloat16.
#[inline(always)]
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_every_class() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2f32.powi(-24)),
            (0x83ff, -1023.0 * 2f32.powi(-24)),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(from_f16(bits), value, "{bits:04x}");
        }
        assert!(from_f16(0x7e00).is_nan() && from_f16(0xfc01).is_nan());
        assert_eq!(from_f16(0x8000).to_bits(), (-0f32).to_bits());
        assert_eq!(from_bf16(0x3fc0), 1.5);
    }
}
