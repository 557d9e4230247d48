//! How text is cut into words before BPE: the published patterns of GPT-2 and GPT-4.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tokenizers::SplitDelimiterBehavior;
use tokenizers::pipeline::{PreTokenizer, PreTokenizerScratch, Span};
use tokenizers::pre_tokenizers::split::{Split as NativeSplit, SplitPattern};

/// GPT-2's pattern (`encoder.py` of its release).
pub const GPT2_PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// GPT-4's pattern (`cl100k_base` of tiktoken), which Llama 3 took too. Spelled as the encoder's splitter knows it:
/// another spelling of the same language would fall back to a regular expression, 40 times slower.
pub const GPT4_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How text is cut into words; a merge never crosses a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// GPT-4's pattern: at most three digits together, a newline ends a word, contractions in any case.
    #[default]
    Gpt4,
    /// GPT-2's pattern.
    Gpt2,
    /// The whole text is one word.
    None,
}

impl Split {
    /// The regular expression, if there is one.
    pub fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Gpt4 => Some(GPT4_PATTERN),
            Self::Gpt2 => Some(GPT2_PATTERN),
            Self::None => None,
        }
    }

    /// Calls `word` with each word of `text`, in order; together they are the text.
    pub(crate) fn for_each_word<'a>(self, text: &'a str, scratch: &mut SplitScratch, mut word: impl FnMut(&'a str)) {
        let Some(pattern) = self.pattern() else {
            if !text.is_empty() {
                word(text);
            }
            return;
        };
        assert!(text.len() <= PIECE_BYTES_MAX, "callers hand over pieces of at most {PIECE_BYTES_MAX} bytes");
        let native = scratch.native.get_or_insert_with(|| {
            NativeSplit::native(SplitPattern::Regex(pattern.to_owned()), SplitDelimiterBehavior::Isolated, false)
                .expect("a constant pattern; a test runs each")
        });
        scratch.spans.clear();
        native
            .pre_tokenize(text, &mut scratch.buffers, &mut scratch.spans)
            .expect("both patterns are native to the splitter, which has no failing path; a test runs each");
        for span in &scratch.spans {
            word(&text[span.start as usize..span.end as usize]);
        }
    }
}

impl FromStr for Split {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "gpt4" => Ok(Self::Gpt4),
            "gpt2" => Ok(Self::Gpt2),
            "none" => Ok(Self::None),
            other => Err(format!("unknown split `{other}`; known: gpt4, gpt2, none")),
        }
    }
}

/// Buffers that [`Split::for_each_word`] reuses; one per thread and split.
#[derive(Default)]
pub(crate) struct SplitScratch {
    native: Option<NativeSplit>,
    buffers: PreTokenizerScratch,
    spans: Vec<Span>,
}

/// The splitter counts in u32.
const PIECE_BYTES_MAX: usize = u32::MAX as usize - 1;

/// Cuts `text` into pieces of about `piece_bytes` so that splitting the pieces gives the words of the whole, for both
/// patterns: only between an ASCII letter and a space that a letter follows. No alternative of either pattern spans
/// that border, and neither looks behind; the words before it end with letters, which no lookahead touches.
///
/// ```
/// let pieces: Vec<&str> = tsumugi_tokenizer::bpe::safe_pieces("one two three four", 5).collect();
/// assert_eq!(pieces, ["one two", " three", " four"]);
/// ```
pub fn safe_pieces(text: &str, piece_bytes: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = rest.as_bytes();
        let border = (piece_bytes.max(1)..bytes.len().saturating_sub(1)).find(|&at| {
            bytes[at] == b' ' && bytes[at - 1].is_ascii_alphabetic() && bytes[at + 1].is_ascii_alphabetic()
        });
        let (piece, remainder) = rest.split_at(border.unwrap_or(rest.len()));
        rest = remainder;
        Some(piece)
    })
}
