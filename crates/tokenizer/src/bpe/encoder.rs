//! Byte-level BPE as an encoder: words to ids. Its tables are made in some milliseconds, so that a model answers at once;
//! words that were seen before are remembered, so that long texts pass at the speed of their splitter.

use std::cmp::Reverse;
use std::collections::hash_map::RandomState;
use std::collections::{BinaryHeap, HashMap};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use tokenizers::pipeline::Span;

use super::{BYTE_TOKENS, char_to_byte};
use crate::TokenId;
use crate::token_bytes::TokenBytes;

/// Two neighbours that become one token. Of all merges that a word allows the first in the list is made, the leftmost of
/// equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Merge {
    pub left: TokenId,
    pub right: TokenId,
    pub whole: TokenId,
}

/// A byte without a token. Ids are below [`crate::Tokenizer::VOCABULARY_SIZE_MAX`].
const NONE: TokenId = TokenId::MAX;

/// A symbol that was merged into the one before it.
const GONE: TokenId = TokenId::MAX - 1;

/// Encodes words; shared by threads.
pub(crate) struct BpeEncoder {
    /// The token of each byte, or [`NONE`].
    bytes: [TokenId; BYTE_TOKENS as usize],
    merges: MergeTable,
    /// Tokens that a word is as a whole, whatever the merges.
    whole_words: Option<WordTable>,
    /// What stands for a byte without a token; it is left out where there is none.
    unknown: Option<TokenId>,
    /// Buffers that nobody uses now.
    idle: Mutex<Vec<Scratch>>,
}

/// How a vocabulary is encoded with.
pub(crate) struct Rules<'a> {
    /// The first ones first.
    pub merges: &'a [Merge],
    /// Whether a word that is a token as a whole is that token.
    pub whole_words: bool,
    /// What stands for a byte without a token.
    pub unknown: Option<TokenId>,
}

impl BpeEncoder {
    /// Of tokens spelled as GPT-2 spells bytes. Text never becomes one that `is_control`.
    pub fn new<'a>(
        tokens: impl Iterator<Item = (&'a str, TokenId)> + Clone,
        rules: &Rules<'_>,
        is_control: impl Fn(TokenId) -> bool,
    ) -> Self {
        let mut byte_tokens = [NONE; BYTE_TOKENS as usize];
        let tokens = tokens.filter(|&(_, id)| !is_control(id));
        let whole_words = rules.whole_words.then(|| WordTable::new(TokenBytes::byte_level(tokens.clone(), &[])));
        for (token, id) in tokens {
            let mut characters = token.chars();
            if let (Some(character), None) = (characters.next(), characters.next())
                && let Some(byte) = char_to_byte(character)
            {
                byte_tokens[usize::from(byte)] = id;
            }
        }
        let is_made = |merge: &Merge| ![merge.left, merge.right, merge.whole].into_iter().any(&is_control);
        let merges = MergeTable::new(rules.merges, is_made);
        Self { bytes: byte_tokens, merges, whole_words, unknown: rules.unknown, idle: Mutex::default() }
    }

    /// What stands for a byte without a token.
    pub fn unknown(&self) -> Option<TokenId> {
        self.unknown
    }

    /// Buffers for [`Self::encode`]; [`Self::put_back`] keeps them for others.
    pub fn scratch(&self) -> Scratch {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_else(Scratch::new)
    }

    /// Keeps buffers and the words that they remember.
    pub fn put_back(&self, scratch: Scratch) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }

    /// Appends the ids of the words of `text` that are at `spans`.
    pub fn encode(&self, text: &str, spans: &[Span], scratch: &mut Scratch, ids: &mut Vec<TokenId>) {
        let text = text.as_bytes();
        for span in spans {
            let range = span.start as usize..span.end as usize;
            let Some(key) = short_key(text, range.clone()) else {
                self.encode_remembered(&text[range], scratch, ids);
                continue;
            };
            let slot = slot_of(key);
            let [known, packed] = scratch.short[slot];
            if known == key {
                unpack(packed, ids);
                continue;
            }
            let start = ids.len();
            self.encode_remembered(&text[range], scratch, ids);
            if let Some(packed) = pack(&ids[start..]) {
                scratch.short[slot] = [key, packed];
            }
        }
    }

    /// A word that no slot holds.
    fn encode_remembered(&self, word: &[u8], scratch: &mut Scratch, ids: &mut Vec<TokenId>) {
        if let Some(known) = scratch.long.get(word) {
            return ids.extend_from_slice(known);
        }
        let start = ids.len();
        self.encode_word(word, scratch, ids);
        let has_slot = word.len() <= SHORT_BYTES_MAX && pack(&ids[start..]).is_some();
        if !has_slot && word.len() <= LONG_BYTES_MAX {
            if scratch.long.len() == LONG_WORDS_MAX {
                scratch.long.clear();
            }
            scratch.long.insert(word.into(), ids[start..].into());
        }
    }

    /// The definition, by a scan for each merge where that is faster than a heap.
    fn encode_word(&self, word: &[u8], scratch: &mut Scratch, ids: &mut Vec<TokenId>) {
        if let Some(id) = self.whole_words.as_ref().and_then(|words| words.get(word)) {
            return ids.push(id);
        }
        let symbols = &mut scratch.symbols;
        symbols.clear();
        symbols.extend(word.iter().map(|&byte| self.bytes[usize::from(byte)]));
        match word.len() {
            0..=SCANNED_BYTES_MAX => self.merge_by_scan(symbols),
            _ => self.merge_by_heap(symbols, &mut scratch.heap),
        }
        let known = |&symbol: &TokenId| if symbol == NONE { self.unknown } else { Some(symbol) };
        ids.extend(symbols.iter().filter_map(known));
    }

    fn merge_by_scan(&self, symbols: &mut Vec<TokenId>) {
        const NO_MERGE: (u32, TokenId) = (u32::MAX, NONE);
        // What each symbol would merge to with the one behind it.
        let mut next = [NO_MERGE; SCANNED_BYTES_MAX];
        let of = |left: TokenId, right: TokenId| self.merges.get(left, right).unwrap_or(NO_MERGE);
        for (merge, pair) in next.iter_mut().zip(symbols.windows(2)) {
            *merge = of(pair[0], pair[1]);
        }
        loop {
            let length = symbols.len();
            let first = (0..length.saturating_sub(1)).min_by_key(|&at| next[at].0);
            let Some((at, (_, whole))) = first.map(|at| (at, next[at])).filter(|(_, (rank, _))| *rank < u32::MAX) else {
                return;
            };
            symbols[at] = whole;
            symbols.remove(at + 1);
            next.copy_within(at + 1..length, at);
            if at + 1 < symbols.len() {
                next[at] = of(whole, symbols[at + 1]);
            }
            if at > 0 {
                next[at - 1] = of(symbols[at - 1], whole);
            }
        }
    }

    /// In time that grows with n log n, for a megabyte of one letter.
    fn merge_by_heap(&self, symbols: &mut Vec<TokenId>, heap: &mut Heap) {
        let length = symbols.len();
        heap.links.clear();
        heap.links.extend((0..length).map(|at| Link {
            before: (at as u32).wrapping_sub(1),
            behind: at as u32 + 1,
            rank: u32::MAX,
        }));
        heap.offers.clear();
        for at in 0..length - 1 {
            heap.offer(at, self.merges.get(symbols[at], symbols[at + 1]));
        }
        while let Some(Reverse((rank, at))) = heap.offers.pop() {
            let at = at as usize;
            if heap.links[at].rank != rank {
                continue;
            }
            let right = heap.links[at].behind as usize;
            let behind = heap.links[right].behind as usize;
            let Some((_, whole)) = self.merges.get(symbols[at], symbols[right]) else { continue };
            (symbols[at], symbols[right]) = (whole, GONE);
            heap.links[right].rank = u32::MAX;
            heap.links[at].behind = behind as u32;
            let after = symbols.get(behind).and_then(|&symbol| self.merges.get(whole, symbol));
            heap.offer(at, after);
            if behind < length {
                heap.links[behind].before = at as u32;
            }
            if at > 0 {
                let before = heap.links[at].before as usize;
                heap.offer(before, self.merges.get(symbols[before], whole));
            }
        }
        symbols.retain(|&symbol| symbol != GONE);
    }
}

/// What [`BpeEncoder::encode`] remembers and works in; one per thread.
pub(crate) struct Scratch {
    /// Short words' keys and packed ids, at [`slot_of`] the key; what falls on the same slot takes its place.
    short: Box<[[u128; 2]]>,
    /// The ids of other words.
    long: HashMap<Box<[u8]>, Box<[TokenId]>>,
    symbols: Vec<TokenId>,
    heap: Heap,
}

impl Scratch {
    fn new() -> Self {
        // Zeros, so that the system gives pages only for the slots that are used.
        let short = vec![[0; 2]; 1 << SLOTS_LOG2].into_boxed_slice();
        Self { short, long: HashMap::new(), symbols: Vec::new(), heap: Heap::default() }
    }
}

/// Slots for short words: 2 MiB, which the second-level cache holds in part, and all words of a language that count.
const SLOTS_LOG2: u32 = 16;

/// Words up to this length are their own keys.
const SHORT_BYTES_MAX: usize = 15;

/// Words up to this length are remembered, and how many longer than [`SHORT_BYTES_MAX`].
const LONG_BYTES_MAX: usize = 256;
const LONG_WORDS_MAX: usize = 1 << 14;

/// Words up to this length are merged by a scan.
const SCANNED_BYTES_MAX: usize = 32;

/// A short word's bytes, and its length in the last byte, so that no two have the same and none is 0.
fn short_key(text: &[u8], range: Range<usize>) -> Option<u128> {
    let length = range.len();
    if !(1..=SHORT_BYTES_MAX).contains(&length) {
        return None;
    }
    let bytes = match text[range.start..].first_chunk::<16>() {
        Some(bytes) => u128::from_le_bytes(*bytes) & ((1 << (8 * length)) - 1),
        None => {
            let mut bytes = [0; 16];
            bytes[..length].copy_from_slice(&text[range]);
            u128::from_le_bytes(bytes)
        }
    };
    Some(bytes | (length as u128) << 120)
}

fn slot_of(key: u128) -> usize {
    let mixed = (key as u64 ^ ((key >> 64) as u64).rotate_left(29)).wrapping_mul(MULTIPLIER);
    ((mixed ^ mixed >> 29).wrapping_mul(MULTIPLIER) >> (64 - SLOTS_LOG2)) as usize
}

/// The golden ratio of 2^64 (Knuth, The Art of Computer Programming 3, 6.4).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Up to three ids, and how many there are; none for more.
fn pack(ids: &[TokenId]) -> Option<u128> {
    let word = |at: usize| u128::from(ids.get(at).copied().unwrap_or_default());
    (ids.len() <= 3).then(|| word(0) | word(1) << 32 | word(2) << 64 | (ids.len() as u128) << 96)
}

fn unpack(packed: u128, ids: &mut Vec<TokenId>) {
    let three = [packed as u32, (packed >> 32) as u32, (packed >> 64) as u32];
    ids.extend_from_slice(&three[..(packed >> 96) as usize]);
}

/// What [`BpeEncoder::merge_by_heap`] works in.
#[derive(Default)]
struct Heap {
    /// The places of neighbours that could merge, by rank; those that are out of date stay.
    offers: BinaryHeap<Reverse<(u32, u32)>>,
    links: Vec<Link>,
}

/// A symbol's neighbours that are left, and the rank of its merge with the one behind it.
struct Link {
    before: u32,
    behind: u32,
    rank: u32,
}

impl Heap {
    /// A symbol and the one behind it may merge, or not.
    fn offer(&mut self, at: usize, merge: Option<(u32, TokenId)>) {
        self.links[at].rank = merge.map_or(u32::MAX, |(rank, _)| rank);
        self.offers.extend(merge.map(|(rank, _)| Reverse((rank, at as u32))));
    }
}

/// Rank and product of each pair of neighbours that merges: a table with open addressing, at most half full.
struct MergeTable {
    slots: Box<[(u64, u32, TokenId)]>,
    /// Odd and by chance, so that no file can be made to be slow (Dietzfelbinger et al. 1997, multiply-shift).
    multiplier: u64,
    shift: u32,
}

/// No pair: a left token of [`NONE`].
const EMPTY: u64 = u64::MAX;

impl MergeTable {
    /// Of the merges that `is_made` lets; of equal pairs the last counts, as in Hugging Face's.
    fn new(merges: &[Merge], is_made: impl Fn(&Merge) -> bool) -> Self {
        let size = (2 * merges.len()).next_power_of_two().max(2);
        let mut table = Self {
            slots: vec![(EMPTY, 0, NONE); size].into_boxed_slice(),
            multiplier: RandomState::new().hash_one(0) | 1,
            shift: 64 - size.trailing_zeros(),
        };
        for (merge, rank) in merges.iter().zip(0..).filter(|(merge, _)| is_made(merge)) {
            let key = pair_key(merge.left, merge.right);
            let slot = table.find(key);
            table.slots[slot] = (key, rank, merge.whole);
        }
        table
    }

    /// Where a pair stands, or where it would.
    fn find(&self, key: u64) -> usize {
        let mut slot = (key.wrapping_mul(self.multiplier) >> self.shift) as usize;
        while self.slots[slot].0 != key && self.slots[slot].0 != EMPTY {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    fn get(&self, left: TokenId, right: TokenId) -> Option<(u32, TokenId)> {
        let key = pair_key(left, right);
        let (found, rank, whole) = self.slots[self.find(key)];
        (found == key && key != EMPTY).then_some((rank, whole))
    }
}

fn pair_key(left: TokenId, right: TokenId) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// Tokens by their bytes: a table with open addressing, at most half full.
struct WordTable {
    bytes: TokenBytes,
    slots: Box<[TokenId]>,
    hash: RandomState,
}

impl WordTable {
    fn new(bytes: TokenBytes) -> Self {
        let slots = vec![NONE; (2 * bytes.len()).next_power_of_two().max(2)].into_boxed_slice();
        let mut table = Self { bytes, slots, hash: RandomState::new() };
        for id in 0..table.bytes.len() as TokenId {
            if let Some(word) = table.bytes.get(id).filter(|word| !word.is_empty()) {
                let slot = table.find(word);
                table.slots[slot] = id;
            }
        }
        table
    }

    /// Where a word stands, or where it would.
    fn find(&self, word: &[u8]) -> usize {
        let mut slot = self.hash.hash_one(word) as usize & (self.slots.len() - 1);
        while self.slots[slot] != NONE && self.bytes.get(self.slots[slot]) != Some(word) {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    fn get(&self, word: &[u8]) -> Option<TokenId> {
        Some(self.slots[self.find(word)]).filter(|&id| id != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpe::byte_to_char;

    /// Bytes, and tokens that merges of `pairs` make; the definition beside it.
    fn encoder_of(pairs: &[(TokenId, TokenId)], whole_words: bool) -> (BpeEncoder, Vec<Merge>) {
        let mut tokens: Vec<String> = (0..=255).map(|byte| byte_to_char(byte).to_string()).collect();
        let mut merges = Vec::new();
        for &(left, right) in pairs {
            merges.push(Merge { left, right, whole: tokens.len() as TokenId });
            tokens.push(format!("{}{}", tokens[left as usize], tokens[right as usize]));
        }
        let rules = Rules { merges: &merges, whole_words, unknown: None };
        (BpeEncoder::new(tokens.iter().map(String::as_str).zip(0..), &rules, |_| false), merges)
    }

    fn by_definition(merges: &[Merge], word: &[u8]) -> Vec<TokenId> {
        let mut ids: Vec<TokenId> = word.iter().map(|&byte| byte.into()).collect();
        let rank = |pair: &[TokenId]| merges.iter().position(|merge| pair == [merge.left, merge.right]);
        while let Some((rank, at)) = ids.windows(2).enumerate().filter_map(|(at, pair)| Some((rank(pair)?, at))).min() {
            ids.splice(at..at + 2, [merges[rank].whole]);
        }
        ids
    }

    #[test]
    fn every_word_of_three_letters_up_to_nine_and_long_ones_are_merged_as_defined() {
        let (a, b, c) = (97, 98, 99);
        let pairs = [(a, b), (b, b), (a, a), (256, c), (257, 256), (258, 258), (259, a), (261, 261), (c, c)];
        let (encoder, merges) = encoder_of(&pairs, false);
        let mut scratch = encoder.scratch();
        let mut check = |text: &str| {
            let mut ids = Vec::new();
            encoder.encode(text, &[Span::new(0, text.len() as u32)], &mut scratch, &mut ids);
            assert_eq!(ids, by_definition(&merges, text.as_bytes()), "{text}");
            ids.clear();
            encoder.encode(text, &[Span::new(0, text.len() as u32)], &mut scratch, &mut ids);
            assert_eq!(ids, by_definition(&merges, text.as_bytes()), "remembered: {text}");
        };
        for length in 1..=9 {
            for number in 0..3usize.pow(length) {
                check(&(0..length).map(|at| ['a', 'b', 'c'][number / 3usize.pow(at) % 3]).collect::<String>());
            }
        }
        for seed in 0..400usize {
            let letter = |at: usize| ['a', 'b', 'c', 'a'][(seed * 7919 + at * at * (seed + 3) + at) / 5 % 4];
            check(&(0..10 + seed / 2).map(letter).collect::<String>());
        }
    }

    #[test]
    fn a_word_that_is_a_token_is_that_token_where_the_vocabulary_says_so() {
        // `abc` is a token, but its parts merge otherwise: `bc` comes first.
        let pairs = [(98, 99), (97, 98), (257, 99)];
        for (whole_words, expected) in [(false, vec![97, 256]), (true, vec![258])] {
            let (encoder, _) = encoder_of(&pairs, whole_words);
            let mut ids = Vec::new();
            encoder.encode("abc", &[Span::new(0, 3)], &mut encoder.scratch(), &mut ids);
            assert_eq!(ids, expected);
        }
    }

    #[test]
    fn control_tokens_are_never_made_and_bytes_without_a_token_are_unknown() {
        let (_, merges) = encoder_of(&[(97, 98)], false);
        for (unknown, expected) in [(None, vec![97, 98]), (Some(7), vec![97, 98, 7])] {
            let texts: Vec<String> = (0..=255).map(|byte| byte_to_char(byte).to_string()).collect();
            let tokens = texts.iter().map(String::as_str).zip(0..).filter(|&(_, id)| id != 99);
            let rules = Rules { merges: &merges, whole_words: false, unknown };
            let encoder = BpeEncoder::new(tokens, &rules, |id| id == 256);
            let mut ids = Vec::new();
            encoder.encode("abc", &[Span::new(0, 3)], &mut encoder.scratch(), &mut ids);
            assert_eq!(ids, expected);
        }
    }

    #[test]
    fn keys_are_those_of_the_word_wherever_it_stands() {
        let text = b"one two three four five";
        assert_eq!(short_key(text, 4..7), short_key(b"two", 0..3));
        assert_eq!(short_key(text, 19..23), short_key(b"five", 0..4));
        assert_ne!(short_key(b"a", 0..1), short_key(b"a\0", 0..2));
        assert_eq!((short_key(text, 0..0), short_key(text, 0..16)), (None, None));
        for ids in [&[][..], &[1], &[1, 2], &[TokenId::MAX, 0, 3]] {
            let mut found = Vec::new();
            unpack(pack(ids).unwrap(), &mut found);
            assert_eq!(found, ids);
        }
        assert_eq!(pack(&[1, 2, 3, 4]), None);
    }
}
