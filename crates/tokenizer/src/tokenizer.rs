//! A tokenizer, ready to encode and decode, whatever file it came from (`load/`). What encodes is one of three engines:
//! the `tokenizers` crate's pipeline (`pipeline`), SentencePiece's two algorithms (`sentencepiece`), or a table of characters.

use std::borrow::Cow;
use std::sync::Arc;

use crate::characters::CharacterEncoder;
use crate::frame::{Frame, PairFrame};
use crate::load::Lists;
use crate::pipeline::Pipeline;
use crate::sentencepiece::{Model, SentencePiece};
use crate::special_tokens::find_all;
use crate::token_bytes::TokenBytes;
use crate::{StreamDecoder, TokenId, TokenizerError};

/// A token that text never becomes by itself, or a word that is always one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialToken {
    /// Its text, as in `<|end|>`.
    pub content: String,
    /// Its id.
    pub id: TokenId,
    /// Whether it is a control token: hidden from decoded text, and never made from text unless asked.
    pub control: bool,
    /// Takes whitespace on its left with it.
    pub strips_left: bool,
    /// Takes whitespace on its right with it.
    pub strips_right: bool,
}

impl SpecialToken {
    /// A control token that takes no whitespace with it.
    pub(crate) fn control(content: impl Into<String>, id: TokenId) -> Self {
        Self { content: content.into(), id, control: true, strips_left: false, strips_right: false }
    }
}

/// Text to ids and back. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub source: Source,
    pub engine: Engine,
    pub special_tokens: Vec<SpecialToken>,
    pub bytes: TokenBytes,
    pub decoding: Decoding,
    pub unknown: Option<TokenId>,
    pub frame: Frame,
}

/// What it was read from.
pub(crate) enum Source {
    Json(String),
    /// Byte-level BPE in another form.
    Lists(Box<Lists>),
    SentencePiece(Box<Model>),
}

/// What encodes.
pub(crate) enum Engine {
    Pipeline(Box<Pipeline>),
    Characters(Box<CharacterEncoder>),
    SentencePiece(Box<SentencePiece>),
}

/// What makes text of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoding {
    /// A text is the concatenation of its tokens' bytes, but for the space at its beginning.
    Bytes(LeadingSpace),
    /// The file's decoder, which looks at neighbours.
    Pipeline,
}

/// What becomes of the space at the beginning of a text, which the encoder may have put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeadingSpace {
    Kept,
    /// The one of the first token.
    OneDropped,
    /// Those of all tokens that are nothing else, and of the one after them.
    AllDropped,
}

impl Tokenizer {
    /// Ids must be below this: sixteen times the largest published vocabulary.
    pub const VOCABULARY_SIZE_MAX: usize = 1 << 22;

    pub(crate) fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// The `tokenizer.json`, as it came or as training wrote it; for a vocabulary that came in another form, the one that
    /// comes nearest to it.
    pub fn to_json(&self) -> String {
        match &self.inner.source {
            Source::Json(text) => text.clone(),
            Source::Lists(lists) => lists.to_json(),
            Source::SentencePiece(model) => crate::sentencepiece::to_json(model),
        }
    }

    /// The vocabulary as a SentencePiece `.model`, if it is one: that format has no form for bytes spelled as GPT-2 does, for
    /// WordPiece, and for single characters.
    pub fn to_sentencepiece(&self) -> Result<Vec<u8>, TokenizerError> {
        match &self.inner.source {
            Source::SentencePiece(model) => Ok(crate::sentencepiece::to_protobuf(model)),
            Source::Json(_) | Source::Lists(_) => Err(TokenizerError::Unwritable {
                format: "a SentencePiece model",
                reason: "it was not trained as SentencePiece's BPE or Unigram, nor read from such a model".into(),
            }),
        }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.inner.source
    }

    /// Encodes text. Control tokens in it stay text: `<|end|>` becomes the tokens of its seven characters.
    pub fn encode(&self, text: &str) -> Vec<TokenId> {
        self.inner.encode(text, true)
    }

    /// Encodes text in which control tokens are meant: only for what we rendered ourselves.
    pub fn encode_with_special(&self, text: &str) -> Vec<TokenId> {
        self.inner.encode(text, false)
    }

    /// Ids to text: control tokens are left out, bytes that are no UTF-8 and ids out of range become U+FFFD.
    pub fn decode(&self, ids: &[TokenId]) -> String {
        let shown = ids.iter().copied().filter(|&id| !self.is_special(id));
        if let (Decoding::Pipeline, Engine::Pipeline(pipeline)) = (self.inner.decoding, &self.inner.engine) {
            let known: Vec<TokenId> = shown.filter(|&id| (id as usize) < self.vocabulary_size()).collect();
            return pipeline.decode(&known);
        }
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        let mut at_start = true;
        for id in shown {
            self.append_bytes(id, &mut at_start, &mut bytes);
        }
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// One more than the largest id.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.bytes.len()
    }

    /// The id of a special token by its text, as in `special("<|end|>")`.
    pub fn special(&self, name: &str) -> Option<TokenId> {
        self.inner.special_tokens.iter().find(|token| token.content == name).map(|token| token.id)
    }

    /// The special tokens in the order of the file.
    pub fn special_tokens(&self) -> &[SpecialToken] {
        &self.inner.special_tokens
    }

    /// Whether `id` is a control token, which decoded text does not show.
    pub fn is_special(&self, id: TokenId) -> bool {
        self.inner.bytes.is_control(id)
    }

    /// The token that stands for characters outside of the vocabulary; byte-level vocabularies need none.
    pub fn unknown(&self) -> Option<TokenId> {
        self.inner.unknown
    }

    /// What belongs before a document: the ids that the file's post-processor puts there (BOS), or none.
    pub fn prefix(&self) -> &[TokenId] {
        &self.inner.frame.prefix
    }

    /// What belongs after a whole text by the file's post-processor (EOS, `[SEP]`), or none.
    pub fn suffix(&self) -> &[TokenId] {
        &self.inner.frame.suffix
    }

    /// What belongs around two texts that are read together, as a cross-encoder does.
    pub fn pair_frame(&self) -> &PairFrame {
        &self.inner.frame.pair
    }

    /// The bytes of a token; a control token gives its text, an id out of range U+FFFD.
    pub fn token_bytes(&self, id: TokenId) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.inner.bytes.get(id).unwrap_or("\u{FFFD}".as_bytes()))
    }

    /// A decoder for ids that come one by one.
    pub fn stream(&self) -> StreamDecoder<'_> {
        StreamDecoder::new(self)
    }

    /// A decoder for ids that come one by one after `before`, whose text it does not give again.
    pub fn stream_after(&self, before: &[TokenId]) -> StreamDecoder<'_> {
        StreamDecoder::after(self, before)
    }

    /// Whether tokens' bytes behind each other are the text, and no decoder looks at neighbours.
    pub(crate) fn tokens_are_bytes(&self) -> bool {
        matches!(self.inner.decoding, Decoding::Bytes(_))
    }

    /// Appends what a token that is no control token adds to a text. `at_start` is true at first, and then what this left.
    pub(crate) fn append_bytes(&self, id: TokenId, at_start: &mut bool, text: &mut Vec<u8>) {
        let bytes = self.token_bytes(id);
        let shown = match bytes.strip_prefix(b" ") {
            Some(rest) if *at_start && self.drops_leading_space() && Some(id) != self.inner.unknown => rest,
            _ => &bytes,
        };
        text.extend_from_slice(shown);
        let goes_on = shown.is_empty() && self.inner.decoding == Decoding::Bytes(LeadingSpace::AllDropped);
        *at_start &= goes_on || bytes.is_empty();
    }

    fn drops_leading_space(&self) -> bool {
        matches!(self.inner.decoding, Decoding::Bytes(LeadingSpace::OneDropped | LeadingSpace::AllDropped))
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens, {} special)", self.vocabulary_size(), self.inner.special_tokens.len())
    }
}

impl Inner {
    fn encode(&self, text: &str, control_is_text: bool) -> Vec<TokenId> {
        match &self.engine {
            Engine::Pipeline(pipeline) => pipeline.encode(text, control_is_text),
            Engine::SentencePiece(encoder) => encoder.encode(text, control_is_text),
            Engine::Characters(characters) => {
                let special: Vec<&SpecialToken> =
                    self.special_tokens.iter().filter(|token| !(token.control && control_is_text)).collect();
                let mut ids = Vec::with_capacity(text.len());
                let mut done = 0;
                for (at, token) in find_all(&special, text) {
                    characters.encode(&text[done..at], &mut ids);
                    ids.push(token.id);
                    done = at + token.content.len();
                }
                characters.encode(&text[done..], &mut ids);
                ids
            }
        }
    }
}
