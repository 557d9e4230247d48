//! Texts of one batch as rows of one length: padding and truncation; and where each token stands in its text.

use std::ops::Range;

use crate::{TokenId, Tokenizer, TokenizerError};

/// The end of a row at which something is put or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before the first token: generation goes on at the end.
    Left,
    /// Behind the last.
    Right,
}

/// Keeps at most `length` of a row's tokens, or of what stands beside them; the others go on the given side.
pub fn truncate<T>(row: &mut Vec<T>, length: usize, side: Side) {
    match side {
        Side::Right => row.truncate(length),
        Side::Left => drop(row.drain(..row.len().saturating_sub(length))),
    }
}

/// Fills a row with `padding` up to `length`; a longer one stays. Returns a mask: true where a token is of the text.
pub fn pad(row: &mut Vec<TokenId>, padding: TokenId, length: usize, side: Side) -> Vec<bool> {
    let missing = length.saturating_sub(row.len());
    let at = if side == Side::Left { 0 } else { row.len() };
    let mut mask = vec![true; row.len()];
    row.splice(at..at, std::iter::repeat_n(padding, missing));
    mask.splice(at..at, std::iter::repeat_n(false, missing));
    mask
}

impl Tokenizer {
    /// The ids of a text with the bytes of it that each token stands for. Only where tokens' bytes behind each other are the
    /// text, as in byte-level vocabularies: others change the text before they cut it, and are refused.
    pub fn encode_with_offsets(&self, text: &str) -> Result<Vec<(TokenId, Range<usize>)>, TokenizerError> {
        let ids = self.encode(text);
        let mut at = 0;
        let mut placed = Vec::with_capacity(ids.len());
        for id in ids {
            let bytes = self.token_bytes(id);
            if text.as_bytes().get(at..at + bytes.len()) != Some(&*bytes) {
                let reason = format!("offsets, where a token (at byte {at}) is not the text that it came from");
                return Err(TokenizerError::Unsupported { reason });
            }
            placed.push((id, at..at + bytes.len()));
            at += bytes.len();
        }
        Ok(placed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::byte_tokenizer;

    #[test]
    fn a_row_is_filled_at_the_given_side() {
        for (side, length, filled, of_text) in [
            (Side::Left, 4, &[9, 9, 1, 2][..], &[false, false, true, true][..]),
            (Side::Right, 3, &[1, 2, 9], &[true, true, false]),
            (Side::Right, 1, &[1, 2], &[true, true]),
        ] {
            let mut row = vec![1, 2];
            assert_eq!(pad(&mut row, 9, length, side), of_text);
            assert_eq!(row, filled);
        }
    }

    #[test]
    fn the_given_side_is_cut() {
        for (side, kept) in [(Side::Left, [3, 4]), (Side::Right, [1, 2])] {
            let mut ids = vec![1, 2, 3, 4];
            truncate(&mut ids, 9, side);
            assert_eq!(ids.len(), 4);
            truncate(&mut ids, 2, side);
            assert_eq!(ids, kept);
        }
    }

    #[test]
    fn offsets_are_bytes_of_the_text() {
        let tokenizer = byte_tokenizer(&[]).unwrap();
        let placed = tokenizer.encode_with_offsets("a\u{e9}").unwrap();
        assert_eq!(placed, [(97, 0..1), (0xc3, 1..2), (0xa9, 2..3)]);
    }
}
