//! The plain trainer: recounts every pair before each merge. Never call it on real text; the fast one
//! ([`super::train::learn_merges`]) is tested against it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{BYTE_TOKENS, Pair, TOKEN_BYTES_MAX, WordCounts};
use crate::TokenId;

/// Learns merges until there are `vocabulary_size` tokens (bytes included) or no pair occurs `minimum_pair_count`
/// times. The most frequent pair is merged, on a tie the smallest. A merge whose bytes are already a token makes no
/// new one: `a+bc` and `ab+c` are both `abc`, and `tokenizer.json` has one id for it.
///
/// ```
/// use tsumugi_tokenizer::bpe::{WordCounts, reference::learn_merges_reference};
/// let words = WordCounts { words: vec![(b"aaabdaaabac".to_vec(), 1)] };
/// // `aa`, then `ab` (it ties with `aa`+`a`; the smaller pair wins), then the two together.
/// assert_eq!(learn_merges_reference(&words, 259, 2), [(97, 97), (97, 98), (256, 257)]);
/// ```
pub fn learn_merges_reference(words: &WordCounts, vocabulary_size: usize, minimum_pair_count: u64) -> Vec<Pair> {
    let mut sequences: Vec<(Vec<TokenId>, u64)> =
        words.words.iter().map(|(word, count)| (word.iter().map(|&byte| byte.into()).collect(), *count)).collect();
    let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    assert_eq!(tokens.len(), BYTE_TOKENS as usize);
    let mut merges = Vec::new();
    while tokens.len() < vocabulary_size {
        let Some((pair, count)) = most_frequent(&sequences, &tokens) else { break };
        if count < minimum_pair_count.max(1) {
            break;
        }
        let bytes = [&tokens[pair.0 as usize][..], &tokens[pair.1 as usize][..]].concat();
        let id = tokens.iter().position(|token| *token == bytes).unwrap_or(tokens.len());
        if id == tokens.len() {
            tokens.push(bytes);
        }
        for (sequence, _) in &mut sequences {
            *sequence = merge(sequence, pair, id as TokenId);
        }
        merges.push(pair);
    }
    merges
}

/// The highest count, on a tie the smallest pair, of those that make no overlong token.
fn most_frequent(sequences: &[(Vec<TokenId>, u64)], tokens: &[Vec<u8>]) -> Option<(Pair, u64)> {
    let mut counts: BTreeMap<Pair, u64> = BTreeMap::new();
    for (sequence, count) in sequences {
        for pair in sequence.windows(2) {
            *counts.entry((pair[0], pair[1])).or_default() += count;
        }
    }
    let length = |token: TokenId| tokens[token as usize].len();
    counts.retain(|&(left, right), _| length(left) + length(right) <= TOKEN_BYTES_MAX);
    counts.into_iter().max_by_key(|&(pair, count)| (count, Reverse(pair)))
}

/// Replaces `pair` by `id` from left to right.
fn merge(sequence: &[TokenId], pair: Pair, id: TokenId) -> Vec<TokenId> {
    let mut merged = Vec::with_capacity(sequence.len());
    let mut at = 0;
    while at < sequence.len() {
        if at + 1 < sequence.len() && (sequence[at], sequence[at + 1]) == pair {
            merged.push(id);
            at += 2;
        } else {
            merged.push(sequence[at]);
            at += 1;
        }
    }
    merged
}
