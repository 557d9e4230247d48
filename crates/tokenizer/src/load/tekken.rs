//! Tekken, Mistral's vocabularies as JSON: ranks in the manner of tiktoken with their pattern, and before them a number of
//! ids for special tokens (mistralai/mistral-common, `tekken.py`).

use serde_json::Value;

use super::patterns;
use super::ranks::Ranks;
use crate::{SpecialToken, TokenId, Tokenizer, TokenizerError, base64};

/// How this format is called in messages.
const FORMAT: &str = "Tekken";

/// The special tokens of files that do not list them (versions to v7).
const SPECIAL_TOKENS: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

/// What a text begins with.
const BEGIN: &str = "<s>";

impl Tokenizer {
    /// Reads a Tekken file (`tekken.json`).
    pub fn from_tekken(text: &str) -> Result<Self, TokenizerError> {
        let file: Value = serde_json::from_str(text).map_err(|error| failed(error.to_string()))?;
        let number = |key: &str| {
            let number = file.pointer(&format!("/config/{key}")).and_then(Value::as_u64);
            let number = number.filter(|&number| number <= Self::VOCABULARY_SIZE_MAX as u64);
            number
                .map(|number| number as usize)
                .ok_or_else(|| failed(format!("it has no usable number `config.{key}`")))
        };
        let (size, special_count) = (number("default_vocab_size")?, number("default_num_special_tokens")?);
        let ranks = size
            .checked_sub(special_count)
            .ok_or_else(|| failed(format!("it has {special_count} special tokens, but only {size} tokens in all")))?;
        let pattern = file.pointer("/config/pattern").and_then(Value::as_str);
        let pattern = pattern.ok_or_else(|| failed("it has no text `config.pattern`"))?;
        let special_tokens = special_tokens(&file, special_count)?;
        let begins_with = special_tokens.iter().find(|token| token.content == BEGIN).map(|token| token.id);
        Ranks {
            format: FORMAT,
            tokens: tokens(&file, ranks)?,
            first_id: special_count as TokenId,
            pre_tokenizer: patterns::sequence(vec![patterns::split(pattern)]),
            special_tokens,
            begins_with,
        }
        .into_tokenizer()
    }
}

fn failed(reason: impl Into<String>) -> TokenizerError {
    TokenizerError::Vocabulary { format: FORMAT, reason: reason.into() }
}

/// The tokens of the ranks below `ranks`, of which a file may have more.
fn tokens(file: &Value, ranks: usize) -> Result<Vec<(Vec<u8>, TokenId)>, TokenizerError> {
    let stored = file.get("vocab").and_then(Value::as_array).ok_or_else(|| failed("it has no list `vocab`"))?;
    if stored.len() < ranks {
        return Err(failed(format!("it has {} tokens, but is said to have {ranks}", stored.len())));
    }
    let token = |(rank, token): (usize, &Value)| {
        let failed = || failed(format!("entry {rank} of `vocab` is not the token of rank {rank} in base 64"));
        let bytes = token.get("token_bytes").and_then(Value::as_str).and_then(base64::decode);
        let in_order = token.get("rank").and_then(Value::as_u64) == Some(rank as u64);
        let bytes = bytes.filter(|bytes| in_order && !bytes.is_empty()).ok_or_else(failed)?;
        Ok((bytes, rank as TokenId))
    };
    stored[..ranks].iter().enumerate().map(token).collect()
}

/// `count` tokens: those that are named, then numbered ones.
fn special_tokens(file: &Value, count: usize) -> Result<Vec<SpecialToken>, TokenizerError> {
    let named: Vec<String> = match file.get("special_tokens") {
        None | Some(Value::Null) => SPECIAL_TOKENS.map(str::to_owned).to_vec(),
        Some(list) => {
            let name = |(rank, token): (usize, &Value)| {
                let in_order = token.get("rank").and_then(Value::as_u64) == Some(rank as u64);
                let name = token.get("token_str").and_then(Value::as_str).filter(|_| in_order);
                let name = name.ok_or_else(|| failed(format!("special token {rank} has no name, or another rank")))?;
                Ok(name.to_owned())
            };
            let list = list.as_array().ok_or_else(|| failed("its `special_tokens` are no list"))?;
            list.iter().enumerate().map(name).collect::<Result<_, TokenizerError>>()?
        }
    };
    if named.len() > count {
        return Err(failed(format!("it names {} special tokens, but has room for {count}", named.len())));
    }
    let numbered = (named.len()..count).map(|id| format!("<SPECIAL_{id}>"));
    Ok(named.iter().cloned().chain(numbered).zip(0..).map(|(name, id)| SpecialToken::control(name, id)).collect())
}
