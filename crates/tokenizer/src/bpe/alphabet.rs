//! What merges begin with: the tokens that words are spelled in before the first merge.

use std::collections::{BTreeSet, HashMap};

use super::{FastHash, TOKEN_BYTES_MAX, WordCounts};
use crate::TokenId;

/// The first tokens, and how a word is spelled in them.
#[derive(Debug, Clone)]
pub struct Alphabet {
    tokens: Vec<Vec<u8>>,
    /// Ids of characters that begin a word, and of those within; none where letters are bytes.
    characters: Option<[HashMap<char, TokenId, FastHash>; 2]>,
    /// What stands before a token within a word, and goes when it is joined to what is before it.
    continuation: &'static str,
    /// A pair is not merged if its token would have more letters.
    pub(crate) token_length_max: usize,
}

impl Alphabet {
    /// The 256 bytes, each its own id.
    pub fn bytes() -> Self {
        let tokens = (0..=255u8).map(|byte| vec![byte]).collect();
        Self { tokens, characters: None, continuation: "", token_length_max: TOKEN_BYTES_MAX }
    }

    /// The characters of `words` in the order of their code points, without those that `keep` refuses. With a `continuation` (`##`) a character within a word is another token than one at its beginning, which
    /// every character has.
    pub fn characters(
        words: &WordCounts,
        continuation: &'static str,
        token_length_max: usize,
        keep: impl Fn(char) -> bool,
    ) -> Self {
        let (mut first, mut within) = (BTreeSet::new(), BTreeSet::new());
        for (word, _) in &words.words {
            for (at, character) in text(word).chars().filter(|&c| keep(c)).enumerate() {
                first.insert(character);
                if at > 0 && !continuation.is_empty() {
                    within.insert(character);
                }
            }
        }
        let mut tokens = Vec::new();
        let maps = [(first, ""), (within, continuation)].map(|(characters, before)| {
            let map = characters.iter().copied().zip(tokens.len() as TokenId..).collect();
            tokens.extend(characters.iter().map(|character| format!("{before}{character}").into_bytes()));
            map
        });
        Self { tokens, characters: Some(maps), continuation, token_length_max }
    }

    /// The tokens; places are ids.
    pub fn tokens(&self) -> &[Vec<u8>] {
        &self.tokens
    }

    /// Appends the letters of a word.
    pub(crate) fn spell(&self, word: &[u8], sequence: &mut Vec<TokenId>) {
        let Some([first, within]) = &self.characters else {
            sequence.extend(word.iter().map(|&byte| TokenId::from(byte)));
            return;
        };
        let start = sequence.len();
        for character in text(word).chars() {
            let inside = sequence.len() > start && !self.continuation.is_empty();
            sequence.extend(if inside { within } else { first }.get(&character));
        }
    }

    /// The text of two neighbouring tokens as one.
    pub(crate) fn join(&self, left: &[u8], right: &[u8]) -> Vec<u8> {
        [left, right.strip_prefix(self.continuation.as_bytes()).unwrap_or(right)].concat()
    }
}

/// Words that were counted in characters are UTF-8.
pub(crate) fn text(word: &[u8]) -> &str {
    std::str::from_utf8(word).expect("words are cut from text, between characters")
}
