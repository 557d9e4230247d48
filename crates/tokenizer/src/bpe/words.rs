//! Counts the distinct words of a text, on several threads.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::split::{Split, SplitScratch, safe_pieces};

/// The distinct words of a text with how often each occurs, sorted by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WordCounts {
    /// `(word, count)`, the words sorted and unique.
    pub words: Vec<(Vec<u8>, u64)>,
}

/// A thread takes so much text at a time; small enough to balance, large enough that maps are rarely merged.
const PIECE_BYTES: usize = 1 << 20;

/// Counts the words of all `texts` under `split`, on `threads` threads. The result does not depend on `threads`.
pub fn count_words<T: AsRef<str> + Sync>(texts: &[T], split: Split, threads: usize) -> WordCounts {
    let pieces: Vec<&str> = match split {
        Split::None => texts.iter().map(AsRef::as_ref).filter(|text| !text.is_empty()).collect(),
        _ => texts.iter().flat_map(|text| safe_pieces(text.as_ref(), PIECE_BYTES)).collect(),
    };
    let next = AtomicUsize::new(0);
    let count_some = || {
        let mut counts: HashMap<&str, u64, FastHash> = HashMap::default();
        let mut scratch = SplitScratch::default();
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            split.for_each_word(piece, &mut scratch, |word| *counts.entry(word).or_default() += 1);
        }
        counts.into_iter().collect::<Vec<_>>()
    };
    let mut all: Vec<(&str, u64)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.clamp(1, pieces.len().max(1))).map(|_| scope.spawn(count_some)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("counting does not panic")).collect()
    });
    all.sort_unstable();
    let mut words: Vec<(Vec<u8>, u64)> = Vec::with_capacity(all.len());
    for (word, count) in all {
        match words.last_mut() {
            Some((last, total)) if last == word.as_bytes() => *total += count,
            _ => words.push((word.as_bytes().to_vec(), count)),
        }
    }
    WordCounts { words }
}

/// The multiply-and-rotate hash of rustc (FxHash): words and pairs are short, and nobody attacks our own training.
pub(crate) type FastHash = BuildHasherDefault<FxHasher>;

/// See [`FastHash`].
#[derive(Default)]
pub(crate) struct FxHasher(u64);

impl FxHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for FxHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (chunks, rest) = bytes.as_chunks::<8>();
        for chunk in chunks {
            self.add(u64::from_le_bytes(*chunk));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last) ^ (rest.len() as u64) << 56);
    }
    fn write_u8(&mut self, value: u8) {
        self.add(value.into());
    }
    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }
    fn finish(&self) -> u64 {
        // The map takes its bucket from the low bits, where a product has the least mixing.
        self.0 ^ self.0 >> 32
    }
}
