//! Byte-level BPE that comes in another form than `tokenizer.json`: in GGUF files, tiktoken's, Tekken's. The encoder is made
//! of the lists themselves; the `tokenizer.json` that says the same is written when somebody asks for it.

use std::collections::HashSet;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::hugging_face::{checked, checked_id};
use crate::bpe::{BpeEncoder, Merge, Rules};
use crate::pipeline::{Pipeline, never_made};
use crate::token_bytes::TokenBytes;
use crate::tokenizer::{Decoding, Engine, Inner, LeadingSpace, Source};
use crate::{SpecialToken, TokenId, Tokenizer, TokenizerError};

/// What such a file describes; tokens are spelled as GPT-2 spells bytes.
pub(super) struct ByteLevel {
    /// Every token with its id; no text twice.
    pub tokens: Texts,
    /// The pairs that merge, the first ones first.
    pub merges: Vec<Merge>,
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
        for (token, id) in tokens.iter() {
            checked_id(token, Some(id.into()))?;
        }
        let around = json!({ "normalizer": null, "pre_tokenizer": pre_tokenizer, "decoder": super::byte_level() });
        let around = super::file(&special_tokens, begins_with, around);
        let bytes = TokenBytes::byte_level(tokens.iter(), &special_tokens);
        let never: HashSet<TokenId> = never_made(&special_tokens).map(|token| token.id).collect();
        let rules = Rules { merges: &merges, whole_words, unknown: None };
        let encoder = BpeEncoder::new(tokens.iter(), &rules, |id| never.contains(&id));
        let pipeline = Pipeline::byte_level(around.clone(), &special_tokens, encoder)?;
        checked(Inner {
            source: Source::Lists(Box::new(Lists { around, tokens, merges, whole_words })),
            frame: pipeline.frame(),
            engine: Engine::Pipeline(Box::new(pipeline)),
            bytes,
            special_tokens,
            decoding: Decoding::Bytes(LeadingSpace::Kept),
            unknown: None,
        })
    }
}

/// Tokens' texts behind each other, and their ids.
#[derive(Default)]
pub(crate) struct Texts {
    all: String,
    /// Where each text ends, and its id.
    ends: Vec<(usize, TokenId)>,
}

impl Texts {
    /// Room for `count` tokens of `bytes` bytes together.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { all: String::with_capacity(bytes), ends: Vec::with_capacity(count) }
    }

    pub fn push(&mut self, token: &str, id: TokenId) {
        self.all.push_str(token);
        self.ends.push((self.all.len(), id));
    }

    /// In the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, TokenId)> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|&(end, _)| end));
        starts.zip(&self.ends).map(|(start, &(end, id))| (&self.all[start..end], id))
    }
}

/// The lists, kept for whoever wants them as a file.
pub(crate) struct Lists {
    /// The file without its model.
    around: Value,
    tokens: Texts,
    merges: Vec<Merge>,
    whole_words: bool,
}

impl Lists {
    /// The `tokenizer.json` that says the same.
    pub fn to_json(&self) -> String {
        let texts = self.texts_by_id();
        let merges: Vec<[&str; 2]> =
            self.merges.iter().map(|merge| [merge.left, merge.right].map(|id| texts[id as usize])).collect();
        let model = Model {
            r#type: "BPE",
            dropout: None,
            unk_token: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: self.whole_words,
            vocab: &self.tokens,
            merges: &merges,
        };
        serde_json::to_string(&File { around: &self.around, model }).expect("texts and numbers are JSON")
    }

    fn texts_by_id(&self) -> Vec<&str> {
        let size = self.tokens.iter().map(|(_, id)| id as usize + 1).max().unwrap_or(0);
        let mut texts = vec![""; size];
        for (token, id) in self.tokens.iter() {
            texts[id as usize] = token;
        }
        texts
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
    vocab: &'a Texts,
    merges: &'a [[&'a str; 2]],
}

fn map<S: Serializer>(tokens: &Texts, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(tokens.iter())
}
