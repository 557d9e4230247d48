//! The bytes that each token stands for.

use std::ops::Range;

use crate::{SpecialToken, TokenId, bpe};

/// The bytes of every token, behind each other in the order in which they came.
pub(crate) struct TokenBytes {
    all: Vec<u8>,
    /// Where each token's are; empty for ids without a token.
    places: Vec<Range<usize>>,
    is_control: Vec<bool>,
}

/// How the tokens of a file are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// Every character stands for a byte, as GPT-2 chose them.
    ByteLevel,
    /// SentencePiece: `▁` is a space; with `byte_tokens`, `<0x41>` is the byte 0x41.
    SpacesMarked {
        /// Whether there are tokens for bytes.
        byte_tokens: bool,
    },
    /// As it stands.
    Plain,
}

impl Spelling {
    /// Appends the bytes that `content` spells.
    pub fn append(self, content: &str, bytes: &mut Vec<u8>) {
        match self {
            Self::ByteLevel => append_byte_level(content, bytes),
            Self::SpacesMarked { byte_tokens } => match byte_token(content).filter(|_| byte_tokens) {
                Some(byte) => bytes.push(byte),
                None => bytes.extend_from_slice(content.replace('\u{2581}', " ").as_bytes()),
            },
            Self::Plain => bytes.extend_from_slice(content.as_bytes()),
        }
    }
}

/// GPT-2's printable characters back to bytes; a token with another character is taken as it stands.
fn append_byte_level(content: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for character in content.chars() {
        let Some(byte) = bpe::char_to_byte(character) else {
            bytes.truncate(start);
            return bytes.extend_from_slice(content.as_bytes());
        };
        bytes.push(byte);
    }
}

/// The byte of a token that is spelled `<0x41>`.
pub(crate) fn byte_token(content: &str) -> Option<u8> {
    let digits = content.strip_prefix("<0x")?.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
}

impl TokenBytes {
    /// `tokens` in any order, each as `append` spells it; special tokens stand for their text.
    pub fn new<T>(
        tokens: impl IntoIterator<Item = (TokenId, T)>,
        mut append: impl FnMut(T, &mut Vec<u8>),
        special_tokens: &[SpecialToken],
    ) -> Self {
        let mut bytes = Self { all: Vec::new(), places: Vec::new(), is_control: Vec::new() };
        for (id, token) in tokens {
            bytes.put(id, |all| append(token, all));
        }
        for token in special_tokens {
            bytes.put(token.id, |all| all.extend_from_slice(token.content.as_bytes()));
        }
        bytes.is_control = vec![false; bytes.places.len()];
        for token in special_tokens {
            bytes.is_control[token.id as usize] = token.control;
        }
        bytes
    }

    /// Of tokens that are spelled as GPT-2 spells bytes.
    pub fn byte_level<'a>(
        tokens: impl IntoIterator<Item = (&'a str, TokenId)>,
        special_tokens: &[SpecialToken],
    ) -> Self {
        Self::new(tokens.into_iter().map(|(token, id)| (id, token)), append_byte_level, special_tokens)
    }

    fn put(&mut self, id: TokenId, append: impl FnOnce(&mut Vec<u8>)) {
        if self.places.len() <= id as usize {
            self.places.resize(id as usize + 1, 0..0);
        }
        let start = self.all.len();
        append(&mut self.all);
        self.places[id as usize] = start..self.all.len();
    }

    /// One more than the largest id.
    pub fn len(&self) -> usize {
        self.is_control.len()
    }

    /// Whether `id` is a control token; no for ids out of range.
    pub fn is_control(&self, id: TokenId) -> bool {
        self.is_control.get(id as usize).copied().unwrap_or(false)
    }

    /// The bytes of a token, if there is such an id.
    pub fn get(&self, id: TokenId) -> Option<&[u8]> {
        let place = self.places.get(id as usize)?;
        Some(&self.all[place.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let bytes = |spelling: Spelling, content: &str| {
            let mut bytes = vec![b'-'];
            spelling.append(content, &mut bytes);
            bytes.split_off(1)
        };
        let marked = Spelling::SpacesMarked { byte_tokens: true };
        assert_eq!(bytes(marked, "▁a"), b" a");
        assert_eq!(bytes(marked, "<0xC3>"), [0xC3]);
        assert_eq!(bytes(Spelling::SpacesMarked { byte_tokens: false }, "<0xC3>"), b"<0xC3>");
        assert_eq!(bytes(Spelling::ByteLevel, "ĠÃ"), [b' ', 0xC3]);
        assert_eq!(bytes(Spelling::ByteLevel, "Ġ▁"), "Ġ▁".as_bytes());
        assert_eq!([byte_token("<0x4>"), byte_token("<0x+4>"), byte_token("<0x041>")], [None; 3]);
    }

    #[test]
    fn ids_without_a_token_are_empty() {
        let special = SpecialToken::control("<s>", 3);
        let bytes = TokenBytes::new([(1, "x")], |token, bytes| Spelling::Plain.append(token, bytes), &[special]);
        assert_eq!((bytes.len(), bytes.get(0), bytes.get(1)), (4, Some(&b""[..]), Some(&b"x"[..])));
        assert_eq!((bytes.get(3), bytes.get(4)), (Some(&b"<s>"[..]), None));
        assert!(bytes.is_control(3) && !bytes.is_control(1) && !bytes.is_control(4));
    }
}
