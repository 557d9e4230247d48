//! What the files of a vocabulary say about the rows of a batch: which token fills them, where, and how long they are.

use serde_json::Value;
use tsumugi_files::{FilesError, ModelFiles, gguf};

use crate::{Side, TokenId, Tokenizer};

/// How texts become rows of one length. What the files do not say is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowRules {
    /// The token that fills a row.
    pub padding: Option<TokenId>,
    /// Where it is put.
    pub padding_side: Option<Side>,
    /// The length of rows is a multiple of this many tokens.
    pub multiple: Option<usize>,
    /// Rows have at least so many tokens.
    pub length_min: Option<usize>,
    /// Texts have at most so many.
    pub length_max: Option<usize>,
    /// Where the others are taken away.
    pub truncation_side: Option<Side>,
}

/// What vocabularies call the token that fills rows.
const PADDING_NAMES: [&str; 6] = ["[PAD]", "<pad>", "<|pad|>", "<PAD>", "<|padding|>", "<|finetune_right_pad_id|>"];

impl RowRules {
    /// The longest row that a file may ask for: the longest context of today's models. `transformers` writes 10^30 for "no
    /// length".
    pub const LENGTH_MAX: u64 = 1 << 20;

    /// The rules of a model. In a folder `tokenizer_config.json` and `special_tokens_map.json` come before what stands in the
    /// vocabulary's own file, as in `transformers`; where none names a padding token, one that is called so is it.
    pub fn of_model(model: &ModelFiles, tokenizer: &Tokenizer) -> Result<Self, FilesError> {
        let mut rules = tokenizer.row_rules();
        if let Some(metadata) = model.gguf() {
            let id = metadata.get("tokenizer.ggml.padding_token_id").and_then(gguf::Value::as_u64);
            rules.padding = id.and_then(|id| tokenizer.known_id(id)).or(rules.padding);
            return Ok(rules);
        }
        let config = model.json("tokenizer_config.json")?.unwrap_or_default();
        let named = |file: &Value| {
            let token = file.get("pad_token")?;
            tokenizer.token(token.as_str().or_else(|| token.get("content")?.as_str())?)
        };
        let padding = match named(&config) {
            None => model.json("special_tokens_map.json")?.as_ref().and_then(named),
            some => some,
        };
        rules.padding = padding.or(rules.padding);
        rules.padding_side = side(config.get("padding_side")).or(rules.padding_side);
        rules.truncation_side = side(config.get("truncation_side")).or(rules.truncation_side);
        rules.length_max = length(config.get("model_max_length")).or(rules.length_max);
        Ok(rules)
    }

    /// `padding` and `truncation` of a `tokenizer.json`.
    pub(crate) fn of_file(file: &Value) -> Self {
        let padding = file.get("padding").unwrap_or(&Value::Null);
        let truncation = file.get("truncation").unwrap_or(&Value::Null);
        let id = padding.get("pad_id").and_then(Value::as_u64);
        Self {
            padding: id.and_then(|id| id.try_into().ok()),
            padding_side: side(padding.get("direction")),
            multiple: length(padding.get("pad_to_multiple_of")),
            length_min: length(padding.pointer("/strategy/Fixed")),
            length_max: length(truncation.get("max_length")),
            truncation_side: side(truncation.get("direction")),
        }
    }
}

fn side(name: Option<&Value>) -> Option<Side> {
    match name?.as_str()?.to_ascii_lowercase().as_str() {
        "left" => Some(Side::Left),
        "right" => Some(Side::Right),
        _ => None,
    }
}

fn length(tokens: Option<&Value>) -> Option<usize> {
    let tokens = tokens?.as_u64().filter(|tokens| (1..=RowRules::LENGTH_MAX).contains(tokens))?;
    Some(tokens as usize)
}

impl Tokenizer {
    /// The rules of the vocabulary's own file; [`RowRules::of_model`] asks those beside it too.
    pub fn row_rules(&self) -> RowRules {
        let rules = self.stored_rules();
        let stored = rules.padding.and_then(|id| self.known_id(id.into()));
        let padding = stored.or_else(|| PADDING_NAMES.iter().find_map(|name| self.special(name)));
        RowRules { padding, ..rules }
    }

    /// The id of a token by its text: a special token, or the first that stands for these bytes. An empty text is none: ids
    /// without a token stand for no bytes.
    pub fn token(&self, text: &str) -> Option<TokenId> {
        let of_text = |id: &TokenId| !text.is_empty() && *self.token_bytes(*id) == *text.as_bytes();
        self.special(text).or_else(|| (0..self.vocabulary_size() as TokenId).find(of_text))
    }

    fn known_id(&self, id: u64) -> Option<TokenId> {
        (id < self.vocabulary_size() as u64).then_some(id as TokenId)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use tsumugi_base::testing::temporary_folder;
    use tsumugi_files::gguf::{Metadata, Value as Stored};
    use tsumugi_files::{NoScan, write_gguf};

    use super::*;
    use crate::train::byte_tokenizer;

    const TEXT: &str = r#"{"version": "1.0", "added_tokens": [{"id": 2, "content": "<pad>", "special": true}, {"id": 3,
        "content": "<fill>", "special": true}], "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1},
        "unk_token": "a"}}"#;

    fn with(key: &str, value: Value) -> Tokenizer {
        let mut file: Value = serde_json::from_str(TEXT).unwrap();
        file[key] = value;
        Tokenizer::from_json(&file.to_string()).unwrap()
    }

    fn rules(path: &Path, tokenizer: &Tokenizer) -> RowRules {
        let model = ModelFiles::admit(path, &NoScan { reason: "the test wrote it" }).expect("it opens");
        RowRules::of_model(&model, tokenizer).expect("JSON")
    }

    #[test]
    fn what_a_tokenizer_file_stores() {
        let stored = json!({"strategy": {"Fixed": 12}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 3,
            "pad_type_id": 0, "pad_token": "<fill>"});
        let RowRules { padding, padding_side, multiple, length_min, .. } = with("padding", stored).row_rules();
        assert_eq!((padding, padding_side), (Some(3), Some(Side::Left)));
        assert_eq!((multiple, length_min), (Some(8), Some(12)));
        let stored = json!({"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0});
        let RowRules { padding, length_max, truncation_side, .. } = with("truncation", stored).row_rules();
        assert_eq!((padding, length_max, truncation_side), (Some(2), Some(5), Some(Side::Left)));
    }

    #[test]
    fn what_no_row_can_be_is_as_if_it_were_not_said() {
        let stored = json!({"strategy": {"Fixed": 1u64 << 40}, "direction": 1, "pad_to_multiple_of": 0, "pad_id": 99});
        let only_named = RowRules { padding: Some(2), ..RowRules::default() };
        assert_eq!(with("padding", stored).row_rules(), only_named);
        assert_eq!(with("truncation", json!({"max_length": -1})).row_rules(), only_named);
    }

    #[test]
    fn files_beside_the_vocabulary_come_first() {
        let folder = temporary_folder();
        let write = |name: &str, value: Value| std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        let tokenizer = with("truncation", json!({"max_length": 5, "direction": "Right"}));
        let of_folder = |key: fn(RowRules) -> Option<TokenId>| key(rules(folder.path(), &tokenizer));
        let padding = |rules: RowRules| rules.padding;
        assert_eq!(of_folder(padding), Some(2));
        write("special_tokens_map.json", json!({"pad_token": {"content": "b"}}));
        assert_eq!(of_folder(padding), Some(1));
        write("tokenizer_config.json", json!({"pad_token": "<nobody>", "model_max_length": 1e30}));
        assert_eq!(of_folder(padding), Some(1));
        assert_eq!(rules(folder.path(), &tokenizer).length_max, Some(5));
        write(
            "tokenizer_config.json",
            json!({"pad_token": "<fill>", "padding_side": "left", "truncation_side": "left", "model_max_length": 9}),
        );
        let found = rules(folder.path(), &tokenizer);
        assert_eq!((found.padding, found.length_max), (Some(3), Some(9)));
        assert_eq!((found.padding_side, found.truncation_side), (Some(Side::Left), Some(Side::Left)));
    }

    #[test]
    fn what_a_gguf_file_names() {
        let folder = temporary_folder();
        let path = folder.path().join("m.gguf");
        let tokenizer = byte_tokenizer(&["<s>".into(), "<pad>".into()]).unwrap();
        for (id, padding) in [(None, Some(257)), (Some(7), Some(7)), (Some(258), Some(257))] {
            let mut metadata = Metadata::default();
            if let Some(id) = id {
                metadata.insert("tokenizer.ggml.padding_token_id", Stored::U32(id));
            }
            write_gguf(&path, &metadata, &[]).expect("it is written");
            assert_eq!(rules(&path, &tokenizer).padding, padding);
        }
    }

    #[test]
    fn an_empty_text_is_no_token_though_ids_may_be_free() {
        let mut file: Value = serde_json::from_str(TEXT).unwrap();
        file["added_tokens"][1]["id"] = 9.into();
        let tokenizer = Tokenizer::from_json(&file.to_string()).unwrap();
        assert!(tokenizer.token_bytes(5).is_empty());
        assert_eq!((tokenizer.token(""), tokenizer.token("b"), tokenizer.token("<fill>")), (None, Some(1), Some(9)));
    }

    #[test]
    fn a_vocabulary_that_names_no_padding_has_none() {
        assert_eq!(byte_tokenizer(&crate::special_tokens::all()).unwrap().row_rules(), RowRules::default());
    }
}
