//! How text is cut into words before BPE, by the published patterns and two simpler rules.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokenizers::SplitDelimiterBehavior;
use tokenizers::pipeline::{PreTokenizer, PreTokenizerScratch, Span};
use tokenizers::pre_tokenizers::split::{Split as NativeSplit, SplitPattern};

/// GPT-2's pattern (`encoder.py` of its release).
pub const GPT2_PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// GPT-4's pattern (`cl100k_base` of tiktoken), which Llama 3 took too. Spelled as the encoder's splitter knows it:
/// another spelling of the same language would fall back to a regular expression, 40 times slower.
pub const GPT4_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// GPT-4o's pattern (`o200k_base`): letters by case, contractions stay with their word, a slash after punctuation.
pub const GPT4O_PATTERN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen's pattern: GPT-4's with single digits.
pub const QWEN_PATTERN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Whatever stands between spaces, with the space before it.
pub const WHITESPACE_PATTERN: &str = r" ?\S+|\s+(?!\S)|\s+";

/// How text is cut into words; a merge never crosses a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// GPT-4's pattern: at most three digits together, a newline ends a word, contractions in any case.
    #[default]
    Gpt4,
    /// GPT-2's pattern.
    Gpt2,
    /// GPT-4o's pattern.
    Gpt4o,
    /// Qwen's pattern.
    Qwen,
    /// Every digit by itself, the rest by GPT-2's pattern, as StarCoder and SmolLM do.
    Digits,
    /// Only at whitespace: a word keeps its punctuation.
    Whitespace,
    /// The whole text is one word.
    None,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Gpt4, Self::Gpt2, Self::Gpt4o, Self::Qwen, Self::Digits, Self::Whitespace, Self::None];

    /// As a user writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt4 => "gpt4",
            Self::Gpt2 => "gpt2",
            Self::Gpt4o => "gpt4o",
            Self::Qwen => "qwen",
            Self::Digits => "digits",
            Self::Whitespace => "whitespace",
            Self::None => "none",
        }
    }

    /// The regular expression, if there is one; that of [`Self::Digits`] cuts what lies between digits.
    pub fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Gpt4 => Some(GPT4_PATTERN),
            Self::Gpt2 | Self::Digits => Some(GPT2_PATTERN),
            Self::Gpt4o => Some(GPT4O_PATTERN),
            Self::Qwen => Some(QWEN_PATTERN),
            Self::Whitespace => Some(WHITESPACE_PATTERN),
            Self::None => None,
        }
    }

    /// What cuts in the same way in a `tokenizer.json`, and spells the words' bytes.
    pub(crate) fn pre_tokenizer(self) -> Value {
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let first = match self {
            Self::None | Self::Gpt2 => return bytes(self == Self::Gpt2),
            Self::Digits => json!({"type": "Digits", "individual_digits": true}),
            _ => {
                json!({"type": "Split", "pattern": {"Regex": self.pattern()}, "behavior": "Isolated", "invert": false})
            }
        };
        json!({"type": "Sequence", "pretokenizers": [first, bytes(self == Self::Digits)]})
    }

    /// Calls `word` with each word of `text`, in order; together they are the text.
    pub(crate) fn for_each_word<'a>(self, text: &'a str, scratch: &mut SplitScratch, mut word: impl FnMut(&'a str)) {
        match self {
            Self::None if text.is_empty() => {}
            Self::None => word(text),
            Self::Whitespace => whitespace_words(text, word),
            Self::Digits => {
                let mut rest = text;
                while let Some((at, digit)) = rest.char_indices().find(|(_, c)| c.is_numeric()) {
                    self.native_words(&rest[..at], scratch, &mut word);
                    let (_, from_digit) = rest.split_at(at);
                    let (digit, behind) = from_digit.split_at(digit.len_utf8());
                    word(digit);
                    rest = behind;
                }
                self.native_words(rest, scratch, &mut word);
            }
            _ => self.native_words(text, scratch, &mut word),
        }
    }

    /// By the pattern, as the encoder's own splitter does.
    fn native_words<'a>(self, text: &'a str, scratch: &mut SplitScratch, word: &mut impl FnMut(&'a str)) {
        assert!(text.len() <= PIECE_BYTES_MAX, "callers hand over pieces of at most {PIECE_BYTES_MAX} bytes");
        let native = scratch.native.get_or_insert_with(|| {
            let pattern = SplitPattern::Regex(self.pattern().unwrap_or_default().to_owned());
            NativeSplit::native(pattern, SplitDelimiterBehavior::Isolated, false)
                .expect("a constant pattern; a test runs each")
        });
        scratch.spans.clear();
        native
            .pre_tokenize(text, &mut scratch.buffers, &mut scratch.spans)
            .expect("the patterns are native to the splitter, which has no failing path; a test runs each");
        for span in &scratch.spans {
            word(&text[span.start as usize..span.end as usize]);
        }
    }
}

/// [`WHITESPACE_PATTERN`] by hand: the encoder's splitter does not know it.
fn whitespace_words<'a>(text: &'a str, mut word: impl FnMut(&'a str)) {
    let mut rest = text;
    while !rest.is_empty() {
        let gap = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
        let last = rest[..gap].chars().next_back();
        // Of whitespace before a word, its last character is apart: with the word if it is a space.
        let end = match last {
            Some(last) if gap < rest.len() && gap > last.len_utf8() => gap - last.len_utf8(),
            Some(last) if last != ' ' || gap == rest.len() => gap,
            _ => gap + rest[gap..].find(char::is_whitespace).unwrap_or(rest.len() - gap),
        };
        let (first, behind) = rest.split_at(end);
        word(first);
        rest = behind;
    }
}

impl FromStr for Split {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|split| split.name() == name);
        found.ok_or_else(|| format!("unknown split `{name}`; known: {}", known()))
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

/// Cuts `text` into pieces of about `piece_bytes` so that splitting the pieces gives the words of the whole, for all
/// patterns: at a [`border`].
///
/// ```
/// let pieces: Vec<&str> = tsumugi_tokenizer::bpe::safe_pieces("one two three four", 5).collect();
/// assert_eq!(pieces, ["one two", " three", " four"]);
/// ```
pub fn safe_pieces(text: &str, piece_bytes: usize) -> impl Iterator<Item = &str> {
    pieces(text, move |rest| border(rest, piece_bytes))
}

/// The same for patterns that leave gaps between words, and what stands in a gap is one word: between words only.
pub(crate) fn pieces_at_words(text: &str, piece_bytes: usize) -> impl Iterator<Item = &str> {
    pieces(text, move |rest| {
        let bytes = rest.as_bytes();
        (piece_bytes.max(1)..bytes.len().saturating_sub(1)).find(|&at| is_between_words(bytes, at))
    })
}

/// The pieces of `text`, each of which ends at the `border` of what is left.
fn pieces(text: &str, border: impl Fn(&str) -> Option<usize>) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = border(rest).unwrap_or(rest.len());
        let (piece, remainder) = rest.split_at(end);
        rest = remainder;
        Some(piece)
    })
}

/// Between an ASCII letter and a space that a letter follows.
fn is_between_words(bytes: &[u8], at: usize) -> bool {
    bytes[at] == b' ' && bytes[at - 1].is_ascii_alphabetic() && bytes[at + 1].is_ascii_alphabetic()
}

/// The first place from `from` on where a text can be cut without changing its words. Either between an ASCII letter and
/// a space that a letter follows: no alternative of any pattern spans that border, none looks behind, and the words
/// before it end with letters, which no lookahead touches. Or behind a single newline: whatever takes the newline ends
/// with it, if no whitespace and no slash follows.
pub fn border(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_black = |c: char| !c.is_whitespace();
    let ends_line = |at: usize| {
        bytes[at - 1] == b'\n'
            && bytes[at] != b'/'
            && text[..at - 1].chars().next_back().is_some_and(is_black)
            && text[at..].starts_with(is_black)
    };
    (from.max(1)..bytes.len().saturating_sub(1)).find(|&at| is_between_words(bytes, at) || ends_line(at))
}
