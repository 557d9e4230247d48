//! Encoding by the `tokenizers` crate, version 1.0.0-rc.3, whose splitters are the fastest there are; words of byte-level
//! vocabularies become ids by our own [`BpeEncoder`], whose tables are made in a tenth of the time.
//!
//! The crate reads only its own new form of `tokenizer.json`, numbers added tokens by itself, and matches control tokens
//! that stand in the vocabulary of its model. So the file is rewritten in memory first ([`Plan`]): added tokens are
//! counted from the end of the vocabulary on, and translated back; control tokens leave the model. Of byte-level files, the
//! crate reads what stands around the model.

mod byte_pieces;
mod patterns;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use tokenizers::pipeline::{
    EncodeOptions, Model as _, Override, PipelineModel, PipelinePreTokenizer, PipelineToken, PipelineTokenizer,
};

use crate::bpe::{BpeEncoder, Merge, Rules, Scratch};
use crate::frame::Frame;
use crate::token_bytes::byte_token;
use crate::{SpecialToken, TokenId, TokenizerError, bpe};

/// The crate's encoder with our ids.
pub(crate) struct Pipeline {
    tokenizer: PipelineTokenizer,
    /// Instead of its own, where that holds patterns it does not know.
    pre_tokenizer: Option<PipelinePreTokenizer>,
    /// Our ids of the added tokens, in the order of the crate's, which follow those of its model.
    added: Vec<TokenId>,
    model: Model,
}

/// What makes ids of words.
enum Model {
    /// Byte-level BPE; the crate's tokenizer has a model of one token in its place.
    Ours(Box<BpeEncoder>),
    /// The crate's.
    Theirs {
        /// The crate's ids of tokens for bytes that the vocabulary has none for.
        absent: Range<TokenId>,
        /// The crate's id of what keeps text from matching byte pieces; it is in no answer.
        cut: Option<TokenId>,
        /// What stands for text that cannot be encoded.
        unknown: Option<TokenId>,
    },
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
        let has_affixes = ["continuing_subword_prefix", "end_of_word_suffix"]
            .map(|name| file["model"][name].as_str().is_some_and(|affix| !affix.is_empty()));
        if byte_level && has_affixes == [false; 2] {
            let encoder = encoder_of_file(&file, vocabulary, special_tokens, unknown)?;
            return Self::around(file, special_tokens, encoder);
        }
        let mut plan = Plan::new(vocabulary, special_tokens, byte_level)?;
        let cut = matches_bytes.then(|| plan.push(byte_pieces::CUT));
        plan.prepare(&mut file, vocabulary)?;
        let tokenizer = build(&file)?;
        let pre_tokenizer = patterns::compiled(&tokenizer)?;
        let Plan { absent, added, .. } = plan;
        Ok(Self { tokenizer, pre_tokenizer, added, model: Model::Theirs { absent, cut, unknown } })
    }

    /// Of byte-level BPE. `around` is the file without its model.
    pub fn byte_level(
        mut around: Value,
        special_tokens: &[SpecialToken],
        encoder: BpeEncoder,
    ) -> Result<Self, TokenizerError> {
        around["model"] = json!({"type": "BPE", "vocab": {}, "merges": []});
        tokenizers::canonicalize_value(&mut around).map_err(unsupported)?;
        Self::around(around, special_tokens, encoder)
    }

    /// Of byte-level BPE. `file` is canonical; its model does not count.
    fn around(mut file: Value, special_tokens: &[SpecialToken], encoder: BpeEncoder) -> Result<Self, TokenizerError> {
        file["model"] = json!({"type": "BPE", "vocab": {(HOLDER): 0}, "merges": [], "byte_level": false});
        let tokenizer = build(&file)?;
        let pre_tokenizer = patterns::compiled(&tokenizer)?;
        let mut known = HashSet::new();
        let added = in_order(special_tokens).filter(|token| known.insert(&token.content)).map(|token| token.id);
        Ok(Self { tokenizer, pre_tokenizer, added: added.collect(), model: Model::Ours(Box::new(encoder)) })
    }

    /// Whether tokens are bytes, as GPT-2 spells them.
    pub fn is_byte_level(&self) -> bool {
        match &self.model {
            Model::Ours(_) => true,
            Model::Theirs { .. } => {
                matches!(self.tokenizer.get_model(), PipelineModel::BPE(model) if model.is_byte_level())
            }
        }
    }

    /// What the file puts around texts.
    pub fn frame(&self) -> Frame {
        Frame::of(self.tokenizer.get_post_processor())
    }

    /// The ids of `text`.
    pub fn encode(&self, text: &str, control_is_text: bool) -> Vec<TokenId> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let mut encode = |text: &str| match &self.model {
            Model::Ours(encoder) => {
                let mut scratch = encoder.scratch();
                self.encode_words(text, control_is_text, encoder, &mut scratch, &mut ids);
                encoder.put_back(scratch);
            }
            Model::Theirs { .. } => {
                let mut tokens = Vec::with_capacity(text.len() / 3);
                self.encode_theirs(&without_holders(text), control_is_text, &mut tokens);
                ids.extend(tokens.into_iter().filter_map(|token| self.our_id(token.into())));
            }
        };
        match text.len() {
            0..=ENCODE_BYTES_MAX => encode(text),
            _ => bpe::safe_pieces(text, ENCODE_BYTES_MAX / 2).for_each(encode),
        }
        ids
    }

    /// By our encoder. The splitter fails only where a regular expression of a foreign file exceeds its backtracking limit;
    /// then the halves are encoded by themselves, which costs at most a merge at the cut.
    fn encode_words(
        &self,
        text: &str,
        control_is_text: bool,
        encoder: &BpeEncoder,
        scratch: &mut Scratch,
        ids: &mut Vec<TokenId>,
    ) {
        let before = ids.len();
        let split = patterns::split(&self.tokenizer, self.pre_tokenizer.as_ref(), text, control_is_text, |piece| {
            match piece {
                patterns::Piece::Added(id) => ids.extend(self.our_id(id)),
                patterns::Piece::Words(text, spans) => encoder.encode(text, spans, scratch, ids),
            }
            Ok(())
        });
        if split.is_ok() {
            return;
        }
        ids.truncate(before);
        match halves(text) {
            Some((first, second)) => {
                self.encode_words(first, control_is_text, encoder, scratch, ids);
                self.encode_words(second, control_is_text, encoder, scratch, ids);
            }
            None => ids.extend(encoder.unknown()),
        }
    }

    /// By the crate's; it fails as [`Self::encode_words`] may, and on a word of over 4 GB.
    fn encode_theirs(&self, text: &str, control_is_text: bool, tokens: &mut Vec<PipelineToken>) {
        let options = EncodeOptions {
            add_special_tokens: false,
            encode_special_tokens: control_is_text,
            padding: Override::Off,
            truncation: Override::Off,
        };
        let before = tokens.len();
        let encoded = match &self.pre_tokenizer {
            None => self.tokenizer.encode_into(text, &options, tokens),
            Some(pre_tokenizer) => {
                let mut scratch = self.tokenizer.get_model().init_scratch();
                patterns::split(&self.tokenizer, Some(pre_tokenizer), text, control_is_text, |piece| match piece {
                    patterns::Piece::Added(id) => {
                        tokens.push(id.into());
                        Ok(())
                    }
                    patterns::Piece::Words(text, spans) => spans.iter().try_for_each(|span| {
                        self.tokenizer.get_model().tokenize_pipeline(&text[span.range()], &mut scratch, tokens)
                    }),
                })
            }
        };
        if encoded.is_ok() {
            return;
        }
        tokens.truncate(before);
        match halves(text) {
            Some((first, second)) => {
                self.encode_theirs(first, control_is_text, tokens);
                self.encode_theirs(second, control_is_text, tokens);
            }
            None => tokens.extend(self.unknown().map(PipelineToken::from)),
        }
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
        match self.model {
            Model::Theirs { cut, .. } if cut == Some(id) => return None,
            Model::Theirs { ref absent, unknown, .. } if absent.contains(&id) => return unknown,
            _ => {}
        }
        let added = id.checked_sub(self.first_added()).and_then(|place| self.added.get(place as usize));
        Some(added.copied().unwrap_or(id))
    }

    fn their_id(&self, id: TokenId) -> TokenId {
        match self.added.binary_search(&id) {
            Ok(place) => self.first_added() + place as TokenId,
            Err(_) => id,
        }
    }

    /// The crate's id of the first added token.
    fn first_added(&self) -> TokenId {
        match &self.model {
            Model::Ours(_) => 1,
            Model::Theirs { absent, .. } => absent.end,
        }
    }

    fn unknown(&self) -> Option<TokenId> {
        match &self.model {
            Model::Ours(encoder) => encoder.unknown(),
            Model::Theirs { unknown, .. } => *unknown,
        }
    }
}

/// A text that spells no [`place_holder`].
fn without_holders(text: &str) -> Cow<'_, str> {
    match text.as_bytes().contains(&HOLDER.as_bytes()[0]) && text.contains(HOLDER) {
        true => text.replace(HOLDER, "\u{FFFD}\u{FFFD}").into(),
        false => text.into(),
    }
}

/// None for a single character.
fn halves(text: &str) -> Option<(&str, &str)> {
    let middle = text.floor_char_boundary(text.len() / 2);
    (middle > 0).then(|| text.split_at(middle))
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
    /// What left the vocabulary; see [`never_made_texts`].
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
        let control = never_made_texts(vocabulary, special_tokens);
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
}

/// Control tokens that text never becomes by merges. Byte tokens are not among them where they are listed as control tokens:
/// no merge leads to them, and models need them.
pub(crate) fn never_made(special_tokens: &[SpecialToken]) -> impl Iterator<Item = &SpecialToken> {
    special_tokens.iter().filter(|token| token.control && byte_token(&token.content).is_none())
}

/// The texts that no text may give: those of control tokens, and those that the vocabulary gives the id of one to.
fn never_made_texts<'a>(vocabulary: &'a [(String, TokenId)], special_tokens: &'a [SpecialToken]) -> HashSet<&'a str> {
    let ids: HashSet<TokenId> = never_made(special_tokens).map(|token| token.id).collect();
    let of_their_ids = vocabulary.iter().filter(|(_, id)| ids.contains(id)).map(|(content, _)| content.as_str());
    never_made(special_tokens).map(|token| token.content.as_str()).chain(of_their_ids).collect()
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

/// The encoder of a canonical byte-level file.
fn encoder_of_file(
    file: &Value,
    vocabulary: &[(String, TokenId)],
    special_tokens: &[SpecialToken],
    unknown: Option<TokenId>,
) -> Result<BpeEncoder, TokenizerError> {
    let ids: HashMap<&str, TokenId> = vocabulary.iter().map(|(token, id)| (token.as_str(), *id)).collect();
    let mut whole = String::new();
    let mut merge = |pair: &Value| {
        let part = |place: usize| pair.get(place).and_then(Value::as_str).unwrap_or_default();
        whole.clear();
        whole.extend([part(0), part(1)]);
        let id = |token: &str| {
            ids.get(token).copied().ok_or_else(|| unsupported(format!("a merge with `{token}`, which is no token")))
        };
        Ok(Merge { left: id(part(0))?, right: id(part(1))?, whole: id(&whole)? })
    };
    let merges = file.pointer("/model/merges").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let merges: Vec<Merge> = merges.iter().map(&mut merge).collect::<Result<_, TokenizerError>>()?;
    let whole_words = file.pointer("/model/ignore_merges").and_then(Value::as_bool).unwrap_or(false);
    let never = never_made_texts(vocabulary, special_tokens);
    let never: HashSet<TokenId> = never.into_iter().filter_map(|token| ids.get(token).copied()).collect();
    let tokens = vocabulary.iter().map(|(token, id)| (token.as_str(), *id));
    let rules = Rules { merges: &merges, whole_words, unknown };
    Ok(BpeEncoder::new(tokens, &rules, |id| never.contains(&id)))
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
