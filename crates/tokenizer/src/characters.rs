//! Encodes character vocabularies: every character is its own token, others are the unknown token.
//!
//! Ours, because the perfect hash of the `tokenizers` crate prints to standard error when the table of a few dozen
//! tokens needs a second try (66 of 90 sizes between 10 and 100 characters; never for byte-level vocabularies).

use serde_json::Value;

use crate::TokenId;

/// A table from characters to ids.
#[derive(Debug)]
pub(crate) struct CharacterEncoder {
    ascii: [TokenId; 128],
    /// Sorted by character.
    others: Vec<(char, TokenId)>,
    unknown: TokenId,
}

impl CharacterEncoder {
    /// For a `tokenizer.json` that describes exactly this: a BPE without merges, nothing before or after it, an
    /// unknown token.
    pub(crate) fn of_file(file: &Value, vocabulary: &[(String, TokenId)], unknown: Option<TokenId>) -> Option<Self> {
        let text = |pointer: &str| file.pointer(pointer).and_then(Value::as_str);
        let absent = |pointer: &str| file.pointer(pointer).is_none_or(Value::is_null);
        let no_merges = file.pointer("/model/merges").and_then(Value::as_array).is_some_and(Vec::is_empty);
        let is_on = |pointer: &str| file.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
        let plain = text("/model/type") == Some("BPE")
            && no_merges
            && absent("/normalizer")
            && absent("/pre_tokenizer")
            && absent("/model/continuing_subword_prefix")
            && absent("/model/end_of_word_suffix")
            && text("/decoder/type") == Some("Fuse")
            && !["/model/byte_level", "/model/byte_fallback", "/model/fuse_unk", "/model/ignore_merges"]
                .into_iter()
                .any(is_on);
        if plain { Some(Self::new(vocabulary, unknown?)) } else { None }
    }

    fn new(vocabulary: &[(String, TokenId)], unknown: TokenId) -> Self {
        let single = |token: &str| {
            let mut characters = token.chars();
            characters.next().filter(|_| characters.next().is_none())
        };
        let mut others: Vec<(char, TokenId)> =
            vocabulary.iter().filter_map(|(token, id)| Some((single(token)?, *id))).collect();
        others.sort_unstable();
        let mut ascii = [unknown; 128];
        for &(character, id) in others.iter().take_while(|(character, _)| character.is_ascii()) {
            ascii[character as usize] = id;
        }
        Self { ascii, others, unknown }
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(&self, text: &str, ids: &mut Vec<TokenId>) {
        ids.extend(text.chars().map(|character| match self.ascii.get(character as usize) {
            Some(&id) => id,
            None => match self.others.binary_search_by_key(&character, |&(other, _)| other) {
                Ok(place) => self.others[place].1,
                Err(_) => self.unknown,
            },
        }));
    }
}
