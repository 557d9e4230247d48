//! Requests and answers in text: what `serve`, the terminal chat and `generate` speak with a model.
//! The scheduler and the cache below know no text; this module and its children do.

mod chat_file;
mod embed;
mod fit;
mod heal;
mod local;
mod memory;
mod stop;

use std::ops::ControlFlow;

use tsumugi_base::Hint;
use tsumugi_tokenizer::Message;

pub use crate::embed::Pooling;
use crate::sample::SampleError;
pub use crate::sample::{SamplingParameters, ranges};
pub use chat_file::{CHAT_FILE, chat_file};
pub use embed::{
    CrossEncoder, EmbedError, Embedder, EmbedderOptions, EmbeddingFiles, Embeddings, Scores, TextInput, VectorModel,
    cosine,
};
pub use fit::fit_to_context;
pub use local::{ContextCut, LoadError, LocalModel, Options, load_tokenizer};
pub use memory::{CACHE_SHARE, Placement, TooLarge};

/// What the model continues.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Plain text; control tokens in it are not parsed as control.
    Text(String),
    /// Plain text that may end inside of a word or token: its last tokens are chosen again, so that the text goes on as if it had
    /// never been cut ("token healing").
    Open(String),
    /// Token ids as they are.
    Tokens(Vec<u32>),
    /// A conversation, rendered with the model's chat template.
    Chat(Vec<Message>),
}

/// One generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What to continue.
    pub prompt: Prompt,
    /// How to choose tokens.
    pub sampling: SamplingParameters,
    /// At most so many new tokens; `None` is as many as fit. Clipped to the context.
    pub max_tokens: Option<usize>,
    /// Generation ends before the first of these appears; never part of the answer.
    pub stop: Vec<String>,
}

/// Told while generating.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// More of a long prompt has been read; before `PromptRead`.
    Reading {
        /// Tokens read so far, those that the cache had counted.
        tokens: usize,
    },
    /// The prompt has been read.
    PromptRead {
        /// Its length in tokens.
        prompt_tokens: usize,
    },
    /// More of the answer: whole characters, never part of a stop string. Comes after every token, so that each is a
    /// chance to stop; empty when the token gave no text yet.
    Text(&'a str),
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn, or a stop string appeared.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
    /// The caller asked to stop.
    Cancelled,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Without stop strings and control tokens.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, the end token counted.
    pub completion_tokens: usize,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Seconds to read the prompt.
    pub prompt_seconds: f64,
    /// Seconds to generate.
    pub completion_seconds: f64,
}

/// Why a request could not be served. The caller's fault unless it is `Damaged` or `Internal`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GenerateError {
    /// The prompt leaves no room for a single new token.
    #[error("the prompt has {prompt_tokens} tokens, but the context of `{model}` holds {context_length}")]
    ContextLengthExceeded {
        /// The model's name.
        model: String,
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Positions of the model.
        context_length: usize,
    },
    /// The prompt has no tokens.
    #[error("the prompt is empty: give at least one token of text")]
    EmptyPrompt,
    /// A chat was asked of a model without a chat template, or the template refused the messages.
    #[error("cannot render the conversation: {reason}")]
    Template {
        /// What the template said.
        reason: String,
    },
    /// A token id outside of the vocabulary.
    #[error("token id {id} is outside of the vocabulary of {vocabulary_size}")]
    UnknownToken {
        /// The id given.
        id: u32,
        /// Valid ids are below it.
        vocabulary_size: usize,
    },
    /// A sampling parameter is out of its range.
    #[error("`{name}` is {value}, but must be {expected}")]
    BadParameter {
        /// Its name in the API.
        name: &'static str,
        /// What was given.
        value: String,
        /// The range.
        expected: &'static str,
    },
    /// The model computes what is no probability.
    #[error("`{model}` cannot answer: {reason}")]
    Damaged {
        /// The model's name.
        model: String,
        /// What it computed.
        reason: SampleError,
    },
    /// Our own mistake.
    #[error("internal error: {reason}")]
    Internal {
        /// What went wrong.
        reason: String,
    },
}

impl Hint for GenerateError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::ContextLengthExceeded { .. } => Some("shorten the prompt, or leave out the oldest turns".into()),
            Self::Damaged { reason, .. } => reason.hint(),
            Self::Template { .. } => Some("a base model continues plain text: give it a prompt instead".into()),
            _ => None,
        }
    }
}

/// A model that answers in text. `serve` and the terminal chat know models only through this.
pub trait TextModel: Send + Sync {
    /// The name shown in `/v1/models`.
    fn name(&self) -> &str;
    /// Positions that prompt and answer share.
    fn context_length(&self) -> usize;
    /// Whether `Prompt::Chat` works.
    fn has_chat_template(&self) -> bool;
    /// System messages that it was taught, the one to begin with first; most models have none.
    fn suggested_system_messages(&self) -> &[String] {
        &[]
    }
    /// Length of a prompt in tokens, as `generate` would count it.
    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, GenerateError>;
    /// Generates; `on_event` is called on the caller's thread and may stop it by `Break`.
    fn generate(
        &self,
        request: &Request,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Completion, GenerateError>;
}
