//! Words to ids while a text is counted: ids in the order of first appearance, as `lmplz` gives them.

use super::{BEGIN_WORD, END_WORD, NgramError, UNKNOWN_WORD, WordId};

/// A hash table with open addressing over words that lie behind one another in one buffer.
#[derive(Debug)]
pub(super) struct Vocabulary {
    bytes: Vec<u8>,
    /// Where each word ends in `bytes`.
    ends: Vec<usize>,
    /// `tag << 32 | id + 1`, 0 where free; the tag is the upper half of the hash.
    slots: Vec<u64>,
}

impl Vocabulary {
    /// With `<unk>`, `<s>` and `</s>` only.
    pub(super) fn new() -> Self {
        let mut vocabulary = Self { bytes: Vec::new(), ends: Vec::new(), slots: vec![0; 1 << 12] };
        for word in [UNKNOWN_WORD, BEGIN_WORD, END_WORD] {
            vocabulary.slot_of_new(word.as_bytes());
        }
        vocabulary
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn word(&self, id: WordId) -> &[u8] {
        let id = id as usize;
        let begin = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin..self.ends[id]]
    }

    /// What it holds in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        (self.bytes.capacity() + 8 * (self.ends.capacity() + self.slots.capacity())) as u64
    }

    /// The id of a word; a new one if it was not seen before.
    pub(super) fn id(&mut self, word: &[u8]) -> Result<WordId, NgramError> {
        let hash = hash(word);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                0 => break,
                slot if slot >> 32 == hash >> 32 && self.word(slot as u32 - 1) == word => return Ok(slot as u32 - 1),
                _ => at = (at + 1) & mask,
            }
        }
        if self.len() >= WordId::MAX as usize - 1 {
            return Err(NgramError::TooManyWords);
        }
        Ok(self.slot_of_new(word))
    }

    fn slot_of_new(&mut self, word: &[u8]) -> WordId {
        self.bytes.extend_from_slice(word);
        self.ends.push(self.bytes.len());
        if 3 * self.len() > 2 * self.slots.len() {
            let slots = vec![0; 2 * self.slots.len()];
            self.slots = slots;
            (0..self.len() as WordId).for_each(|id| self.place(id));
        } else {
            self.place(self.len() as WordId - 1);
        }
        self.len() as WordId - 1
    }

    fn place(&mut self, id: WordId) {
        let hash = hash(self.word(id));
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = hash >> 32 << 32 | u64::from(id + 1);
    }
}

/// A hash of bytes, the same on every machine: eight at a time, each mixed by a multiplication to 128 bits.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        state = mix(state ^ u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
    }
    let mut last = 0;
    for &byte in chunks.remainder() {
        last = last << 8 | u64::from(byte);
    }
    mix(state ^ last)
}

/// Both halves of a product by an odd constant, folded.
#[inline]
pub(super) fn mix(value: u64) -> u64 {
    let product = u128::from(value) * 0xd6e8_feb8_6659_fd93;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_first_appearance() {
        let mut vocabulary = Vocabulary::new();
        let words: Vec<String> = (0..20_000).map(|i| format!("{i:x}-word-{}", i % 7)).collect();
        for _ in 0..2 {
            for (i, word) in words.iter().enumerate() {
                assert_eq!(vocabulary.id(word.as_bytes()).unwrap() as usize, 3 + i);
            }
        }
        assert_eq!(vocabulary.id(b"</s>").unwrap(), super::super::END);
        assert_eq!(vocabulary.word(3 + 19_999), words[19_999].as_bytes());
        assert_eq!(vocabulary.len(), 20_003);
    }
}
