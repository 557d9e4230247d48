//! `tokenizer.json`, the file of Hugging Face `tokenizers`, in the form of any of its versions.

use serde_json::{Map, Value, json};

use crate::characters::CharacterEncoder;
use crate::frame::Frame;
use crate::pipeline::{Pipeline, unsupported};
use crate::token_bytes::{Spelling, TokenBytes};
use crate::tokenizer::{Decoding, Engine, Inner, LeadingSpace, Source};
use crate::{RowRules, SpecialToken, TokenId, Tokenizer, TokenizerError};

impl Tokenizer {
    /// Reads a `tokenizer.json` of any version.
    pub fn from_json(text: &str) -> Result<Self, TokenizerError> {
        let file: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        read(file, text.to_owned())
    }

    /// The same from memory, for vocabularies that came in another form.
    pub(super) fn from_json_value(file: Value) -> Result<Self, TokenizerError> {
        let text = file.to_string();
        read(file, text)
    }
}

fn read(mut file: Value, text: String) -> Result<Tokenizer, TokenizerError> {
    if file.pointer("/model/vocab").is_none() {
        return Err(malformed("it has no `model.vocab`".into()));
    }
    if let Some(kind) = file.pointer("/model/type").and_then(Value::as_str)
        && !["BPE", "WordPiece", "Unigram", "WordLevel"].contains(&kind)
    {
        return Err(unsupported(format!("a model of type `{kind}`")));
    }
    let special_tokens = read_special_tokens(&file)?;
    let vocabulary = read_vocabulary(&file)?;
    let unknown = read_unknown(&file, &vocabulary);
    let rows = RowRules::of_file(&file);
    fill_defaults(&mut file);
    let plain_spelling = spelling(&file);
    let fused = file.pointer("/decoder/type").and_then(Value::as_str) == Some("Fuse");
    let (engine, byte_level, frame) = match CharacterEncoder::of_file(&file, &vocabulary, unknown) {
        Some(characters) => (Engine::Characters(Box::new(characters)), false, frame_of(file)?),
        None => {
            let pipeline = Pipeline::new(file, &vocabulary, &special_tokens, unknown)?;
            let (byte_level, frame) = (pipeline.is_byte_level(), pipeline.frame());
            (Engine::Pipeline(Box::new(pipeline)), byte_level, frame)
        }
    };
    let spelling = if byte_level { Spelling::ByteLevel } else { plain_spelling };
    let decoding = if byte_level || fused { Decoding::Bytes(LeadingSpace::Kept) } else { Decoding::Pipeline };
    let tokens = vocabulary.iter().map(|(content, id)| (*id, content));
    let bytes = TokenBytes::new(tokens, |content, bytes| spelling.append(content, bytes), &special_tokens);
    checked(Inner { source: Source::Json(text), engine, special_tokens, bytes, decoding, unknown, frame, rows })
}

/// The tokenizer, if it splits text. A pattern that the splitter does not understand gives no words at all, and so no
/// tokens: better refused than silent.
pub(super) fn checked(inner: Inner) -> Result<Tokenizer, TokenizerError> {
    const PROBE: &str = "Hello, my lord 12345:\n a b";
    let tokens_are_bytes = matches!(inner.decoding, Decoding::Bytes(_));
    let tokenizer = Tokenizer::of(inner);
    if tokens_are_bytes && tokenizer.decode(&tokenizer.encode(PROBE)).trim().is_empty() {
        return Err(unsupported("its pattern for splitting text into words loses text"));
    }
    Ok(tokenizer)
}

fn malformed(reason: String) -> TokenizerError {
    TokenizerError::Malformed { reason }
}

/// What a post-processor puts around texts.
fn frame_of(mut file: Value) -> Result<Frame, TokenizerError> {
    tokenizers::canonicalize_value(&mut file).map_err(unsupported)?;
    let text = file.get("post_processor").unwrap_or(&Value::Null).to_string();
    Ok(Frame::of(&tokenizers::post_processor_from_json(&text).map_err(unsupported)?))
}

/// How tokens are spelled that are not byte-level, by what the decoder does with them.
fn spelling(file: &Value) -> Spelling {
    let decoder = file.get("decoder").unwrap_or(&Value::Null).to_string();
    match decoder.contains('\u{2581}') {
        true => Spelling::SpacesMarked { byte_tokens: decoder.contains("ByteFallback") },
        false => Spelling::Plain,
    }
}

/// What older versions left out, what is for training only, and what the encoder spells in another way.
fn fill_defaults(file: &mut Value) {
    if let Some(model) = file.get_mut("model").and_then(Value::as_object_mut) {
        // Subword dropout (Provilkov et al. 2020) is for training a model; here the same text gives the same ids.
        model.remove("dropout");
        if model.get("type").and_then(Value::as_str) == Some("WordPiece") {
            model.entry("unk_token").or_insert("[UNK]".into());
            model.entry("continuing_subword_prefix").or_insert("##".into());
            model.entry("max_input_chars_per_word").or_insert(100.into());
        }
    }
    // Rows of a batch are made by us; see `RowRules`.
    for key in ["padding", "truncation"] {
        file.as_object_mut().and_then(|file| file.remove(key));
    }
    for token in file.get_mut("added_tokens").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(token) = token.as_object_mut() {
            let special = token.get("special").and_then(Value::as_bool).unwrap_or(false);
            token.entry("special").or_insert(special.into());
            token.entry("normalized").or_insert((!special).into());
            for flag in ["single_word", "lstrip", "rstrip"] {
                token.entry(flag).or_insert(false.into());
            }
        }
    }
    lower_prefix_space(file);
    // The encoder makes a normalizer of `Metaspace`, and would mark a space before an added token that it looks for in
    // normalized text. Found in the text as it came, they differ only where the normalizer would have made them.
    if file.pointer("/pre_tokenizer").is_some_and(|pre_tokenizer| pre_tokenizer.to_string().contains("\"Metaspace\"")) {
        match_as_they_stand(file);
    }
}

/// Added tokens are looked for in the text as it came.
fn match_as_they_stand(file: &mut Value) {
    for token in file.get_mut("added_tokens").and_then(Value::as_array_mut).into_iter().flatten() {
        token["normalized"] = false.into();
    }
}

/// A byte-level pre-tokenizer that puts a space before a text without one, as a normalizer that does.
fn lower_prefix_space(file: &mut Value) {
    let Some(pre_tokenizer) = file.get_mut("pre_tokenizer") else { return };
    let is = |value: &Value, kind: &str| value.get("type").and_then(Value::as_str) == Some(kind);
    let first = match is(pre_tokenizer, "Sequence") {
        true => pre_tokenizer.pointer_mut("/pretokenizers/0"),
        false => Some(pre_tokenizer),
    };
    let Some(first) = first.filter(|first| is(first, "ByteLevel")).and_then(Value::as_object_mut) else { return };
    if first.insert("add_prefix_space".into(), false.into()) != Some(true.into()) {
        return;
    }
    let space = json!({"type": "Replace", "pattern": {"Regex": "^(?=[^ ])"}, "content": " "});
    let normalizers = match file.get_mut("normalizer").map(Value::take) {
        Some(normalizer) if !normalizer.is_null() => vec![normalizer, space],
        _ => {
            // Else the new normalizer would put a space before the added tokens too.
            match_as_they_stand(file);
            vec![space]
        }
    };
    file["normalizer"] = json!({"type": "Sequence", "normalizers": normalizers});
}

/// The encoder's limit for a token.
const TOKEN_BYTES_MAX: usize = u16::MAX as usize;

pub(super) fn checked_id(token: &str, id: Option<u64>) -> Result<TokenId, TokenizerError> {
    let limit = Tokenizer::VOCABULARY_SIZE_MAX;
    let Some(id) = id else {
        return Err(malformed(format!("token `{token}` has no numeric id")));
    };
    if token.len() > TOKEN_BYTES_MAX {
        return Err(unsupported(format!("a token of {} bytes; the limit is {TOKEN_BYTES_MAX}", token.len())));
    }
    if id >= limit as u64 {
        return Err(TokenizerError::IdTooLarge { token: token.to_owned(), id, limit });
    }
    Ok(id as TokenId)
}

/// Tokens and ids: a map, or for Unigram a list of tokens with scores.
fn read_vocabulary(file: &Value) -> Result<Vec<(String, TokenId)>, TokenizerError> {
    match file.pointer("/model/vocab") {
        Some(Value::Object(map)) => read_map(map),
        Some(Value::Array(list)) => {
            let entry = |(id, entry): (usize, &Value)| {
                let token = entry.get(0).and_then(Value::as_str);
                let token =
                    token.ok_or_else(|| malformed(format!("entry {id} of `model.vocab` is no token and score")))?;
                Ok((token.to_owned(), checked_id(token, Some(id as u64))?))
            };
            list.iter().enumerate().map(entry).collect()
        }
        _ => Err(malformed("`model.vocab` is neither a map nor a list".into())),
    }
}

fn read_map(map: &Map<String, Value>) -> Result<Vec<(String, TokenId)>, TokenizerError> {
    map.iter().map(|(token, id)| Ok((token.clone(), checked_id(token, id.as_u64())?))).collect()
}

fn read_unknown(file: &Value, vocabulary: &[(String, TokenId)]) -> Option<TokenId> {
    if let Some(id) = file.pointer("/model/unk_id").and_then(Value::as_u64) {
        return (id < vocabulary.len() as u64).then_some(id as TokenId);
    }
    let token = file.pointer("/model/unk_token").and_then(Value::as_str)?;
    vocabulary.iter().find(|(content, _)| content == token).map(|&(_, id)| id)
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
