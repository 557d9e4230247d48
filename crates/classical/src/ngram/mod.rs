//! N-gram models with interpolated modified Kneser–Ney smoothing (Chen and Goodman 1998), as KenLM's `lmplz` estimates them.
//!
//! [`train`] counts a text in bounded memory and gives an [`Estimate`], which writes an ARPA file or a model file of ours;
//! [`NgramModel`] opens either and scores. The path of a text:
//!
//! ```text
//! text ─ words, ids (text, vocabulary) ─ sorted counts (count) ─ a trie, one level per order (levels)
//!      ─ discounts (discount) ─ probabilities and back-off weights (estimate) ─ files (arpa, model_file)
//! ```
//!
//! A sentence is a line, between `<s>` and `</s>`; a word that the text does not have is `<unk>`.

mod arpa;
mod column;
mod count;
mod discount;
mod estimate;
mod levels;
mod model;
mod model_file;
mod text;
mod train;
mod vocabulary;
mod write;

use std::path::PathBuf;

use tsumugi_base::limits::{NGRAM_ORDER_MAX, NGRAM_WORD_BYTES_MAX};
use tsumugi_base::{FileError, Hint, units};

pub use discount::{Discounts, NoDiscounts};
pub use model::{NgramModel, Scored, Scorer, TextScore};
pub use train::{Estimate, OrderCounts, TrainOptions, train};

/// A word's number in a vocabulary.
pub type WordId = u32;

/// What stands for every word that is not in the vocabulary.
pub const UNKNOWN: WordId = 0;
/// What stands before a sentence; nothing stands before it.
pub const BEGIN: WordId = 1;
/// What stands after a sentence.
pub const END: WordId = 2;
/// The first word of the text.
const FIRST_WORD: WordId = 3;

const UNKNOWN_WORD: &str = "<unk>";
const BEGIN_WORD: &str = "<s>";
const END_WORD: &str = "</s>";

/// What can go wrong with n-grams.
#[derive(Debug, thiserror::Error)]
pub enum NgramError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// An order that no model has.
    #[error("the order is {found}, but it must be from 1 to {NGRAM_ORDER_MAX}")]
    Order {
        /// What was asked for.
        found: usize,
    },
    /// Thresholds that would leave an n-gram without its ending.
    #[error("the pruning thresholds {found:?} do not fit an order of {order}")]
    Pruning {
        /// What was asked for.
        found: Vec<u64>,
        /// Of the model.
        order: usize,
    },
    /// The text has a word that means something else in a model.
    #[error("{}, line {line}: the word `{word}` stands for something else in a model", path.display())]
    SpecialWord {
        /// The text.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// The word.
        word: String,
    },
    /// The text is no text.
    #[error("{}, line {line}: a word of more than {}", path.display(), units::bytes(NGRAM_WORD_BYTES_MAX as u64))]
    LongWord {
        /// The text.
        path: PathBuf,
        /// From 1.
        line: u64,
    },
    /// There is nothing to count.
    #[error("the text has no words")]
    NoWords,
    /// Ids have 32 bits.
    #[error("the text has more than 4 billion different words")]
    TooManyWords,
    /// The vocabulary has to be in memory.
    #[error("the {} words alone take {}, more than half of the memory", units::count(*words), units::bytes(*bytes))]
    VocabularyMemory {
        /// Different words so far.
        words: u64,
        /// What they take.
        bytes: u64,
    },
    /// The closed form of the discounts has no answer.
    #[error("no discounts for n-grams of {order} words: {reason}")]
    NoDiscounts {
        /// The order.
        order: usize,
        /// Why.
        reason: NoDiscounts,
    },
    /// A line of an ARPA file.
    #[error("{}, line {line}: {reason}", path.display())]
    Arpa {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A model file of ours that is none, or is cut.
    #[error("{}: {reason}", path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The observer asked.
    #[error("stopped")]
    Stopped,
}

impl Hint for NgramError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File(file) => return file.hint(),
            Self::Order { .. } => "5 is usual for quality, 3 for small texts".into(),
            Self::Pruning { .. } => {
                "give one threshold per order or fewer (the last one goes on), none smaller than the one before it"
                    .into()
            }
            Self::SpecialWord { .. } => "remove it, or count it as a space with `--skip-symbols`".into(),
            Self::LongWord { .. } => "n-grams are counted in plain text with words apart by spaces".into(),
            Self::NoWords => "give a text with a sentence on each line".into(),
            Self::TooManyWords => "split the text, or cut rare words into pieces first".into(),
            Self::VocabularyMemory { .. } => "give more with `--memory`, or cut rare words into pieces first".into(),
            Self::NoDiscounts { .. } => "the text is small or repeats itself: remove duplicates, or accept fixed \
                                         discounts with `--discount-fallback`"
                .into(),
            Self::Arpa { .. } => "the file is no ARPA file, or is damaged: get or make it again".into(),
            Self::ModelFile { .. } => "make it again with `tsumugi ngram train`".into(),
            Self::Stopped => return None,
        })
    }
}
