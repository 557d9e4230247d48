//! Makes tokenizers from text: byte-level BPE, WordPiece, SentencePiece's BPE and Unigram, bytes, characters.

mod corpus;
mod sentence_piece;
mod unigram;
mod word_piece;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tsumugi_base::progress::{Event, Observer};

pub use corpus::Corpus;
pub use sentence_piece::{SentencePieceAlgorithm, SentencePieceConfig, train_sentence_piece};
pub use word_piece::{WordPieceConfig, train_word_piece};

use crate::bpe::{Alphabet, BYTE_TOKENS, CountingOptions, Pair, Split, TextSink, WordCounts, train::learn_merges};
use crate::{Tokenizer, TokenizerError, special_tokens, tokenizer_json};

/// How a byte-level BPE vocabulary is learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Tokens in all: 256 bytes, the merges, the special tokens. A small text may give fewer.
    pub vocabulary_size: usize,
    /// Control tokens, in the order of their ids, which come last. The first of our own, `<|endoftext|>`, also goes
    /// before every text that is encoded with control tokens by `transformers`.
    pub special_tokens: Vec<String>,
    /// How text is cut into words.
    pub split: Split,
    /// A pair is merged only if it occurs so often; 2 is the least that is worth a token.
    pub minimum_pair_count: u64,
    /// Threads that count words, and the memory; the result does not depend on threads.
    #[serde(skip)]
    pub counting: CountingOptions,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            vocabulary_size: 4096,
            special_tokens: special_tokens::all(),
            split: Split::Gpt4,
            minimum_pair_count: 2,
            counting: CountingOptions::default(),
        }
    }
}

/// Trains a byte-level BPE tokenizer on `texts`; see [`train_bpe_on`].
pub fn train_bpe<T: AsRef<str>>(
    texts: &[T],
    config: &TrainingConfig,
    observer: &dyn Observer,
) -> Result<Tokenizer, TokenizerError> {
    let bytes = texts.iter().map(|text| text.as_ref().len() as u64).sum();
    let mut feed = |sink: TextSink<'_>| texts.iter().try_for_each(|text| sink(text.as_ref()));
    train_bpe_on(Corpus { bytes, feed: &mut feed }, config, observer)
}

/// Trains a byte-level BPE tokenizer on texts that come one by one. Ties are broken by the smallest pair, so that the
/// same texts give the same tokenizer on any machine, for any number of threads.
pub fn train_bpe_on(
    corpus: Corpus<'_>,
    config: &TrainingConfig,
    observer: &dyn Observer,
) -> Result<Tokenizer, TokenizerError> {
    check_special_tokens(&config.special_tokens)?;
    let token_room = token_room(config.vocabulary_size, config.special_tokens.len())?;
    let words = corpus.count(&config.split, &config.counting, MERGING_BYTES, observer)?;
    let merges = merges(&words, &Alphabet::bytes(), token_room, config.minimum_pair_count, observer)?;
    drop(words);
    tokenizer_from_merges(&merges, config.split, &config.special_tokens)
}

/// What learning merges takes in memory for a byte of a distinct word: its entry, a place in four arrays, and one in the list of
/// its pair.
const MERGING_BYTES: u64 = 40;

/// Learns merges, and tells how far it is.
fn merges(
    words: &WordCounts,
    alphabet: &Alphabet,
    token_room: usize,
    minimum_pair_count: u64,
    observer: &dyn Observer,
) -> Result<Vec<Pair>, TokenizerError> {
    let started = std::time::Instant::now();
    let tell = |done: usize| observer.event(&training_step(done, token_room, started.elapsed().as_secs_f64()));
    let merges = learn_merges(words, alphabet, token_room, minimum_pair_count, |tokens| {
        if tokens % PROGRESS_EVERY == 0 {
            tell(tokens);
        }
        !observer.stop_requested()
    })?;
    tell(token_room);
    Ok(merges)
}

/// What a vocabulary of so many tokens has room for besides its special tokens: at least the bytes.
pub fn token_room(asked: usize, special_tokens: usize) -> Result<usize, TokenizerError> {
    let room = asked.checked_sub(special_tokens).filter(|&room| room >= BYTE_TOKENS as usize);
    room.ok_or(TokenizerError::VocabularyTooSmall { asked, special_tokens })
}

/// Tokens between two progress events.
const PROGRESS_EVERY: usize = 512;

fn training_step(done: usize, total: usize, seconds: f64) -> Event {
    let rate = done as f64 / seconds.max(1e-9);
    Event::Step {
        stage: "tokenizer".into(),
        done: done as u64,
        total: total as u64,
        unit: "tokens",
        rate_per_second: rate,
        seconds_left: (total - done) as f64 / rate.max(1e-9),
        details: Vec::new(),
    }
}

/// A byte-level BPE tokenizer with these merges, learned in this order.
pub fn tokenizer_from_merges(
    merges: &[Pair],
    split: Split,
    special_tokens: &[String],
) -> Result<Tokenizer, TokenizerError> {
    check_special_tokens(special_tokens)?;
    Tokenizer::from_json(&tokenizer_json::byte_level(merges, split, special_tokens))
}

/// Every byte is a token, its id the byte's value; then the special tokens.
pub fn byte_tokenizer(special_tokens: &[String]) -> Result<Tokenizer, TokenizerError> {
    tokenizer_from_merges(&[], Split::None, special_tokens)
}

/// The vocabulary is the sorted characters of `text`, then U+FFFD (the replacement character), which stands for every
/// character that `text` does not have, then the special tokens.
pub fn character_tokenizer(text: &str, special_tokens: &[String]) -> Result<Tokenizer, TokenizerError> {
    tokenizer_of_characters(text.chars(), special_tokens)
}

/// The same of characters that were collected from texts.
pub fn tokenizer_of_characters(
    characters: impl IntoIterator<Item = char>,
    special_tokens: &[String],
) -> Result<Tokenizer, TokenizerError> {
    check_special_tokens(special_tokens)?;
    let characters: BTreeSet<char> = characters.into_iter().filter(|&c| c != char::REPLACEMENT_CHARACTER).collect();
    if characters.is_empty() {
        return Err(TokenizerError::EmptyCorpus);
    }
    if let Some(token) = special_tokens.iter().find(|token| token.chars().count() == 1) {
        return Err(TokenizerError::BadSpecialToken { token: token.clone(), problem: "a single character" });
    }
    Tokenizer::from_json(&tokenizer_json::characters(&characters, special_tokens))
}

fn check_special_tokens(special_tokens: &[String]) -> Result<(), TokenizerError> {
    let mut seen = BTreeSet::new();
    for token in special_tokens {
        let problem = match () {
            () if token.is_empty() => "empty",
            () if !seen.insert(token) => "given twice",
            () => continue,
        };
        return Err(TokenizerError::BadSpecialToken { token: token.clone(), problem });
    }
    Ok(())
}
