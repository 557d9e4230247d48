//! Byte-level BPE that comes in another form than `tokenizer.json`: in GGUF files, tiktoken's, Tekken's. The encoder is made
//! of the lists themselves, which takes half the time of writing them into such a file and reading that.

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::hugging_face::{checked, checked_id, token_bytes};
use crate::pipeline::Pipeline;
use crate::token_bytes::Spelling;
use crate::tokenizer::{Decoding, Engine, Inner, LeadingSpace, Source};
use crate::{RowRules, SpecialToken, TokenId, Tokenizer, TokenizerError};

/// What such a file describes; tokens are spelled as GPT-2 spells bytes.
pub(super) struct ByteLevel {
    /// Every token with its id; no text twice.
    pub tokens: Vec<(String, TokenId)>,
    /// The pairs that merge, the first ones first.
    pub merges: Vec<(String, String)>,
    /// Whether a word that is a token as a whole is that token, whatever the merges.
    pub whole_words: bool,
    /// How text is cut into words.
    pub pre_tokenizer: Value,
    pub special_tokens: Vec<SpecialToken>,
    /// The special token before a text.
    pub begins_with: Option<TokenId>,
}

impl ByteLevel {
    /// The tokenizer of these lists.
    pub fn into_tokenizer(self) -> Result<Tokenizer, TokenizerError> {
        let Self { tokens, merges, whole_words, pre_tokenizer, special_tokens, begins_with } = self;
        for (token, id) in &tokens {
            checked_id(token, Some((*id).into()))?;
        }
        let around = json!({ "normalizer": null, "pre_tokenizer": pre_tokenizer, "decoder": super::byte_level() });
        let around = super::file(&special_tokens, begins_with, around);
        let text = to_text(&around, &tokens, &merges, whole_words);
        let bytes = token_bytes(&tokens, Spelling::ByteLevel, &special_tokens);
        let pipeline = Pipeline::byte_level_of(around, &tokens, merges, whole_words, &special_tokens)?;
        checked(Inner {
            source: Source::Json(text),
            frame: pipeline.frame(),
            engine: Engine::Pipeline(Box::new(pipeline)),
            bytes,
            special_tokens,
            decoding: Decoding::Bytes(LeadingSpace::Kept),
            unknown: None,
            rows: RowRules::default(),
        })
    }
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(flatten)]
    around: &'a Value,
    model: Model<'a>,
}

#[derive(Serialize)]
struct Model<'a> {
    r#type: &'static str,
    dropout: Option<f32>,
    unk_token: Option<&'a str>,
    continuing_subword_prefix: Option<&'a str>,
    end_of_word_suffix: Option<&'a str>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    #[serde(serialize_with = "map")]
    vocab: &'a [(String, TokenId)],
    merges: &'a [(String, String)],
}

fn map<S: Serializer>(entries: &[(String, TokenId)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(token, id)| (token, id)))
}

/// The `tokenizer.json` that says the same.
fn to_text(around: &Value, tokens: &[(String, TokenId)], merges: &[(String, String)], whole_words: bool) -> String {
    let model = Model {
        r#type: "BPE",
        dropout: None,
        unk_token: None,
        continuing_subword_prefix: None,
        end_of_word_suffix: None,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: whole_words,
        vocab: tokens,
        merges,
    };
    serde_json::to_string(&File { around, model }).expect("texts and numbers are JSON")
}
