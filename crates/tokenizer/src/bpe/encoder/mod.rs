//! Byte-level BPE as an encoder: words to ids. Its tables are made in some milliseconds, so that a model answers at once;
//! words that were seen before are remembered, so that long texts pass at the speed of their splitter.

mod merge_table;
mod word_table;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use tokenizers::pipeline::Span;

use self::merge_table::{MergeTable, NO_MERGE};
use self::word_table::{KeyedHash, WordTable};
use super::{BYTE_TOKENS, char_to_byte};
use crate::token_bytes::TokenBytes;
use crate::{TokenId, Tokenizer};

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
    /// The rank of each pair of bytes that merges.
    byte_pairs: Box<[u32]>,
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
        // A token in other letters is no word: words are looked for as GPT-2 spells them.
        let is_spelled = |token: &str| token.chars().all(|character| char_to_byte(character).is_some());
        let words = || tokens.clone().filter(|&(token, _)| is_spelled(token));
        let whole_words = rules.whole_words.then(|| WordTable::new(TokenBytes::byte_level(words(), &[])));
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
        let pair = |pair: usize| merges.rank(byte_tokens[pair >> 8], byte_tokens[pair & 0xff]);
        let byte_pairs = (0..1 << 16).map(pair).collect();
        Self { byte_pairs, bytes: byte_tokens, merges, whole_words, unknown: rules.unknown, idle: Mutex::default() }
    }

    /// What stands for a byte without a token.
    pub fn unknown(&self) -> Option<TokenId> {
        self.unknown
    }

    /// Buffers for [`Self::encode`]; [`Self::put_back`] keeps them for others.
    pub fn scratch(&self) -> Scratch {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_else(Scratch::new)
    }

    /// Keeps buffers and the words that they remember, but neither what a very long word took nor those of very many threads.
    pub fn put_back(&self, mut scratch: Scratch) {
        if scratch.heap.symbols.capacity() > HEAP_SYMBOLS_KEPT {
            scratch.heap = Heap::default();
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(scratch);
        }
    }

    /// Appends the ids of the words of `text` that are at `spans`.
    pub fn encode(&self, text: &str, spans: &[Span], scratch: &mut Scratch, ids: &mut Vec<TokenId>) {
        let text = text.as_bytes();
        for span in spans {
            let range = span.start as usize..span.end as usize;
            let Some(key) = short_key(text, range.clone()) else {
                self.encode_long(&text[range], scratch, ids);
                continue;
            };
            let slot = slot_of(key);
            let [first, second] = &scratch.short[slot];
            if first[0] == key {
                unpack(first[1], ids);
                continue;
            }
            if second[0] == key {
                unpack(second[1], ids);
                continue;
            }
            let start = ids.len();
            self.encode_word(&text[range], scratch, ids);
            if let Some(packed) = pack(&ids[start..]) {
                let [first, second] = &mut scratch.short[slot];
                (*first, *second) = ([key, packed], *first);
            }
        }
    }

    fn encode_long(&self, word: &[u8], scratch: &mut Scratch, ids: &mut Vec<TokenId>) {
        if let Some(known) = scratch.long.get(word) {
            return ids.extend_from_slice(known);
        }
        let start = ids.len();
        self.encode_word(word, scratch, ids);
        if word.len() <= LONG_BYTES_MAX {
            let ids = &ids[start..];
            scratch.long_bytes += ENTRY_BYTES + word.len() + size_of_val(ids);
            if scratch.long_bytes > LONG_WORDS_BYTES_MAX {
                scratch.long.clear();
                scratch.long_bytes = 0;
            }
            scratch.long.insert(word.into(), ids.into());
        }
    }

    /// The definition, by a scan for each merge where that is faster than a heap.
    fn encode_word(&self, word: &[u8], scratch: &mut Scratch, ids: &mut Vec<TokenId>) {
        if let Some(id) = self.whole_words.as_ref().and_then(|words| words.get(word)) {
            return ids.push(id);
        }
        let known = |&symbol: &TokenId| if symbol == NONE { self.unknown } else { Some(symbol) };
        if word.len() <= SCANNED_BYTES_MAX {
            let mut symbols = [NONE; SCANNED_BYTES_MAX];
            let count = self.merge_by_scan(word, &mut symbols);
            return ids.extend(symbols[..count].iter().filter_map(known));
        }
        self.merge_by_heap(word, &mut scratch.heap);
        ids.extend(scratch.heap.symbols.iter().filter(|&&symbol| symbol != GONE).filter_map(known));
    }

    /// The ranks of the merges of each byte with the one behind it.
    fn byte_ranks(&self, word: &[u8]) -> impl Iterator<Item = u32> {
        word.windows(2).map(|pair| self.byte_pairs[usize::from(pair[0]) << 8 | usize::from(pair[1])])
    }

    /// The first symbols of `symbols` are those of `word` then; their number.
    fn merge_by_scan(&self, word: &[u8], symbols: &mut [TokenId; SCANNED_BYTES_MAX]) -> usize {
        for (symbol, &byte) in symbols.iter_mut().zip(word) {
            *symbol = self.bytes[usize::from(byte)];
        }
        // What each symbol would merge to with the one behind it.
        let mut ranks = [NO_MERGE; SCANNED_BYTES_MAX];
        for (to, rank) in ranks.iter_mut().zip(self.byte_ranks(word)) {
            *to = rank;
        }
        let mut length = word.len();
        while length > 1 {
            let placed = ranks[..length - 1].iter().zip(0u64..).map(|(&rank, at)| u64::from(rank) << 32 | at);
            let lowest = placed.fold(u64::MAX, u64::min);
            let (rank, at) = ((lowest >> 32) as u32, lowest as u32 as usize);
            if rank == NO_MERGE {
                break;
            }
            let whole = self.merges.wholes[rank as usize];
            for behind in at + 1..length - 1 {
                symbols[behind] = symbols[behind + 1];
                ranks[behind - 1] = ranks[behind];
            }
            symbols[at] = whole;
            length -= 1;
            ranks[length - 1] = NO_MERGE;
            if at + 1 < length {
                ranks[at] = self.merges.rank(whole, symbols[at + 1]);
            }
            if at > 0 {
                ranks[at - 1] = self.merges.rank(symbols[at - 1], whole);
            }
        }
        length
    }

    /// In time that grows with n log n, for a megabyte of one letter.
    fn merge_by_heap(&self, word: &[u8], heap: &mut Heap) {
        let length = word.len();
        heap.symbols.clear();
        heap.symbols.extend(word.iter().map(|&byte| self.bytes[usize::from(byte)]));
        heap.links.clear();
        heap.links.extend((0..length as u32).map(|at| Link {
            before: at.wrapping_sub(1),
            behind: at + 1,
            rank: NO_MERGE,
        }));
        heap.offers.clear();
        for (at, rank) in self.byte_ranks(word).enumerate() {
            heap.offer(at, rank);
        }
        while let Some(Reverse((rank, at))) = heap.offers.pop() {
            let at = at as usize;
            if heap.links[at].rank != rank {
                continue;
            }
            let right = heap.links[at].behind as usize;
            let behind = heap.links[right].behind as usize;
            let whole = self.merges.wholes[rank as usize];
            (heap.symbols[at], heap.symbols[right]) = (whole, GONE);
            heap.links[right].rank = NO_MERGE;
            heap.links[at].behind = behind as u32;
            let rank = heap.symbols.get(behind).map_or(NO_MERGE, |&symbol| self.merges.rank(whole, symbol));
            heap.offer(at, rank);
            if behind < length {
                heap.links[behind].before = at as u32;
            }
            if at > 0 {
                let before = heap.links[at].before as usize;
                heap.offer(before, self.merges.rank(heap.symbols[before], whole));
            }
        }
    }
}

/// What [`BpeEncoder::encode`] remembers and works in; one per thread.
pub(crate) struct Scratch {
    /// Short words' keys and packed ids, at [`slot_of`] the key: the last two that fell on a slot, side by side.
    short: Box<[[[u128; 2]; 2]]>,
    /// The ids of longer words.
    long: HashMap<Box<[u8]>, Box<[TokenId]>, KeyedHash>,
    /// What these take, about.
    long_bytes: usize,
    heap: Heap,
}

impl Scratch {
    fn new() -> Self {
        // Zeros, so that the system gives pages only for the slots that are used.
        let short = vec![[[0; 2]; 2]; 1 << SLOTS_LOG2].into_boxed_slice();
        Self { short, long: HashMap::default(), long_bytes: 0, heap: Heap::default() }
    }
}

/// Slots for short words, of 64 bytes each. Pages are used as words come.
const SLOTS_LOG2: u32 = 16;

/// Words up to this length are their own keys.
const SHORT_BYTES_MAX: usize = 15;

/// Words up to this length are remembered.
const LONG_BYTES_MAX: usize = 256;

/// What words longer than [`SHORT_BYTES_MAX`] and their ids may take; then all are forgotten. Beside them a word takes two
/// pointers with lengths, and what two allocations cost.
const LONG_WORDS_BYTES_MAX: usize = 8 << 20;
const ENTRY_BYTES: usize = 64;

/// Buffers that are kept at most, some 12 MB each if they are full: more threads at once make their own.
const IDLE_MAX: usize = 64;

/// Bytes of a word whose heap is kept, 24 bytes for each.
const HEAP_SYMBOLS_KEPT: usize = 1 << 16;

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

/// Bits of an id, and of the number of ids above them.
const ID_BITS: usize = Tokenizer::VOCABULARY_SIZE_MAX.ilog2() as usize;
const PACKED_IDS: usize = 120 / ID_BITS;

/// Some ids, and how many there are; none for more.
fn pack(ids: &[TokenId]) -> Option<u128> {
    let put = |packed: u128, &id: &TokenId| packed << ID_BITS | u128::from(id);
    (ids.len() <= PACKED_IDS).then(|| ids.iter().rev().fold(0, put) | (ids.len() as u128) << 120)
}

fn unpack(packed: u128, ids: &mut Vec<TokenId>) {
    const ID: TokenId = (1 << ID_BITS) - 1;
    let all: [TokenId; PACKED_IDS] = std::array::from_fn(|at| (packed >> (at * ID_BITS)) as TokenId & ID);
    // A copy of constant length is no call.
    let start = ids.len();
    ids.extend_from_slice(&all);
    ids.truncate(start + (packed >> 120) as usize);
}

/// What [`BpeEncoder::merge_by_heap`] works in.
#[derive(Default)]
struct Heap {
    /// A token, [`NONE`] or [`GONE`] for each byte of the word.
    symbols: Vec<TokenId>,
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
    fn offer(&mut self, at: usize, rank: u32) {
        self.links[at].rank = rank;
        if rank != NO_MERGE {
            self.offers.push(Reverse((rank, at as u32)));
        }
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
    fn a_token_in_other_letters_is_no_word() {
        // `日` by its bytes, and as it stands, which words never are.
        let spelled: String = "日".bytes().map(byte_to_char).collect();
        let bytes: Vec<String> = (0..=255).map(|byte| byte_to_char(byte).to_string()).collect();
        let tokens = bytes.iter().map(String::as_str).chain([&*spelled, "日"]).zip(0..);
        let encoder = BpeEncoder::new(tokens, &Rules { merges: &[], whole_words: true, unknown: None }, |_| false);
        let mut ids = Vec::new();
        encoder.encode("日", &[Span::new(0, 3)], &mut encoder.scratch(), &mut ids);
        assert_eq!(ids, [256]);
    }

    #[test]
    fn words_at_the_borders_of_each_way_are_merged_as_defined() {
        let (a, b) = (97, 98);
        let (encoder, merges) = encoder_of(&[(a, a), (a, b), (256, 256), (b, 256), (257, 258), (258, 258)], false);
        let mut scratch = encoder.scratch();
        for length in [1, 2, 14, 15, 16, 17, 31, 32, 33, 34, 255, 256, 257, 1000] {
            for period in 1..8 {
                let text: String = (0..length).map(|at| if at % period == period / 2 { 'a' } else { 'b' }).collect();
                for text in [text.clone(), text.replace('b', "a"), "a".repeat(length - 1) + "b"] {
                    for way in ["first", "remembered"] {
                        let mut ids = Vec::new();
                        encoder.encode(&text, &[Span::new(0, length as u32)], &mut scratch, &mut ids);
                        assert_eq!(ids, by_definition(&merges, text.as_bytes()), "{way}: {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn of_equal_merges_the_last_counts_and_a_product_may_be_made_in_several_ways() {
        // `aba` as `ab` `a` and as `a` `ba`; the pair of `a` and `b` twice, so that `ba` merges first.
        let bytes: Vec<String> = (0..=255).map(|byte| byte_to_char(byte).to_string()).collect();
        let tokens = bytes.iter().map(String::as_str).chain(["ab", "ba", "aba"]).zip(0..);
        let merge = |left, right, whole| Merge { left, right, whole };
        let (a, b, ab, ba, aba) = (97, 98, 256, 257, 258);
        let merges = [merge(a, b, ab), merge(b, a, ba), merge(a, b, ab), merge(ab, a, aba), merge(a, ba, aba)];
        let encoder = BpeEncoder::new(tokens, &Rules { merges: &merges, whole_words: false, unknown: None }, |_| false);
        for repeated in [1, 20] {
            let text = "aba".repeat(repeated);
            let mut ids = Vec::new();
            encoder.encode(&text, &[Span::new(0, text.len() as u32)], &mut encoder.scratch(), &mut ids);
            assert_eq!(ids, vec![aba; repeated]);
            assert_eq!(ids, by_definition(&merges[1..], text.as_bytes()));
        }
    }

    #[test]
    fn what_long_words_took_is_not_kept() {
        let (encoder, _) = encoder_of(&[(97, 97)], false);
        let mut scratch = encoder.scratch();
        let mut ids = Vec::new();
        let letters = "a".repeat(4 * HEAP_SYMBOLS_KEPT);
        encoder.encode(&letters, &[Span::new(0, letters.len() as u32)], &mut scratch, &mut ids);
        assert_eq!(ids.len(), letters.len() / 2);
        for number in 0..3 * LONG_WORDS_BYTES_MAX / (5 * LONG_BYTES_MAX) {
            let word = format!("{number:0LONG_BYTES_MAX$}");
            encoder.encode(&word, &[Span::new(0, word.len() as u32)], &mut scratch, &mut ids);
        }
        let held: usize = scratch.long.iter().map(|(word, ids)| ENTRY_BYTES + word.len() + size_of_val(&**ids)).sum();
        assert!(held <= LONG_WORDS_BYTES_MAX && held > LONG_BYTES_MAX);
        encoder.put_back(scratch);
        assert!(encoder.scratch().heap.symbols.capacity() <= HEAP_SYMBOLS_KEPT);
        (0..2 * IDLE_MAX).map(|_| encoder.scratch()).collect::<Vec<_>>().into_iter().for_each(|s| encoder.put_back(s));
        assert_eq!(encoder.idle.lock().unwrap().len(), IDLE_MAX);
    }

    #[test]
    fn keys_are_those_of_the_word_wherever_it_stands() {
        let text = b"one two three four five";
        assert_eq!(short_key(text, 4..7), short_key(b"two", 0..3));
        assert_eq!(short_key(text, 19..23), short_key(b"five", 0..4));
        assert_ne!(short_key(b"a", 0..1), short_key(b"a\0", 0..2));
        assert_eq!((short_key(text, 0..0), short_key(text, 0..16)), (None, None));
        let largest = Tokenizer::VOCABULARY_SIZE_MAX as TokenId - 1;
        for ids in [&[][..], &[1], &[1, 2], &[0, largest, 3, 0, largest]] {
            let mut found = Vec::new();
            unpack(pack(ids).unwrap(), &mut found);
            assert_eq!(found, ids);
        }
        assert_eq!(pack(&[0; 6]), None);
    }
}
