//! Numbers of 16 bits: IEEE half precision and bfloat16. Widening is exact; narrowing rounds to nearest, ties to even.
//!
//! Inlined into kernels of every instruction set, which is why it is not the `half` crate: that one looks for the processor's
//! instructions at each call.

/// Half precision to float32.
#[inline(always)]
pub fn from_f16(bits: u16) -> f32 {
    let (sign, magnitude) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff) << 13);
    // The exponent is 112 too low; the product mends it, of subnormal numbers too. No branch: loops over this are vectors.
    let value = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let special = if magnitude >= 0x7c00 << 13 { 0x7f80_0000 } else { 0 }; // infinity, NaN
    f32::from_bits(value.to_bits() | special | sign)
}

/// float32 to half precision; beyond its range infinity. NaN stays NaN.
#[inline(always)]
pub fn to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let (sign, magnitude) = ((bits >> 16) as u16 & 0x8000, bits & 0x7fff_ffff);
    sign | match magnitude {
        0x7f80_0001.. => 0x7e00 | (magnitude >> 13) as u16 & 0x3ff,
        // Below 2^-14 a half's last bit is 2^-24, as that of a float32 from 0.5 to 1.
        ..0x3880_0000 => ((f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits()) as u16,
        // From 65520 on, what rounds up to 65536.
        0x477f_f000.. => 0x7c00,
        _ => ((magnitude + 0xfff + (magnitude >> 13 & 1) - (112 << 23)) >> 13) as u16,
    }
}

/// bfloat16 to float32.
#[inline(always)]
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// float32 to bfloat16. NaN stays NaN.
#[inline(always)]
pub fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    (if x.is_nan() { bits | 0x0040_0000 } else { rounded } >> 16) as u16
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
    fn all_65536_halves_widen_and_come_back() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (from_f16(bits), f16_reference(bits));
            if expected.is_nan() {
                assert!(found.is_nan() && from_f16(to_f16(found)).is_nan(), "{bits:#06x}");
            } else {
                assert_eq!(f64::from(found), expected, "{bits:#06x}");
                assert_eq!(found.is_sign_negative(), bits & 0x8000 != 0, "{bits:#06x}");
                assert_eq!(to_f16(found), bits, "{bits:#06x}");
            }
        }
        assert!([0x7f80_0001, 0xffff_ffff].into_iter().all(|bits| from_f16(to_f16(f32::from_bits(bits))).is_nan()));
    }

    #[test]
    fn what_lies_between_two_halves_goes_to_the_nearer_or_the_even_one() {
        for bits in (0..0x7c00_u16).flat_map(|bits| [bits, bits | 0x8000]) {
            let x = from_f16(bits);
            // The next one away from 0; beyond the largest, 65536 by the same rule.
            let next = if bits & 0x7fff == 0x7bff { f32::copysign(65536.0, x) } else { from_f16(bits + 1) };
            let middle = (x + next) / 2.0; // exact: one bit more than a half has
            let [below, above] = [middle.to_bits() - 1, middle.to_bits() + 1].map(f32::from_bits);
            assert_eq!(to_f16(below), bits, "below the middle of {x:e} and {next:e}");
            assert_eq!(to_f16(above), bits + 1, "above the middle of {x:e} and {next:e}");
            assert_eq!(to_f16(middle), bits + (bits & 1), "the middle of {x:e} and {next:e}");
        }
        assert_eq!([f32::INFINITY, f32::MAX, -1e9, f32::MIN_POSITIVE].map(to_f16), [0x7c00, 0x7c00, 0xfc00, 0]);
    }

    #[test]
    fn bfloat16_rounds_to_even_and_comes_back() {
        for bits in 0..=u16::MAX {
            let value = from_bf16(bits);
            if value.is_nan() {
                assert!(from_bf16(to_bf16(value)).is_nan());
            } else {
                assert_eq!(to_bf16(value), bits);
            }
        }
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8001)), 0x3f81);
        assert_eq!(to_bf16(f32::MAX), 0x7f80);
        assert!(from_bf16(to_bf16(f32::from_bits(0x7f80_0001))).is_nan());
    }
}
