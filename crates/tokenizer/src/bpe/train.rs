//! The fast trainer. Every distinct word lies once in a doubly linked list of tokens; each pair knows its count and
//! the places where it was seen; a heap gives the most frequent pair. A merge touches only the places of its pair.
//!
//! Equal to [`super::reference`] merge by merge: the highest count first, on a tie the smallest pair.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::words::FastHash;
use super::{Alphabet, Pair, WordCounts};
use crate::{TokenId, TokenizerError};

/// No neighbour, or no token any more.
const NONE: u32 = u32::MAX;

/// A pair's standing.
#[derive(Default)]
struct PairState {
    /// Exact, over all words.
    count: u64,
    /// Where its left token may stand; some are out of date and some doubled, which the merge finds out.
    places: Vec<u32>,
}

/// All words as one linked list per word, in shared arrays indexed by place.
struct Words<'a> {
    token: Vec<TokenId>,
    previous: Vec<u32>,
    next: Vec<u32>,
    word: Vec<u32>,
    counts: &'a [(Vec<u8>, u64)],
}

impl<'a> Words<'a> {
    fn new(counts: &'a WordCounts, alphabet: &Alphabet) -> Result<Self, TokenizerError> {
        let bytes: u64 = counts.words.iter().map(|(word, _)| word.len() as u64).sum();
        if bytes >= u64::from(NONE) {
            return Err(TokenizerError::CorpusTooLarge { bytes, limit: u64::from(NONE) - 1 });
        }
        let capacity = bytes as usize;
        let mut words = Self {
            token: Vec::with_capacity(capacity),
            previous: Vec::with_capacity(capacity),
            next: Vec::with_capacity(capacity),
            word: Vec::with_capacity(capacity),
            counts: &counts.words,
        };
        let mut sequence = Vec::new();
        for (index, (word, _)) in counts.words.iter().enumerate() {
            sequence.clear();
            alphabet.spell(word, &mut sequence);
            for (at, &token) in sequence.iter().enumerate() {
                let place = words.token.len() as u32;
                words.token.push(token);
                words.previous.push(if at == 0 { NONE } else { place - 1 });
                words.next.push(if at + 1 == sequence.len() { NONE } else { place + 1 });
                words.word.push(index as u32);
            }
        }
        Ok(words)
    }

    /// How often the word at `place` occurs.
    fn weight(&self, place: u32) -> u64 {
        self.counts[self.word[place as usize] as usize].1
    }

    /// The pair whose left token stands at `place`.
    fn pair_at(&self, place: u32) -> Option<Pair> {
        let right = self.next[place as usize];
        (self.token[place as usize] != NONE && right != NONE)
            .then(|| (self.token[place as usize], self.token[right as usize]))
    }
}

/// Learns merges until there are `vocabulary_size` tokens (those of the alphabet included) or no pair occurs `minimum_pair_count`
/// times; see [`super::reference::learn_merges_reference`] for the rule. `on_token` hears how many tokens there are
/// and says whether to go on.
pub fn learn_merges(
    words: &WordCounts,
    alphabet: &Alphabet,
    vocabulary_size: usize,
    minimum_pair_count: u64,
    mut on_token: impl FnMut(usize) -> bool,
) -> Result<Vec<Pair>, TokenizerError> {
    let mut trainer = Trainer::new(words, alphabet)?;
    let mut merges = Vec::new();
    while trainer.token_count() < vocabulary_size {
        let Some((pair, count)) = trainer.most_frequent() else { break };
        if count < minimum_pair_count.max(1) {
            break;
        }
        trainer.merge(pair);
        merges.push(pair);
        if !on_token(trainer.token_count()) {
            return Err(TokenizerError::Stopped { merges: merges.len() });
        }
    }
    Ok(merges)
}

struct Trainer<'a> {
    words: Words<'a>,
    pairs: HashMap<u64, PairState, FastHash>,
    /// `(count, pair)`; a count may be out of date, and is then too high.
    heap: BinaryHeap<(u64, Reverse<u64>)>,
    alphabet: &'a Alphabet,
    /// The text of each token.
    tokens: Vec<Vec<u8>>,
    /// The letters of each token.
    lengths: Vec<usize>,
    id_of_bytes: HashMap<Vec<u8>, TokenId, FastHash>,
    /// Pairs that became more frequent in this merge.
    risen: Vec<u64>,
}

impl<'a> Trainer<'a> {
    fn new(counts: &'a WordCounts, alphabet: &'a Alphabet) -> Result<Self, TokenizerError> {
        let words = Words::new(counts, alphabet)?;
        let mut pairs: HashMap<u64, PairState, FastHash> = HashMap::default();
        for place in 0..words.token.len() as u32 {
            if let Some(pair) = words.pair_at(place) {
                let state = pairs.entry(key(pair)).or_default();
                state.count += words.weight(place);
                state.places.push(place);
            }
        }
        let heap = pairs.iter().map(|(&pair, state)| (state.count, Reverse(pair))).collect();
        let tokens = alphabet.tokens().to_vec();
        let lengths = vec![1; tokens.len()];
        let id_of_bytes = tokens.iter().cloned().zip(0..).collect();
        Ok(Self { words, pairs, heap, alphabet, tokens, lengths, id_of_bytes, risen: Vec::new() })
    }

    fn token_count(&self) -> usize {
        self.tokens.len()
    }

    /// The pair to merge next. Counts only rise in [`Self::merge`], which pushes them anew; so an entry that is out
    /// of date is too high, and comes back with what is true.
    fn most_frequent(&mut self) -> Option<(Pair, u64)> {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            let now = self.pairs.get(&pair).map_or(0, |state| state.count);
            if now == count {
                let (left, right) = ((pair >> 32) as TokenId, pair as TokenId);
                if self.lengths[left as usize] + self.lengths[right as usize] <= self.alphabet.token_length_max {
                    return Some(((left, right), count));
                }
            } else if now > 0 && now < count {
                self.heap.push((now, Reverse(pair)));
            }
        }
        None
    }

    fn merge(&mut self, (left, right): Pair) {
        let id = self.token_for(left, right);
        let mut places = self.pairs.remove(&key((left, right))).map(|state| state.places).unwrap_or_default();
        // Left to right within a word, so that `aaa` becomes `aa`+`a`.
        places.sort_unstable();
        for place in places {
            if self.words.pair_at(place) == Some((left, right)) {
                self.merge_at(place, (left, right), id);
            }
        }
        self.risen.sort_unstable();
        self.risen.dedup();
        for pair in self.risen.drain(..) {
            if let Some(state) = self.pairs.get(&pair).filter(|state| state.count > 0) {
                self.heap.push((state.count, Reverse(pair)));
            }
        }
    }

    /// The token of these bytes, new or not.
    fn token_for(&mut self, left: TokenId, right: TokenId) -> TokenId {
        let bytes = self.alphabet.join(&self.tokens[left as usize], &self.tokens[right as usize]);
        let next_id = self.tokens.len() as TokenId;
        let id = *self.id_of_bytes.entry(bytes.clone()).or_insert(next_id);
        if id == next_id {
            self.tokens.push(bytes);
            self.lengths.push(self.lengths[left as usize] + self.lengths[right as usize]);
        }
        id
    }

    fn merge_at(&mut self, place: u32, (left, right): Pair, id: TokenId) {
        let second = self.words.next[place as usize];
        let before = self.words.previous[place as usize];
        let after = self.words.next[second as usize];
        let weight = self.words.weight(place);
        self.words.token[place as usize] = id;
        self.words.token[second as usize] = NONE;
        self.words.next[place as usize] = after;
        if before != NONE {
            let neighbour = self.words.token[before as usize];
            self.fall((neighbour, left), weight);
            self.rise((neighbour, id), weight, before);
        }
        if after != NONE {
            self.words.previous[after as usize] = place;
            let neighbour = self.words.token[after as usize];
            self.fall((right, neighbour), weight);
            self.rise((id, neighbour), weight, place);
        }
    }

    fn fall(&mut self, pair: Pair, weight: u64) {
        // The merged pair itself is out of the map already.
        if let Some(state) = self.pairs.get_mut(&key(pair)) {
            state.count -= weight;
            if state.count == 0 {
                self.pairs.remove(&key(pair));
            }
        }
    }

    fn rise(&mut self, pair: Pair, weight: u64, place: u32) {
        let state = self.pairs.entry(key(pair)).or_default();
        state.count += weight;
        state.places.push(place);
        self.risen.push(key(pair));
    }
}

/// A pair as one number, in the order of pairs.
fn key((left, right): Pair) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}
