//! The model file: a trie in sorted arrays of bit-packed entries, made to be mapped.
//!
//! All numbers are little-endian. A bit field begins at the lowest bit of its byte.
//!
//! ```text
//! 16 bytes   "tsumugi n-gram 1"
//! u64        order N
//! u64        words V: ids from 0, of which 0 is <unk>, 1 <s>, 2 </s>
//! u64        bytes of all words
//! u64        slots S of the hash table, a power of two
//! u64 × N    nodes of each level; of the first: V
//! S × u64    slots: 0, or the upper half of the word's hash << 32 | id + 1; linear probing from hash mod S
//! V × u64    where each word ends among the bytes
//! bytes      the words, padded to 8
//! level 1…N  nodes + 1 entries, the last one a sentinel; padded to 8, and 8 bytes more
//! ```
//!
//! An entry of level `n` has the word before the parent's n-gram (`bits(V)`; not on level 1, where it is the place), the
//! log10 probability (float32), and but on the last level the log10 back-off weight (float32) and where the children begin
//! on the next level (`bits(nodes + 1)`); they end where those of the next entry begin. Levels are in the order of
//! `levels.rs`.

use std::io::{self, Write};

use super::WordId;
use super::vocabulary::hash;

pub(super) const MAGIC: &[u8; 16] = b"tsumugi n-gram 1";

/// Where everything is, as it follows from the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) words: u64,
    pub(super) word_bytes: u64,
    pub(super) slots: u64,
    pub(super) levels: Vec<LevelLayout>,
}

/// Where a level is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LevelLayout {
    pub(super) nodes: u64,
    /// First byte in the file.
    pub(super) begin: u64,
    /// 0 on level 1.
    pub(super) word_bits: u32,
    /// 0 on the last level.
    pub(super) child_bits: u32,
    is_last: bool,
}

/// Bits of a float32.
pub(super) const FLOAT_BITS: u32 = 32;

impl LevelLayout {
    /// Bits of one entry.
    pub(super) fn entry_bits(&self) -> u32 {
        let floats = if self.is_last { 1 } else { 2 };
        self.word_bits + floats * FLOAT_BITS + self.child_bits
    }

    /// Bytes with sentinel and padding; none if no file is that large.
    fn bytes(&self) -> Option<u64> {
        let bits = self.nodes.checked_add(1)?.checked_mul(u64::from(self.entry_bits()))?;
        Some(bits.div_ceil(64).checked_mul(8)? + 8)
    }
}

/// Bits that hold every number up to `largest`.
fn bits(largest: u64) -> u32 {
    u64::BITS - largest.leading_zeros()
}

impl Layout {
    /// `nodes` of each level, the lowest first; none if no file is that large.
    pub(super) fn new(word_bytes: u64, slots: u64, nodes: &[u64]) -> Option<Self> {
        let words = *nodes.first()?;
        let word_bits = bits(words.saturating_sub(1));
        let mut layout = Self { words, word_bytes, slots, levels: Vec::with_capacity(nodes.len()) };
        let before = [layout.word_bytes_begin(nodes.len())?, word_bytes.checked_next_multiple_of(8)?];
        let mut begin = before[0].checked_add(before[1])?;
        for (n, &count) in nodes.iter().enumerate() {
            let level = LevelLayout {
                nodes: count,
                begin,
                word_bits: if n == 0 { 0 } else { word_bits },
                child_bits: nodes.get(n + 1).map_or(0, |&next| bits(next)),
                is_last: n + 1 == nodes.len(),
            };
            begin = begin.checked_add(level.bytes()?)?;
            layout.levels.push(level);
        }
        Some(layout)
    }

    /// Slots for this many words: at most two thirds are taken.
    pub(super) fn slots_for(words: u64) -> u64 {
        (words + words / 2 + 1).next_power_of_two()
    }

    pub(super) fn slots_begin(order: usize) -> u64 {
        (MAGIC.len() + 8 * (4 + order)) as u64
    }

    fn ends_begin_of(&self, order: usize) -> Option<u64> {
        Self::slots_begin(order).checked_add(self.slots.checked_mul(8)?)
    }

    fn word_bytes_begin(&self, order: usize) -> Option<u64> {
        self.ends_begin_of(order)?.checked_add(self.words.checked_mul(8)?)
    }

    /// Where the ends of the words begin, and their bytes.
    pub(super) fn words_begin(&self) -> Option<(u64, u64)> {
        let order = self.levels.len();
        Some((self.ends_begin_of(order)?, self.word_bytes_begin(order)?))
    }

    /// Of the whole file.
    pub(super) fn file_bytes(&self) -> Option<u64> {
        let last = self.levels.last()?;
        last.begin.checked_add(last.bytes()?)
    }
}

/// One entry of a level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) word: WordId,
    /// log10.
    pub(super) probability: f32,
    /// log10.
    pub(super) backoff: f32,
    /// On the next level.
    pub(super) children: u64,
}

/// Writes a model: words first, then every level's entries in order.
pub(super) struct ModelWriter<W> {
    out: W,
    layout: Layout,
    level: usize,
    written: u64,
    children: u64,
    bits: u128,
    bit_count: u32,
}

impl<W: Write> ModelWriter<W> {
    /// `word` gives the words of all ids from 0 on, `nodes` the length of each level.
    pub(super) fn new<'w>(mut out: W, word: impl Fn(WordId) -> &'w [u8], nodes: &[u64]) -> io::Result<Self> {
        let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
        let words = nodes.first().copied().unwrap_or(0) as WordId;
        let word_bytes = (0..words).map(|id| word(id).len() as u64).sum();
        let slots = Layout::slots_for(words.into());
        let layout = Layout::new(word_bytes, slots, nodes).ok_or_else(too_large)?;
        out.write_all(MAGIC)?;
        for number in [nodes.len() as u64, words.into(), word_bytes, slots].iter().chain(nodes) {
            out.write_all(&number.to_le_bytes())?;
        }
        let mut table = vec![0; slots as usize];
        for id in 0..words {
            let hash = hash(word(id));
            let mut at = hash as usize & (table.len() - 1);
            while table[at] != 0 {
                at = (at + 1) & (table.len() - 1);
            }
            table[at] = hash >> 32 << 32 | u64::from(id + 1);
        }
        table.iter().try_for_each(|slot: &u64| out.write_all(&slot.to_le_bytes()))?;
        let mut end = 0;
        for id in 0..words {
            end += word(id).len() as u64;
            out.write_all(&end.to_le_bytes())?;
        }
        (0..words).try_for_each(|id| out.write_all(word(id)))?;
        out.write_all(&[0; 8][..(word_bytes.next_multiple_of(8) - word_bytes) as usize])?;
        Ok(Self { out, layout, level: 0, written: 0, children: 0, bits: 0, bit_count: 0 })
    }

    /// The next entry of the level that is being written.
    pub(super) fn push(&mut self, entry: Entry) -> io::Result<()> {
        let begin = self.children;
        self.children += entry.children;
        self.written += 1;
        self.entry(entry, begin)
    }

    fn entry(&mut self, entry: Entry, begin: u64) -> io::Result<()> {
        let level = self.layout.levels[self.level];
        self.field(entry.word.into(), level.word_bits)?;
        self.field(entry.probability.to_bits().into(), FLOAT_BITS)?;
        if !level.is_last {
            self.field(entry.backoff.to_bits().into(), FLOAT_BITS)?;
            self.field(begin, level.child_bits)?;
        }
        Ok(())
    }

    fn field(&mut self, value: u64, width: u32) -> io::Result<()> {
        if width == 0 {
            return Ok(());
        }
        self.bits |= u128::from(value) << self.bit_count;
        self.bit_count += width;
        if self.bit_count >= 64 {
            self.out.write_all(&(self.bits as u64).to_le_bytes())?;
            self.bits >>= 64;
            self.bit_count -= 64;
        }
        Ok(())
    }

    /// Ends a level; the next one follows.
    pub(super) fn end_level(&mut self) -> io::Result<()> {
        let level = self.layout.levels[self.level];
        debug_assert_eq!(self.written, level.nodes, "as many entries as the header says");
        let sentinel = Entry { word: 0, probability: 0.0, backoff: 0.0, children: 0 };
        self.entry(sentinel, self.children)?;
        if self.bit_count > 0 {
            self.out.write_all(&(self.bits as u64).to_le_bytes())?;
        }
        self.out.write_all(&[0; 8])?;
        (self.level, self.written, self.children, self.bits, self.bit_count) = (self.level + 1, 0, 0, 0, 0);
        Ok(())
    }

    pub(super) fn finish(self) -> W {
        debug_assert_eq!(self.level, self.layout.levels.len());
        self.out
    }
}
