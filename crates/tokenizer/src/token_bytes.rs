//! The bytes that each token stands for.

use crate::{SpecialToken, TokenId, bpe};

/// The bytes of every token, behind each other; token `i` is `all[starts[i]..starts[i + 1]]`.
pub(crate) struct TokenBytes {
    all: Vec<u8>,
    starts: Vec<u32>,
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
    /// The bytes that `content` spells.
    pub fn bytes(self, content: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => byte_level_bytes(content),
            Self::SpacesMarked { byte_tokens } => match byte_token(content).filter(|_| byte_tokens) {
                Some(byte) => vec![byte],
                None => content.replace('\u{2581}', " ").into_bytes(),
            },
            Self::Plain => content.as_bytes().to_vec(),
        }
    }
}

/// GPT-2's printable characters back to bytes; a token with another character is taken as it stands.
fn byte_level_bytes(content: &str) -> Vec<u8> {
    content.chars().map(bpe::char_to_byte).collect::<Option<Vec<u8>>>().unwrap_or_else(|| content.as_bytes().to_vec())
}

/// The byte of a token that is spelled `<0x41>`.
pub(crate) fn byte_token(content: &str) -> Option<u8> {
    let digits = content.strip_prefix("<0x")?.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
}

impl TokenBytes {
    /// `tokens` in any order; special tokens stand for their text.
    pub fn new(tokens: impl IntoIterator<Item = (TokenId, Vec<u8>)>, special_tokens: &[SpecialToken]) -> Self {
        let mut bytes: Vec<Vec<u8>> = Vec::new();
        let mut put = |id: TokenId, content: Vec<u8>| {
            if bytes.len() <= id as usize {
                bytes.resize(id as usize + 1, Vec::new());
            }
            bytes[id as usize] = content;
        };
        for (id, content) in tokens {
            put(id, content);
        }
        for token in special_tokens {
            put(token.id, token.content.as_bytes().to_vec());
        }
        let mut is_control = vec![false; bytes.len()];
        for token in special_tokens {
            is_control[token.id as usize] = token.control;
        }
        let mut starts = Vec::with_capacity(bytes.len() + 1);
        let mut all = Vec::with_capacity(bytes.iter().map(Vec::len).sum());
        for token in &bytes {
            starts.push(all.len() as u32);
            all.extend_from_slice(token);
        }
        starts.push(all.len() as u32);
        Self { all, starts, is_control }
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
        let start = *self.starts.get(id as usize)?;
        let end = *self.starts.get(id as usize + 1)?;
        Some(&self.all[start as usize..end as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let marked = Spelling::SpacesMarked { byte_tokens: true };
        assert_eq!(marked.bytes("▁a"), b" a");
        assert_eq!(marked.bytes("<0xC3>"), [0xC3]);
        assert_eq!(Spelling::SpacesMarked { byte_tokens: false }.bytes("<0xC3>"), b"<0xC3>");
        assert_eq!(Spelling::ByteLevel.bytes("ĠÃ"), [b' ', 0xC3]);
        assert_eq!(Spelling::ByteLevel.bytes("▁"), "▁".as_bytes());
        assert_eq!([byte_token("<0x4>"), byte_token("<0x+4>"), byte_token("<0x041>")], [None; 3]);
    }

    #[test]
    fn ids_without_a_token_are_empty() {
        let special = SpecialToken::control("<s>", 3);
        let bytes = TokenBytes::new([(1, b"x".to_vec())], &[special]);
        assert_eq!((bytes.len(), bytes.get(0), bytes.get(1)), (4, Some(&b""[..]), Some(&b"x"[..])));
        assert_eq!((bytes.get(3), bytes.get(4)), (Some(&b"<s>"[..]), None));
        assert!(bytes.is_control(3) && !bytes.is_control(1) && !bytes.is_control(4));
    }
}
