//! N-grams of all orders as a trie in suffix order, one level per order, in columns.
//!
//! A node of level `n` is an n-gram `w1 … wn`; its parent, on level `n - 1`, is its ending `w2 … wn`. Siblings are sorted by
//! `w1`, and a level holds the children of its first parent, then those of the second, and so on: the order in which `lmplz`
//! writes. So a level needs the word `w1` and the number of children of each node, and nothing else to be walked.
//!
//! The children of a node are the words seen before it. Their number is therefore the node's *adjusted count* in the sense of
//! Kneser and Ney, unless it begins with `<s>`, before which nothing stands: then, and on the last level, it is the plain
//! count (Heafield et al. 2013, "Scalable Modified Kneser-Ney Language Model Estimation", §3.2).

use tsumugi_base::FileError;

use super::column::{Column, ColumnReader, ColumnWriter, Scratch};
use super::discount::CountOfCounts;
use super::{BEGIN, UNKNOWN, WordId};

/// The n-grams of one order.
#[derive(Debug, Clone)]
pub(super) struct Level {
    words: Column,
    /// Of each node: the adjusted count, then [`PRUNED`] and [`NO_CHILDREN`] as its lowest bits.
    counts: Column,
    /// Nodes.
    pub(super) len: u64,
    /// Nodes that stay in the model.
    pub(super) kept: u64,
    pub(super) count_of_counts: CountOfCounts,
}

const PRUNED: u64 = 1;
const NO_CHILDREN: u64 = 2;
const FLAG_BITS: u32 = 2;

/// One n-gram of a level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) word: WordId,
    entry: u64,
}

impl Node {
    /// The adjusted count.
    pub(super) fn count(self) -> u64 {
        self.entry >> FLAG_BITS
    }

    /// Whether its plain count is too small for the model.
    pub(super) fn is_pruned(self) -> bool {
        self.entry & PRUNED != 0
    }

    /// How many n-grams of the next level end with it. Not for the last level.
    pub(super) fn children(self) -> u64 {
        if self.entry & NO_CHILDREN != 0 { 0 } else { self.count() }
    }
}

/// Reads a level from its begin on.
pub(super) struct LevelReader {
    words: ColumnReader,
    counts: ColumnReader,
}

impl LevelReader {
    #[inline]
    pub(super) fn next(&mut self) -> Result<Node, FileError> {
        Ok(Node { word: self.words.u32()?, entry: self.counts.varint()? })
    }
}

impl Level {
    /// The words alone, from a node on.
    pub(super) fn words_from(&self, node: u64) -> ColumnReader {
        self.words.reader_at(node * size_of::<WordId>() as u64)
    }

    pub(super) fn reader(&self) -> LevelReader {
        LevelReader { words: self.words.reader(), counts: self.counts.reader() }
    }
}

/// A node to which children may still come.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    children: u64,
    /// How often the n-gram stands in the text.
    plain_count: u64,
}

struct LevelWriter {
    words: ColumnWriter,
    counts: ColumnWriter,
    threshold: u64,
    len: u64,
    kept: u64,
    count_of_counts: CountOfCounts,
}

impl LevelWriter {
    fn push(&mut self, word: WordId, count: u64, pruned: bool, flags: u64) -> Result<(), FileError> {
        self.words.u32(word)?;
        self.counts.varint(count << FLAG_BITS | flags | if pruned { PRUNED } else { 0 })?;
        self.len += 1;
        self.kept += u64::from(!pruned);
        Ok(())
    }

    fn observe(&mut self, count: u64) {
        if let Some(n) = (1..=4).contains(&count).then(|| &mut self.count_of_counts[count as usize - 1]) {
            *n += 1;
        }
    }
}

/// Makes the levels from the counted n-grams of the highest order in suffix order.
pub(super) struct LevelsBuilder {
    levels: Vec<LevelWriter>,
    /// The latest n-gram, last word first, up to the first `<s>`.
    path: Vec<WordId>,
    /// One for each word of the path.
    open: Vec<Open>,
}

impl LevelsBuilder {
    /// `thresholds`, one per order: an n-gram that stands in the text at most that often is pruned.
    pub(super) fn new(thresholds: &[u64], scratch: &Scratch) -> Result<Self, FileError> {
        let writer = |&threshold| LevelWriter {
            words: scratch.writer(),
            counts: scratch.writer(),
            threshold,
            len: 0,
            kept: 0,
            count_of_counts: [0; 4],
        };
        let mut builder = Self { levels: thresholds.iter().map(writer).collect(), path: Vec::new(), open: Vec::new() };
        for special in [UNKNOWN, BEGIN] {
            builder.levels[0].push(special, 0, false, NO_CHILDREN)?; // they follow nothing
        }
        Ok(builder)
    }

    /// The next n-gram: `reversed` has its last word first and is of the highest order, with `<s>` repeated where the
    /// sentence begins.
    pub(super) fn push(&mut self, reversed: &[WordId], count: u64) -> Result<(), FileError> {
        let begin = reversed.iter().position(|&word| word == BEGIN);
        let reversed = &reversed[..begin.map_or(reversed.len(), |begin| begin + 1)];
        let same = self.path.iter().zip(reversed).take_while(|(last, word)| last == word).count();
        self.close(same, false)?;
        for &word in &reversed[same..] {
            if let Some(parent) = self.open.last_mut() {
                parent.children += 1;
            }
            self.path.push(word);
            self.open.push(Open::default());
        }
        if let Some(leaf) = self.open.last_mut() {
            leaf.plain_count += count;
        }
        Ok(())
    }

    /// Writes the open nodes beyond the first `keep` of the path.
    fn close(&mut self, keep: usize, is_last: bool) -> Result<(), FileError> {
        while self.open.len() > keep {
            let (Some(node), Some(word)) = (self.open.pop(), self.path.pop()) else { break };
            if let Some(parent) = self.open.last_mut() {
                parent.plain_count += node.plain_count;
            }
            let depth = self.open.len();
            let is_whole = depth + 1 == self.levels.len();
            let (count, flags) = match (is_whole, word) {
                (true, _) => (node.plain_count, 0),
                (false, BEGIN) => (node.plain_count, NO_CHILDREN),
                (false, _) => (node.children, 0),
            };
            let level = &mut self.levels[depth];
            let is_special = depth == 0 && word < super::FIRST_WORD;
            level.push(word, count, node.plain_count <= level.threshold && !is_special, flags)?;
            // lmplz takes the very last n-gram of each lower order with its plain count. On a small text the discounts
            // depend on it, so it is done here too.
            level.observe(if is_last { node.plain_count } else { count });
        }
        Ok(())
    }

    /// The levels, the lowest first.
    pub(super) fn finish(mut self) -> Result<Vec<Level>, FileError> {
        self.close(0, true)?;
        let level = |writer: LevelWriter| {
            Ok(Level {
                words: writer.words.finish()?,
                counts: writer.counts.finish()?,
                len: writer.len,
                kept: writer.kept,
                count_of_counts: writer.count_of_counts,
            })
        };
        self.levels.into_iter().map(level).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_counts_by_hand() {
        // "a b a" and "b a": 3 is a, 4 is b, 2 is the end. Bigrams in suffix order, each last word first.
        let scratch = Scratch { folder: ".".into(), buffer_bytes: 1 << 10 };
        let mut builder = LevelsBuilder::new(&[0, 0], &scratch).unwrap();
        for (reversed, count) in [([2, 3], 2), ([3, BEGIN], 1), ([3, 4], 2), ([4, BEGIN], 1), ([4, 3], 1)] {
            builder.push(&reversed, count).unwrap();
        }
        let levels = builder.finish().unwrap();
        let read = |level: &Level| {
            let mut reader = level.reader();
            (0..level.len)
                .map(|_| reader.next().unwrap())
                .map(|node| (node.word, node.count(), node.children()))
                .collect::<Vec<_>>()
        };
        assert_eq!(read(&levels[0]), [(0, 0, 0), (1, 0, 0), (2, 1, 1), (3, 2, 2), (4, 2, 2)]);
        assert_eq!(levels[0].count_of_counts, [1, 2, 0, 0]);
        let plain: Vec<_> = read(&levels[1]).into_iter().map(|(word, count, _)| (word, count)).collect();
        assert_eq!(plain, [(3, 2), (1, 1), (4, 2), (1, 1), (3, 1)]);
        assert_eq!(levels[1].count_of_counts, [3, 2, 0, 0]);
    }
}
