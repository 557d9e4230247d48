//! A vocabulary as the metadata of a GGUF file (ggml-org/llama.cpp, `conversion/base.py`): what `load/gguf.rs` reads.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};
use tsumugi_files::gguf::{Array, Metadata, Value};

use crate::load::{CONTINUING, WORD_CHARACTERS_MAX, WORD_PIECE, gguf_pattern};
use crate::sentencepiece::model::{Algorithm, PieceKind};
use crate::sentencepiece::{Model, SPACE};
use crate::tokenizer::Source;
use crate::{TokenId, Tokenizer, TokenizerError};

/// The score of tokens that no merge makes: after all others.
const SCORE_OF_NO_MERGE: f32 = -1e9;

/// Tokens, their kinds and scores, with room for `size` ids.
struct Tokens {
    texts: Vec<String>,
    kinds: Vec<i32>,
    scores: Vec<f32>,
}

impl Tokens {
    /// Ids without a token are unused ones, as llama.cpp's converter names them.
    fn new(size: usize) -> Self {
        Self {
            texts: (0..size).map(|id| format!("[PAD{id}]")).collect(),
            kinds: vec![PieceKind::Unused as i32; size],
            scores: vec![SCORE_OF_NO_MERGE; size],
        }
    }

    fn set(&mut self, id: usize, text: &str, kind: PieceKind, score: f32) {
        if let (Some(to), Some(kinds), Some(scores)) =
            (self.texts.get_mut(id), self.kinds.get_mut(id), self.scores.get_mut(id))
        {
            // Spaces of tokens that always stand for themselves are spelled as spaces there.
            *to = if kind == PieceKind::UserDefined { text.replace(SPACE, " ") } else { text.to_owned() };
            (*kinds, *scores) = (kind as i32, score);
        }
    }
}

impl Tokenizer {
    /// The keys `tokenizer.ggml.*` of a GGUF file whose embedding has `size` rows, but for the ids of special tokens.
    pub fn to_gguf(&self, size: usize) -> Result<Metadata, TokenizerError> {
        let size = size.max(self.vocabulary_size());
        let mut metadata = match self.source() {
            Source::SentencePiece(model) => of_pieces(model, size),
            Source::Json(_) | Source::Lists(_) => {
                let file: Json =
                    serde_json::from_str(&self.to_json()).map_err(|error| unwritable(error.to_string()))?;
                self.of_json(&file, size)?
            }
        };
        let is_word_piece = metadata.get("tokenizer.ggml.model").and_then(Value::as_str) == Some(WORD_PIECE);
        let mut set = |key: &str, value: Value| metadata.insert(format!("tokenizer.ggml.{key}"), value);
        set("add_bos_token", Value::Bool(!self.prefix().is_empty()));
        let end = if is_word_piece { "add_sep_token" } else { "add_eos_token" };
        set(end, Value::Bool(!self.suffix().is_empty()));
        Ok(metadata)
    }

    /// Whether a file with these metadata reads texts as this vocabulary does, and pairs of texts if there are `pairs`: they
    /// are read again. What got lost is an error that names it.
    pub fn check_gguf(&self, metadata: &Metadata, pairs: bool) -> Result<(), TokenizerError> {
        let read = Self::from_gguf(metadata)?;
        let of = |tokenizer: &Self| (tokenizer.prefix().to_vec(), tokenizer.suffix().to_vec());
        if of(self) != of(&read) {
            return Err(unwritable("what it puts before and after a text has no word there".into()));
        }
        if pairs && self.pair_frame() != read.pair_frame() {
            return Err(unwritable("what it puts around two texts has no word there".into()));
        }
        let text = |tokenizer: &Self, id| String::from_utf8_lossy(&tokenizer.token_bytes(id)).into_owned();
        let ids = 0..self.vocabulary_size() as TokenId;
        // Ids without a token have names there.
        let mut there = ids.into_iter().filter(|&id| !self.token_bytes(id).is_empty());
        match there.find(|&id| self.token_bytes(id) != read.token_bytes(id)) {
            None => Ok(()),
            Some(id) => {
                Err(unwritable(format!("token {id}, {:?}, would read {:?} there", text(self, id), text(&read, id))))
            }
        }
    }

    /// WordPiece, in which `▁` marks the beginning of a word instead of `##` what follows (llama.cpp, `conversion/bert.py`).
    fn of_word_pieces(
        &self,
        file: &Json,
        vocabulary: &Map<String, Json>,
        size: usize,
    ) -> Result<Metadata, TokenizerError> {
        let is = |pointer: &str, value: Json| file.pointer(pointer) == Some(&value);
        let as_bert = is("/normalizer/type", json!("BertNormalizer"))
            && is("/normalizer/clean_text", json!(true))
            && is("/normalizer/handle_chinese_chars", json!(true))
            && is("/pre_tokenizer/type", json!("BertPreTokenizer"))
            && is("/model/continuing_subword_prefix", json!(CONTINUING))
            && is("/model/max_input_chars_per_word", json!(WORD_CHARACTERS_MAX));
        if !as_bert {
            return Err(unwritable("it cuts text into words in another way than BERT".into()));
        }
        let lower_case = is("/normalizer/lowercase", json!(true));
        let strip_accents = file.pointer("/normalizer/strip_accents").and_then(Json::as_bool).unwrap_or(lower_case);
        let mut tokens = Tokens::new(size);
        for (text, id) in vocabulary {
            let spelled = match text.strip_prefix(CONTINUING) {
                Some(rest) => rest.to_owned(),
                None => format!("{SPACE}{text}"),
            };
            let id = id.as_u64().map_or(usize::MAX, |id| id as usize);
            tokens.set(id, &spelled, PieceKind::Normal, SCORE_OF_NO_MERGE);
        }
        self.set_special(&mut tokens);
        Ok(put(WORD_PIECE, "default", tokens, |set| {
            set("normalizer.lowercase", Value::Bool(lower_case));
            set("normalizer.strip_accents", Value::Bool(strip_accents));
        }))
    }

    fn set_special(&self, tokens: &mut Tokens) {
        for token in self.special_tokens() {
            let kind = if token.control { PieceKind::Control } else { PieceKind::UserDefined };
            tokens.set(token.id as usize, &token.content, kind, SCORE_OF_NO_MERGE);
        }
    }

    fn of_json(&self, file: &Json, size: usize) -> Result<Metadata, TokenizerError> {
        let kind = file.pointer("/model/type").and_then(Json::as_str);
        let vocabulary = match (kind, file.pointer("/model/vocab").and_then(Json::as_object)) {
            (Some("BPE"), Some(vocabulary)) => vocabulary,
            (Some("WordPiece"), Some(vocabulary)) => return self.of_word_pieces(file, vocabulary, size),
            _ => {
                let written = "only vocabularies of byte-pair encoding, of WordPiece and of SentencePiece are written";
                return Err(unwritable(written.into()));
            }
        };
        let merges = merges_of(file)?;
        let byte_fallback = file.pointer("/model/byte_fallback").and_then(Json::as_bool).unwrap_or(false);
        let scores: HashMap<String, f32> = match byte_fallback {
            false => HashMap::new(),
            true => merges.iter().enumerate().rev().map(|(rank, merge)| (merge.concat(), -(rank as f32))).collect(),
        };
        let mut tokens = Tokens::new(size);
        for (text, id) in vocabulary {
            let kind = if byte_fallback && is_byte(text) { PieceKind::Byte } else { PieceKind::Normal };
            let score = scores.get(text).copied().unwrap_or(SCORE_OF_NO_MERGE);
            tokens.set(id.as_u64().map_or(usize::MAX, |id| id as usize), text, kind, score);
        }
        self.set_special(&mut tokens);
        if byte_fallback {
            if let Some((id, unknown)) =
                self.unknown().and_then(|id| Some((id, tokens.texts.get(id as usize)?.clone())))
            {
                tokens.set(id as usize, &unknown, PieceKind::Unknown, SCORE_OF_NO_MERGE);
            }
            return Ok(put("llama", "default", tokens, |set| {
                set("add_space_prefix", Value::Bool(begins_with_space(file)));
            }));
        }
        // Where nothing merges, it does not matter what words there are.
        let name = if merges.is_empty() { Some("gpt-2") } else { gguf_pattern(file) };
        let name = name.ok_or_else(|| {
            unwritable("the patterns by which it cuts text into words have no name there (`tokenizer.ggml.pre`)".into())
        })?;
        Ok(put("gpt2", name, tokens, |set| {
            let merges = merges.iter().map(|[left, right]| format!("{left} {right}")).collect();
            set("merges", Value::Array(Array::String(merges)));
        }))
    }
}

fn of_pieces(model: &Model, size: usize) -> Metadata {
    let mut tokens = Tokens::new(size);
    for (id, piece) in model.pieces.iter().enumerate() {
        tokens.set(id, &piece.text, piece.kind, piece.score);
    }
    let kind = if model.algorithm == Algorithm::Bpe { "llama" } else { "t5" };
    put(kind, "default", tokens, |set| {
        set("add_space_prefix", Value::Bool(model.add_dummy_prefix));
        set("remove_extra_whitespaces", Value::Bool(model.remove_extra_whitespaces));
        if !model.character_map.is_empty() {
            set("precompiled_charsmap", Value::Array(Array::U8(model.character_map.clone())));
        }
    })
}

fn put(model: &str, pre: &str, tokens: Tokens, more: impl FnOnce(&mut dyn FnMut(&str, Value))) -> Metadata {
    let mut metadata = Metadata::default();
    let mut set = |key: &str, value: Value| metadata.insert(format!("tokenizer.ggml.{key}"), value);
    set("model", Value::String(model.into()));
    set("pre", Value::String(pre.into()));
    set("tokens", Value::Array(Array::String(tokens.texts)));
    if ["llama", "t5"].contains(&model) {
        set("scores", Value::Array(Array::F32(tokens.scores)));
    }
    set("token_type", Value::Array(Array::I32(tokens.kinds)));
    more(&mut set);
    metadata
}

/// Merges in either form: `"a b"`, or since tokenizers 0.20 `["a", "b"]`.
fn merges_of(file: &Json) -> Result<Vec<[String; 2]>, TokenizerError> {
    let merge = |merge: &Json| {
        let (left, right) = match merge {
            Json::String(both) => both.split_once(' ')?,
            pair => (pair.get(0)?.as_str()?, pair.get(1)?.as_str()?),
        };
        Some([left.to_owned(), right.to_owned()])
    };
    let merges = file.pointer("/model/merges").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let read: Option<Vec<_>> = merges.iter().map(merge).collect();
    read.ok_or_else(|| unwritable("a merge is no pair of texts".into()))
}

/// Whether a text is encoded as if a space stood before it.
fn begins_with_space(file: &Json) -> bool {
    let part = |of: &str| file.get(of).map(Json::to_string).unwrap_or_default();
    part("normalizer").contains("\"Prepend\"")
        || part("pre_tokenizer").contains("\"Metaspace\"") && !part("pre_tokenizer").contains("\"never\"")
}

/// `<0x41>`
fn is_byte(text: &str) -> bool {
    text.len() == 6 && text.starts_with("<0x") && text.ends_with('>')
}

fn unwritable(reason: String) -> TokenizerError {
    TokenizerError::Unwritable { format: "GGUF", reason }
}
