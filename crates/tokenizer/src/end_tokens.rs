//! Which tokens end an answer: what the files of a model say, together.

use serde_json::Value;
use tsumugi_files::gguf::{self, Metadata};
use tsumugi_files::{FilesError, ModelFiles};

use crate::{TokenId, Tokenizer, special_tokens};

/// What ends a turn of models whose GGUF files name one end of text only, because their `generation_config.json` is lost:
/// ChatML, Llama 3, Gemma.
const ENDS_OF_TURNS: [&str; 4] = ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>"];

/// The tokens that end an answer of a model, sorted, each once: those that `generation_config.json`, `config.json` and
/// `tokenizer_config.json` name, or the metadata of a GGUF file, and the control tokens of our own models.
pub fn end_tokens(model: &ModelFiles, tokenizer: &Tokenizer) -> Result<Vec<TokenId>, FilesError> {
    let mut ids = Vec::new();
    if let Some(metadata) = model.gguf() {
        ids.extend(stored(metadata));
        ids.extend(controls(tokenizer, &ENDS_OF_TURNS));
    } else {
        for name in ["generation_config.json", "config.json"] {
            ids.extend(model.json(name)?.iter().flat_map(listed));
        }
        ids.extend(model.json("tokenizer_config.json")?.and_then(|config| named(&config, tokenizer)));
    }
    ids.extend(controls(tokenizer, &[special_tokens::END, special_tokens::END_OF_TEXT]));
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Token ids of `eos_token_id`: a number or a list of them.
fn listed(config: &Value) -> Vec<TokenId> {
    let id = |value: &Value| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
    match config.get("eos_token_id") {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// `eos_token` of `tokenizer_config.json`: a text, or an object with one.
fn named(tokenizer_config: &Value, tokenizer: &Tokenizer) -> Option<TokenId> {
    let token = tokenizer_config.get("eos_token")?;
    let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
    tokenizer.special(text)
}

/// Ends of text, of a turn and of a message in a GGUF file.
fn stored(metadata: &Metadata) -> impl Iterator<Item = TokenId> {
    let keys = ["eos", "eot", "eom"].map(|end| format!("tokenizer.ggml.{end}_token_id"));
    keys.into_iter().filter_map(|key| metadata.get(&key).and_then(gguf::Value::as_u64)?.try_into().ok())
}

/// Those of `tokens` that are control tokens of this vocabulary.
fn controls(tokenizer: &Tokenizer, tokens: &[&str]) -> impl Iterator<Item = TokenId> {
    tokens.iter().filter_map(|token| tokenizer.special(token)).filter(|&id| tokenizer.is_special(id))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use tsumugi_base::testing::temporary_folder;
    use tsumugi_files::gguf::Value as Stored;
    use tsumugi_files::{NoScan, write_gguf};

    use super::*;
    use crate::train::byte_tokenizer;

    fn ends(path: &Path, special: &[String]) -> Vec<TokenId> {
        let model = ModelFiles::admit(path, &NoScan { reason: "the test wrote it" }).expect("it opens");
        end_tokens(&model, &byte_tokenizer(special).expect("it is made")).expect("JSON")
    }

    #[test]
    fn all_files_of_a_folder_together() {
        let folder = temporary_folder();
        let own = special_tokens::all();
        let (end_of_text, end) = (256, 260);
        assert_eq!(ends(folder.path(), &own), [end_of_text, end]);
        let write = |name: &str, value: Value| std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        write("generation_config.json", json!({ "eos_token_id": [7, 3, "x", -1] }));
        write("config.json", json!({ "eos_token_id": 9 }));
        write("tokenizer_config.json", json!({ "eos_token": { "content": "<|user|>" } }));
        assert_eq!(ends(folder.path(), &own), [3, 7, 9, end_of_text, 258, end]);
        write("generation_config.json", json!({ "eos_token_id": null }));
        write("tokenizer_config.json", json!({ "eos_token": "<|nobody|>" }));
        assert_eq!(ends(folder.path(), &own), [9, end_of_text, end]);
    }

    #[test]
    fn what_a_gguf_file_names_and_what_ends_turns_by_its_name() {
        let folder = temporary_folder();
        let path = folder.path().join("m.gguf");
        let mut metadata = Metadata::default();
        metadata.insert("tokenizer.ggml.eos_token_id", Stored::U32(9));
        metadata.insert("tokenizer.ggml.eot_token_id", Stored::I32(4));
        metadata.insert("tokenizer.ggml.eom_token_id", Stored::I32(-1));
        write_gguf(&path, &metadata, &[]).expect("it is written");
        assert_eq!(ends(&path, &["<|im_start|>".into(), "<|im_end|>".into()]), [4, 9, 257]);
    }

    #[test]
    fn a_tokenizer_without_control_tokens_ends_nothing() {
        assert!(ends(temporary_folder().path(), &[]).is_empty());
    }
}
