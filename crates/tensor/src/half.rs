//! Numbers of 16 bits: IEEE half precision and bfloat16. Widening is exact; narrowing rounds to nearest, ties to even.

/// Half precision to float32.
#[inline(always)]
pub fn from_f16(bits: u16) -> f32 {
    let (sign, rest) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff));
    if rest >= 0x7c00 {
        return f32::from_bits(sign | 0x7f80_0000 | (rest & 0x3ff) << 13); // infinity, NaN
    }
    // The exponent is 112 too low; the product makes subnormal numbers normal.
    f32::from_bits(sign | rest << 13) * f32::from_bits(0x7780_0000)
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

    #[test]
    fn every_half_comes_back_and_what_lies_between_two_goes_to_the_nearer_or_the_even_one() {
        for bits in (0..0x7c00_u16).flat_map(|bits| [bits, bits | 0x8000]) {
            let x = from_f16(bits);
            assert_eq!(to_f16(x), bits, "{x:e}");
            // The next one away from 0; beyond the largest, 65536 by the same rule.
            let next = if bits & 0x7fff == 0x7bff { f32::copysign(65536.0, x) } else { from_f16(bits + 1) };
            let middle = (x + next) / 2.0; // exact
            let [below, above] = [middle.to_bits() - 1, middle.to_bits() + 1].map(f32::from_bits);
            assert_eq!(to_f16(below), bits, "below the middle of {x:e} and {next:e}");
            assert_eq!(to_f16(above), bits + 1, "above the middle of {x:e} and {next:e}");
            assert_eq!(to_f16(middle), bits + (bits & 1), "the middle of {x:e} and {next:e}");
        }
        assert_eq!([f32::INFINITY, f32::MAX, -1e9, f32::MIN_POSITIVE].map(to_f16), [0x7c00, 0x7c00, 0xfc00, 0]);
        assert!([0x7f80_0001, 0xffff_ffff].into_iter().all(|bits| from_f16(to_f16(f32::from_bits(bits))).is_nan()));
    }
}
