//! Writes `tokenizer.json` in the form of Hugging Face `tokenizers` 0.x, which every version reads.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value, json};

use crate::TokenId;
use crate::bpe::{Pair, Split, byte_to_char};
use crate::special_tokens::END_OF_TEXT;

/// A byte-level BPE: ids are the bytes, the merges in order, the special tokens.
pub(crate) fn byte_level(merges: &[Pair], split: Split, special_tokens: &[String]) -> String {
    let mut tokens: Vec<String> = (0..=255).map(|byte| byte_to_char(byte).to_string()).collect();
    let mut known: HashSet<String> = tokens.iter().cloned().collect();
    let mut merge_pairs = Vec::with_capacity(merges.len());
    for &(left, right) in merges {
        let (left, right) = (tokens[left as usize].clone(), tokens[right as usize].clone());
        let whole = format!("{left}{right}");
        if known.insert(whole.clone()) {
            tokens.push(whole);
        }
        merge_pairs.push(json!([left, right]));
    }
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocabulary(&tokens), "merges": merge_pairs,
    });
    let decoder = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    file(tokens.len(), special_tokens, split.pre_tokenizer(), decoder, model)
}

/// Characters: a BPE without merges, in which U+FFFD stands for unknown characters.
pub(crate) fn characters(characters: &BTreeSet<char>, special_tokens: &[String]) -> String {
    let mut tokens: Vec<String> = characters.iter().map(char::to_string).collect();
    let unknown = char::REPLACEMENT_CHARACTER.to_string();
    tokens.push(unknown.clone());
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocabulary(&tokens), "merges": [],
    });
    file(tokens.len(), special_tokens, Value::Null, json!({"type": "Fuse"}), model)
}

fn vocabulary(tokens: &[String]) -> Map<String, Value> {
    tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect()
}

fn file(first_special: usize, special_tokens: &[String], pre_tokenizer: Value, decoder: Value, model: Value) -> String {
    let added: Vec<Value> = special_tokens
        .iter()
        .enumerate()
        .map(|(index, content)| {
            json!({
                "id": first_special + index, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            })
        })
        .collect();
    // Our models have seen it before every document.
    let post_processor = special_tokens
        .iter()
        .position(|token| token == END_OF_TEXT)
        .map_or(Value::Null, |index| begins_with(END_OF_TEXT, (first_special + index) as TokenId));
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model,
    });
    format!("{file:#}\n")
}

/// A post-processor that puts a token before every text.
pub(crate) fn begins_with(token: &str, id: TokenId) -> Value {
    let piece = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    json!({
        "type": "TemplateProcessing",
        "single": [piece(token), {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [piece(token), {"Sequence": {"id": "A", "type_id": 0}}, piece(token), {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
    })
}
