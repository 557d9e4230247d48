//! Models of embeddings as the server knows them.

use tsumugi_files::{Admitted, ModelFiles};
use tsumugi_models::bert;

use super::settings::Settings;
use super::{EmbedError, Embedder, Embeddings};
use crate::embed::TextIds;
use crate::text::LoadError;

/// What becomes a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextInput {
    /// A text.
    Text(String),
    /// Ids of the model's own vocabulary as they are: no frame and no prompt is put around them.
    Tokens(Vec<u32>),
}

/// A model that makes vectors of texts. `serve` knows such models only through this.
pub trait VectorModel: Send + Sync {
    /// The name shown in `/v1/models`.
    fn name(&self) -> &str;
    /// Tokens of the longest text that is read whole.
    fn max_tokens(&self) -> usize;
    /// Numbers of a vector.
    fn dimensions(&self) -> usize;
    /// A vector of each, whole or not at all: what is longer than the model reads is an error.
    fn embed(&self, inputs: &[TextInput]) -> Result<Embeddings, EmbedError>;
}

impl Embedder {
    /// Whether a model says that it is for vectors: an encoder, or a decoder whose files tell how its hidden states are pooled.
    pub fn is_for(model: &Admitted<ModelFiles>) -> Result<bool, LoadError> {
        Ok(bert::is_encoder(model)? || Settings::read(model)?.pooling.is_some())
    }

    fn ids_of(&self, index: usize, tokens: &[u32]) -> Result<TextIds, EmbedError> {
        let (model, vocabulary, max_tokens) = (self.name().to_owned(), self.vocabulary(), self.max_tokens());
        if tokens.is_empty() {
            return Err(EmbedError::EmptyText { index });
        }
        if tokens.len() > max_tokens {
            return Err(EmbedError::TooLong { model, index, max_tokens });
        }
        match tokens.iter().find(|&&id| id as usize >= vocabulary) {
            Some(&id) => Err(EmbedError::UnknownToken { model, index, id, vocabulary }),
            None => Ok(TextIds::single(tokens.to_vec())),
        }
    }
}

impl VectorModel for Embedder {
    fn name(&self) -> &str {
        Embedder::name(self)
    }

    fn max_tokens(&self) -> usize {
        Embedder::max_tokens(self)
    }

    fn dimensions(&self) -> usize {
        Embedder::dimensions(self)
    }

    fn embed(&self, inputs: &[TextInput]) -> Result<Embeddings, EmbedError> {
        let prompt = self.prompt(None)?;
        let read = |(index, input): (usize, &TextInput)| match input {
            TextInput::Tokens(tokens) => self.ids_of(index, tokens),
            TextInput::Text(text) => match self.read(index, text, prompt)? {
                (ids, false) => Ok(ids),
                (_, true) => {
                    let (model, max_tokens) = (self.name().to_owned(), self.max_tokens());
                    Err(EmbedError::TooLong { model, index, max_tokens })
                }
            },
        };
        let ids = inputs.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        self.vectors(&ids, Vec::new())
    }
}
