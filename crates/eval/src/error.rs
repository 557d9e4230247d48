//! Why a text cannot be scored.

use tsumugi_base::Hint;
use tsumugi_infer::sample::DAMAGED_HINT;
use tsumugi_infer::text::LoadError;
use tsumugi_tokenizer::TokenId;

/// Why a text cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Too little text.
    #[error("the text has {tokens} tokens, but scoring needs at least {needed}")]
    TooShort {
        /// What it has, with BOS.
        tokens: usize,
        /// The least.
        needed: usize,
    },
    /// A window that the model does not have.
    #[error("a window of {window} was asked for, but the model has {context} positions")]
    Window {
        /// What was asked.
        window: usize,
        /// What it has.
        context: usize,
    },
    /// A stride that would skip tokens.
    #[error("a stride of {stride} was asked for, but must be from 1 to the window, {window}")]
    Stride {
        /// What was asked.
        stride: usize,
        /// The window.
        window: usize,
    },
    /// The tokenizer made an id that the model does not have.
    #[error("token id {id} of the tokenizer is outside of the model's vocabulary of {vocabulary}")]
    Vocabulary {
        /// The first such id.
        id: TokenId,
        /// Valid ids are below it.
        vocabulary: usize,
    },
    /// Two models whose predictions are over other vocabularies.
    #[error("the model predicts {model} tokens, but the one that it is measured against {reference}")]
    OtherVocabulary {
        /// Tokens of the model.
        model: usize,
        /// Of the other.
        reference: usize,
    },
    /// Two vocabularies of one size.
    #[error("token {id} is {model:?} to the model, but {reference:?} to the one that it is measured against")]
    OtherToken {
        /// The first that differs.
        id: TokenId,
        /// Its text in the model's vocabulary.
        model: String,
        /// In the other.
        reference: String,
    },
    /// Two tokenizers of one vocabulary.
    #[error("the tokenizers of the two models cut the text differently from token {index} on")]
    OtherCut {
        /// The first token that differs, BOS counted.
        index: usize,
    },
    /// What is wrong is the model that is measured against.
    #[error("the model to measure against")]
    Reference(#[source] Box<EvalError>),
    /// The model gave something that is no number.
    #[error("token {index} of the text got {nats} nats: the model's weights are damaged")]
    NotANumber {
        /// Which token.
        index: usize,
        /// What it got.
        nats: f32,
    },
    /// The observer asked to stop.
    #[error("stopped after {tokens_scored} of {tokens} tokens")]
    Stopped {
        /// Done.
        tokens_scored: u64,
        /// To do.
        tokens: u64,
    },
}

impl Hint for EvalError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Load(error) => error.hint(),
            Self::TooShort { .. } => Some("give a longer text".into()),
            Self::Window { context, .. } => Some(format!("give a window from 1 to {context}, or leave it out")),
            Self::Stride { window, .. } => Some(format!("a quarter of the window is usual: {}", (window / 4).max(1))),
            Self::Vocabulary { .. } => Some("tokenizer.json and the weights are of different models".into()),
            Self::OtherVocabulary { .. } | Self::OtherToken { .. } | Self::OtherCut { .. } => {
                Some("measure against the model that this one was made from; bits per byte compare any two".into())
            }
            Self::Reference(error) => error.hint(),
            Self::NotANumber { .. } => Some(DAMAGED_HINT.into()),
            Self::Stopped { .. } => None,
        }
    }
}
