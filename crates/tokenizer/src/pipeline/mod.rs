//! Encoding by the `tokenizers` crate, version 1.0.0-rc.3: on 10.5 MB of English it does 157 to 198 MB/s on one thread,
//! where its 0.23 does 3.7 and tiktoken 18 (32,768 tokens, GPT-4's split).
//!
//! It reads only its own new form of `tokenizer.json`, numbers added tokens by itself, and matches control tokens that
//! stand in the vocabulary of its model. So the file is rewritten in memory first ([`prepare`]): added tokens are
//! counted from the end of the vocabulary on, and translated back; control tokens leave the model.

mod patterns;

use std::collections::HashSet;
use std::ops::Range;

use serde_json::{Map, Value, json};
use tokenizers::pipeline::{
    EncodeOptions, Override, PipelineModel, PipelinePreTokenizer, PipelineToken, PipelineTokenizer,
};

use crate::frame::Frame;
use crate::token_bytes::byte_token;
use crate::{SpecialToken, TokenId, TokenizerError, bpe};

/// The crate's encoder with our ids.
pub(crate) struct Pipeline {
    tokenizer: PipelineTokenizer,
    /// Instead of its own, where that holds patterns it does not know.
    pre_tokenizer: Option<PipelinePreTokenizer>,
    /// The crate's ids of tokens for bytes that the vocabulary has none for.
    absent: Range<TokenId>,
    /// Our ids of the added tokens, in the order of the crate's, which follow those.
    added: Vec<TokenId>,
    /// What stands for text that cannot be encoded.
    unknown: Option<TokenId>,
    /// Whether text might spell a [`place_holder`].
    guarded: bool,
}

/// Text that the encoder takes at once; its splitter counts bytes in u32.
const ENCODE_BYTES_MAX: usize = 1 << 30;

/// Begins the text of what stands in the vocabulary in place of a control token: no characters, by Unicode, so a text
/// in which they are replaced by U+FFFD has lost nothing.
const HOLDER: &str = "\u{10FFFF}\u{10FFFE}";

impl Pipeline {
    /// Of a file as it came. `vocabulary` and `special_tokens` are what it holds.
    pub fn new(
        mut file: Value,
        vocabulary: &[(String, TokenId)],
        special_tokens: &[SpecialToken],
        unknown: Option<TokenId>,
    ) -> Result<Self, TokenizerError> {
        tokenizers::canonicalize_value(&mut file).map_err(unsupported)?;
        let (absent, added) = prepare(&mut file, vocabulary, special_tokens)?;
        let tokenizer = build(&file)?;
        let pre_tokenizer = patterns::compiled(&tokenizer)?;
        let whole_words = file.pointer("/model/ignore_merges").and_then(Value::as_bool).unwrap_or(false);
        let guarded = !byte_level(&tokenizer) || whole_words;
        Ok(Self { tokenizer, pre_tokenizer, absent, added, unknown, guarded })
    }

    /// Whether tokens are bytes, as GPT-2 spells them.
    pub fn byte_level(&self) -> bool {
        byte_level(&self.tokenizer)
    }

    /// What the file puts around texts.
    pub fn frame(&self) -> Frame {
        Frame::of(self.tokenizer.get_post_processor())
    }

    /// The ids of `text`.
    pub fn encode(&self, text: &str, control_is_text: bool) -> Vec<TokenId> {
        let replaced;
        let text = if self.guarded && text.as_bytes().contains(&HOLDER.as_bytes()[0]) && text.contains(HOLDER) {
            replaced = text.replace(HOLDER, "\u{FFFD}\u{FFFD}");
            &replaced
        } else {
            text
        };
        let options = EncodeOptions {
            add_special_tokens: false,
            encode_special_tokens: control_is_text,
            padding: Override::Off,
            truncation: Override::Off,
        };
        let mut tokens = Vec::with_capacity(text.len() / 3);
        if text.len() <= ENCODE_BYTES_MAX {
            self.encode_piece(text, &options, &mut tokens);
        } else {
            for piece in bpe::safe_pieces(text, ENCODE_BYTES_MAX / 2) {
                self.encode_piece(piece, &options, &mut tokens);
            }
        }
        tokens.into_iter().filter_map(|token| self.our_id(token.into())).collect()
    }

    /// The encoder fails only where a regular expression of a foreign file exceeds its backtracking limit (or on a
    /// piece of over 4 GB); then the halves are encoded by themselves, which costs at most a merge at the cut.
    fn encode_piece(&self, text: &str, options: &EncodeOptions, tokens: &mut Vec<PipelineToken>) {
        let before = tokens.len();
        let encoded = match &self.pre_tokenizer {
            Some(pre_tokenizer) => {
                patterns::encode(&self.tokenizer, pre_tokenizer, text, options.encode_special_tokens, tokens).is_ok()
            }
            None => self.tokenizer.encode_into(text, options, tokens).is_ok(),
        };
        if encoded {
            return;
        }
        tokens.truncate(before);
        let middle = text.floor_char_boundary(text.len() / 2);
        if middle == 0 {
            tokens.extend(self.unknown.map(PipelineToken::from));
            return;
        }
        self.encode_piece(&text[..middle], options, tokens);
        self.encode_piece(&text[middle..], options, tokens);
    }

    /// Text by the file's decoder, for ids that exist and are no control tokens.
    pub fn decode(&self, ids: &[TokenId]) -> String {
        let ids: Vec<TokenId> = ids.iter().map(|&id| self.their_id(id)).collect();
        // Some decoders look at the last token.
        if ids.is_empty() {
            return String::new();
        }
        self.tokenizer.decode(&ids, true).unwrap_or_default()
    }

    /// None for a byte that has no token, where the vocabulary has none for unknown text either: it is left out, as the
    /// format's own library and llama.cpp do.
    fn our_id(&self, id: TokenId) -> Option<TokenId> {
        if self.absent.contains(&id) {
            return self.unknown;
        }
        let added = id.checked_sub(self.absent.end).and_then(|place| self.added.get(place as usize));
        Some(added.copied().unwrap_or(id))
    }

    fn their_id(&self, id: TokenId) -> TokenId {
        match self.added.binary_search(&id) {
            Ok(place) => self.absent.end + place as TokenId,
            Err(_) => id,
        }
    }
}

fn byte_level(tokenizer: &PipelineTokenizer) -> bool {
    matches!(tokenizer.get_model(), PipelineModel::BPE(model) if model.is_byte_level())
}

/// What stands in the vocabulary for an id that no text may give.
fn place_holder(id: TokenId) -> String {
    format!("{HOLDER}{id}")
}

/// Rewrites a canonical file so that the crate's ids can be translated. The vocabulary of the model gets an entry for
/// every id below a bound, so that the crate counts added tokens from that bound on; control tokens are replaced in it.
/// A byte-level vocabulary gets tokens for the bytes that it has none for. Returns the ids of these, which begin at the
/// bound, and our ids of the tokens after them.
fn prepare(
    file: &mut Value,
    vocabulary: &[(String, TokenId)],
    special_tokens: &[SpecialToken],
) -> Result<(Range<TokenId>, Vec<TokenId>), TokenizerError> {
    let ids = vocabulary.iter().map(|&(_, id)| id).chain(special_tokens.iter().map(|token| token.id));
    let size = ids.max().map_or(0, |id| id as usize + 1);
    if size > 2 * (vocabulary.len() + special_tokens.len()) + HOLES_MAX {
        let reason = format!("{} tokens with ids up to {}", vocabulary.len() + special_tokens.len(), size - 1);
        return Err(TokenizerError::Unsupported { reason });
    }
    // Byte tokens stay where they are listed as control tokens: no merge leads to them, and the model needs them.
    let is_removed = |token: &&SpecialToken| token.control && byte_token(&token.content).is_none();
    let control: HashSet<&str> = special_tokens.iter().filter(is_removed).map(|token| token.content.as_str()).collect();
    let mut contents: Vec<Option<&str>> = vec![None; size];
    for (content, id) in vocabulary {
        contents[*id as usize] = Some(content.as_str()).filter(|content| !control.contains(content));
    }
    // As the crate counts them: in the order of ids, each text once, without those that its model has.
    let mut known: HashSet<&str> = contents.iter().copied().flatten().collect();
    let mut order: Vec<&SpecialToken> = special_tokens.iter().filter(|token| !token.content.is_empty()).collect();
    order.sort_by_key(|token| token.id);
    let added = order.iter().filter(|token| known.insert(&token.content)).map(|token| token.id).collect();

    let bytes = byte_tokens(file);
    contents.extend(bytes.iter().map(String::as_str).filter(|byte| !known.contains(byte)).map(Some));

    let no_model = || TokenizerError::Malformed { reason: "it has no `model`".into() };
    let model = file.get_mut("model").and_then(Value::as_object_mut).ok_or_else(no_model)?;
    if let Some(merges) = model.get_mut("merges").and_then(Value::as_array_mut) {
        merges.retain(|pair| !makes_or_uses(pair, &control));
    }
    let unknown = model.get("unk_token").and_then(Value::as_str).filter(|token| control.contains(token));
    if let Some((_, id)) = unknown.and_then(|token| vocabulary.iter().find(|(content, _)| content == token)) {
        model.insert("unk_token".into(), place_holder(*id).into());
    }
    if let Some(stored) = model.get_mut("vocab") {
        fill(stored, &contents);
    }
    Ok((size as TokenId..contents.len() as TokenId, added))
}

/// The tokens of single bytes that a byte-level model must have: SmolLM2's, for one, has none for some that are in no UTF-8
/// text or in hardly any.
fn byte_tokens(file: &Value) -> Vec<String> {
    let byte_level = file.pointer("/model/byte_level") == Some(&Value::Bool(true));
    (0..=255).filter(|_| byte_level).map(|byte| bpe::byte_to_char(byte).to_string()).collect()
}

/// Ids without a token, beyond as many as there are tokens. The largest published gap is of a few hundred.
const HOLES_MAX: usize = 1 << 16;

/// Whether a merge makes one of `tokens`, or uses it.
fn makes_or_uses(pair: &Value, tokens: &HashSet<&str>) -> bool {
    let part = |place: usize| pair.get(place).and_then(Value::as_str).unwrap_or_default();
    let (left, right) = (part(0), part(1));
    [left, right].iter().any(|token| tokens.contains(token)) || tokens.contains(format!("{left}{right}").as_str())
}

/// Puts place holders into a model's vocabulary (a map, or a list with scores), where `contents` has no token.
fn fill(vocabulary: &mut Value, contents: &[Option<&str>]) {
    let held = |id: usize| place_holder(id as TokenId);
    match vocabulary {
        Value::Array(entries) => {
            let score = |entry: &Value| entry.get(1).and_then(Value::as_f64);
            let lowest = entries.iter().filter_map(score).fold(0.0, f64::min);
            for (id, content) in contents.iter().enumerate() {
                match entries.get_mut(id) {
                    None => entries.push(json!([held(id), lowest])),
                    Some(entry) if content.is_none() => entry[0] = held(id).into(),
                    Some(_) => {}
                }
            }
        }
        _ => {
            let named =
                |(id, content): (usize, &Option<&str>)| (content.map_or_else(|| held(id), str::to_owned), json!(id));
            *vocabulary = contents.iter().enumerate().map(named).collect::<Map<String, Value>>().into();
        }
    }
}

/// Hands the file to the encoder. Its tables assert limits that no real file exceeds (65,535 bytes in a token, as many
/// merges among the first 512 tokens); a file made to exceed them is an error here, not the end of the process.
fn build(file: &Value) -> Result<PipelineTokenizer, TokenizerError> {
    let text = file.to_string();
    let built = std::panic::catch_unwind(|| tokenizers::from_json(&text).map_err(|error| error.to_string()));
    built
        .unwrap_or_else(|_| Err("a vocabulary beyond the limits of the encoder's tables".into()))
        .map_err(|reason| TokenizerError::Unsupported { reason })
}

/// What the crate says as an error of ours.
pub(crate) fn unsupported(error: impl std::fmt::Display) -> TokenizerError {
    TokenizerError::Unsupported { reason: error.to_string() }
}
