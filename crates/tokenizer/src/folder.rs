//! Writes a tokenizer as `transformers.AutoTokenizer` expects it in a model folder.

use std::path::Path;

use serde_json::{Map, Value, json};
use tsumugi_base::io::write_atomic;

use crate::sentencepiece::to_protobuf;
use crate::special_tokens::{END, END_OF_TEXT};
use crate::tokenizer::Source;
use crate::{ChatTemplate, EncoderTokens, Tokenizer, TokenizerError};

impl Tokenizer {
    /// Writes `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json` into `folder`, which must
    /// exist, for a base model: no chat template, a text ends with `<|endoftext|>` if there is such a token.
    pub fn save(&self, folder: &Path) -> Result<(), TokenizerError> {
        let marker = self.special(END_OF_TEXT).map(|_| END_OF_TEXT.to_owned());
        self.save_files(folder, marker.clone(), marker, None)
    }

    /// The same for a chat model: `template` and its BOS and EOS go into `tokenizer_config.json`.
    pub fn save_with_template(&self, folder: &Path, template: &ChatTemplate) -> Result<(), TokenizerError> {
        let owned = |token: Option<&str>| token.map(str::to_owned);
        let eos = owned(template.eos_token()).or_else(|| self.special(END).map(|_| END.to_owned()));
        self.save_files(folder, owned(template.bos_token()), eos, Some(template.source()))
    }

    fn save_files(
        &self,
        folder: &Path,
        bos: Option<String>,
        eos: Option<String>,
        template: Option<&str>,
    ) -> Result<(), TokenizerError> {
        let mut map = Map::new();
        // No `unk_token`: transformers would hide it from decoded text, and U+FFFD is what unknown characters show as.
        for (name, token) in [("bos_token", bos), ("eos_token", eos)] {
            if let Some(token) = token {
                map.insert(name.into(), Value::String(token));
            }
        }
        // Padding is masked everywhere, so any token will do; having one lets batches be padded.
        if let Some(padding) = map.get("bos_token").or_else(|| map.get("eos_token")).cloned() {
            map.insert("pad_token".into(), padding);
        }
        self.write_files(folder, map, &["input_ids", "attention_mask"], template)
    }

    /// The same for an encoder, whose texts have frames and may be pairs.
    pub fn save_for_encoder(&self, folder: &Path, tokens: &EncoderTokens) -> Result<(), TokenizerError> {
        self.write_files(folder, tokens.config(self), &["input_ids", "token_type_ids", "attention_mask"], None)
    }

    /// `named` are the tokens that have a use of their own, `inputs` what a model takes.
    fn write_files(
        &self,
        folder: &Path,
        named: Map<String, Value>,
        inputs: &[&str],
        template: Option<&str>,
    ) -> Result<(), TokenizerError> {
        let mut config = named.clone();
        config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
        config.insert("clean_up_tokenization_spaces".into(), json!(false));
        config.insert("model_input_names".into(), json!(inputs));
        config.insert("added_tokens_decoder".into(), Value::Object(self.added_tokens_decoder()));
        if let Some(template) = template {
            config.insert("chat_template".into(), json!(template));
        }
        let write = |name: &str, text: String| write_atomic(&folder.join(name), text.as_bytes());
        // The tokenizer comes last: where it is, the others are.
        write("special_tokens_map.json", format!("{:#}\n", Value::Object(named)))?;
        write("tokenizer_config.json", format!("{:#}\n", Value::Object(config)))?;
        if let Source::SentencePiece(model) = self.source() {
            write_atomic(&folder.join("tokenizer.model"), &to_protobuf(model))?;
        }
        write("tokenizer.json", self.to_json())?;
        Ok(())
    }

    fn added_tokens_decoder(&self) -> Map<String, Value> {
        let entry = |token: &crate::SpecialToken| {
            json!({
                "content": token.content, "lstrip": token.strips_left, "normalized": false,
                "rstrip": token.strips_right, "single_word": false, "special": token.control,
            })
        };
        self.special_tokens().iter().map(|token| (token.id.to_string(), entry(token))).collect()
    }
}
