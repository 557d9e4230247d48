//! Texts to vectors, and pairs of texts to scores: models of embeddings and cross-encoders (Reimers and Gurevych 2019; Nogueira
//! and Cho 2019).

mod cross_encoder;
mod embedder;
mod reader;
mod settings;

pub use cross_encoder::{CrossEncoder, Scores};
pub use embedder::{Embedder, EmbedderOptions, Embeddings, cosine};

use tsumugi_base::Hint;

/// Why texts got no vectors or scores. The caller's fault unless it is `Damaged`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// A query without a token.
    #[error("the query is empty")]
    EmptyQuery,
    /// A text without a token.
    #[error("text {} is empty", index + 1)]
    EmptyText {
        /// Which, from 0.
        index: usize,
    },
    /// A prompt that the model does not name.
    #[error("`{model}` has no prompt `{name}`; {known}")]
    UnknownPrompt {
        /// The model's name.
        model: String,
        /// What was asked for.
        name: String,
        /// The prompts there are, in a clause.
        known: String,
    },
    /// More numbers of a vector than it has, or none.
    #[error("vectors of {asked} numbers were asked for, but those of `{model}` have {width}")]
    Dimensions {
        /// The model's name.
        model: String,
        /// What was asked for.
        asked: usize,
        /// What it has.
        width: usize,
    },
    /// Something that is no number came out.
    #[error("text {} got a result of `{model}` that is not a number", index + 1)]
    Damaged {
        /// The model's name.
        model: String,
        /// Which text, from 0.
        index: usize,
    },
}

impl EmbedError {
    /// The same for a caller who gave the texts in portions, of which this one began with text `first`.
    #[must_use]
    pub fn in_portion(self, first: usize) -> Self {
        match self {
            Self::EmptyText { index } => Self::EmptyText { index: first + index },
            Self::Damaged { model, index } => Self::Damaged { model, index: first + index },
            other => other,
        }
    }
}

impl Hint for EmbedError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::EmptyQuery => Some("give at least a word".into()),
            Self::EmptyText { .. } => Some("leave texts without a word out".into()),
            Self::UnknownPrompt { .. } => None,
            Self::Dimensions { width, .. } => Some(format!("give a number from 1 to {width}")),
            Self::Damaged { .. } => Some(crate::sample::DAMAGED_HINT.into()),
        }
    }
}
