//! A tokenizer: what `tokenizer.json` describes, ready to encode and decode.
//!
//! Encoding is the `tokenizers` crate's, version 1.0.0-rc.3: on 10.5 MB of English it does 157 to 198 MB/s on one
//! thread, where its 0.23 does 3.7 and tiktoken 18 (32,768 tokens, GPT-4's split). It only reads its own new form of
//! the file, so older files are rewritten in memory first; what we keep and write is the file as it came.
//! Decoding of byte-level vocabularies is a table of ours.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::pipeline::{
    EncodeOptions, Override, PipelineModel, PipelinePostProcessor, PipelineToken, PipelineTokenizer,
};

use crate::characters::CharacterEncoder;
use crate::special_tokens::find_all;
use crate::{StreamDecoder, TokenId, TokenizerError, bpe};

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

/// Text to ids and back. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    json: String,
    engine: Engine,
    special_tokens: Vec<SpecialToken>,
    bytes: TokenBytes,
    tokens_are_bytes: bool,
    unknown: Option<TokenId>,
    prefix: Vec<TokenId>,
}

/// What encodes.
enum Engine {
    Pipeline(PipelineTokenizer),
    Characters(Box<CharacterEncoder>),
}

/// The bytes of every token, behind each other; token `i` is `all[starts[i]..starts[i + 1]]`.
struct TokenBytes {
    all: Vec<u8>,
    starts: Vec<u32>,
    is_control: Vec<bool>,
}

/// Text that the encoder takes at once; its splitter counts bytes in u32.
const ENCODE_BYTES_MAX: usize = 1 << 30;

impl Tokenizer {
    /// Ids must be below this: sixteen times the largest published vocabulary.
    pub const VOCABULARY_SIZE_MAX: usize = 1 << 22;

    /// Reads a `tokenizer.json` of any version.
    pub fn from_json(text: &str) -> Result<Self, TokenizerError> {
        let malformed = |reason: String| TokenizerError::Malformed { reason };
        let mut file: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        if file.get("model").and_then(|model| model.get("vocab")).is_none() {
            return Err(malformed("it has no `model.vocab`".into()));
        }
        // Subword dropout (Provilkov et al. 2020) is for training a model; here the same text gives the same ids.
        if let Some(dropout) = file.pointer_mut("/model/dropout") {
            *dropout = Value::Null;
        }
        let special_tokens = read_special_tokens(&file)?;
        let vocabulary = read_vocabulary(&file)?;
        let unknown = file.pointer("/model/unk_token").and_then(Value::as_str);
        let unknown = unknown.and_then(|token| Some(vocabulary.iter().find(|(content, _)| content == token)?.1));
        let characters = CharacterEncoder::of_file(&file, &vocabulary, unknown);
        tokenizers::canonicalize_value(&mut file).map_err(unsupported)?;
        let fused = file.pointer("/decoder/type").and_then(Value::as_str) == Some("Fuse");
        let (engine, byte_level, prefix) = match characters {
            Some(characters) => {
                let post_processor = file.get("post_processor").unwrap_or(&Value::Null).to_string();
                let post_processor = tokenizers::post_processor_from_json(&post_processor).map_err(unsupported)?;
                (Engine::Characters(Box::new(characters)), false, prefix_of(&post_processor))
            }
            None => {
                let pipeline = build_pipeline(&file)?;
                let PipelineModel::BPE(model) = pipeline.get_model();
                let (byte_level, prefix) = (model.is_byte_level(), prefix_of(pipeline.get_post_processor()));
                (Engine::Pipeline(pipeline), byte_level, prefix)
            }
        };
        let bytes = TokenBytes::new(&vocabulary, &special_tokens, byte_level, !byte_level && !fused);
        let tokens_are_bytes = byte_level || fused;
        let inner = Inner { json: text.to_owned(), engine, special_tokens, bytes, tokens_are_bytes, unknown, prefix };
        let tokenizer = Self { inner: Arc::new(inner) };
        tokenizer.check_splitting()?;
        Ok(tokenizer)
    }

    /// A pattern that the splitter does not understand gives no words at all, and so no tokens: better refused than silent.
    fn check_splitting(&self) -> Result<(), TokenizerError> {
        const PROBE: &str = "Hello, my lord 12345:\n a b";
        if self.inner.tokens_are_bytes && self.decode(&self.encode(PROBE)).trim().is_empty() {
            let reason = "its pattern for splitting text into words loses text".into();
            return Err(TokenizerError::Unsupported { reason });
        }
        Ok(())
    }

    /// The `tokenizer.json`, as it came or as training wrote it.
    pub fn to_json(&self) -> String {
        self.inner.json.clone()
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
        if let (false, Engine::Pipeline(pipeline)) = (self.inner.tokens_are_bytes, &self.inner.engine) {
            let known: Vec<TokenId> =
                ids.iter().copied().filter(|&id| (id as usize) < self.vocabulary_size()).collect();
            return pipeline.decode(&known, true).unwrap_or_default();
        }
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for &id in ids.iter().filter(|&&id| !self.is_special(id)) {
            bytes.extend_from_slice(&self.token_bytes(id));
        }
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// One more than the largest id.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.bytes.is_control.len()
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
        self.inner.bytes.is_control.get(id as usize).copied().unwrap_or(false)
    }

    /// The token that stands for characters outside of the vocabulary; byte-level vocabularies need none.
    pub fn unknown(&self) -> Option<TokenId> {
        self.inner.unknown
    }

    /// What belongs before a document: the ids that the file's post-processor puts there (BOS), or none.
    pub fn prefix(&self) -> &[TokenId] {
        &self.inner.prefix
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

    /// Whether a text is the concatenation of its tokens' bytes.
    pub(crate) fn tokens_are_bytes(&self) -> bool {
        self.inner.tokens_are_bytes
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
            Engine::Pipeline(pipeline) => self.encode_by_pipeline(pipeline, text, control_is_text),
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

    fn encode_by_pipeline(&self, pipeline: &PipelineTokenizer, text: &str, control_is_text: bool) -> Vec<TokenId> {
        let options = EncodeOptions {
            add_special_tokens: false,
            encode_special_tokens: control_is_text,
            padding: Override::Off,
            truncation: Override::Off,
        };
        let mut tokens = Vec::with_capacity(text.len() / 3);
        if text.len() <= ENCODE_BYTES_MAX {
            self.encode_piece(pipeline, text, &options, &mut tokens);
        } else {
            for piece in bpe::safe_pieces(text, ENCODE_BYTES_MAX / 2) {
                self.encode_piece(pipeline, piece, &options, &mut tokens);
            }
        }
        tokens.into_iter().map(TokenId::from).collect()
    }

    /// The encoder fails only where a regular expression of a foreign file exceeds its backtracking limit (or on a
    /// piece of over 4 GB); then the halves are encoded by themselves, which costs at most a merge at the cut.
    fn encode_piece(
        &self,
        pipeline: &PipelineTokenizer,
        text: &str,
        options: &EncodeOptions,
        tokens: &mut Vec<PipelineToken>,
    ) {
        let before = tokens.len();
        if pipeline.encode_into(text, options, tokens).is_ok() {
            return;
        }
        tokens.truncate(before);
        let middle = text.floor_char_boundary(text.len() / 2);
        if middle == 0 {
            tokens.extend(self.unknown.map(PipelineToken::from));
            return;
        }
        self.encode_piece(pipeline, &text[..middle], options, tokens);
        self.encode_piece(pipeline, &text[middle..], options, tokens);
    }
}

/// What a post-processor puts before the tokens of a text.
fn prefix_of(post_processor: &PipelinePostProcessor) -> Vec<TokenId> {
    post_processor.single.prefix.iter().map(|&(token, _)| token.into()).collect()
}

fn unsupported(error: impl std::fmt::Display) -> TokenizerError {
    TokenizerError::Unsupported { reason: error.to_string() }
}

impl TokenBytes {
    /// `spaces_marked`: a SentencePiece vocabulary, in which U+2581 is a space and `<0x41>` a byte.
    fn new(
        vocabulary: &[(String, TokenId)],
        special_tokens: &[SpecialToken],
        byte_level: bool,
        spaces_marked: bool,
    ) -> Self {
        let ids = vocabulary.iter().map(|&(_, id)| id).chain(special_tokens.iter().map(|token| token.id));
        let size = ids.max().map_or(0, |id| id as usize + 1);
        let mut bytes: Vec<Vec<u8>> = vec![Vec::new(); size];
        for (content, id) in vocabulary {
            bytes[*id as usize] = match () {
                () if byte_level => byte_level_bytes(content),
                () if spaces_marked => marked_bytes(content),
                () => content.as_bytes().to_vec(),
            };
        }
        let mut is_control = vec![false; size];
        for token in special_tokens {
            bytes[token.id as usize] = token.content.as_bytes().to_vec();
            is_control[token.id as usize] = token.control;
        }
        let mut starts = Vec::with_capacity(size + 1);
        let mut all = Vec::new();
        for token in &bytes {
            starts.push(all.len() as u32);
            all.extend_from_slice(token);
        }
        starts.push(all.len() as u32);
        Self { all, starts, is_control }
    }

    fn get(&self, id: TokenId) -> Option<&[u8]> {
        let start = *self.starts.get(id as usize)?;
        let end = *self.starts.get(id as usize + 1)?;
        Some(&self.all[start as usize..end as usize])
    }
}

/// Hands the file to the encoder. Its tables assert limits that no real file exceeds (65,535 bytes in a token, as many
/// merges among the first 512 tokens); a file made to exceed them is an error here, not the end of the process.
fn build_pipeline(file: &Value) -> Result<PipelineTokenizer, TokenizerError> {
    let text = file.to_string();
    let built = std::panic::catch_unwind(|| tokenizers::from_json(&text).map_err(|error| error.to_string()));
    built
        .unwrap_or_else(|_| Err("a vocabulary beyond the limits of the encoder's tables".into()))
        .map_err(|reason| TokenizerError::Unsupported { reason })
}

/// GPT-2's printable characters back to bytes; a token with another character is taken as it stands.
fn byte_level_bytes(content: &str) -> Vec<u8> {
    content.chars().map(bpe::char_to_byte).collect::<Option<Vec<u8>>>().unwrap_or_else(|| content.as_bytes().to_vec())
}

/// SentencePiece: `▁` is a space, `<0x41>` the byte 0x41.
fn marked_bytes(content: &str) -> Vec<u8> {
    let byte = content.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => vec![byte],
        None => content.replace('\u{2581}', " ").into_bytes(),
    }
}

/// The encoder's limit for a token.
const TOKEN_BYTES_MAX: usize = u16::MAX as usize;

fn checked_id(token: &str, id: Option<u64>) -> Result<TokenId, TokenizerError> {
    let limit = Tokenizer::VOCABULARY_SIZE_MAX;
    let Some(id) = id else {
        return Err(TokenizerError::Malformed { reason: format!("token `{token}` has no numeric id") });
    };
    if token.len() > TOKEN_BYTES_MAX {
        let reason = format!("a token of {} bytes; the limit is {TOKEN_BYTES_MAX}", token.len());
        return Err(TokenizerError::Unsupported { reason });
    }
    if id >= limit as u64 {
        return Err(TokenizerError::IdTooLarge { token: token.to_owned(), id, limit });
    }
    Ok(id as TokenId)
}

fn read_vocabulary(file: &Value) -> Result<Vec<(String, TokenId)>, TokenizerError> {
    let vocabulary = file.pointer("/model/vocab").and_then(Value::as_object).ok_or_else(|| {
        TokenizerError::Unsupported { reason: "a `model.vocab` that is not an object (Unigram)".into() }
    })?;
    vocabulary.iter().map(|(token, id)| Ok((token.clone(), checked_id(token, id.as_u64())?))).collect()
}

fn read_special_tokens(file: &Value) -> Result<Vec<SpecialToken>, TokenizerError> {
    let added = file.get("added_tokens").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    added
        .iter()
        .map(|token| {
            let content = token.get("content").and_then(Value::as_str).unwrap_or_default();
            let flag = |name: &str| token.get(name).and_then(Value::as_bool).unwrap_or(false);
            Ok(SpecialToken {
                content: content.to_owned(),
                id: checked_id(content, token.get("id").and_then(Value::as_u64))?,
                control: flag("special"),
                strips_left: flag("lstrip"),
                strips_right: flag("rstrip"),
            })
        })
        .collect()
}
