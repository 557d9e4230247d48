//! The patterns by which published byte-level vocabularies cut text into words, as `pre_tokenizer`s of
//! `tokenizer.json`. Those that the encoder knows have a splitter of their own, of linear time.

use serde_json::{Value, json};

use crate::bpe::Split;

/// GPT-4o (`o200k_base`): letters by case, contractions stay with their word, a slash after punctuation.
pub(super) const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen: GPT-4's with single digits.
pub(super) const QWEN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// GPT-2's pattern.
pub(super) fn gpt2() -> Value {
    split(Split::Gpt2.pattern().unwrap_or_default())
}

/// GPT-4's pattern (`cl100k_base`), which Llama 3 has too.
pub(super) fn gpt4() -> Value {
    split(Split::Gpt4.pattern().unwrap_or_default())
}

/// Every match is a word, and what lies between matches.
pub(super) fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

/// One after the other; then the bytes of each word are spelled as characters.
pub(super) fn sequence(mut members: Vec<Value>) -> Value {
    members.push(super::byte_level_without_pattern());
    json!({"type": "Sequence", "pretokenizers": members})
}
