//! Counting n-grams of the highest order in bounded memory: equal ones are combined in a hash table; a full table is
//! sorted and spilled as a run; runs are merged at the end.

use tsumugi_base::FileError;

use super::WordId;
use super::column::{Column, ColumnReader, Scratch};
use super::vocabulary::mix;

/// Runs that are merged at once; more become one before the end.
const FAN_IN: usize = 64;

/// Takes the n-grams of a text in suffix order, each with its count.
pub(super) trait Sink {
    /// `reversed` is one n-gram, its last word first.
    fn push(&mut self, reversed: &[WordId], count: u64) -> Result<(), FileError>;
}

/// Sorted n-grams on disk, one after the other: words of 32 bits, last word first, then the count.
struct Run {
    column: Column,
    /// How often its n-grams were merged.
    level: u32,
}

/// Counts n-grams.
pub(super) struct Counter {
    order: usize,
    table: Table,
    runs: Vec<Run>,
    scratch: Scratch,
    threads: usize,
}

impl Counter {
    /// Holds at most about `memory_bytes` at once.
    pub(super) fn new(order: usize, memory_bytes: u64, scratch: &Scratch, threads: usize) -> Self {
        Self { order, table: Table::new(order, memory_bytes), runs: Vec::new(), scratch: scratch.clone(), threads }
    }

    /// N-grams one after the other, last word first.
    pub(super) fn add(&mut self, ngrams: &[WordId]) -> Result<(), FileError> {
        let mut rest = ngrams;
        while !rest.is_empty() {
            rest = self.table.add(rest);
            if !rest.is_empty() {
                self.spill()?;
            }
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), FileError> {
        let mut writer = self.scratch.writer();
        self.table.drain_sorted(self.threads, |reversed, count| {
            reversed.iter().try_for_each(|&word| writer.u32(word))?;
            writer.varint(count)
        })?;
        self.runs.push(Run { column: writer.finish()?, level: 0 });
        // The buffers of a merge are bounded by its runs. Merging only runs of one level moves an n-gram once per level.
        while let Some(last) = self.runs.last() {
            let level = last.level;
            let first = self.runs.iter().position(|run| run.level == level).unwrap_or_default();
            if self.runs.len() - first < FAN_IN {
                break;
            }
            let runs = self.runs.split_off(first);
            let mut writer = self.scratch.writer();
            merge(self.order, &runs, |reversed, count| {
                reversed.iter().try_for_each(|&word| writer.u32(word))?;
                writer.varint(count)
            })?;
            self.runs.push(Run { column: writer.finish()?, level: level + 1 });
        }
        Ok(())
    }

    /// All n-grams in order. The table's memory is given back first where runs are merged.
    pub(super) fn finish(mut self, sink: &mut impl Sink) -> Result<(), FileError> {
        if self.runs.is_empty() {
            return self.table.drain_sorted(self.threads, |reversed, count| sink.push(reversed, count));
        }
        self.spill()?;
        drop(self.table);
        merge(self.order, &self.runs, |reversed, count| sink.push(reversed, count))
    }
}

/// Distinct n-grams and their counts.
struct Table {
    order: usize,
    /// `order` words for each n-gram.
    words: Vec<WordId>,
    counts: Vec<u64>,
    /// `tag << 32 | n-gram + 1`, 0 where free.
    slots: Vec<u64>,
    /// Most n-grams.
    capacity: usize,
}

/// N-grams whose slots are looked up together, so that the waits for memory overlap.
const BATCH: usize = 32;

impl Table {
    fn new(order: usize, memory_bytes: u64) -> Self {
        // Words and count, two slots or fewer at two thirds full when it has just grown, and the place for sorting.
        let bytes_each = (4 * order + 8 + 24 + SORT_BYTES) as u64;
        let capacity = (memory_bytes / bytes_each).clamp(1 << 6, 1 << 31) as usize;
        Self { order, words: Vec::new(), counts: Vec::new(), slots: vec![0; 1 << 8], capacity }
    }

    /// Adds n-grams until the table is full; returns those that had no room.
    fn add<'a>(&mut self, ngrams: &'a [WordId]) -> &'a [WordId] {
        let mut rest = ngrams;
        while !rest.is_empty() {
            if self.counts.len() + BATCH > self.capacity {
                return rest;
            }
            if 3 * (self.counts.len() + BATCH) > 2 * self.slots.len() {
                self.grow();
            }
            let (batch, after) = rest.split_at(rest.len().min(BATCH * self.order));
            self.add_batch(batch);
            rest = after;
        }
        rest
    }

    fn add_batch(&mut self, ngrams: &[WordId]) {
        let mask = self.slots.len() - 1;
        let mut hashes = [0; BATCH];
        let mut first_slots = [0; BATCH];
        for (hash, ngram) in hashes.iter_mut().zip(ngrams.chunks_exact(self.order)) {
            *hash = hash_words(ngram);
        }
        for (slot, &hash) in first_slots.iter_mut().zip(&hashes) {
            *slot = self.slots[hash as usize & mask];
        }
        // What the first slots point to, read for its own sake: it is in the cache when it is compared.
        let ahead = first_slots.iter().fold(0, |sum: u32, &slot| match slot as usize {
            0 => sum,
            _ => {
                let place = (slot as u32 - 1) as usize;
                sum.wrapping_add(self.words[place * self.order]).wrapping_add(self.counts[place] as u32)
            }
        });
        std::hint::black_box(ahead);
        for (&hash, ngram) in hashes.iter().zip(ngrams.chunks_exact(self.order)) {
            self.add_one(ngram, hash, mask);
        }
    }

    #[inline]
    fn add_one(&mut self, ngram: &[WordId], hash: u64, mask: usize) {
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                self.words.extend_from_slice(ngram);
                self.counts.push(1);
                self.slots[at] = hash >> 32 << 32 | self.counts.len() as u64;
                return;
            }
            let place = (slot as u32 - 1) as usize;
            if slot >> 32 == hash >> 32 && self.words[place * self.order..][..self.order] == *ngram {
                self.counts[place] += 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        self.slots = vec![0; 2 * self.slots.len()];
        let mask = self.slots.len() - 1;
        for (i, ngram) in self.words.chunks_exact(self.order).enumerate() {
            let hash = hash_words(ngram);
            let mut at = hash as usize & mask;
            while self.slots[at] != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = hash >> 32 << 32 | (i as u64 + 1);
        }
    }

    /// Everything in suffix order; the table is empty afterwards.
    fn drain_sorted(
        &mut self,
        threads: usize,
        mut each: impl FnMut(&[WordId], u64) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        for &place in &self.sorted(threads) {
            let place = place as usize;
            each(&self.words[place * self.order..][..self.order], self.counts[place])?;
        }
        self.words.clear();
        self.counts.clear();
        self.slots.fill(0);
        Ok(())
    }

    /// The places of all n-grams in suffix order: first into groups by the last word, then each group for itself.
    fn sorted(&self, threads: usize) -> Vec<u32> {
        let last_words = || self.words.iter().step_by(self.order);
        let groups = last_words().max().map_or(0, |&word| word as usize + 1);
        let mut ends = vec![0_u32; groups];
        last_words().for_each(|&word| ends[word as usize] += 1);
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        let mut places = vec![0; self.counts.len()];
        for (place, &word) in last_words().enumerate() {
            let end = &mut ends[word as usize];
            places[*end as usize] = place as u32;
            *end += 1;
        }
        if self.order > 1 {
            self.sort_groups(&mut places, &ends, threads);
        }
        places
    }

    fn sort_groups(&self, places: &mut [u32], ends: &[u32], threads: usize) {
        let share = places.len().div_ceil(threads).max(1 << 12);
        std::thread::scope(|scope| {
            let (mut rest, mut begin, mut first) = (places, 0, 0);
            while !rest.is_empty() {
                // Whole groups, at least a share of the n-grams.
                let last = first + ends[first..].partition_point(|&end| (end as usize) < begin + share);
                let last = last.min(ends.len() - 1);
                let (mine, after) = rest.split_at_mut(ends[last] as usize - begin);
                let mine_ends = &ends[first..=last];
                let mine_begin = begin;
                scope.spawn(move || {
                    let mut keys = Vec::new();
                    let (mut mine, mut at) = (mine, mine_begin);
                    for &end in mine_ends {
                        let (group, after) = mine.split_at_mut(end as usize - at);
                        self.sort_group(group, &mut keys);
                        (mine, at) = (after, end as usize);
                    }
                });
                (rest, begin, first) = (after, ends[last] as usize, last + 1);
            }
        });
    }

    /// Sorts n-grams with the same last word. `keys` is only memory.
    fn sort_group(&self, places: &mut [u32], keys: &mut Vec<(u64, u64, u32)>) {
        if places.len() < 2 {
            return;
        }
        let word = |place: u32, i: usize| match i < self.order {
            true => u64::from(self.words[place as usize * self.order + i]),
            false => 0,
        };
        let pair = |place, i| word(place, i) << 32 | word(place, i + 1);
        keys.clear();
        keys.extend(places.iter().map(|&place| (pair(place, 1), pair(place, 3), place)));
        let tail = |place: u32| self.words[place as usize * self.order..][..self.order].get(5..).unwrap_or_default();
        keys.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| tail(a.2).cmp(tail(b.2))));
        for (place, key) in places.iter_mut().zip(keys) {
            *place = key.2;
        }
    }
}

/// What sorting takes for each n-gram at worst: its place and a key.
const SORT_BYTES: usize = 4 + size_of::<(u64, u64, u32)>();

fn hash_words(words: &[WordId]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for pair in words.chunks(2) {
        let high = u64::from(pair[0]) << 32;
        state = mix(state ^ (high | pair.get(1).map_or(0, |&word| u64::from(word))));
    }
    state
}

/// One run while it is merged.
struct Head {
    /// Its next n-gram.
    words: Vec<WordId>,
    count: u64,
    reader: ColumnReader,
}

impl Head {
    /// Reads the next n-gram; false at the end.
    fn advance(&mut self) -> Result<bool, FileError> {
        if self.reader.is_at_end()? {
            return Ok(false);
        }
        for word in &mut self.words {
            *word = self.reader.u32()?;
        }
        self.count = self.reader.varint()?;
        Ok(true)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    /// The smallest n-gram is the greatest head: a heap gives the greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.words.cmp(&self.words)
    }
}

fn merge(
    order: usize,
    runs: &[Run],
    mut each: impl FnMut(&[WordId], u64) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let mut heads = std::collections::BinaryHeap::with_capacity(runs.len());
    for run in runs {
        let mut head = Head { words: vec![0; order], count: 0, reader: run.column.reader() };
        if head.advance()? {
            heads.push(head);
        }
    }
    let mut current = vec![0; order];
    let mut count = 0;
    while let Some(mut head) = heads.peek_mut() {
        if head.words == current {
            count += head.count;
        } else {
            if count > 0 {
                each(&current, count)?;
            }
            current.copy_from_slice(&head.words);
            count = head.count;
        }
        if !head.advance()? {
            std::collections::binary_heap::PeekMut::pop(head);
        }
    }
    if count > 0 { each(&current, count) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tsumugi_base::rng::{Key, Stream};

    use super::*;

    impl Sink for Vec<(Vec<WordId>, u64)> {
        fn push(&mut self, reversed: &[WordId], count: u64) -> Result<(), FileError> {
            Vec::push(self, (reversed.to_vec(), count));
            Ok(())
        }
    }

    #[test]
    fn counts_are_those_of_a_sorted_map_whatever_the_memory() {
        let folder = tsumugi_base::testing::temporary_folder();
        let scratch = Scratch { folder: folder.path().to_owned(), buffer_bytes: 1 << 8 };
        for order in 1..=8 {
            let mut random = Stream::new(Key::from_seed(order as u64));
            let ngrams: Vec<WordId> = (0..order * 30_000).map(|_| 1 + random.below(6) as WordId).collect();
            let mut expected = BTreeMap::<Vec<WordId>, u64>::new();
            for ngram in ngrams.chunks_exact(order) {
                *expected.entry(ngram.to_vec()).or_default() += 1;
            }
            for (memory_bytes, threads) in [(0, 1), (1 << 16, 2), (1 << 24, 1), (1 << 24, 3)] {
                let mut counter = Counter::new(order, memory_bytes, &scratch, threads);
                for part in ngrams.chunks(order * 1000) {
                    counter.add(part).unwrap();
                }
                let mut found: Vec<(Vec<WordId>, u64)> = Vec::new();
                counter.finish(&mut found).unwrap();
                assert!(found.into_iter().eq(expected.clone()), "order {order}, {memory_bytes} bytes");
            }
        }
    }
}
