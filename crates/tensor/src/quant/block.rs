//! One block of the file as codes, scales and units.

use super::kind::WeightKind as K;

/// A block of a quantized kind. Codes of kinds around zero are too high by `2^zero_bits`.
pub struct Block {
    /// One code for each number.
    pub codes: [u8; 256],
    /// For each group; only where units are shared by groups.
    pub scales: [i8; 16],
    /// For each group, taken off.
    pub minima: [u8; 16],
    /// Of scales and of minima, or the scale and the offset of the block: half precision.
    pub units: [u16; 2],
}

#[inline(always)]
fn half(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// Of every `run` bytes the lowest `bits` bits are the next codes, then the bits above them; they go to bit `shift`. Eight
/// bytes at a time: no bits of one reach the next, since what comes in is masked away.
#[inline(always)]
fn unpack(packed: &[u8], bits: usize, run: usize, shift: usize, codes: &mut [u8]) {
    let mask = u64::from(u8::MAX >> (8 - bits)) * 0x0101_0101_0101_0101;
    for (codes, packed) in codes.chunks_exact_mut(run * (8 / bits)).zip(packed.chunks_exact(run)) {
        for (place, codes) in codes.chunks_exact_mut(run).enumerate() {
            let (codes, last_codes) = codes.as_chunks_mut::<8>();
            let (packed, last_packed) = packed.as_chunks::<8>();
            for (codes, packed) in codes.iter_mut().zip(packed) {
                let word = u64::from_le_bytes(*packed) >> (bits * place) & mask;
                *codes = (u64::from_le_bytes(*codes) | word << shift).to_le_bytes();
            }
            for (code, byte) in last_codes.iter_mut().zip(last_packed) {
                *code |= (byte >> (bits * place) & mask as u8) << shift;
            }
        }
    }
}

/// Eight scales and eight minima of 6 bits (Q4_K, Q5_K).
#[inline(always)]
fn six_bits(packed: &[u8], scales: &mut [i8; 16], minima: &mut [u8; 16]) {
    for group in 0..4 {
        scales[group] = (packed[group] & 63) as i8;
        minima[group] = packed[group + 4] & 63;
        scales[group + 4] = (packed[group + 8] & 15 | packed[group] >> 6 << 4) as i8;
        minima[group + 4] = packed[group + 8] >> 4 | packed[group + 4] >> 6 << 4;
    }
}

impl Block {
    /// All zero.
    pub const EMPTY: Self = Self { codes: [0; 256], scales: [0; 16], minima: [0; 16], units: [0; 2] };

    /// Of one block of `kind`.
    #[inline(always)]
    pub fn read(kind: K, block: &[u8]) -> Self {
        let mut out = Self::EMPTY;
        let codes = &mut out.codes;
        match kind {
            K::F32 | K::F16 | K::BF16 => unreachable!("not quantized"),
            K::Q8_0 => codes.iter_mut().zip(&block[2..34]).for_each(|(code, byte)| *code = byte ^ 0x80),
            K::Q4_0 => unpack(&block[2..], 4, 16, 0, &mut codes[..32]),
            K::Q4_1 => unpack(&block[4..], 4, 16, 0, &mut codes[..32]),
            K::Q5_0 | K::Q5_1 => {
                let at = if kind == K::Q5_0 { 2 } else { 4 };
                unpack(&block[at..at + 4], 1, 1, 4, &mut codes[..32]);
                unpack(&block[at + 4..], 4, 16, 0, &mut codes[..32]);
            }
            K::Q2_K => {
                unpack(&block[16..80], 2, 32, 0, codes);
                for (group, byte) in block[..16].iter().enumerate() {
                    (out.scales[group], out.minima[group]) = ((byte & 15) as i8, byte >> 4);
                }
            }
            K::Q3_K => {
                unpack(&block[..32], 1, 32, 2, codes);
                unpack(&block[32..96], 2, 32, 0, codes);
                let mut scales = [0; 16];
                unpack(&block[96..104], 4, 8, 0, &mut scales);
                unpack(&block[104..108], 2, 4, 4, &mut scales);
                out.scales = scales.map(|scale| scale as i8 - 32);
            }
            K::Q4_K => {
                six_bits(&block[4..16], &mut out.scales, &mut out.minima);
                unpack(&block[16..], 4, 32, 0, codes);
            }
            K::Q5_K => {
                six_bits(&block[4..16], &mut out.scales, &mut out.minima);
                unpack(&block[16..48], 1, 32, 4, codes);
                unpack(&block[48..], 4, 32, 0, codes);
            }
            K::Q6_K => {
                unpack(&block[..128], 4, 64, 0, codes);
                unpack(&block[128..192], 2, 32, 4, codes);
                out.scales.iter_mut().zip(&block[192..208]).for_each(|(scale, byte)| *scale = *byte as i8);
            }
        }
        out.units = match kind {
            K::Q4_1 | K::Q5_1 | K::Q4_K | K::Q5_K => [half(block, 0), half(block, 2)],
            K::Q2_K => [half(block, 80), half(block, 82)],
            K::Q3_K => [half(block, 108), 0],
            K::Q6_K => [half(block, 208), 0],
            _ => [half(block, 0), 0],
        };
        out
    }
}
