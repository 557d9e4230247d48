//! Vocabulary files of every kind that people have, each read into a [`crate::Tokenizer`], from which a model
//! folder can be written.

mod byte_level;
mod detect;
mod gguf;
mod hugging_face;
mod model;
mod patterns;
mod ranks;
mod sentencepiece;
mod tekken;
mod tiktoken;

pub(crate) use byte_level::Lists;
pub use detect::vocabulary_file;
pub(crate) use gguf::{CONTINUING, WORD_CHARACTERS_MAX, WORD_PIECE};
pub use model::ModelTextError;
pub(crate) use patterns::gguf_pattern;
use serde_json::{Value, json};

use crate::{SpecialToken, TokenId};

/// A `tokenizer.json` of these parts: `normalizer`, `pre_tokenizer`, `decoder`, `model`.
fn file(special_tokens: &[SpecialToken], begins_with: Option<TokenId>, parts: Value) -> Value {
    let added: Vec<Value> = special_tokens
        .iter()
        .map(|token| {
            json!({
                "id": token.id, "content": token.content, "single_word": false, "lstrip": token.strips_left,
                "rstrip": token.strips_right, "normalized": false, "special": token.control,
            })
        })
        .collect();
    let begin = special_tokens.iter().find(|token| Some(token.id) == begins_with);
    let post_processor =
        begin.map_or(Value::Null, |token| crate::tokenizer_json::begins_with(&token.content, token.id));
    let mut file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "post_processor": post_processor,
    });
    if let (Value::Object(file), Value::Object(parts)) = (&mut file, parts) {
        file.extend(parts);
    }
    file
}

/// GPT-2's spelling of bytes as a decoder.
fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})
}

/// GPT-2's spelling of bytes as a pre-tokenizer, after others have cut the text into words.
fn byte_level_without_pattern() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false})
}
