//! Repeated n-grams of words, exactly and without a string for any of them.

use crate::clean::hash::mix;
use crate::clean::words::Words;

/// For 2-, 3- and 4-grams: the characters of the most frequent one (with the blanks between its words) times its
/// count. Of several the first in the text counts; 0 where there is none.
pub fn most_frequent(words: &Words<'_>) -> [usize; 3] {
    let mut table = Table::for_entries(words.len());
    let (mut ids, lengths) = identify(words, &mut table);
    let singles = ids.clone();
    let mut result = [0; 3];
    for (place, n) in (2..=4).enumerate() {
        if words.len() < n {
            break;
        }
        // An n-gram is its first n - 1 words and its last: a pair of numbers, whatever the words are.
        table.clear();
        let mut counts: Vec<(u32, u32)> = Vec::new();
        for start in 0..=words.len() - n {
            let pair = u64::from(ids[start]) << 32 | u64::from(singles[start + n - 1]);
            let id = table.pair(pair, counts.len() as u32);
            match counts.get_mut(id as usize) {
                Some((_, count)) => *count += 1,
                None => counts.push((start as u32, 1)),
            }
            ids[start] = id;
        }
        // The first of the largest, whereas `max_by_key` takes the last.
        let top = counts.iter().rev().max_by_key(|(_, count)| *count);
        result[place] = top.map_or(0, |&(start, count)| {
            let characters: u32 = lengths[start as usize..start as usize + n].iter().sum();
            (characters as usize + n - 1) * count as usize
        });
    }
    result
}

/// A number for each word, equal for equal words, and its length in characters.
fn identify(words: &Words<'_>, table: &mut Table) -> (Vec<u32>, Vec<u32>) {
    let mut distinct: Vec<&str> = Vec::new();
    let mut ids = Vec::with_capacity(words.len());
    let mut lengths = Vec::with_capacity(words.len());
    for word in words.iter() {
        let id = table
            .find(crate::clean::hash::hash(word.as_bytes()), distinct.len() as u32, |id| distinct[id as usize] == word);
        if id as usize == distinct.len() {
            distinct.push(word);
        }
        ids.push(id);
        lengths.push(characters(word));
    }
    (ids, lengths)
}

fn characters(word: &str) -> u32 {
    word.bytes().filter(|byte| byte & 0xc0 != 0x80).count() as u32
}

/// Characters of n-grams that stood before, where an n-gram is its words without anything between.
pub struct Repeats {
    /// All words, one after the other.
    joined: Vec<u8>,
    /// Per word, and one more.
    ends: Vec<End>,
    table: Table,
}

/// What lies before a word.
#[derive(Clone, Copy)]
struct End {
    /// Bytes.
    bytes: u32,
    /// Characters.
    characters: u32,
    /// The sum of `random(byte) * BASE^place`, modulo 2^64.
    sum: u64,
    /// `BASE^-bytes`: brings a difference of sums back to the front of the text.
    shift: u64,
}

const BASE: u64 = 0x2545_f491_4f6c_dd1d;
const INVERSE: u64 = inverse(BASE);

/// The inverse of an odd number modulo 2^64, by Newton's method: each step doubles the bits that are right.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

impl Repeats {
    /// Prepares for n-grams of any n.
    pub fn of(words: &Words<'_>) -> Self {
        let mut joined = Vec::new();
        let mut ends = Vec::with_capacity(words.len() + 1);
        let mut end = End { bytes: 0, characters: 0, sum: 0, shift: 1 };
        let mut power = 1u64;
        ends.push(end);
        for word in words.iter() {
            joined.extend_from_slice(word.as_bytes());
            for byte in word.bytes() {
                end.sum = end.sum.wrapping_add(RANDOM[usize::from(byte)].wrapping_mul(power));
                power = power.wrapping_mul(BASE);
                end.shift = end.shift.wrapping_mul(INVERSE);
            }
            end.bytes = joined.len() as u32;
            end.characters += characters(word);
            ends.push(end);
        }
        Self { joined, table: Table::for_entries(words.len()), ends }
    }

    /// How many characters lie in n-grams that stood before, of which none overlaps with another.
    pub fn characters(&mut self, n: usize) -> usize {
        self.table.clear();
        let (mut start, mut repeated) = (0, 0);
        while start + n < self.ends.len() {
            let (from, to) = (self.ends[start], self.ends[start + n]);
            let hash = to.sum.wrapping_sub(from.sum).wrapping_mul(from.shift);
            let part = &self.joined[from.bytes as usize..to.bytes as usize];
            let first = self.table.find(hash, start as u32, |other| {
                let (from, to) = (self.ends[other as usize], self.ends[other as usize + n]);
                self.joined[from.bytes as usize..to.bytes as usize] == *part
            });
            if first as usize == start {
                start += 1;
            } else {
                repeated += (to.characters - from.characters) as usize;
                start += n;
            }
        }
        repeated
    }
}

/// A random number for each byte.
const RANDOM: [u64; 256] = {
    let mut table = [0; 256];
    let mut state = 0u64;
    let mut byte = 0;
    while byte < 256 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[byte] = mixed ^ mixed >> 31;
        byte += 1;
    }
    table
};

/// A hash table from something to a number, with open addresses: at most half full.
struct Table {
    /// A part of the hash, and the number plus 1; 0 is free.
    slots: Vec<(u32, u32)>,
    pairs: Vec<u64>,
}

impl Table {
    fn for_entries(count: usize) -> Self {
        Self { slots: vec![(0, 0); (2 * count).next_power_of_two().max(8)], pairs: Vec::new() }
    }

    fn clear(&mut self) {
        self.slots.fill((0, 0));
        self.pairs.clear();
    }

    /// The number of an entry that is `same`, or `new` if it was not there and is now.
    fn find(&mut self, hash: u64, new: u32, same: impl Fn(u32) -> bool) -> u32 {
        let hash = mix(hash, BASE);
        let tag = hash as u32;
        let mask = self.slots.len() - 1;
        let mut place = (hash >> 32) as usize & mask;
        loop {
            match self.slots[place] {
                (_, 0) => {
                    self.slots[place] = (tag, new + 1);
                    return new;
                }
                (known, number) if known == tag && same(number - 1) => return number - 1,
                _ => place = (place + 1) & mask,
            }
        }
    }

    /// [`Self::find`] for a pair of numbers; `new` counts up.
    fn pair(&mut self, pair: u64, new: u32) -> u32 {
        let pairs = std::mem::take(&mut self.pairs);
        let id = self.find(pair, new, |id| pairs[id as usize] == pair);
        self.pairs = pairs;
        if id == new {
            self.pairs.push(pair);
        }
        id
    }
}
