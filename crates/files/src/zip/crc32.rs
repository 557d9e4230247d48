//! CRC-32 (ISO 3309, as zip and gzip use it), eight bytes at a time.

/// `TABLES[k][b]`: what byte `b`, followed by `k` zero bytes, does to the checksum.
static TABLES: [[u32; 256]; 8] = {
    const POLYNOMIAL: u32 = 0xedb8_8320; // bits reversed
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before: u32 = tables[k - 1][byte];
            tables[k][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
};

/// The checksum of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let crc = words.iter().fold(!0u32, |crc, word| {
        let mixed = u64::from_le_bytes(*word) ^ u64::from(crc);
        (0..8).fold(0, |sum, i| sum ^ TABLES[7 - i][(mixed >> (8 * i) & 0xff) as usize])
    });
    !rest.iter().fold(crc, |crc, &byte| crc >> 8 ^ TABLES[0][((crc ^ u32::from(byte)) & 0xff) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: one bit at a time.
    fn reference(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
        })
    }

    #[test]
    fn every_length_is_as_defined() {
        let bytes: Vec<u8> = (0..100u32).map(|i| (i * i * 37 + i) as u8).collect();
        for len in 0..bytes.len() {
            assert_eq!(crc32(&bytes[..len]), reference(&bytes[..len]), "{len}");
        }
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926); // the check value of the CRC catalogue
    }
}
