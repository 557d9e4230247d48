//! The plain trainer: recounts every pair before each merge. Never call it on real text; the fast one
//! ([`super::train::learn_merges`]) is tested against it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Alphabet, Pair, WordCounts};
use crate::TokenId;

/// Learns merges until there are `vocabulary_size` tokens (those of the alphabet included) or no pair occurs `minimum_pair_count`
/// times. The most frequent pair is merged, on a tie the smallest. A merge whose bytes are already a token makes no
/// new one: `a+bc` and `ab+c` are both `abc`, and `tokenizer.json` has one id for it.
///
/// ```
/// use tsumugi_tokenizer::bpe::{Alphabet, WordCounts, reference::learn_merges_reference};
/// let words = WordCounts { words: vec![(b"aaabdaaabac".to_vec(), 1)], dropped: 0 };
/// // `aa`, then `ab` (it ties with `aa`+`a`; the smaller pair wins), then the two together.
/// assert_eq!(learn_merges_reference(&words, &Alphabet::bytes(), 259, 2), [(97, 97), (97, 98), (256, 257)]);
/// ```
pub fn learn_merges_reference(
    words: &WordCounts,
    alphabet: &Alphabet,
    vocabulary_size: usize,
    minimum_pair_count: u64,
) -> Vec<Pair> {
    let spelled = |word: &[u8]| {
        let mut sequence = Vec::new();
        alphabet.spell(word, &mut sequence);
        sequence
    };
    let mut sequences: Vec<(Vec<TokenId>, u64)> =
        words.words.iter().map(|(word, count)| (spelled(word), *count)).collect();
    let mut tokens = alphabet.tokens().to_vec();
    let mut lengths = vec![1; tokens.len()];
    let mut merges = Vec::new();
    while tokens.len() < vocabulary_size {
        let Some((pair, count)) = most_frequent(&sequences, &lengths, alphabet.token_length_max) else { break };
        if count < minimum_pair_count.max(1) {
            break;
        }
        let bytes = alphabet.join(&tokens[pair.0 as usize], &tokens[pair.1 as usize]);
        let id = tokens.iter().position(|token| *token == bytes).unwrap_or(tokens.len());
        if id == tokens.len() {
            tokens.push(bytes);
            lengths.push(lengths[pair.0 as usize] + lengths[pair.1 as usize]);
        }
        for (sequence, _) in &mut sequences {
            *sequence = merge(sequence, pair, id as TokenId);
        }
        merges.push(pair);
    }
    merges
}

/// The highest count, on a tie the smallest pair, of those that make no overlong token.
fn most_frequent(sequences: &[(Vec<TokenId>, u64)], lengths: &[usize], length_max: usize) -> Option<(Pair, u64)> {
    let mut counts: BTreeMap<Pair, u64> = BTreeMap::new();
    for (sequence, count) in sequences {
        for pair in sequence.windows(2) {
            *counts.entry((pair[0], pair[1])).or_default() += count;
        }
    }
    counts.retain(|&(left, right), _| lengths[left as usize] + lengths[right as usize] <= length_max);
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
