//! One hash for all of cleaning: fast, without a seed, the same on every machine.
//!
//! The classifier's files depend on it, so it may never change.

use std::hash::{BuildHasher, Hasher};

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd6e8_feb8_6659_fd93;

/// The two halves of a 128-bit product, folded into one another (as wyhash and its relatives do).
pub fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The hash of a text's bytes.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut state = FIRST ^ bytes.len() as u64;
    let mut pieces = bytes.chunks_exact(8);
    for piece in &mut pieces {
        let mut word = [0; 8];
        word.copy_from_slice(piece);
        state = mix(state ^ u64::from_le_bytes(word), SECOND);
    }
    let rest = pieces.remainder().iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    mix(state ^ rest, SECOND)
}

/// [`hash`] for the maps of the standard library.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fixed;

/// The state of [`Fixed`].
#[derive(Debug, Default)]
pub struct FixedHasher(u64);

impl BuildHasher for Fixed {
    type Hasher = FixedHasher;

    fn build_hasher(&self) -> FixedHasher {
        FixedHasher(FIRST)
    }
}

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix(self.0 ^ hash(bytes), FIRST);
    }

    // What ends a `str`: its length is in its hash already.
    fn write_u8(&mut self, _: u8) {}

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0 ^ word, SECOND);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
