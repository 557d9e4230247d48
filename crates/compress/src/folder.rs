//! A model as a Hugging Face folder: `config.json`, `model.safetensors`, the tokenizer's files,
//! `generation_config.json`, and a model card where the licence is known.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use tsumugi_base::io::{AtomicFolder, create_folder, write_atomic};
use tsumugi_base::progress::Observer;
use tsumugi_files::safetensors::{MODEL_FILE, write_safetensors_with};
use tsumugi_files::{Admitted, ElementType, FilesError, ModelCard, ModelFiles, TensorSpec};
use tsumugi_models::slots::Layout;
use tsumugi_models::{ModelError, Translation, read_spec};
use tsumugi_tensor::threads::Pool;
use tsumugi_tokenizer::{ChatTemplate, Tokenizer, end_tokens};

use crate::CompressError;
use crate::stream::{Stream, Written};

/// What the weights of a folder are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderType {
    /// `float32`
    F32,
    /// `float16`
    F16,
    /// `bfloat16`
    BF16,
}

impl FolderType {
    fn element_type(self) -> ElementType {
        match self {
            Self::F32 => ElementType::F32,
            Self::F16 => ElementType::F16,
            Self::BF16 => ElementType::BF16,
        }
    }

    /// As `config.json` has it.
    fn word(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }
}

/// What is said of a model without a vocabulary.
pub(crate) const NO_VOCABULARY: &str =
    "the model has no vocabulary, and neither has what was written: programs that read or write text cannot use it";

/// Writes a model as a folder, which must not be there, or be empty. It takes its place when it is whole.
pub fn write_folder(
    model: &Admitted<ModelFiles>,
    out: &Path,
    folder_type: FolderType,
    pool: &Pool,
    observer: &dyn Observer,
) -> Result<Written, CompressError> {
    check_not_itself(model, out)?;
    let (family, spec) = read_spec(model)?;
    let mut config = family.config(&spec).map_err(|what| ModelError::CannotSave { format: family.name(), what })?;
    let tokenizer = Tokenizer::of_model(model)?;
    let template = ChatTemplate::of_model(model)?;
    if let Some(parent) = out.parent() {
        create_folder(parent).map_err(FilesError::from)?;
    }
    let folder = AtomicFolder::create(out).map_err(FilesError::from)?;
    let partial = folder.partial_path();

    let tensors = model.tensors()?;
    let translation = Translation::new(model, &tensors, Layout::Folder(family))?;
    let types = vec![folder_type.element_type(); translation.tensors().len()];
    let specs: Vec<TensorSpec<'_>> = translation
        .tensors()
        .iter()
        .zip(&types)
        .map(|(tensor, &element_type)| TensorSpec { name: tensor.name(), element_type, shape: tensor.shape() })
        .collect();
    let mut stream = Stream::new("convert", &translation, &types, pool, observer);
    let file = partial.join(MODEL_FILE);
    let ended = write_safetensors_with(&file, &specs, &BTreeMap::new(), |index, sink| stream.write(index, sink));
    let mut written = stream.finish(ended)?;
    written.notes.extend(tokenizer.is_none().then(|| NO_VOCABULARY.to_owned()));

    let mut generation = Map::new();
    if let Some(tokenizer) = &tokenizer {
        match &template {
            Some(template) => tokenizer.save_with_template(partial, template)?,
            None => tokenizer.save(partial)?,
        }
        generation.extend(tokenizer.prefix().first().map(|id| ("bos_token_id".to_owned(), json!(id))));
        let ends = end_tokens(model, tokenizer)?;
        if !ends.is_empty() {
            generation.insert("eos_token_id".into(), json!(ends));
        }
        write_json(&partial.join("generation_config.json"), &Value::Object(generation.clone()))?;
    }
    if let Some(config) = config.as_object_mut() {
        config.extend(generation);
        config.insert("torch_dtype".into(), folder_type.word().into());
    }
    write_json(&partial.join("config.json"), &config)?;
    if let Some(card) = ModelCard::of(model).of_derived() {
        write_atomic(&partial.join("README.md"), card.as_bytes()).map_err(FilesError::from)?;
    }
    folder.commit().map_err(FilesError::from)?;
    Ok(written)
}

fn write_json(path: &Path, value: &Value) -> Result<(), FilesError> {
    Ok(write_atomic(path, format!("{value:#}\n").as_bytes())?)
}

/// A model is read while the other is written.
pub(crate) fn check_not_itself(model: &ModelFiles, out: &Path) -> Result<(), CompressError> {
    let same =
        |path: &Path| path.canonicalize().ok().zip(out.canonicalize().ok()).is_some_and(|(one, other)| one == other);
    if model.files().names().any(|name| same(&model.files().path().join(name)))
        || same(model.files().path()) && out.is_dir()
    {
        return Err(CompressError::Itself { path: out.to_owned() });
    }
    Ok(())
}
