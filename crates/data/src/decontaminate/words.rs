//! Words as decontamination compares them.

use std::ops::Range;

use crate::clean::hash::hash;

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The hash of what is compared.
    pub hash: u64,
    /// Its bytes in the text, with its punctuation.
    pub range: Range<usize>,
}

/// What white space sets apart, in small letters, without ASCII's punctuation. What is only punctuation is no word.
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
    fn words_are_compared_without_case_and_punctuation() {
        let text = " It's  “ÜBER” - e.g.\n(ITS) ";
        let found = words(text);
        let pieces: Vec<&str> = found.iter().map(|word| &text[word.range.clone()]).collect();
        assert_eq!(pieces, ["It's", "“ÜBER”", "e.g.", "(ITS)"]);
        let expected = ["its", "“über”", "eg", "its"].map(|word| hash(word.as_bytes()));
        assert_eq!(found.iter().map(|word| word.hash).collect::<Vec<_>>(), expected);
    }
}
