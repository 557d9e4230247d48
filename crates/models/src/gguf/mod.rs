//! Models in GGUF files: which architecture is which family, how its metadata reads as a `config.json`, and what llama.cpp
//! calls each tensor. To add an architecture: its row in [`ALL`], in `config.rs` how its metadata reads, and in `metadata.rs`
//! how it is written.

mod config;
mod metadata;
mod names;
mod promised;
mod rope;

use std::path::Path;

use serde_json::Value as Json;
use tsumugi_files::TensorFile;
use tsumugi_files::gguf::{Metadata, Value};

use crate::family::{self, first_difference};
use crate::hf_config::ConfigReader;
use crate::{DecoderSpec, ModelError, Position, Rename};
use config::Described;
use promised::Promised;

/// What llama.cpp calls a kind of model, and how it stores one.
pub struct Architecture {
    /// `general.architecture`, which begins the keys of its metadata too.
    pub name: &'static str,
    /// The families that it stores, by their `model_type`.
    families: &'static [&'static str],
    /// Rows of queries and keys are stored in the order in which neighbours are rotated.
    pub(crate) pairs: bool,
    /// Queries, keys and values are one tensor, and so are gate and up.
    fused: bool,
    /// The weights of norms have the one in them that the family adds.
    pub(crate) norms_with_one: bool,
    /// Its metadata as a `config.json`; an error is a sentence.
    read: fn(&Described<'_>) -> Result<Json, String>,
    /// Its metadata, without the architecture's name in front of the keys.
    write: fn(&DecoderSpec) -> metadata::Entries,
}

impl Architecture {
    const fn new(
        name: &'static str,
        families: &'static [&'static str],
        read: fn(&Described<'_>) -> Result<Json, String>,
        write: fn(&DecoderSpec) -> metadata::Entries,
    ) -> Self {
        Self { name, families, pairs: false, fused: false, norms_with_one: false, read, write }
    }
}

/// The architectures that are read and written.
const ALL: &[Architecture] = &[
    Architecture {
        pairs: true,
        ..Architecture::new("llama", &["llama", "mistral", "mixtral"], config::llama, metadata::llama)
    },
    Architecture { fused: true, ..Architecture::new("gpt2", &["gpt2"], config::gpt2, metadata::plain) },
    Architecture::new("qwen2", &["qwen2"], config::qwen2, metadata::llama),
    Architecture::new("qwen3", &["qwen3"], config::qwen3, metadata::llama),
    Architecture::new("qwen2moe", &["qwen2_moe"], config::qwen2_moe, metadata::qwen_moe),
    Architecture::new("qwen3moe", &["qwen3_moe"], config::qwen3_moe, metadata::qwen_moe),
    Architecture { norms_with_one: true, ..Architecture::new("gemma2", &["gemma2"], config::gemma2, metadata::gemma2) },
    Architecture {
        norms_with_one: true,
        ..Architecture::new("gemma3", &["gemma3_text"], config::gemma3, metadata::gemma3)
    },
    Architecture { pairs: true, ..Architecture::new("granite", &["granite"], config::granite, metadata::granite) },
    Architecture { fused: true, ..Architecture::new("phi3", &["phi3"], config::phi3, metadata::phi3) },
    Architecture { fused: true, ..Architecture::new("bloom", &["bloom"], config::bloom, metadata::plain) },
    Architecture { fused: true, ..Architecture::new("falcon", &["falcon"], config::falcon, metadata::falcon) },
    Architecture::new("stablelm", &["stablelm"], config::stablelm, metadata::stablelm),
    Architecture { pairs: true, ..Architecture::new("smollm3", &["smollm3"], config::smollm3, metadata::smollm3) },
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
    /// What a GGUF file says about a model of this spec: `general.architecture` and the keys of the architecture. What it
    /// has no word for is an error that names it: the metadata are read again.
    pub fn metadata(&self, spec: &DecoderSpec) -> Result<Metadata, ModelError> {
        let mut metadata = Metadata::default();
        metadata.insert("general.architecture", Value::String(self.name.into()));
        for (key, value) in (self.write)(spec) {
            metadata.insert(format!("{}.{key}", self.name), value);
        }
        match self.lost(spec, &metadata) {
            None => Ok(metadata),
            Some(what) => Err(ModelError::CannotSave { format: "a GGUF file", what }),
        }
    }

    /// What is not in the metadata that were made of a spec.
    fn lost(&self, spec: &DecoderSpec, metadata: &Metadata) -> Option<String> {
        let tensors = Promised::of(spec, self.tables(spec));
        let read = (self.read)(&Described { architecture: self.name, metadata, tensors: &tensors });
        let config = match read {
            Ok(config) => config.as_object().cloned().unwrap_or_default(),
            Err(problem) => return Some(problem),
        };
        let Some(family) = config.get("model_type").and_then(Json::as_str).and_then(family::find) else {
            return Some(format!("the family `{}`", spec.family));
        };
        let mut read = match family.spec(&ConfigReader::new(&config)) {
            Ok(read) => DecoderSpec { dropout: spec.dropout, ..read }, // of the training, not of the model
            Err(problem) => return Some(problem.0),
        };
        if self.families.contains(&spec.family) {
            read.family = spec.family; // Mistral without a window is a Llama
        }
        if let (Position::Rotary(one), Position::Rotary(other)) = (&spec.position, &read.position)
            && rope::are_same(one, other, one.turned(spec.head_width))
        {
            read.position = spec.position.clone();
        }
        (read != *spec).then(|| first_difference(spec, &read))
    }

    /// What llama.cpp does not read of a file of this spec, though it computes with it: sentences for who converts one.
    pub fn unread(&self, spec: &DecoderSpec) -> Vec<String> {
        metadata::unread(self.name, spec)
    }

    /// Tensors of a file that are no parameters, as llama.cpp needs them: names and numbers.
    pub fn tables(&self, spec: &DecoderSpec) -> Vec<(&'static str, Vec<f32>)> {
        rope::tables(spec)
    }

    /// The metadata in the words of `config.json`.
    pub(crate) fn config(&self, metadata: &Metadata, tensors: &TensorFile) -> Result<Json, String> {
        (self.read)(&Described { architecture: self.name, metadata, tensors })
    }

    /// llama.cpp's names and ours.
    pub(crate) fn names(&self) -> Vec<Rename> {
        if self.fused {
            return [names::SHARED, names::FUSED_QKV, names::FUSED_GATE_UP].concat();
        }
        [names::SHARED, names::SPLIT_QKV, names::SPLIT_GATE_UP].concat()
    }

    /// Whether a tensor is no parameter.
    pub(crate) fn ignores(&self, name: &str) -> bool {
        IGNORED.iter().any(|ignored| name.starts_with(ignored)) || name.ends_with(".attn_rot_embd")
    }
}
