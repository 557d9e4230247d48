//! What a model's files say about its use, from one format to the other: the files of sentence-transformers in a folder, and in
//! a GGUF file llama.cpp's pooling with keys of ours, which llama.cpp does not read.

use std::path::Path;

use serde_json::{Map, Value, json};
use tsumugi_base::io::{create_folder, write_atomic};
use tsumugi_files::gguf::{Metadata, Value as Stored};
use tsumugi_files::{FilesError, ModelFiles};

use super::settings::{GGUF_POOLINGS, Length, MODULES, POOLINGS, ScoreActivation, Settings, gguf_keys};
use super::settings::{read_length, read_score_activation};
use crate::text::LoadError;

/// llama.cpp's pooling of models with a classifier.
const RANK: u32 = 4;

/// How texts become vectors, or pairs of texts scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingFiles {
    settings: Settings,
    length: Length,
    /// Whether there is a classifier.
    classifies: bool,
    /// Of a classifier with one score.
    activation: Option<ScoreActivation>,
}

impl EmbeddingFiles {
    /// What the files of a model say; `labels` are the scores of its classifier, if there is one.
    pub fn read(model: &ModelFiles, labels: Option<usize>) -> Result<Self, LoadError> {
        Ok(Self {
            settings: Settings::read(model)?,
            length: read_length(model)?,
            classifies: labels.is_some(),
            activation: (labels == Some(1)).then(|| read_score_activation(model)).transpose()?,
        })
    }

    /// Adds it to the metadata of a GGUF file of this architecture.
    pub fn put(&self, architecture: &str, metadata: &mut Metadata) {
        let pooling = self.settings.pooling.and_then(|pooling| {
            let of_llama_cpp = GGUF_POOLINGS.iter().find(|(_, known)| *known == pooling);
            of_llama_cpp.map(|(number, _)| *number)
        });
        if let Some(number) = pooling.or(self.classifies.then_some(RANK)) {
            metadata.insert(format!("{architecture}.pooling_type"), Stored::U32(number));
        }
        if let Some(activation) = self.activation {
            metadata.insert(gguf_keys::ACTIVATION, Stored::String(activation.class().into()));
        }
        if !self.classifies {
            metadata.insert(gguf_keys::NORMALIZE, Stored::Bool(self.settings.normalize));
        }
        if let Some(tokens) = self.length.tokens {
            metadata.insert(gguf_keys::LENGTH, Stored::U32(u32::try_from(tokens).unwrap_or(u32::MAX)));
        }
        if self.length.lower_case {
            metadata.insert(gguf_keys::LOWER_CASE, Stored::Bool(true));
        }
        for (name, prompt) in &self.settings.prompts {
            metadata.insert(format!("{}{name}", gguf_keys::PROMPT), Stored::String(prompt.clone()));
        }
        if let Some(name) = &self.settings.default_prompt {
            metadata.insert(gguf_keys::DEFAULT_PROMPT, Stored::String(name.clone()));
        }
    }

    /// Writes it into a folder of a model of this width, and adds to its `config.json` what stands there.
    pub fn write(&self, folder: &Path, width: usize, config: &mut Map<String, Value>) -> Result<(), FilesError> {
        if let Some(activation) = self.activation {
            config.insert("sentence_transformers".into(), json!({ "activation_fn": activation.class() }));
        }
        let module = |index: usize, path: &str, class: &str| {
            json!({
                "idx": index, "name": index.to_string(), "path": path,
                "type": format!("sentence_transformers.models.{class}"),
            })
        };
        if let Some(pooling) = self.settings.pooling {
            let mut modules = vec![module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")];
            if self.settings.normalize {
                modules.push(module(2, "2_Normalize", "Normalize"));
                create_folder(&folder.join("2_Normalize"))?;
            }
            write_json(&folder.join(MODULES), &modules.into())?;
            let mut modes: Map<String, Value> =
                POOLINGS.iter().map(|(key, known)| ((*key).to_owned(), json!(*known == Some(pooling)))).collect();
            modes.insert("word_embedding_dimension".into(), json!(width));
            create_folder(&folder.join("1_Pooling"))?;
            write_json(&folder.join("1_Pooling/config.json"), &modes.into())?;
        }
        if self.length != Length::default() || self.settings.pooling.is_some() {
            let length = json!({ "max_seq_length": self.length.tokens, "do_lower_case": self.length.lower_case });
            write_json(&folder.join("sentence_bert_config.json"), &length)?;
        }
        if !self.settings.prompts.is_empty() {
            let prompts =
                json!({ "prompts": self.settings.prompts, "default_prompt_name": self.settings.default_prompt });
            write_json(&folder.join("config_sentence_transformers.json"), &prompts)?;
        }
        Ok(())
    }
}

fn write_json(path: &Path, value: &Value) -> Result<(), FilesError> {
    Ok(write_atomic(path, format!("{value:#}\n").as_bytes())?)
}
