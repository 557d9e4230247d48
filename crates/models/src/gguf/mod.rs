//! Models in GGUF files: which architecture is which family, how its metadata reads as a `config.json`, and what llama.cpp
//! calls each tensor. To add an architecture: its row in [`ALL`], in `config.rs` how its metadata reads, and in `metadata.rs`
//! how it is written.

mod config;
mod metadata;
mod names;
mod rope;

use std::path::Path;

use serde_json::Value as Json;
use tsumugi_files::TensorFile;
use tsumugi_files::gguf::{Metadata, Value};

use crate::{DecoderSpec, ModelError, Rename};
use config::Described;

/// What llama.cpp calls a kind of model, and how it stores one.
pub struct Architecture {
    /// `general.architecture`, which begins the keys of its metadata too.
    pub name: &'static str,
    /// The families that it stores, by their `model_type`.
    families: &'static [&'static str],
    /// Rows of queries and keys are stored in the order in which neighbours are rotated.
    pub(crate) pairs: bool,
    /// Queries, keys and values are one tensor.
    fused_qkv: bool,
    /// Its metadata as a `config.json`; an error is a sentence.
    read: fn(&Described<'_>) -> Result<Json, String>,
    /// Its metadata, without the architecture's name in front of the keys; an error says what it has no word for.
    write: fn(&DecoderSpec) -> Result<metadata::Entries, String>,
}

/// The architectures that are read and written.
const ALL: &[Architecture] = &[
    Architecture {
        name: "llama",
        families: &["llama"],
        pairs: true,
        fused_qkv: false,
        read: config::llama,
        write: metadata::llama,
    },
    Architecture {
        name: "gpt2",
        families: &["gpt2"],
        pairs: false,
        fused_qkv: true,
        read: config::gpt2,
        write: metadata::gpt2,
    },
];

/// Names of tensors, or their beginnings, that are no parameters: tables that are computed again.
const IGNORED: &[&str] = &["rope_freqs.weight", "rope_factors_"];

/// The architecture that the metadata name.
pub(crate) fn architecture(metadata: &Metadata, file: &Path) -> Result<&'static Architecture, ModelError> {
    let Some(name) = metadata.get("general.architecture").and_then(Value::as_str) else {
        let problem = "the metadata have no text `general.architecture`".into();
        return Err(ModelError::Config { file: file.to_owned(), problem });
    };
    ALL.iter().find(|architecture| architecture.name == name).ok_or_else(|| ModelError::UnknownArchitecture {
        file: file.to_owned(),
        architecture: name.to_owned(),
        known: ALL.iter().map(|architecture| architecture.name).collect::<Vec<_>>().join(", "),
    })
}

/// The architecture that stores models of this spec.
pub fn architecture_of(spec: &DecoderSpec) -> Result<&'static Architecture, ModelError> {
    ALL.iter()
        .find(|architecture| architecture.families.contains(&spec.family))
        .ok_or_else(|| ModelError::CannotSave { format: "a GGUF file", what: format!("the family `{}`", spec.family) })
}

impl Architecture {
    /// What a GGUF file says about a model of this spec: `general.architecture` and the keys of the architecture.
    pub fn metadata(&self, spec: &DecoderSpec) -> Result<Metadata, ModelError> {
        let entries = (self.write)(spec).map_err(|what| ModelError::CannotSave { format: "a GGUF file", what })?;
        let mut metadata = Metadata::default();
        metadata.insert("general.architecture", Value::String(self.name.into()));
        for (key, value) in entries {
            metadata.insert(format!("{}.{key}", self.name), value);
        }
        Ok(metadata)
    }

    /// Tensors of a file that are no parameters, as llama.cpp needs them: names and numbers.
    pub fn tables(&self, spec: &DecoderSpec) -> Vec<(&'static str, Vec<f32>)> {
        rope::stored(spec).map(|factors| ("rope_freqs.weight", factors)).into_iter().collect()
    }

    /// The metadata in the words of `config.json`.
    pub(crate) fn config(&self, metadata: &Metadata, tensors: &TensorFile) -> Result<Json, String> {
        (self.read)(&Described { architecture: self.name, metadata, tensors })
    }

    /// llama.cpp's names and ours.
    pub(crate) fn names(&self) -> Vec<Rename> {
        let qkv = if self.fused_qkv { names::FUSED_QKV } else { names::SPLIT_QKV };
        [names::SHARED, qkv].concat()
    }

    /// Whether a tensor is no parameter.
    pub(crate) fn ignores(&self, name: &str) -> bool {
        IGNORED.iter().any(|ignored| name.starts_with(ignored)) || name.ends_with(".attn_rot_embd")
    }
}
