//! Vocabularies inside GGUF files (ggml-org/ggml, `docs/gguf.md`): `tokenizer.ggml.model` says of which kind, and for
//! byte-level ones `tokenizer.ggml.pre` by which pattern text is cut into words.

use std::collections::HashMap;

use serde_json::{Value, json};
use tsumugi_files::gguf::{self, Array, Metadata};

use super::byte_level::{ByteLevel, Texts};
use super::patterns;
use crate::bpe::Merge;
use crate::sentencepiece::model::{Algorithm, Piece, PieceKind};
use crate::sentencepiece::{Model, SPACE};
use crate::{SpecialToken, TokenId, Tokenizer, TokenizerError};

/// How this format is called in messages.
const FORMAT: &str = "GGUF";

/// The kinds that are read.
const KINDS: &str = "gpt2, llama, bert, t5";

/// The kind of BERT's vocabularies.
pub(crate) const WORD_PIECE: &str = "bert";

/// What marks a piece that continues a word, where no `▁` marks one that begins it.
pub(crate) const CONTINUING: &str = "##";

/// Longer words are unknown.
pub(crate) const WORD_CHARACTERS_MAX: usize = 100;

impl Tokenizer {
    /// The vocabulary that the metadata of a GGUF file describe.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let stored = Stored { metadata };
        match stored.text("model") {
            Some("gpt2") => stored.byte_level(),
            Some("llama") => stored.sentencepiece(Algorithm::Bpe),
            Some("t5") => stored.sentencepiece(Algorithm::Unigram),
            Some(WORD_PIECE) => stored.word_piece(),
            Some(other) => Err(failed(format!("its kind `{other}` is not read; those that are: {KINDS}"))),
            None => Err(failed("it has no `tokenizer.ggml.model`")),
        }
    }
}

fn failed(reason: impl Into<String>) -> TokenizerError {
    TokenizerError::Vocabulary { format: FORMAT, reason: reason.into() }
}

/// The metadata under `tokenizer.ggml.`.
struct Stored<'a> {
    metadata: &'a Metadata,
}

impl<'a> Stored<'a> {
    fn get(&self, key: &str) -> Option<&'a gguf::Value> {
        self.metadata.get(&format!("tokenizer.ggml.{key}"))
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(gguf::Value::as_str)
    }

    fn truth(&self, key: &str) -> Option<bool> {
        match self.get(key) {
            Some(&gguf::Value::Bool(truth)) => Some(truth),
            _ => None,
        }
    }

    /// The id under that key, if it is one of the vocabulary.
    fn id(&self, key: &str, tokens: &[String]) -> Option<TokenId> {
        let id = self.get(key).and_then(gguf::Value::as_u64).filter(|&id| id < tokens.len() as u64)?;
        Some(id as TokenId)
    }

    fn texts(&self, key: &str) -> Option<&'a [String]> {
        match self.get(key) {
            Some(gguf::Value::Array(Array::String(texts))) => Some(texts),
            _ => None,
        }
    }

    fn tokens(&self) -> Result<&'a [String], TokenizerError> {
        let tokens = self.texts("tokens").ok_or_else(|| failed("it has no list of texts `tokenizer.ggml.tokens`"))?;
        if tokens.len() > Tokenizer::VOCABULARY_SIZE_MAX {
            return Err(failed(format!(
                "it has {} tokens, at most {} are read",
                tokens.len(),
                Tokenizer::VOCABULARY_SIZE_MAX
            )));
        }
        Ok(tokens)
    }

    /// The kind of every token; all are normal where the file does not say.
    fn kinds(&self, tokens: &[String]) -> Result<Vec<PieceKind>, TokenizerError> {
        let numbers: Vec<u64> = match self.get("token_type") {
            None => return Ok(vec![PieceKind::Normal; tokens.len()]),
            Some(gguf::Value::Array(Array::I32(kinds))) => kinds.iter().map(|&kind| kind as u64).collect(),
            Some(gguf::Value::Array(Array::U32(kinds))) => kinds.iter().map(|&kind| kind.into()).collect(),
            Some(_) => return Err(failed("its `tokenizer.ggml.token_type` is no list of integers")),
        };
        if numbers.len() != tokens.len() {
            return Err(failed(format!("it has {} tokens, but kinds of {}", tokens.len(), numbers.len())));
        }
        let kind = |(id, &number): (usize, &u64)| {
            PieceKind::from_number(number).ok_or_else(|| failed(format!("token {id} has the unknown kind {number}")))
        };
        numbers.iter().enumerate().map(kind).collect()
    }

    /// What stands before and after a text, where the file says so or else by `default`.
    fn frame(&self, tokens: &[String], default: (bool, bool)) -> (Option<TokenId>, Option<TokenId>) {
        let begin = self.truth("add_bos_token").unwrap_or(default.0);
        let end = self.truth("add_eos_token").unwrap_or(default.1);
        (self.id("bos_token_id", tokens).filter(|_| begin), self.id("eos_token_id", tokens).filter(|_| end))
    }

    /// `llama` and `t5`: SentencePiece's own pieces.
    fn sentencepiece(&self, algorithm: Algorithm) -> Result<Tokenizer, TokenizerError> {
        let tokens = self.tokens()?;
        let scores: &[f32] = match self.get("scores") {
            Some(gguf::Value::Array(Array::F32(scores))) if scores.len() == tokens.len() => scores,
            _ => return Err(failed(format!("it has no list of {} numbers `tokenizer.ggml.scores`", tokens.len()))),
        };
        if let Some(id) = scores.iter().position(|score| score.is_nan()) {
            return Err(failed(format!("the score of token {id} is no number")));
        }
        let mut kinds = self.kinds(tokens)?;
        // Files without kinds, of the first months of the format.
        if let Some(unknown) = self.id("unknown_token_id", tokens).or(Some(0).filter(|_| !kinds.is_empty()))
            && !kinds.contains(&PieceKind::Unknown)
        {
            kinds[unknown as usize] = PieceKind::Unknown;
        }
        let unigram = algorithm == Algorithm::Unigram;
        let (begins_with, ends_with) = self.frame(tokens, (!unigram, unigram));
        // llama.cpp's converter spells the spaces of tokens that always stand for themselves as spaces (Gemma's runs of them).
        let spelled = |text: &str, kind| match kind {
            PieceKind::UserDefined => text.replace(' ', SPACE),
            _ => text.to_owned(),
        };
        let piece =
            |((text, &score), &kind): ((&String, &f32), &PieceKind)| Piece { text: spelled(text, kind), score, kind };
        Tokenizer::from_pieces(Model {
            pieces: tokens.iter().zip(scores).zip(&kinds).map(piece).collect(),
            algorithm,
            character_map: self.bytes("precompiled_charsmap"),
            add_dummy_prefix: self.truth("add_space_prefix").unwrap_or(true),
            remove_extra_whitespaces: self.truth("remove_extra_whitespaces").unwrap_or(unigram),
            byte_fallback: kinds.contains(&PieceKind::Byte),
            begins_with,
            ends_with,
            ..Model::default()
        })
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        match self.get(key) {
            Some(gguf::Value::Array(Array::U8(bytes))) => bytes.clone(),
            Some(gguf::Value::Array(Array::I8(bytes))) => bytes.iter().map(|&byte| byte as u8).collect(),
            _ => Vec::new(),
        }
    }

    /// `gpt2`: byte-level BPE.
    fn byte_level(&self) -> Result<Tokenizer, TokenizerError> {
        let tokens = self.tokens()?;
        let merges = self.texts("merges").ok_or_else(|| failed("it has no list of texts `tokenizer.ggml.merges`"))?;
        let pattern = self.text("pre").unwrap_or("gpt-2");
        let pre_tokenizer = patterns::of_gguf(pattern).ok_or_else(|| {
            let known =
                patterns::GGUF.iter().flat_map(|(names, _)| names.iter().copied()).collect::<Vec<_>>().join(", ");
            failed(format!("its pattern `{pattern}` (`tokenizer.ggml.pre`) is not known; known: {known}"))
        })?;
        let whole_words = patterns::WHOLE_WORDS.contains(&pattern);
        let ids = numbered(tokens)?;
        let (begins_with, _) = self.frame(tokens, (whole_words, false));
        let mut whole = String::new();
        let merges = merges.iter().enumerate().map(|merge| merge_of(merge, &ids, &mut whole));
        ByteLevel {
            merges: merges.collect::<Result<_, _>>()?,
            tokens: texts(tokens),
            whole_words,
            pre_tokenizer: patterns::sequence(pre_tokenizer),
            special_tokens: self.special_tokens(tokens)?,
            begins_with,
        }
        .into_tokenizer()
    }

    /// `bert`: WordPiece, of lower-case words where the file does not say otherwise, in which `▁` marks the beginning of a word instead of `##` what follows.
    fn word_piece(&self) -> Result<Tokenizer, TokenizerError> {
        let tokens = self.tokens()?;
        let named = |key: &str| self.id(key, tokens);
        let begin = named("cls_token_id").or_else(|| named("bos_token_id"));
        let end = named("seperator_token_id").or_else(|| named("separator_token_id")).or_else(|| named("eos_token_id"));
        let unknown = named("unknown_token_id").ok_or_else(|| failed("it has no `tokenizer.ggml.unknown_token_id`"))?;
        let kinds = self.kinds(tokens)?;
        let spelled = tokens.iter().zip(&kinds).map(|(token, kind)| match token.strip_prefix(SPACE) {
            Some(begins) => begins.to_owned(),
            None if *kind == PieceKind::Normal && !is_bracketed(token) => format!("{CONTINUING}{token}"),
            None => token.clone(),
        });
        let spelled: Vec<String> = spelled.collect();
        let model = json!({
            "type": "WordPiece", "unk_token": tokens[unknown as usize], "continuing_subword_prefix": CONTINUING,
            "max_input_chars_per_word": WORD_CHARACTERS_MAX, "vocab": numbered(&spelled)?,
        });
        let post_processor = match (begin, end) {
            (Some(begin), Some(end)) => json!({
                "type": "BertProcessing",
                "sep": [tokens[end as usize], end], "cls": [tokens[begin as usize], begin],
            }),
            _ => Value::Null,
        };
        let lower_case = self.truth("normalizer.lowercase").unwrap_or(true);
        let strip_accents = self.truth("normalizer.strip_accents").filter(|&strips| strips != lower_case);
        let parts = json!({
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": strip_accents, "lowercase": lower_case},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece", "prefix": CONTINUING, "cleanup": true},
            "post_processor": post_processor, "model": model,
        });
        Tokenizer::from_json_value(super::file(&self.special_tokens(tokens)?, None, parts))
    }

    /// The tokens that are no text of their own.
    fn special_tokens(&self, tokens: &[String]) -> Result<Vec<SpecialToken>, TokenizerError> {
        let special = |((content, id), kind): ((&String, TokenId), PieceKind)| match kind {
            PieceKind::Control | PieceKind::Unknown => Some(SpecialToken::control(content, id)),
            PieceKind::UserDefined => Some(SpecialToken { control: false, ..SpecialToken::control(content, id) }),
            _ => None,
        };
        Ok(tokens.iter().zip(0..).zip(self.kinds(tokens)?).filter_map(special).collect())
    }
}

/// Spelled like `[CLS]`: such tokens stand as they are, in files that do not say their kinds too.
fn is_bracketed(token: &str) -> bool {
    token.len() > 2 && token.starts_with('[') && token.ends_with(']')
}

/// The id of every token. A token that is there twice is an error: its text could not tell which it is.
fn numbered(tokens: &[String]) -> Result<HashMap<&str, TokenId>, TokenizerError> {
    let mut ids = HashMap::with_capacity(tokens.len());
    for (token, id) in tokens.iter().zip(0..) {
        if let Some(before) = ids.insert(token.as_str(), id) {
            return Err(failed(format!("token {id} is the same as token {before}")));
        }
    }
    Ok(ids)
}

fn texts(tokens: &[String]) -> Texts {
    let mut texts = Texts::with_capacity(tokens.len(), tokens.iter().map(String::len).sum());
    for (token, id) in tokens.iter().zip(0..) {
        texts.push(token, id);
    }
    texts
}

/// The merge at a place of the list: two tokens with a space between. `whole` is scratch.
fn merge_of(
    (place, merge): (usize, &String),
    ids: &HashMap<&str, TokenId>,
    whole: &mut String,
) -> Result<Merge, TokenizerError> {
    let failed = |what: &str| failed(format!("merge {place}, `{merge}`, {what}"));
    let (left, right) = merge.split_once(' ').ok_or_else(|| failed("is not two tokens with a space between"))?;
    whole.clear();
    whole.extend([left, right]);
    let id = |token: &str| {
        ids.get(token).copied().ok_or_else(|| failed(&format!("needs `{token}`, which is none of the tokens")))
    };
    Ok(Merge { left: id(left)?, right: id(right)?, whole: id(whole)? })
}
