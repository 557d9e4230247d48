//! What can go wrong with a tokenizer or a chat template.

use tsumugi_base::{FileError, Hint};
use tsumugi_files::LooksLike;

/// An error of this crate, holding the values that disagreed.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// `tokenizer.json` is not JSON, or lacks what every tokenizer has.
    #[error("tokenizer.json is not a tokenizer: {reason}")]
    Malformed {
        /// What the reader said.
        reason: String,
    },
    /// Another vocabulary file that is damaged, or not of a kind that we know.
    #[error("not a usable {format} vocabulary: {reason}")]
    Vocabulary {
        /// The format that it seems to have.
        format: &'static str,
        /// What is wrong, and where.
        reason: String,
    },
    /// A vocabulary that a format has no form for.
    #[error("the vocabulary cannot be written as {format}: {reason}")]
    Unwritable {
        /// The format to be written.
        format: &'static str,
        /// What it has no word for.
        reason: String,
    },
    /// A file that is no vocabulary, by its first bytes.
    #[error("no vocabulary that is known: neither JSON, nor ranks of tiktoken, nor a SentencePiece model, nor GGUF")]
    UnknownFile {
        /// What the file seems to be instead.
        looks_like: Option<LooksLike>,
    },
    /// A component we do not have.
    #[error("tokenizer.json asks for something this version does not support: {reason}")]
    Unsupported {
        /// What the reader said.
        reason: String,
    },
    /// An id beyond any real vocabulary.
    #[error("token `{token}` has id {id}, but ids must be below {limit}")]
    IdTooLarge {
        /// The token.
        token: String,
        /// Its id.
        id: u64,
        /// [`crate::Tokenizer::VOCABULARY_SIZE_MAX`].
        limit: usize,
    },
    /// Nothing to learn from.
    #[error("the training text is empty")]
    EmptyCorpus,
    /// More distinct text than the trainer can index.
    #[error("the distinct words of the text take {bytes} bytes, but the trainer can index {limit}")]
    CorpusTooLarge {
        /// Bytes of the distinct words.
        bytes: u64,
        /// The most it can index.
        limit: u64,
    },
    /// Not one word fits the memory that the trainer may take.
    #[error("none of the {words} distinct words of the text fits the memory that was given")]
    TooLittleMemory {
        /// How many there are.
        words: u64,
    },
    /// No room for what every vocabulary of the kind has.
    #[error("a vocabulary of {asked} tokens is too small: characters and special tokens alone need {needed}")]
    VocabularyBelowAlphabet {
        /// What was asked for.
        asked: usize,
        /// The least.
        needed: usize,
    },
    /// No room for the bytes and the special tokens.
    #[error(
        "a vocabulary of {asked} tokens is too small: 256 bytes and {special_tokens} special tokens need {needed}",
        needed = 256 + special_tokens
    )]
    VocabularyTooSmall {
        /// What was asked for.
        asked: usize,
        /// How many special tokens.
        special_tokens: usize,
    },
    /// A special token is empty or given twice.
    #[error("special token `{token}` is {problem}")]
    BadSpecialToken {
        /// The token.
        token: String,
        /// `empty`, `given twice`, `a character of the text`.
        problem: &'static str,
    },
    /// The observer asked to stop.
    #[error("tokenizer training was stopped after {merges} merges")]
    Stopped {
        /// Merges learned until then.
        merges: usize,
    },
    /// `tokenizer_config.json` has no usable template.
    #[error("no chat template: {reason}")]
    NoTemplate {
        /// What is missing.
        reason: String,
    },
    /// The template does not parse, or refused the messages.
    #[error("the chat template failed: {reason}")]
    Template {
        /// What the template engine said.
        reason: String,
    },
    /// A role that templates would turn into text of its own.
    #[error("unknown role `{role}`; known: {known}", known = crate::chat_template::ROLES.join(", "))]
    UnknownRole {
        /// The role given.
        role: String,
    },
    /// The rendering of the first messages is not the beginning of the rendering of all, so that the answer's
    /// place in the text cannot be told.
    #[error(
        "the chat template renders message {index} differently when more messages follow: cannot tell which tokens to train"
    )]
    NotIncremental {
        /// Of the assistant's message, from 0.
        index: usize,
    },
    /// The file is no GGUF file.
    #[error(transparent)]
    Gguf(#[from] Box<tsumugi_files::GgufError>),
    /// Writing failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Hint for TokenizerError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed { .. } | Self::Vocabulary { .. } | Self::IdTooLarge { .. } => {
                Some("the file may be cut short; fetch the model again".into())
            }
            Self::Unwritable { .. } => {
                Some("write the model as a folder, whose tokenizer.json holds any vocabulary".into())
            }
            Self::Unsupported { .. } => Some("supported are the models BPE, WordPiece, Unigram and WordLevel".into()),
            Self::UnknownFile { looks_like: Some(kind) } => Some(kind.hint().into()),
            Self::UnknownFile { looks_like: None } => Some(
                "give a tokenizer.json, tokenizer.model, tekken.json, *.tiktoken or *.gguf, or a folder with one"
                    .into(),
            ),
            Self::EmptyCorpus => Some("give a text file with at least one character".into()),
            Self::CorpusTooLarge { .. } => {
                Some("train on a sample of the text: 100 MB teach as good a vocabulary".into())
            }
            Self::TooLittleMemory { .. } => {
                Some("give more memory, or another rule for cutting text into words".into())
            }
            Self::VocabularyBelowAlphabet { needed, .. } => {
                Some(format!("ask for more than {needed} tokens, or for a lower character coverage"))
            }
            Self::VocabularyTooSmall { special_tokens, .. } => {
                Some(format!("ask for at least {} tokens", 256 + special_tokens))
            }
            Self::NoTemplate { .. } => {
                Some("this is a base model: use `generate`, or fine-tune it for chat first".into())
            }
            Self::Template { .. } | Self::UnknownRole { .. } => Some(
                "use the roles and the order that the model's template knows, or `generate`, which takes plain text"
                    .into(),
            ),
            Self::BadSpecialToken { .. } => Some("choose a mark of its own that no text has, as <|name|>".into()),
            Self::Stopped { .. } => Some("run the same command again: it begins anew".into()),
            Self::NotIncremental { .. } => {
                Some("fine-tune with a template whose turns do not depend on later ones".into())
            }
            Self::Gguf(error) => error.hint(),
            Self::File(error) => error.hint(),
        }
    }
}
