//! A model as one GGUF file, with vocabulary and chat template, as llama.cpp's converter writes it.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use serde_json::Value as Json;
use tsumugi_base::progress::Observer;
use tsumugi_files::gguf::{Metadata, Value, part_count, write_gguf_with};
use tsumugi_files::{Admitted, ElementType, ModelCard, ModelFiles, TensorFile, TensorSpec, to_f32};
use tsumugi_infer::text::EmbeddingFiles;
use tsumugi_models::bert::{self, EncoderLayout, is_encoder};
use tsumugi_models::gguf::{Architecture, architecture_of};
use tsumugi_models::slots::Layout;
use tsumugi_models::{DecoderSpec, EncoderSpec, Translation, read_layout, read_spec};
use tsumugi_tensor::threads::Pool;
use tsumugi_tokenizer::{ChatTemplate, EncoderTokens, TokenId, Tokenizer, end_tokens};

use crate::fallbacks::fallbacks;
use crate::mix::{Choice, Mix, Traits};
use crate::stream::{Stream, Written};
use crate::{CompressError, folder};

/// `general.quantization_version`: of the layouts of blocks (ggml.h, `GGML_QNT_VERSION`).
const QUANTIZATION_VERSION: u32 = 2;

/// The kind of vocabulary where there is none.
const NO_VOCABULARY: &str = "none";

/// A table that is no parameter: name, shape, numbers.
type Table = (&'static str, [usize; 1], Vec<f32>);

/// Writes a model as a GGUF file whose tensors have the types of `mix`. What was in such a file before keeps its metadata.
pub fn write_gguf_model(
    model: &Admitted<ModelFiles>,
    out: &Path,
    mix: &Mix,
    pool: &Pool,
    observer: &dyn Observer,
) -> Result<Written, CompressError> {
    folder::check_not_itself(model, out)?;
    if !is_model_name(out) {
        return Err(CompressError::NotGgufName { path: out.to_owned() });
    }
    let tensors = model.tensors()?;
    let Contents { translation, traits, described, tables, mut notes } =
        if is_encoder(model)? { encoder(model, &tensors)? } else { decoder(model, &tensors)? };
    let metadata = metadata(model, &described, mix);
    let parameters = translation.tensors();
    let choices: Vec<Choice> =
        parameters.iter().map(|tensor| mix.choose(tensor.name(), tensor.shape(), traits)).collect();
    let types: Vec<ElementType> = choices.iter().map(|choice| choice.element_type).collect();
    let of_parameters = parameters.iter().zip(&types).map(|(tensor, &element_type)| TensorSpec {
        name: tensor.name(),
        element_type,
        shape: tensor.shape(),
    });
    let of_tables = tables.iter().map(|(name, shape, _)| TensorSpec { name, element_type: ElementType::F32, shape });
    let specs: Vec<TensorSpec<'_>> = of_tables.chain(of_parameters).collect();
    let stage = if mix.most.is_quantized() { "quantize" } else { "convert" };
    let mut stream = Stream::new(stage, &translation, &types, pool, observer);
    let ended = write_gguf_with(out, &metadata, &specs, |index, sink| match index.checked_sub(tables.len()) {
        None => write_numbers(&tables[index].2, sink),
        Some(index) => stream.write(index, sink),
    });
    let written = stream.finish(ended)?;
    notes.extend(fallbacks(choices.iter().zip(parameters), &written));
    notes.extend(no_vocabulary(&metadata).then(|| folder::NO_VOCABULARY.to_owned()));
    Ok(Written { notes, ..written })
}

/// What becomes a file.
struct Contents<'a> {
    translation: Translation<'a>,
    traits: Traits,
    /// What a file says about it, and its vocabulary; unread where the model is a GGUF file already.
    described: [Metadata; 2],
    tables: Vec<Table>,
    notes: Vec<String>,
}

fn decoder<'a>(model: &Admitted<ModelFiles>, tensors: &'a TensorFile) -> Result<Contents<'a>, CompressError> {
    let (_, spec) = read_spec(model)?;
    let architecture = match read_layout(model)? {
        Layout::Gguf(architecture) => architecture,
        Layout::Folder(_) | Layout::FusedExperts(_) => architecture_of(&spec)?,
    };
    let described = match model.gguf() {
        Some(_) => Default::default(),
        None => [architecture.metadata(&spec)?, vocabulary(model, &spec)?],
    };
    Ok(Contents {
        translation: Translation::new(model, tensors, Layout::Gguf(architecture))?,
        traits: (&spec).into(),
        described,
        tables: tables(architecture, &spec, tensors)?,
        notes: architecture.unread(&spec),
    })
}

fn encoder<'a>(model: &Admitted<ModelFiles>, tensors: &'a TensorFile) -> Result<Contents<'a>, CompressError> {
    let (spec, _) = bert::read(model)?;
    let described = match model.gguf() {
        Some(_) => Default::default(),
        None => {
            let mut about = bert::gguf_metadata(&spec, &bert::label_names(model, &spec)?)?;
            EmbeddingFiles::read(model, spec.labels)?.put(bert::GGUF_ARCHITECTURE, &mut about);
            [about, encoder_vocabulary(model, &spec)?]
        }
    };
    let translation = Translation::of_encoder(model, tensors, EncoderLayout::Gguf)?;
    Ok(Contents { translation, traits: (&spec).into(), described, tables: Vec::new(), notes: Vec::new() })
}

/// Whether [`ModelFiles::admit`] takes a file of this name for a whole model.
fn is_model_name(out: &Path) -> bool {
    out.file_name().and_then(OsStr::to_str).is_some_and(|name| name.ends_with(".gguf") && part_count(name) == 1)
}

fn no_vocabulary(metadata: &Metadata) -> bool {
    metadata.get("tokenizer.ggml.model").and_then(Value::as_str).is_none_or(|model| model == NO_VOCABULARY)
}

fn write_numbers(numbers: &[f32], sink: &mut dyn Write) -> io::Result<()> {
    numbers.iter().try_for_each(|number| sink.write_all(&number.to_le_bytes()))
}

/// The tables that the file will have, as they are in one that has them already.
fn tables(architecture: &Architecture, spec: &DecoderSpec, tensors: &TensorFile) -> Result<Vec<Table>, CompressError> {
    let table = |(name, computed): (&'static str, Vec<f32>)| {
        let numbers = tensors.get(name).map_or(Ok(computed), |stored| to_f32(&stored))?;
        Ok((name, [numbers.len()], numbers))
    };
    architecture.tables(spec).into_iter().map(table).collect()
}

/// Of a file that has `described`, a model and its vocabulary; what is in a GGUF file stays as it is.
fn metadata(model: &Admitted<ModelFiles>, described: &[Metadata; 2], mix: &Mix) -> Metadata {
    let mut metadata = Metadata::default();
    let extend = |metadata: &mut Metadata, more: &Metadata| {
        // What says that a file is a part of a model is no longer true.
        for (key, value) in more.iter().filter(|(key, _)| !key.starts_with("split.")) {
            metadata.insert(key, value.clone());
        }
    };
    let [about, vocabulary] = described;
    extend(&mut metadata, model.gguf().unwrap_or(about));
    if model.gguf().is_none() {
        metadata.insert("general.type", Value::String("model".into()));
        if let Some(name) = model.path().canonicalize().ok().as_deref().and_then(Path::file_name) {
            metadata.insert("general.name", Value::String(name.to_string_lossy().into_owned()));
        }
        if let Some(licence) = ModelCard::of(model).licences.first() {
            metadata.insert("general.license", Value::String(licence.clone()));
        }
    }
    metadata.insert("general.file_type", Value::U32(mix.number));
    metadata.insert("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
    extend(&mut metadata, vocabulary);
    metadata
}

/// What a file says whose model has no vocabulary.
fn without_vocabulary() -> Metadata {
    let mut metadata = Metadata::default();
    metadata.insert("tokenizer.ggml.model", Value::String(NO_VOCABULARY.into()));
    metadata
}

/// Vocabulary and special tokens of an encoder's folder.
fn encoder_vocabulary(model: &Admitted<ModelFiles>, spec: &EncoderSpec) -> Result<Metadata, CompressError> {
    let Some(tokenizer) = Tokenizer::of_model(model)? else { return Ok(without_vocabulary()) };
    let mut metadata = tokenizer.to_gguf(spec.vocabulary)?;
    EncoderTokens::of_model(model, &tokenizer)?.put(&mut metadata);
    tokenizer.check_gguf(&metadata, spec.labels.is_some())?;
    Ok(metadata)
}

/// Vocabulary, special tokens and chat template of a decoder's folder.
fn vocabulary(model: &Admitted<ModelFiles>, spec: &DecoderSpec) -> Result<Metadata, CompressError> {
    let Some(tokenizer) = Tokenizer::of_model(model)? else { return Ok(without_vocabulary()) };
    let mut metadata = tokenizer.to_gguf(spec.vocabulary)?;
    let mut insert = |name: &str, id: Option<TokenId>| {
        if let Some(id) = id {
            metadata.insert(format!("tokenizer.ggml.{name}_token_id"), Value::U32(id));
        }
    };
    let config = model.json("tokenizer_config.json")?.unwrap_or(Json::Null);
    let named = |key: &str| {
        let token = config.get(key)?;
        tokenizer.special(token.as_str().or_else(|| token.get("content")?.as_str())?)
    };
    let ends = end_tokens(model, &tokenizer)?;
    let end = named("eos_token").or(ends.first().copied());
    insert("bos", tokenizer.prefix().first().copied().or_else(|| named("bos_token")));
    insert("eos", end);
    insert("eot", ends.into_iter().find(|&id| Some(id) != end));
    insert("unknown", tokenizer.unknown());
    insert("padding", named("pad_token"));
    if let Some(template) = ChatTemplate::of_model(model)? {
        metadata.insert("tokenizer.chat_template", Value::String(template.source().into()));
    }
    Ok(metadata)
}
