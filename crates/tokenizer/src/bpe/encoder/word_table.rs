//! Which words are tokens, and a hash for words.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use super::{MULTIPLIER, NONE};
use crate::TokenId;
use crate::token_bytes::TokenBytes;

/// Tokens by their bytes: a table with open addressing, at most half full.
pub(super) struct WordTable {
    bytes: TokenBytes,
    /// Ids, each with the upper half of its hash.
    slots: Box<[(TokenId, u32)]>,
    hash: KeyedHash,
}

impl WordTable {
    pub fn new(bytes: TokenBytes) -> Self {
        let slots = vec![(NONE, 0); (2 * bytes.len()).next_power_of_two().max(2)].into_boxed_slice();
        let mut table = Self { bytes, slots, hash: KeyedHash::default() };
        for id in 0..table.bytes.len() as TokenId {
            if let Some(word) = table.bytes.get(id).filter(|word| !word.is_empty()) {
                let (slot, half) = table.find(word);
                table.slots[slot] = (id, half);
            }
        }
        table
    }

    /// Where a word stands, or where it would, and the upper half of its hash.
    fn find(&self, word: &[u8]) -> (usize, u32) {
        let hash = self.hash.hash_one(word);
        let half = (hash >> 32) as u32;
        let mut slot = hash as usize & (self.slots.len() - 1);
        loop {
            let (id, found) = self.slots[slot];
            if id == NONE || found == half && self.bytes.get(id) == Some(word) {
                return (slot, half);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    pub fn get(&self, word: &[u8]) -> Option<TokenId> {
        let (id, _) = self.slots[self.find(word).0];
        (id != NONE).then_some(id)
    }
}

/// A hash of words by multiplications whose halves are folded (as in wyhash and foldhash), with a key by chance, so that no
/// text can be made to be slow.
#[derive(Clone)]
pub(super) struct KeyedHash(pub u64);

impl Default for KeyedHash {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { key: self.0, state: self.0.rotate_left(32) }
    }
}

/// See [`KeyedHash`].
pub(super) struct KeyedHasher {
    key: u64,
    state: u64,
}

impl KeyedHasher {
    fn add(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.key ^ MULTIPLIER);
        self.state = product as u64 ^ (product >> 64) as u64;
    }
}

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.add(u64::from_le_bytes(last));
        }
    }

    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}
