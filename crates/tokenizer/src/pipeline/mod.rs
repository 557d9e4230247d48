//! Encoding by the `tokenizers` crate, version 1.0.0-rc.3: on 10.5 MB of English it does 157 to 198 MB/s on one thread,
//! where its 0.23 does 3.7 and tiktoken 18 (32,768 tokens, GPT-4's split).
//!
//! It reads only its own new form of `tokenizer.json`, numbers added tokens by itself, and matches control tokens that
//! stand in the vocabulary of its model. So the file is rewritten in memory first ([`Plan`]): added tokens are
//! counted from the end of the vocabulary on, and translated back; control tokens leave the model.

mod byte_pieces;
mod patterns;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use tokenizers::models::bpe::{BpeConfig, PipelineBPE};
use tokenizers::pipeline::{
    EncodeOptions, NormalizerChain, Override, PipelineModel, PipelinePreTokenizer, PipelineToken, PipelineTokenizer,
};
use tokenizers::vocab::bucket_added_vocabulary::{AddedToken, AddedVocabulary};

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
    /// The crate's id of what keeps text from matching byte pieces; it is in no answer.
    cut: Option<TokenId>,
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
        let matches_bytes = byte_pieces::are_matched(&file);
        if matches_bytes {
            byte_pieces::cut_in_text(&mut file);
        }
        tokenizers::canonicalize_value(&mut file).map_err(unsupported)?;
        let byte_level = file.pointer("/model/byte_level") == Some(&Value::Bool(true));
        let mut plan = Plan::new(vocabulary, special_tokens, byte_level)?;
        let cut = matches_bytes.then(|| plan.push(byte_pieces::CUT));
        plan.prepare(&mut file, vocabulary)?;
        let tokenizer = build(&file)?;
        let pre_tokenizer = patterns::compiled(&tokenizer)?;
        let whole_words = file.pointer("/model/ignore_merges").and_then(Value::as_bool).unwrap_or(false);
        let guarded = !is_byte_level(&tokenizer) || whole_words;
        let Plan { absent, added, .. } = plan;
        Ok(Self { tokenizer, pre_tokenizer, absent, added, cut, unknown, guarded })
    }

    /// Byte-level BPE of lists, without a normalizer. `around` is the file without its model: its pre-tokenizer and
    /// post-processor count.
    pub fn byte_level_of(
        mut around: Value,
        vocabulary: &[(String, TokenId)],
        mut merges: Vec<(String, String)>,
        whole_words: bool,
        special_tokens: &[SpecialToken],
    ) -> Result<Self, TokenizerError> {
        let plan = Plan::new(vocabulary, special_tokens, true)?;
        let mut product = String::new();
        merges.retain(|(left, right)| !makes_or_uses(left, right, &plan.control, &mut product));
        let named = |(id, content): (usize, &Option<&str>)| {
            (content.map_or_else(|| place_holder(id as TokenId), str::to_owned), id as TokenId)
        };
        let vocab = plan.contents.iter().enumerate().map(named).collect();
        let config = BpeConfig { vocab, merges, byte_level: true, ignore_merges: whole_words, ..BpeConfig::default() };
        // What stands around the model is read as any file is, with a model of one character.
        around["model"] = json!({"type": "BPE", "vocab": {"a": 0}, "merges": []});
        around["added_tokens"] = json!([]);
        tokenizers::canonicalize_value(&mut around).map_err(unsupported)?;
        around["model"]["byte_level"] = false.into();
        let post_processor = around.get("post_processor").unwrap_or(&Value::Null).to_string();
        let post_processor = tokenizers::post_processor_from_json(&post_processor).map_err(unsupported)?;
        let around = build(&around)?;
        let pre_tokenizer = patterns::compiled(&around)?.unwrap_or_else(|| around.get_pre_tokenizer().clone());
        let added_vocabulary = plan.added_vocabulary(special_tokens)?;
        let model = within_limits(|| PipelineBPE::from_config(config).map_err(|error| error.to_string()))?;
        let tokenizer = PipelineTokenizer::from_parts(
            added_vocabulary,
            Vec::new(),
            pre_tokenizer,
            PipelineModel::BPE(model),
            post_processor,
            None,
            Default::default(),
            None,
            None,
        );
        let Plan { absent, added, .. } = plan;
        Ok(Self { tokenizer, pre_tokenizer: None, absent, added, cut: None, unknown: None, guarded: whole_words })
    }

    /// Whether tokens are bytes, as GPT-2 spells them.
    pub fn byte_level(&self) -> bool {
        is_byte_level(&self.tokenizer)
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
        if self.cut == Some(id) {
            return None;
        }
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

fn is_byte_level(tokenizer: &PipelineTokenizer) -> bool {
    matches!(tokenizer.get_model(), PipelineModel::BPE(model) if model.is_byte_level())
}

/// What stands in the vocabulary for an id that no text may give.
fn place_holder(id: TokenId) -> String {
    format!("{HOLDER}{id}")
}

/// How the ids of the crate are made such that they can be translated. The vocabulary of the model gets an entry for every
/// id below a bound, so that the crate counts added tokens from that bound on; control tokens are replaced in it. A
/// byte-level vocabulary gets tokens for the bytes that it has none for.
struct Plan<'a> {
    /// The text of every entry of the model's vocabulary; none where a place holder stands.
    contents: Vec<Option<&'a str>>,
    /// The texts of control tokens that left the vocabulary.
    control: HashSet<&'a str>,
    /// The ids of tokens for bytes that the vocabulary has none for.
    absent: Range<TokenId>,
    /// Our ids of the added tokens.
    added: Vec<TokenId>,
}

impl<'a> Plan<'a> {
    fn new(
        vocabulary: &'a [(String, TokenId)],
        special_tokens: &'a [SpecialToken],
        byte_level: bool,
    ) -> Result<Self, TokenizerError> {
        let ids = vocabulary.iter().map(|&(_, id)| id).chain(special_tokens.iter().map(|token| token.id));
        let size = ids.max().map_or(0, |id| id as usize + 1);
        if size > 2 * (vocabulary.len() + special_tokens.len()) + HOLES_MAX {
            let reason = format!("{} tokens with ids up to {}", vocabulary.len() + special_tokens.len(), size - 1);
            return Err(TokenizerError::Unsupported { reason });
        }
        // Byte tokens stay where they are listed as control tokens: no merge leads to them, and the model needs them.
        let is_removed = |token: &&SpecialToken| token.control && byte_token(&token.content).is_none();
        let control: HashSet<&str> =
            special_tokens.iter().filter(is_removed).map(|token| token.content.as_str()).collect();
        let mut contents: Vec<Option<&str>> = vec![None; size];
        for (content, id) in vocabulary {
            contents[*id as usize] = Some(content.as_str()).filter(|content| !control.contains(content));
        }
        // As the crate counts them: in the order of ids, each text once, without those that its model has.
        let mut known: HashSet<&str> = contents.iter().copied().flatten().collect();
        let added =
            in_order(special_tokens).filter(|token| known.insert(&token.content)).map(|token| token.id).collect();
        if byte_level {
            let absent = BYTE_TOKENS.iter().map(String::as_str).filter(|byte| !known.contains(byte));
            contents.extend(absent.map(Some));
        }
        let absent = size as TokenId..contents.len() as TokenId;
        Ok(Self { contents, control, absent, added })
    }

    /// A token of the crate's alone; its id there.
    fn push(&mut self, content: &'a str) -> TokenId {
        self.contents.push(Some(content));
        self.absent.end += 1;
        self.absent.end - 1
    }

    /// Rewrites a canonical file by this plan.
    fn prepare(&self, file: &mut Value, vocabulary: &[(String, TokenId)]) -> Result<(), TokenizerError> {
        let no_model = || TokenizerError::Malformed { reason: "it has no `model`".into() };
        let model = file.get_mut("model").and_then(Value::as_object_mut).ok_or_else(no_model)?;
        if let Some(merges) = model.get_mut("merges").and_then(Value::as_array_mut) {
            let mut product = String::new();
            merges.retain(|pair| {
                let part = |place: usize| pair.get(place).and_then(Value::as_str).unwrap_or_default();
                !makes_or_uses(part(0), part(1), &self.control, &mut product)
            });
        }
        let unknown = model.get("unk_token").and_then(Value::as_str).filter(|token| self.control.contains(token));
        if let Some((_, id)) = unknown.and_then(|token| vocabulary.iter().find(|(content, _)| content == token)) {
            model.insert("unk_token".into(), place_holder(*id).into());
        }
        if let Some(stored) = model.get_mut("vocab") {
            fill(stored, &self.contents);
        }
        Ok(())
    }

    /// The crate's table of added tokens, as it makes it of a file; all are looked for in the text as it came.
    fn added_vocabulary(&self, special_tokens: &[SpecialToken]) -> Result<AddedVocabulary, TokenizerError> {
        let known: HashMap<&str, TokenId> =
            self.contents.iter().zip(0..).filter_map(|(content, id)| Some(((*content)?, id))).collect();
        let tokens = in_order(special_tokens).map(|token| {
            AddedToken::from(&token.content, token.control)
                .normalized(false)
                .lstrip(token.strips_left)
                .rstrip(token.strips_right)
        });
        let mut added = AddedVocabulary::new();
        let known = |text: &str| known.get(text).copied();
        let table = added.add_tokens(tokens, self.contents.len(), known, None::<&NormalizerChain<'_>>);
        table.map_err(unsupported)?;
        Ok(added)
    }
}

/// In the order of their ids, without empty ones.
fn in_order(special_tokens: &[SpecialToken]) -> impl Iterator<Item = &SpecialToken> {
    let mut order: Vec<&SpecialToken> = special_tokens.iter().filter(|token| !token.content.is_empty()).collect();
    order.sort_by_key(|token| token.id);
    order.into_iter()
}

/// The tokens of single bytes that a byte-level model must have: SmolLM2's, for one, has none for some that are in no UTF-8
/// text or in hardly any.
static BYTE_TOKENS: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..=255).map(|byte| bpe::byte_to_char(byte).to_string()).collect());

/// Ids without a token, beyond as many as there are tokens. The largest published gap is of a few hundred.
const HOLES_MAX: usize = 1 << 16;

/// Whether a merge makes one of `tokens`, or uses it. `product` is scratch.
fn makes_or_uses(left: &str, right: &str, tokens: &HashSet<&str>, product: &mut String) -> bool {
    product.clear();
    product.push_str(left);
    product.push_str(right);
    [left, right, product.as_str()].iter().any(|token| tokens.contains(token))
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
                    None => entries.push(json!([content.map_or_else(|| held(id), str::to_owned), lowest])),
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

/// Hands the file to the encoder.
fn build(file: &Value) -> Result<PipelineTokenizer, TokenizerError> {
    let text = file.to_string();
    within_limits(|| tokenizers::from_json(&text).map_err(|error| error.to_string()))
}

/// The encoder's tables assert limits that no real file exceeds (65,535 bytes in a token, as many merges among the first 512
/// tokens); a file made to exceed them is an error here, not the end of the process.
fn within_limits<T>(build: impl FnOnce() -> Result<T, String>) -> Result<T, TokenizerError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(build))
        .unwrap_or_else(|_| Err("a vocabulary beyond the limits of the encoder's tables".into()))
        .map_err(|reason| TokenizerError::Unsupported { reason })
}

/// What the crate says as an error of ours.
pub(crate) fn unsupported(error: impl std::fmt::Display) -> TokenizerError {
    TokenizerError::Unsupported { reason: error.to_string() }
}
