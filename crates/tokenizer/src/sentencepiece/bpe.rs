//! SentencePiece's BPE: of all neighbours that together are a piece, those of the best score merge first, the leftmost of
//! equals. In the whole text at once, spaces included: no pattern cuts it into words.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::model::{Piece, PieceKind};
use super::normalizer::{Normalizer, SPACE};
use crate::TokenId;
use crate::bpe::FastHash;

/// No neighbour.
const NONE: u32 = u32::MAX;

/// Words up to this length are remembered within a text, and how many of them.
const REMEMBERED_BYTES_MAX: usize = 64;
const REMEMBERED_WORDS_MAX: usize = 1 << 16;

/// The merges of a model.
#[derive(Debug)]
pub(super) struct Bpe {
    /// Pieces that text may become: id, score as a number that sorts like it, whether it is unused.
    pieces: HashMap<Box<str>, (TokenId, u32, bool), FastHash>,
    /// No piece goes over from a character to a space after it: what begins with spaces can be encoded by itself.
    words: bool,
}

/// A stretch of text that is one token so far.
#[derive(Clone, Copy)]
struct Symbol {
    start: u32,
    /// Zero once it is merged into the one before it.
    length: u32,
    previous: u32,
    next: u32,
    /// A user-defined piece, which never merges.
    frozen: bool,
}

/// Buffers of one text, and the unused pieces' parts.
#[derive(Default)]
struct Scratch {
    symbols: Vec<Symbol>,
    /// Score, place of the left symbol, length of both together.
    heap: BinaryHeap<(u32, Reverse<u32>, u32)>,
    /// Where an unused piece (start and length) was merged: the length of its left part.
    unused: HashMap<(u32, u32), u32, FastHash>,
}

impl Bpe {
    pub fn new(pieces: &[Piece]) -> Self {
        let mut known = HashMap::default();
        for (piece, id) in pieces.iter().zip(0..).filter(|(piece, _)| piece.kind.is_text()) {
            let entry = (id, sortable(piece.score), piece.kind == PieceKind::Unused);
            known.entry(piece.text.as_str().into()).or_insert(entry);
        }
        let words =
            pieces.iter().filter(|piece| piece.kind.is_text()).all(|piece| word_end(&piece.text) == piece.text.len());
        Self { pieces: known, words }
    }

    /// Calls `emit` with each piece of a prepared text and its id, if it has one.
    pub fn encode(&self, text: &str, normalizer: &Normalizer, mut emit: impl FnMut(&str, Option<TokenId>)) {
        let mut scratch = Scratch::default();
        if !self.words {
            return self.encode_word(text, normalizer, &mut scratch, &mut emit);
        }
        let mut remembered: HashMap<&str, Vec<(u32, Option<TokenId>)>, FastHash> = HashMap::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (word, after) = rest.split_at(word_end(rest));
            rest = after;
            if let Some(tokens) = remembered.get(word) {
                let mut start = 0;
                for &(length, id) in tokens {
                    emit(&word[start..start + length as usize], id);
                    start += length as usize;
                }
            } else if word.len() <= REMEMBERED_BYTES_MAX && remembered.len() < REMEMBERED_WORDS_MAX {
                let tokens = remembered.entry(word).or_default();
                self.encode_word(word, normalizer, &mut scratch, &mut |piece, id| {
                    tokens.push((piece.len() as u32, id));
                    emit(piece, id);
                });
            } else {
                self.encode_word(word, normalizer, &mut scratch, &mut emit);
            }
        }
    }

    fn encode_word(
        &self,
        text: &str,
        normalizer: &Normalizer,
        scratch: &mut Scratch,
        emit: &mut impl FnMut(&str, Option<TokenId>),
    ) {
        scratch.fill(text, normalizer);
        for right in 1..scratch.symbols.len() as u32 {
            self.offer(text, right - 1, right, scratch);
        }
        while let Some((_, Reverse(left), length)) = scratch.heap.pop() {
            let symbol = scratch.symbols[left as usize];
            if symbol.length == 0 || symbol.next == NONE {
                continue;
            }
            let right = scratch.symbols[symbol.next as usize];
            if symbol.length + right.length != length {
                continue;
            }
            scratch.symbols[symbol.next as usize].length = 0;
            scratch.symbols[left as usize].length = length;
            scratch.symbols[left as usize].next = right.next;
            if right.next != NONE {
                scratch.symbols[right.next as usize].previous = left;
            }
            self.offer(text, symbol.previous, left, scratch);
            self.offer(text, left, right.next, scratch);
        }
        for place in 0..scratch.symbols.len() {
            let Symbol { start, length, .. } = scratch.symbols[place];
            if length > 0 {
                self.emit_parts(text, (start, length), &scratch.unused, emit);
            }
        }
    }

    /// Puts two neighbours on the heap if together they are a piece.
    fn offer(&self, text: &str, left: u32, right: u32, scratch: &mut Scratch) {
        if left == NONE || right == NONE {
            return;
        }
        let (first, second) = (scratch.symbols[left as usize], scratch.symbols[right as usize]);
        if first.frozen || second.frozen {
            return;
        }
        let length = first.length + second.length;
        let Some(&(_, score, unused)) = self.pieces.get(slice(text, first.start, length)) else { return };
        scratch.heap.push((score, Reverse(left), length));
        if unused {
            scratch.unused.insert((first.start, length), first.length);
        }
    }

    /// A symbol as it is, or an unused piece as what it was merged from.
    fn emit_parts(
        &self,
        text: &str,
        symbol: (u32, u32),
        unused: &HashMap<(u32, u32), u32, FastHash>,
        emit: &mut impl FnMut(&str, Option<TokenId>),
    ) {
        let mut parts = vec![symbol];
        while let Some((start, length)) = parts.pop() {
            let piece = slice(text, start, length);
            let known = self.pieces.get(piece);
            match unused.get(&(start, length)).filter(|_| known.is_some_and(|&(_, _, unused)| unused)) {
                Some(&left) => parts.extend([(start + left, length - left), (start, left)]),
                None => emit(piece, known.map(|&(id, ..)| id)),
            }
        }
    }
}

impl Scratch {
    /// A symbol for each user-defined piece and each other character.
    fn fill(&mut self, text: &str, normalizer: &Normalizer) {
        self.symbols.clear();
        self.heap.clear();
        self.unused.clear();
        let mut start = 0;
        while let Some(character) = text[start..].chars().next() {
            let defined = normalizer.user_defined(&text[start..]);
            let length = defined.unwrap_or(character.len_utf8());
            let place = self.symbols.len() as u32;
            self.symbols.push(Symbol {
                start: start as u32,
                length: length as u32,
                previous: place.checked_sub(1).unwrap_or(NONE),
                next: place + 1,
                frozen: defined.is_some(),
            });
            start += length;
        }
        if let Some(last) = self.symbols.last_mut() {
            last.next = NONE;
        }
    }
}

fn slice(text: &str, start: u32, length: u32) -> &str {
    &text[start as usize..(start + length) as usize]
}

/// Where the first word of a text ends: before the first space that does not follow another, or the beginning.
fn word_end(text: &str) -> usize {
    let spaces = text.len() - text.trim_start_matches(SPACE).len();
    text[spaces..].find(SPACE).map_or(text.len(), |at| spaces + at)
}

/// A number that sorts like the score; both zeros are equal.
fn sortable(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_sort() {
        let scores = [f32::NEG_INFINITY, -2.0, -1.0, -1e-30, 0.0, 1e-30, 3.0, f32::INFINITY];
        assert!(scores.windows(2).all(|pair| sortable(pair[0]) < sortable(pair[1])));
        assert_eq!(sortable(-0.0), sortable(0.0));
    }

    #[test]
    fn words_begin_with_their_spaces() {
        assert_eq!(["", "a", "▁a▁b", "▁▁▁a▁", "▁▁", "ab▁▁c"].map(word_end), [0, 1, 4, 10, 6, 2]);
    }
}
