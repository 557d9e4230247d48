//! Pieces of a text that may be duplicates: the text, its paragraphs, its lines.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// The whole text, byte for byte.
    #[default]
    Document,
    /// Lines up to a blank one, without the white space around them.
    Paragraph,
    /// A line, without the white space around it.
    Line,
}

/// Bytes of a hash: two of 2^40 different texts share one with probability 2^-49.
pub const HASH_BYTES: usize = 16;

/// The first bytes of the SHA-256 of a piece.
pub fn hash(piece: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(&Sha256::digest(piece)[..HASH_BYTES]);
    hash
}

impl Unit {
    /// Where the pieces of a text are, with the line ends (and blank lines) after each. Blank ones are none.
    pub fn pieces(self, text: &str) -> Vec<Range<usize>> {
        if self == Self::Document {
            return std::iter::once(0..text.len()).collect();
        }
        let mut pieces: Vec<Range<usize>> = Vec::new();
        let (mut place, mut after_blank) = (0, true);
        for line in text.split_inclusive('\n') {
            let range = place..place + line.len();
            place = range.end;
            let is_blank = line.trim().is_empty();
            match pieces.last_mut() {
                Some(last) if is_blank || (self == Self::Paragraph && !after_blank) => last.end = range.end,
                _ if is_blank => {}
                _ => pieces.push(range),
            }
            after_blank = is_blank;
        }
        pieces
    }

    /// What of a piece is compared.
    pub fn content(self, piece: &str) -> &str {
        if self == Self::Document { piece } else { piece.trim() }
    }
}

/// A text without some parts of it, given in ascending order. Their ends that lie inside of a character move inwards, so that
/// every character stays whole.
pub fn without(text: &str, parts: &[Range<usize>]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut place = 0;
    for part in parts {
        let (start, end) = (text.ceil_char_boundary(part.start), text.floor_char_boundary(part.end));
        if start < end {
            kept.push_str(&text[place..start]);
            place = end;
        }
    }
    kept.push_str(&text[place..]);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_lies_between_line_ends() {
        let text = "\n one\ntwo \n\n \nthree";
        let pieces = |unit: Unit| -> Vec<&str> {
            unit.pieces(text).into_iter().map(|range| unit.content(&text[range])).collect()
        };
        assert_eq!(pieces(Unit::Document), [text]);
        assert_eq!(pieces(Unit::Line), ["one", "two", "three"]);
        assert_eq!(pieces(Unit::Paragraph), ["one\ntwo", "three"]);
        assert!(Unit::Line.pieces(" \n\n").is_empty());
        assert_eq!(without(text, &Unit::Line.pieces(text)[1..2]), "\n one\nthree");
        assert_eq!(without("añb", &[0..2, 3..4]), "ñ", "half a character is no part");
    }
}
