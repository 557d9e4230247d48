//! WordPiece as BERT has it (Devlin et al. 2019, section 3): words are cut at whitespace and punctuation, pieces within a
//! word begin with `##`. Learned as Hugging Face's trainer does, by merging the most frequent pair.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use tokenizers::pipeline::{PipelineTokenizer, PreTokenizer, PreTokenizerScratch, Span, normalize_all};
use tsumugi_base::progress::Observer;

use super::{Corpus, MERGING_BYTES, merges};
use crate::bpe::{Alphabet, CountingOptions, TOKEN_BYTES_MAX, Words};
use crate::{Tokenizer, TokenizerError};

/// How a WordPiece vocabulary is learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordPieceConfig {
    /// Tokens in all: five control tokens, the characters, the merges. A small text may give fewer.
    pub vocabulary_size: usize,
    /// Letters become small and lose their accents.
    pub lowercase: bool,
    /// A pair is merged only if it occurs so often.
    pub minimum_pair_count: u64,
    /// Threads and memory.
    pub counting: CountingOptions,
}

impl Default for WordPieceConfig {
    fn default() -> Self {
        let counting = CountingOptions::default();
        Self { vocabulary_size: 30_522, lowercase: true, minimum_pair_count: 2, counting }
    }
}

/// The control tokens of BERT, in the order of its ids here.
const SPECIAL_TOKENS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// What stands before a piece within a word.
const CONTINUATION: &str = "##";

/// Trains a WordPiece tokenizer: the same texts give the same one on any machine, for any number of threads.
pub fn train_word_piece(
    corpus: Corpus<'_>,
    config: &WordPieceConfig,
    observer: &dyn Observer,
) -> Result<Tokenizer, TokenizerError> {
    let cut = BertWords::new(config.lowercase)?;
    let words = corpus.count(&cut, &config.counting, MERGING_BYTES, observer)?;
    let alphabet = Alphabet::characters(&words, CONTINUATION, TOKEN_BYTES_MAX, |_| true);
    let needed = SPECIAL_TOKENS.len() + alphabet.tokens().len();
    if config.vocabulary_size < needed {
        return Err(TokenizerError::VocabularyBelowAlphabet { asked: config.vocabulary_size, needed });
    }
    let room = config.vocabulary_size - SPECIAL_TOKENS.len();
    let pairs = merges(&words, &alphabet, room, config.minimum_pair_count, observer)?;
    drop(words);
    let mut tokens = alphabet.tokens().to_vec();
    let mut known: HashSet<Vec<u8>> = tokens.iter().cloned().collect();
    for (left, right) in pairs {
        let whole = alphabet.join(&tokens[left as usize], &tokens[right as usize]);
        if known.insert(whole.clone()) {
            tokens.push(whole);
        }
    }
    let learned = tokens.into_iter().map(|token| String::from_utf8_lossy(&token).into_owned());
    let mut vocabulary = Map::new();
    for token in SPECIAL_TOKENS.map(str::to_owned).into_iter().chain(learned) {
        let id = vocabulary.len();
        vocabulary.entry(token).or_insert(json!(id));
    }
    Tokenizer::from_json(&format!("{:#}\n", file(config.lowercase, vocabulary)))
}

/// A `tokenizer.json` as BERT's.
fn file(lowercase: bool, vocabulary: Map<String, Value>) -> Value {
    let special = |content: &str| vocabulary.get(content).and_then(Value::as_u64).unwrap_or(0);
    let added: Vec<Value> = SPECIAL_TOKENS
        .iter()
        .filter(|token| vocabulary.contains_key(**token))
        .map(|token| {
            json!({
                "id": special(token), "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let piece = |name: &str, kind: usize| json!({"SpecialToken": {"id": name, "type_id": kind}});
    let text = |name: &str, kind: usize| json!({"Sequence": {"id": name, "type_id": kind}});
    let frame =
        ["[CLS]", "[SEP]"].map(|name| (name.to_owned(), json!({"id": name, "ids": [special(name)], "tokens": [name]})));
    let frame: Map<String, Value> = frame.into_iter().collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "special_tokens": frame,
            "single": [piece("[CLS]", 0), text("A", 0), piece("[SEP]", 0)],
            "pair": [piece("[CLS]", 0), text("A", 0), piece("[SEP]", 0), text("B", 1), piece("[SEP]", 1)],
        },
        "decoder": {"type": "WordPiece", "prefix": CONTINUATION, "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": CONTINUATION,
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    })
}

/// Words as BERT's normalizer and pre-tokenizer make them: the encoder's own, so that training sees what encoding will.
struct BertWords(PipelineTokenizer);

#[derive(Default)]
struct Scratch {
    buffers: PreTokenizerScratch,
    spans: Vec<Span>,
}

impl BertWords {
    fn new(lowercase: bool) -> Result<Self, TokenizerError> {
        let mut file = file(lowercase, Map::from_iter([("[UNK]".to_owned(), json!(0))]));
        file["post_processor"] = Value::Null;
        tokenizers::canonicalize_value(&mut file).map_err(crate::pipeline::unsupported)?;
        tokenizers::from_json(&file.to_string()).map(Self).map_err(crate::pipeline::unsupported)
    }
}

impl Words for BertWords {
    type Scratch = Scratch;

    fn for_each_word(&self, text: &str, scratch: &mut Scratch, word: &mut dyn FnMut(&str)) {
        let normalized = normalize_all(self.0.get_normalizers(), text, 0).expect("BERT's normalizer takes any text");
        scratch.spans.clear();
        let cut = self.0.get_pre_tokenizer().pre_tokenize(&normalized, &mut scratch.buffers, &mut scratch.spans);
        cut.expect("BERT's pre-tokenizer takes any text");
        for span in &scratch.spans {
            word(&normalized[span.start as usize..span.end as usize]);
        }
    }

    fn has_borders(&self) -> bool {
        true
    }
}
