//! How SentencePiece prepares text: characters are replaced by compiled rules, spaces collapsed and marked.

use super::double_array::DoubleArray;
use super::model::{Model, failed};
use crate::TokenizerError;

/// What a space becomes.
pub(crate) const SPACE: &str = "\u{2581}";

/// Prepares text for the encoder.
#[derive(Debug)]
pub(super) struct Normalizer {
    rules: Rules,
    /// Pieces that are left as they stand.
    user_defined: DoubleArray,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    whitespace_as_suffix: bool,
}

/// `precompiled_charsmap`: a trie from what is replaced to a place among the replacements, which end with a zero byte.
#[derive(Debug, Default)]
struct Rules {
    trie: DoubleArray,
    replacements: Vec<u8>,
}

impl Rules {
    /// Four bytes: the size of the trie; the trie; the replacements.
    fn parse(bytes: &[u8]) -> Result<Self, TokenizerError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let parsed = bytes.split_first_chunk().and_then(|(size, rest)| {
            rest.split_at_checked(u32::from_le_bytes(*size) as usize)
                .filter(|(_, replacements)| !replacements.is_empty())
        });
        let (trie, replacements) = parsed.ok_or_else(|| failed("its table of characters is cut short"))?;
        Ok(Self { trie: DoubleArray::from_bytes(trie), replacements: replacements.to_vec() })
    }

    /// The longest rule that applies to the beginning of `text`: how many bytes it replaces by what. None too where a
    /// damaged table leads outside of the text's or the replacement's characters.
    fn apply(&self, text: &str) -> Option<(usize, &str)> {
        let (length, place) = self.trie.longest_prefix(text.as_bytes())?;
        let rest = self.replacements.get(place as usize..)?;
        let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
        let replacement = std::str::from_utf8(&rest[..end]).ok()?;
        text.is_char_boundary(length).then_some((length, replacement))
    }
}

impl Normalizer {
    /// `user_defined` knows the pieces that are one token wherever they occur.
    pub fn new(model: &Model, user_defined: DoubleArray) -> Result<Self, TokenizerError> {
        Ok(Self {
            rules: Rules::parse(&model.character_map)?,
            user_defined,
            add_dummy_prefix: model.add_dummy_prefix,
            remove_extra_whitespaces: model.remove_extra_whitespaces,
            whitespace_as_suffix: model.whitespace_as_suffix,
        })
    }

    /// The length of the user-defined piece that `text` begins with.
    pub fn user_defined(&self, text: &str) -> Option<usize> {
        self.user_defined.longest_prefix(text.as_bytes()).map(|(length, _)| length)
    }

    /// The prepared text.
    pub fn normalize(&self, text: &str) -> String {
        let mut rest = text;
        if self.remove_extra_whitespaces {
            while let Some((length, " ")) = self.step(rest) {
                rest = &rest[length..];
            }
        }
        let mut normalized = String::with_capacity(text.len() + text.len() / 4);
        if rest.is_empty() {
            return normalized;
        }
        if self.add_dummy_prefix && !self.whitespace_as_suffix {
            normalized.push_str(SPACE);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while let Some((length, mut made)) = self.step(rest) {
            if after_space {
                made = made.trim_start_matches(' ');
            }
            let mut pieces = made.split(' ');
            normalized.push_str(pieces.next().unwrap_or_default());
            for piece in pieces {
                normalized.push_str(SPACE);
                normalized.push_str(piece);
            }
            if !made.is_empty() {
                after_space = self.remove_extra_whitespaces && made.ends_with(' ');
            }
            rest = &rest[length..];
        }
        if self.remove_extra_whitespaces {
            normalized.truncate(normalized.trim_end_matches(SPACE).len());
        }
        if self.add_dummy_prefix && self.whitespace_as_suffix {
            normalized.push_str(SPACE);
        }
        normalized
    }

    /// How many bytes of the beginning of `text` are taken at once, and what they become; none at the end.
    fn step<'a>(&'a self, text: &'a str) -> Option<(usize, &'a str)> {
        if let Some(length) = self.user_defined(text) {
            return Some((length, &text[..length]));
        }
        let character = text.chars().next()?.len_utf8();
        Some(self.rules.apply(text).unwrap_or((character, &text[..character])))
    }
}
