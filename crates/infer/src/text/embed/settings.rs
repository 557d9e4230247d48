//! What a folder says about its use: the files of sentence-transformers, and `config.json` of a cross-encoder.

use std::collections::BTreeMap;

use serde_json::Value;
use tsumugi_files::{ModelFiles, gguf};

use crate::embed::Pooling;
use crate::text::LoadError;

/// How long a text may be, and how it is spelled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Length {
    pub tokens: Option<usize>,
    pub lower_case: bool,
}

/// How hidden states become an embedding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// None where the model does not say.
    pub pooling: Option<Pooling>,
    /// Whether vectors are of length one.
    pub normalize: bool,
    /// Texts that are put before a text, by name.
    pub prompts: BTreeMap<String, String>,
    /// The one that is used where none is asked for.
    pub default_prompt: Option<String>,
}

/// What becomes of a cross-encoder's logit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScoreActivation {
    /// It is the score.
    Identity,
    /// `1 / (1 + e^-logit)`
    Sigmoid,
}

impl ScoreActivation {
    /// PyTorch's name of it.
    pub fn class(self) -> &'static str {
        match self {
            Self::Identity => "torch.nn.modules.linear.Identity",
            Self::Sigmoid => "torch.nn.modules.activation.Sigmoid",
        }
    }
}

/// Names that sentence-transformers has given the settings of its first module.
const LENGTH_FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

fn content(model: &ModelFiles, file: &str, reason: impl Into<String>) -> LoadError {
    let file = if model.gguf().is_some() { model.path().to_owned() } else { model.path().join(file) };
    LoadError::Content { file, reason: reason.into() }
}

/// What a GGUF file says under keys of ours: all that sentence-transformers knows of a model and llama.cpp does not.
pub(super) mod gguf_keys {
    pub const LENGTH: &str = "sentence_transformers.max_seq_length";
    pub const LOWER_CASE: &str = "sentence_transformers.do_lower_case";
    pub const NORMALIZE: &str = "sentence_transformers.normalize";
    pub const ACTIVATION: &str = "sentence_transformers.activation_fn";
    pub const DEFAULT_PROMPT: &str = "sentence_transformers.default_prompt_name";
    /// The prompt's name follows.
    pub const PROMPT: &str = "sentence_transformers.prompts.";
}

fn truth(metadata: &gguf::Metadata, key: &str) -> Option<bool> {
    match metadata.get(key) {
        Some(&gguf::Value::Bool(truth)) => Some(truth),
        _ => None,
    }
}

pub(super) fn read_length(model: &ModelFiles) -> Result<Length, LoadError> {
    if let Some(metadata) = model.gguf() {
        let tokens = metadata.get(gguf_keys::LENGTH).and_then(gguf::Value::as_u64).filter(|&tokens| tokens > 0);
        return Ok(Length {
            tokens: tokens.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX)),
            lower_case: truth(metadata, gguf_keys::LOWER_CASE).unwrap_or(false),
        });
    }
    for file in LENGTH_FILES {
        let Some(settings) = json(model, file)? else { continue };
        let tokens = match settings.get("max_seq_length") {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_u64() {
                Some(tokens @ 1..) => Some(usize::try_from(tokens).unwrap_or(usize::MAX)),
                _ => {
                    return Err(content(model, file, format!("`max_seq_length` is {value}, but must be at least 1")));
                }
            },
        };
        return Ok(Length { tokens, lower_case: settings["do_lower_case"].as_bool().unwrap_or(false) });
    }
    Ok(Length::default())
}

/// A JSON file of a folder; a GGUF file has none.
fn json(model: &ModelFiles, file: &str) -> Result<Option<Value>, LoadError> {
    if model.gguf().is_some() { Ok(None) } else { Ok(model.json(file)?) }
}

impl Settings {
    pub fn read(model: &ModelFiles) -> Result<Self, LoadError> {
        let (prompts, default_prompt) = read_prompts(model)?;
        let none = Self { pooling: None, normalize: false, prompts, default_prompt };
        if let Some(metadata) = model.gguf() {
            let normalize = truth(metadata, gguf_keys::NORMALIZE).unwrap_or(true);
            return Ok(Self { pooling: gguf_pooling(metadata), normalize, ..none });
        }
        let Some(modules) = json(model, MODULES)? else { return Ok(none) };
        let modules = modules.as_array().ok_or_else(|| content(model, MODULES, "it is no list of modules"))?;
        let mut settings = none;
        for (index, module) in modules.iter().enumerate() {
            let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
            let (path, kind) = (text("path"), text("type").rsplit('.').next().unwrap_or_default());
            match kind {
                "Transformer" if path.is_empty() && index == 0 => {}
                "Pooling" if settings.pooling.is_none() => settings.pooling = Some(read_pooling(model, path)?),
                "Normalize" if settings.pooling.is_some() => settings.normalize = true,
                _ => {
                    let reason = format!("module {index} is `{}` in `{path}`, which is not supported", text("type"));
                    return Err(content(model, MODULES, reason));
                }
            }
        }
        Ok(settings)
    }
}

pub(super) const MODULES: &str = "modules.json";

/// llama.cpp's `pooling_type` of the architecture.
fn gguf_pooling(metadata: &gguf::Metadata) -> Option<Pooling> {
    let architecture = metadata.get("general.architecture").and_then(gguf::Value::as_str)?;
    let number = metadata.get(&format!("{architecture}.pooling_type")).and_then(gguf::Value::as_u64)?;
    GGUF_POOLINGS.iter().find(|(known, _)| u64::from(*known) == number).map(|(_, pooling)| *pooling)
}

/// llama.cpp's numbers of poolings (llama.h, `enum llama_pooling_type`).
pub(super) const GGUF_POOLINGS: [(u32, Pooling); 3] = [(1, Pooling::Mean), (2, Pooling::First), (3, Pooling::Last)];

/// Keys of a pooling that we have, and those of others.
pub(super) const POOLINGS: [(&str, Option<Pooling>); 6] = [
    ("pooling_mode_cls_token", Some(Pooling::First)),
    ("pooling_mode_mean_tokens", Some(Pooling::Mean)),
    ("pooling_mode_lasttoken", Some(Pooling::Last)),
    ("pooling_mode_max_tokens", None),
    ("pooling_mode_mean_sqrt_len_tokens", None),
    ("pooling_mode_weightedmean_tokens", None),
];

fn read_pooling(model: &ModelFiles, part: &str) -> Result<Pooling, LoadError> {
    let file = format!("{part}/config.json");
    let settings = json(model, &file)?.ok_or_else(|| {
        content(model, &file, format!("it is not there, but {MODULES} says that it tells how vectors are pooled"))
    })?;
    let asked: Vec<_> = POOLINGS.iter().filter(|(key, _)| settings[*key].as_bool() == Some(true)).collect();
    let include_prompt = settings["include_prompt"].as_bool().unwrap_or(true);
    match asked[..] {
        [(_, Some(pooling))] if include_prompt => Ok(*pooling),
        [(_, Some(_))] => Err(content(model, &file, "`include_prompt` is false, which is not supported")),
        [(key, None)] => Err(content(model, &file, format!("`{key}` is not supported"))),
        [] => Err(content(model, &file, "it names no pooling, such as `pooling_mode_mean_tokens`")),
        _ => Err(content(model, &file, "several poolings behind each other are not supported")),
    }
}

type Prompts = (BTreeMap<String, String>, Option<String>);

fn read_prompts(model: &ModelFiles) -> Result<Prompts, LoadError> {
    const FILE: &str = "config_sentence_transformers.json";
    if let Some(metadata) = model.gguf() {
        return Ok(gguf_prompts(metadata));
    }
    let Some(settings) = json(model, FILE)? else { return Ok(Prompts::default()) };
    let prompts: BTreeMap<String, String> = match settings.get("prompts") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(prompts) => serde_json::from_value(prompts.clone())
            .map_err(|error| content(model, FILE, format!("`prompts` is no map of texts: {error}")))?,
    };
    let default = settings.get("default_prompt_name").and_then(Value::as_str).map(str::to_owned);
    match default {
        Some(name) if !prompts.contains_key(&name) => {
            Err(content(model, FILE, format!("`default_prompt_name` is `{name}`, which `prompts` does not have")))
        }
        default => Ok((prompts, default)),
    }
}

fn gguf_prompts(metadata: &gguf::Metadata) -> Prompts {
    let prompt = |(key, value): (&str, &gguf::Value)| {
        Some((key.strip_prefix(gguf_keys::PROMPT)?.to_owned(), value.as_str()?.to_owned()))
    };
    let prompts: BTreeMap<String, String> = metadata.iter().filter_map(prompt).collect();
    let default = metadata.get(gguf_keys::DEFAULT_PROMPT).and_then(gguf::Value::as_str).map(str::to_owned);
    let default = default.filter(|name| prompts.contains_key(name));
    (prompts, default)
}

/// Of a cross-encoder with one score: what its config names, else a sigmoid, as sentence-transformers has it.
pub(super) fn read_score_activation(model: &ModelFiles) -> Result<ScoreActivation, LoadError> {
    let config = json(model, "config.json")?.unwrap_or_default();
    let named = config.pointer("/sentence_transformers/activation_fn");
    let named = named.or_else(|| config.get("sbert_ce_default_activation_function")).and_then(Value::as_str);
    let stored = || model.gguf()?.get(gguf_keys::ACTIVATION)?.as_str();
    let named = named.or_else(stored);
    match named.map(|name| name.rsplit('.').next().unwrap_or_default()) {
        None | Some("Sigmoid") => Ok(ScoreActivation::Sigmoid),
        Some("Identity") => Ok(ScoreActivation::Identity),
        Some(other) => Err(content(model, "config.json", format!("the activation `{other}` is not supported"))),
    }
}
