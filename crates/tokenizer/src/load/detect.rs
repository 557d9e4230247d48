//! Which kind of vocabulary a file holds, by its first bytes; and which file of a model folder holds one.

use std::path::Path;

use tsumugi_files::gguf::parse_header;
use tsumugi_files::{LooksLike, ModelFiles};

use crate::{Tokenizer, TokenizerError, base64};

/// The files of a model folder that may hold its vocabulary; the first that is there counts. Others that end in
/// `.tiktoken` or `.model` count after them, if there is one only.
const NAMES: [&str; 5] =
    ["tokenizer.json", "tekken.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"];
const ENDINGS: [&str; 2] = [".tiktoken", ".model"];

impl Tokenizer {
    /// Reads a vocabulary of any kind: `tokenizer.json`, Tekken, tiktoken's ranks, a SentencePiece model, GGUF. `file` is
    /// for messages only.
    pub fn from_vocabulary(bytes: &[u8], file: &Path) -> Result<Self, TokenizerError> {
        if bytes.starts_with(b"GGUF") {
            return Self::from_gguf(&parse_header(bytes, file).map_err(Box::new)?.metadata);
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::from_sentencepiece(bytes) };
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        match text.trim_start().as_bytes().first() {
            Some(b'{') if is_tekken(text) => Self::from_tekken(text),
            Some(b'{') => Self::from_json(text),
            _ if is_rank_line(text.lines().next().unwrap_or_default()) => Self::from_tiktoken(text),
            // A `.model` begins with its first piece, field 1: a line feed. Few are UTF-8 as a whole.
            _ if bytes.first() == Some(&b'\n') => Self::from_sentencepiece(bytes),
            _ => Err(TokenizerError::UnknownFile { looks_like: LooksLike::of(bytes) }),
        }
    }
}

/// The name of the file of a model folder that holds its vocabulary.
pub fn vocabulary_file(folder: &ModelFiles) -> Option<&str> {
    let folder = folder.files();
    let named = NAMES.into_iter().find_map(|known| folder.names().find(|&name| name == known));
    let mut others = folder.names().filter(|name| ENDINGS.iter().any(|ending| name.ends_with(ending)));
    named.or_else(|| others.next().filter(|_| others.next().is_none()))
}

/// Tekken's keys stand at its beginning; a `tokenizer.json` has neither of them there.
fn is_tekken(text: &str) -> bool {
    let begin = &text[..text.floor_char_boundary(4096)];
    !begin.contains("\"model\"")
        && ["\"token_bytes\"", "\"default_num_special_tokens\""].iter().any(|key| begin.contains(key))
}

/// A token in base 64 and its rank.
fn is_rank_line(line: &str) -> bool {
    line.trim_end().split_once(' ').is_some_and(|(token, rank)| {
        !rank.is_empty() && rank.bytes().all(|byte| byte.is_ascii_digit()) && base64::decode(token).is_some()
    })
}
