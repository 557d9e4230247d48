//! A model as a Hugging Face folder: `config.json`, `model.safetensors`, the tokenizer's files,
//! `generation_config.json` or the files of sentence-transformers, and a model card where the licence is known.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use tsumugi_base::io::{AtomicFolder, create_folder, write_atomic};
use tsumugi_base::progress::Observer;
use tsumugi_files::safetensors::{MODEL_FILE, write_safetensors_with};
use tsumugi_files::{Admitted, ElementType, FilesError, ModelCard, ModelFiles, TensorFile, TensorSpec};
use tsumugi_infer::text::EmbeddingFiles;
use tsumugi_models::bert::{self, EncoderLayout};
use tsumugi_models::slots::Layout;
use tsumugi_models::{DecoderSpec, EncoderSpec, Family, ModelError, Translation, read_spec};
use tsumugi_tensor::threads::Pool;
use tsumugi_tokenizer::{ChatTemplate, EncoderTokens, Tokenizer, end_tokens};

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
    let (model_type, tokenizer) = (ModelType::of(model)?, Tokenizer::of_model(model)?);
    let mut config = model_type.config(model)?;
    if let Some(parent) = out.parent() {
        create_folder(parent).map_err(FilesError::from)?;
    }
    let folder = AtomicFolder::create(out).map_err(FilesError::from)?;
    let partial = folder.partial_path();

    let tensors = model.tensors()?;
    let translation = model_type.translation(model, &tensors)?;
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

    match &model_type {
        ModelType::Decoder(..) => config.extend(save_text(model, tokenizer.as_ref(), partial)?),
        ModelType::Encoder(spec) => save_encoder_text(model, spec, tokenizer.as_ref(), partial, &mut config)?,
    }
    config.insert("torch_dtype".into(), folder_type.word().into());
    let config = Value::Object(config);
    write_json(&partial.join("config.json"), &config)?;
    if let Some(card) = ModelCard::of(model).of_derived() {
        write_atomic(&partial.join("README.md"), card.as_bytes()).map_err(FilesError::from)?;
    }
    folder.commit().map_err(FilesError::from)?;
    Ok(written)
}

/// What is written.
enum ModelType {
    Decoder(&'static dyn Family, Box<DecoderSpec>),
    Encoder(EncoderSpec),
}

impl ModelType {
    fn of(model: &Admitted<ModelFiles>) -> Result<Self, ModelError> {
        if bert::is_encoder(model)? {
            return Ok(Self::Encoder(bert::read(model)?.0));
        }
        let (family, spec) = read_spec(model)?;
        Ok(Self::Decoder(family, Box::new(spec)))
    }

    fn config(&self, model: &Admitted<ModelFiles>) -> Result<Map<String, Value>, ModelError> {
        match self {
            Self::Encoder(spec) => bert::config(spec, &bert::label_names(model, spec)?),
            Self::Decoder(family, spec) => {
                let cannot = |what| ModelError::CannotSave { format: family.name(), what };
                Ok(family.config(spec).map_err(cannot)?.as_object().cloned().unwrap_or_default())
            }
        }
    }

    fn translation<'a>(
        &self,
        model: &Admitted<ModelFiles>,
        tensors: &'a TensorFile,
    ) -> Result<Translation<'a>, ModelError> {
        match self {
            Self::Decoder(family, _) => Translation::new(model, tensors, Layout::Folder(*family)),
            Self::Encoder(spec) => Translation::of_encoder(model, tensors, EncoderLayout::folder_of(spec)),
        }
    }
}

/// Writes what a decoder reads and writes text with; what is returned stands in `config.json` too.
fn save_text(
    model: &Admitted<ModelFiles>,
    tokenizer: Option<&Tokenizer>,
    folder: &Path,
) -> Result<Map<String, Value>, CompressError> {
    let mut generation = Map::new();
    let Some(tokenizer) = tokenizer else { return Ok(generation) };
    match ChatTemplate::of_model(model)? {
        Some(template) => tokenizer.save_with_template(folder, &template)?,
        None => tokenizer.save(folder)?,
    }
    generation.extend(tokenizer.prefix().first().map(|id| ("bos_token_id".to_owned(), json!(id))));
    let ends = end_tokens(model, tokenizer)?;
    if !ends.is_empty() {
        generation.insert("eos_token_id".into(), json!(ends));
    }
    write_json(&folder.join("generation_config.json"), &Value::Object(generation.clone()))?;
    Ok(generation)
}

/// Writes what an encoder reads text with, and how vectors or scores come of it.
fn save_encoder_text(
    model: &Admitted<ModelFiles>,
    spec: &EncoderSpec,
    tokenizer: Option<&Tokenizer>,
    folder: &Path,
    config: &mut Map<String, Value>,
) -> Result<(), CompressError> {
    if let Some(tokenizer) = tokenizer {
        tokenizer.save_for_encoder(folder, &EncoderTokens::of_model(model, tokenizer)?)?;
    }
    Ok(EmbeddingFiles::read(model, spec.labels)?.write(folder, spec.width, config)?)
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
