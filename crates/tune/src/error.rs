//! What can go wrong in tuning.

use std::path::PathBuf;

use tsumugi_base::jsonl::JsonLinesError;
use tsumugi_base::{FileError, Hint};
use tsumugi_data::DataError;
use tsumugi_files::FilesError;
use tsumugi_models::ModelError;
use tsumugi_tokenizer::{ModelTextError, TokenizerError};
use tsumugi_train::TrainError;

/// Each variant carries the values that disagreed.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// From the trainer: settings, the output folder, checkpoints.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Conversations.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model to begin with.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Its files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A plain file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its tokenizer or chat template.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The file of its tokenizer.
    #[error(transparent)]
    Vocabularies(#[from] ModelTextError),
    /// A conversation file.
    #[error(transparent)]
    Lines(#[from] JsonLinesError),
    /// The model folder lacks its tokenizer.
    #[error("{}: there is no tokenizer.json", folder.display())]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
    },
    /// The tokenizer makes ids that the model does not have.
    #[error("{}: the tokenizer has {tokenizer} tokens, but the model's vocabulary {model}", folder.display())]
    Vocabulary {
        /// The folder.
        folder: PathBuf,
        /// Of the tokenizer.
        tokenizer: usize,
        /// Of the model.
        model: usize,
    },
    /// No template to write conversations with.
    #[error("{}: the model has no chat template, and its tokenizer lacks `{missing}` of our own", folder.display())]
    NoTemplate {
        /// The folder.
        folder: PathBuf,
        /// The first control token that is missing.
        missing: &'static str,
    },
    /// A conversation that cannot be trained on.
    #[error("{}, line {line}: {problem}", file.display())]
    Conversation {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A conversation that the chat template refused.
    #[error("{}, line {line}: {problem}", file.display())]
    Rendering {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: u64,
        /// Why.
        problem: TokenizerError,
    },
    /// Too few to hold some out.
    #[error("{}: {conversations} conversations are too few to train on and to hold some out", file.display())]
    TooFew {
        /// The file.
        file: PathBuf,
        /// How many there are.
        conversations: usize,
    },
}

impl Hint for TuneError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Train(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Files(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Tokenizer(error) | Self::Rendering { problem: error, .. } => error.hint(),
            Self::Lines(error) => error.hint(),
            Self::NoTokenizer { .. } => Some("fetch tokenizer.json of the same model into the folder".into()),
            Self::Vocabulary { .. } => Some("tokenizer.json and the weights are of different models".into()),
            Self::NoTemplate { .. } => Some(
                "begin with a model that has a chat template, or pre-train one with `--tokenizer bpe` or `bytes`"
                    .into(),
            ),
            Self::Conversation { .. } => Some(
                "each line is {\"messages\": [{\"role\": \"user\", \"content\": …}, {\"role\": \"assistant\", …}]}"
                    .into(),
            ),
            Self::TooFew { .. } => Some("give at least two conversations".into()),
            Self::Vocabularies(error) => error.hint(),
        }
    }
}
