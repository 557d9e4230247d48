//! Texts to vectors.

use tsumugi_files::{Admitted, ModelFiles};
use tsumugi_models::Precision;

use super::EmbedError;
use super::reader::Reader;
use super::settings::Settings;
use crate::embed::{Pooling, TextIds};
use crate::text::LoadError;

/// How to load a model of embeddings.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmbedderOptions {
    /// `None` is one per core.
    pub threads: Option<usize>,
    /// What is computed with.
    pub precision: Precision,
    /// Instead of the model's own.
    pub pooling: Option<Pooling>,
    /// The first so many numbers of each vector (Kusupati et al. 2022, "Matryoshka"); `None` is all.
    pub dimensions: Option<usize>,
}

/// A model that makes vectors of texts. One use at a time: callers wait for each other.
pub struct Embedder {
    reader: Reader,
    settings: Settings,
    pooling: Pooling,
    dimensions: usize,
}

/// Vectors of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// Numbers of a vector.
    pub dimensions: usize,
    /// `[texts, dimensions]`
    pub values: Vec<f32>,
    /// Tokens that were read, frames and prompts counted.
    pub tokens: usize,
    /// Texts that were longer than the model reads, from 0; their ends were left out.
    pub truncated: Vec<usize>,
}

impl Embeddings {
    /// The vectors, in the order of the texts.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimensions)
    }
}

/// What a vector is divided by at least, as PyTorch's `normalize` has it.
const NORM_MIN: f64 = 1e-12;

impl Embedder {
    /// Loads weights, tokenizer and the settings of sentence-transformers.
    pub fn load(model: &Admitted<ModelFiles>, options: EmbedderOptions) -> Result<Self, LoadError> {
        let settings = Settings::read(model)?;
        let reader = Reader::load(model, options.threads, options.precision)?;
        if let Some(asked) = options.dimensions.filter(|asked| !(1..=reader.width).contains(asked)) {
            let (model, width) = (reader.name, reader.width);
            return Err(EmbedError::Dimensions { model, asked, width }.into());
        }
        // Where nothing is said, the mean, as sentence-transformers does.
        let pooling = options.pooling.or(settings.pooling).unwrap_or(Pooling::Mean);
        let dimensions = options.dimensions.unwrap_or(reader.width);
        Ok(Self { reader, settings, pooling, dimensions })
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.reader.name
    }

    /// Tokens of the longest text that is read whole, its frame counted.
    pub fn max_tokens(&self) -> usize {
        self.reader.max_tokens()
    }

    /// How hidden states are pooled, and whether the model's own files say so.
    pub fn pooling(&self) -> (Pooling, bool) {
        (self.pooling, self.settings.pooling.is_some())
    }

    /// The text that the model's files put before a text for this use, such as `query`; without a name the model's default,
    /// mostly nothing.
    pub fn prompt(&self, name: Option<&str>) -> Result<&str, EmbedError> {
        let prompts = &self.settings.prompts;
        let Some(name) = name.or(self.settings.default_prompt.as_deref()) else { return Ok("") };
        prompts.get(name).map(String::as_str).ok_or_else(|| {
            let names: Vec<String> = prompts.keys().map(|name| format!("`{name}`")).collect();
            let known = if names.is_empty() { "it names none".into() } else { format!("it has {}", names.join(", ")) };
            EmbedError::UnknownPrompt { model: self.reader.name.clone(), name: name.into(), known }
        })
    }

    /// Numbers of a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Token ids are below it.
    pub(super) fn vocabulary(&self) -> usize {
        self.reader.engine().model().vocabulary()
    }

    /// Vectors of texts, each behind `prompt`. A text's vector does not depend on the other texts.
    pub fn embed(&self, texts: &[&str], prompt: &str) -> Result<Embeddings, EmbedError> {
        let mut read: Vec<TextIds> = Vec::with_capacity(texts.len());
        let mut truncated = Vec::new();
        for (index, &text) in texts.iter().enumerate() {
            let (ids, cut) = self.read(index, text, prompt)?;
            truncated.extend(cut.then_some(index));
            read.push(ids);
        }
        self.vectors(&read, truncated)
    }

    /// Text `index` behind `prompt`, and whether it was cut.
    pub(super) fn read(&self, index: usize, text: &str, prompt: &str) -> Result<(TextIds, bool), EmbedError> {
        let prompted;
        let whole = if prompt.is_empty() || text.trim().is_empty() {
            text
        } else {
            prompted = format!("{prompt}{text}");
            &prompted
        };
        self.reader.read(whole).ok_or(EmbedError::EmptyText { index })
    }

    pub(super) fn vectors(&self, read: &[TextIds], truncated: Vec<usize>) -> Result<Embeddings, EmbedError> {
        let whole = self.reader.engine().embed(read, self.pooling);
        let mut values = Vec::with_capacity(read.len() * self.dimensions);
        for (index, vector) in whole.chunks_exact(self.reader.width).enumerate() {
            if !vector.iter().all(|number| number.is_finite()) {
                return Err(EmbedError::Damaged { model: self.reader.name.clone(), index });
            }
            let vector = &vector[..self.dimensions];
            let norm = if self.settings.normalize { norm(vector).max(NORM_MIN) } else { 1.0 };
            values.extend(vector.iter().map(|&number| (f64::from(number) / norm) as f32));
        }
        let tokens = read.iter().map(|text| text.tokens.len()).sum();
        Ok(Embeddings { dimensions: self.dimensions, values, tokens, truncated })
    }
}

fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|&number| f64::from(number) * f64::from(number)).sum::<f64>().sqrt()
}

/// The cosine of the angle between two vectors; 0 if one is all zero.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    let norms = norm(a) * norm(b);
    if norms > 0.0 { product / norms } else { 0.0 }
}
