//! Byte-level byte-pair encoding: Sennrich et al. 2016 (arXiv 1508.07909) over bytes, as GPT-2 does (Radford et al. 2019).
//!
//! Token `0..256` is the byte of that value; each merge makes the next id. Text is first cut into words by a
//! [`Split`] pattern; no merge crosses a word.

mod alphabet;
mod dropout;
mod encoder;
pub mod reference;
mod split;
pub mod train;
mod words;

pub use alphabet::Alphabet;
pub(crate) use alphabet::text;
pub use dropout::BpeDropout;
pub(crate) use encoder::{BpeEncoder, Merge, Rules, Scratch};
pub(crate) use split::pieces_at_words;
pub use split::{GPT4O_PATTERN, QWEN_PATTERN, Split, border, safe_pieces};
pub use words::{CountingOptions, TextSink, WordCounts, count_words};
pub(crate) use words::{FastHash, Words, count};

use crate::TokenId;

/// Two neighbouring tokens.
pub type Pair = (TokenId, TokenId);

/// The bytes stay single tokens, ids below this.
pub const BYTE_TOKENS: TokenId = 256;

/// A pair is not merged if its token would be longer. No published vocabulary has a longer one, and the encoder's limit
/// is 65,535; without a limit one repeated letter would fill a vocabulary.
pub const TOKEN_BYTES_MAX: usize = 1024;

/// The printable character that stands for `byte` in `tokenizer.json`, as GPT-2 chose it: bytes that are printable
/// Latin-1 stand for themselves, the others follow from U+0100 on.
pub fn byte_to_char(byte: u8) -> char {
    BYTE_CHARACTERS[byte as usize]
}

/// The byte that `character` stands for, if any.
pub fn char_to_byte(character: char) -> Option<u8> {
    match u8::try_from(u32::from(character)) {
        Ok(byte) => Some(byte).filter(|&byte| is_printable(byte)),
        Err(_) => MOVED_BYTES.get(u32::from(character).checked_sub(0x100)? as usize).copied(),
    }
}

/// The bytes that characters from U+0100 on stand for.
const MOVED_BYTES: [u8; 68] = {
    let mut bytes = [0; 68];
    let mut byte = 0;
    while byte < 256 {
        if BYTE_CHARACTERS[byte] as usize >= 0x100 {
            bytes[BYTE_CHARACTERS[byte] as usize - 0x100] = byte as u8;
        }
        byte += 1;
    }
    bytes
};

/// [`byte_to_char`] as a table.
const BYTE_CHARACTERS: [char; 256] = {
    let mut table = ['\0'; 256];
    let mut moved = 0x100;
    let mut byte = 0;
    while byte < 256 {
        table[byte] = if is_printable(byte as u8) {
            byte as u8 as char
        } else {
            moved += 1;
            match char::from_u32(moved - 1) {
                Some(character) => character,
                None => unreachable!(),
            }
        };
        byte += 1;
    }
    table
};

/// Printable in Latin-1, without space and soft hyphen.
const fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}
