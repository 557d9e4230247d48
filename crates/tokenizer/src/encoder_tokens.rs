//! The tokens of an encoder's vocabulary that have a use of their own, under the names of either format.

use serde_json::{Map, Value, json};
use tsumugi_files::gguf::{Metadata, Value as Stored};
use tsumugi_files::{FilesError, ModelFiles};

use crate::{TokenId, Tokenizer};

/// A use of a token.
struct Role {
    /// In `tokenizer_config.json`.
    config: &'static str,
    /// In a GGUF file, between `tokenizer.ggml.` and `_token_id`; the first is written.
    gguf: &'static [&'static str],
    /// What BERT and RoBERTa call it.
    usual: &'static [&'static str],
}

const ROLES: [Role; 5] = [
    Role { config: "cls_token", gguf: &["cls", "bos"], usual: &["[CLS]", "<s>"] },
    // llama.cpp spells it so.
    Role { config: "sep_token", gguf: &["seperator", "separator", "eos"], usual: &["[SEP]", "</s>"] },
    Role { config: "pad_token", gguf: &["padding"], usual: &["[PAD]", "<pad>"] },
    Role { config: "mask_token", gguf: &["mask"], usual: &["[MASK]", "<mask>"] },
    Role { config: "unk_token", gguf: &["unknown"], usual: &["[UNK]", "<unk>"] },
];

/// What stands before and after a text, in place of padding, of a hidden word and of an unknown one, as far as there are such
/// tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderTokens([Option<TokenId>; ROLES.len()]);

impl EncoderTokens {
    /// Those that the model's files name, or else the ones with the usual names.
    pub fn of_model(model: &ModelFiles, tokenizer: &Tokenizer) -> Result<Self, FilesError> {
        let config = if model.gguf().is_some() { None } else { model.json("tokenizer_config.json")? };
        let named = |role: &Role| {
            let token = config.as_ref()?.get(role.config)?;
            tokenizer.special(token.as_str().or_else(|| token.get("content")?.as_str())?)
        };
        let stored = |role: &Role| {
            let id = |name: &&str| model.gguf()?.get(&gguf_key(name)).and_then(Stored::as_u64)?.try_into().ok();
            role.gguf.iter().find_map(id).filter(|&id: &TokenId| (id as usize) < tokenizer.vocabulary_size())
        };
        let usual = |role: &Role| role.usual.iter().find_map(|name| tokenizer.special(name));
        Ok(Self(ROLES.each_ref().map(|role| named(role).or_else(|| stored(role)).or_else(|| usual(role)))))
    }

    /// Adds them to the metadata of a GGUF file. llama.cpp begins a text with the token that it calls `bos`.
    pub fn put(&self, metadata: &mut Metadata) {
        for (role, id) in ROLES.iter().zip(self.0) {
            let Some(id) = id else { continue };
            metadata.insert(gguf_key(role.gguf[0]), Stored::U32(id));
        }
        if let Some(id) = self.0[0] {
            metadata.insert(gguf_key("bos"), Stored::U32(id));
        }
    }

    /// As `tokenizer_config.json` and `special_tokens_map.json` have them.
    pub(crate) fn config(&self, tokenizer: &Tokenizer) -> Map<String, Value> {
        let text = |id| String::from_utf8_lossy(&tokenizer.token_bytes(id)).into_owned();
        ROLES.iter().zip(self.0).filter_map(|(role, id)| Some((role.config.to_owned(), json!(text(id?))))).collect()
    }
}

fn gguf_key(name: &str) -> String {
    format!("tokenizer.ggml.{name}_token_id")
}
