//! Pairs of texts to scores: a query and a passage are read together (Nogueira and Cho 2019).

use tsumugi_files::{Admitted, ModelFiles};
use tsumugi_models::Precision;

use super::EmbedError;
use super::reader::Reader;
use super::settings::{ScoreActivation, read_score_activation};
use crate::embed::TextIds;
use crate::text::LoadError;

/// A model that scores how well a passage answers a query. One use at a time: callers wait for each other.
pub struct CrossEncoder {
    reader: Reader,
    activation: ScoreActivation,
}

/// Scores of passages for a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// One for each passage, in their order: higher is better.
    pub values: Vec<f32>,
    /// Tokens that were read, frames counted.
    pub tokens: usize,
    /// Passages, from 0, that were longer with the query than the model reads; ends were left out.
    pub truncated: Vec<usize>,
}

impl CrossEncoder {
    /// Loads weights and tokenizer; `None` threads are one per core.
    pub fn load(model: &Admitted<ModelFiles>, threads: Option<usize>, precision: Precision) -> Result<Self, LoadError> {
        let reader = Reader::load(model, threads, precision)?;
        let not_one = |found: String| LoadError::NoCrossEncoder { folder: model.path().to_owned(), found };
        match reader.labels {
            Some(1) => Ok(Self { activation: read_score_activation(model)?, reader }),
            Some(labels) => Err(not_one(format!("its classifier has {labels} labels"))),
            None => Err(not_one("there is no classifier".into())),
        }
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.reader.name
    }

    /// Tokens of the longest pair that is read whole, its frame counted.
    pub fn max_tokens(&self) -> usize {
        self.reader.max_tokens()
    }

    /// Scores of passages for a query. A passage's score does not depend on the others.
    pub fn score(&self, query: &str, passages: &[&str]) -> Result<Scores, EmbedError> {
        let mut read: Vec<TextIds> = Vec::with_capacity(passages.len());
        let mut truncated = Vec::new();
        for (index, passage) in passages.iter().enumerate() {
            let empty = |which| if which == 0 { EmbedError::EmptyQuery } else { EmbedError::EmptyText { index } };
            let (ids, cut) = self.reader.read_pair(query, passage).map_err(empty)?;
            truncated.extend(cut.then_some(index));
            read.push(ids);
        }
        let mut values = self.reader.engine().score(&read).unwrap_or_default();
        if let Some(index) = values.iter().position(|score| !score.is_finite()) {
            return Err(EmbedError::Damaged { model: self.reader.name.clone(), index });
        }
        if self.activation == ScoreActivation::Sigmoid {
            values.iter_mut().for_each(|score| *score = 1.0 / (1.0 + (-*score).exp()));
        }
        let tokens = read.iter().map(|text| text.tokens.len()).sum();
        Ok(Scores { values, tokens, truncated })
    }
}
