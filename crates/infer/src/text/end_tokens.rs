//! Which tokens end an answer: what `generation_config.json`, `config.json` and the tokenizer say, together.

use serde_json::Value;
use tsumugi_tokenizer::{TokenId, Tokenizer, special_tokens};

/// Token ids of `eos_token_id`: a number or a list of them.
fn listed(config: Option<&Value>) -> Vec<TokenId> {
    let id = |value: &Value| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
    match config.and_then(|config| config.get("eos_token_id")) {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// `eos_token` of `tokenizer_config.json`: a text, or an object with one.
fn named(tokenizer_config: Option<&Value>, tokenizer: &Tokenizer) -> Option<TokenId> {
    let token = tokenizer_config?.get("eos_token")?;
    let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
    tokenizer.special(text)
}

/// Sorted, each once. The control tokens of our own models are always among them.
pub(super) fn find(
    generation_config: Option<&Value>,
    config: Option<&Value>,
    tokenizer_config: Option<&Value>,
    tokenizer: &Tokenizer,
) -> Vec<TokenId> {
    let mut ids = listed(generation_config);
    ids.extend(listed(config));
    ids.extend(named(tokenizer_config, tokenizer));
    let own = [special_tokens::END, special_tokens::END_OF_TEXT];
    ids.extend(own.iter().filter_map(|token| tokenizer.special(token)).filter(|&id| tokenizer.is_special(id)));
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tsumugi_tokenizer::train::byte_tokenizer;

    use super::*;

    #[test]
    fn all_sources_together() {
        let tokenizer = byte_tokenizer(&special_tokens::all()).unwrap();
        let (end_of_text, end) = (256, 260);
        assert_eq!(find(None, None, None, &tokenizer), [end_of_text, end]);
        let list = json!({ "eos_token_id": [7, 3, "x", -1] });
        let number = json!({ "eos_token_id": 9 });
        let name = json!({ "eos_token": { "content": "<|user|>" } });
        assert_eq!(find(Some(&list), Some(&number), Some(&name), &tokenizer), [3, 7, 9, end_of_text, 258, end]);
        assert_eq!(find(Some(&json!({ "eos_token_id": null })), None, None, &tokenizer), [end_of_text, end]);
    }

    #[test]
    fn a_tokenizer_without_control_tokens_ends_nothing() {
        assert!(find(None, None, None, &byte_tokenizer(&[]).unwrap()).is_empty());
    }
}
