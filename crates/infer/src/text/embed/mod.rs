//! Texts to vectors, and pairs of texts to scores: models of embeddings and cross-encoders (Reimers and Gurevych 2019; Nogueira
//! and Cho 2019).

mod cross_encoder;
mod embedder;
mod files;
mod reader;
mod settings;
mod vector_model;

pub use cross_encoder::{CrossEncoder, Scores};
pub use embedder::{Embedder, EmbedderOptions, Embeddings, cosine};
pub use files::EmbeddingFiles;
pub use vector_model::{TextInput, VectorModel};

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
    /// A text that the model does not read whole.
    #[error("text {} has more than the {max_tokens} tokens that `{model}` reads", index + 1)]
    TooLong {
        /// The model's name.
        model: String,
        /// Which text, from 0.
        index: usize,
        /// What it reads, the text's frame counted.
        max_tokens: usize,
    },
    /// A token id outside of the vocabulary.
    #[error("text {} has the token id {id}, but the ids of `{model}` are below {vocabulary}", index + 1)]
    UnknownToken {
        /// The model's name.
        model: String,
        /// Which text, from 0.
        index: usize,
        /// The id given.
        id: u32,
        /// Valid ids are below it.
        vocabulary: usize,
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
            Self::TooLong { model, index, max_tokens } => Self::TooLong { model, index: first + index, max_tokens },
            Self::UnknownToken { model, index, id, vocabulary } => {
                Self::UnknownToken { model, index: first + index, id, vocabulary }
            }
            Self::Damaged { model, index } => Self::Damaged { model, index: first + index },
            other @ (Self::EmptyQuery | Self::UnknownPrompt { .. } | Self::Dimensions { .. }) => other,
        }
    }
}

impl Hint for EmbedError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::EmptyQuery => Some("give at least a word".into()),
            Self::EmptyText { .. } => Some("leave texts without a word out".into()),
            Self::UnknownPrompt { .. } => None,
            Self::TooLong { .. } => Some("cut it into pieces, and ask for a vector of each".into()),
            Self::UnknownToken { .. } => {
                Some("ids are those of the model's own vocabulary; text is always understood".into())
            }
            Self::Dimensions { width, .. } => Some(format!("give a number from 1 to {width}")),
            Self::Damaged { .. } => Some(crate::sample::DAMAGED_HINT.into()),
        }
    }
}
