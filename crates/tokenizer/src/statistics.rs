//! What a tokenizer makes of a text, for reports.

use std::cmp::Reverse;

use serde::Serialize;

use crate::{TokenId, Tokenizer};

/// Counts over one text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Bytes of the text.
    pub bytes: u64,
    /// Characters of the text.
    pub characters: u64,
    /// Words of the text: what stands between whitespace.
    pub words: u64,
    /// Tokens of the text.
    pub tokens: u64,
    /// Tokens of the vocabulary.
    pub vocabulary_size: usize,
    /// How many of them the text uses.
    pub tokens_used: usize,
    /// Tokens of the text that are a single byte.
    pub single_byte_tokens: u64,
    /// Characters that the vocabulary does not have.
    pub unknown: u64,
    /// The most frequent tokens as text, with their counts.
    pub most_frequent: Vec<(String, u64)>,
    /// The longest tokens that the text uses.
    pub longest: Vec<String>,
}

impl Statistics {
    /// Counts over `text`; lists of at most `listed` tokens, ties in the order of ids.
    pub fn of(tokenizer: &Tokenizer, text: &str, listed: usize) -> Self {
        Self::of_pieces(tokenizer, [text], listed)
    }

    /// The same over a text in pieces, each encoded by itself.
    pub fn of_pieces<'a>(tokenizer: &Tokenizer, pieces: impl IntoIterator<Item = &'a str>, listed: usize) -> Self {
        let mut counts = vec![0u64; tokenizer.vocabulary_size()];
        let (mut bytes, mut characters, mut words) = (0, 0, 0);
        for piece in pieces {
            tokenizer.encode(piece).into_iter().for_each(|id| counts[id as usize] += 1);
            bytes += piece.len() as u64;
            characters += piece.chars().count() as u64;
            words += piece.split_whitespace().count() as u64;
        }
        let used = || (0..counts.len() as TokenId).filter(|&id| counts[id as usize] > 0);
        let shown = |id: TokenId| String::from_utf8_lossy(&tokenizer.token_bytes(id)).into_owned();
        let mut frequent: Vec<TokenId> = used().collect();
        frequent.sort_by_key(|&id| (Reverse(counts[id as usize]), id));
        let mut longest: Vec<TokenId> = used().collect();
        longest.sort_by_key(|&id| (Reverse(tokenizer.token_bytes(id).len()), id));
        let single = used().filter(|&id| tokenizer.token_bytes(id).len() == 1);
        Self {
            bytes,
            characters,
            words,
            tokens: counts.iter().sum(),
            vocabulary_size: counts.len(),
            tokens_used: used().count(),
            single_byte_tokens: single.map(|id| counts[id as usize]).sum(),
            unknown: tokenizer.unknown().map_or(0, |id| counts[id as usize]),
            most_frequent: frequent.iter().take(listed).map(|&id| (shown(id), counts[id as usize])).collect(),
            longest: longest.iter().take(listed).map(|&id| shown(id)).collect(),
        }
    }

    /// Compression: bytes of text per token.
    pub fn bytes_per_token(&self) -> f64 {
        self.bytes as f64 / self.tokens.max(1) as f64
    }

    /// Fertility: tokens per word.
    pub fn tokens_per_word(&self) -> f64 {
        self.tokens as f64 / self.words.max(1) as f64
    }
}

impl Tokenizer {
    /// Tokens that seem unreachable: encoding a token's own text gives others, alone and after some other texts. Control
    /// tokens and tokens that are no whole characters are not asked about (Land and Bartolo 2024, arXiv 2405.05417, section
    /// 3.1, tell these apart too).
    pub fn unreachable_tokens(&self) -> Vec<TokenId> {
        const BEFORE: [&str; 5] = ["", "a", "1", ".", "a "];
        let is_unreachable = |&id: &TokenId| {
            let bytes = self.token_bytes(id);
            let Ok(text) = std::str::from_utf8(&bytes) else { return false };
            if text.is_empty() || self.is_special(id) || Some(id) == self.unknown() {
                return false;
            }
            // WordPiece marks pieces within a word, and SentencePiece puts the space before a text itself.
            let spelled = [text, text.strip_prefix("##").unwrap_or(text), text.strip_prefix(' ').unwrap_or(text)];
            let gives_it = |before: &str, text: &str| self.encode(&format!("{before}{text}")).last() == Some(&id);
            !spelled.iter().any(|text| BEFORE.iter().any(|before| gives_it(before, text)))
        };
        (0..self.vocabulary_size() as TokenId).filter(is_unreachable).collect()
    }
}
