//! Special words of English: what they are split into, and how they are found again after affixes tore them apart.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use super::{Span, Splitter, has_space_token, push_pieces};
use crate::clean::hash::Fixed;

/// The table, from `assets/english_words.txt`: one word per line, its pieces with blanks between.
pub struct Special {
    /// A word to the lengths of its pieces in bytes.
    words: HashMap<String, Vec<u8>, Fixed>,
    /// The longest word, in bytes: what is longer need not be hashed.
    bytes_max: usize,
    /// Lengths of words by their first byte, one bit each: most words of a text are refused by this.
    lengths: [u64; 256],
    torn: Torn,
}

/// The tokens that a special word would be without the table, for words that would be several.
#[derive(Default)]
struct Torn {
    /// (state, token) to state; state 0 is the beginning.
    steps: HashMap<(u32, String), u32, Fixed>,
    /// States in which a word is whole.
    whole: Vec<bool>,
    /// Lengths of second tokens by their first byte, one bit each.
    seconds: Vec<u64>,
}

static ENGLISH: LazyLock<Special> = LazyLock::new(|| Special::parse(include_str!("../../../assets/english_words.txt")));

impl Special {
    /// The words of English.
    pub fn english() -> &'static Self {
        &ENGLISH
    }

    fn parse(asset: &str) -> Self {
        let words: HashMap<_, _, _> = asset
            .lines()
            .map(|line| (line.replace(' ', ""), line.split(' ').map(|piece| piece.len() as u8).collect()))
            .collect();
        let mut torn = Torn { whole: vec![false], seconds: vec![0; 256], ..Torn::default() };
        let mut lengths = [0; 256];
        for line in asset.lines() {
            let word = line.replace(' ', "");
            lengths[usize::from(word.as_bytes()[0])] |= 1 << word.len();
            torn.add(&word);
        }
        let bytes_max = words.keys().map(String::len).max().unwrap_or(0);
        assert!(bytes_max < 64, "lengths are bits of a word");
        Self { words, bytes_max, lengths, torn }
    }

    /// The lengths in bytes of the pieces of a special word.
    pub fn pieces(&self, word: &str) -> Option<&[u8]> {
        let first = *word.as_bytes().first()?;
        if word.len() > self.bytes_max || self.lengths[usize::from(first)] >> word.len() & 1 == 0 {
            return None;
        }
        self.words.get(word).map(Vec::as_slice)
    }

    /// Puts special words that were torn apart together again. Of overlapping ones the longest counts, of these the
    /// first; one that was found across a blank stays as it is, but hides those that overlap with it.
    pub fn join_torn(&self, text: &str, spans: Vec<Span>) -> Vec<Span> {
        let mut found = self.torn.find(text, &spans);
        if found.is_empty() {
            return spans;
        }
        found.sort_by_key(|part| (std::cmp::Reverse(part.len()), part.start));
        let mut seen = vec![false; spans.len()];
        let mut accepted = Vec::new();
        for part in found {
            if !seen[part.start] && !seen[part.end - 1] {
                accepted.push(part.clone());
            }
            seen[part].fill(true);
        }
        accepted.sort_by_key(|part| part.start);
        let mut joined = Vec::with_capacity(spans.len());
        let mut next = 0;
        for part in accepted {
            let start = spans[part.start].range().start;
            let Some(lengths) = self.pieces(&text[start..spans[part.end - 1].range().end]) else { continue };
            joined.extend_from_slice(&spans[next..part.start]);
            push_pieces(&mut joined, start, lengths);
            next = part.end;
        }
        joined.extend_from_slice(&spans[next..]);
        joined
    }
}

impl Torn {
    fn add(&mut self, word: &str) {
        let tokens = Splitter::new(word, None).split();
        let [_, second, ..] = &tokens[..] else { return };
        let second = &word[second.range()];
        self.seconds[usize::from(second.as_bytes()[0])] |= 1 << second.len();
        let state = tokens.iter().fold(0, |state, span| {
            let next = self.whole.len() as u32;
            let step = *self.steps.entry((state, word[span.range()].to_owned())).or_insert(next);
            self.whole.resize(self.whole.len().max(step as usize + 1), false);
            step
        });
        self.whole[state as usize] = true;
    }

    /// All places where the tokens of a special word follow one another.
    fn find(&self, text: &str, spans: &[Span]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut token = String::new();
        for (place, pair) in spans.windows(2).enumerate() {
            let second = pair[1].range();
            let lengths = self.seconds[usize::from(text.as_bytes()[second.start])];
            if second.len() < 64 && lengths >> second.len() & 1 == 1 {
                self.find_at(text, spans, place, &mut token, &mut found);
            }
        }
        found
    }

    fn find_at(&self, text: &str, spans: &[Span], first: usize, token: &mut String, found: &mut Vec<Range<usize>>) {
        let mut state = 0;
        let mut end = spans[first].range().start;
        for (place, span) in spans.iter().enumerate().skip(first) {
            if has_space_token(&text[end..span.range().start]) {
                return;
            }
            token.clear();
            token.push_str(&text[span.range()]);
            end = span.range().end;
            let key = (state, std::mem::take(token));
            let step = self.steps.get(&key).copied();
            *token = key.1;
            let Some(next) = step else { return };
            state = next;
            if self.whole[state as usize] {
                found.push(first..place + 1);
            }
        }
    }
}
