//! What can be wrong with data.

use std::path::PathBuf;

use tsumugi_base::io::TextError;
use tsumugi_base::{FileError, Hint};
use tsumugi_tokenizer::TokenizerError;

/// An error of this crate, holding the values that disagreed.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A text file could not be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A conversation could not be rendered.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// One of several conversations could not be rendered.
    #[error("conversation {number}: {problem}")]
    Conversation {
        /// Counts from 1.
        number: usize,
        /// Why not.
        problem: TokenizerError,
    },
    /// Less text than one window.
    #[error("the {what} has {tokens} tokens, but one context of {context} needs {needed}")]
    TooShort {
        /// `training text`, `held-out text`.
        what: &'static str,
        /// Tokens there are.
        tokens: u64,
        /// Positions of the model.
        context: usize,
        /// The least that is enough.
        needed: u64,
    },
    /// No text at all.
    #[error("the {what} is empty")]
    Empty {
        /// `training text`, `held-out text`.
        what: &'static str,
    },
    /// A size of zero.
    #[error("`{name}` is 0, but must be at least 1")]
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// A folder of shards is damaged.
    #[error("{path} is damaged: {reason}", path = .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What disagrees.
        reason: String,
    },
    /// A folder holds shards of another text or tokenizer.
    #[error("{path} already holds tokens made from another {what}", path = .path.display())]
    OtherShards {
        /// The folder.
        path: PathBuf,
        /// `text` or `tokenizer`.
        what: &'static str,
    },
    /// A text that is no drama.
    #[error("the text has no speeches: none of its {paragraphs} paragraphs begins with a line like `ROMEO:`")]
    NoSpeeches {
        /// Paragraphs that were looked at.
        paragraphs: usize,
    },
    /// Conversations in which nothing is trained.
    #[error("none of the {conversations} conversations leaves an answer to train on in a context of {context} tokens")]
    NothingTrained {
        /// How many there were.
        conversations: usize,
        /// Positions of the model.
        context: usize,
    },
}

impl Hint for DataError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Text(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Tokenizer(error) | Self::Conversation { problem: error, .. } => error.hint(),
            Self::TooShort { tokens, .. } if *tokens >= 2 => {
                Some(format!("give a longer text, or a context of at most {} tokens", tokens - 1))
            }
            Self::TooShort { .. } | Self::Empty { .. } => Some("give a longer text".into()),
            Self::Zero { .. } => None,
            Self::Corrupt { .. } => Some("remove the folder; it is made again from the text".into()),
            Self::OtherShards { .. } => Some("name another folder, or remove this one".into()),
            Self::NoSpeeches { .. } => {
                Some("conversations are made from drama: `NAME:`, the speech on the next lines, an empty line".into())
            }
            Self::NothingTrained { .. } => Some("use a longer context".into()),
        }
    }
}
