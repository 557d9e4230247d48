//! What a model on disk says about its text: vocabulary and chat template, whether it is a folder or a GGUF file.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tsumugi_base::Hint;
use tsumugi_base::limits::TOKENIZER_FILE_BYTES_MAX;
use tsumugi_files::{Admitted, FilesError, Gate, ModelFiles, OpenFolder, gguf};

use super::detect::vocabulary_file;
use crate::{ChatTemplate, Tokenizer, TokenizerError};

/// Why vocabulary or chat template of a model were not read.
#[derive(Debug, thiserror::Error)]
pub enum ModelTextError {
    /// Reading the file.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// What it holds.
    #[error("{file}: {source}", file = .file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: Box<TokenizerError>,
    },
}

impl Hint for ModelTextError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Files(error) => error.hint(),
            Self::Tokenizer { source, .. } => source.hint(),
        }
    }
}

/// Says which file it is about.
fn in_file(file: impl Into<PathBuf>) -> impl FnOnce(TokenizerError) -> ModelTextError {
    move |source| ModelTextError::Tokenizer { file: file.into(), source: Box::new(source) }
}

impl Tokenizer {
    /// The vocabulary of a model, or of a vocabulary file of any kind, once `gate` has let the files through; none if a model
    /// has none. With the files of the model, if it is one.
    pub fn admit(path: &Path, gate: &dyn Gate) -> Result<(Option<Self>, Option<Admitted<ModelFiles>>), ModelTextError> {
        if path.is_file() && path.extension().is_none_or(|extension| extension != "gguf") {
            let folder = OpenFolder::of_file(path)?;
            gate.check(&folder).map_err(FilesError::from)?;
            let bytes = folder.only_file().map(|file| file.bytes(TOKENIZER_FILE_BYTES_MAX)).transpose()?;
            let tokenizer = Self::from_vocabulary(&bytes.unwrap_or_default(), path).map_err(in_file(path))?;
            return Ok((Some(tokenizer), None));
        }
        let model = ModelFiles::admit(path, gate)?;
        Ok((Self::of_model(&model)?, Some(model)))
    }

    /// The vocabulary of a model; none if there is no file of one.
    pub fn of_model(model: &ModelFiles) -> Result<Option<Self>, ModelTextError> {
        if let Some(metadata) = model.gguf() {
            let kind = metadata.get("tokenizer.ggml.model").and_then(gguf::Value::as_str);
            if matches!(kind, Some("none" | "no_vocab")) {
                return Ok(None);
            }
            return Self::from_gguf(metadata).map(Some).map_err(in_file(model.path()));
        }
        let Some(name) = vocabulary_file(model) else { return Ok(None) };
        let Some(file) = model.files().file(name)? else { return Ok(None) };
        let read = match name.ends_with(".json") {
            // Text is checked with the place of what is not UTF-8, and kept for others who ask.
            true => Self::from_vocabulary(file.text(TOKENIZER_FILE_BYTES_MAX)?.as_bytes(), file.path()),
            false => Self::from_vocabulary(&file.map()?, file.path()),
        };
        read.map(Some).map_err(in_file(file.path()))
    }
}

impl ChatTemplate {
    /// The chat template of a model; none if it has none. In a folder it stands in `chat_template.jinja`, or else in
    /// `tokenizer_config.json`, which names BOS and EOS in either case.
    pub fn of_model(model: &ModelFiles) -> Result<Option<Self>, ModelTextError> {
        if let Some(metadata) = model.gguf() {
            let has_one = metadata.get("tokenizer.chat_template").is_some();
            return has_one.then(|| Self::from_gguf(metadata).map_err(in_file(model.path()))).transpose();
        }
        let config = model.json("tokenizer_config.json")?;
        let mut config = config.unwrap_or_else(|| Value::Object(Map::new()));
        let mut file = "tokenizer_config.json";
        if let (Some(source), Some(map)) = (model.text("chat_template.jinja")?, config.as_object_mut()) {
            file = "chat_template.jinja";
            map.insert("chat_template".into(), source.into());
        }
        if config.get("chat_template").is_none_or(Value::is_null) {
            return Ok(None);
        }
        let template = Self::from_tokenizer_config(&config);
        template.map(Some).map_err(in_file(model.path().join(file)))
    }
}
