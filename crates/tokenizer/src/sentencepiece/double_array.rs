//! Double-array tries (Aoe 1989) in the layout of darts-clone: what SentencePiece stores its table of characters in.
//! Every step is checked, so any words may come from a file.

/// A trie from bytes to numbers of 31 bits.
#[derive(Debug, Default)]
pub(crate) struct DoubleArray {
    units: Vec<u32>,
}

impl DoubleArray {
    /// As it stands in a file, little-endian; bytes after the last whole word are ignored.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self { units: bytes.as_chunks().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect() }
    }

    /// Of these keys. Empty ones and those with a zero byte, which ends a key in this layout, are left out; of equal keys
    /// the first counts.
    pub fn build<'a>(keys: impl IntoIterator<Item = (&'a [u8], u32)>) -> Self {
        let mut keys: Vec<(&[u8], u32)> =
            keys.into_iter().filter(|(key, _)| !key.is_empty() && !key.contains(&0)).collect();
        keys.sort_by_key(|&(key, _)| key);
        keys.dedup_by_key(|&mut (key, _)| key);
        // It refuses keys that were just sorted out, and no keys at all.
        let bytes = yada::builder::DoubleArrayBuilder::build(&keys).unwrap_or_default();
        Self::from_bytes(&bytes)
    }

    /// The keys that `text` begins with, shortest first: their length and number.
    pub fn prefixes(&self, text: &[u8]) -> impl Iterator<Item = (usize, u32)> {
        let mut node = 0;
        let mut unit = self.units.first().copied();
        let mut walk = text.iter().enumerate();
        std::iter::from_fn(move || {
            for (at, &byte) in walk.by_ref() {
                let above = unit?;
                node ^= offset(above) ^ usize::from(byte);
                unit = self.units.get(node).copied().filter(|&unit| byte != 0 && label(unit) == u32::from(byte));
                let here = unit?;
                if has_leaf(here)
                    && let Some(leaf) = self.units.get(node ^ offset(here))
                {
                    return Some((at + 1, leaf & (u32::MAX >> 1)));
                }
            }
            None
        })
    }

    /// The longest of [`Self::prefixes`].
    pub fn longest_prefix(&self, text: &[u8]) -> Option<(usize, u32)> {
        self.prefixes(text).last()
    }
}

/// The byte that leads to a unit; with the highest bit set it is a leaf.
fn label(unit: u32) -> u32 {
    unit & (1 << 31 | 0xFF)
}

fn has_leaf(unit: u32) -> bool {
    unit >> 8 & 1 == 1
}

/// Where a unit's children are, from its own place; large ones are stored in multiples of 256.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_those_of_the_list() {
        let keys: [&[u8]; 8] = [b"a", b"ab", b"abc", b"b", "▁".as_bytes(), "▁▁".as_bytes(), b"", b"a\0b"];
        let trie = DoubleArray::build(keys.iter().zip(0..).map(|(key, number)| (*key, number)));
        for text in ["", "a", "abd", "abcd", "ba", "▁▁▁", "▁a", "x", "a\0b", "\0", "\u{2582}"] {
            let mut expected: Vec<(usize, u32)> = keys[..6]
                .iter()
                .zip(0..)
                .filter(|(key, _)| text.as_bytes().starts_with(key))
                .map(|(key, number)| (key.len(), number))
                .collect();
            expected.sort_unstable();
            assert_eq!(trie.prefixes(text.as_bytes()).collect::<Vec<_>>(), expected, "{text:?}");
            assert_eq!(trie.longest_prefix(text.as_bytes()), expected.last().copied());
        }
    }

    #[test]
    fn any_words_can_be_walked() {
        assert_eq!(DoubleArray::default().longest_prefix(b"abc"), None);
        let key = tsumugi_base::rng::Key::from_seed(1);
        for number in 0..500 {
            let mut stream = tsumugi_base::rng::Stream::new(key.derive(&[number]));
            let bytes: Vec<u8> = (0..4 * (1 + number)).map(|_| stream.next_u64() as u8).collect();
            let trie = DoubleArray::from_bytes(&bytes);
            for text in ["abc", "\0\0\0", "▁speak", "\u{7F}\u{80}"] {
                assert!(trie.prefixes(text.as_bytes()).all(|(length, _)| length <= text.len()));
            }
        }
    }
}
