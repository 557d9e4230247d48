//! What decontamination compares: words, or tokens.

use std::ops::Range;

use tsumugi_tokenizer::Tokenizer;

use crate::clean::hash::hash;

/// How a text is cut into what n-grams are made of.
pub enum Units {
    /// Words, in small letters and without punctuation.
    Words,
    /// Tokens, as they are.
    Tokens(Box<Tokenizer>),
}

impl Units {
    /// The units of a text, in its order.
    pub fn of(&self, text: &str) -> Vec<Word> {
        match self {
            Self::Words => words(text),
            Self::Tokens(tokenizer) => tokens(text, tokenizer),
        }
    }
}

/// A word of a text, or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The hash of what is compared.
    pub hash: u64,
    /// Its bytes in the text, with its punctuation.
    pub range: Range<usize>,
}

/// Tokens with their bytes, widened to whole characters. A tokenizer that changes the text before it cuts it does not know them:
/// then each token has the whole text.
fn tokens(text: &str, tokenizer: &Tokenizer) -> Vec<Word> {
    let word = |id: u32, range: Range<usize>| Word { hash: u64::from(id), range };
    match tokenizer.encode_with_offsets(text) {
        Ok(placed) => {
            let whole = |range: Range<usize>| text.floor_char_boundary(range.start)..text.ceil_char_boundary(range.end);
            placed.into_iter().map(|(id, range)| word(id, whole(range))).collect()
        }
        Err(_) => tokenizer.encode(text).into_iter().map(|id| word(id, 0..text.len())).collect(),
    }
}

/// What white space sets apart, in small letters, without ASCII's punctuation. What is only punctuation is no word. This is
/// `janitor` of lm-evaluation-harness in its fast form, but that there only ASCII's letters become small.
pub fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut small = String::new();
    for piece in text.split_whitespace() {
        small.clear();
        if piece.is_ascii() {
            small.extend(
                piece.chars().filter(|letter| !letter.is_ascii_punctuation()).map(|letter| letter.to_ascii_lowercase()),
            );
        } else {
            small.extend(piece.to_lowercase().chars().filter(|letter| !letter.is_ascii_punctuation()));
        }
        if !small.is_empty() {
            let start = piece.as_ptr() as usize - text.as_ptr() as usize;
            words.push(Word { hash: hash(small.as_bytes()), range: start..start + piece.len() });
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_as_they_are() {
        let units = Units::Tokens(Box::new(tsumugi_tokenizer::train::byte_tokenizer(&[]).unwrap()));
        let found = units.of("aé");
        assert_eq!(found.iter().map(|word| word.hash).collect::<Vec<_>>(), [97, 0xc3, 0xa9]);
        assert_eq!(found.into_iter().map(|word| word.range).collect::<Vec<_>>(), [0..1, 1..3, 1..3]);
    }

    #[test]
    fn words_are_compared_without_case_and_punctuation() {
        let text = " It's  “ÜBER” - e.g.\n(ITS) ";
        let found = words(text);
        let pieces: Vec<&str> = found.iter().map(|word| &text[word.range.clone()]).collect();
        assert_eq!(pieces, ["It's", "“ÜBER”", "e.g.", "(ITS)"]);
        let expected = ["its", "“über”", "eg", "its"].map(|word| hash(word.as_bytes()));
        assert_eq!(found.iter().map(|word| word.hash).collect::<Vec<_>>(), expected);
    }
}
